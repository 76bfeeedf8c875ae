"""Columns of a Selection as SQL texts that the writers put together."""

from __future__ import annotations

from typing import Any

import psycopg

from exports.rows import ColumnType

FORMULA_FIRST = "61,43,45,64,9,13,39"  # = + - @ tab CR and ', by which make_safe's rule may begin
# Of ingestion/formulas.py, as patterns of PostgreSQL.
FORMULA_RISKY = r"^''*[=+@\t\r-]"
FORMULA_NUMBER = r"^[+-]?[0-9.,]*[0-9][0-9.,]*$"


def time_text(column: str) -> str:
    """A time as ISO 8601 in UTC with a Z; what has no such form (infinity, before Christ) as the database says it."""
    iso = f"replace(({column} AT TIME ZONE 'UTC')::text, ' ', 'T') || 'Z'"
    return f"CASE WHEN {column} >= '0001-01-01' AND {column} < 'infinity' THEN {iso} ELSE {column}::text END"


def boolean_text(column: str) -> str:
    return f"CASE WHEN {column} THEN 'true' WHEN NOT {column} THEN 'false' END"


def plain_text(column: str, kind: ColumnType) -> str:
    """Any value as people and programs read it."""
    if kind is ColumnType.DATETIME:
        return time_text(column)
    if kind is ColumnType.BOOLEAN:
        return boolean_text(column)
    return f"{column}::text"


def safe_text(column: str) -> str:
    """A text with a ' before it where a spreadsheet would run it (batchjobs/ingestion/formulas.py)."""
    risky = (
        f"ascii({column}) = ANY ('{{{FORMULA_FIRST}}}') AND {column} ~ E'{_escaped(FORMULA_RISKY)}'"
        f" AND {column} !~ '{FORMULA_NUMBER}'"
    )
    return f"CASE WHEN {risky} THEN '''' || {column} ELSE {column} END"


def _escaped(pattern: str) -> str:
    return pattern.replace("\\", "\\\\")


def evaluated_once(select: str) -> str:
    """The rows of a select, for statements that name a column more than once: it is not worked out again each time."""
    return f"({select} OFFSET 0)"


def distinct(names: list[str]) -> list[str]:
    """Names, each once: the second of a name is called name_2, or by the next number that is free."""
    taken = set(names)
    seen: set[str] = set()
    out = []
    for name in names:
        found, number = name, 1
        while found in seen or (number > 1 and found in taken):
            number += 1
            found = f"{name}_{number}"
        seen.add(found)
        out.append(found)
    return out


def literal(session: psycopg.Connection[Any], text: str) -> str:
    """A text as an SQL literal."""
    return psycopg.sql.Literal(text).as_string(session)
