"""Runs an import: from the file's first byte to the last chunk, resumable at every chunk's end."""

from __future__ import annotations

import gc
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, BinaryIO
from zoneinfo import ZoneInfo

import structlog
from django.conf import settings
from psycopg.types.json import Jsonb

from audience.erasures import erased_hashes
from audience.models import Database, Profile
from batchjobs.collecting import collecting_by_hand
from batchjobs.failures import FileFailureError
from batchjobs.files import FileGoneError, open_file
from batchjobs.ingestion import checks
from batchjobs.ingestion.chunks import REJECTS_IN_A_ROW, Chunks
from batchjobs.ingestion.formats import (
    HEADER_KEYS,
    OBJECT_FORMATS,
    layout_find,
    layout_from_state,
    layout_to_state,
    reader_of,
)
from batchjobs.ingestion.records import record_type_of
from batchjobs.ingestion.records.base import BlockChecker, Checker, Context
from batchjobs.ingestion.records.table import for_people
from batchjobs.ingestion.rejects import shown
from batchjobs.ingestion.rows import CellBlock, CheckedBlock, ObjectBlock
from batchjobs.ingestion.source import Content, Opened, content_measure, content_open
from batchjobs.ingestion.writing.direct import CONFLICTS, Direct, People
from batchjobs.ingestion.writing.interactions import InteractionWriter
from batchjobs.ingestion.writing.ledger import RunPlan, Writer
from batchjobs.ingestion.writing.loader import LoaderPool
from batchjobs.kernel import Lease, LeaseLostError
from batchjobs.models import IMPORT, BatchJob, Chunk, Source
from batchjobs.origins import job_source

log = structlog.get_logger(__name__)

STAYS = "What came in before stays."
PREVIEW_ROWS, PREVIEW_COLUMNS = 3, 12
HASH_BLOCK = 1024 * 1024
ASKED_FROM = 4  # one row in so many of the first block: then unclear dates are the file's way of writing them
CONFLICTS_MAX = 20
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


NOTED = """
    UPDATE batchjobs_batchjob SET reader_state = reader_state || %(state)s::jsonb
    WHERE id = %(job)s AND lease_token = %(token)s AND next_chunk = 0
"""


def import_run(job: BatchJob, lease: Lease) -> None:
    """Reads the job's file from its checkpoint to its end. What stops the file is raised as FileFailureError.

    What is no file yet is written as one first. A "batch" is a file of a program: always NDJSON, never refused as a
    duplicate or for its rejected rows. Whoever sent it asks for each record what became of it.
    """
    if job.file is None and (source := job_source(job.source)):
        job.file = source.write(job, lease)
    with _stored(job) as stored:
        assert job.file is not None  # noqa: S101  _stored
        if "lines" not in job.reader_state:
            _refuse_duplicate(job, lease, stored)
        opened = content_open(stored, job.file.name, lease.check)
        if "format" not in job.reader_state:
            size, lines = content_measure(opened, job.file.size, lease.check)
            job.reader_state = {"lines": lines, "size": size}
            _prepare(job, lease, replace(opened, content=_Attended(opened.content, lease)))
        content = _Attended(opened.content, lease)
        if job.kind == IMPORT and job.options.get("max_invalid_percent") is not None and not job.dry_run:
            _refuse_share(job, lease, content)
        _load(job, lease, content)
    if job.reader_state.get("refused"):
        raise FileFailureError("INVALID_TOO_MANY", **job.reader_state["refused"])
    if job.kind == IMPORT:
        _judge(job)


@dataclass(slots=True)
class _Attended:
    """A content whose reading keeps the lease: a line or JSON element of gigabytes is passed over in one go."""

    content: Content
    lease: Lease

    def read(self, size: int, /) -> bytes:
        self.lease.check()
        return self.content.read(size)

    def seek(self, offset: int, /) -> int:
        return self.content.seek(offset)


@contextmanager
def _stored(job: BatchJob) -> Iterator[BinaryIO]:
    if job.file is None:
        raise FileFailureError("FILE_GONE")
    try:
        with open_file(job.file) as stored:
            yield stored  # type: ignore[misc]  # IO[bytes]
    except FileGoneError as error:
        raise FileFailureError("FILE_GONE") from error


