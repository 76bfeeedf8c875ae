"""What can be done with batch uploads: allocate one, receive its file, look at it, process it again.

The file is stored as a part of the library (batchjobs/files.py) and read by a BatchJob of kind "batch". The same
transaction records the file, makes the job and moves the upload on, so 200 is answered for both or for neither.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.core import signing
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from accounts.actors import Actor
from accounts.models import Account
from accounts.services import audit
from audience.services import database_default
from batchjobs.bodies import Body
from batchjobs.doorbell import ring
from batchjobs.files import ReadOnce, part_name, record_file, remove_stored
from batchjobs.models import BatchJob, Queue, SourceFile
from batchjobs.services import SHORT_QUEUE_BYTES
from batchjobs.states import ENDED
from uploads.faults import fault_message, size_limit_message
from uploads.models import BatchUpload, UploadEvent

log = structlog.get_logger(__name__)

KIND = "batch"
RECORD_TYPE = "batch"
MD5 = re.compile(r"[0-9a-fA-F]{32}")
LOCATION = "uploads.location"  # salts of the signatures
LOG = "uploads.log"


class BatchRefusedError(Exception):
    """The request is refused, and nothing was changed. `code` tells programs which of several reasons it is."""

    def __init__(self, status: int, message: str, *, code: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class BatchCorruptedError(BatchRefusedError):
    """Other bytes arrived than were declared. The upload is corrupted from now on."""


class BodyBrokenError(Exception):
    """The connection broke off. Nothing of the body counts, and the upload may be repeated."""


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a client says of the file that is to come."""

    checksum: str  # MD5, hexadecimal, in lower case
    size: int  # bytes

    @classmethod
    def of(cls, given: Any) -> Declaration:
        """From the JSON of a request. Raises BatchRefusedError."""
        if not isinstance(given, dict):
            raise BatchRefusedError(400, "Send a JSON object with “checksum” and “size”.", code=40001)
        checksum, size = given.get("checksum"), given.get("size")
        if not isinstance(checksum, str) or not MD5.fullmatch(checksum.strip()):
            raise BatchRefusedError(
                400, "“checksum” must be the MD5 of the gzipped file, as 32 hexadecimal digits.", code=40002
            )
        if isinstance(size, str) and size.strip().isascii() and size.strip().isdecimal() and len(size) < 19:
            size = int(size)
        if not isinstance(size, int) or isinstance(size, bool) or size <= 0:
            raise BatchRefusedError(400, "“size” must be the number of bytes of the gzipped file.", code=40003)
        if size > settings.BATCH_MAX_BYTES:
            raise BatchRefusedError(413, size_limit_message(settings.BATCH_MAX_BYTES), code=41301)
        return cls(checksum.strip().lower(), size)


def batch_allocate(*, by: Actor, ref: UUID, declaration: Declaration) -> BatchUpload:
    """The upload of that reference; made if it is new. The same declaration again gives the same upload, with a fresh
    location where the old one ran out before the file came. Raises BatchRefusedError for another declaration.
    """
    upload, made = BatchUpload.objects.get_or_create(
        account=by.account,
        ref=ref,
        defaults={
            "client": by.api_key,
            "client_name": by.api_key.name if by.api_key else str(by),
            "checksum": declaration.checksum,
            "size": declaration.size,
            "location_expires_at": _expiry(),
        },
    )
    if made:
        note(upload, "allocated", f"{declaration.size} bytes by {by}")
        log.info("batch_allocated", batch=str(ref), size=declaration.size)
    elif Declaration(upload.checksum, upload.size) != declaration:
        raise BatchRefusedError(
            409, "This reference was used with another checksum or size. Take a new UUID.", code=40901
        )
    elif upload.is_late:
        renewed = BatchUpload.objects.filter(
            pk=upload.pk, job__isnull=True, fault="", location_expires_at__lte=timezone.now()
        ).update(location_expires_at=_expiry(), touched_at=Now())
        if renewed:
            note(upload, "location renewed", f"by {by}")
    return batch_get(account=by.account, ref=ref)


def _expiry() -> dt.datetime:
    return timezone.now() + dt.timedelta(seconds=settings.BATCH_LOCATION_SECONDS)


def batch_get(*, account: Account, ref: UUID) -> BatchUpload:
    """Raises BatchRefusedError 404."""
    found: BatchUpload | None = BatchUpload.objects.for_account(account).with_state().filter(ref=ref).first()
    if found is None:
        raise BatchRefusedError(404, "There is no batch with this reference.", code=40401)
    return found


