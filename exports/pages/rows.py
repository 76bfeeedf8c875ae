"""Exports and runs as rows of the list."""

import datetime as dt
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

from django.db.models import OuterRef, Subquery
from django.http import QueryDict
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext as _

from accounts.actors import Actor
from accounts.models import Account
from batchjobs.states import ACTIVE, Status
from console import formats
from console.tables import url_with
from exports import definitions, services
from exports.errors import ErrorShown, error_shown
from exports.models import Export, ExportRun
from exports.pages.asks import RUN_WAYS, WAYS, Ask, asks_of, export_url, run_url
from exports.reports import warnings_of
from exports.schedules import Schedule, ScheduleError, in_words
from exports.states import RECURRING, Action, ExportType, RunAction, RunState, State
from exports.summary import goes_to

EXPORT_RELATIONS = ("account", "database", "destination", "created_by", "created_by_key")
RUN_RELATIONS = ("account", "destination", "export__account")


@dataclass(frozen=True)
class _About:
    """What the rows and drawers of exports and of runs have in common."""

    by: Actor
    now: dt.datetime
    params: QueryDict

    def kind_words(self, of: Export | ExportRun) -> str:
        """Incremental · Profile, Audience."""
        words = {"type": of.get_type_display(), "data": of.get_data_type_display(), "database": of.database.name}
        return _("%(type)s · %(data)s, %(database)s") % words


@dataclass(frozen=True)
class RunRow(_About):
    """A run of `with_state()`."""

    run: ExportRun

    @property
    def token(self) -> str:
        return f"run-{self.run.pk}"

    @property
    def what(self) -> str:
        return self.kind_words(self.run)

    @property
    def state(self) -> str:
        return str(self.run.state)

    @property
    def label(self) -> str:
        return str(RunState(self.run.state).label)

    @property
    def is_active(self) -> bool:
        return self.run.state == RunState.IN_PROGRESS

    @property
    def is_waiting(self) -> bool:
        job = self.run.job
        return job is not None and job.status == Status.PENDING

    @property
    def is_stopping(self) -> bool:
        """Whether somebody asked to cancel and the worker has not seen it yet. Only the report looks."""
        return False

    @property
    def rows_so_far(self) -> int | None:
        if self.run.rows is not None:
            return self.run.rows
        job = self.run.job
        return job.reader_state.get("rows") if job else None

    @property
    def bytes_so_far(self) -> int | None:
        job = self.run.job
        return self.run.content_bytes or (job.reader_state.get("bytes") if job else None)

    @property
    def doing(self) -> str:
        """What it is busy with."""
        if self.is_stopping:
            return _("Being canceled")
        if self.is_waiting:
            return _("Waiting to start")
        if self.run.built_at:
            return _("Delivering the file")
        return _("Writing the file")

    @cached_property
    def failure(self) -> ErrorShown | None:
        if self.run.state != RunState.FAILED:
            return None
        job = self.run.job
        return error_shown(self.run.fault or (job.failure_code if job else ""), job.failure_params if job else {})

    @property
    def note(self) -> str:
        """Beside the pill: why it failed, or what is worth a look."""
        if self.failure:
            return self.failure.title
        warnings = self.warnings
        return warnings[0] if warnings else ""

    @property
    def warnings(self) -> list[str]:
        return [str(text) for text in warnings_of(self.run)]

    @property
    def goes_to(self) -> str:
        return goes_to(self.run.definition, self.run.destination)

    @property
    def started_at(self) -> dt.datetime:
        """When it was to begin if nothing began, else when it was first asked for: what the list is sorted by."""
        return self.run.created_at

    @property
    def tried_again_at(self) -> dt.datetime | None:
        job = self.run.job
        return job.created_at if job and job.created_at > self.run.created_at else None

    @property
    def seconds(self) -> float | None:
        job = self.run.job
        if job is None or job.started_at is None:
            return None
        return ((job.completed_at or self.now) - job.started_at).total_seconds()

    @property
    def took(self) -> str:
        return formats.span(self.seconds) if self.seconds is not None else ""

    @cached_property
    def allowed(self) -> list[RunAction]:
        return services.run_actions_allowed(self.run, by=self.by)

    @property
    def asks(self) -> list[Ask]:
        return asks_of(RUN_WAYS, [action for action in RUN_WAYS if action in self.allowed], self.run.pk, self.params)

    @property
    def href(self) -> str:
        return run_url(self.params, self.run)

    @property
    def version(self) -> str:
        """Changes when what the row shows changes."""
        job = self.run.job
        at = f"{job.pk}:{job.status}:{job.next_chunk}:{job.reader_state}:{self.is_stopping}" if job else ""
        return f"{self.token}:{self.run.state}:{at}"


