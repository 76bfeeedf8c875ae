"""NDJSON and JSON: an object a row, with types as they are. NULL is null, a time is a text in ISO 8601 and UTC.

Numbers have all their digits. JSON knows neither NaN nor Infinity: numbers of that kind are texts. The second column of
a name is called name_2.
"""

from __future__ import annotations

from collections.abc import Iterator

from exports.rows import ColumnType
from exports.writers.base import Reading
from exports.writers.reading import RAW
from exports.writers.values import distinct, identifier, literal, time_text

NAME_BYTES_MAX = 63  # of an identifier of PostgreSQL
OBJECT_ARGUMENTS_MAX = 100  # of a function of PostgreSQL


def ndjson_blocks(reading: Reading) -> Iterator[bytes]:
    yield from reading.copy(_statement(reading))


def json_blocks(reading: Reading) -> Iterator[bytes]:
    """One array, an object a line."""
    before = b"[\n"
    for block in reading.copy(_statement(reading)):
        yield before + block[:-1].replace(b"\n", b",\n")
        before = b",\n"
    yield b"[]\n" if before == b"[\n" else b"\n]\n"


def _statement(reading: Reading) -> str:
    columns = reading.selection.columns
    names = distinct([column.header for column in columns])
    cells = [
        time_text(f"c{at}") if column.type is ColumnType.DATETIME else f"c{at}" for at, column in enumerate(columns)
    ]
    if all(len(name.encode()) <= NAME_BYTES_MAX and name for name in names):
        named = (f"{cell} AS {identifier(reading.session, name)}" for cell, name in zip(cells, names, strict=True))
        rows = f"SELECT row_to_json(r) FROM (SELECT {', '.join(named)} FROM ({reading.selection.select}) q) r"  # noqa: S608
    else:
        # Long names: objects of a part of the columns each, without their braces.
        pairs = [f"{literal(reading.session, name)}, {cell}" for name, cell in zip(names, cells, strict=True)]
        step = OBJECT_ARGUMENTS_MAX // 2
        parts = (
            f"substr(left(json_build_object({', '.join(pairs[start : start + step])})::text, -1), 2)"
            for start in range(0, len(pairs), step)
        )
        object_ = " || ', ' || ".join(parts)
        rows = f"SELECT '{{' || {object_} || '}}' FROM ({reading.selection.select}) q"  # noqa: S608
    return f"COPY ({rows}) TO STDOUT {RAW}"
