"""Makes batch uploads in each state, as the API and a run would have left them."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any
from uuid import UUID, uuid4

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone

from accounts.models import Account
from audience.services import database_default
from batchjobs.files import store_file
from batchjobs.models import BatchJob, Chunk, SourceFile
from batchjobs.states import ACTIVE, Status
from uploads.models import BatchUpload
from uploads.states import State

MD5 = "9e107d9d372bb6826bd81d3542a419d6"
JOB_STATES = {
    State.FILE_UPLOADED: Status.PENDING,
    State.PROCESSING: Status.IN_PROGRESS,
    State.SUCCESS: Status.DONE,
    State.ERROR: Status.DONE,
}
PROBLEMS = [
    ("GUEST_UNIDENTIFIED", "", "Guest without identity information: give an e-mail or an identifier."),
    ("DATE_INVALID", "dateOfBirth", "“31/02/1990” is no date."),
    ("MODE_UNKNOWN", "mode", "mode must be insert, create, upsert, merge, delete or gdpr_delete."),
    ("REF_EXISTS", "ref", "mode is create, and a record with this ref is there already."),
]


def make_batch(
    account: Account,
    state: State = State.UPLOADING,
    *,
    ref: UUID | str = "",
    age: dt.timedelta = dt.timedelta(minutes=5),
    seconds: float = 21.877,
    valid: int = 9964,
    invalid: int | None = None,
    size: int = 5_347_113,
    share_read: float = 0.21,
    failure_code: str = "",
    late: bool = False,
    **fields: Any,
) -> BatchUpload:
    """An upload that was allocated `age` ago. `failure_code` is of a file that could not be read."""
    now = timezone.now()
    created = now - age
    upload = BatchUpload(
        account=account,
        ref=ref or uuid4(),
        client_name="Shop back end",
        checksum=MD5,
        size=size,
        location_expires_at=now - dt.timedelta(minutes=1) if late else created + dt.timedelta(hours=1),
        created_at=created,
        touched_at=created,
    )
    if state == State.CORRUPTED:
        upload.fault = "SIZE_MISMATCH"
        upload.fault_params = {"declared": size, "received": size - 117}
    for name, value in fields.items():
        setattr(upload, name, value)
    if state in JOB_STATES:
        take_in(upload, state, seconds=seconds, valid=valid, invalid=invalid, share=share_read, failure=failure_code)
    upload.save()
    return upload


def take_in(
    upload: BatchUpload,
    state: State,
    *,
    seconds: float = 20,
    valid: int = 9964,
    invalid: int | None = None,
    share: float = 0.21,
    failure: str = "",
) -> None:
    """Gives an upload its file and its job; not saved."""
    bad = 0 if state == State.SUCCESS else (36 if state == State.ERROR and not failure else 0)
    invalid = bad if invalid is None else invalid
    status = Status.FAILED if failure else JOB_STATES[state]
    now = timezone.now()
    started = now - dt.timedelta(seconds=seconds) if status in ACTIVE else upload.touched_at
    file = store_file(account=upload.account, name=f"{upload.ref}.ndjson.gz", content=ContentFile(b"x"))
    SourceFile.objects.filter(pk=file.pk).update(size=upload.size, received=upload.size, created_at=started)
    ended = status not in ACTIVE
    valid = 0 if failure else valid
    job = BatchJob.objects.create(
        account=upload.account,
        name=f"Batch {upload.ref}",
        kind="batch",
        record_type="batch",
        file=file,
        database=database_default(account=upload.account),
        status=status,
        outcome=status if ended else "",
        failure_code=failure,
        started_at=None if status == Status.PENDING else started,
        completed_at=started + dt.timedelta(seconds=seconds) if ended else None,
        valid_rows=valid if ended else None,
        skipped_rows=0 if ended else None,
        invalid_rows=invalid if ended else None,
        lease_until=now + dt.timedelta(hours=1) if status == Status.IN_PROGRESS else None,
        next_chunk=0 if status == Status.PENDING or failure else 1,
        next_offset=int(upload.size * share) + 1 if status == Status.IN_PROGRESS else 0,
    )
    if job.next_chunk:
        _ledger(job, valid, invalid, upload.size)
    upload.file, upload.job = file, job


def _ledger(job: BatchJob, valid: int, invalid: int, size: int) -> None:
    part = ""
    if invalid:
        lines = [json.dumps(_rejected(n)) + "\n" for n in range(invalid)]
        part = default_storage.save(f"tests/{job.pk}.ndjson", ContentFile("".join(lines).encode()))
    Chunk.objects.create(
        job=job, n=0, lease_token=1, end_offset=size, end_line=1, valid=valid, skipped=0, invalid=invalid, part=part
    )


def _rejected(n: int) -> dict[str, Any]:
    code, column, message = PROBLEMS[n % len(PROBLEMS)]
    ref = str(UUID(int=0x3F0A7C11_0000_4000_8000_0000000091CD + n))
    raw = json.dumps({"ref": ref, "schema": "guest", "mode": "upsert", "value": {}})
    return {"line": 218 + n, "errors": [{"code": code, "column": column, "message": message}], "raw": raw}
