"""What support staff do with exports: they set up custom and incremental custom ones, and look after their runs.

An incremental custom export that its account unscheduled is a standard one from then on, and no longer theirs.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.actors import Actor
from accounts.services import audit
from exports import definitions, services
from exports.definitions import ExportRefusedError
from exports.models import Export, ExportRun
from exports.states import STANDARD, ExportType, RunState, State, TransitionRefusedError

TYPES = tuple(type_ for type_ in ExportType if type_ not in STANDARD)


def is_ours(export: Export) -> bool:
    """Whether support staff look after the export."""
    return export.type in TYPES


def can_edit(export: Export) -> bool:
    return is_ours(export) and export.state == State.DRAFT


def custom_create(*, by: Actor, name: str, type_: str, data_type: str) -> Export:
    """A draft of one of TYPES. Raises ExportRefusedError."""
    export = definitions.blank(by.account)
    export.created_by = by.user
    _take_type(export, type_)
    definitions.apply(export, {"name": name, "data_type": data_type}, by=by)
    export.step = definitions.STEPS
    with transaction.atomic():
        services.export_save(export)
        audit(by=by, action="export.created", target=export.name, data={"export": export.pk, "type": type_})
    return export


def custom_update(
    *, export: Export, by: Actor, changes: Mapping[str, Any], support_note: str, type_: str = ""
) -> Export:
    """Changes a draft of theirs; keys as in the API, `type_` only if it is to be another one.

    Raises ExportRefusedError, TransitionRefusedError.
    """
    with transaction.atomic():
        export = _locked(export, State.DRAFT)
        apply(export, changes, by=by, type_=type_)
        export.support_note = support_note
        export.edited_at = timezone.now()
        services.export_save(export)
        what = {"export": export.pk, "what": sorted(changes)}
        audit(by=by, action="export.edited", target=export.name, data=what)
    return export


def apply(export: Export, changes: Mapping[str, Any], *, by: Actor, type_: str = "") -> None:
    """Puts changes into the export, unsaved. Raises ExportRefusedError: also without a destination."""
    if type_:
        _take_type(export, type_)
    definitions.apply(export, changes, by=by)
    if export.destination_id is None:
        raise ExportRefusedError("destination", _("Custom exports always go to a destination."))


def custom_schedule(*, export: Export, by: Actor, now: dt.datetime | None = None) -> Export:
    """Lets it run from now on. Raises ExportRefusedError for a definition with gaps, TransitionRefusedError."""
    now = now or timezone.now()
    with transaction.atomic():
        export = _locked(export, State.DRAFT)
        if problems := definitions.problems_of(export, now=now):
            raise problems[0]
        services.schedule_locked(export, by=by, now=now)
    return export


def custom_unschedule(*, export: Export, by: Actor) -> Export:
    """Back to the drafts; it stays what it is. Raises TransitionRefusedError."""
    with transaction.atomic():
        export = _locked(export, State.SCHEDULED)
        services.unschedule_locked(export)
        audit(by=by, action="export.unscheduled", target=export.name, data={"export": export.pk})
    return export


def custom_delete(*, export: Export, by: Actor) -> None:
    """Removes a draft of theirs. The runs it once had stay. Raises TransitionRefusedError."""
    with transaction.atomic():
        services.delete_locked(_locked(export, State.DRAFT), by=by)


def run_again(*, run: ExportRun, by: Actor) -> ExportRun:
    """Tries a failed run again, of any type. Raises TransitionRefusedError."""
    with transaction.atomic():
        ExportRun.objects.select_for_update().get(pk=run.pk)
        run = services.run_get(run)
        if run.state != RunState.FAILED:
            raise TransitionRefusedError(
                _("This cannot be done with a run that is “%(state)s”.") % {"state": RunState(run.state).label}
            )
        services.relaunch_locked(run, by=by)
    return services.run_get(run)


def _take_type(export: Export, type_: str) -> None:
    if type_ not in TYPES:
        raise ExportRefusedError("type", _("Support staff set up custom and incremental custom exports."))
    export.type = type_


def _locked(export: Export, state: State) -> Export:
    found = Export.objects.select_for_update(of=("self",)).select_related("account", "database", "destination")
    fresh: Export | None = found.filter(pk=export.pk).first()
    if fresh is None:
        raise TransitionRefusedError(_("This export is no longer there."))
    if not is_ours(fresh):
        raise TransitionRefusedError(_("This is a standard export: only its account can change it."))
    if fresh.state != state:
        raise TransitionRefusedError(
            _("This cannot be done with an export that is “%(state)s”.") % {"state": State(fresh.state).label}
        )
    return fresh
