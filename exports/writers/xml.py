"""XML: an element a row and an element a value. NULL is an element that is not there.

    <?xml version="1.0" encoding="UTF-8"?>
    <rows>
    <row><field name="email">rosa@example.com</field><field name="points">12</field></row>
    </rows>

Characters that XML 1.0 does not know (most control characters, U+FFFE, U+FFFF) are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.sax.saxutils import quoteattr

from exports.rows import ColumnType
from exports.writers.base import Reading
from exports.writers.reading import RAW
from exports.writers.values import evaluated_once, literal, plain_text

# RAW's quotes and whatever of the kind a text holds: all of it goes.
UNKNOWN = bytes(byte for byte in range(32) if byte not in b"\t\n\r")
NO_CHARACTERS = ("\ufffe".encode(), "\uffff".encode())
ESCAPED = (ColumnType.TEXT, ColumnType.JSON)


def blocks(reading: Reading) -> Iterator[bytes]:
    yield b'<?xml version="1.0" encoding="UTF-8"?>\n<rows>\n'
    for block in reading.copy(_statement(reading)):
        kept = block.translate(None, UNKNOWN)
        for character in NO_CHARACTERS:
            if character in kept:
                kept = kept.replace(character, b"")
        yield kept
    yield b"</rows>\n"


def _statement(reading: Reading) -> str:
    values = []
    for at, column in enumerate(reading.selection.columns):
        text = plain_text(f"c{at}", column.type)
        if column.type in ESCAPED:
            text = _escaped(text)
        name = quoteattr("".join(letter for letter in column.header if ord(letter) >= 32))
        values.append(f"{literal(reading.session, f'<field name={name}>')} || {text} || '</field>'")
    # A value that is NULL makes the whole element NULL, which concat leaves out.
    step = 90  # arguments that a function takes
    parts = [f"concat({', '.join(values[start : start + step])})" for start in range(0, len(values), step)]
    row = " || ".join(["'<row>'", *parts, "'</row>'"])
    return f"COPY (SELECT {row} FROM {evaluated_once(reading.selection.select)} q) TO STDOUT {RAW}"  # noqa: S608


def _escaped(text: str) -> str:
    """XML's three characters, and CR, which a reader would take for a line feed."""
    found = " OR ".join(f"strpos({text}, {character}) > 0" for character in ("'&'", "'<'", "'>'", "E'\\r'"))
    replaced = f"replace(replace(replace(replace({text}, '&', '&amp;'), '<', '&lt;'), '>', '&gt;'), E'\\r', '&#13;')"
    return f"CASE WHEN {found} THEN {replaced} ELSE {text} END"
