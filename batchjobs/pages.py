"""What the templates of the Batch jobs page get: the list as its URL asks for it, and a drawer over it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.http import QueryDict
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from accounts.permissions import Permission
from batchjobs.filters import JOB_TABLE, PERIODS, BatchJobFilter, list_params
from batchjobs.models import BatchJob, BatchJobQuerySet
from batchjobs.progress import JobRow, JobView
from batchjobs.saved_views import query_to_keep, savedviews_of
from batchjobs.search import SEARCHES
from batchjobs.states import Status
from console.formats import number
from console.lists import Chip, StatusChoice, capped, without
from console.tables import BIGINT, COUNT_CAP, NEAR, Table, counts_capped, url_with

SEARCH_CAP = 1000
FILTERS = ("by", "q", "status", "from", "to")
ROW_RELATIONS = ("file", "created_by", "created_by_key")
DETAIL_RELATIONS = ("account", *ROW_RELATIONS, "duplicate_of", "rerun_of")


@dataclass(frozen=True, slots=True)
class Link:
    """A way to another state of the list. `pk` of a saved view."""

    label: str
    href: str
    current: bool
    pk: int = 0


def job_url(params: QueryDict, job: BatchJob) -> str:
    return url_with(reverse("batchjob_detail", args=[job.pk]), params)


def list_context(request: Any) -> dict[str, Any]:
    params = list_params(request.GET)
    path = reverse("batchjob_list")
    account = request.actor.account
    jobs: BatchJobQuerySet = BatchJob.objects.for_account(account).imports()
    filters = BatchJobFilter(params, queryset=jobs)
    on = filters.understood
    if "q" not in on:
        params.pop("q", None)
    queryset = filters.qs.with_progress().select_related(*ROW_RELATIONS)
    among = None
    if filters.is_text and not filters.newest_since:  # people and types have indexes in the order of the list
        among = filters.only("from", "to", among=BatchJob.objects.for_account(account))
    page = JOB_TABLE.page(queryset, params, among=among)
    chosen = on.get("status", [])
    counts, total = _counts(filters, chosen)
    now = timezone.now()
    rows = [JobRow(job, now) for job in page.rows]
    chips = _chips(path, params, filters)
    query = query_to_keep(params)
    views = [
        Link(view.name, f"{path}?{view.query}", view.query == query, view.pk) for view in savedviews_of(request.actor)
    ]
    return {
        "rows": rows,
        "newer": url_with(path, params, before=page.newer, after="") if page.newer else "",
        "older": url_with(path, params, after=page.older, before="") if page.older else "",
        "headers": JOB_TABLE.headers(path, params),
        "sort": "" if page.sort == JOB_TABLE.default else page.sort,
        "by": filters.by,
        "searches": SEARCHES.items(),
        "search_by": filters.search_by,
        "choices": filters.choices,
        "q": on.get("q", ""),
        "q_label": filters.q_label,
        "statuses": [
            StatusChoice(status.value, str(status.label), counts[status], status.value in chosen) for status in Status
        ],
        "periods": [
            Link(str(label), _filtered(path, params, {"from": word, "to": ""}), _is_period(params, word))
            for word, (_back, label) in PERIODS.items()
        ],
        "period": params.get("from") if params.get("from") in PERIODS else "",
        "from_day": on["from"].isoformat() if "from" in on and params["from"] not in PERIODS else "",
        "to_day": on["to"].isoformat() if "to" in on else "",
        "days_on": len({"from", "to"} & set(on)),
        "chips": chips,
        "clear_url": url_with(path, without(params, *FILTERS)),
        "list_url": url_with(path, params),
        "total": total,
        "only_newest": number(NEAR) if filters.newest_since else "",
        "unused": not rows and not chips,
        "list_query": params.urlencode(),
        "views": views,
        "view": next((view for view in views if view.current), None),
        "all_jobs": path,
        "view_query": query,
        "polling": any(row.job.is_active for row in rows),
        "etag": "",
        "can_run": request.actor.can(Permission.RUN_JOBS),
    }


def detail_context(request: Any, job: BatchJob, *, whole_page: bool) -> dict[str, Any]:
    """The drawer; with `whole_page` also the list behind it."""
    params = list_params(request.GET)
    jobs = BatchJob.objects.for_account(request.actor.account).imports().with_progress()
    filters = BatchJobFilter(params, queryset=jobs)
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


def _filtered(path: str, params: QueryDict, changes: Mapping[str, str | list[str]]) -> str:
    return url_with(path, without(params), **changes)


def _is_period(params: QueryDict, word: str) -> bool:
    return params.get("from") == word and "to" not in params


def _chips(path: str, params: QueryDict, filters: BatchJobFilter) -> list[Chip]:
    on, chips = filters.understood, []
    if "q" in on:
        label = f"{filters.search_by.label}: {filters.q_label}"
        chips.append(Chip(label, url_with(path, without(params, "q"))))
    statuses = on.get("status", [])
    for value in statuses:
        others = [other for other in statuses if other != value]
        label = _("Status: %(status)s") % {"status": Status(value).label}
        chips.append(Chip(label, _filtered(path, params, {"status": others})))
    if "from" in on:
        word = params["from"]
        if word in PERIODS:
            label = _("Created: %(period)s") % {"period": str(PERIODS[word][1]).lower()}
        else:
            label = _("Created from %(day)s") % {"day": date_format(on["from"], "j M Y")}
        chips.append(Chip(label, url_with(path, without(params, "from"))))
    if "to" in on:
        label = _("Created to %(day)s") % {"day": date_format(on["to"], "j M Y")}
        chips.append(Chip(label, url_with(path, without(params, "to"))))
    return chips


def _counts(filters: BatchJobFilter, chosen: list[str]) -> tuple[dict[str, str], str]:
    """How many jobs of each status the other filters find, and how many all filters do, as they are written."""
    found = filters.only("q", "from", "to")
    if not filters.is_text:
        cap = SEARCH_CAP if "q" in filters.understood else COUNT_CAP
        counts = counts_capped({status: found.filter(status=status) for status in Status.values}, cap=cap)
        total = sum(counts[status] for status in chosen or counts)
        return {status: capped(count, cap) for status, count in counts.items()}, capped(total, cap)
    # A word is looked for once, not once for each status, and no further than anyone reads.
    # Jobs of some days lie together: in the order of days they are come upon first.
    days = ("-created_at", "-pk") if {"from", "to"} & set(filters.understood) else ()
    statuses = list(found.order_by(*days).values_list("status", flat=True)[: SEARCH_CAP + 1])
    tally = Counter(statuses)
    if len(statuses) <= SEARCH_CAP:
        total = sum(tally[status] for status in chosen) if chosen else len(statuses)
        return {status: number(tally[status]) for status in Status.values}, number(total)
    if chosen:
        statuses = list(filters.qs.order_by().values_list("status", flat=True)[: SEARCH_CAP + 1])
    at_least = {status: f"{number(tally[status])}+" if tally[status] else "" for status in Status.values}
    return at_least, capped(len(statuses), SEARCH_CAP)
