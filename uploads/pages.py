"""What the templates of the Batch uploads page get: the list as its URL asks for it, rows, and a drawer over it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.http import QueryDict
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext as _

from accounts.models import Account
from accounts.permissions import Permission
from batchjobs.failures import Failure
from batchjobs.models import BatchJob
from batchjobs.progress import Progress, failure_shown, progress_of
from batchjobs.states import ACTIVE, Status
from console.formats import number
from console.lists import Chip, StatusChoice, without
from console.tables import counts_capped, url_with
from uploads import snippets
from uploads.faults import FAULTS
from uploads.filters import LABELS, LOCATION_EXPIRED, UPLOAD_TABLE, UploadFilter, list_params
from uploads.log import LogLine, has_log, log_beginning
from uploads.models import BatchUpload, BatchUploadQuerySet
from uploads.states import OPEN, State

LOG_LINES = 5
REF_SHOWN = 14  # characters of a record's reference in the beginning of the log


def uploads_of(account: Account) -> BatchUploadQuerySet:
    """What the page lists."""
    uploads: BatchUploadQuerySet = BatchUpload.objects.for_account(account).listed().with_state()
    return uploads


def active_count(account: Account) -> int:
    """How many uploads something is awaited of: the number beside “Batch uploads” in the sidebar."""
    # Two parts, one statement: few jobs are unfinished, and an index knows which; an OR would look at every upload.
    listed = BatchUpload.objects.for_account(account).listed()
    waiting = listed.filter(job__isnull=True, fault="", location_expires_at__gt=timezone.now())
    running = BatchJob.objects.for_account(account).filter(status__in=ACTIVE, batch_upload__in=listed)
    return sum(counts_capped({"waiting": waiting, "running": running}).values())


def upload_url(params: QueryDict, upload: BatchUpload) -> str:
    return url_with(reverse("batch_upload_detail", args=[upload.ref]), params)


@dataclass(frozen=True)
class UploadRow:
    """An upload of `with_state()`; `counted` is its job with the sums of its ledger while it runs."""

    upload: Any  # BatchUpload with `state` and `modified_at`
    now: dt.datetime
    counted: BatchJob | None = None

    @property
    def job(self) -> BatchJob | None:
        job: BatchJob | None = self.counted or self.upload.job
        return job

    @property
    def shown(self) -> str:
        """`state`, but for a location that ran out."""
        if self.upload.state == State.UPLOADING and self.upload.location_expires_at <= self.now:
            return LOCATION_EXPIRED
        return str(self.upload.state)

    @property
    def label(self) -> str:
        return str(LABELS[self.shown])

    @property
    def is_active(self) -> bool:
        return self.shown in OPEN

    @property
    def running(self) -> bool:
        return bool(self.upload.state == State.PROCESSING)

    @property
    def succeeded(self) -> int | None:
        valid, skipped = self._count("valid"), self._count("skipped")
        return None if valid is None else valid + (skipped or 0)

    @property
    def failed(self) -> int | None:
        return self._count("invalid")

    @property
    def records(self) -> int | None:
        return None if self.succeeded is None else self.succeeded + (self.failed or 0)

    @property
    def milliseconds(self) -> int | None:
        job = self.job
        if job is None or not job.started_at or not job.completed_at:
            return None
        return round((job.completed_at - job.started_at).total_seconds() * 1000)

    @cached_property
    def progress(self) -> Progress:
        assert self.job is not None  # noqa: S101  of what is processing
        return progress_of(self.job, self.records or 0, self.now)

    @property
    def version(self) -> str:
        """Changes when what the row shows changes."""
        job = self.job
        at = f"{job.pk}:{job.status}:{job.next_chunk}" if job else ""
        return f"{self.upload.ref}:{self.shown}:{self.upload.modified_at}:{at}"

    def _count(self, what: str) -> int | None:
        job = self.job
        if job is None or job.status == Status.PENDING:
            return None
        return job.counted(what) or 0


def rows_of(uploads: Iterable[BatchUpload], account: Account, now: dt.datetime) -> list[UploadRow]:
    """Rows of uploads of the account, with one more query for all that are being processed."""
    listed: list[Any] = list(uploads)
    running = [upload.job_id for upload in listed if upload.state == State.PROCESSING]
    counted = BatchJob.objects.for_account(account).filter(pk__in=running).with_progress().select_related("file")
    jobs = counted.in_bulk() if running else {}
    return [UploadRow(upload, now, jobs.get(upload.job_id)) for upload in listed]


@dataclass(frozen=True)
class ShownLine:
    """A line of the log; `record` is short enough for a column."""

    line: LogLine

    @property
    def record(self) -> str:
        ref = self.line.ref or ""
        return ref if len(ref) <= REF_SHOWN else f"{ref[:8]}…{ref[-4:]}"


@dataclass(frozen=True)
class UploadView(UploadRow):
    """Everything the drawer shows."""

    @property
    def ended(self) -> bool:
        """Whether it was processed: there are figures."""
        return self.job is not None and self.job.status not in ACTIVE

    @property
    def kind(self) -> str:
        """Which part of the template speaks of the upload."""
        if self.shown != State.ERROR or self.job is None:
            return self.shown
        return {Status.FAILED: "unread", Status.CANCELED: "stopped"}.get(Status(self.job.outcome), "error")

    @property
    def fault_title(self) -> str:
        fault = FAULTS.get(self.upload.fault)
        return str(fault.title) if fault else _("The file is not the one that was declared")

    @property
    def declared(self) -> Any:
        return self.upload.fault_params.get("declared")

    @property
    def received(self) -> Any:
        return self.upload.fault_params.get("received")

    @property
    def by_size(self) -> bool:
        return bool(self.upload.fault != "CHECKSUM_MISMATCH")

    @cached_property
    def failure(self) -> Failure | None:
        return failure_shown(self.job) if self.job else None

    @cached_property
    def log_there(self) -> bool:
        return has_log(self.upload) and not (self.job and self.job.status == Status.EXPIRED)

    @cached_property
    def log_lines(self) -> list[ShownLine]:
        return [ShownLine(line) for line in log_beginning(self.upload, LOG_LINES)]

    @property
    def log_count(self) -> int:
        """How many lines the log has."""
        whole_file = self.upload.fault or (self.job and self.job.outcome != Status.DONE)
        return (self.failed or 0) + (1 if whole_file else 0)

    @property
    def received_at(self) -> dt.datetime | None:
        file = self.upload.file
        return file.created_at if file else None

    @property
    def seconds(self) -> float | None:
        return (self.now - self.job.started_at).total_seconds() if self.job and self.job.started_at else None

    @cached_property
    def send_lines(self) -> str:
        return snippets.this_upload(self.upload)

    @cached_property
    def status_lines(self) -> str:
        return snippets.status_of(self.upload)

    @cached_property
    def again_lines(self) -> str:
        return snippets.new_upload()


def view_of(upload: BatchUpload, account: Account, now: dt.datetime) -> UploadView:
    (row,) = rows_of([upload], account, now)
    return UploadView(row.upload, now, row.counted)


def list_context(request: Any) -> dict[str, Any]:
    params = list_params(request.GET)
    path = reverse("batch_upload_list")
    now = timezone.now()
    filters = UploadFilter(params, uploads_of(request.actor.account), now)
    page = UPLOAD_TABLE.page(filters.found, params)
    counts = filters.counts()
    rows = rows_of(page.rows, request.actor.account, now)
    chips = _chips(path, params, filters)
    return {
        "rows": rows,
        "newer": url_with(path, params, before=page.newer, after="") if page.newer else "",
        "older": url_with(path, params, after=page.older, before="") if page.older else "",
        "headers": UPLOAD_TABLE.headers(path, params),
        "sort": "" if page.sort == UPLOAD_TABLE.default else page.sort,
        "q": filters.q,
        "digits": filters.digits,
        "not_a_ref": filters.not_a_ref,
        "statuses": [
            StatusChoice(value, str(label), number(counts[value]), value in filters.chosen)
            for value, label in LABELS.items()
        ],
        "chips": chips,
        "clear_url": url_with(path, without(params, "q", "status")),
        "list_url": url_with(path, params),
        "total": number(sum(counts[value] for value in filters.chosen or counts)),
        "unused": not rows and not chips,
        "lines": snippets.new_upload() if not rows and not chips else "",
        "list_query": params.urlencode(),
        "polling": any(row.is_active for row in rows),
        "etag": "",
        "can_manage": request.actor.can(Permission.MANAGE),
    }


def detail_context(request: Any, upload: BatchUpload, *, whole_page: bool) -> dict[str, Any]:
    """The drawer; with `whole_page` also the list behind it."""
    params = list_params(request.GET)
    now = timezone.now()
    filters = UploadFilter(params, uploads_of(request.actor.account), now)
    before, after = UPLOAD_TABLE.neighbours(filters.found, params, upload, everything=filters.uploads)
    view = view_of(upload, request.actor.account, now)
    context = list_context(request) if whole_page else {}
    return {
        **context,
        "view": view,
        "current": upload.ref,
        "back": url_with(reverse("batch_upload_list"), params),
        "before": upload_url(params, before) if before else "",
        "after": upload_url(params, after) if after else "",
        "list_query": params.urlencode(),
        "polling": view.is_active or context.get("polling", False),
        "etag": "",
    }


def live_refs(given: QueryDict) -> tuple[list[UUID], UUID | None]:
    """Which rows and which drawer a poll asks for; what is no UUID is left out."""
    rows = [found for value in given.getlist("ref")[: UPLOAD_TABLE.size] if (found := _ref(value))]
    return rows, _ref(given.get("open") or "")


def _ref(value: str) -> UUID | None:
    try:
        return UUID(value)
    except ValueError:
        return None


def _chips(path: str, params: QueryDict, filters: UploadFilter) -> list[Chip]:
    chips = []
    if filters.q:
        words = _("Status: %(text)s") if filters.words else _("Reference: %(text)s")
        chips.append(Chip(words % {"text": filters.q}, url_with(path, without(params, "q"))))
    for value in filters.chosen:
        others = [other for other in filters.chosen if other != value]
        label = _("Status: %(status)s") % {"status": LABELS[value]}
        chips.append(Chip(label, url_with(path, without(params), status=others)))
    return chips
