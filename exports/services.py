"""What can be done with exports and their runs. Each function is one domain call for a view, task, command or admin
action. States and who may in which are exports/states.py.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.actors import Actor
from accounts.models import Account
from accounts.permissions import Permission
from accounts.services import audit
from audience.models import Segment
from audience.windows import window_since
from batchjobs.doorbell import ring
from batchjobs.models import BatchJob, Queue
from batchjobs.services import batchjob_cancel
from batchjobs.states import ACTIVE
from exports import conditions, definitions
from exports.definitions import ExportRefusedError
from exports.errors import error_shown
from exports.models import Export, ExportRun, Trigger
from exports.reports import UNREPORTED
from exports.run import server_now
from exports.schedules import Schedule, next_after
from exports.sources import SourceError
from exports.states import (
    ACTIONS,
    RECURRING,
    RUN_ACTIONS,
    STANDARD,
    WINDOWED,
    Action,
    ExportType,
    RunAction,
    RunState,
    State,
    TransitionRefusedError,
)

KIND = "export"
READING = frozenset({Action.VIEW, RunAction.REPORT, RunAction.VIEW, RunAction.DOWNLOAD})


# Definitions.


def export_create(*, by: Actor, definition: Mapping[str, Any], step: int = 1) -> Export:
    """A draft; keys of `definition` as in the API, any may be missing but the name. `step` is the wizard's.

    Raises ExportRefusedError.
    """
    if not str(definition.get("name") or "").strip():
        raise ExportRefusedError("name", _("Give the export a name."))
    export = definitions.blank(by.account)
    export.created_by, export.created_by_key = by.user, by.api_key
    definitions.apply(export, definition, by=by)
    export.step = step
    with transaction.atomic():
        export_save(export)
        audit(by=by, action="export.created", target=export.name, data={"export": export.pk})
    return export


def export_update(*, export: Export, by: Actor, changes: Mapping[str, Any], step: int = 1) -> Export:
    """Changes a draft; each key is checked by itself. `step` is how far the wizard is, if it was not there before.

    Raises ExportRefusedError, TransitionRefusedError.
    """
    with transaction.atomic():
        export = _locked(export, Action.EDIT)
        definitions.apply(export, changes, by=by)
        export.step = max(export.step, step)
        export.edited_at = timezone.now()
        export_save(export)
        if changes:
            what = {"export": export.pk, "what": sorted(changes)}
            audit(by=by, action="export.edited", target=export.name, data=what)
    return export


def export_save(export: Export) -> None:
    """Raises ExportRefusedError if its name is taken."""
    try:
        with transaction.atomic():
            export.save()
    except IntegrityError as error:
        if "export_name_once" not in str(error):
            raise
        raise ExportRefusedError("name", _("Another export of this account has this name.")) from error


def export_copy(*, export: Export, by: Actor, name: str) -> Export:
    """A draft with the same definition. Of one that support staff made, its standard equivalent.

    Raises ExportRefusedError, TransitionRefusedError.
    """
    _require(export, Action.COPY)
    return _copy(definitions.to_json(export), by=by, name=name, copied=export.name)


def run_copy(*, run: ExportRun, by: Actor, name: str) -> Export:
    """The same of a run's definition, also if the export itself is no longer there."""
    _require_run(run, RunAction.COPY)
    return _copy(run.definition, by=by, name=name, copied=run.name)


def _copy(definition: Mapping[str, Any], *, by: Actor, name: str, copied: str) -> Export:
    changes = {**definition, "name": name}
    if changes.get("type") == ExportType.INCREMENTAL_CUSTOM:
        changes["type"] = ExportType.INCREMENTAL.value
    export = definitions.blank(by.account)
    export.created_by, export.created_by_key = by.user, by.api_key
    definitions.restore(export, changes, by=by)
    export.step = definitions.STEPS
    with transaction.atomic():
        export_save(export)
        audit(by=by, action="export.copied", target=export.name, data={"export": export.pk, "from": copied})
    return export


def export_delete(*, export: Export, by: Actor) -> None:
    """Removes a draft that nothing runs of. The runs it once had stay. Raises TransitionRefusedError."""
    with transaction.atomic():
        delete_locked(_locked(export, Action.DELETE), by=by)


def delete_locked(export: Export, *, by: Actor) -> None:
    """Raises TransitionRefusedError."""
    _refuse_active(export)
    audit(by=by, action="export.deleted", target=export.name, data={"export": export.pk})
    export.delete()


