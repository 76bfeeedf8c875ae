"""The clock of exports: starts what is due, settles and reports what has ended. Any number of beats may tick at once.

A run is unique by export and time, and the export moves to its next time in the same transaction, so a tick that is
killed or comes twice changes nothing. What an end leads to is committed before anybody is told of it.
"""

from __future__ import annotations

import datetime as dt

import structlog
from django.db import transaction
from django.utils import timezone

from accounts.actors import system_actor
from accounts.services import audit
from exports import services
from exports.models import Export, ExportRun, Trigger
from exports.reports import recipients_of, reports_send
from exports.schedules import Schedule, missed, next_after
from exports.states import ExportType, RunState, State

log = structlog.get_logger(__name__)

CATCH_UP = dt.timedelta(hours=24)
FAILURES_MAX = 5  # in a row


def tick(*, now: dt.datetime | None = None) -> int:
    """Starts what is due by `now`, settles and reports what has ended; returns how many runs were started."""
    now = now or timezone.now()
    started = 0
    while (found := start_one(now)) is not None:
        started += found
    while settle_one(now):
        pass
    reports_send()
    return started


def start_one(now: dt.datetime) -> int | None:
    """Starts the export that is due longest: how many runs that made, None if nothing is due."""
    with transaction.atomic():
        due = Export.objects.select_for_update(skip_locked=True, of=("self",)).select_related(
            "account", "database", "destination"
        )
        export = due.filter(state=State.SCHEDULED, next_run_at__lte=now).order_by("next_run_at", "pk").first()
        if export is None:
            return None
        assert export.next_run_at is not None  # noqa: S101  the filter
        if export.type == ExportType.ONE_SHOT:
            at: dt.datetime | None = export.next_run_at
            export.state, export.next_run_at = State.STARTED, None
        else:
            at = _catch_up(export, now)
        export.save(update_fields=["state", "next_run_at"])
        if at is None:
            return 0
        if services.has_active_run(export):
            services.run_record(export, fault="OVERLAPPED", scheduled_for=at, now=now)
            log.warning("export_overlapped", export=export.pk, at=at.isoformat())
            return 0
        services.run_start(export, trigger=Trigger.SCHEDULE, by=system_actor(export.account), scheduled_for=at)
        return 1


def _catch_up(export: Export, now: dt.datetime) -> dt.datetime | None:
    """Moves the export to its next time; the time to run for now, None if the latest is too long ago.

    Of several times that have passed, the latest runs; the others are recorded as missed.
    """
    schedule = Schedule.from_json(export.schedule)
    first = export.next_run_at
    assert first is not None  # noqa: S101  it is due
    _count, passed = missed(schedule, first, now)  # the latest hundred: more say nothing new
    times = sorted({first, *passed} if len(passed) < 100 else passed)
    latest = times.pop()
    if now - latest > CATCH_UP:
        times.append(latest)
    for at in times:
        services.run_record(export, fault="MISSED", scheduled_for=at, now=now)
    if times:
        log.warning("export_missed", export=export.pk, times=len(times))
    export.next_run_at = next_after(schedule, now)
    return latest if now - latest <= CATCH_UP else None


def settle_one(now: dt.datetime) -> bool:
    """Counts the end of one run and notes who is to be told. False if there is nothing to settle."""
    with transaction.atomic():
        unsettled = ExportRun.objects.filter(settled_at__isnull=True, job__completed_at__isnull=False)
        found = unsettled.select_for_update(skip_locked=True, of=("self",)).order_by("pk").first()
        if found is None:
            return False
        run = services.run_get(found)
        run.stopped_export = run.state == RunState.FAILED and _stop_after_failures(run)
        run.settled_at = now
        run.report_to = recipients_of(run)
        run.report_at = timezone.now() if run.report_to else None
        run.save(update_fields=["settled_at", "stopped_export", "report_to", "report_at"])
    return True


def _stop_after_failures(run: ExportRun) -> bool:
    """Unschedules the export of a failed run if its last five failed. Returns whether it did."""
    if run.export_id is None:
        return False
    export = Export.objects.select_for_update().get(pk=run.export_id)
    if export.state != State.SCHEDULED or export.type == ExportType.ONE_SHOT:
        return False
    ended = ExportRun.objects.with_state().filter(
        export=export, job__completed_at__isnull=False, created_at__gte=export.scheduled_at
    )
    states = [one.state for one in ended.order_by("-pk")[:FAILURES_MAX]]
    if len(states) < FAILURES_MAX or set(states) != {RunState.FAILED}:
        return False
    services.unschedule_locked(export, because="FIVE_FAILURES")
    audit(
        by=system_actor(export.account),
        action="export.stopped",
        target=export.name,
        data={"export": export.pk, "because": "five failures in a row"},
    )
    return True