@dataclass(frozen=True)
class ExportRow(_About):
    export: Export
    last: RunRow | None = None

    @property
    def token(self) -> str:
        return f"export-{self.export.pk}"

    @property
    def what(self) -> str:
        return self.kind_words(self.export)

    @property
    def stopped(self) -> bool:
        return bool(self.export.stopped_because)

    @property
    def state(self) -> str:
        """What its pill says; a draft that Batchdesk itself unscheduled says so."""
        return "stopped" if self.stopped and self.export.state == State.DRAFT else self.export.state

    @property
    def label(self) -> str:
        return _("Stopped") if self.state == "stopped" else str(self.export.get_state_display())

    @property
    def step(self) -> int:
        return min(self.export.step, definitions.STEPS)

    @property
    def steps(self) -> int:
        return definitions.STEPS

    @cached_property
    def schedule(self) -> Schedule | None:
        try:
            return Schedule.from_json(self.export.schedule) if self.export.schedule else None
        except ScheduleError:
            return None

    @property
    def cadence(self) -> str:
        if self.export.type not in RECURRING:
            return _("Once")
        return in_words(self.schedule) if self.schedule else ""

    @property
    def next_run(self) -> str:
        zone = self.schedule.zone if self.schedule and self.export.type in RECURRING else None
        return formats.upcoming(self.export.next_run_at, zone, self.now)

    @property
    def goes_to(self) -> str:
        return goes_to(definitions.to_json(self.export), self.export.destination)

    @property
    def is_active(self) -> bool:
        return self.last is not None and self.last.is_active

    @cached_property
    def allowed(self) -> list[Action]:
        return services.actions_allowed(self.export, by=self.by)

    @property
    def asks(self) -> list[Ask]:
        if Action.VIEW not in self.allowed:  # of support staff's own: its status and its reports
            return [Ask(_("View status and reports"), "eye", export_url(self.params, self.export), pushes=True)]
        return self._asks_of([action for action in WAYS if action in self.allowed])

    def _asks_of(self, allowed: Collection[Action]) -> list[Ask]:
        asks = asks_of(WAYS, allowed, self.export.pk, self.params)
        if self.export.type == ExportType.ONE_SHOT and not self.export.run_at:
            word = Action.SCHEDULE.label  # of what runs at once
            asks = [replace(ask, label=_("Export now"), icon="play") if ask.label == word else ask for ask in asks]
        return asks

    @property
    def href(self) -> str:
        """Where its name leads: a draft opens where it can be gone on with, for who may."""
        if Action.EDIT in self.allowed:
            return url_with(reverse("export_edit", args=[self.export.pk]), self.params)
        return export_url(self.params, self.export)

    @property
    def version(self) -> str:
        last = self.last.version if self.last else ""
        return f"{self.token}:{self.export.state}:{self.export.next_run_at}:{self.export.resync}:{last}"


def exports_of(account: Account) -> Any:
    return with_last_run(Export.objects.for_account(account), account)


def with_last_run(exports: Any, account: Account) -> Any:
    """With the number of each one's last run, which an index finds."""
    last = ExportRun.objects.for_account(account).filter(export=OuterRef("pk")).order_by("-pk").values("pk")[:1]
    return exports.select_related(*EXPORT_RELATIONS).annotate(last_run=Subquery(last))


def runs_of(account: Account) -> Any:
    return ExportRun.objects.for_account(account).with_state().select_related(*RUN_RELATIONS)


def export_rows(exports: Iterable[Any], by: Actor, now: dt.datetime, params: QueryDict) -> list[ExportRow]:
    """Rows of exports of `exports_of`, with one more query for their last runs."""
    listed = list(exports)
    wanted = [export.last_run for export in listed if export.last_run]
    runs = runs_of(by.account).filter(pk__in=wanted).in_bulk() if wanted else {}
    return [
        ExportRow(
            by, now, params, export, RunRow(by, now, params, runs[export.last_run]) if export.last_run in runs else None
        )
        for export in listed
    ]


def run_rows(runs: Iterable[ExportRun], by: Actor, now: dt.datetime, params: QueryDict) -> list[RunRow]:
    return [RunRow(by, now, params, run) for run in runs]


def active_count(account: Account) -> int:
    """How many runs are going on: the number beside “Exports” in the sidebar."""
    return ExportRun.objects.for_account(account).filter(job__status__in=ACTIVE).count()
