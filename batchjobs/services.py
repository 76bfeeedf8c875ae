"""What can be done with batch jobs. Each function is one domain call for a view, task, command or admin action."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any
from uuid import uuid4

import structlog
from django.conf import settings
from django.core.files.base import File
from django.db import IntegrityError, transaction
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.actors import Actor
from accounts.models import Account
from accounts.services import audit
from audience.models import Database, DataTable
from audience.services import database_default
from batchjobs import kernel
from batchjobs.doorbell import ring
from batchjobs.files import remove_bytes, store_file
from batchjobs.ingestion.formats import ACCEPTED
from batchjobs.models import BatchJob, IdempotencyKey, JobRequest, Queue, RecordType, Source, SourceFile
from batchjobs.options import checked_options
from batchjobs.origins import Origin
from batchjobs.refusals import IdempotencyConflictError, JobRefusedError
from batchjobs.states import ACTION_STATES, ACTIVE, Action, TransitionRefusedError

log = structlog.get_logger(__name__)

# Files up to this size go to the short queue, so that a clerk's list never waits behind five million rows.
SHORT_QUEUE_BYTES = 8 * 1024 * 1024

EVENT_NAME_MAX = 120


def batchjob_create(
    *,
    by: Actor,
    content: File[bytes] | None = None,
    file_name: str = "",
    upload: SourceFile | None = None,
    again: BatchJob | None = None,
    origin: Origin | None = None,
    record_type: str = RecordType.EVENT,
    name: str = "",
    event_name: str = "",
    database: Database | None = None,
    tags: Sequence[str] = (),
    options: dict[str, Any] | None = None,
    dry_run: bool = False,
    rerun_of: BatchJob | None = None,
    idempotency_key: str = "",
) -> BatchJob:
    """Stores the file, records the job as pending and rings its queue.

    The file is `content` under `file_name`, an `upload` that has arrived (batchjobs/resumable.py), that of a job which
    ended without taking it in (`again`), or what was chosen of a source (`origin`; batchjobs/origins.py). An empty
    `name` becomes file name + time. Raises JobRefusedError for input at fault and IdempotencyConflictError; the same
    key with the same request returns the first job.
    """
    source = _source_checked(content, upload, again, origin)
    file_name = file_name_checked(_name_of(source) or file_name)
    if record_type not in RecordType.values:
        raise JobRefusedError("type", _("There is no type “%(type)s”.") % {"type": record_type})
    if len(event_name.strip()) > EVENT_NAME_MAX:
        raise JobRefusedError("event_name", _("The event name can have 120 characters at most."))
    if "\x00" in name + event_name + "".join(tags):
        raise JobRefusedError("name", _("Names and tags cannot contain control characters."))
    options = checked_options({**(origin.options if origin else {}), **(options or {})})
    fingerprint = ""
    if idempotency_key:
        fingerprint = _fingerprint(source, record_type, name, event_name, options, dry_run)
        if earlier := _answered_before(by, idempotency_key, fingerprint):
            return earlier
    database = database or database_default(account=by.account)
    if record_type == RecordType.RECORD and not _table_is_there(database, str(options.get("table") or "")):
        raise JobRefusedError("options", _("Say which table with the option “table”: there is none of that name."))
    stored = None
    if isinstance(source, File):
        stored = store_file(account=by.account, name=file_name, content=source, by=by.user)
    try:
        with transaction.atomic():
            file = stored or _file_locked(by, upload, again, origin)
            job = BatchJob.objects.create(
                account=by.account,
                name=(name.strip() or _generated_name(file_name))[:200],
                record_type=record_type,
                **_source_of(again or origin),
                file=file,
                database=database,
                event_name=event_name.strip(),
                tags=sorted({t.strip()[:40] for t in tags if t.strip()}),
                options=options,
                dry_run=dry_run,
                rerun_of=again or rerun_of,
                created_by=by.user,
                created_by_key=by.api_key,
                queue=Queue.LONG if source.size is None or source.size > SHORT_QUEUE_BYTES else Queue.SHORT,
            )
            if idempotency_key:
                IdempotencyKey.objects.create(account=by.account, key=idempotency_key, fingerprint=fingerprint, job=job)
            audit(by=by, action="batch_job.created", target=job.name, data={"job": job.pk, "file": file_name})
            ring(job.queue)
    except (IntegrityError, JobRefusedError) as error:
        _take_back(stored)
        # The same request may have come twice at once: what stood in the way is then its own answer.
        if idempotency_key and (earlier := _answered_before(by, idempotency_key, fingerprint)):
            return earlier
        if "job_name_once" in str(error):
            raise JobRefusedError(
                "name", _("Another job of this account has this name. Choose one that says what is different.")
            ) from error
        raise
    except BaseException:
        _take_back(stored)
        raise
    log.info("job_created", job=job.pk, source=job.source, file=file_name, size=source.size)
    job.refresh_from_db()
    return job


def file_name_checked(name: str) -> str:
    """The name without folders. Raises JobRefusedError for a kind of file that cannot be read."""
    name = PurePath(name.replace("\\", "/")).name[:255] or "file.csv"
    if not name.lower().endswith(ACCEPTED):
        raise JobRefusedError(
            "file",
            _("“%(name)s” cannot be read: upload a file that ends in %(list)s.")
            % {"name": name, "list": ", ".join(ACCEPTED)},
        )
    return name


def _table_is_there(database: Database, slug: str) -> bool:
    return bool(DataTable.objects.filter(database=database, slug=slug).exists())


def _source_checked(
    content: File[bytes] | None, upload: SourceFile | None, again: BatchJob | None, origin: Origin | None
) -> File[bytes] | SourceFile | Origin:
    sources = [source for source in (content, upload, again, origin) if source is not None]
    source = again.file if again else origin or upload or content
    if source is None or len(sources) != 1:
        raise JobRefusedError("file", _("Send the file, or name an upload or another source: one of them."))
    if not isinstance(source, Origin) and (source.size or 0) > settings.UPLOAD_MAX_BYTES:
        raise JobRefusedError(
            "file", _("The file is too large: %(size)s at most.") % {"size": filesizeformat(settings.UPLOAD_MAX_BYTES)}
        )
    return source


def _name_of(source: File[bytes] | SourceFile | Origin) -> str:
    """The name of the file; "" of bytes that have one given beside them."""
    if isinstance(source, Origin):
        return source.file_name
    return source.name if isinstance(source, SourceFile) else ""


def _source_of(origin: BatchJob | Origin | None) -> dict[str, str]:
    """The columns that say where a job's data is from: as in another job, or as chosen."""
    if origin is None:
        return {"source": Source.NEW_FILE}
    if isinstance(origin, BatchJob):
        return {name: getattr(origin, name) for name in ("source", "source_key", "source_name")}
    return {"source": origin.source, "source_key": origin.key, "source_name": origin.name}


