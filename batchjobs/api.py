"""`/api/v1/batch-jobs`. The OpenAPI document and its page are made from here."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any
from uuid import UUID

from django.conf import settings
from django.db.models import Q
from django.db.models.functions import Lower
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from ninja import File, Form, Header, Query, Router, Schema
from ninja.errors import HttpError
from ninja.files import UploadedFile
from ninja.responses import Status as Answer
from pydantic import AfterValidator, Field

from accounts.params import RowId, Text, json_object
from audience.models import Database
from audience.services import database_default
from batchjobs import downloads, resumable, search, services
from batchjobs.failures import FAILURES, failure_of
from batchjobs.models import BatchJob, BatchJobQuerySet, RecordType, Source, SourceFile
from batchjobs.origins import Origin, origin_of
from batchjobs.refusals import JobRefusedError
from batchjobs.states import ACTIVE, Status
from console.cursors import CursorError, behind, cursor_decode, cursor_encode, time_of

router = Router(tags=["Batch jobs"])

Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
# Sort -> column, and whether it goes down.
SORTS = {
    "created_at": ("created_at", False),
    "-created_at": ("created_at", True),
    "name": ("name_lower", False),
    "-name": ("name_lower", True),
}


class FailureOut(Schema):
    code: str
    message: str


class FileOut(Schema):
    id: int = Field(description="What `file_id` of a new job with the same file says")
    name: str
    size: int
    sha256: str


class JobOut(Schema):
    """A batch job. A running job counts the rows of its committed chunks; `progress` goes by bytes."""

    id: int
    name: str
    type: str
    source: str = Field(description=", ".join(Source.values))
    source_name: str | None = Field(description="What the data was taken from; null for a new file")
    status: str = Field(description="pending, in_progress, done, failed, canceled or expired")
    outcome: str | None = Field(description="How it ended: done, failed or canceled; stays when it is expired")
    dry_run: bool
    database: str | None
    total_rows: int
    valid_rows: int
    invalid_rows: int
    skipped_rows: int = Field(description="Already there by their dedupe key")
    created_at: Moment
    started_at: Moment | None
    completed_at: Moment | None
    expired_at: Moment | None = Field(description="When the file and the rejected rows were removed")
    tags: list[str]
    event_names: list[str]
    progress: float = Field(description="0 to 1")
    rows_per_second: float | None
    file: FileOut | None
    failure: FailureOut | None
    duplicate_of: int | None = Field(description="The job that ran the same bytes before")
    links: dict[str, str] = Field(description="self, source, error_log, rejected_rows, cancel: those that work now")


class JobListOut(Schema):
    items: list[JobOut]
    next: str | None


class Problem(Schema):
    """RFC 9457 problem details. `errors` says which field is at fault."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[dict[str, str]] | None = None


REFUSED = frozenset({401, 403, 404, 422})


def job_to_json(job: BatchJob, *, now: dt.datetime | None = None) -> dict[str, Any]:
    """The job as every program sees it. Live counts want a job of `with_progress`."""
    valid, invalid, skipped = (job.counted(what) or 0 for what in ("valid", "invalid", "skipped"))
    total = valid + invalid + skipped
    return {
        "id": job.pk,
        "name": job.name,
        "type": job.record_type,
        "source": job.source,
        "source_name": job.source_name or None,
        "status": job.status,
        "outcome": job.outcome or None,
        "dry_run": job.dry_run,
        "database": job.database.slug if job.database else None,
        "total_rows": total,
        "valid_rows": valid,
        "invalid_rows": invalid,
        "skipped_rows": skipped,
        "created_at": moment_text(job.created_at),
        "started_at": moment_text(job.started_at),
        "completed_at": moment_text(job.completed_at),
        "expired_at": moment_text(job.expired_at),
        "tags": list(job.tags),
        "event_names": list(job.event_names) or ([job.event_name] if job.event_name else []),
        "progress": _progress(job),
        "rows_per_second": _speed(job, total, now or timezone.now()),
        "file": _file(job.file) if job.file else None,
        "failure": _failure(job),
        "duplicate_of": job.duplicate_of_id,
        "links": _links(job),
    }


def moment_text(moment: dt.datetime | None) -> str | None:
    """A moment as the API writes it: 2026-11-25T14:30:00Z."""
    return moment.astimezone(dt.UTC).isoformat().replace("+00:00", "Z") if moment else None


def _file(file: SourceFile) -> dict[str, Any]:
    return {"id": file.pk, "name": file.name, "size": file.size, "sha256": file.sha256}


