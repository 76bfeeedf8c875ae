"""A block of rows as columns: checks run down a column, and a row collects all that is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import compress
from typing import TypeVar

from batchjobs.ingestion import checks
from batchjobs.ingestion.formulas import undo_safe
from batchjobs.ingestion.records.columns import Matched
from batchjobs.ingestion.rows import RawBlock, Rejected, RowError

T = TypeVar("T")
TEXT_MAX = 255


class Table:
    """Columns of the rows that have as many cells as the header; the others are rejected at once.

    A column that the file does not have is None. After all checks `kept` picks the rows without errors.
    """

    def __init__(self, block: RawBlock, matched: Matched, header: list[str]) -> None:
        self.block = block
        self.matched = matched
        self.errors: dict[int, list[RowError]] = {}  # by the row's place in the block
        self._mask: list[bool] | None = None
        width = matched.width
        if set(map(len, block.rows)) <= {width}:
            self.places: Sequence[int] = range(len(block.rows))
            rows = block.rows
        else:
            self.places = [place for place, row in enumerate(block.rows) if len(row) == width]
            for place, row in enumerate(block.rows):
                if len(row) != width:
                    self.errors[place] = [RowError("", "ROW_TOO_SHORT" if len(row) < width else "ROW_TOO_LONG")]
            rows = [block.rows[place] for place in self.places]
        self.count = len(rows)
        if block.dirty:
            self._check_text(rows, header)
        if matched.formula_safe:
            rows = [list(map(undo_safe, row)) for row in rows]
        self._columns: list[tuple[str, ...]] = list(zip(*rows, strict=True)) if rows else [()] * width

    def add(self, at: int, error: RowError) -> None:
        """Notes an error of the row at `at` of the columns."""
        self.errors.setdefault(self.places[at], []).append(error)

    def cells(self, index: int) -> tuple[str, ...]:
        """A column as it stands in the file."""
        return self._columns[index]

    def texts(self, name: str) -> list[str] | None:
        """A known column, stripped; values longer than 255 characters are errors."""
        index = self.matched.known.get(name)
        if index is None:
            return None
        values = list(map(str.strip, self._columns[index]))
        if max(map(len, values), default=0) > TEXT_MAX:
            for at, value in enumerate(values):
                if len(value) > TEXT_MAX:
                    self.add(at, RowError(name, "VALUE_TOO_LONG", value[:TEXT_MAX]))
        return values

    def emails(self, name: str) -> list[str] | None:
        """A known column as lower-case addresses; blank stays blank."""
        index = self.matched.known.get(name)
        if index is None:
            return None
        values = [value.strip().lower() for value in self._columns[index]]
        clean = list(map(checks.email, values))
        if "" in clean:
            for at, value in enumerate(values):
                if value and not clean[at]:
                    self.add(at, RowError(name, "EMAIL_INVALID", value))
                    clean[at] = value  # told once: it is not missing too
        return clean

    def times(self, name: str, parse: Callable[[str], str], default: str) -> list[str]:
        """A known column as ISO times; blank becomes `default`."""
        index = self.matched.known.get(name)
        if index is None:
            return [default] * self.count
        values = list(map(str.strip, self._columns[index]))
        if "" in values:
            values = [value or default for value in values]
        clean: list[str] = []
        rest = iter(values)
        while len(clean) < len(values):
            try:
                clean.extend(map(parse, rest))  # keeps what came before a bad one
            except (ValueError, OverflowError) as error:
                at = len(clean)
                self.add(at, RowError(name, _date_problem(error), values[at]))
                clean.append("")
        return clean

    def kept(self, column: list[T]) -> list[T]:
        """Of a column, the rows without errors that were not left out."""
        if self._mask is None:
            if not self.errors:
                return column
            self._mask = [place not in self.errors for place in self.places]
        return list(compress(column, self._mask))

    def leave_out(self, wanted: list[bool]) -> None:
        """Of the rows that are kept so far, keeps only those marked in `wanted`."""
        marks = iter(wanted)
        before = self._mask if self._mask is not None else [True] * self.count
        self._mask = [kept and next(marks) for kept in before]

    def lines(self) -> list[int]:
        """The physical line of each row of the columns."""
        return self.block.lines if self.count == len(self.block.rows) else [self.block.lines[p] for p in self.places]

    def rejected(self) -> list[Rejected]:
        """What could not be read as a record, and the rows with errors, as they stand in the file."""
        block = self.block
        told = []
        for place, errors in self.errors.items():
            line = block.lines[place]
            told.append(Rejected(line, errors, block.raws.of(line, block.ends[place]), block.rows[place]))
        return block.rejected + told

    def _check_text(self, rows: list[list[str]], header: list[str]) -> None:
        """Only for blocks that hold bytes which are not text."""
        for at, row in enumerate(rows):
            for name, cell in zip(header, row, strict=False):
                if "\x00" in cell:
                    self.add(at, RowError(name, "NUL_CHARACTER", cell))
                if not cell.isascii() and not _encodable(cell):
                    self.add(at, RowError(name, "ENCODING_INVALID", cell))


def _date_problem(error: Exception) -> str:
    if isinstance(error, checks.DateAmbiguousError):
        return "DATE_AMBIGUOUS"
    return "DATE_OUT_OF_RANGE" if isinstance(error, OverflowError) else "EVENT_TIME_INVALID"


def _encodable(cell: str) -> bool:
    try:
        cell.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
