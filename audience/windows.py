"""Windows over what has changed: half-open ranges of transaction ids in which no commit can be missed.

Neither the largest id nor a timestamp is a safe end of a window: a transaction that began earlier may commit later.
The oldest transaction still running is: everything below it has ended (PostgreSQL, "Snapshot Functions").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import structlog
from django.contrib.postgres.indexes import BrinIndex
from django.db import DatabaseError, connection, models, transaction

log = structlog.get_logger(__name__)

SUMMARIZE_MILLISECONDS = 5_000
LOCK_MILLISECONDS = 200  # less than after what a vacuum gives way (deadlock_timeout)

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


def summarize(model: type[models.Model]) -> None:
    """Brings a model's index of changes up to date, so that reading a window need not read the new end of the table.

    PostgreSQL leaves new pages to a vacuum. Best effort: while one is at it, or after some seconds, the rest is left.
    """
    names = [index.name for index in model._meta.indexes if isinstance(index, BrinIndex)]
    try:
        for name in names:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL statement_timeout = {SUMMARIZE_MILLISECONDS}")
                cursor.execute(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}")
                cursor.execute("SELECT brin_summarize_new_values(%s::regclass)", [name])
    except DatabaseError as error:
        log.info("changes_not_summarized", model=model._meta.label, error=str(error))
