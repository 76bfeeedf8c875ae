"""What the templates of the Exports page get: the list as its URL asks for it, rows, and the drawers over it."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from django.db.models import OuterRef, Subquery
from django.http import QueryDict
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from accounts.actors import Actor
from accounts.models import Account
from accounts.permissions import Permission
from audience.models import Database
from batchjobs.models import JobRequest
from batchjobs.retention import kept
from batchjobs.states import ACTIVE, Status
from console import formats
from console.formats import number
from console.lists import Chip, StatusChoice, capped, without
from console.tables import BIGINT, COUNT_CAP, url_with
from console.templatetags.console import Bar
from exports import definitions, services
from exports.errors import ErrorShown, error_shown
from exports.filters import (
    DRAFT,
    FACETS,
    FINISHED,
    IN_PROGRESS,
    OF_EXPORTS,
    RUN_TABLE,
    SCHEDULED,
    STATUSES,
    TABS,
    ExportFilter,
    list_params,
)
from exports.models import DataType, Export, ExportRun, Trigger
from exports.reports import warnings_of
from exports.schedules import Schedule, ScheduleError, in_words, occurrences
from exports.states import RECURRING, WINDOWED, Action, ExportType, RunAction, RunState, State
from exports.summary import Section, definition_words, goes_to
from exports.wizard_when import RunShown

NEXT_RUNS = 5
RUNS_DRAWN = 14
RUNS_LISTED = 5
BUTTONS = 3  # in a drawer's foot; the others are in its menu
TOKEN = re.compile(r"(export|run)-(\d{1,18})")
EXPORT_RELATIONS = ("account", "database", "destination", "created_by", "created_by_key")
RUN_RELATIONS = ("account", "destination", "export__account")


# What can be asked, as links and buttons.


@dataclass(frozen=True, slots=True)
class Ask:
    """An action in a menu or a drawer's foot. `posts`: a button of a form; else a link, to a drawer if `opens`."""

    label: str
    icon: str
    href: str
    posts: bool = False
    opens: bool = True
    danger: bool = False
    download: bool = False
    pushes: bool = False  # what it opens is a page of its own in the history


@dataclass(frozen=True, slots=True)
class _Way:
    route: str
    icon: str
    posts: bool = False
    opens: bool = True
    danger: bool = False
    download: bool = False
    pushes: bool = False


WAYS: dict[Action, _Way] = {
    Action.EDIT: _Way("export_edit", "edit", pushes=True),
    Action.VIEW: _Way("export_detail", "eye", pushes=True),
    Action.COPY: _Way("export_copy", "copy"),
    Action.SCHEDULE: _Way("export_schedule", "calendar", posts=True),
    Action.RUN_NOW: _Way("export_run_now", "play", posts=True),
    Action.RESYNC: _Way("export_resync", "retry"),
    Action.UNSCHEDULE: _Way("export_unschedule", "pause", danger=True),
    Action.DELETE: _Way("export_delete", "trash", danger=True),
}
# What people come for first.
FOOT = (
    Action.EDIT,
    Action.SCHEDULE,
    Action.COPY,
    Action.UNSCHEDULE,
    Action.RUN_NOW,
    Action.RESYNC,
    Action.DELETE,
)
RUN_WAYS: dict[RunAction, _Way] = {
    RunAction.DOWNLOAD: _Way("export_run_download", "tray-down", opens=False, download=True),
    RunAction.REPORT: _Way("export_run_detail", "list", pushes=True),
    RunAction.RELAUNCH: _Way("export_run_relaunch", "retry", posts=True),
    RunAction.WINDOW_AGAIN: _Way("export_run_window_again", "calendar", posts=True),
    RunAction.VIEW: _Way("export_run_definition", "eye", pushes=True),
    RunAction.COPY: _Way("export_run_copy", "copy"),
    RunAction.CANCEL: _Way("export_run_cancel", "slash", danger=True),
}
RUN_FOOT = (
    RunAction.DOWNLOAD,
    RunAction.VIEW,
    RunAction.COPY,
    RunAction.WINDOW_AGAIN,
    RunAction.CANCEL,
)


def _asks(ways: dict[Any, _Way], allowed: Collection[Any], pk: int, params: QueryDict) -> list[Ask]:
    """In the order of `allowed`; a menu's is that of `ways`."""
    return [
        Ask(
            str(action.label),
            way.icon,
            reverse(way.route, args=[pk]) if way.download else url_with(reverse(way.route, args=[pk]), params),
            way.posts,
            way.opens,
            way.danger,
            way.download,
            way.pushes,
        )
        for action in allowed
        for way in [ways[action]]
    ]


