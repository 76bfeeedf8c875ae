"""What travels from sources to writers: what is to be written. How, is `writers.FileOptions`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ColumnType(StrEnum):
    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    DATETIME = "datetime"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class OutColumn:
    header: str  # the name in the file
    type: ColumnType


@dataclass(frozen=True, slots=True)
class Selection:
    """What is to be written: `select` is a whole SELECT without parameters (all literals are in it, escaped by psycopg)
    that gives the columns c0, c1, … in the order of `columns` in their own SQL types (text, numeric/bigint/float8,
    boolean, date, timestamptz, jsonb) and last `k`, a bigint that is the primary key.
    """

    select: str
    columns: tuple[OutColumn, ...]