def segment_create(*, by: Actor, export: Export, name: str, rules: Any) -> Segment:
    """Keeps a filter under a name, for other exports of the same data. Raises ExportRefusedError."""
    name = name.strip()
    if not name or len(name) > definitions.NAME_MAX or not name.isprintable():
        raise ExportRefusedError(
            "segment", _("Give the segment a name of %(n)s characters at most.") % {"n": definitions.NAME_MAX}
        )
    if not rules:
        raise ExportRefusedError("filter", _("A segment needs at least one rule."))
    try:
        conditions.checked(rules, definitions.definition_of(export).fields(seen=False))
        with transaction.atomic():
            segment: Segment = Segment.objects.create(
                database=export.database, name=name, data_type=export.data_type, filter=rules, created_by=str(by)
            )
            audit(by=by, action="segment.created", target=name, data={"segment": segment.pk})
    except SourceError as error:
        raise ExportRefusedError("filter", error.sentence) from error
    except IntegrityError as error:
        raise ExportRefusedError("segment", _("Another segment of this database has this name.")) from error
    return segment


# Schedules.


def export_schedule(*, export: Export, by: Actor, now: dt.datetime | None = None) -> Export:
    """Starts a one-shot export, now or at its moment; makes another one run from now on.

    Raises ExportRefusedError for a definition with gaps, TransitionRefusedError.
    """
    now = now or timezone.now()
    with transaction.atomic():
        export = _locked(export, Action.SCHEDULE)
        if problems := definitions.problems_of(export, now=now):
            raise problems[0]
        schedule_locked(export, by=by, now=now)
    return export


def schedule_locked(export: Export, *, by: Actor, now: dt.datetime) -> None:
    """Schedules an export whose row is locked and whose definition is whole; support staff's own come here too."""
    export.stopped_because = ""
    if export.type in RECURRING:
        export.state, export.next_run_at = State.SCHEDULED, next_after(Schedule.from_json(export.schedule), now)
        if export.type in WINDOWED and export.watermark is None and export.start_with == "changes":
            export.watermark, export.server = window_since(0).hi, server_now()
            export.watermark_at = timezone.now()
    elif export.run_at and export.run_at > now:
        export.state, export.next_run_at = State.SCHEDULED, export.run_at
    else:
        export.state, export.next_run_at = State.STARTED, None
    export.save()
    Export.objects.filter(pk=export.pk).update(scheduled_at=Now())  # by the clock that runs are dated by
    audit(by=by, action="export.scheduled", target=export.name, data={"export": export.pk})
    if export.state == State.STARTED:
        run_start(export, trigger=Trigger.PERSON, by=by)


def export_unschedule(*, export: Export, by: Actor, for_good: bool = False) -> Export:
    """Back to the drafts: nothing runs any more until it is scheduled again.

    An incremental custom export becomes a standard one by that, which has to be said (`for_good`).
    Raises ExportRefusedError, TransitionRefusedError.
    """
    with transaction.atomic():
        export = _locked(export, Action.UNSCHEDULE)
        if export.type == ExportType.INCREMENTAL_CUSTOM:
            if not for_good:
                raise ExportRefusedError(
                    "for_good", _("Unscheduling turns this export into a standard export for good. Confirm that.")
                )
            export.type = ExportType.INCREMENTAL
        unschedule_locked(export)
        audit(by=by, action="export.unscheduled", target=export.name, data={"export": export.pk})
    return export


def unschedule_locked(export: Export, *, because: str = "") -> None:
    export.state, export.next_run_at, export.stopped_because = State.DRAFT, None, because
    export.step = definitions.STEPS
    export.edited_at = timezone.now()
    export.save()


# Runs.


def export_run_now(*, export: Export, by: Actor) -> ExportRun:
    """A run beside the schedule. Raises TransitionRefusedError."""
    with transaction.atomic():
        export = _locked(export, Action.RUN_NOW)
        _refuse_active(export)
        run = run_start(export, trigger=Trigger.PERSON, by=by)
        if export.type == ExportType.ONE_SHOT:  # it was to run later
            export.state, export.next_run_at = State.STARTED, None
            export.save(update_fields=["state", "next_run_at"])
    return run