def _refuse_duplicate(job: BatchJob, lease: Lease, stored: BinaryIO) -> None:
    """The first step: the file's SHA-256. The same bytes in another job of the type end this one: only an import."""
    digest = hashlib.sha256()
    while block := stored.read(HASH_BLOCK):
        digest.update(block)
        lease.check()
    stored.seek(0)
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
    # What a person chose from what was here before is meant.
    refuses = job.kind == IMPORT and job.source == Source.NEW_FILE and not job.dry_run
    if row[1] is not None and refuses and not job.options.get("run_anyway"):
        raise FileFailureError("DUPLICATE_FILE", duplicate_of=row[1])


def _prepare(job: BatchJob, lease: Lease, opened: Opened) -> None:
    """Finds out how the file is to be read, and keeps that with the job."""
    options = job.options if job.kind == IMPORT else {**job.options, "format": "ndjson"}
    found = layout_find(opened, options, settings.RECORD_MAX_BYTES)
    key, layout, first = found.key, found.layout, found.first
    preview = _preview(layout.header, first)  # before the check, which takes records apart
    try:
        checker = _checker(job, layout, lease, has_header=found.has_header)
        if first is not None and isinstance(checker, Checker):
            checker.new_chunk()
            _ask_for_the_order_of_dates(job, checker, first)
        if not found.has_header:
            ours = set(checker.matched.names.values()) if isinstance(checker, Checker) else set()
            layout.header = [key for at, key in enumerate(layout.header) if at < HEADER_KEYS or key in ours]
    except FileFailureError as failure:
        # a missing column, or a question, stops the file here
        failure.params["preview"] = preview
        raise
    state = {**job.reader_state, **layout_to_state(key, layout)}
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


def _ask_for_the_order_of_dates(job: BatchJob, checker: Checker, first: CellBlock | ObjectBlock) -> None:
    """Dates such as 03/04/2024 are asked for once a file, if the file writes its dates that way; never guessed.

    A file that has days first in some rows and months in others is beyond asking: its unclear rows are rejected.
    """
    if job.options.get("day_first") is not None:
        return
    orders = checker.orders_shown(first)  # the check takes records apart
    rejected = checker.check(first).rejected
    unclear = [
        (row.line, error.value)
        for row in rejected
        for error in row.errors
        if error.code == "DATE_AMBIGUOUS" and error.value  # nothing is told of somebody who was erased
    ]
    if len(unclear) * ASKED_FROM > first.count and len(orders) < 2:
        line, value = min(unclear)
        raise FileFailureError("DATE_ORDER_UNKNOWN", example=shown(value), line=f"{line:,}")


def _preview(header: list[str], first: CellBlock | ObjectBlock | None) -> dict[str, Any]:
    """The first records of a file that was not understood, for the person to see what was found."""
    rows = []
    for place in range(min(PREVIEW_ROWS, first.count if first else 0)):
        if isinstance(first, CellBlock):
            cells = [column[place] for column in first.columns]
        else:
            assert first is not None  # noqa: S101  the range would be empty
            cells = [for_people(first.objects[place].get(name)) for name in header]
        rows.append({"line": first.lines[place], "cells": [shown(cell) for cell in cells[:PREVIEW_COLUMNS]]})
    return {"header": [shown(name) for name in header[:PREVIEW_COLUMNS]], "rows": rows}


def _checker(job: BatchJob, layout: Any, lease: Lease, *, has_header: bool) -> BlockChecker:
    assert job.file is not None  # noqa: S101  imports have one
    assert job.database_id is not None  # noqa: S101  likewise
    options = job.options
    in_file_name = re.match(EVENT_IN_NAME, job.file.name)
    context = Context(
        header=layout.header,
        has_header=has_header,
        columns=options.get("columns") or {},
        parse_time=checks.date_parser(
            ZoneInfo(str(options.get("time_zone") or "UTC")), day_first=options.get("day_first")
        ),
        default_time=(job.started_at or job.created_at).isoformat(),
        database=job.database_id,
        look_up=lease.control,
        event_name=job.event_name,
        event_in_file_name=in_file_name[1] if in_file_name else "",
        list_name=str(options.get("list") or ""),
        blank_erases=bool(options.get("blank_erases")),
        formula_safe=bool(options.get("formula_safe")),
        erased=erased_hashes(database=job.database_id),
        job=job.pk,
    )
    return record_type_of(job.record_type, job.database_id, options).checker(context)


