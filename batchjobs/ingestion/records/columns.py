"""How a record type declares its columns: checks, texts and templates come from here."""

from __future__ import annotations

import re
from dataclasses import dataclass

from batchjobs.failures import FileFailureError

_SEPARATORS = re.compile(r"[\s\-.]+")
# Columns that Batchdesk itself adds to rejected rows: a corrected file may still have them.
ERROR_COLUMNS = ("_error_line", "_error_code", "_error_column", "_error_message")


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    help: str
    example: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Matched:
    """Which cell of a row fills which column. `others` keeps the header's own names."""

    known: dict[str, int]
    others: dict[str, int]
    width: int
    formula_safe: bool  # the file came from us with `'` before formulas


def canonical(name: str) -> str:
    """`E-Mail ` and `e_mail` are one name."""
    return _SEPARATORS.sub("_", name.strip().lower())


def match_columns(header: list[str], columns: tuple[Column, ...], *, limit: int) -> Matched:
    """Finds the columns in a header. Raises FileFailureError COLUMNS_TOO_MANY or COLUMN_TWICE."""
    if len(header) > limit:
        raise FileFailureError("COLUMNS_TOO_MANY", count=len(header), limit=limit)
    spellings = {alias: column.name for column in columns for alias in (column.name, *column.aliases)}
    known: dict[str, int] = {}
    others: dict[str, int] = {}
    seen: set[str] = set()
    ours = False
    for index, raw in enumerate(header):
        name = raw.strip().replace("\x00", "") or f"column_{index + 1}"
        key = canonical(name)
        if key in ERROR_COLUMNS:
            ours = True
            continue
        meaning = spellings.get(key, key)
        if meaning in seen:
            raise FileFailureError("COLUMN_TWICE", column=name)
        seen.add(meaning)
        if meaning in spellings.values():
            known[meaning] = index
        else:
            others[name] = index
    return Matched(known, others, len(header), ours)
