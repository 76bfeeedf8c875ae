"""CSV and its kin: records of columns out of bytes, in bounded memory whatever the file's size.

Lines without quotes are split as they stand, a run of lines at a time. The others go through Python's csv module in
strict mode. A record that never ends (a quote that is not closed) is bounded: its first line is rejected and reading
goes on at the next line. After `RUNAWAYS_MAX` of these a line is a record, so that a damaged file costs no more than a
good one.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import compress, repeat
from typing import Any, ClassVar

from batchjobs.failures import FileFailureError
from batchjobs.ingestion.formats.lines import is_text, last_newline, read_head, skip_line, too_long
from batchjobs.ingestion.rows import CellBlock, Rejected, RowError
from batchjobs.ingestion.sniff import SPACES, TextForm, delimiter_of
from batchjobs.ingestion.source import BLOCK, Content

RUNAWAYS_MAX = 100
NAME_MAX = 255  # characters of a column's name


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


def layout_of(content: Content, *, extension: str, options: dict[str, Any], record_max: int) -> DelimitedLayout:
    """Reads the header. Raises FileFailureError for what is not text or has no readable header."""
    form, text = read_head(content, str(options.get("encoding") or ""), record_max)
    physical = list(io.StringIO(text, newline=""))
    blank = 0
    while blank < len(physical) and not physical[blank].strip():
        blank += 1
    if blank == len(physical):
        raise FileFailureError("FILE_EMPTY")
    delimiter = delimiter_of(physical[blank:], extension, str(options.get("delimiter") or ""))
    if given := options.get("header"):
        header, used = [str(name) for name in given], blank
    else:
        header, used = _header(physical, blank, delimiter, record_max)
        _check_names(header)
    return DelimitedLayout(
        encoding=form.encoding,
        newline=form.newline.decode(form.encoding),
        delimiter=delimiter,
        header=[name.strip() for name in header],
        data_offset=form.bom + len(form.encode("".join(physical[:used]))),
        data_line=used + 1,
    )


def _header(physical: list[str], blank: int, delimiter: str, record_max: int) -> tuple[list[str], int]:
    """The cells of the first record, and how many lines it ends behind."""
    if delimiter == SPACES:
        return physical[blank].split(), blank + 1
    csv.field_size_limit(record_max)
    reader = csv.reader(iter(physical[blank:]), delimiter=delimiter, strict=True)
    try:
        return next(reader), blank + reader.line_num
    except csv.Error as error:
        raise FileFailureError("HEADER_UNREADABLE", reason="A quote in it is not closed properly.") from error


def _check_names(header: list[str]) -> None:
    """A name stands in every row that is stored: one of a megabyte would be a bomb."""
    if any("\x00" in name for name in header):
        raise FileFailureError("HEADER_UNREADABLE", reason="It contains NUL characters.")
    if not all(map(is_text, header)):
        raise FileFailureError("ENCODING_UNKNOWN")
    if max(map(len, header), default=0) > NAME_MAX:
        raise FileFailureError("HEADER_UNREADABLE", reason=f"A name in it is longer than {NAME_MAX} characters.")


@dataclass(slots=True)
class _Lines:
    """The physical lines of a block: what a record's raw text and the csv module are fed from."""

    bodies: list[str]  # without their ends
    ending: str  # of each line but perhaps the last; "" if `whole` has them
    whole: list[str] | None  # where ends differ: the lines with theirs
    first: int  # number of the first line

    def fed(self, at: int) -> Iterator[str]:
        """Lines from `at` on with their ends."""
        if self.whole is not None:
            return (self.whole[i] for i in range(at, len(self.whole)))
        return (self.bodies[i] + self.ending for i in range(at, len(self.bodies)))

    def text(self, line: int, next_line: int) -> str:
        start, end = line - self.first, next_line - self.first
        if self.whole is not None:
            return "".join(self.whole[start:end]).rstrip("\r\n")
        return self.ending.join(self.bodies[start:end])

    def rest(self, at: int, *, ended: bool) -> str:
        """Everything from line `at` on, as it stands; `ended` says whether the last line has its end."""
        if self.whole is not None:
            return "".join(self.whole[at:])
        return self.ending.join(self.bodies[at:]) + (self.ending if ended and at < len(self.bodies) else "")


@dataclass(slots=True)
class _Filling:
    """A block while it is read: cells of all records in one list, `width` for each."""

    cells: list[str]
    lines: list[int]
    ends: dict[int, int]  # line -> next record's line, where that is not the next line
    rejected: list[Rejected]


