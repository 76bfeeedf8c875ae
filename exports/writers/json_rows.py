"""NDJSON and JSON: an object a row, with types as they are. NULL is null, a time is a text in ISO 8601 and UTC.

Numbers have all their digits. JSON knows neither NaN nor Infinity: numbers of that kind are texts. The second column of
a name is called name_2.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from exports.rows import ColumnType
from exports.writers.base import Reading
from exports.writers.cells import NULL, blocks_of_cells, filled
from exports.writers.values import distinct

BARE = (ColumnType.NUMBER, ColumnType.BOOLEAN, ColumnType.JSON)  # not in quotes
NO_NUMBERS = {word: b'"%b"' % word for word in (b"NaN", b"Infinity", b"-Infinity")}
# Those that COPY tells by a backslash and a letter of JSON, it has told.
CONTROLS = bytes(byte for byte in range(32) if byte not in b"\t\n")
CONTROL = re.compile(rb"[\x01-\x08\x0b-\x1f]")


def ndjson_blocks(reading: Reading) -> Iterator[bytes]:
    columns = reading.selection.columns
    members = []
    for name, column in zip(distinct([column.header for column in columns]), columns, strict=True):
        key = json.dumps(name, ensure_ascii=False).encode().replace(b"%", b"%%")
        members.append(key + (b":%b" if column.type in BARE else b':"%b"'))
    template = b"{%b}\n" % b",".join(members)
    for cells, told in blocks_of_cells(reading, _escaped, {ColumnType.NUMBER: _numbers, ColumnType.JSON: _documents}):
        block = filled(template, cells, len(columns))
        if told and NULL in block:
            block = block.replace(b'"%b"' % NULL, b"null").replace(b":%b" % NULL, b":null")
        yield block


def json_blocks(reading: Reading) -> Iterator[bytes]:
    """One array, an object a line."""
    before = b"[\n"
    for block in ndjson_blocks(reading):
        yield before + block[:-1].replace(b"\n", b",\n")
        before = b",\n"
    yield b"[]\n" if before == b"[\n" else b"\n]\n"


def _escaped(block: bytes) -> bytes:
    """What COPY tells by a backslash JSON tells so too, but for VT; quotes and other control characters are left."""
    if b"\\" in block and rb"\v" in block:
        block = block.replace(rb"\\", b"\0").replace(rb"\v", rb"\u000b").replace(b"\0", rb"\\")
    if b'"' in block:
        block = block.replace(b'"', rb"\"")
    if len(block.translate(None, CONTROLS)) < len(block):
        block = CONTROL.sub(lambda found: rb"\u%04x" % ord(found[0]), block)
    return block


def _numbers(cells: list[bytes]) -> list[bytes]:
    if NO_NUMBERS.keys().isdisjoint(cells):
        return cells
    return [NO_NUMBERS.get(cell, cell) for cell in cells]


def _documents(cells: list[bytes]) -> list[bytes]:
    """JSON as it is: without the backslashes of COPY and of _escaped."""
    return [cell.replace(rb"\"", b'"').replace(rb"\\", b"\\") for cell in cells]
