"""NDJSON: a JSON object a line. Blank lines are no rows (ndjson-spec, 3.2); a line may end in \\n, \\r\\n or \\r."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from batchjobs.ingestion.formats.json_records import decode_lines, is_risky
from batchjobs.ingestion.formats.lines import last_newline, read_head, skip_line, too_long
from batchjobs.ingestion.rows import ObjectBlock, Rejected
from batchjobs.ingestion.sniff import TextForm
from batchjobs.ingestion.source import BLOCK as HALF
from batchjobs.ingestion.source import Content

BLOCK = 2 * HALF  # a record is about twice as long as the same row of a CSV


@dataclass(slots=True)
class NdjsonLayout:
    """How the file is read. `header` is the keys at its beginning, for people: each record has its own."""

    encoding: str
    newline: str
    header: list[str]
    data_offset: int
    data_line: int

    @property
    def form(self) -> TextForm:
        return TextForm(self.encoding, 0, self.newline.encode(self.encoding))


def layout_of(content: Content, *, extension: str, options: dict[str, Any], record_max: int) -> NdjsonLayout:
    """Raises FileFailureError for what is not text."""
    form, _text = read_head(content, str(options.get("encoding") or ""), record_max)
    return NdjsonLayout(form.encoding, form.newline.decode(form.encoding), [], form.bom, 1)


@dataclass(slots=True)
class NdjsonReader:
    """Reads records from `layout` on, or from a checkpoint."""

    content: Content
    layout: NdjsonLayout
    record_max: int
    offset: int = 0
    line: int = 1
    _carry: bytes = field(default=b"", repr=False)

    def seek(self, offset: int, line: int) -> None:
        self.content.seek(offset)
        self.offset, self.line, self._carry = offset, line, b""

    def blocks(self) -> Iterator[ObjectBlock]:
        """Blocks up to the end of the file; the reader may be sought between two of them."""
        form = self.layout.form
        while True:
            fresh = self.content.read(BLOCK)
            data = self._carry + fresh
            final = not fresh
            if not data:
                return
            cut = len(data) if final else last_newline(data, form, max(0, len(self._carry) - 2))
            if not cut:
                if len(data) > self.record_max + len(form.newline):  # it may end in \r
                    yield self._too_long(data)
                else:
                    self._carry = data
                continue
            self._carry = data[cut:]
            self.offset += cut
            yield self._decoded(data[:cut])
            if final:
                return

    def _too_long(self, data: bytes) -> ObjectBlock:
        passed, self._carry, rejected = skip_line(self.content, data, self.layout.form, self.line)
        self.offset += passed
        self.line += 1
        return ObjectBlock([], str, [rejected], self.offset, self.line, [], {})

    def _decoded(self, data: bytes) -> ObjectBlock:
        form = self.layout.form
        newline = b"\n"
        if form.encoding != "utf-8":
            data = form.decode(data)[0].encode("utf-8", "surrogatepass")
        if form.newline.decode(form.encoding) == "\r":
            newline = b"\r"
        lines = data.split(newline)
        if not lines[-1]:
            lines.pop()
        first = self.line
        self.line += len(lines)
        numbers: list[int] = list(range(first, self.line))
        long: list[Rejected] = []
        if max(map(len, lines), default=0) * 2 > self.record_max:  # in the file it may be twice as long, as UTF-16
            kept = list(zip(numbers, lines, strict=True))
            long = [too_long(number, _text(line)) for number, line in kept if self._size(line) > self.record_max]
            skipped = {rejected.line for rejected in long}
            kept = [(number, line) for number, line in kept if number not in skipped]
            numbers, lines = [number for number, _ in kept], [line for _, line in kept]
        risky = is_risky(data)
        objects, places, numbers, errors, rejected = decode_lines(lines, numbers, joined=data, risky=risky)

        def raw(place: int) -> str:
            return _text(lines[places[place]])

        return ObjectBlock(
            numbers,
            raw,
            long + rejected,
            self.offset,
            self.line,
            objects,
            errors,
            has_blanks=b'""' in data or b"null" in data,
            has_numbers=risky,
        )

    def _size(self, line: bytes) -> int:
        """Bytes of a line in the file."""
        form = self.layout.form
        line = line.removesuffix(b"\r")
        if form.encoding == "utf-8" or len(line) * 2 <= self.record_max:
            return len(line)
        return len(form.encode(_text(line)))


def _text(line: bytes) -> str:
    return line.decode("utf-8", "surrogateescape").rstrip("\r")
