"""NDJSON: a JSON object a line. Blank lines are no rows (ndjson-spec, 3.2); a line may end in \\n, \\r\\n or \\r."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from batchjobs.ingestion.formats.json_records import decode_lines, is_risky
from batchjobs.ingestion.formats.lines import LineReader, read_head, too_long
from batchjobs.ingestion.rows import ObjectBlock, Rejected
from batchjobs.ingestion.sniff import TextForm
from batchjobs.ingestion.source import OBJECTS_BLOCK, Content


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


class NdjsonReader(LineReader[ObjectBlock]):
    block_bytes = OBJECTS_BLOCK

    def nothing_but(self, rejected: Rejected) -> ObjectBlock:
        return ObjectBlock([], str, [rejected], self.offset, self.line, [], {})

    def whole(self, data: bytes) -> ObjectBlock:
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
        risky = is_risky(data) or (newline == b"\r" and b"\n" in data)
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
