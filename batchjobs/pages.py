"""What the templates of the Batch jobs page get: the list as its URL asks for it, and a drawer over it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import QueryDict
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.permissions import Permission
from batchjobs.filters import JOB_TABLE, BatchJobFilter
from batchjobs.models import BatchJob
from batchjobs.progress import JobRow, JobView
from batchjobs.states import Status
from console.formats import number
from console.tables import BIGINT, COUNT_CAP, Table, counts_capped, url_with

ROW_RELATIONS = ("file", "created_by", "created_by_key")
DETAIL_RELATIONS = ("account", *ROW_RELATIONS, "duplicate_of", "rerun_of")
LIST_PARAMS = ("q", "status", *JOB_TABLE.parameters)


@dataclass(frozen=True, slots=True)
class StatusChoice:
    value: str
    label: str
    count: str
    checked: bool


@dataclass(frozen=True, slots=True)
class Chip:
    """A filter that is on, and the URL without it."""

    label: str
    href: str


def list_params(given: QueryDict) -> QueryDict:
    """Of what a URL says, the part that is the list's: rows and drawers link with it."""
    params = QueryDict(mutable=True)
    for name in LIST_PARAMS:
        if values := [value.replace("\x00", "") for value in given.getlist(name) if value]:
            params.setlist(name, values)
    return params


def job_url(params: QueryDict, job: BatchJob) -> str:
    return url_with(reverse("batchjob_detail", args=[job.pk]), params)


def list_context(request: Any) -> dict[str, Any]:
    params = list_params(request.GET)
    path = reverse("batchjob_list")
    filters = BatchJobFilter(params, queryset=BatchJob.objects.for_account(request.actor.account))
    queryset = filters.qs.with_progress().select_related(*ROW_RELATIONS)
    page = JOB_TABLE.page(queryset, params)
    q, chosen = _cleaned(filters)
    named = filters.filters["q"].filter(filters.queryset, q)
    counts = counts_capped({status: named.filter(status=status) for status in Status.values})
    total = sum(counts[status] for status in chosen or counts)
    now = timezone.now()
    rows = [JobRow(job, now) for job in page.rows]
    without_page = {"after": "", "before": ""}
    return {
        "rows": rows,
        "newer": url_with(path, params, before=page.newer, after="") if page.newer else "",
        "older": url_with(path, params, after=page.older, before="") if page.older else "",
        "headers": JOB_TABLE.headers(path, params),
        "sort": "" if page.sort == JOB_TABLE.default else page.sort,
        "q": q,
        "statuses": [
            StatusChoice(status.value, str(status.label), _capped(counts[status]), status.value in chosen)
            for status in Status
        ],
        "chips": _chips(path, params, q, chosen),
        "clear_url": url_with(path, params, q="", status="", **without_page),
        "total": _capped(total),
        "unused": not total and not params.get("q") and not params.getlist("status"),
        "list_query": params.urlencode(),
        "polling": any(row.job.is_active for row in rows),
        "etag": "",
        "can_run": request.actor.can(Permission.RUN_JOBS),
    }


def detail_context(request: Any, job: BatchJob, *, whole_page: bool) -> dict[str, Any]:
    """The drawer; with `whole_page` also the list behind it."""
    params = list_params(request.GET)
    filters = BatchJobFilter(params, queryset=BatchJob.objects.for_account(request.actor.account).with_progress())
    table: Table[BatchJob] = JOB_TABLE
    before, after = table.neighbours(filters.qs, params, job, everything=filters.queryset)
    view = JobView.of(job, by=request.actor)
    context = list_context(request) if whole_page else {"can_run": request.actor.can(Permission.RUN_JOBS)}
    return {
        **context,
        "view": view,
        "current": job.pk,
        "back": url_with(reverse("batchjob_list"), params),
        "before": job_url(params, before) if before else "",
        "after": job_url(params, after) if after else "",
        "list_query": params.urlencode(),
        "polling": job.is_active or context.get("polling", False),
        "etag": "",
        "confirm": request.GET.get("confirm", ""),
    }


def live_job_ids(given: QueryDict) -> tuple[list[int], int | None]:
    """Which rows and which drawer a poll asks for; what is no id is left out."""
    rows = [found for value in given.getlist("job")[: JOB_TABLE.size] if (found := _id(value))]
    return rows, _id(given.get("open") or "")


def _id(value: str) -> int | None:
    return int(value) if value.isascii() and value.isdigit() and 0 < int(value[:19]) < BIGINT else None


def _cleaned(filters: BatchJobFilter) -> tuple[str, list[str]]:
    """What was understood of the filters. What was not is no filter: a mistyped URL shows the list."""
    filters.form.is_valid()
    data = filters.form.cleaned_data
    return data.get("q") or "", list(data.get("status") or [])


def _chips(path: str, params: QueryDict, q: str, chosen: list[str]) -> list[Chip]:
    page = {"after": "", "before": ""}
    chips = [Chip(_("Name: %(q)s") % {"q": q}, url_with(path, params, q="", **page))] if q else []
    for value in chosen:
        others = [other for other in chosen if other != value]
        chips.append(
            Chip(
                _("Status: %(status)s") % {"status": Status(value).label},
                url_with(path, params, status=others, **page),
            )
        )
    return chips


def _capped(count: int) -> str:
    return f"{number(COUNT_CAP)}+" if count > COUNT_CAP else number(count)