def _progress(job: BatchJob) -> float:
    if Status.DONE in (job.status, job.outcome):
        return 1.0
    if not job.content_size:
        return 0.0
    return round(min(1.0, job.next_offset / job.content_size), 4)


def _speed(job: BatchJob, rows: int, now: dt.datetime) -> float | None:
    if job.started_at is None:
        return None
    seconds = ((job.completed_at or now) - job.started_at).total_seconds()
    return round(rows / seconds, 1) if seconds > 0 else None


def _failure(job: BatchJob) -> dict[str, str] | None:
    if not job.failure_code:
        return None
    if job.failure_code not in FAILURES:  # a code of another version
        return {"code": job.failure_code, "message": job.failure_code}
    failure = failure_of(job.failure_code, job.failure_params)
    return {"code": job.failure_code, "message": f"{failure.title}. {failure.advice}"}


def _links(job: BatchJob) -> dict[str, str]:
    names = {"self": "api:batch_job"}
    if job.status != Status.EXPIRED:
        if job.file and job.file.removed_at is None:
            names["source"] = "api:batch_job_source"
        names |= {"error_log": "api:batch_job_error_log", "rejected_rows": "api:batch_job_rejected_rows"}
    if job.status in ACTIVE:
        names["cancel"] = "api:batch_job_cancel"
    return {link: reverse(name, args=[job.pk]) for link, name in names.items()}


def _jobs(request: Any) -> BatchJobQuerySet:
    jobs: BatchJobQuerySet = BatchJob.objects.for_account(request.actor.account).imports()
    return jobs.select_related("file", "database")


def _job(request: HttpRequest, job_id: int) -> BatchJob:
    return get_object_or_404(_jobs(request).with_progress(), pk=job_id)


def _statuses(values: list[str]) -> list[str]:
    words = [word.strip() for value in values for word in value.split(",") if word.strip()]
    if unknown := [word for word in words if word not in Status.values]:
        raise ValueError(
            _("There is no status “%(status)s”; there are %(list)s.")
            % {"status": unknown[0], "list": ", ".join(Status.values)}
        )
    return words


def _type(value: str) -> str:
    if value and value not in RecordType.values:
        raise ValueError(
            _("There is no type “%(type)s”; there are %(list)s.")
            % {"type": value, "list": ", ".join(RecordType.values)}
        )
    return value


def _sort(value: str) -> str:
    if value not in SORTS:
        raise ValueError(_("Sort by one of %(list)s.") % {"list": ", ".join(SORTS)})
    return value


def _address(value: str) -> str:
    if value and "@" not in value:
        raise ValueError(_("A user is named by the whole e-mail address."))
    return value.strip().lower()


def _day_or_moment(value: str) -> str:
    if value:
        _bounds(value)
    return value


def _bounds(value: str) -> tuple[dt.datetime, dt.datetime]:
    """Where what `value` names begins and ends: a moment is its own end, a day (UTC) is 24 hours. Raises ValueError."""
    try:
        if len(value) == len("2026-11-25"):
            start = dt.datetime.combine(dt.date.fromisoformat(value), dt.time(), dt.UTC)
            return start, start + dt.timedelta(days=1)
        moment = dt.datetime.fromisoformat(value.replace(" ", "+"))  # a “+” that was not escaped
        if moment.tzinfo is None:
            raise ValueError
        moment = moment.astimezone(dt.UTC)
        return moment, moment + dt.timedelta(microseconds=1)
    except (ValueError, OverflowError) as error:
        raise ValueError(_("Give a day as 2026-11-25, or a moment with its zone as 2026-11-25T14:30:00Z.")) from error


class JobFilters(Schema):
    q: Text = Field("", max_length=200, description="Part of the name")
    user: Annotated[Text, AfterValidator(_address)] = Field(
        "", max_length=254, description="The e-mail address of the person who made the job"
    )
    tag: Text = Field("", max_length=40, description="One of the job's tags, as it is written")
    event_name: Text = Field("", max_length=200, description="One of the job's event names, as it is written")
    file_name: Text = Field("", max_length=255, description="Part of the file's name")
    created_from: Annotated[Text, AfterValidator(_day_or_moment)] = Field(
        "", description="The first day (UTC), or a moment"
    )
    created_to: Annotated[Text, AfterValidator(_day_or_moment)] = Field(
        "", description="The last day (UTC), or a moment"
    )
    status: Annotated[list[str], AfterValidator(_statuses)] = Field([], description="Several, or comma separated")
    type: Annotated[str, AfterValidator(_type)] = ""
    sort: Annotated[str, AfterValidator(_sort)] = Field("-created_at", description=", ".join(SORTS))
    limit: int = Field(50, ge=1, le=200)
    cursor: str = Field("", max_length=2000, description="`next` of the page before")