def location_token(upload: BatchUpload) -> str:
    """The permission to upload its file, as a part of a URL: whoever has it needs no key."""
    until = int(upload.location_expires_at.timestamp())
    return signing.dumps([upload.pk, until], salt=LOCATION)


def upload_of_location(token: str) -> BatchUpload:
    """Raises BatchRefusedError for a token that is not ours (403) or ran out (410)."""
    upload_id, until = _signed(token, LOCATION)
    if until < timezone.now().timestamp():
        raise BatchRefusedError(
            410, "This location has run out. Allocate the same reference again for a fresh one.", code=41001
        )
    return _by_id(upload_id)


def log_token(upload: BatchUpload) -> str:
    """The permission to read its error log, good as long as a location."""
    return signing.dumps([upload.pk, int(_expiry().timestamp())], salt=LOG)


def upload_of_log(token: str) -> BatchUpload:
    """Raises BatchRefusedError."""
    upload_id, until = _signed(token, LOG)
    if until < timezone.now().timestamp():
        raise BatchRefusedError(410, "This link has run out. Ask for the status again for a fresh one.", code=41002)
    return _by_id(upload_id)


def _signed(token: str, salt: str) -> tuple[int, int]:
    try:
        upload_id, until = signing.loads(token, salt=salt)
    except (signing.BadSignature, ValueError, TypeError):
        raise BatchRefusedError(403, "This link was not made by Batchdesk, or was changed.", code=40301) from None
    return int(upload_id), int(until)


def _by_id(upload_id: int) -> BatchUpload:
    found = BatchUpload.objects.with_state().select_related("account").filter(pk=upload_id).first()  # tenant: signed
    if found is None:
        raise BatchRefusedError(404, "This batch is no longer there.", code=40402)
    return found


class _Counted(ReadOnce):
    """A body on its way into storage, which ends after `length` bytes. Counted and hashed by MD5 too."""

    def __init__(self, body: Body, length: int) -> None:
        super().__init__()
        self.body = body
        self.length = length
        self.md5 = hashlib.md5(usedforsecurity=False)

    @property
    def size(self) -> int:
        return self.length

    def next_bytes(self, size: int) -> bytes:
        """Raises BodyBrokenError where the connection ends early."""
        wanted = min(size, self.length - self.count)
        if not wanted:
            return b""
        try:
            data = self.body.read(wanted)
        except OSError as error:
            raise BodyBrokenError from error
        if not data:
            raise BodyBrokenError
        self.md5.update(data)
        return data


def batch_receive(*, upload: BatchUpload, body: Body, length: int, content_md5: bytes = b"") -> None:
    """Stores the file of an upload and starts its job, both durably. `content_md5`: what the sender says it is.

    The same file once more changes nothing. Raises BatchCorruptedError for other bytes than were declared,
    BatchRefusedError for an upload that is corrupted or has another file, BodyBrokenError.
    """
    if upload.fault:
        raise BatchRefusedError(409, "This batch is corrupted. Allocate a new reference.", code=40902)
    content = _Counted(body, length)
    if upload.job_id is not None:
        _pass_by(content)
        if _md5(content) != upload.checksum:
            raise BatchRefusedError(409, "The file of this batch has arrived already.", code=40903)
        return
    if length > upload.size:
        _pass_by(content)
        _corrupt(upload, "SIZE_EXCEEDED", {"declared": upload.size})
    stored_as = _store(upload, content, content_md5)
    try:
        taken = _take_in(upload, stored_as, content)
    except BatchRefusedError:
        remove_stored(stored_as)
        raise
    # After any other error the bytes stay: a commit whose answer was lost may have been one. The sweep decides.
    if not taken:
        remove_stored(stored_as)


def _store(upload: BatchUpload, content: _Counted, content_md5: bytes) -> str:
    """Stores a body that is as it was declared; its name in storage. Of any other nothing stays."""
    name = part_name(upload.account)
    try:
        name = default_storage.save(name, content)
        if content_md5 and content.md5.digest() != content_md5:
            raise BatchRefusedError(
                400, "The bytes that arrived do not have the MD5 of Content-Md5. Send them again.", code=40004
            )
        if content.count != upload.size:
            _corrupt(upload, "SIZE_MISMATCH", {"declared": upload.size, "received": content.count})
        if _md5(content) != upload.checksum:
            _corrupt(upload, "CHECKSUM_MISMATCH", {"declared": upload.checksum, "received": _md5(content)})
    except BodyBrokenError:
        remove_stored(name)
        note(upload, "broken off", f"after {content.count} of {content.length} bytes")
        raise
    except BaseException:
        remove_stored(name)
        raise
    return name


