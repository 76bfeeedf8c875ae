"""CSV and PSV: rows of cells with a delimiter between, as the database itself writes them.

NULL is an empty cell; a blank text is one in quotes (""). In a file of one column NULL is "" too, since many readers
pass over an empty line. Times are ISO 8601 in UTC, booleans true and false. With `formula_safe` a ' stands before what
a spreadsheet would run. A character that the encoding lacks becomes a ? and is counted.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator

from batchjobs.ingestion.formulas import make_safe
from exports.rows import ColumnType
from exports.writers.base import Reading
from exports.writers.values import evaluated_once, literal, plain_text, safe_text

TEXTS = (ColumnType.TEXT, ColumnType.JSON)


def blocks(reading: Reading) -> Iterator[bytes]:
    options = reading.options
    encoding = options.encoding.removesuffix("-sig")
    delimiter = "|" if options.format == "psv" else options.delimiter
    rows = f"({reading.selection.select})"
    if options.formula_safe:
        rows = evaluated_once(reading.selection.select)
    cells = []
    for at, column in enumerate(reading.selection.columns):
        text = plain_text(f"c{at}", column.type) if column.type is not ColumnType.TEXT else f"c{at}"
        cells.append(safe_text(text) if options.formula_safe and column.type in TEXTS else text)
    if len(cells) == 1:
        cells = [f"coalesce({cells[0]}, '')"]
    quoted = ", FORCE_QUOTE *" if options.quoting == "all" else ""
    statement = (
        f"COPY (SELECT {', '.join(cells)} FROM {rows} q) TO STDOUT "  # noqa: S608
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
    always = reading.options.quoting == "all"
    return delimiter.join(_cell(name, delimiter, always=always) for name in names) + "\n"


def _cell(text: str, delimiter: str, *, always: bool) -> str:
    """As the database quotes those below."""
    if not always and text and not any(sign in text for sign in (delimiter, '"', "\n", "\r")):
        return text
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


class _Replaced:
    """Encodes, and counts what cannot be."""

    def __init__(self) -> None:
        self.count = 0

    def encoded(self, text: str, encoding: str) -> bytes:
        try:
            return text.encode(encoding)
        except UnicodeEncodeError:
            pass
        encoded = text.encode(encoding, "replace")
        self.count += encoded.count(b"?") - text.count("?")
        return encoded