def export_url(params: QueryDict, export: Export) -> str:
    return url_with(reverse("export_detail", args=[export.pk]), params)


def run_url(params: QueryDict, run: ExportRun) -> str:
    return url_with(reverse("export_run_detail", args=[run.pk]), params)


# Rows.


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
        return _asks(RUN_WAYS, [action for action in RUN_WAYS if action in self.allowed], self.run.pk, self.params)

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
        asks = _asks(WAYS, allowed, self.export.pk, self.params)
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
    """With the number of each one's last run, which an index finds."""
    last = ExportRun.objects.for_account(account).filter(export=OuterRef("pk")).order_by("-pk").values("pk")[:1]
    return Export.objects.for_account(account).select_related(*EXPORT_RELATIONS).annotate(last_run=Subquery(last))


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


# The list.


@dataclass(frozen=True, slots=True)
class TabLink:
    value: str
    label: str
    href: str
    count: str
    current: bool


@dataclass(frozen=True, slots=True)
class Facet:
    name: str
    title: str
    choices: list[StatusChoice]


def list_context(request: Any, params: QueryDict | None = None) -> dict[str, Any]:
    params = list_params(request.GET) if params is None else params
    path = reverse("export_list")
    by, now = request.actor, timezone.now()
    account = by.account
    databases = list(Database.objects.for_account(account).order_by("name", "pk"))
    filters = ExportFilter(account, params, databases)
    tab, table = filters.tab, filters.table
    found = filters.found
    if tab in OF_EXPORTS:
        last = ExportRun.objects.for_account(account).filter(export=OuterRef("pk")).order_by("-pk").values("pk")[:1]
        found = found.select_related(*EXPORT_RELATIONS).annotate(last_run=Subquery(last))
    else:
        found = found.select_related(*RUN_RELATIONS)
    page = table.page(found, params)
    make: Any = export_rows if tab in OF_EXPORTS else run_rows
    rows = make(page.rows, by, now, params)
    chips = _chips(path, params, filters)
    counts = filters.counts
    return {
        "tab": tab,
        "tabs": tab_links(path, params, filters),
        "facets": _facets(filters),
        "facets_on": sum(
            len(values) for facet, values in filters.chosen.items() if facet != "status" or tab == FINISHED
        ),
        "rows": rows,
        "newer": url_with(path, params, before=page.newer, after="") if page.newer else "",
        "older": url_with(path, params, after=page.older, before="") if page.older else "",
        "headers": table.headers(path, params),
        "sort": "" if page.sort == table.default else page.sort,
        "order": _ORDERS[page.sort],
        "q": filters.q,
        "chips": chips,
        "clear_url": url_with(path, without(params, "q", *FACETS)),
        "list_url": url_with(path, params),
        "total": capped(counts.found, COUNT_CAP),
        "unused": not chips and not any(counts.tabs.values()),
        "list_query": params.urlencode(),
        "polling": any(row.is_active for row in rows),
        "etag": "",
        "can_run": by.can(Permission.RUN_JOBS),
    }


_ORDERS = {
    "name": gettext_lazy("by name"),
    "-name": gettext_lazy("by name, backwards"),
    "edited": gettext_lazy("longest unedited first"),
    "-edited": gettext_lazy("last edited first"),
    "next_run": gettext_lazy("next run first"),
    "-next_run": gettext_lazy("latest run first"),
    "started": gettext_lazy("oldest first"),
    "-started": gettext_lazy("newest first"),
}


def tab_links(path: str, params: QueryDict, filters: ExportFilter) -> list[TabLink]:
    """The same search in another tab, by that tab's own sort."""
    counts = filters.tab_counts
    rest = without(params, "sort")
    return [
        TabLink(tab, str(label), url_with(path, rest, tab=tab), capped(counts[tab], COUNT_CAP), tab == filters.tab)
        for tab, label in TABS.items()
    ]


def tabs_now(account: Account, params: QueryDict) -> list[TabLink]:
    databases = list(Database.objects.for_account(account))
    return tab_links(reverse("export_list"), params, ExportFilter(account, params, databases))


