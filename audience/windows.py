"""Windows over what has changed: half-open ranges of transaction ids in which no commit can be missed.

Neither the largest id nor a timestamp is a safe end of a window: a transaction that began earlier may commit later.
The oldest transaction still running is: everything below it has ended (PostgreSQL, "Snapshot Functions").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from django.db import connection, models

M = TypeVar("M", bound=models.Model)


@dataclass(frozen=True, slots=True)
class Window:
    """`lo <= change_xid < hi`."""

    lo: int
    hi: int

    def rows(self, queryset: models.QuerySet[M]) -> models.QuerySet[M]:
        """The rows of a model with `change_xid` that were last written in the window."""
        return queryset.filter(change_xid__gte=self.lo, change_xid__lt=self.hi)


def window_since(lo: int) -> Window:
    """From where the last window ended to what is certain now.

    To read the rows of the window, call this and read in one REPEATABLE READ transaction on the primary server.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
        (hi,) = cursor.fetchone()
    return Window(lo, max(lo, hi))
