"""Runs the job of an export: the file is built once, and then delivered; the window moves on when it has arrived.

A crash while building leaves bytes that nothing names, and the next try builds again. A crash after that goes on with
the file that is there. What is noted of a run is noted with the job's token: a worker that lost its job changes
nothing.
"""

from __future__ import annotations

import datetime as dt
import errno
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import structlog
from django.conf import settings
from django.core.files.storage import default_storage
from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from accounts.models import Account
from audience.windows import summarize
from batchjobs.collecting import collecting_by_hand
from batchjobs.files import (
    FileGoneError,
    ReadOnce,
    StorageFailedError,
    open_file,
    part_name,
    record_file,
    remove_stored,
)
from batchjobs.kernel import Lease, LeaseLostError
from batchjobs.models import BatchJob
from batchjobs.retention import kept
from batchjobs.sessions import open_session, owned_by
from batchjobs.states import Status
from exports import definitions
from exports.claims import name_claim
from exports.destinations import deliver
from exports.errors import ExportError
from exports.models import Export, ExportRun, Trigger
from exports.names import PatternError, file_name
from exports.sources.base import Ask, composed
from exports.states import WINDOWED
from exports.writers import FileOptions, Written, inner_suffix, suffix_of, write
from exports.writers.reading import ask

log = structlog.get_logger(__name__)

PROGRESS_SECONDS = 1.0
USUAL_RUNS = 5  # with how many earlier ones a size is compared
FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT)

# What marks the history of a server: after a restore it is another, and its transaction ids mean something else.
SERVER = """
    SELECT (SELECT system_identifier::text FROM pg_control_system()) || '.' ||
           (SELECT timeline_id::text FROM pg_control_checkpoint()),
           pg_is_in_recovery(), pg_snapshot_xmin(pg_current_snapshot())::text::bigint, now()
"""


def server_now() -> str:
    """Which history of which server the transaction ids of now belong to."""
    with connection.cursor() as cursor:
        cursor.execute(SERVER)
        return str(cursor.fetchone()[0])


def export_run(job: BatchJob, lease: Lease) -> None:
    """Builds the file of the job's run and delivers it. Raises ExportError."""
    with owned_by(lease.owner):
        run = ExportRun.objects.select_related(
            "account", "export", "database", "destination", "job__created_by", "export__created_by"
        ).get(job=job)
        notes = RunNotes(run, lease)
        if run.built_at is None:
            build(run, lease, notes)
        if run.delivered_at is None:
            _deliver(run, notes)


@dataclass(slots=True)
class RunNotes:
    """What is written down of a run, always together with the proof that the job is still ours."""

    run: ExportRun
    lease: Lease
    _progress_at: float = field(default_factory=time.monotonic)

    @contextmanager
    def commit(self) -> Iterator[None]:
        """A transaction that counts only while the job is ours. Raises LeaseLostError."""
        with transaction.atomic():
            mine = BatchJob.objects.filter(
                pk=self.lease.job.pk, lease_token=self.lease.token, status=Status.IN_PROGRESS
            )
            # A step that was done: the count of crashes in a row begins anew.
            if not mine.update(next_chunk=F("next_chunk") + 1, crashes=0):
                raise LeaseLostError
            yield

    def progress(self, rows: int, content_bytes: int) -> None:
        """For the page: what is written so far, once a second at most. Cycles among objects go then too."""
        now = time.monotonic()
        if now - self._progress_at < PROGRESS_SECONDS:
            return
        gc.collect()
        self._progress_at = now
        mine = BatchJob.objects.filter(pk=self.lease.job.pk, lease_token=self.lease.token)
        mine.update(reader_state={"rows": rows, "bytes": content_bytes})

    def step(self, what: str, began: float, *, ok: bool = True, **more: Any) -> None:
        """Adds a line to what happened; saved with the next commit."""
        self.run.steps.append({"what": what, "ms": round((time.monotonic() - began) * 1000), "ok": ok, **more})


# Building.