def _file_locked(
    by: Actor, upload: SourceFile | None, again: BatchJob | None, origin: Origin | None
) -> SourceFile | None:
    """The file that is here already, locked against its removal; None if the job is to write it.

    Raises JobRefusedError.
    """
    if again:
        return _file_of_job_locked(again)
    if origin is None:
        return _upload_locked(upload, by)
    if origin.file is None:
        return None
    files = SourceFile.objects.for_account(by.account).select_for_update()
    file: SourceFile | None = files.filter(pk=origin.file.pk, removed_at__isnull=True).first()
    if file is None:
        raise JobRefusedError("choice", _("“%(name)s” is not kept any more.") % {"name": origin.file_name})
    return file


def _upload_locked(upload: SourceFile | None, by: Actor) -> SourceFile:
    """The upload, locked: neither another job nor its removal comes in between. Raises JobRefusedError."""
    file: SourceFile | None = (
        SourceFile.objects.for_account(by.account)
        .select_for_update()
        .filter(pk=upload and upload.pk, upload_id__isnull=False, removed_at__isnull=True)
        .first()
    )
    if file is None:
        raise JobRefusedError("file", _("This upload is no longer there. Send the file again."))
    if not file.is_complete:
        raise JobRefusedError("file", _("“%(name)s” has not arrived completely.") % {"name": file.name})
    if file.jobs.exists():
        raise JobRefusedError("file", _("“%(name)s” was used for a job already.") % {"name": file.name})
    return file


def _file_of_job_locked(job: BatchJob) -> SourceFile:
    """The file of a job that ended without taking it in, locked against its removal. Raises JobRefusedError."""
    job.refresh_from_db()
    file: SourceFile | None = SourceFile.objects.select_for_update().filter(jobs=job, removed_at__isnull=True).first()
    if file is None or job.status not in ACTION_STATES[Action.RERUN]:
        raise JobRefusedError("file", _("The file of this job cannot be run again."))
    return file


def _take_back(file: SourceFile | None) -> None:
    if file is not None:
        remove_bytes(file)
        file.delete()


def batchjob_cancel(*, job: BatchJob, by: Actor) -> BatchJob:
    """Cancels a pending job at once; a running one stops between two chunks. Raises TransitionRefusedError."""
    return _stop(job, by=by, kind=JobRequest.Kind.CANCEL, action="batch_job.cancel")


def batchjob_give_up(*, job: BatchJob, by: Actor) -> BatchJob:
    """Support staff end a job as failed (GIVEN_UP), however it hangs. Raises TransitionRefusedError."""
    return _stop(job, by=by, kind=JobRequest.Kind.FAIL, action="batch_job.give_up")


def batchjob_ring(*, job: BatchJob, by: Actor) -> None:
    """Tells the workers of the job's queue to look again: harmless at any time."""
    audit(by=by, action="batch_job.ring", target=job.name, data={"job": job.pk})
    ring(job.queue)


def batchjob_run_anyway(*, job: BatchJob, by: Actor) -> BatchJob:
    """A new job with the file of one that was refused as a duplicate. Raises TransitionRefusedError."""
    if job.failure_code != "DUPLICATE_FILE" or job.status not in ACTION_STATES[Action.RUN_ANYWAY] or not _has_file(job):
        raise TransitionRefusedError(_("Only a job that was refused as a duplicate can be run anyway."))
    return _again(job, by=by, action="batch_job.run_anyway", options={"run_anyway": True})


