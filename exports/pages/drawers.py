"""The drawers over the list: an export with its definition and last runs, and the report of a run."""

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

from django.http import QueryDict
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.actors import Actor
from accounts.permissions import Permission
from audience.models import Database
from batchjobs.models import JobRequest
from batchjobs.retention import kept
from console import formats
from console.formats import number
from console.tables import url_with
from console.templatetags.console import Bar
from exports import definitions
from exports.errors import error_shown
from exports.filters import (
    DRAFT,
    FINISHED,
    IN_PROGRESS,
    OF_EXPORTS,
    SCHEDULED,
    ExportFilter,
    list_params,
)
from exports.models import Export, ExportRun, Trigger
from exports.pages.asks import BUTTONS, FOOT, RUN_FOOT, RUN_WAYS, Ask, asks_of, export_url, run_url
from exports.pages.listing import list_context
from exports.pages.rows import (
    ExportRow,
    RunRow,
    run_rows,
    runs_of,
)
from exports.schedules import occurrences
from exports.states import RECURRING, WINDOWED, Action, ExportType, RunAction, RunState, State
from exports.summary import Section, definition_words
from exports.wizard.when import RunShown

NEXT_RUNS = 5
RUNS_DRAWN = 14
RUNS_LISTED = 5


class _Foot:
    """The actions in a drawer's foot: the first as buttons, the others in its menu."""

    @property
    def _foot(self) -> list[Ask]:
        raise NotImplementedError

    @property
    def main_asks(self) -> list[Ask]:
        return self._foot[:BUTTONS]

    @property
    def more_asks(self) -> list[Ask]:
        return self._foot[BUTTONS:]


@dataclass(frozen=True)
class ExportView(_Foot, ExportRow):
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
class RunView(_Foot, RunRow):
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
    def warnings(self) -> list[str]:
        """Those of which the banner does not speak."""
        said = {"not_sent": {"NO_ROWS", "NOT_SENT"}, "download": {"NO_ROWS"}, "delivered": {"NO_ROWS"}}
        codes = [warning.get("code") for warning in self.run.warnings]
        return [text for code, text in zip(codes, super().warnings, strict=True) if code not in said.get(self.kind, ())]

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
    def _foot(self) -> list[Ask]:
        # What the banner offers is not offered twice.
        said = {RunAction.DOWNLOAD} if self.kind == "download" else set()
        wanted = [action for action in RUN_FOOT if action in self.allowed and action not in said]
        return asks_of(RUN_WAYS, wanted, self.run.pk, self.params)


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