def _md5(content: _Counted) -> str:
    return str(content.md5.hexdigest())


def _pass_by(content: _Counted) -> None:
    """Reads on without keeping anything, so that the sender gets to read the answer; not without end."""
    for _block in content.chunks():
        if content.count > settings.BATCH_MAX_BYTES:
            return


def _corrupt(upload: BatchUpload, fault: str, params: dict[str, Any]) -> None:
    """Marks the upload, unless its right file came in meanwhile. Raises BatchCorruptedError in any case."""
    with transaction.atomic():
        marked = BatchUpload.objects.filter(pk=upload.pk, job__isnull=True, fault="").update(
            fault=fault, fault_params=params, touched_at=Now()
        )
        if marked:
            note(upload, "corrupted", fault)
    log.warning("batch_corrupted", batch=str(upload.ref), fault=fault, **params)
    message = f"{fault_message(fault, params)} The batch is corrupted: allocate a new reference."
    raise BatchCorruptedError(400, message, code=40005)


def _take_in(upload: BatchUpload, stored_as: str, content: _Counted) -> bool:
    """Records the stored file and starts its job; False if another request was quicker. Raises BatchRefusedError."""
    with transaction.atomic():
        locked = BatchUpload.objects.select_for_update(of=("self",)).get(pk=upload.pk)
        if locked.fault:
            raise BatchRefusedError(409, "This batch is corrupted. Allocate a new reference.", code=40902)
        if locked.job_id is not None:
            return False
        file = record_file(
            account=upload.account,
            name=f"{upload.ref}.ndjson.gz",
            size=content.count,
            stored_as=stored_as,
            sha256=content.sha256.hexdigest(),
        )
        locked.file = file
        locked.job = _job(locked, file)
        locked.touched_at = timezone.now()
        locked.save(update_fields=["file", "job", "touched_at"])
        note(locked, "received", f"{content.count} bytes")
    log.info("batch_received", batch=str(upload.ref), job=locked.job_id, size=content.count)
    return True


def _job(upload: BatchUpload, file: SourceFile, *, again: int = 0) -> BatchJob:
    """A job that reads the file, rung when the transaction commits."""
    job: BatchJob = BatchJob.objects.create(
        account=upload.account,
        name=f"Batch {upload.ref}" + (f" (again {again})" if again else ""),
        kind=KIND,
        record_type=RECORD_TYPE,
        file=file,
        database=database_default(account=upload.account),
        options={"format": "ndjson"},
        rerun_of=upload.job,
        created_by_key=upload.client,
        queue=Queue.SHORT if file.size <= SHORT_QUEUE_BYTES else Queue.LONG,
    )
    ring(job.queue)
    return job


def batch_process_again(*, upload: BatchUpload, by: Actor) -> BatchJob:
    """Support staff have the file read once more, by a new job. Raises BatchRefusedError."""
    with transaction.atomic():
        locked = BatchUpload.objects.select_for_update(of=("self",)).select_related("job", "file").get(pk=upload.pk)
        if locked.job is None or locked.file is None:
            raise BatchRefusedError(409, "No file of this batch has arrived, so there is nothing to process.")
        if locked.job.status not in ENDED:
            raise BatchRefusedError(409, "The job of this batch has not ended yet, or its file is no longer kept.")
        if locked.file.removed_at:
            raise BatchRefusedError(409, "The file of this batch is no longer kept.")
        runs = BatchJob.objects.filter(kind=KIND, file=locked.file).count()
        job = locked.job = _job(locked, locked.file, again=runs)
        locked.touched_at = timezone.now()
        locked.save(update_fields=["job", "touched_at"])
        note(locked, "processed again", f"by {by}")
        audit(by=by, action="batch_upload.process_again", target=str(locked.ref), data={"job": job.pk})
    return job


def note(upload: BatchUpload, what: str, detail: str = "") -> None:
    """Adds to what support staff can read of the upload."""
    UploadEvent.objects.create(upload=upload, what=what, detail=detail[:254])