def _facets(filters: ExportFilter) -> list[Facet]:
    names: dict[str, tuple[str, dict[str, Any]]] = {
        "database": (_("Database"), {str(database.pk): database.name for database in filters.databases}),
        "data": (_("Data"), dict(DataType.choices)),
        "type": (_("Export type"), dict(ExportType.choices)),
    }
    if filters.tab == FINISHED:
        names["status"] = (_("Status"), STATUSES)
    return [
        Facet(
            name,
            title,
            [
                StatusChoice(
                    value,
                    str(label),
                    capped(filters.counts.facets[name].get(value, 0), COUNT_CAP),
                    value in filters.chosen[name],
                )
                for value, label in choices.items()
            ],
        )
        for name, (title, choices) in names.items()
    ]


def _chips(path: str, params: QueryDict, filters: ExportFilter) -> list[Chip]:
    chips = []
    if filters.q:
        chips.append(Chip(_("Name: %(text)s") % {"text": filters.q}, url_with(path, without(params, "q"))))
    for facet in _facets(filters):
        on = filters.chosen[facet.name]
        for choice in facet.choices:
            if choice.checked:
                others = [value for value in on if value != choice.value]
                label = f"{facet.title}: {choice.label}"
                chips.append(Chip(label, url_with(path, without(params), **{facet.name: others})))
    return chips


# Drawers.


@dataclass(frozen=True)
class ExportView(ExportRow):
    """Everything the drawer of an export shows."""

    runs: list[RunRow] = field(default_factory=list)  # the last ones, newest first

    @property
    def who(self) -> str:
        export = self.export
        if export.created_by:
            return str(export.created_by)
        return _("API key %(name)s") % {"name": export.created_by_key.name} if export.created_by_key else "Batchdesk"

    @property
    def is_shown(self) -> bool:
        """Whether its definition may be seen; of what support staff alone look after only its reports are."""
        return Action.VIEW in self.allowed

    @property
    def is_by_support(self) -> bool:
        return self.export.type in (ExportType.CUSTOM, ExportType.INCREMENTAL_CUSTOM)

    @cached_property
    def sections(self) -> list[Section]:
        return definition_words(self.export, counted=True) if self.is_shown else []

    @cached_property
    def next_runs(self) -> list[RunShown]:
        if self.export.state != State.SCHEDULED or self.export.type not in RECURRING or self.schedule is None:
            return []
        first = self.export.next_run_at
        after = min(first - dt.timedelta(seconds=1), self.now) if first else self.now
        return [RunShown.of(one) for one in occurrences(self.schedule, after, NEXT_RUNS)]

    @property
    def zone_now(self) -> str:
        return self.schedule.timezone if self.schedule else ""

    @property
    def drawn(self) -> list[Bar]:
        """The last runs in time's order, as seconds each took."""
        return [
            Bar(run.seconds or 0, _readout(run), "bad" if run.state == RunState.FAILED else "in")
            for run in reversed(self.runs)
            if not run.is_active and run.seconds is not None
        ]

    @property
    def drawn_label(self) -> str:
        """The chart in a sentence."""
        return _("Seconds of the last runs: %(list)s") % {"list": ", ".join(bar.readout for bar in self.drawn)}

    @property
    def last_took(self) -> str:
        return next((run.took for run in self.runs if not run.is_active and run.seconds is not None), "")

    @property
    def listed(self) -> list[RunRow]:
        return self.runs[:RUNS_LISTED]

    @property
    def all_runs_url(self) -> str:
        query = QueryDict(mutable=True)
        query["tab"], query["q"] = FINISHED, self.export.name
        return f"{reverse('export_list')}?{query.urlencode()}"

    @property
    def main_asks(self) -> list[Ask]:
        return self._foot[:BUTTONS]

    @property
    def more_asks(self) -> list[Ask]:
        return self._foot[BUTTONS:]

    @property
    def _foot(self) -> list[Ask]:
        return self._asks_of([action for action in FOOT if action in self.allowed])

    @property
    def version(self) -> str:
        return "|".join([super().version, *(run.version for run in self.runs)])


def _readout(run: RunRow) -> str:
    words = {"day": formats.moment(run.started_at, run.now), "took": run.took}
    if run.state == RunState.FAILED:
        return _("%(day)s: failed after %(took)s") % words
    if run.state == RunState.CANCELED:
        return _("%(day)s: canceled after %(took)s") % words
    return _("%(day)s: %(took)s") % words


@dataclass(frozen=True, slots=True)
class StepLine:
    tone: str  # ok, bad, skip
    icon: str
    title: str
    took: str
    text: str = ""
    code: str = ""


