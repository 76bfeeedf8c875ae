"""`/api/v1/export-runs`, and the runs of one export: what became of it each time, and its files."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import reverse
from ninja import Query, Router, Schema
from ninja.responses import Status as Answer
from pydantic import Field

from accounts.actors import Actor
from batchjobs.api import REFUSED, Moment, Problem, moment_text
from console.cursors import CursorError, cursor_decode, cursor_encode
from exports import services
from exports.downloads import artifact_response
from exports.errors import error_shown
from exports.models import Export, ExportRun, ExportRunQuerySet
from exports.reports import warnings_of
from exports.states import WINDOWED, RunAction, RunState

router = Router(tags=["Exports"])

RUN_SORT = "-id"  # the only one, and the mark of the cursors


class WindowOut(Schema):
    """The changes that a run covers: lo <= transaction id < hi. `lo` null: everything there was."""

    lo: int | None
    hi: int
    changes_after: Moment | None
    changes_until: Moment | None


class WarningOut(Schema):
    code: str
    message: str


class RunErrorOut(Schema):
    code: str
    message: str
    retryable: bool


class RunOut(Schema):
    """One execution, with the definition as it was. It outlives the export."""

    id: int
    export: int | None = Field(description="null: it was deleted since")
    name: str
    type: str
    data_type: str
    status: str = Field(description=", ".join(RunState.values))
    trigger: str = Field(description="schedule, person (also by API), or window: one that was exported again")
    started_by: str
    scheduled_for: Moment | None
    created_at: Moment
    started_at: Moment | None
    completed_at: Moment | None
    file_name: str | None
    rows: int | None = Field(description="While it is in progress, those written so far")
    deletions: int | None = Field(description="How many of the rows tell that one was deleted; null: they are not told")
    bytes: int | None = Field(description="Of the file, packed as it is")
    sha256: str | None
    window: WindowOut | None = Field(description="Of incremental exports")
    delivered_at: Moment | None
    delivered_as: str | None = Field(description="Where the file is, at its destination")
    warnings: list[WarningOut]
    error: RunErrorOut | None
    links: dict[str, str] = Field(
        description="self, export, download, relaunch, cancel, window_again: those that work now, for this key"
    )


class RunListOut(Schema):
    items: list[RunOut]
    next: str | None


RUN_LINKS: dict[RunAction, str] = {
    RunAction.DOWNLOAD: "download",
    RunAction.RELAUNCH: "relaunch",
    RunAction.WINDOW_AGAIN: "window_again",
    RunAction.CANCEL: "cancel",
}


def run_to_json(run: ExportRun, *, by: Actor) -> dict[str, Any]:
    """The run as programs see it. `run` is of `with_state()`."""
    job = run.job
    allowed = services.run_actions_allowed(run, by=by)
    return {
        "id": run.pk,
        "export": run.export_id,
        "name": run.name,
        "type": run.type,
        "data_type": run.data_type,
        "status": run.state,
        "trigger": run.trigger,
        "started_by": run.started_by,
        "scheduled_for": moment_text(run.scheduled_for),
        "created_at": moment_text(run.created_at),
        "started_at": moment_text(job.started_at if job else None),
        "completed_at": moment_text(job.completed_at if job else None),
        "file_name": run.file.name if run.file else None,
        "rows": run.rows if run.rows is not None or job is None else job.reader_state.get("rows"),
        "deletions": run.deletions,
        "bytes": run.file.size if run.file else None,
        "sha256": run.file.sha256 if run.file else None,
        "window": _window(run),
        "delivered_at": moment_text(run.delivered_at),
        "delivered_as": run.delivered_as or None,
        "warnings": [
            {"code": str(warning.get("code")), "message": text}
            for warning, text in zip(run.warnings, warnings_of(run), strict=True)
        ],
        "error": _error(run),
        "links": {
            "self": reverse("api:export_run", args=[run.pk]),
            **({"export": reverse("api:export", args=[run.export_id])} if run.export_id else {}),
            **{
                name: reverse(f"api:export_run_{name}", args=[run.pk])
                for action, name in RUN_LINKS.items()
                if action in allowed
            },
        },
    }


def _window(run: ExportRun) -> dict[str, Any] | None:
    if run.type not in WINDOWED or run.window_hi is None:
        return None
    return {
        "lo": run.window_lo,
        "hi": run.window_hi,
        "changes_after": moment_text(run.window_from),
        "changes_until": moment_text(run.window_until),
    }


def _error(run: ExportRun) -> dict[str, Any] | None:
    if run.state != RunState.FAILED:
        return None
    job = run.job
    error = error_shown(run.fault or (job.failure_code if job else ""), job.failure_params if job else {})
    return {"code": error.code, "message": f"{error.title}. {error.advice}", "retryable": error.retryable}


def _runs(request: Any) -> ExportRunQuerySet:
    runs: ExportRunQuerySet = ExportRun.objects.for_account(request.actor.account).with_state()
    return runs


def _run(request: Any, run_id: int) -> ExportRun:
    return get_object_or_404(_runs(request), pk=run_id)


class RunFilters(Schema):
    limit: int = Field(50, ge=1, le=200)
    cursor: str = Field("", max_length=2000, description="`next` of the page before")


@router.get(
    "/exports/{int:export_id}/runs", url_name="export_runs", response={200: RunListOut, REFUSED | {400}: Problem}
)
def export_run_list(request: Any, export_id: int, filters: Query[RunFilters]) -> dict[str, Any]:
    """The runs of an export, newest first."""
    export = get_object_or_404(Export.objects.for_account(request.actor.account), pk=export_id)
    runs = _runs(request).filter(export=export)
    if filters.cursor:
        sort, _value, pk = cursor_decode(filters.cursor)
        if sort != RUN_SORT:
            raise CursorError
        runs = runs.filter(pk__lt=pk)
    page = list(runs.order_by("-pk")[: filters.limit + 1])
    more = len(page) > filters.limit
    page = page[: filters.limit]
    return {
        "items": [run_to_json(run, by=request.actor) for run in page],
        "next": cursor_encode(RUN_SORT, "", page[-1].pk) if more else None,
    }


@router.get("/export-runs/{int:run_id}", url_name="export_run", response={200: RunOut, REFUSED: Problem})
def export_run_read(request: Any, run_id: int) -> dict[str, Any]:
    """One run, with the rows written so far while it is in progress."""
    return run_to_json(_run(request, run_id), by=request.actor)


@router.get(
    "/export-runs/{int:run_id}/download",
    url_name="export_run_download",
    response={REFUSED | {409, 416}: Problem},
)
def export_run_download(request: HttpRequest, run_id: int) -> HttpResponseBase:
    """The file of a one-shot export. Ranges, `If-Range` and `If-None-Match` work; the ETag is the SHA-256."""
    return artifact_response(request, _run(request, run_id))


router.add_api_operation(
    "/export-runs/{int:run_id}/download",
    ["HEAD"],
    export_run_download,
    url_name="export_run_download",
    include_in_schema=False,
)


@router.post(
    "/export-runs/{int:run_id}/relaunch",
    url_name="export_run_relaunch",
    response={200: RunOut, REFUSED | {409}: Problem},
)
def export_run_relaunch(request: Any, run_id: int) -> dict[str, Any]:
    """Tries a failed run again: a file that is there is delivered as it is, without reading the data again."""
    run = services.run_relaunch(run=_run(request, run_id), by=request.actor)
    return run_to_json(run, by=request.actor)


@router.post(
    "/export-runs/{int:run_id}/window-again",
    url_name="export_run_window_again",
    response={201: RunOut, REFUSED | {409}: Problem},
)
def export_run_window_again(request: Any, response: HttpResponse, run_id: int) -> Answer:
    """A new run over what last changed in the window of this one. The window of the next run is not moved."""
    run = services.run_get(services.run_window_again(run=_run(request, run_id), by=request.actor))
    response["Location"] = reverse("api:export_run", args=[run.pk])
    return Answer(201, run_to_json(run, by=request.actor))


@router.post(
    "/export-runs/{int:run_id}/cancel",
    url_name="export_run_cancel",
    response={200: RunOut, REFUSED | {409}: Problem},
)
def export_run_cancel(request: Any, run_id: int) -> dict[str, Any]:
    """Stops a run before its file is delivered. One that is waiting ends at once, a running one at its next step."""
    services.run_cancel(run=_run(request, run_id), by=request.actor)
    return run_to_json(_run(request, run_id), by=request.actor)
