"""What the formats that go by lines share: the head of a file, and lines that are too long to be read."""

from __future__ import annotations

import codecs
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Generic, Protocol, TypeVar

from batchjobs.ingestion.rejects import readable
from batchjobs.ingestion.rows import RawBlock, Rejected, RowError
from batchjobs.ingestion.sniff import HEAD_BYTES, TextForm, text_form
from batchjobs.ingestion.source import BLOCK, Content

RAW_KEPT = 2_000  # characters kept of a line that is too long to read

B = TypeVar("B", bound=RawBlock)


class LineLayout(Protocol):
    """What a layout of lines says."""

    header: list[str]

    @property
    def form(self) -> TextForm: ...


@dataclass(slots=True)
class LineReader(ABC, Generic[B]):
    """Reads a file in which a record is a line, from `layout` on or from a checkpoint. Subclasses make the blocks."""

    content: Content
    layout: LineLayout
    record_max: int
    offset: int = 0
    line: int = 1
    _carry: bytes = field(default=b"", repr=False)

    block_bytes: ClassVar[int] = BLOCK

    def seek(self, offset: int, line: int) -> None:
        """Goes to the beginning of a line: chunks always start afresh, so a resumed run cuts them the same way."""
        self.content.seek(offset)
        self.offset, self.line, self._carry = offset, line, b""

    def blocks(self) -> Iterator[B]:
        """Blocks up to the end of the file; the reader may be sought between two of them."""
        form = self.layout.form
        while True:
            fresh = self.content.read(self.block_bytes)
            data = self._carry + fresh
            if not data:
                return
            cut = last_newline(data, form, max(0, len(self._carry) - 2)) if fresh else len(data)
            if not cut and len(data) > self.record_max + len(form.newline):  # it may end in \r
                passed, self._carry, rejected = skip_line(self.content, data, form, self.line)
                self.offset += passed
                self.line += 1
                yield self.nothing_but(rejected)
                continue
            self._carry = data[cut:]
            if cut:
                self.offset += cut
                yield self.whole(data[:cut])
            if not fresh:
                return

    @abstractmethod
    def nothing_but(self, rejected: Rejected) -> B:
        """A block of one line that was too long."""

    @abstractmethod
    def whole(self, data: bytes) -> B:
        """A block of whole lines, which begin at `self.line`; moves that on."""


def read_head(content: Content, encoding: str, record_max: int) -> tuple[TextForm, str]:
    """The form of the text, and its beginning: whole lines, as many as a record may be long.

    Raises FileFailureError FILE_EMPTY or BINARY_FILE. Bytes that are not in the encoding are lone surrogates.
    """
    content.seek(0)
    head = content.read(max(HEAD_BYTES, record_max + 1024))
    form = text_form(head, encoding)
    body = head[form.bom :]
    if len(head) < record_max:  # the whole file
        return form, form.decode(body)[0]
    if cut := last_newline(body, form):
        return form, form.decode(body[:cut])[0]
    # In the middle of a line, and perhaps of a character.
    return form, codecs.getincrementaldecoder(form.encoding)(form.lenient).decode(body)


def is_text(value: str) -> bool:
    """Whether the database can hold it: no NUL, and no lone surrogates, which stand for bytes that are no text."""
    if "\x00" in value:
        return False
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def last_newline(data: bytes, form: TextForm, start: int = 0) -> int:
    """The offset behind the last line end in `data`, or 0."""
    width = len(form.newline)
    lone = b"\r" in form.newline  # then a \r\n may stand in a cell, and must not be torn apart
    at = data.rfind(form.newline, start)
    while at != -1 and (at % width or (lone and data[at + width : at + 2 * width] in (b"", _feed(form)))):
        at = data.rfind(form.newline, start, at + width - 1)  # UTF-16: only whole units
    return at + width if at != -1 else 0


def _feed(form: TextForm) -> bytes:
    return form.newline.replace(b"\r", b"\n")


def too_long(line: int, text: str) -> Rejected:
    """The rejection of a line that is longer than a record may be; its beginning is kept."""
    return Rejected(line, [RowError("", "RECORD_TOO_LARGE")], readable(text[:RAW_KEPT]) + "…", None)


def skip_line(content: Content, data: bytes, form: TextForm, line: int) -> tuple[int, bytes, Rejected]:
    """Passes over a line that is longer than a record may be, without storing it; its beginning is kept.

    `data` is what was read of it. Returns how many bytes it has, what was read behind it, and the rejection.
    """
    rejected = too_long(line, form.decode(data[: RAW_KEPT * 4])[0])
    width = len(form.newline)
    passed = len(data)
    if data.endswith(form.newline) and passed % width == 0:
        return passed, b"", rejected
    while fresh := content.read(BLOCK):
        shift = passed % width
        aligned = fresh[shift:] if shift else fresh
        at = aligned.find(form.newline)
        while at != -1 and at % width:
            at = aligned.find(form.newline, at + 1)
        if at == -1:
            passed += len(fresh)
            continue
        upto = at + width + shift
        return passed + upto, fresh[upto:], rejected
    return passed, b"", rejected