def _refuse_share(job: BatchJob, lease: Lease, content: Content) -> None:
    """Where a share of rejected rows was chosen as the limit, a pass over the file comes first. If there are more, the
    load writes the ledger and the rejected rows, and nothing else.
    """
    if "refused" in job.reader_state or job.next_chunk:
        return
    good = bad = 0
    for checked in _checked_blocks(job, lease, content):
        good += checked.good + len(checked.skipped_lines)
        bad += len(checked.rejected)
        lease.check()
    limit = float(job.options["max_invalid_percent"])
    refused = None
    if bad * 100 > (good + bad) * limit:
        share = f"{bad * 100 / (good + bad):.1f}"
        refused = {"invalid": f"{bad:,}", "count": f"{good + bad:,}", "share": share, "limit": f"{limit:g}"}
    changed = lease.control.execute(NOTED, {"job": job.pk, "token": lease.token, "state": Jsonb({"refused": refused})})
    if changed.rowcount != 1:
        raise LeaseLostError
    job.reader_state = {**job.reader_state, "refused": refused}


def _checked_blocks(job: BatchJob, lease: Lease, content: Content) -> Iterator[CheckedBlock]:
    layout = layout_from_state(job.reader_state)
    key = job.reader_state["format"]
    checker = _checker(job, layout, lease, has_header=key not in OBJECT_FORMATS)
    reader = reader_of(key, content, layout, settings.RECORD_MAX_BYTES)
    reader.seek(layout.data_offset, layout.data_line)
    rows = settings.JOB_CHUNK_ROWS
    for block in reader.blocks():
        if rows >= settings.JOB_CHUNK_ROWS:
            checker.new_chunk()
            rows = 0
        rows += block.count
        yield checker.check(block)


def _load(job: BatchJob, lease: Lease, content: Content) -> None:
    """Straight into the audience where the file allows it; from the first conflict on by way of the stage.

    The chunk at the checkpoint is checked against all that was committed, so it conflicts only with what others write
    meanwhile: conflicts are counted from the last chunk that came in.
    """
    direct = not job.reader_state.get("staged")
    conflicts = 0
    while conflicts < CONFLICTS_MAX:
        begun = job.next_chunk
        try:
            _load_rest(job, lease, content, direct=direct)
            return
        except CONFLICTS as conflict:
            job.refresh_from_db(fields=["next_chunk", "next_offset", "next_line", "reader_state"])
            log.info("staged_from_here", chunk=job.next_chunk, reason=type(conflict).__name__)
            direct = False
            conflicts = conflicts + 1 if job.next_chunk == begun else 1
    raise RuntimeError("The same chunk conflicts again and again.")


def _load_rest(job: BatchJob, lease: Lease, content: Content, *, direct: bool) -> None:
    layout = layout_from_state(job.reader_state)
    key = job.reader_state["format"]
    checker = _checker(job, layout, lease, has_header=key not in OBJECT_FORMATS)
    assert job.database_id is not None  # noqa: S101  imports have one
    plan = RunPlan(
        job=job.pk,
        token=lease.token,
        database=job.database_id,
        lease=f"{settings.JOB_LEASE_SECONDS} seconds",
        has_attributes=checker.has_attributes,
        has_partner_ids=checker.has("partner_user_id"),
        dry_run=job.dry_run or bool(job.reader_state.get("refused")),
        blank_erases=checker.context.blank_erases,
    )
    people: People | None = None
    writer: Writer = record_type_of(job.record_type, job.database_id, job.options).writer(plan)
    by_email = isinstance(checker, Checker) and "partner_user_id" not in checker.matched.known
    if direct and by_email and isinstance(writer, InteractionWriter) and not plan.dry_run:
        removals = Database.objects.values_list("removals", flat=True).get(pk=plan.database)
        is_empty = not Profile.objects.filter(database=plan.database).exists()
        people = People(lease.control, plan.database, job.pk, is_empty)
        writer = Direct(plan, removals)
    with collecting_by_hand(), LoaderPool(writer, lease.owner, lease.check) as pool:
        reader = reader_of(key, content, layout, settings.RECORD_MAX_BYTES)
        chunks = Chunks(job, lease, reader, checker, pool, people, job.next_chunk)
        while chunk := chunks.read():
            pool.finish(chunk)
            gc.collect()
    if chunks.bad_in_a_row > REJECTS_IN_A_ROW:
        raise FileFailureError(
            "REJECTS_TOO_MANY", count=f"{chunks.bad_in_a_row:,}", line=f"{chunks.reader.line:,}", valid=STAYS
        )
    if chunks.broken:
        raise chunks.broken


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
