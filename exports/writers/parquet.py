"""Parquet: typed columns, packed with zstd, in row groups of 64,000 rows or 16 MB.

What the database has as a whole number or a double is one. Its exact numbers are whole ones of 64 bits if all are that,
or else decimals of 38 digits at most, or doubles if there are NaN or Infinity; with more digits they are texts, so that
nothing is rounded. Which of these is found out first, in the same snapshot. Times are those of UTC in microseconds;
what lies beyond the years 1 to 9999 is left out, which is counted. The second column of a name is called name_2.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from exports.rows import ColumnType
from exports.writers.base import Reading
from exports.writers.reading import ask
from exports.writers.values import boolean_text, distinct, evaluated_once, time_text

ROWS = 64 * 1024  # of a row group
HELD_BYTES = 16 * 1024 * 1024  # of one with long rows
BLOCK = 1024 * 1024
NUMERIC = 1700  # types of PostgreSQL
FLOATS = (700, 701)
WHOLE_DIGITS = 18
DECIMAL_DIGITS = 38


def blocks(reading: Reading) -> Iterator[bytes]:
    import pyarrow as pa
    from pyarrow import csv, parquet

    names = distinct([column.header for column in reading.selection.columns])
    types, cells = _layout(reading, pa)
    schema = pa.schema(list(zip(names, types, strict=True)))
    read = csv.ReadOptions(column_names=names, use_threads=False, block_size=2**30)
    # A row of one NULL is an empty line.
    parse = csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False)
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
            if sum(table.num_rows for table in held) >= ROWS or sum(table.nbytes for table in held) >= HELD_BYTES:
                writer.write_table(pa.concat_tables(held), row_group_size=ROWS)
                held.clear()
                yield sink.take()
        if held:
            writer.write_table(pa.concat_tables(held), row_group_size=ROWS)
    yield sink.take()


def _layout(reading: Reading, pa: Any) -> tuple[list[Any], list[str]]:
    """Types of the columns, and the SQL of their texts. Reads all rows once where values decide about a type."""
    columns = reading.selection.columns
    stored = _stored_types(reading)
    decimals = [at for at, column in enumerate(columns) if column.type is ColumnType.NUMBER and stored[at] == NUMERIC]
    moments = [at for at, column in enumerate(columns) if column.type in (ColumnType.DATE, ColumnType.DATETIME)]
    found = _look(reading, decimals, moments) if decimals or moments else {}
    types, cells = [], []
    for at, column in enumerate(columns):
        cell, kind = f"c{at}::text", pa.string()
        if at in found:
            kind = _decimal_type(pa, *found[at])
        elif column.type is ColumnType.NUMBER:
            kind = pa.float64() if stored[at] in FLOATS else pa.int64()
        elif column.type is ColumnType.BOOLEAN:
            cell, kind = boolean_text(f"c{at}"), pa.bool_()
        elif column.type is ColumnType.DATE:
            cell, kind = f"CASE WHEN {_within(at)} THEN c{at}::text END", pa.date32()
        elif column.type is ColumnType.DATETIME:
            cell, kind = f"CASE WHEN {_within(at)} THEN {time_text(f'c{at}')} END", pa.timestamp("us", tz="UTC")
        types.append(kind)
        cells.append(cell)
    return types, cells


def _stored_types(reading: Reading) -> list[int]:
    """The type of each column in the database."""
    described = reading.session.execute(f"SELECT * FROM ({reading.selection.select}) q LIMIT 0").description  # noqa: S608
    return [one.type_code for one in described or []]


def _within(at: int) -> str:
    return f"c{at} >= '0001-01-01' AND c{at} < '10000-01-01'"


def _look(reading: Reading, decimals: list[int], moments: list[int]) -> dict[int, tuple[bool, int, int]]:
    """Of each of the decimals: whether all are finite, and the most digits after and before the point.

    Counts the times that are left out.
    """
    asked = [" + ".join(f"count(*) FILTER (WHERE NOT ({_within(at)}))" for at in moments) or "0"]
    for at in decimals:
        finite = f"c{at} NOT IN ('NaN', 'Infinity', '-Infinity')"
        asked += [
            f"coalesce(bool_and({finite})::int, 1)",
            f"coalesce(max(scale(c{at})), 0)",
            f"coalesce(max(length(trunc(abs(c{at}))::text)) FILTER (WHERE {finite}), 1)",
        ]
    rows = evaluated_once(reading.selection.select)
    # As one value: a row has 1664 at most, and three for each column may be more.
    query = f"SELECT to_json(ARRAY[{', '.join(asked)}]) FROM {rows} q"  # noqa: S608
    left_out, *others = ask(reading.session, query, reading.alive)
    if left_out:
        reading.warnings.append({"code": "TIMES_LEFT_OUT", "count": left_out})
    return {
        at: (bool(others[place]), others[place + 1], others[place + 2])
        for at, place in zip(decimals, range(0, len(others), 3), strict=True)
    }


def _decimal_type(pa: Any, is_finite: bool, scale: int, digits: int) -> Any:
    if not is_finite:
        return pa.float64()
    if scale == 0 and digits <= WHOLE_DIGITS:
        return pa.int64()
    if digits + scale <= DECIMAL_DIGITS:
        return pa.decimal128(digits + scale, scale)
    return pa.string()


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