@dataclass(frozen=True)
class RunView(RunRow):
    """Everything the report of a run shows."""

    @property
    def ended(self) -> bool:
        return not self.is_active

    @cached_property
    def is_stopping(self) -> bool:
        job = self.run.job
        if job is None or not self.is_active:
            return False
        return bool(job.requests.filter(kind=JobRequest.Kind.CANCEL, handled_at=None).exists())

    @property
    def when(self) -> str:
        """Yesterday 16:00, stopped after 4 s."""
        at = formats.moment(self.begun_at, self.now)
        if self.is_active or self.seconds is None:
            return at
        words = {"at": at, "took": self.took}
        if self.run.state == RunState.SUCCEEDED:
            return _("%(at)s, took %(took)s") % words
        if self.seconds < 1:
            return _("%(at)s, stopped at once") % words
        return _("%(at)s, stopped after %(took)s") % words

    @property
    def begun_at(self) -> dt.datetime:
        begun: dt.datetime = self.run.begun_at
        return begun

    @property
    def is_windowed(self) -> bool:
        return self.run.type in WINDOWED

    @property
    def stopped_export(self) -> bool:
        """Whether this failure is the one after which Batchdesk itself unscheduled the export."""
        export = self.run.export
        if self.run.state != RunState.FAILED or export is None or not export.stopped_because:
            return False
        newest = export.runs.order_by("-pk").values_list("pk", flat=True).first()
        return newest == self.run.pk

    @property
    def kind(self) -> str:
        """Which part of the banner speaks of the run."""
        if self.is_active or self.run.state in (RunState.FAILED, RunState.CANCELED):
            return str(self.run.state)
        if any(warning.get("code") == "NOT_SENT" for warning in self.run.warnings):
            return "not_sent"
        return "download" if self.run.definition.get("destination") == definitions.DOWNLOAD else "delivered"

    @property
    def file_there(self) -> bool:
        return self.run.file is not None and self.run.file.removed_at is None

    @property
    def can_relaunch(self) -> bool:
        return RunAction.RELAUNCH in self.allowed

    @property
    def can_download(self) -> bool:
        return RunAction.DOWNLOAD in self.allowed

    @property
    def kept_until(self) -> dt.datetime | None:
        file = self.run.file
        return file.created_at + kept("ARTIFACTS_KEPT_DAYS") if file and not file.removed_at else None

    @property
    def rows_per_second(self) -> int | None:
        if not self.run.rows or not self.seconds or self.seconds < 1:
            return None
        return round(self.run.rows / self.seconds)

    @property
    def compression(self) -> str:
        return str((self.run.definition.get("file") or {}).get("compression") or "none")

    @property
    def window_words(self) -> str:
        run = self.run
        if run.window_until is None:
            return ""
        until = formats.exact(run.window_until)
        if run.window_lo is None:
            if run.type in WINDOWED:
                return _("Everything up to %(until)s") % {"until": until}
            return ""
        if run.window_from is None:
            return _("Changes up to %(until)s") % {"until": until}
        return _("Changes after %(after)s, up to %(until)s") % {"after": formats.exact(run.window_from), "until": until}

    @property
    def trigger(self) -> str:
        by = self.run.started_by
        if self.run.trigger == Trigger.SCHEDULE or not by:
            return str(self.run.get_trigger_display())
        return _("%(how)s, by %(who)s") % {"how": self.run.get_trigger_display(), "who": by}

    @property
    def steps(self) -> list[StepLine]:
        lines = [_step_line(step) for step in self.run.steps]
        if self.run.built_at and not self.run.delivered_at and self.run.steps[-1:]:
            last = self.run.steps[-1]
            if self.run.state == RunState.FAILED and last.get("ok", True):
                lines.append(StepLine("skip", "minus", _("Deliver the file"), _("Not tried")))
        return lines

    @cached_property
    def sections(self) -> list[Section]:
        return definition_words(self.run)

    @property
    def database_name(self) -> str:
        return self.run.database.name

    @property
    def definition_url(self) -> str:
        return url_with(reverse("export_run_definition", args=[self.run.pk]), self.params)

    @property
    def main_asks(self) -> list[Ask]:
        return self._foot[:BUTTONS]

    @property
    def more_asks(self) -> list[Ask]:
        return self._foot[BUTTONS:]

    @property
    def _foot(self) -> list[Ask]:
        # What the banner offers is not offered twice.
        said = {RunAction.DOWNLOAD} if self.kind == "download" else set()
        wanted = [action for action in RUN_FOOT if action in self.allowed and action not in said]
        return _asks(RUN_WAYS, wanted, self.run.pk, self.params)