@contextmanager
def reading(owner: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """A session in one read-only snapshot, which may read for long. Ended with whoever owns it."""
    session = open_session(owner)
    try:
        session.execute(f"SET statement_timeout = {settings.EXPORT_QUERY_SECONDS * 1000}")
        session.execute("SET idle_in_transaction_session_timeout = 0")  # storage may be slow between two blocks
        # No quicker (docs/performance.md), and what was deleted would not surely come before what is there.
        session.execute("SET max_parallel_workers_per_gather = 0")
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield session
        session.execute("COMMIT")
    finally:
        session.close()


@contextmanager
def in_time() -> Iterator[None]:
    """A statement that its time limit stops is a named failure. Raises ExportError QUERY_TOO_SLOW."""
    try:
        yield
    except psycopg.errors.QueryCanceled as error:
        raise ExportError("QUERY_TOO_SLOW", minutes=settings.EXPORT_QUERY_SECONDS // 60) from error


def asking(session: psycopg.Connection[tuple[Any, ...]], lease: Lease) -> Ask:
    """What asks in the session's snapshot. It raises ExportError QUERY_TOO_SLOW."""

    def ask_here(query: str) -> Any:
        with in_time():
            return ask(session, query, lease.check)

    return ask_here


def build(run: ExportRun, lease: Lease, notes: RunNotes) -> None:
    """Writes the file into storage, durably, and notes it with its checksum and its window. Raises ExportError."""
    began = time.monotonic()
    definition = definitions.from_json(run.definition, database=run.database)

    def alive() -> None:
        lease.check(every=PROGRESS_SECONDS)  # who cancels does not wait for a third of the lease
        notes.progress(written.rows, written.content_bytes)

    with reading(lease.owner) as session, collecting_by_hand():
        _window(run, session, tells_deletions=definition.deletions)
        if run.window:
            summarize(definition.source.model)

        ask_here = asking(session, lease)
        selection = definition.selection(run.window, ask=ask_here, returned=run.trigger == Trigger.WINDOW)
        if (tombstones := definition.tombstones(run.window)) is not None:
            run.deletions = ask_here(f"SELECT count(*) FROM ({composed(tombstones)}) t")  # noqa: S608  by psycopg
        name = _file_name(run, definition.file)
        written = write(
            session,
            selection,
            definition.file,
            inner_name=_inner_name(name, definition.file),
            alive=alive,
        )
        content = Blocks(written)
        stored_as = store(run.account, content, written)
    try:
        with notes.commit():
            run.file = record_file(
                account=run.account,
                name=name,
                size=content.count,
                stored_as=stored_as,
                sha256=content.sha256.hexdigest(),
            )
            run.rows, run.content_bytes = written.rows, written.content_bytes
            run.built_at = timezone.now()
            run.warnings = [*written.warnings, *_warnings(run)]
            notes.step("written", began, rows=run.rows, bytes=content.count)
            run.save()
    except LeaseLostError:
        remove_stored(stored_as)
        raise
    # After any other error the bytes stay: the commit may have been one whose answer was lost. The sweep decides.
    log.info("export_built", run=run.pk, rows=run.rows, bytes=content.count)


class Blocks(ReadOnce):
    """Blocks of a writer as a file that storage reads."""

    def __init__(self, blocks: Written) -> None:
        super().__init__()
        self._blocks = iter(blocks)
        self._left = memoryview(b"")

    @property
    def size(self) -> int:
        return self.count

    def next_bytes(self, size: int) -> bytes:
        if not self._left:
            self._left = memoryview(next(self._blocks, b""))
        data, self._left = self._left[:size], self._left[size:]
        return bytes(data)


def store(account: Account, content: Blocks, written: Written) -> str:
    """Stores what is written; its name in storage. Of anything but the whole nothing stays. Raises ExportError."""
    name = part_name(account)
    try:
        with in_time():
            return str(default_storage.save(name, content))
    except OSError as error:
        _drop(name)
        if error.errno in FULL_ERRORS:
            raise ExportError("DISK_FULL") from error
        raise ExportError("STORAGE_FAILED") from error
    except psycopg.errors.DataError as error:
        _drop(name)
        raise ExportError("VALUE_NOT_WRITABLE", reason=_first_line(error)) from error
    except BaseException:
        _drop(name)
        raise
    finally:
        written.close()


def _drop(name: str) -> None:
    try:
        remove_stored(name)
    except StorageFailedError:
        log.warning("part_left", name=name)  # the sweep finds it


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _window(run: ExportRun, session: psycopg.Connection[tuple[Any, ...]], *, tells_deletions: bool) -> None:
    """Decides what of the table the run covers, in the snapshot in which it is read. Raises ExportError."""
    row = session.execute(SERVER).fetchone()
    assert row is not None  # noqa: S101  it always has one
    server, in_recovery, xmin, now = row
    if in_recovery:
        raise ExportError("NOT_PRIMARY")
    if run.window_lo is not None and run.window_hi is not None:
        # A window again: as it was.
        if tells_deletions and _forgotten(run.window_from, now):
            run.warnings = [{"code": "DELETIONS_MISSING"}]
        return
    run.window_hi, run.window_until, run.server = xmin, now, server
    if run.type not in WINDOWED:
        return
    export = Export.objects.select_related("database").filter(runs=run).first()
    if export is None or not definitions.sends_same(export, run.definition):
        raise ExportError("EXPORT_CHANGED")
    if export.watermark is None or export.resync:
        return
    if export.server != server or export.watermark > xmin:
        run.warnings = [{"code": "RESTORED"}]
    elif tells_deletions and _forgotten(export.watermark_at, now):
        run.warnings = [{"code": "DELETIONS_FORGOTTEN"}]
    else:
        run.window_lo, run.window_from = export.watermark, export.watermark_at


def _forgotten(since: dt.datetime | None, now: dt.datetime) -> bool:
    """Whether tombstones of the time after `since` may be gone. One is as old as its transaction, hence the day."""
    return since is None or since <= now - kept("TOMBSTONES_KEPT_DAYS") + dt.timedelta(days=1)


def _file_name(run: ExportRun, file: FileOptions) -> str:
    """As the clock of the schedule shows it, or that of the person who asked for the run or made the export.

    Raises ExportError.
    """
    schedule = run.definition.get("schedule") or {}
    asked_by = (run.job.created_by if run.job else None) or (run.export.created_by if run.export else None)
    try:
        return file_name(
            file.name_pattern,
            moment=run.scheduled_for or run.created_at,
            zone=ZoneInfo(schedule.get("timezone") or (asked_by.time_zone if asked_by else "UTC")),
            name=run.name,
            run=run.pk,
            suffix=suffix_of(file),
        )
    except PatternError as error:
        raise ExportError("DEFINITION_INVALID", reason=error.sentence) from error


def _inner_name(name: str, file: FileOptions) -> str:
    """What the file is called within its zip."""
    return name.removesuffix(suffix_of(file)) + inner_suffix(file)


def _warnings(run: ExportRun) -> list[dict[str, Any]]:
    """What is worth a look: nothing at all in the file, or far from what the runs before had."""
    kept = list(run.warnings)
    if not run.rows:
        return [*kept, {"code": "NO_ROWS"}]
    if run.export_id is None:
        return kept
    same = ExportRun.objects.filter(
        export=run.export_id, delivered_at__isnull=False, window_lo__isnull=run.window_lo is None
    )
    earlier = [rows for rows in same.order_by("-pk").values_list("rows", flat=True)[:USUAL_RUNS] if rows is not None]
    if len(earlier) >= USUAL_RUNS:
        usual = median(earlier)
        if run.rows > usual * 2 or run.rows * 2 < usual:
            kept.append({"code": "UNUSUAL_ROWS", "usual": round(usual)})
    return kept


# Delivering.


def _deliver(run: ExportRun, notes: RunNotes) -> None:
    """Takes the file to its destination and moves the window on. Raises ExportError."""
    if run.file is None or run.file.removed_at:
        raise ExportError("FILE_GONE")
    began = time.monotonic()
    wanted = run.rows or run.definition.get("send_empty", True)
    if run.definition.get("destination") != "download" and wanted:
        if run.destination is None:
            raise ExportError("DESTINATION_MISSING")
        if not run.claimed_name:
            with notes.commit():
                name_claim(run, definitions.from_json(run.definition, database=run.database).file)
        try:
            with open_file(run.file) as content:
                run.delivered_as = deliver(run.destination, name=run.claimed_name, content=content, size=run.file.size)
        except FileGoneError as error:
            raise ExportError("FILE_GONE") from error
        except ExportError as error:
            notes.step("delivered", began, ok=False, code=error.code)
            with notes.commit():
                run.save(update_fields=["steps"])
            raise
        notes.step("delivered", began, to=run.destination.name)
    elif not wanted:
        run.warnings.append({"code": "NOT_SENT"})
    run.delivered_at = timezone.now()
    with notes.commit():
        run.save(update_fields=["delivered_at", "delivered_as", "steps", "warnings"])
        _move_on(run)
    log.info("export_delivered", run=run.pk, destination=run.delivered_as)


def _move_on(run: ExportRun) -> None:
    """The next run begins where this one ended; unless it began elsewhere than where the last delivery ended, or the
    export sends something else now.
    """
    if run.type not in WINDOWED or run.trigger == Trigger.WINDOW or run.window_hi is None:
        return
    found = Export.objects.select_for_update(of=("self",)).select_related("database")
    export = found.filter(runs=run).first()
    if export is None or not definitions.sends_same(export, run.definition):
        return
    if run.window_lo is not None:
        if export.resync or (export.watermark, export.server) != (run.window_lo, run.server):
            return
    elif export.watermark is not None and export.server == run.server and export.watermark > run.window_hi:
        return  # everything there was, and a later run was delivered meanwhile
    export.watermark, export.watermark_at, export.server = run.window_hi, run.window_until, run.server
    if export.resync_at and run.window_until and export.resync_at <= run.window_until:
        export.resync_at = None
    export.save(update_fields=["watermark", "watermark_at", "server", "resync_at"])
