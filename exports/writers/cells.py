"""Rows as the cells of COPY's text format, a block of rows at a time: for files that have a name beside each value.

The database takes longer for making an object of a row than for reading it (docs/performance.md). So it sends bare
cells, and what stands around them is put there by a template, while it reads on.

In COPY's text format a tab ends a cell and a line feed a row. In a cell these two, BS, VT, FF and CR are told by a
backslash and a letter, and a backslash by two; NULL is \\N. So \\N is nothing else, and a NUL is free to stand for
something: no text of PostgreSQL holds one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from exports.rows import ColumnType
from exports.writers.base import Reading

NULL = rb"\N"

Form = Callable[[list[bytes]], list[bytes]]


def blocks_of_cells(
    reading: Reading, escaped: Callable[[bytes], bytes], forms: Mapping[ColumnType, Form]
) -> Iterator[tuple[list[bytes], bool]]:
    """The cells of some rows, one row after the other, and whether anything in them is told by a backslash.

    `escaped` is given all of a block at once and keeps its tabs and line feeds. `forms` change all cells of a column.
    """
    columns = reading.selection.columns
    width = len(columns)
    names = ", ".join(f"c{at}" for at in range(width))
    forms = {**FORMS, **forms}
    formed = [(at, forms[column.type]) for at, column in enumerate(columns) if column.type in forms]
    for block in reading.copy(f"COPY (SELECT {names} FROM ({reading.selection.select}) q) TO STDOUT (ENCODING 'UTF8')"):  # noqa: S608
        cells = escaped(block[:-1]).replace(b"\n", b"\t").split(b"\t")
        for at, form in formed:
            cells[at::width] = form(cells[at::width])
        yield cells, b"\\" in block


def filled(template: bytes, cells: list[bytes], width: int) -> bytes:
    """The template of a row, with %b for each of its `width` cells, for all of the rows."""
    return template * (len(cells) // width) % tuple(cells)


def _times(cells: list[bytes]) -> list[bytes]:
    """ISO 8601 in UTC with a Z; what has no such form (infinity, before Christ) as the database says it."""
    joined = b"\t".join(cells)
    if b"BC" in joined:
        return [cell if cell.endswith(b"BC") else _times([cell])[0] for cell in cells]
    return joined.replace(b" ", b"T").replace(b"+00", b"Z").split(b"\t")


def _booleans(cells: list[bytes]) -> list[bytes]:
    return [_BOOLEANS[cell] for cell in cells]


_BOOLEANS = {b"t": b"true", b"f": b"false", NULL: NULL}
FORMS: dict[ColumnType, Form] = {ColumnType.DATETIME: _times, ColumnType.BOOLEAN: _booleans}
