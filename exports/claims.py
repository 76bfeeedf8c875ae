"""Whose file lies under a name at a destination: that of the run that has claimed the name (`ExportRun.claimed_name`).

A run claims its name before the first byte is sent, and keeps it however often it delivers. The database lets a name
have one run at a time, so no run writes over another's file, at any kind of destination, also if both deliver at once.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from itertools import count

from django.db import IntegrityError, transaction
from django.utils import timezone

from batchjobs.retention import kept
from exports.destinations import DESTINATIONS
from exports.models import ExportRun
from exports.names import is_constant, with_number
from exports.writers import FileOptions, suffix_of

SWEPT_WITHIN = dt.timedelta(days=1)  # after its time is over a file is removed


def name_claim(run: ExportRun, file: FileOptions) -> None:
    """Claims a name at the run's destination: that of its file, or if another run has that, one with its number.

    In the caller's transaction. The run has to have a file and a destination.
    """
    assert run.file is not None  # noqa: S101  the caller delivers it
    wanted = run.file.name
    # Who fetches a file by a constant name expects the newest one there, and nothing older after it.
    replaces = is_constant(file.name_pattern)
    for name in _names(wanted, run.pk, suffix_of(file)):
        if _claim(run, name, replaces=replaces and name == wanted):
            break
    if run.claimed_name != wanted:
        run.warnings.append({"code": "NAME_TAKEN", "name": run.claimed_name})
        run.save(update_fields=["warnings"])


def _names(wanted: str, run: int, suffix: str) -> Iterator[str]:
    yield wanted
    yield with_number(wanted, str(run), suffix=suffix)
    for n in count(2):  # somebody's pattern came to that, too
        yield with_number(wanted, f"{run}-{n}", suffix=suffix)


def _claim(run: ExportRun, name: str, *, replaces: bool) -> bool:
    """Whether the run has the name now; `replaces` lets it take that of an earlier run of the same export."""
    claims = ExportRun.objects.filter(destination=run.destination, claimed_name=name)
    run.claimed_name = name
    try:
        with transaction.atomic():
            if replaces and run.export_id is not None:
                claims.filter(export=run.export_id, pk__lt=run.pk).update(claimed_name="")
            if gone := _gone_since(run):
                claims.filter(delivered_at__lt=gone).update(claimed_name="")
            run.save(update_fields=["claimed_name"])
    except IntegrityError as error:
        if "export_run_claimed_name" not in str(error):
            raise
        return False
    return True


def _gone_since(run: ExportRun) -> dt.datetime | None:
    """What was delivered before is no longer at the run's destination, if Batchdesk removes files there."""
    assert run.destination is not None  # noqa: S101  the caller delivers to it
    setting = DESTINATIONS[run.destination.kind].kept
    return timezone.now() - kept(setting) - SWEPT_WITHIN if setting else None