def export_run(*, export: Export, by: Actor) -> ExportRun:
    """A run now, of a one-shot draft (whatever moment it names) as of what is scheduled.

    Raises ExportRefusedError for a definition with gaps, TransitionRefusedError.
    """
    with transaction.atomic():
        if can_run(export) and export.state == State.DRAFT:
            export = export_schedule(export=export, by=by)
            if export.state == State.STARTED:
                return ExportRun.objects.with_state().filter(export=export).order_by("-pk")[0]
        return run_get(export_run_now(export=export, by=by))


def export_resync(*, export: Export, by: Actor) -> Export:
    """The next run of an incremental export sends everything. Raises TransitionRefusedError."""
    with transaction.atomic():
        export = _locked(export, Action.RESYNC)
        Export.objects.filter(pk=export.pk).update(resync_at=Now())  # by the clock that windows are dated by
        export.refresh_from_db(fields=["resync_at"])
        audit(by=by, action="export.resync", target=export.name, data={"export": export.pk})
    return export


def run_start(
    export: Export,
    *,
    trigger: Trigger,
    by: Actor,
    scheduled_for: dt.datetime | None = None,
    again: ExportRun | None = None,
) -> ExportRun:
    """Records a run with the definition as it is now, or as that of `again` was, and its job.

    In the caller's transaction.
    """
    job = _job(export.account, export.name, by)
    job.database = export.database
    job.save()
    run: ExportRun = ExportRun.objects.create(
        **(_as_it_was(again) if again else _as_it_is(export)),
        trigger=trigger,
        started_by=str(by),
        scheduled_for=scheduled_for,
        job=job,
        **({"window_lo": again.window_lo, "window_hi": again.window_hi, "server": again.server} if again else {}),
        **({"window_from": again.window_from, "window_until": again.window_until} if again else {}),
    )
    audit(by=by, action="export.run", target=export.name, data={"export": export.pk, "run": run.pk})
    return run


def run_record(export: Export, *, fault: str, scheduled_for: dt.datetime, now: dt.datetime) -> None:
    """Records that nothing ran at a time, and why."""
    ExportRun.objects.create(
        **_as_it_is(export), trigger=Trigger.SCHEDULE, scheduled_for=scheduled_for, fault=fault, settled_at=now
    )


def _as_it_was(run: ExportRun) -> dict[str, Any]:
    names = ("account", "export", "database", "name", "type", "data_type", "definition", "destination")
    return {name: getattr(run, name) for name in names}


def _as_it_is(export: Export) -> dict[str, Any]:
    return {
        "account": export.account,
        "export": export,
        "database": export.database,
        "name": export.name,
        "type": export.type,
        "data_type": export.data_type,
        "definition": definitions.to_json(export),
        "destination": export.destination,
    }


def _job(account: Account, name: str, by: Actor) -> BatchJob:
    job = BatchJob(
        account=account,
        kind=KIND,
        name=f"Export: {name[:120]} {timezone.now():%Y-%m-%d %H:%M} {uuid4().hex[:8]}",
        queue=Queue.LONG,
        created_by=by.user,
        created_by_key=by.api_key,
    )
    ring(job.queue)
    return job


def run_relaunch(*, run: ExportRun, by: Actor) -> ExportRun:
    """Tries a failed run again: a file that is there is delivered as it is, without reading the data again.

    Raises TransitionRefusedError.
    """
    with transaction.atomic():
        run = _locked_run(run, RunAction.RELAUNCH)
        relaunch_locked(run, by=by)
    return run_get(run)


def relaunch_locked(run: ExportRun, *, by: Actor) -> None:
    """Gives a failed run, whose row is locked, another job. Raises TransitionRefusedError."""
    if not is_retryable(run):
        raise TransitionRefusedError(_("Trying this run again cannot help."))
    if run.export:
        _refuse_active(run.export)
    job = _job(run.account, run.name, by)
    job.database = run.database
    job.save()
    # Its end will be another one, and reported anew.
    run.job, run.settled_at, run.report_to, run.report_at = job, None, [], None
    run.warnings = [warning for warning in run.warnings if warning.get("code") != UNREPORTED]
    run.save(update_fields=["job", "settled_at", "report_to", "report_at", "warnings"])
    audit(by=by, action="export.relaunched", target=run.name, data={"run": run.pk})


def run_window_again(*, run: ExportRun, by: Actor) -> ExportRun:
    """A new run over what last changed in the window of an earlier one. Raises TransitionRefusedError."""
    with transaction.atomic():
        run = _locked_run(run, RunAction.WINDOW_AGAIN)
        if run.export is None or run.window is None:
            raise TransitionRefusedError(_("This run covered no window of changes."))
        if not _can_send_windows(run.export):
            raise TransitionRefusedError(_("Its export is not scheduled, so nothing of it runs."))
        if run.server != server_now():
            raise TransitionRefusedError(_("The database was restored since: the window means something else now."))
        _refuse_active(run.export)
        return run_start(run.export, trigger=Trigger.WINDOW, by=by, again=run)