@dataclass(slots=True)
class DelimitedReader:
    """Reads records from `layout` on, or from a checkpoint."""

    content: Content
    layout: DelimitedLayout
    record_max: int
    offset: int = 0
    line: int = 1
    _carry: bytes = field(default=b"", repr=False)
    _width: int = 0

    block_bytes: ClassVar[int] = BLOCK

    def seek(self, offset: int, line: int) -> None:
        """Goes to the beginning of a record: chunks always start afresh, so a resumed run cuts them the same way."""
        csv.field_size_limit(self.record_max)
        self.content.seek(offset)
        self.offset, self.line, self._carry = offset, line, b""
        self._width = len(self.layout.header)

    def blocks(self) -> Iterator[CellBlock]:
        """Blocks up to the end of the file; the reader may be sought between two of them."""
        form = self.layout.form
        while True:
            fresh = self.content.read(self.block_bytes)
            data = self._carry + fresh
            final = not fresh
            if not data:
                return
            cut = len(data) if final else last_newline(data, form, max(0, len(self._carry) - 2))
            if not cut and len(data) <= self.record_max + len(form.newline):  # it may end in \r
                self._carry = data
                continue
            cut = cut or last_newline(data, form)  # a record that goes on gives up its first line
            if not cut:
                yield self._too_long(data)
                continue
            block, used = self._split(data[:cut], final, over=len(data) > self.record_max + len(form.newline))
            self._carry = data[used:]
            self.offset += used
            self.line = block.end_line
            block.end_offset = self.offset
            if block.count or block.rejected or used:
                yield block
            if final:
                return

    def _too_long(self, data: bytes) -> CellBlock:
        passed, self._carry, rejected = skip_line(self.content, data, self.layout.form, self.line)
        self.offset += passed
        self.line += 1
        return CellBlock([], str, [rejected], self.offset, self.line, [[] for _ in range(self._width)], dirty=False)

    def _split(self, data: bytes, final: bool, *, over: bool) -> tuple[CellBlock, int]:
        """Splits whole lines into records. What the last, unfinished record holds is left for the next block."""
        form = self.layout.form
        text, dirty = form.decode(data)
        dirty = dirty or "\x00" in text
        lines = _lines_of(text, self.line)
        into = _Filling([], [], {}, [])
        used = self._records(lines, into, final=final, over=over)
        first, ends = self.line, into.ends
        numbers = into.lines

        def raw(place: int) -> str:
            line = numbers[place]
            return lines.text(line, ends.get(line, line + 1))

        columns = [into.cells[at :: self._width] for at in range(self._width)]
        block = CellBlock(numbers, raw, into.rejected, 0, first + used, columns, dirty)
        if used == len(lines.bodies):
            return block, len(data)
        rest = lines.rest(used, ended=text[-1] in "\r\n")
        return block, len(data) - len(form.encode(rest))

    def _records(self, lines: _Lines, into: _Filling, *, final: bool, over: bool) -> int:
        """Fills the block; returns how many lines were used."""
        bodies = lines.bodies
        count = len(bodies)
        long = self._too_long_of(lines) if over else set()
        if self.layout.delimiter == SPACES:
            self._spaced(lines, into, long)
            return count
        if long:
            return self._past_long_lines(lines, into, long, final=final)
        quoted = [at for at, line in enumerate(bodies) if '"' in line]
        at = 0
        if len(quoted) * 20 < count:
            # Few quotes: lines without one are records as they stand, several times as quickly as by the csv module.
            for mark in [*quoted, count]:
                if at < mark:
                    self._plain(lines, at, mark, into)
                    at = mark
                if at == mark < count:
                    at, unfinished = self._strict(lines, at, into, final=final, over=over, one=True)
                    if unfinished:
                        return at
            return count
        while at < count:
            at, unfinished = self._strict(lines, at, into, final=final, over=over)
            if unfinished:
                return at
        return count

    def _too_long_of(self, lines: _Lines) -> set[int]:
        """The places of lines that are longer than a record may be."""
        form, limit = self.layout.form, self.record_max
        return {at for at, line in enumerate(lines.bodies) if len(line) * 4 > limit < len(form.encode(line))}

    def _past_long_lines(self, lines: _Lines, into: _Filling, long: set[int], *, final: bool) -> int:
        at, count = 0, len(lines.bodies)
        while at < count:
            if at in long:
                into.rejected.append(too_long(lines.first + at, lines.bodies[at]))
                at += 1
                continue
            at, unfinished = self._strict(lines, at, into, final=final, over=True, one=True)
            if unfinished:
                break
        return at

    def _plain(self, lines: _Lines, at: int, end: int, into: _Filling) -> None:
        """Lines without a quote."""
        delimiter, width = self.layout.delimiter, self._width
        run = lines.bodies[at:end] if at or end < len(lines.bodies) else lines.bodies
        numbers: list[int] | range = range(lines.first + at, lines.first + end)
        if "" in run:  # blank lines are no rows
            numbers = [number for number, line in zip(numbers, run, strict=True) if line]
            run = list(filter(None, run))
        if not run:
            return
        counts = list(map(str.count, run, repeat(delimiter)))
        if set(counts) != {width - 1}:
            fits = [count == width - 1 for count in counts]
            for number, line, fit in zip(numbers, run, fits, strict=True):
                if not fit:
                    self._row(line.split(delimiter), number, number + 1, lines, into)
            numbers, run = list(compress(numbers, fits)), list(compress(run, fits))
        if run:
            into.cells.extend(delimiter.join(run).split(delimiter))
            into.lines.extend(numbers)

    def _spaced(self, lines: _Lines, into: _Filling, long: set[int]) -> None:
        """Columns with any number of blanks between them, as in reports of fixed width."""
        for number, line in enumerate(lines.bodies, lines.first):
            if number - lines.first in long:
                into.rejected.append(too_long(number, line))
            elif cells := line.split():
                self._row(cells, number, number + 1, lines, into)

    def _row(self, row: list[str], line: int, end: int, lines: _Lines, into: _Filling) -> None:
        if len(row) != self._width:
            code = "ROW_TOO_SHORT" if len(row) < self._width else "ROW_TOO_LONG"
            into.rejected.append(Rejected(line, [RowError("", code)], lines.text(line, end), row))
            return
        into.cells.extend(row)
        into.lines.append(line)
        if end != line + 1:
            into.ends[line] = end

    def _strict(
        self, lines: _Lines, at: int, into: _Filling, *, final: bool, over: bool, one: bool = False
    ) -> tuple[int, bool]:
        """Records by the csv module from line `at` on (or `one`), up to the first that cannot be read.

        Returns where to go on, and whether that is an unfinished record that needs the next block.
        """
        if self.layout.runaways >= RUNAWAYS_MAX:
            end = at + 1 if one else len(lines.bodies)
            self._line_by_line(lines, at, end, into)
            return end, False
        reader = csv.reader(lines.fed(at), delimiter=self.layout.delimiter, strict=True)
        first = lines.first
        end = 0
        try:
            for row in reader:
                if over and self._is_over(lines, at + end, at + reader.line_num):
                    raise csv.Error("over the limit of a record")
                if row:
                    self._row(row, first + at + end, first + at + reader.line_num, lines, into)
                end = reader.line_num
                if one:
                    break
            return at + end, False
        except csv.Error as error:
            start = at + end  # where the record begins that cannot be read
            unfinished = at + reader.line_num >= len(lines.bodies) and "unexpected end" in str(error)
            if unfinished and not final and not (over and start == 0):
                return start, True
            spans = reader.line_num - end > 1
            code = "QUOTE_UNCLOSED" if unfinished or spans or "limit" in str(error) else "QUOTE_MALFORMED"
            self.layout.runaways += spans or unfinished
            number = first + start
            into.rejected.append(Rejected(number, [RowError("", code)], lines.text(number, number + 1), None))
            return start + 1, False

    def _is_over(self, lines: _Lines, at: int, end: int) -> bool:
        """Whether a record of several lines is longer than a record may be."""
        if end - at < 2:
            return False
        return len(self.layout.form.encode(lines.text(lines.first + at, lines.first + end))) > self.record_max

    def _line_by_line(self, lines: _Lines, at: int, end: int, into: _Filling) -> None:
        for number, line in enumerate(lines.bodies[at:end], lines.first + at):
            try:
                row = next(csv.reader((line,), delimiter=self.layout.delimiter, strict=True), [])
            except csv.Error:
                into.rejected.append(Rejected(number, [RowError("", "QUOTE_UNCLOSED")], line, None))
                continue
            if row:
                self._row(row, number, number + 1, lines, into)


def _lines_of(text: str, first: int) -> _Lines:
    """Splits at `\\n`, `\\r\\n` and `\\r`; where all are alike, without keeping them."""
    for ending, alike in (
        ("\n", "\r" not in text),
        ("\r\n", text.count("\r\n") == text.count("\n") == text.count("\r")),
        ("\r", "\n" not in text),
    ):
        if alike:
            bodies = text.split(ending)
            if not bodies[-1]:
                bodies.pop()
            return _Lines(bodies, ending, None, first)
    whole = list(io.StringIO(text, newline=""))
    return _Lines([line.rstrip("\r\n") for line in whole], "", whole, first)