def batchjob_answer(*, job: BatchJob, by: Actor, day_first: bool | None = None, array: str = "") -> BatchJob:
    """A new job with the file of one that stopped with a question, and the answer to that among its options.

    Raises TransitionRefusedError, and JobRefusedError for what is no answer to the question.
    """
    if not _has_file(job) or job.status not in ACTION_STATES[Action.RERUN]:
        raise TransitionRefusedError(_("The file of this job cannot be run again."))
    answer: dict[str, Any] = {}
    if job.failure_code == "DATE_ORDER_UNKNOWN" and day_first is not None:
        answer["day_first"] = day_first
    elif array in job.failure_params.get("lists", []):
        answer["array"] = array
    if not answer:
        raise JobRefusedError("options", _("That does not answer what the job asked. Nothing was started."))
    return _again(job, by=by, action="batch_job.answer", options=answer)


def _has_file(job: BatchJob) -> bool:
    return job.file is not None and job.file.removed_at is None


def _again(job: BatchJob, *, by: Actor, action: str, options: dict[str, Any]) -> BatchJob:
    """The same job once more, with more options."""
    for number in range(1, 1000):
        suffix = _("(again)") if number == 1 else _("(again %(n)s)") % {"n": number}
        name = f"{job.name[:180]} {suffix}"
        if BatchJob.objects.for_account(job.account).filter(name__iexact=name).exists():
            continue
        with transaction.atomic():
            again = BatchJob.objects.create(
                account=job.account,
                name=name,
                record_type=job.record_type,
                **_source_of(job),
                file=job.file,
                database=job.database,
                event_name=job.event_name,
                tags=job.tags,
                options={**job.options, **options},
                dry_run=job.dry_run,
                rerun_of=job,
                created_by=by.user,
                created_by_key=by.api_key,
                queue=job.queue,
            )
            audit(by=by, action=action, target=job.name, data={"job": job.pk, "new_job": again.pk})
            ring(again.queue)
        return again
    raise TransitionRefusedError(_("This file has been run again too often."))


def actions_allowed(job: BatchJob, *, by: Actor) -> list[Action]:
    """What `by` can ask of the job now: the buttons come from here."""
    from accounts.permissions import Permission

    if not by.can(Permission.RUN_JOBS):
        return []
    allowed = [action for action, states in ACTION_STATES.items() if job.status in states]
    if job.failure_code != "DUPLICATE_FILE" and Action.RUN_ANYWAY in allowed:
        allowed.remove(Action.RUN_ANYWAY)
    if not _has_file(job):
        allowed = [action for action in allowed if action not in (Action.RERUN, Action.RUN_ANYWAY)]
    if Action.CANCEL in allowed and job.requests.filter(kind=JobRequest.Kind.CANCEL).exists():
        allowed.remove(Action.CANCEL)
    return allowed


def _stop(job: BatchJob, *, by: Actor, kind: JobRequest.Kind, action: str) -> BatchJob:
    """Asks, without a lock on the job: a worker that hangs in the middle of something makes nobody wait."""
    with transaction.atomic():
        job.refresh_from_db()
        if job.status not in ACTIVE:
            raise TransitionRefusedError(
                _("This job has ended as %(status)s and cannot be stopped.") % {"status": job.get_status_display()}
            )
        JobRequest.objects.get_or_create(job=job, kind=kind, handled_at=None, defaults={"by": str(by)})
        audit(by=by, action=action, target=job.name, data={"job": job.pk})
        if not kernel.end_pending(job, kind=kind, by=str(by)):
            # A worker sees the request between chunks; ringing makes one look in case none has the job.
            ring(job.queue)
    job.refresh_from_db()
    return job


def _generated_name(file_name: str) -> str:
    now = timezone.now().astimezone(dt.UTC)
    return f"{file_name[:150]} {now:%Y-%m-%d %H:%M:%S}.{now.microsecond // 1000:03d} {uuid4().hex[:4]}"


def _fingerprint(content: File[bytes] | SourceFile | Origin, *request: Any) -> str:
    if isinstance(content, Origin):
        return hashlib.sha256(repr((content.source, content.key, *request)).encode()).hexdigest()
    if isinstance(content, SourceFile):
        return hashlib.sha256(repr((content.upload_id, *request)).encode()).hexdigest()
    digest = hashlib.sha256(repr(request).encode())
    content.seek(0)
    for block in content.chunks(1024 * 1024):
        digest.update(block)
    content.seek(0)
    return digest.hexdigest()


def _answered_before(by: Actor, key: str, fingerprint: str) -> BatchJob | None:
    earlier = IdempotencyKey.objects.for_account(by.account).filter(key=key).select_related("job").first()
    if earlier is None:
        return None
    if earlier.fingerprint != fingerprint:
        raise IdempotencyConflictError(_("This Idempotency-Key was used for another request."))
    job: BatchJob = earlier.job
    return job


def active_count(account: Account) -> int:
    """How many jobs of the account are waiting or running: the number beside “Batch jobs” in the sidebar."""
    return int(BatchJob.objects.for_account(account).imports().filter(status__in=ACTIVE).count())
