"""What a writer reads from: the rows of a Selection in one snapshot, counted as they pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg

from exports.rows import Selection
from exports.writers.options import FileOptions
from exports.writers.reading import BLOCK, copy_out


@dataclass(slots=True)
class Reading:
    """`session` is in a transaction of its own snapshot. `rows` are those that were read so far."""

    session: psycopg.Connection[Any]
    selection: Selection
    options: FileOptions
    alive: Callable[[], None]
    warnings: list[dict[str, Any]] = field(default_factory=list)
    rows: int = 0

    def copy(self, statement: str, *, block: int = BLOCK) -> Iterator[bytes]:
        """Blocks of whole rows of a COPY … TO STDOUT."""
        self.rows = yield from copy_out(self.session, statement, self.alive, block=block, passed=self._pass)

    def _pass(self, rows: int) -> None:
        self.rows += rows
