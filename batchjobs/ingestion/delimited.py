"""CSV and its kin: numbered records out of bytes, in bounded memory whatever the file's size.

Python's csv module splits the records, in strict mode, a block of lines at a time. A record that never ends (a quote
that is not closed) is bounded: its first line is rejected and reading goes on at the next line. After
`RUNAWAYS_MAX` of these a line is a record, so that a damaged file costs no more than a good one.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from batchjobs.failures import FileFailureError
from batchjobs.ingestion.rows import RawBlock, RawText, Rejected, RowError
from batchjobs.ingestion.sniff import HEAD_BYTES, TextForm, delimiter_of, text_form

BLOCK_BYTES = 512 * 1024  # measured: larger ones are slower
RUNAWAYS_MAX = 100
RAW_KEPT = 2_000  # characters kept of a line that is too long to read


@dataclass(slots=True)
class DelimitedLayout:
    """How the file is read: found once, stored with the job, used again after a crash."""

    encoding: str
    newline: str
    delimiter: str
    header: list[str]
    data_offset: int
    data_line: int
    runaways: int = 0

    @property
    def form(self) -> TextForm:
        return TextForm(self.encoding, 0, self.newline.encode(self.encoding))


def layout_of(file: BinaryIO, *, extension: str, encoding: str, delimiter: str, record_max: int) -> DelimitedLayout:
    """Reads the header. Raises FileFailureError for what is not text or has no readable header."""
    file.seek(0)
    head = file.read(max(HEAD_BYTES, record_max + 1024))
    form = text_form(head, encoding)
    body = head[form.bom :]
    cut = len(body)
    if len(head) >= record_max:  # not the whole file: cut at a line's end
        cut = _last_newline(body, form) or len(body)
    try:
        text = body[:cut].decode(form.encoding)
    except UnicodeDecodeError as error:
        first = body.find(form.newline)
        if first == -1 or error.start <= first:
            raise FileFailureError("ENCODING_UNKNOWN") from error
        text = body[:cut].decode(form.encoding, form.lenient)
    physical = list(io.StringIO(text, newline=""))
    blank = 0
    while blank < len(physical) and not physical[blank].strip():
        blank += 1
    if blank == len(physical):
        raise FileFailureError("FILE_EMPTY")
    delimiter = delimiter_of(physical[blank:], extension, delimiter)
    if "\x00" in physical[blank]:
        raise FileFailureError("HEADER_UNREADABLE", reason="It contains NUL characters.")
    csv.field_size_limit(record_max)
    reader = csv.reader(iter(physical[blank:]), delimiter=delimiter, strict=True)
    try:
        header = next(reader)
    except csv.Error as error:
        raise FileFailureError("HEADER_UNREADABLE", reason="A quote in it is not closed properly.") from error
    used = blank + reader.line_num
    return DelimitedLayout(
        encoding=form.encoding,
        newline=form.newline.decode(form.encoding),
        delimiter=delimiter,
        header=[name.strip() for name in header],
        data_offset=form.bom + len("".join(physical[:used]).encode(form.encoding, form.lenient)),
        data_line=used + 1,
    )


def _last_newline(data: bytes, form: TextForm, start: int = 0) -> int:
    """The offset behind the last line end in `data`, or 0."""
    width = len(form.newline)
    at = data.rfind(form.newline, start)
    while at != -1 and at % width:  # UTF-16: only whole units
        at = data.rfind(form.newline, start, at + width - 1)
    return at + width if at != -1 else 0


@dataclass(slots=True)
class DelimitedReader:
    """Reads records from `layout` on, or from a checkpoint."""

    file: BinaryIO
    layout: DelimitedLayout
    record_max: int
    offset: int = 0
    line: int = 1
    _carry: bytes = field(default=b"", repr=False)

    def seek(self, offset: int, line: int) -> None:
        """Goes to the beginning of a record: chunks always start afresh, so a resumed run cuts them the same way."""
        csv.field_size_limit(self.record_max)
        self.file.seek(offset)
        self.offset, self.line, self._carry = offset, line, b""

    def blocks(self) -> Iterator[RawBlock]:
        """Blocks up to the end of the file; the reader may be sought between two of them."""
        form = self.layout.form
        while True:
            fresh = self.file.read(BLOCK_BYTES)
            data = self._carry + fresh
            final = not fresh
            if not data:
                return
            cut = len(data) if final else _last_newline(data, form, max(0, len(self._carry) - 2))
            if not cut:
                if len(data) > self.record_max:
                    yield self._skip_line(data)
                else:
                    self._carry = data
                continue
            block, used = self._split(data[:cut], final)
            self._carry = data[used:]
            self.offset += used
            self.line = block.end_line
            block.end_offset = self.offset
            if block.rows or block.rejected or used:
                yield block
            if final:
                return

    def _split(self, data: bytes, final: bool) -> tuple[RawBlock, int]:
        """Splits whole lines into records. What the last, unfinished record holds is left for the next block."""
        form = self.layout.form
        try:
            text = data.decode(form.encoding)
            dirty = "\x00" in text or (form.encoding.startswith("utf-16") and _has_surrogates(text))
        except UnicodeDecodeError:
            text = data.decode(form.encoding, form.lenient)
            dirty = True
        physical = list(io.StringIO(text, newline=""))
        first = self.line
        block = RawBlock([], [], [], RawText(physical, first), [], dirty, 0, 0)
        over = len(data) > self.record_max
        used = self._records(physical, first, block, final=final, over=over)
        block.end_line = first + used
        if used == len(physical):
            return block, len(data)
        rest = "".join(physical[used:]).encode(form.encoding, form.lenient if dirty else "strict")
        return block, len(data) - len(rest)

    def _records(self, physical: list[str], first: int, block: RawBlock, *, final: bool, over: bool) -> int:
        """Fills `block`; returns how many lines were used."""
        count = len(physical)
        quoted = [at for at, line in enumerate(physical) if '"' in line]
        at = 0
        if len(quoted) * 20 < count:
            # Few quotes: lines without one are records as they stand, three times as quickly as by the csv module.
            for mark in [*quoted, count]:
                if at < mark:
                    self._plain(physical, at, mark, first, block)
                    at = mark
                if at == mark < count:
                    at, unfinished = self._strict(physical, at, first, block, final=final, over=over, one=True)
                    if unfinished:
                        return at
            return count
        while at < count:
            at, unfinished = self._strict(physical, at, first, block, final=final, over=over)
            if unfinished:
                return at
        return count

    def _plain(self, physical: list[str], at: int, end: int, first: int, block: RawBlock) -> None:
        """Lines without a quote."""
        delimiter = self.layout.delimiter
        lines = [line.rstrip("\r\n") for line in physical[at:end]]
        if "" in lines:  # blank lines are no rows
            numbers = [number for number, line in enumerate(lines, first + at) if line]
            lines = list(filter(None, lines))
        else:
            numbers = list(range(first + at, first + end))
        block.rows.extend([line.split(delimiter) for line in lines])
        block.lines.extend(numbers)
        block.ends.extend([number + 1 for number in numbers])

    def _strict(
        self, physical: list[str], at: int, first: int, block: RawBlock, *, final: bool, over: bool, one: bool = False
    ) -> tuple[int, bool]:
        """Records by the csv module from line `at` on (or `one`), up to the first that cannot be read.

        Returns where to go on, and whether that is an unfinished record that needs the next block.
        """
        if self.layout.runaways >= RUNAWAYS_MAX:
            end = at + 1 if one else len(physical)
            self._line_by_line(physical, at, end, first, block)
            return end, False
        reader = csv.reader(_from(physical, at), delimiter=self.layout.delimiter, strict=True)
        end = 0
        try:
            for row in reader:
                if row:
                    block.rows.append(row)
                    block.lines.append(first + at + end)
                    block.ends.append(first + at + reader.line_num)
                end = reader.line_num
                if one:
                    break
            return at + end, False
        except csv.Error as error:
            start = at + end  # where the record begins that cannot be read
            unfinished = at + reader.line_num >= len(physical) and "unexpected end" in str(error)
            if unfinished and not final and not (over and start == 0):
                return start, True
            spans = reader.line_num - end > 1
            code = "QUOTE_UNCLOSED" if unfinished or spans or "limit" in str(error) else "QUOTE_MALFORMED"
            self.layout.runaways += spans or unfinished
            line = physical[start]
            block.rejected.append(Rejected(first + start, [RowError("", code)], line.rstrip("\r\n"), None))
            return start + 1, False

    def _line_by_line(self, physical: list[str], at: int, end: int, first: int, block: RawBlock) -> None:
        for number, line in enumerate(physical[at:end], first + at):
            try:
                row = next(csv.reader((line,), delimiter=self.layout.delimiter, strict=True), [])
            except csv.Error:
                block.rejected.append(Rejected(number, [RowError("", "QUOTE_UNCLOSED")], line.rstrip("\r\n"), None))
                continue
            if row:
                block.rows.append(row)
                block.lines.append(number)
                block.ends.append(number + 1)

    def _skip_line(self, data: bytes) -> RawBlock:
        """A line longer than a record may be: its beginning is kept, the rest is passed over without storing it."""
        form = self.layout.form
        kept = data[: RAW_KEPT * 4].decode(form.encoding, "replace")[:RAW_KEPT] + "…"
        passed = len(data)
        self._carry = b""
        while fresh := self.file.read(BLOCK_BYTES):
            aligned = fresh if passed % len(form.newline) == 0 else fresh[passed % len(form.newline) :]
            at = aligned.find(form.newline)
            while at != -1 and at % len(form.newline):
                at = aligned.find(form.newline, at + 1)
            if at == -1:
                passed += len(fresh)
                continue
            upto = at + len(form.newline) + (len(fresh) - len(aligned))
            passed += upto
            self._carry = fresh[upto:]
            break
        line = self.line
        self.offset += passed
        self.line = line + 1
        rejected = Rejected(line, [RowError("", "RECORD_TOO_LARGE")], kept.replace("\x00", "�"), None)
        return RawBlock([], [], [], RawText([], line), [rejected], False, self.offset, self.line)


def _from(lines: list[str], at: int) -> Iterator[str]:
    """`lines` from `at` on, without copying."""
    if at == 0:
        return iter(lines)
    return (lines[i] for i in range(at, len(lines)))


def _has_surrogates(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False