def _filtered(jobs: BatchJobQuerySet, filters: JobFilters) -> Any:
    found: Any = jobs
    if filters.q:
        found = search.by_name(found, filters.q)
    if filters.file_name:
        found = search.by_file_name(found, filters.file_name)
    if filters.user:
        found = search.by_address(found, filters.user)
    if filters.tag:
        found = found.filter(tags__contains=[filters.tag])
    if filters.event_name:
        exactly = Q(event_names__contains=[filters.event_name]) | Q(event_name=filters.event_name)
        # No index serves the “or”; that of the words does, and finds these among others.
        found = search.by_event_name(found, filters.event_name).filter(exactly)
    if filters.status:
        found = found.filter(status__in=filters.status)
    if filters.type:
        found = search.by_type(found, filters.type)
    if filters.created_from:
        found = found.filter(created_at__gte=_bounds(filters.created_from)[0])
    if filters.created_to:
        found = found.filter(created_at__lt=_bounds(filters.created_to)[1])
    return found


@router.get("", url_name="batch_jobs", response={200: JobListOut, frozenset({400, 401, 403, 422}): Problem})
def batch_job_list(request: HttpRequest, filters: Query[JobFilters]) -> dict[str, Any]:
    """The account's batch jobs, newest first. `next` is the cursor of the next page."""
    column, descending = SORTS[filters.sort]
    jobs = _filtered(_jobs(request), filters).alias(name_lower=Lower("name"))
    if filters.cursor:
        sort, value, pk = cursor_decode(filters.cursor)
        if sort != filters.sort:
            raise CursorError
        start = time_of(value) if column == "created_at" else value
        jobs = jobs.filter(behind(column, start, pk, descending=descending))
    sign = "-" if descending else ""
    page = list(jobs.order_by(f"{sign}{column}", f"{sign}pk").with_progress()[: filters.limit + 1])
    more = len(page) > filters.limit
    page = page[: filters.limit]
    last = page[-1] if more else None
    return {
        "items": [job_to_json(job) for job in page],
        "next": last
        and cursor_encode(
            filters.sort,
            last.created_at.isoformat() if column == "created_at" else last.name.lower(),
            last.pk,
        ),
    }


class JobIn(Schema):
    type: Text = Field(description=", ".join(RecordType.values) + "; /record-types lists their columns")
    name: Text = Field("", max_length=200, description="Unique in the account; left out: file name and time")
    event_name: Text = Field("", max_length=120, description="For files without a column event_name")
    database: Text = Field("", max_length=60, description="The slug of a database; left out: the first one")
    tags: list[Text] = Field([], max_length=50, description="Several, or comma separated")
    options: str = Field("", description="A JSON object; /record-types lists what it can hold")
    dry_run: bool = Field(False, description="Validates and reports without writing")
    upload: UUID | None = Field(None, description="Instead of `file`: a finished upload of `/api/v1/uploads`")
    source: Text = Field("", description="Where the data is: " + ", ".join(Source.values) + "; may be left out")
    file_id: RowId | None = Field(None, description="existing_file: the `file.id` of another job")
    in_list: Text = Field("", alias="list", max_length=120, description="audience: the name of a list of the database")
    segment: Text = Field("", max_length=120, description="audience: the name of a segment of the database")
    report: RowId | None = Field(None, description="report: the id of a finished run of an export whose file is kept")


# What names the data of another source -> the source, and its key in the form in which origins.py has it.
NAMED_BY = {
    "file_id": (Source.EXISTING_FILE, "{}"),
    "list": (Source.AUDIENCE, "list:{}"),
    "segment": (Source.AUDIENCE, "segment:{}"),
    "report": (Source.REPORT, "{}"),
}


def _origin(form: JobIn, database: Database) -> Origin | None:
    """What the call names of another source; None for a new file. Raises JobRefusedError."""
    given = form.dict(by_alias=True)
    named = {field: given[field] for field in NAMED_BY if given[field] not in (None, "")}
    if form.source and form.source not in Source.values:
        raise JobRefusedError(
            "source",
            _("There is no source “%(name)s”; there are %(list)s.")
            % {"name": form.source, "list": ", ".join(Source.values)},
        )
    if not named and form.source in ("", Source.NEW_FILE):
        return None
    fields = [field for field, (source, _key) in NAMED_BY.items() if form.source in ("", source)]
    if len(named) != 1 or not named.keys() <= set(fields):
        raise JobRefusedError(
            "source",
            _("Name the data of the source by exactly one of %(list)s.")
            % {"list": ", ".join(fields) or "file, upload"},
        )
    ((field, value),) = named.items()
    source, key = NAMED_BY[field]
    try:
        return origin_of(database, source, key.format(value))
    except JobRefusedError as refused:
        raise JobRefusedError(field, refused.message) from refused