def run_cancel(*, run: ExportRun, by: Actor) -> None:
    """Stops a run before its file is delivered. Raises TransitionRefusedError."""
    run = run_get(run)
    _require_run(run, RunAction.CANCEL)
    assert run.job is not None  # noqa: S101  what is in progress has one
    batchjob_cancel(job=run.job, by=by)


def run_get(run: ExportRun) -> ExportRun:
    """The run as it is now, with its state."""
    return ExportRun.objects.with_state().get(pk=run.pk)


def is_retryable(run: ExportRun) -> bool:
    """Whether a failed run may be tried again."""
    return run.job is not None and error_shown(run.job.failure_code, run.job.failure_params).retryable


# What may be asked.


def actions_allowed(export: Export, *, by: Actor) -> list[Action]:
    """What `by` can ask of the export now: the buttons come from here."""
    return [
        action
        for action, allowed in ACTIONS.items()
        if export.state in allowed.states
        and export.type in allowed.types
        and (action in READING or by.can(Permission.RUN_JOBS))
    ]


def can_run(export: Export) -> bool:
    """Whether `export_run` can do something with an export in this state."""
    if export.type == ExportType.ONE_SHOT and export.state == State.DRAFT:
        return True
    allowed = ACTIONS[Action.RUN_NOW]
    return export.state in allowed.states and export.type in allowed.types


def run_actions_allowed(run: ExportRun, *, by: Actor) -> list[RunAction]:
    """What `by` can ask of the run now. `run` is of `with_state()`."""
    allowed = [
        action
        for action, rule in RUN_ACTIONS.items()
        if run.state in rule.states and run.type in rule.types and (action in READING or by.can(Permission.RUN_JOBS))
    ]
    unfit = set()
    if run.file is None or run.file.removed_at:
        unfit.add(RunAction.DOWNLOAD)
    if run.state == RunState.FAILED and not is_retryable(run):
        unfit.add(RunAction.RELAUNCH)
    if run.window is None or run.export is None or not _can_send_windows(run.export):
        unfit.add(RunAction.WINDOW_AGAIN)
    return [action for action in allowed if action not in unfit]


def _can_send_windows(export: Export) -> bool:
    return export.state == State.SCHEDULED and export.type in WINDOWED


def _require(export: Export, action: Action) -> None:
    allowed = ACTIONS[action]
    if export.state in allowed.states and export.type in allowed.types:
        return
    if export.type not in allowed.types and export.type not in STANDARD:
        raise TransitionRefusedError(_("Support staff look after this export. Ask them to change it."))
    if action in (Action.EDIT, Action.DELETE, Action.SCHEDULE) and export.state == State.SCHEDULED:
        raise TransitionRefusedError(_("This export is scheduled. Unschedule it first."))
    raise TransitionRefusedError(
        _("This cannot be done with an export that is “%(state)s”.") % {"state": State(export.state).label}
    )


def _require_run(run: ExportRun, action: RunAction) -> None:
    rule = RUN_ACTIONS[action]
    if run.state not in rule.states or run.type not in rule.types:
        raise TransitionRefusedError(
            _("This cannot be done with a run that is “%(state)s”.") % {"state": RunState(run.state).label}
        )


def _locked(export: Export, action: Action) -> Export:
    """The export as it is now, locked: of two people who ask at once, the second finds what the first did."""
    fresh = Export.objects.select_for_update(of=("self",)).select_related("account", "database", "destination")
    found: Export | None = fresh.filter(pk=export.pk).first()
    if found is None:
        raise TransitionRefusedError(_("This export is no longer there."))
    _require(found, action)
    return found


def _locked_run(run: ExportRun, action: RunAction) -> ExportRun:
    ExportRun.objects.select_for_update().get(pk=run.pk)
    found = run_get(run)
    _require_run(found, action)
    return found


def _refuse_active(export: Export) -> None:
    if has_active_run(export):
        raise TransitionRefusedError(_("A run of this export is going on. Wait for its end."))


def has_active_run(export: Export) -> bool:
    return ExportRun.objects.filter(export=export, job__status__in=ACTIVE).exists()
