"""Reads made-up bytes with a reader as a run would: in blocks, resumed after each of them or not."""

from __future__ import annotations

import io
from contextlib import contextmanager
from typing import Any

from batchjobs.failures import FileFailureError
from batchjobs.ingestion.formats import FORMATS
from batchjobs.ingestion.formats.json_window import Window

RECORD_MAX = 1_000_000


@contextmanager
def blocks_of(key: str, size: int):
    """Readers say how much they read at once; JSON is read through a window."""
    owner: Any = Window if key == "json" else FORMATS[key].reader
    before, owner.block_bytes = owner.block_bytes, size
    try:
        yield
    finally:
        owner.block_bytes = before


class Read:
    """What came out: records as (line, record, raw, codes), rejected ones as (line, code, raw), and how it ended."""

    def __init__(self) -> None:
        self.records: list[Any] = []
        self.rejected: list[tuple[int, str, str]] = []
        self.broken = ""
        self.offset = self.line = 0

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Read) and vars(self) == vars(other)

    def __repr__(self) -> str:
        return repr(vars(self))


def read(
    key: str,
    data: bytes,
    *,
    block: int = 1 << 19,
    resume: bool = False,
    record_max: int = RECORD_MAX,
    extension: str = "",
    **options: Any,
) -> Read:
    """Raises FileFailureError where the file is refused before its first record."""
    form = FORMATS[key]
    found = Read()
    with blocks_of(key, block):
        file = io.BytesIO(data)
        layout = form.module.layout_of(file, extension=extension, options=options, record_max=record_max)
        found.offset, found.line = layout.data_offset, layout.data_line
        more = True
        while more:
            more = False
            reader = form.reader(file, layout, record_max)
            reader.seek(found.offset, found.line)
            try:
                for part in reader.blocks():
                    _collect(found, part)
                    assert (part.end_offset, part.end_line) == (reader.offset, reader.line)
                    if resume:
                        more = True
                        break
            except FileFailureError as failure:
                found.broken = failure.code
            found.offset, found.line = reader.offset, reader.line
    found.records.sort(key=lambda record: record[0])
    found.rejected.sort()
    return found


def _collect(found: Read, part: Any) -> None:
    for place in range(part.count):
        if hasattr(part, "objects"):
            codes = [error.code for error in part.errors.get(place, ())]
            record: Any = part.objects[place]
        else:
            codes, record = [], [column[place] for column in part.columns]
        found.records.append((part.lines[place], record, part.raw(place), codes))
    for row in part.rejected:
        code = row.errors[0].code
        # Of what is too long the beginning is kept, as much as was at hand.
        found.rejected.append((row.line, code, row.raw[:1] if code == "RECORD_TOO_LARGE" else row.raw))