@router.post("", url_name="batch_jobs", response={201: JobOut, frozenset({400, 401, 403, 409, 413, 422}): Problem})
def batch_job_create(
    request: Any,
    response: HttpResponse,
    form: Form[JobIn],
    file: File[UploadedFile | None] = None,
    idempotency_key: Annotated[str, Header(alias="Idempotency-Key", pattern=r"^[ -~]*$", max_length=255)] = "",
) -> Answer:
    """Takes a file in as a batch job: sent along, or uploaded before in as many pieces as it took; or what is here
    already: a file that is kept, the people of a list or a segment, the file of an export's run.

    The same `Idempotency-Key` with the same request answers with the same job.
    """
    if file and (file.size or 0) > settings.UPLOAD_MAX_BYTES:
        raise HttpError(
            413,
            _("The file is larger than the %(limit)s bytes allowed.") % {"limit": settings.UPLOAD_MAX_BYTES},
        )
    account = request.actor.account
    upload = resumable.upload_of(by=request.actor, upload_id=form.upload) if form.upload else None
    database = Database.objects.for_account(account).filter(slug=form.database).first() if form.database else None
    if form.database and database is None:
        raise JobRefusedError("database", _("There is no database “%(slug)s”.") % {"slug": form.database})
    try:
        options = json_object(form.options)
    except ValueError as error:
        raise JobRefusedError("options", str(error)) from error
    job = services.batchjob_create(
        by=request.actor,
        content=file,
        file_name=(file and file.name) or "",
        upload=upload,
        origin=_origin(form, database or database_default(account=account)),
        record_type=form.type,
        name=form.name,
        event_name=form.event_name,
        database=database,
        tags=[tag for value in form.tags for tag in value.split(",")],
        options=options,
        dry_run=form.dry_run,
        idempotency_key=idempotency_key,
    )
    response["Location"] = reverse("api:batch_job", args=[job.pk])
    return Answer(201, job_to_json(job))


@router.get("/{int:job_id}", url_name="batch_job", response={200: JobOut, REFUSED: Problem})
def batch_job_read(request: HttpRequest, job_id: int) -> dict[str, Any]:
    """One job, with live counts while it runs."""
    return job_to_json(_job(request, job_id))


@router.post("/{int:job_id}/cancel", url_name="batch_job_cancel", response={200: JobOut, REFUSED | {409}: Problem})
def batch_job_cancel(request: Any, job_id: int) -> dict[str, Any]:
    """Cancels a pending job at once; a running one stops after its current chunk. Committed rows stay."""
    services.batchjob_cancel(job=_job(request, job_id), by=request.actor)
    return job_to_json(_job(request, job_id))


@router.get("/{int:job_id}/error-log", url_name="batch_job_error_log", response={REFUSED: Problem})
def batch_job_error_log(request: HttpRequest, job_id: int) -> HttpResponseBase:
    """NDJSON, a line an error: `line, column, code, message, raw`."""
    return downloads.error_log_response(_job(request, job_id))


@router.get("/{int:job_id}/rejected-rows", url_name="batch_job_rejected_rows", response={REFUSED: Problem})
def batch_job_rejected_rows(request: HttpRequest, job_id: int, formula_safe: bool = False) -> HttpResponseBase:
    """The rejected rows in the format of the file, with `_error_*` columns: to be fixed and sent again.

    `formula_safe=true` puts a quote before cells that a spreadsheet would run as a formula.
    """
    return downloads.rejected_rows_response(_job(request, job_id), formula_safe=formula_safe)


@router.get("/{int:job_id}/skipped-rows", url_name="batch_job_skipped_rows", response={REFUSED: Problem})
def batch_job_skipped_rows(request: HttpRequest, job_id: int) -> HttpResponseBase:
    """The rows that were there already by their dedupe key, in the format of the file."""
    return downloads.skipped_rows_response(_job(request, job_id))


@router.get("/{int:job_id}/source", url_name="batch_job_source", response={REFUSED: Problem})
def batch_job_source(request: HttpRequest, job_id: int) -> HttpResponseBase:
    """The file as it was sent."""
    return downloads.source_response(_job(request, job_id))
