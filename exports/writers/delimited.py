"""CSV and PSV: rows of cells with a delimiter between, as the database itself writes them.

NULL is an empty cell; a blank text is one in quotes (""). Times are ISO 8601 in UTC, booleans true and false. With
`formula_safe` a ' stands before what a spreadsheet would run. A character that the encoding lacks becomes a ? and is
counted.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from typing import Any

from batchjobs.ingestion.formulas import make_safe
from exports.rows import ColumnType
from exports.writers.base import Reading
from exports.writers.values import literal, plain_text, safe_text

TEXTS = (ColumnType.TEXT, ColumnType.JSON)


def blocks(reading: Reading) -> Iterator[bytes]:
    options = reading.options
    encoding = options.encoding.removesuffix("-sig")
    delimiter = "|" if options.format == "psv" else options.delimiter
    cells = []
    for at, column in enumerate(reading.selection.columns):
        text = plain_text(f"c{at}", column.type) if column.type is not ColumnType.TEXT else f"c{at}"
        cells.append(safe_text(text) if options.formula_safe and column.type in TEXTS else text)
    quoted = ", FORCE_QUOTE *" if options.quoting == "all" else ""
    statement = (
        f"COPY (SELECT {', '.join(cells)} FROM ({reading.selection.select}) q) TO STDOUT "  # noqa: S608
        f"(FORMAT csv, DELIMITER {literal(reading.session, delimiter)}, ENCODING 'UTF8'{quoted})"
    )
    replaced = _Replaced()
    if options.encoding == "utf-8-sig":
        yield codecs.BOM_UTF8
    if options.header:
        yield replaced.encoded(_header(reading, delimiter), encoding)
    for block in reading.copy(statement):
        yield block if encoding == "utf-8" else replaced.encoded(block.decode(), encoding)
    if replaced.count:
        reading.warnings.append({"code": "CHARACTERS_REPLACED", "count": replaced.count})


def _header(reading: Reading, delimiter: str) -> str:
    names = [column.header for column in reading.selection.columns]
    if reading.options.formula_safe:
        names = [make_safe(name) for name in names]
    buffer = io.StringIO()
    quoting: Any = csv.QUOTE_ALL if reading.options.quoting == "all" else csv.QUOTE_MINIMAL
    csv.writer(buffer, delimiter=delimiter, quoting=quoting, lineterminator="\n").writerow(names)
    return buffer.getvalue()


class _Replaced:
    """Encodes, and counts what cannot be."""

    def __init__(self) -> None:
        self.count = 0

    def encoded(self, text: str, encoding: str) -> bytes:
        try:
            return text.encode(encoding)
        except UnicodeEncodeError:
            pass
        pieces = []
        for letter in text:  # a block with such letters is rare
            try:
                pieces.append(letter.encode(encoding))
            except UnicodeEncodeError:
                pieces.append(b"?")
                self.count += 1
        return b"".join(pieces)
