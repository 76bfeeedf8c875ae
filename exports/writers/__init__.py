"""Files out of rows: a module a format, of one shape, each a generator of blocks of bytes.

Rows are never all in memory. `write` packs what a format's writer gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg

from exports.rows import Selection
from exports.writers import delimited, json_rows, parquet, xlsx, xml
from exports.writers.base import Reading
from exports.writers.compress import gzipped, zipped
from exports.writers.options import (
    FORMATS,
    FileOptions,
    Format,
    OptionError,
    inner_suffix,
    suffix_of,
)

WRITERS: dict[str, Callable[[Reading], Iterator[bytes]]] = {
    "csv": delimited.blocks,
    "psv": delimited.blocks,
    "ndjson": json_rows.ndjson_blocks,
    "json": json_rows.json_blocks,
    "xml": xml.blocks,
    "xlsx": xlsx.blocks,
    "parquet": parquet.blocks,
}

__all__ = ["FORMATS", "FileOptions", "Format", "OptionError", "Written", "inner_suffix", "suffix_of", "write"]


class Written:
    """The bytes of a file as they are made: iterated once.

    `rows` and `content_bytes`, the size before it is packed, are those so far. `warnings` are known afterwards.
    """

    def __init__(self, reading: Reading, inner_name: str) -> None:
        self._reading = reading
        self.content_bytes = 0
        self._open: list[Any] = []
        blocks = self._counted()
        if reading.options.compression == "gzip":
            self._blocks = gzipped(blocks)
        elif reading.options.compression == "zip":
            self._blocks = zipped(blocks, inner_name)
        else:
            self._blocks = blocks
        self._open += [self._blocks, blocks]

    def __iter__(self) -> Iterator[bytes]:
        return self._blocks

    def _counted(self) -> Iterator[bytes]:
        for block in WRITERS[self._reading.options.format](self._reading):
            self.content_bytes += len(block)
            yield block

    @property
    def rows(self) -> int:
        return self._reading.rows

    @property
    def warnings(self) -> list[dict[str, Any]]:
        return self._reading.warnings

    def close(self) -> None:
        """Ends what was not read to its end."""
        for one in self._open:
            one.close()


def write(
    session: psycopg.Connection[Any],
    selection: Selection,
    options: FileOptions,
    *,
    inner_name: str = "export",
    alive: Callable[[], None] = lambda: None,
) -> Written:
    """The file of a selection. `session` is in a read-only snapshot; `alive` is called all along and may raise."""
    return Written(Reading(session, selection, options, alive), inner_name)
