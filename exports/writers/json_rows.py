"""NDJSON and JSON: an object a row, with types as they are. NULL is null, a time is a text in ISO 8601.

JSON knows neither NaN nor Infinity: numbers of that kind are texts.
"""

from __future__ import annotations

from collections.abc import Iterator

from exports.writers.base import Reading
from exports.writers.values import identifier, literal

NAME_BYTES_MAX = 63  # of an identifier of PostgreSQL
OBJECT_ARGUMENTS_MAX = 100  # of a function of PostgreSQL
# JSON holds no control characters, so nothing is ever quoted or escaped by these.
RAW = r"(FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02', ENCODING 'UTF8')"


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
    names = [column.header for column in reading.selection.columns]
    if all(len(name.encode()) <= NAME_BYTES_MAX and name for name in names):
        columns = ", ".join(f"c{at} AS {identifier(reading.session, name)}" for at, name in enumerate(names))
        rows = f"SELECT row_to_json(r) FROM (SELECT {columns} FROM ({reading.selection.select}) q) r"  # noqa: S608
    else:
        # Long names: objects put together, a part of the columns at a time.
        parts, step = [], OBJECT_ARGUMENTS_MAX // 2
        for start in range(0, len(names), step):
            pairs = (
                f"{literal(reading.session, names[at])}, c{at}" for at in range(start, min(start + step, len(names)))
            )
            parts.append(f"jsonb_build_object({', '.join(pairs)})")
        rows = f"SELECT ({' || '.join(parts)})::text FROM ({reading.selection.select}) q"  # noqa: S608
    return f"COPY ({rows}) TO STDOUT {RAW}"
