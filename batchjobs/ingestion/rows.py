"""The shapes that travel through the pipeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from batchjobs.ingestion.problems import PROBLEMS

PERSON_ERASED = "PERSON_ERASED"
ERASED = "(erased)"  # stands where a person's data stood


class RowError(NamedTuple):
    """One thing wrong with a row. `column` is the file's own name for it, or empty for the row as a whole."""

    column: str
    code: str
    value: str = ""

    def as_json(self) -> dict[str, str]:
        return {"column": self.column, "code": self.code, "message": PROBLEMS[self.code].message}


class Rejected(NamedTuple):
    """A row that was not taken in, with all that is wrong with it. `line` is physical, counted from 1."""

    line: int
    errors: list[RowError]
    raw: str
    cells: list[str] | None  # None where the record could not be split into cells

    def as_kept(self) -> Rejected:
        """What may be kept of it: of a row whose person was erased only where it stood, and what was wrong."""
        if not any(error.code == PERSON_ERASED for error in self.errors):
            return self
        return Rejected(self.line, [error._replace(value="") for error in self.errors], ERASED, [ERASED])


@dataclass(slots=True)
class RawBlock:
    """A block of a file, split into records: one of the two below, with what could not be read as a record.

    `lines[place]` is the physical line on which a record begins.
    """

    lines: Sequence[int]
    raw: Callable[[int], str]  # of a place: the record as it stands in the file
    rejected: list[Rejected]
    end_offset: int  # of the content, unpacked
    end_line: int  # the number of the next line

    @property
    def count(self) -> int:
        return len(self.lines)


@dataclass(slots=True)
class CellBlock(RawBlock):
    """Records of a file with a header: `columns[i][place]` is a text."""

    columns: list[list[str]]
    dirty: bool  # holds what is not text: NUL, or bytes that are invalid in the encoding


@dataclass(slots=True)
class ObjectBlock(RawBlock):
    """JSON objects. `errors` are those of records whose JSON is right and that cannot be stored, by place."""

    objects: list[dict[str, Any]]  # given away: whoever writes them may take values out
    errors: dict[int, list[RowError]]
    has_numbers: bool = True  # or may have: json_records.Number


@dataclass(slots=True)
class CheckedBlock:
    """Good rows as COPY text, and the others."""

    copy_text: str
    good: int
    rejected: list[Rejected]
    skipped_lines: list[int] = field(default_factory=list)  # the same dedupe key earlier in the chunk
