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

from exports.writers.base import Reading
from exports.writers.cells import NULL, blocks_of_cells, filled

UNKNOWN = bytes(byte for byte in range(32) if byte not in b"\t\n\r")
NO_CHARACTERS = ("\ufffe".encode(), "\uffff".encode())
# What COPY tells by a backslash. A reader would take CR for a line feed.
TOLD = {rb"\n": b"\n", rb"\t": b"\t", rb"\r": b"&#13;", rb"\b": b"", rb"\f": b"", rb"\v": b""}


def blocks(reading: Reading) -> Iterator[bytes]:
    fields = []
    for column in reading.selection.columns:
        name = quoteattr("".join(letter for letter in column.header if ord(letter) >= 32))
        fields.append(b"<field name=%b>%%b</field>" % name.encode().replace(b"%", b"%%").replace(b"\\", rb"\\"))
    template = b"<row>%b</row>\n" % b"".join(fields)
    missing = [field % NULL for field in fields]
    yield b'<?xml version="1.0" encoding="UTF-8"?>\n<rows>\n'
    for cells, told in blocks_of_cells(reading, _escaped, {}):
        block = filled(template, cells, len(fields))
        if told and NULL in block:
            for field in missing:
                block = block.replace(field, b"")
        yield _without_backslashes(block) if b"\\" in block else block
    yield b"</rows>\n"


def _escaped(block: bytes) -> bytes:
    for character, entity in ((b"&", b"&amp;"), (b"<", b"&lt;"), (b">", b"&gt;")):
        if character in block:
            block = block.replace(character, entity)
    kept = block.translate(None, UNKNOWN)
    for character in NO_CHARACTERS:
        if character in kept:
            kept = kept.replace(character, b"")
    return kept


def _without_backslashes(block: bytes) -> bytes:
    block = block.replace(rb"\\", b"\0")
    for told, character in TOLD.items():
        block = block.replace(told, character)
    return block.replace(b"\0", b"\\")
