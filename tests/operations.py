"""Makes jobs in each state, as a run would have left them, for tests of pages and the API."""

from __future__ import annotations

import datetime as dt
import io
from typing import Any

from django.core.files.base import ContentFile
from django.utils import timezone

from accounts.actors import Actor
from accounts.models import Account, User
from audience.services import database_default
from batchjobs.files import store_file
from batchjobs.models import BatchJob, Chunk, Queue, SourceFile
from batchjobs.resumable import upload_append, upload_begin
from batchjobs.states import ACTIVE, Status

HEADER = ["email", "event_name", "event_time", "partner_event_id", "first_name", "amount"]


def make_file(account: Account, *, name: str = "loyalty_members.csv", size: int = 4_100_000) -> SourceFile:
    """A file of the library. Its bytes are few whatever its `size` says."""
    file = store_file(account=account, name=name, content=ContentFile(",".join(HEADER).encode() + b"\n"))
    SourceFile.objects.filter(pk=file.pk).update(size=size, received=size, sha256="9be017d4" * 8)
    file.refresh_from_db()
    return file


def make_upload(by: Actor, name: str, content: bytes, *, only: int | None = None) -> SourceFile:
    """A file that came through the form and has no job; with `only`, the first bytes of it."""
    upload = upload_begin(by=by, name=name, size=len(content))
    sent = content[:only]
    upload_append(upload=upload, offset=0, body=io.BytesIO(sent), length=len(sent))
    upload.refresh_from_db()
    return upload


def make_job(
    account: Account,
    status: str = Status.DONE,
    *,
    name: str = "",
    by: User | None = None,
    chunks: int = 1,
    valid: int = 1000,
    skipped: int = 0,
    invalid: int = 0,
    age: dt.timedelta = dt.timedelta(minutes=5),
    seconds: float = 20,
    file_name: str = "loyalty_members.csv",
    size: int = 4_100_000,
    share_read: float = 0.63,
    **fields: Any,
) -> BatchJob:
    """A job with its ledger. `valid`, `skipped` and `invalid` are totals, spread over `chunks` within `seconds`.

    A running job has read `share_read` of its file; `age` is how long ago the job was sent in.
    """
    now = timezone.now()
    created = now - age
    pending = status == Status.PENDING
    running = status == Status.IN_PROGRESS
    # A running job's last commit has just been.
    started = None if pending else (now - dt.timedelta(seconds=seconds + 0.5) if running else created)
    file = make_file(account, name=file_name, size=size)
    number = BatchJob.objects.for_account(account).count() + 1
    ended = status not in ACTIVE
    outcome = fields.pop("outcome", Status.DONE) if status == Status.EXPIRED else (status if ended else "")
    if status == Status.FAILED:
        fields.setdefault("failure_code", "COLUMN_MISSING")
    read = 1.0 if outcome == Status.DONE else share_read
    if pending:
        chunks = 0
    job = BatchJob.objects.create(
        account=account,
        name=name or f"Loyalty members {number}",
        file=file,
        database=database_default(account=account),
        status=status,
        outcome=outcome,
        created_by=by,
        created_at=min(created, started or created),
        started_at=started,
        completed_at=(started or created) + dt.timedelta(seconds=seconds) if ended else None,
        expired_at=now if status == Status.EXPIRED else None,
        valid_rows=valid if ended else None,
        skipped_rows=skipped if ended else None,
        invalid_rows=invalid if ended else None,
        lease_until=now + dt.timedelta(hours=1) if running else None,
        next_chunk=chunks,
        next_offset=int(size * read) if chunks else 0,
        queue=Queue.SHORT,
        reader_state={"header": HEADER, "delimiter": ",", "encoding": "utf-8", "quoted": True} if chunks else {},
        **fields,
    )
    if status == Status.EXPIRED:
        SourceFile.objects.filter(pk=file.pk).update(removed_at=now)
    for n in range(chunks):
        _make_chunk(job, n, chunks, valid, skipped, invalid, started or created, seconds)
    return job


def _make_chunk(
    job: BatchJob, n: int, of: int, valid: int, skipped: int, invalid: int, start: dt.datetime, seconds: float
) -> None:
    def part(total: int) -> int:
        return total * (n + 1) // of - total * n // of

    bad = part(invalid)
    # The pace of a real run is never quite even.
    groups = _groups(bad) if bad else []
    expired = job.status == Status.EXPIRED
    at = seconds * (n + 1) / of - (0.3 * seconds / of if n % 3 == 1 else 0)
    Chunk.objects.create(
        job=job,
        n=n,
        lease_token=1,
        end_offset=job.next_offset * (n + 1) // of,
        end_line=(n + 1) * 1000,
        valid=part(valid),
        skipped=part(skipped),
        invalid=bad,
        new_profiles=part(valid) // 12,
        changed_profiles=part(valid) // 3,
        groups=[_without_examples(group) for group in groups] if expired else groups,
        samples=SAMPLES if bad and n == 0 and not expired else [],
        event_names=["purchase"],
        committed_at=start + dt.timedelta(seconds=at),
    )


def _groups(bad: int) -> list[dict[str, Any]]:
    dates = bad // 8
    groups = [
        {
            "code": "EMAIL_INVALID",
            "column": "email",
            "count": bad - dates,
            "examples": [
                {"line": 112, "value": "ines.prata@example"},
                {"line": 407, "value": "joao.lopes(at)example.com"},
                {"line": 1980, "value": "k.berg@@example.com"},
            ],
        },
        {
            "code": "EVENT_TIME_INVALID",
            "column": "event_time",
            "count": dates,
            "examples": [{"line": 5022, "value": "2026-02-31"}, {"line": 5023, "value": "<script>alert(1)</script>"}],
        },
    ]
    return [group for group in groups if group["count"]]


def _without_examples(group: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key != "examples"}


def _sample(line: int, cells: str, column: str, code: str) -> dict[str, Any]:
    return {"line": line, "cells": cells.split(","), "errors": [{"column": column, "code": code, "message": code}]}


SAMPLES = [
    _sample(112, "ines.prata@example,purchase,2026-11-14,A-88121,Inês,39.90", "email", "EMAIL_INVALID"),
    _sample(407, "joao.lopes(at)example.com,purchase,2026-11-14,A-88122,João,12.50", "email", "EMAIL_INVALID"),
    _sample(1980, "<script>alert(1)</script>,purchase,2026-11-15,A-88123,=1+1,71.00", "email", "EMAIL_INVALID"),
    _sample(5022, "tom.ashby@example.com,purchase,2026-02-31,A-88124,Tom,8.00", "event_time", "EVENT_TIME_INVALID"),
]
