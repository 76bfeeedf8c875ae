"""Parquet: typed columns, packed with zstd, in row groups of about 64,000 rows.

A number is a whole one of 64 bits, a decimal of 38 digits at most, or a double if there are NaN or Infinity; with more
digits it is a text, so that nothing is rounded. Which one is found out first, in the same snapshot. Times are those of
UTC in microseconds; what lies beyond the years 1 to 9999 is left out, which is counted.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from exports.rows import ColumnType
from exports.writers.base import Reading
from exports.writers.values import boolean_text, time_text

ROWS = 64 * 1024  # of a row group
BLOCK = 1024 * 1024
WHOLE_DIGITS = 18
DECIMAL_DIGITS = 38


def blocks(reading: Reading) -> Iterator[bytes]:
    import pyarrow as pa
    from pyarrow import csv, parquet

    names = _distinct([column.header for column in reading.selection.columns])
    types, cells = _layout(reading, pa)
    schema = pa.schema(list(zip(names, types, strict=True)))
    read = csv.ReadOptions(column_names=names, use_threads=False, block_size=2**30)
    parse = csv.ParseOptions(newlines_in_values=True)
    convert = csv.ConvertOptions(
        column_types=schema,
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        true_values=["true"],
        false_values=["false"],
        check_utf8=False,
    )
    statement = f"COPY (SELECT {', '.join(cells)} FROM ({reading.selection.select}) q) TO STDOUT (FORMAT csv)"  # noqa: S608
    sink = _Sink()
    held: list[Any] = []
    with parquet.ParquetWriter(sink, schema, compression="zstd") as writer:
        for block in reading.copy(statement, block=BLOCK):
            # Blocks hold whole rows, so each is a CSV of its own.
            held.append(csv.read_csv(pa.BufferReader(block), read, parse, convert))
            if sum(table.num_rows for table in held) >= ROWS:
                writer.write_table(pa.concat_tables(held), row_group_size=ROWS)
                held.clear()
                yield sink.take()
        if held:
            writer.write_table(pa.concat_tables(held), row_group_size=ROWS)
    yield sink.take()


def _layout(reading: Reading, pa: Any) -> tuple[list[Any], list[str]]:
    """Types of the columns, and the SQL of their texts."""
    numbers = _number_types(reading, pa)
    types, cells = [], []
    times = []
    for at, column in enumerate(reading.selection.columns):
        cell, kind = f"c{at}::text", pa.string()
        if column.type is ColumnType.NUMBER:
            kind = numbers[at]
        elif column.type is ColumnType.BOOLEAN:
            cell, kind = boolean_text(f"c{at}"), pa.bool_()
        elif column.type in (ColumnType.DATE, ColumnType.DATETIME):
            is_date = column.type is ColumnType.DATE
            kind = pa.date32() if is_date else pa.timestamp("us", tz="UTC")
            within = f"c{at} >= '0001-01-01' AND c{at} < '10000-01-01'"
            times.append(f"count(*) FILTER (WHERE NOT ({within}))")
            text = f"c{at}::text" if is_date else time_text(f"c{at}")
            cell = f"CASE WHEN {within} THEN {text} END"
        types.append(kind)
        cells.append(cell)
    if times:
        row = reading.session.execute(
            f"SELECT {' + '.join(times)} FROM ({reading.selection.select}) q"  # noqa: S608
        ).fetchone()
        if row and row[0]:
            reading.warnings.append({"code": "TIMES_LEFT_OUT", "count": row[0]})
    return types, cells


def _number_types(reading: Reading, pa: Any) -> dict[int, Any]:
    found = [at for at, column in enumerate(reading.selection.columns) if column.type is ColumnType.NUMBER]
    if not found:
        return {}
    asked = []
    for at in found:
        number = f"c{at}::numeric"
        finite = f"{number} NOT IN ('NaN', 'Infinity', '-Infinity')"
        asked += [
            f"bool_and({finite})",
            f"max(scale({number}))",
            f"max(length(trunc(abs({number}))::text)) FILTER (WHERE {finite})",
        ]
    row = reading.session.execute(f"SELECT {', '.join(asked)} FROM ({reading.selection.select}) q").fetchone()  # noqa: S608
    assert row is not None  # noqa: S101  an aggregate
    return {
        at: _number_type(pa, *row[place : place + 3]) for at, place in zip(found, range(0, len(row), 3), strict=True)
    }


def _number_type(pa: Any, is_finite: bool | None, scale: int | None, digits: int | None) -> Any:
    if is_finite is False:
        return pa.float64()
    scale, digits = scale or 0, digits or 1
    if scale == 0 and digits <= WHOLE_DIGITS:
        return pa.int64()
    if digits + scale <= DECIMAL_DIGITS:
        return pa.decimal128(digits + scale, scale)
    return pa.string()


def _distinct(names: list[str]) -> list[str]:
    """Names of columns, each once: the second of a name is called name_2."""
    taken: dict[str, int] = {}
    out = []
    for name in names:
        taken[name] = taken.get(name, 0) + 1
        out.append(name if taken[name] == 1 else f"{name}_{taken[name]}")
    return out


class _Sink(io.RawIOBase):
    """What the library writes to: bytes are taken away as they come."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._at = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def write(self, data: Any, /) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        self._at += len(piece)
        return len(piece)

    def take(self) -> bytes:
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken
