"""Runs an import: from the file's first byte to the last chunk, resumable at every chunk's end."""

from __future__ import annotations

import gc
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Any, BinaryIO
from zoneinfo import ZoneInfo

import structlog
from django.conf import settings
from psycopg.types.json import Jsonb

from audience.models import Database
from batchjobs.failures import FileFailureError
from batchjobs.ingestion import checks
from batchjobs.ingestion.delimited import DelimitedLayout, DelimitedReader, layout_of
from batchjobs.ingestion.direct import CONFLICTS, Direct, People
from batchjobs.ingestion.ledger import ChunkRecord, RunPlan, Writer
from batchjobs.ingestion.loader import LoaderPool
from batchjobs.ingestion.records import event
from batchjobs.ingestion.records.columns import match_columns
from batchjobs.ingestion.records.event import ATTRIBUTES, Copying, EventChecker, Staging
from batchjobs.ingestion.rejects import RejectsPart, shown
from batchjobs.ingestion.staged import Staged
from batchjobs.kernel import Lease, LeaseLostError
from batchjobs.library import FileGoneError, open_file
from batchjobs.models import BatchJob, Chunk

log = structlog.get_logger(__name__)

CHUNK_BYTES = 32 * 1024 * 1024
REJECTS_IN_A_ROW = 200_000
STAYS = "What came in before stays."
PREVIEW_ROWS, PREVIEW_COLUMNS = 3, 12
HASH_BLOCK = 1024 * 1024
EVENT_IN_NAME = r"([A-Za-z][A-Za-z0-9_.]{0,119})-.+"

CLAIM_CONTENT = """
    WITH own AS (
        UPDATE batchjobs_sourcefile f SET sha256 = %(sha256)s FROM batchjobs_batchjob j
        WHERE j.id = %(job)s AND j.lease_token = %(token)s AND f.id = j.file_id RETURNING f.id
    )
    SELECT (SELECT count(*) FROM own),
           (SELECT min(o.id) FROM batchjobs_batchjob o JOIN batchjobs_sourcefile f ON f.id = o.file_id
            WHERE o.account_id = %(account)s AND o.id <> %(job)s AND f.sha256 = %(sha256)s
              AND o.record_type = %(record_type)s AND o.status IN ('pending', 'in_progress', 'done')
              AND NOT o.dry_run)
"""
PREPARED = """
    UPDATE batchjobs_batchjob SET reader_state = %(state)s, next_offset = %(offset)s, next_line = %(line)s
    WHERE id = %(job)s AND lease_token = %(token)s AND next_chunk = 0
"""


def import_run(job: BatchJob, lease: Lease) -> None:
    """Reads the job's file from its checkpoint to its end. What stops the file is raised as FileFailureError."""
    with _opened(job) as file:
        if not job.reader_state:
            _refuse_duplicate(job, lease, file)
            _prepare(job, lease, file)
        _load(job, lease, file)
    _judge(job)


@contextmanager
def _opened(job: BatchJob) -> Iterator[BinaryIO]:
    if job.file is None:
        raise FileFailureError("FILE_GONE")
    try:
        with open_file(job.file) as stored:
            yield stored  # type: ignore[misc]  # IO[bytes]
    except FileGoneError as error:
        raise FileFailureError("FILE_GONE") from error


def _refuse_duplicate(job: BatchJob, lease: Lease, file: BinaryIO) -> None:
    """The first step: the file's SHA-256. The same bytes in another job of the type end this one."""
    digest = hashlib.sha256()
    lines = 0
    file.seek(0)
    while block := file.read(HASH_BLOCK):
        digest.update(block)
        lines += block.count(b"\n")
        lease.check()
    with lease.control.transaction():
        # Two equal files at once: whoever comes second sees the first one's sum.
        lease.control.execute("SELECT pg_advisory_xact_lock(2, %s)", (job.account_id % 2**31,))
        row = lease.control.execute(
            CLAIM_CONTENT,
            {
                "job": job.pk,
                "token": lease.token,
                "account": job.account_id,
                "sha256": digest.hexdigest(),
                "record_type": job.record_type,
            },
        ).fetchone()
        if row is None or not row[0]:
            raise LeaseLostError
    if row[1] is not None and not job.dry_run and not job.options.get("run_anyway"):
        raise FileFailureError("DUPLICATE_FILE", duplicate_of=row[1])
    job.reader_state = {"lines": lines}


def _prepare(job: BatchJob, lease: Lease, file: BinaryIO) -> None:
    """Finds out how the file is to be read, and keeps that with the job."""
    assert job.file is not None  # noqa: S101  _opened
    layout = layout_of(
        file,
        extension=PurePath(job.file.name.lower()).suffix,
        encoding=str(job.options.get("encoding") or ""),
        delimiter=str(job.options.get("delimiter") or ""),
        record_max=settings.RECORD_MAX_BYTES,
    )
    try:
        _checker(job, layout)  # a missing column stops the file here
    except FileFailureError as failure:
        failure.params["preview"] = _preview(file, layout)
        raise
    state = {**job.reader_state, **asdict(layout)}
    changed = lease.control.execute(
        PREPARED,
        {
            "job": job.pk,
            "token": lease.token,
            "state": Jsonb(state),
            "offset": layout.data_offset,
            "line": layout.data_line,
        },
    )
    if changed.rowcount != 1:
        raise LeaseLostError
    job.reader_state, job.next_offset, job.next_line = state, layout.data_offset, layout.data_line


def _preview(file: BinaryIO, layout: DelimitedLayout) -> dict[str, Any]:
    """The first lines of a file that was not understood, for the person to see what was found."""
    reader = DelimitedReader(file, layout, settings.RECORD_MAX_BYTES)
    reader.seek(layout.data_offset, layout.data_line)
    block = next(reader.blocks(), None)
    rows = list(zip(block.lines, block.rows, strict=True))[:PREVIEW_ROWS] if block else []
    return {
        "header": [shown(name) for name in layout.header[:PREVIEW_COLUMNS]],
        "rows": [{"line": line, "cells": [shown(cell) for cell in row[:PREVIEW_COLUMNS]]} for line, row in rows],
    }


def _checker(job: BatchJob, layout: DelimitedLayout) -> EventChecker:
    assert job.file is not None  # noqa: S101
    matched = match_columns(layout.header, event.COLUMNS, limit=settings.COLUMNS_MAX)
    name = job.event_name
    if not name and "event_name" not in matched.known and (found := re.match(EVENT_IN_NAME, job.file.name)):
        name = found[1]  # the `$EVENT-rest.csv` form
    return EventChecker(
        matched=matched,
        header=layout.header,
        event_name=name,
        default_time=(job.started_at or job.created_at).isoformat(),
        parse_time=checks.date_parser(
            ZoneInfo(str(job.options.get("time_zone") or "UTC")), day_first=job.options.get("day_first")
        ),
    )


def _load(job: BatchJob, lease: Lease, file: BinaryIO) -> None:
    """Straight into the audience where the file allows it; from the first conflict on by way of the stage."""
    try:
        _load_rest(job, lease, file, direct=not job.reader_state.get("staged"))
    except CONFLICTS as conflict:
        log.info("staged_from_here", chunk=job.next_chunk, reason=type(conflict).__name__)
        job.refresh_from_db(fields=["next_chunk", "next_offset", "next_line", "reader_state"])
        _load_rest(job, lease, file, direct=False)


def _load_rest(job: BatchJob, lease: Lease, file: BinaryIO, *, direct: bool) -> None:
    names = DelimitedLayout.__dataclass_fields__
    layout = DelimitedLayout(**{k: v for k, v in job.reader_state.items() if k in names})
    checker = _checker(job, layout)
    assert job.database_id is not None  # noqa: S101  imports have one
    plan = RunPlan(
        job=job.pk,
        token=lease.token,
        database=job.database_id,
        lease=f"{settings.JOB_LEASE_SECONDS} seconds",
        has_attributes=checker.has_attributes,
        has_partner_ids=checker.has_partner_ids,
        dry_run=job.dry_run,
    )
    people: People | None = None
    writer: Writer = Staged(plan)
    if direct and not plan.has_partner_ids and not plan.dry_run:
        removals = Database.objects.values_list("removals", flat=True).get(pk=plan.database)
        people, writer = People(lease.control, plan.database), Direct(plan, removals)
    with _collecting_by_hand(), LoaderPool(writer, lease.owner, lease.check) as pool:
        reader = DelimitedReader(file, layout, settings.RECORD_MAX_BYTES)
        chunks = _Chunks(job, lease, reader, checker, pool, people, job.next_chunk)
        while chunk := chunks.read():
            pool.finish(chunk)
            gc.collect()
    if chunks.bad_in_a_row > REJECTS_IN_A_ROW:
        raise FileFailureError(
            "REJECTS_TOO_MANY", count=f"{chunks.bad_in_a_row:,}", line=f"{chunks.reader.line:,}", valid=STAYS
        )


