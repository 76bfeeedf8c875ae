"""The account's file library: bytes in storage as parts, and one stream over them.

A file that came in one request is one part; a resumable upload stores each piece that arrived as a part of its own
(batchjobs/resumable.py), so that nothing is ever copied together and any storage will do. Everything that reads or
removes the bytes of a file goes through here.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import IO, Any
from uuid import uuid4

from django.core.files.base import File
from django.core.files.storage import default_storage

from accounts.models import Account, User
from batchjobs.models import FilePart, SourceFile

SOURCES = "sources"  # the folder in storage
BLOCK = 512 * 1024


class FileGoneError(Exception):
    """The bytes are not there (any more)."""


class StorageFailedError(Exception):
    """Storage did not do what it was asked for; `__cause__` says why."""


def store_file(*, account: Account, name: str, content: File[bytes], by: User | None = None) -> SourceFile:
    """Stores a whole file durably and records it. `discard_parts` takes it back if what follows fails."""
    size = content.size or 0
    stored_as = default_storage.save(part_name(account), content)
    try:
        return record_file(account=account, name=name, size=size, stored_as=stored_as, by=by)
    except BaseException:
        default_storage.delete(stored_as)
        raise


def record_file(
    *, account: Account, name: str, size: int, stored_as: str, by: User | None = None, sha256: str = ""
) -> SourceFile:
    """Records bytes that are in storage as a whole file."""
    file: SourceFile = SourceFile.objects.create(
        account=account, name=name, size=size, received=size, created_by=by, sha256=sha256
    )
    FilePart.objects.create(file=file, start=0, size=size, stored_as=stored_as)
    return file


def part_name(account: Account) -> str:
    """A name in storage for bytes of a file: made by us, never by whoever sends them."""
    return f"{SOURCES}/{account.pk}/{uuid4().hex}"


def open_file(file: SourceFile) -> IO[bytes]:
    """The file's bytes from the first on, seekable. Raises FileGoneError."""
    if file.removed_at or not file.is_complete:
        raise FileGoneError
    parts = list(file.parts.order_by("start"))
    if sum(part.size for part in parts) != file.size:
        raise FileGoneError
    return io.BufferedReader(_Parts(parts), BLOCK)


def open_beginning(file: SourceFile) -> IO[bytes]:
    """What is there of a file that may still be arriving, from the first byte on. Raises FileGoneError."""
    parts = list(file.parts.order_by("start"))
    if file.removed_at or (not parts and file.size):
        raise FileGoneError
    return io.BufferedReader(_Parts(parts), BLOCK)


def stored_blocks(file: SourceFile) -> Iterator[bytes]:
    """What storage has of a file, part after part; a part that is gone is left out. Raises StorageFailedError."""
    for part in file.parts.order_by("start"):
        with suppress(FileNotFoundError), open_stored(part.stored_as) as stored:
            yield from iter(lambda stored=stored: stored.read(BLOCK), b"")  # type: ignore[misc]


def open_stored(name: str) -> IO[bytes]:
    """An object of storage. Raises FileNotFoundError, and StorageFailedError for what else may go wrong."""
    try:
        stored: IO[bytes] = default_storage.open(name)
    except FileNotFoundError:
        raise
    except Exception as error:
        raise StorageFailedError(name) from error
    return stored


def remove_bytes(file: SourceFile, *, each: Callable[[], None] = lambda: None) -> int:
    """Removes the parts from storage; returns how many there were. The record stays.

    `each` is called before every part. Raises StorageFailedError.
    """
    removed = 0
    for part in file.parts.order_by("start"):
        each()
        remove_stored(part.stored_as)
        part.delete()
        removed += 1
    return removed


def remove_stored(name: str) -> None:
    """Removes an object from storage; one that is not there is fine. Raises StorageFailedError."""
    try:
        default_storage.delete(name)
    except Exception as error:  # each kind of storage has its own
        raise StorageFailedError(name) from error


def list_stored(folder: str) -> tuple[list[str], list[str]]:
    """Names of the folders and of the objects in `folder`; none if it is not there. Raises StorageFailedError."""
    try:
        return default_storage.listdir(folder)
    except FileNotFoundError:
        return [], []
    except Exception as error:
        raise StorageFailedError(folder) from error


class ReadOnce(File):  # generic for the types alone
    """Bytes on their way into storage, read once from their beginning: what passes is counted and hashed.

    Never more than a block is in memory. `next_bytes` gives what comes next.
    """

    READ = 64 * 1024

    def __init__(self) -> None:
        super().__init__(None)  # there is no file: `read` and `chunks` are all
        self.sha256 = hashlib.sha256()
        self.count = 0

    def next_bytes(self, size: int) -> bytes:
        """At most `size` bytes; none at the end."""
        raise NotImplementedError

    @property
    def closed(self) -> bool:
        return False

    def __bool__(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Storage makes sure that it begins at the beginning; there is no other way."""
        if self.count or offset or whence:
            raise OSError("These bytes are read once, from their beginning.")
        return 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = self.next_bytes(2**63 - 1 if size is None or size < 0 else size)
        self.count += len(data)
        self.sha256.update(data)
        return data

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        while data := self.read(chunk_size or self.READ):
            yield data


class _Parts(io.RawIOBase):
    """The parts of a file as one stream. One part is open at a time."""

    def __init__(self, parts: list[FilePart]) -> None:
        self._parts = parts
        self._size = sum(part.size for part in parts)
        self._at = 0
        self._open: IO[bytes] | None = None
        self._number = -1
        if parts:
            self._enter(0)  # what is gone is noticed at once

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        if self._at >= self._size or not len(buffer):
            return 0
        number = next(n for n, part in enumerate(self._parts) if part.start <= self._at < part.start + part.size)
        part = self._parts[number]
        if number != self._number:
            self._enter(number)
        assert self._open is not None  # noqa: S101  _enter
        inside = self._at - part.start
        if self._open.tell() != inside:
            self._open.seek(inside)
        data = self._open.read(min(len(buffer), part.size - inside))
        if not data:
            raise FileGoneError  # shorter than when it was stored
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None
        super().close()

    def _enter(self, number: int) -> None:
        if self._open is not None:
            self._open.close()
        try:
            self._open = default_storage.open(self._parts[number].stored_as)
        except FileNotFoundError as error:
            raise FileGoneError from error
        self._number = number