def _step_line(step: dict[str, Any]) -> StepLine:
    ok = step.get("ok", True)
    took = _milliseconds(step["ms"]) if isinstance(step.get("ms"), int) else ""
    text, title = "", str(step.get("title") or step.get("what"))
    if step.get("what") == "written":
        title = _("Wrote the file")
        text = _rows_and_size(step)
    elif step.get("what") == "delivered":
        title = _("Delivered to %(name)s") % {"name": step["to"]} if step.get("to") else _("Deliver the file")
    code = str(step.get("code") or "")
    if code and not ok:
        text = error_shown(code, step).title
    elif step.get("text"):
        text = str(step["text"])
    return StepLine("ok" if ok else "bad", "ok" if ok else "bad", title, took, text, code)


def _rows_and_size(step: dict[str, Any]) -> str:
    rows = int(step.get("rows") or 0)
    words = {"rows": number(rows), "size": formats.filesize(step.get("bytes"))}
    return ngettext("%(rows)s row, %(size)s", "%(rows)s rows, %(size)s", rows) % words


def _milliseconds(ms: int) -> str:
    if ms < 1000:
        return _("%(n)s ms") % {"n": ms}
    if ms < 10_000:
        return _("%(n)s s") % {"n": f"{ms / 1000:.1f}"}
    return formats.span(ms / 1000)


def export_view(export: Any, by: Actor, now: dt.datetime, params: QueryDict) -> ExportView:
    """`export` is of `exports_of`."""
    runs = run_rows(runs_of(by.account).filter(export=export).order_by("-pk")[:RUNS_DRAWN], by, now, params)
    return ExportView(by, now, params, export, runs[0] if runs else None, runs)


def run_view(run: ExportRun, by: Actor, now: dt.datetime, params: QueryDict) -> RunView:
    """`run` is of `runs_of`."""
    return RunView(by, now, params, run)


def tab_of(of: Export | ExportRun) -> str:
    """In which tab the list has it; a one-shot export that has run is in none, its runs are."""
    if isinstance(of, Export):
        return DRAFT if of.state == State.DRAFT else SCHEDULED if of.state == State.SCHEDULED else FINISHED
    return IN_PROGRESS if of.state == RunState.IN_PROGRESS else FINISHED


def list_of(request: Any, of: Export | ExportRun) -> QueryDict:
    """The list behind a drawer; the tab that has it where the URL names none."""
    params = list_params(request.GET)
    if "tab" not in params:
        params["tab"] = tab_of(of)
    return params


def drawer_context(request: Any, view: ExportView | RunView, *, whole_page: bool) -> dict[str, Any]:
    """The drawer; with `whole_page` also the list behind it."""
    params = view.params
    context = list_context(request, params) if whole_page else {}
    before, after = _neighbours(request, view)
    return {
        **context,
        "view": view,
        "current": view.token,
        "back": url_with(reverse("export_list"), params),
        "before": before,
        "after": after,
        "list_query": params.urlencode(),
        "polling": (isinstance(view, RunView) and view.is_active) or context.get("polling", False),
        "etag": "",
        "can_run": request.actor.can(Permission.RUN_JOBS),
        "printed": view.now,
    }


def _neighbours(request: Any, view: ExportView | RunView) -> tuple[str, str]:
    """The URLs of the drawers before and after this one in the list, if they are of the same kind."""
    account = request.actor.account
    filters = ExportFilter(account, view.params, list(Database.objects.for_account(account)))
    of_exports = filters.tab in OF_EXPORTS
    if of_exports != isinstance(view, ExportView):
        return "", ""
    this: Any = view.export if isinstance(view, ExportView) else view.run
    everything: Any = (Export if of_exports else ExportRun).objects.for_account(account)
    before, after = filters.table.neighbours(filters.found, view.params, this, everything=everything)
    url: Any = export_url if of_exports else run_url
    return (url(view.params, before) if before else "", url(view.params, after) if after else "")


# Live.


def live_tokens(given: QueryDict) -> tuple[list[int], list[int], tuple[str, int] | None]:
    """Which rows (exports, runs) and which drawer a poll asks for; what is none is left out."""
    found: dict[str, list[int]] = {"export": [], "run": []}
    for value in given.getlist("row")[: RUN_TABLE.size]:
        if token := _token(value):
            found[token[0]].append(token[1])
    return found["export"], found["run"], _token(given.get("open") or "")


def _token(value: str) -> tuple[str, int] | None:
    match = TOKEN.fullmatch(value)
    return (match[1], int(match[2])) if match and 0 < int(match[2]) < BIGINT else None