@contextmanager
def _collecting_by_hand() -> Iterator[None]:
    """Looking for reference cycles all the time costs a tenth of it; once a chunk is enough."""
    was_on = gc.isenabled()
    gc.disable()
    gc.freeze()  # what is there already is not looked at
    try:
        yield
    finally:
        gc.unfreeze()
        if was_on:
            gc.enable()


@dataclass(slots=True)
class _Chunks:
    """Cuts the file into chunks. Each begins with a fresh read, so a resumed run cuts it at the same places."""

    job: BatchJob
    lease: Lease
    reader: DelimitedReader
    checker: EventChecker
    pool: LoaderPool
    people: People | None  # for writing straight into the audience
    n: int
    bad_in_a_row: int = 0

    def __post_init__(self) -> None:
        self.reader.seek(self.job.next_offset, self.job.next_line)

    def read(self) -> ChunkRecord | None:
        """Feeds the next chunk's rows to the pool and stores its rejected rows; None at the end of the file."""
        reader, chunk, part = self.reader, ChunkRecord(self.n), RejectsPart()
        begun, size = reader.offset, 0
        if self.bad_in_a_row > REJECTS_IN_A_ROW:
            return None
        reader.seek(reader.offset, reader.line)
        self.checker.new_chunk()
        into = Copying(self.people, self.job.pk) if self.people else Staging()
        try:
            for block in reader.blocks():
                self.lease.check()
                checked = self.checker.check(block, into)
                if checked.copy_text and not self.job.dry_run:
                    self.pool.write(checked.copy_text)
                chunk.good += checked.good
                chunk.skipped_lines += checked.skipped_lines
                part.add(checked.rejected)
                self.bad_in_a_row = 0 if checked.good else self.bad_in_a_row + len(checked.rejected)
                size += len(checked.copy_text)
                rows = chunk.good + len(chunk.skipped_lines) + part.count
                full = rows >= settings.JOB_CHUNK_ROWS or size >= CHUNK_BYTES
                if full or self.bad_in_a_row > REJECTS_IN_A_ROW:
                    break
            if reader.offset == begun:
                return None
            name = f"rejects/{self.job.account_id}/{self.job.pk}/{self.n:06d}-{self.lease.token}.ndjson"
            chunk.part = part.store(name)
        finally:
            part.discard()
        self.n += 1
        chunk.end_offset, chunk.end_line = reader.offset, reader.line
        chunk.invalid, chunk.groups, chunk.samples = part.count, list(part.groups.values()), part.samples
        chunk.event_names = sorted(self.checker.names_found)[:20]
        chunk.reader_state = {"runaways": reader.layout.runaways, "staged": self.people is None}
        if self.people:
            chunk.people = self.people.end_chunk(list(ATTRIBUTES) if self.checker.has_attributes else [])
        return chunk


def _judge(job: BatchJob) -> None:
    """A file fails as a whole only when no row was good or already there."""
    good = invalid = unreadable = 0
    for chunk in Chunk.objects.filter(job=job).only("valid", "skipped", "invalid", "groups"):
        good += chunk.valid + chunk.skipped
        invalid += chunk.invalid
        unreadable += sum(g["count"] for g in chunk.groups if g["code"] == "ENCODING_INVALID")
    if good:
        return
    if not invalid:
        raise FileFailureError("NO_ROWS")
    if unreadable * 2 > invalid:
        raise FileFailureError("ENCODING_UNKNOWN")
    raise FileFailureError("NO_VALID_ROWS", count=f"{invalid:,}")
