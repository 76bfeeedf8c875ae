"""The content of a stored file: as it is, or unpacked from gzip or zip, always one stream with offsets of its own.

Whether an archive is whole is found out before anything is written (`content_measure`), so a damaged one changes
nothing. Unpacking is bounded: a file that grows beyond all measure is a named failure, not a full disk or memory.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import IO, Any, BinaryIO, Protocol

from django.conf import settings
from isal import isal_zlib
from isal.igzip_lib import IsalError

from batchjobs.failures import FileFailureError
from batchjobs.ingestion.sniff import TAR_HEADER, is_tar, kind_of

BLOCK = 512 * 1024
# Objects take many times the room of their text: with larger blocks their memory goes back to the system and is asked
# for anew with each block, which costs a sixth of the time.
OBJECTS_BLOCK = 128 * 1024
REWOUND_BYTES = 4 * 1024 * 1024  # more than a reader reads ahead: a block and a record
RATIO_COUNTS_FROM = 64 * 1024 * 1024  # unpacked bytes: below, any ratio is harmless
GZIP_MAGIC = b"\x1f\x8b"


class Content(Protocol):
    """What the readers read: bytes from an offset on. `read` gives fewer than asked only at the end."""

    def read(self, size: int, /) -> bytes: ...

    def seek(self, offset: int, /) -> int: ...


@dataclass(frozen=True, slots=True)
class Opened:
    content: Content
    name: str  # of what is inside: without .gz, or the member's of a zip
    packed: bool


def content_open(stored: BinaryIO, name: str, alive: Callable[[], None] = lambda: None) -> Opened:
    """The content of a file called `name`. `alive` is called while it is unpacked up to where reading goes on.

    Raises FileFailureError if it is not what its name says.
    """
    lowered = name.lower()
    head = stored.read(512)
    stored.seek(0)
    if lowered.endswith(".gz"):
        if not head:
            raise FileFailureError("FILE_EMPTY")
        if not head.startswith(GZIP_MAGIC):
            raise FileFailureError("GZIP_MISNAMED", kind=kind_of(head) or "plain text")
        content = Rewound(GzipContent(stored), alive)
        try:
            beginning = _read_on(content, TAR_HEADER)
        except FileFailureError as failure:
            failure.params.setdefault("line", "1")
            raise
        if is_tar(beginning):
            raise FileFailureError("TAR_IN_GZIP")
        content.seek(0)
        return Opened(content, name[:-3], packed=True)
    if lowered.endswith(".zip"):
        if not head:
            raise FileFailureError("FILE_EMPTY")
        member, info = _only_member(stored, head)
        return Opened(Rewound(member, alive), PurePath(info.filename).name, packed=True)
    return Opened(stored, name, packed=False)


def content_measure(opened: Opened, stored_size: int, alive: Callable[[], None]) -> tuple[int, int]:
    """Reads the content to its end: (bytes, line ends). `alive` is called all along.

    Raises FileFailureError for an archive that is damaged, that has something behind its end, or that grows too much.
    """
    size = lines = 0
    try:
        for block in content_blocks(opened, stored_size):
            size += len(block)
            lines += block.count(b"\n")
            alive()
    except FileFailureError as failure:
        if failure.code == "ARCHIVE_DAMAGED":
            failure.params.setdefault("line", f"{lines + 1:,}")
        raise
    return size, lines


def content_blocks(opened: Opened, stored_size: int) -> Iterator[bytes]:
    """The content from its first byte to its last. Raises FileFailureError as `content_measure` does."""
    opened.content.seek(0)
    size = 0
    while block := _read_on(opened.content):
        size += len(block)
        if opened.packed:
            _refuse_bomb(size, stored_size)
        yield block


def _read_on(content: Content, size: int = BLOCK) -> bytes:
    try:
        return content.read(size)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise FileFailureError("ARCHIVE_DAMAGED", reason=_DAMAGED) from error


def _refuse_bomb(size: int, stored_size: int) -> None:
    too_large = size > settings.UNPACKED_MAX_BYTES
    if too_large or (size > RATIO_COUNTS_FROM and size > stored_size * settings.UNPACKED_RATIO_MAX):
        raise FileFailureError("ARCHIVE_TOO_LARGE", stored=stored_size, unpacked=size)


_DAMAGED = "What is unpacked does not fit the checksum in the archive."
_CUT = "The archive ends in the middle."
_INDEX = "Its list of files is wrong."
_TRAILING = "Something that is not gzip stands behind the end of the archive."


_UNPACKING_ERRORS: tuple[Any, ...] = (IsalError, zlib.error)  # the package's types say it is an instance
# Of a zip, APPNOTE 4.4.5.
_METHODS = {9: "deflate64", 12: "bzip2", 14: "lzma", 93: "zstd", 95: "xz", 98: "ppmd"}
# What the standard library raises for a zip whose list of files is damaged, places before its beginning included.
_NOT_A_ZIP = (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, RuntimeError, struct.error)


class Forward(Protocol):
    """Bytes that come one after the other: `restart` begins again."""

    def read(self, size: int, /) -> bytes: ...

    def restart(self) -> None: ...


class Rewound:
    """A content of bytes that only come forward. What came last is kept: each chunk goes back a block or so, to where
    its first record begins. Further back means to begin again.
    """

    def __init__(self, source: Forward, alive: Callable[[], None]) -> None:
        self._source = source
        self._alive = alive
        self._recent: deque[bytes] = deque()
        self._kept = 0  # bytes of `_recent`
        self._back = 0  # how far behind its end reading goes on
        self._at = 0

    def seek(self, offset: int, /) -> int:
        if offset < self._at - (self._kept - self._back):
            self._source.restart()
            self._recent.clear()
            self._kept = self._back = self._at = 0
        elif offset < self._at:
            self._back += self._at - offset
            self._at = offset
        while self._at < offset and self.read(min(BLOCK, offset - self._at)):
            self._alive()
        return self._at

    def read(self, size: int, /) -> bytes:
        data = self._again(size) if self._back else b""
        if len(data) < size and not self._back and (fresh := self._source.read(size - len(data))):
            self._recent.append(fresh)
            self._kept += len(fresh)
            while self._kept - len(self._recent[0]) >= REWOUND_BYTES:
                self._kept -= len(self._recent.popleft())
            data += fresh
        self._at += len(data)
        return data

    def _again(self, size: int) -> bytes:
        """Up to `size` of the bytes that are kept, from where reading goes on."""
        pieces: list[bytes] = []
        skip = self._kept - self._back
        for block in self._recent:
            if skip >= len(block):
                skip -= len(block)
                continue
            piece = block[skip : skip + size]
            skip = 0
            pieces.append(piece)
            size -= len(piece)
            self._back -= len(piece)
            if not size:
                break
        return b"".join(pieces)


class GzipContent:
    """Unpacks gzip with one member or several."""

    def __init__(self, stored: BinaryIO) -> None:
        self._stored = stored
        self.restart()

    def restart(self) -> None:
        self._stored.seek(0)
        self._input = b""
        self._member = isal_zlib.decompressobj(wbits=31)
        self._members = 0
        self._fresh = True  # the member has not begun
        self._ended = False

    def read(self, size: int, /) -> bytes:
        """Raises FileFailureError ARCHIVE_DAMAGED: what was read before may be wrong too if its checksum is."""
        pieces: list[bytes] = []
        missing = size
        while missing > 0 and not self._ended:
            piece = self._step(missing)
            pieces.append(piece)
            missing -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _step(self, limit: int) -> bytes:
        """At most `limit` unpacked bytes; may be none although more follow."""
        if not self._input:
            self._input = self._stored.read(64 * 1024)
        if self._fresh and not self._begin_member():
            self._ended = True
            return b""
        starved = not self._input
        try:
            piece: bytes = self._member.decompress(self._input, limit)
        except _UNPACKING_ERRORS as error:
            raise FileFailureError("ARCHIVE_DAMAGED", reason=_DAMAGED) from error
        if self._member.eof:
            self._input = self._member.unused_data
            self._member = isal_zlib.decompressobj(wbits=31)
            self._fresh = True
        else:
            self._input = self._member.unconsumed_tail
            if starved and not piece:
                raise FileFailureError("ARCHIVE_DAMAGED", reason=_CUT)
        return piece

    def _begin_member(self) -> bool:
        """Whether another member begins here. Zeros up to the end are padding, as for gzip itself."""
        while len(self._input) < len(GZIP_MAGIC) and (more := self._stored.read(64 * 1024)):
            self._input += more
        if self._members and not self._input.startswith(GZIP_MAGIC):
            while self._input:
                if self._input.strip(b"\0"):
                    raise FileFailureError("ARCHIVE_DAMAGED", reason=_TRAILING)
                self._input = self._stored.read(64 * 1024)
            return False
        self._members += 1
        self._fresh = False
        return True


def _only_member(stored: BinaryIO, head: bytes) -> tuple[Forward, zipfile.ZipInfo]:
    if not head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        raise FileFailureError("ZIP_MISNAMED", kind=kind_of(head) or "plain text")
    try:
        archive = zipfile.ZipFile(stored)
    except _NOT_A_ZIP as error:
        raise FileFailureError("ARCHIVE_DAMAGED", line="1", reason=_CUT) from error
    files = [info for info in archive.infolist() if not _is_beside_the_point(info)]
    if len(files) != 1:
        names = ", ".join(info.filename[:60] for info in files[:5]) or "none"
        raise FileFailureError("ZIP_NOT_ONE_FILE", count=len(files), names=names)
    info = files[0]
    if info.flag_bits & 0x1:
        raise FileFailureError("ZIP_ENCRYPTED")
    # Others cannot be unpacked within bounds: a few bytes of bzip2 may be gigabytes at once.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        name = _METHODS.get(info.compress_type, f"number {info.compress_type}")
        raise FileFailureError("ZIP_METHOD_UNKNOWN", method=name)
    try:
        member = archive.open(info)
    except _NOT_A_ZIP as error:
        raise FileFailureError("ARCHIVE_DAMAGED", line="1", reason=_INDEX) from error
    return _ZipContent(member), info


def _is_beside_the_point(info: zipfile.ZipInfo) -> bool:
    """Folders, and what macOS puts beside every file."""
    name = PurePath(info.filename)
    return info.is_dir() or name.parts[:1] == ("__MACOSX",) or name.name in (".DS_Store", "Thumbs.db")


class _ZipContent:
    """A member of a zip; its checksum is checked at its end."""

    def __init__(self, member: IO[bytes]) -> None:
        self._member = member

    def read(self, size: int, /) -> bytes:
        pieces = []
        while size > 0 and (piece := self._member.read(size)):
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def restart(self) -> None:
        self._member.seek(0)
