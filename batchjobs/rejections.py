"""What was wrong with a file, for people: the ledger's groups as one list, and the first rejected rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from batchjobs.ingestion.problems import PROBLEMS
from batchjobs.models import Chunk

EXAMPLES = 3
SAMPLE_ROWS = 8
SAMPLE_COLUMNS = 40
CELL_CHARACTERS = 80


@dataclass(slots=True)
class ErrorGroup:
    """All rejections with one code in one column."""

    code: str
    column: str
    count: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)

    @property
    def title(self) -> str:
        return str(PROBLEMS[self.code].title) if self.code in PROBLEMS else self.code

    @property
    def hint(self) -> str:
        return str(PROBLEMS[self.code].hint) if self.code in PROBLEMS else ""


@dataclass(frozen=True, slots=True)
class Cell:
    value: str
    wrong: str = ""  # what is wrong with it


@dataclass(frozen=True, slots=True)
class SampleRow:
    line: int
    cells: list[Cell]
    why: str


def merge_groups(chunks: Iterable[Chunk]) -> list[ErrorGroup]:
    """The chunks' groups as one list, most frequent first, with the first few examples of each."""
    merged: dict[tuple[str, str], ErrorGroup] = {}
    for chunk in chunks:
        for part in chunk.groups:
            code, column = str(part.get("code", "")), str(part.get("column") or "")
            group = merged.setdefault((code, column), ErrorGroup(code, column))
            group.count += int(part.get("count", 0))
            room = EXAMPLES - len(group.examples)
            group.examples += [
                {"line": example.get("line"), "value": _cut(example.get("value"))}
                for example in part.get("examples", [])[:room]
            ]
    return sorted(merged.values(), key=lambda group: (-group.count, group.code, group.column))


def sample_rows(header: Sequence[str], samples: Iterable[dict[str, Any]]) -> list[SampleRow]:
    """Rejected rows with the cells at fault marked. `header` may be empty or shorter than a row."""
    places = {name.strip().casefold(): place for place, name in reversed(list(enumerate(header)))}
    rows = []
    for sample in samples:
        wrong: dict[int, str] = {}
        reasons = []
        for error in sample.get("errors", []):
            problem = PROBLEMS.get(str(error.get("code")))
            title = str(problem.title) if problem else str(error.get("message") or error.get("code"))
            reasons.append(title)
            place = places.get(str(error.get("column") or "").strip().casefold())
            if place is not None:
                wrong.setdefault(place, title)
        cells = [Cell(_cut(value), wrong.get(n, "")) for n, value in enumerate(sample.get("cells", []))]
        cells += [Cell("", wrong.get(n, "")) for n in range(len(cells), len(header))]
        rows.append(SampleRow(sample.get("line", 0), cells[:SAMPLE_COLUMNS], ". ".join(dict.fromkeys(reasons))))
    return rows


def _cut(value: object) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= CELL_CHARACTERS else f"{text[:CELL_CHARACTERS]}…"
