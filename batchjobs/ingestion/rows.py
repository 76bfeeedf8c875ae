"""The shapes that travel through the pipeline."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from batchjobs.ingestion.problems import PROBLEMS


class RowError(NamedTuple):
    """One thing wrong with a row. `column` is the header's name, or empty for the row as a whole."""

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


@dataclass(slots=True)
class RawBlock:
    """A block of a file, split into records: `rows[i]` covers the physical lines `lines[i]` to before `ends[i]`."""

    rows: list[list[str]]
    lines: list[int]
    ends: list[int]
    raws: RawText
    rejected: list[Rejected]  # what could not be read as a record at all
    dirty: bool  # holds bytes that are not text: NUL, or invalid in the encoding
    end_offset: int
    end_line: int  # the number of the next line


@dataclass(slots=True)
class RawText:
    """The block's physical lines, to show a rejected record as it stands in the file."""

    physical: list[str]
    first_line: int

    def of(self, line: int, next_line: int) -> str:
        start = line - self.first_line
        return "".join(self.physical[start : next_line - self.first_line]).rstrip("\r\n")


@dataclass(slots=True)
class CheckedBlock:
    """Good rows as COPY text, and the others."""

    copy_text: str
    good: int
    rejected: list[Rejected]
    skipped_lines: list[int] = field(default_factory=list)  # the same dedupe key earlier in the chunk
    event_names: set[str] = field(default_factory=set)
