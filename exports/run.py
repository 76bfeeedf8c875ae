"""Runs the job of an export: the file is built once, and then delivered; the window moves on when it has arrived.

A crash while building leaves bytes that nothing names, and the next try builds again. A crash after that goes on with
the file that is there. What is noted of a run is noted with the job's token: a worker that lost its job changes
nothing.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
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
from batchjobs.sessions import open_session, owned_by
from batchjobs.states import Status
from exports import definitions
from exports.destinations import deliver
from exports.errors import ExportError
from exports.models import Export, ExportRun
from exports.names import file_name
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
        run = ExportRun.objects.select_related("account", "export", "database", "destination").get(job=job)
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

    def progress(self, rows: int | None, content_bytes: int) -> None:
        """For the page: what is written so far, once a second at most."""
        now = time.monotonic()
        if now - self._progress_at < PROGRESS_SECONDS:
            return
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
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield session
        session.execute("COMMIT")
    finally:
        session.close()


def build(run: ExportRun, lease: Lease, notes: RunNotes) -> None:
    """Writes the file into storage, durably, and notes it with its checksum and its window. Raises ExportError."""
    began = time.monotonic()
    definition = definitions.from_json(run.definition, database=run.database)
    with reading(lease.owner) as session:
        _window(run, session)
        selection = definition.selection(run.window, ask=lambda query: ask(session, query, lease.check))
        name = _file_name(run, definition.file)
        written = write(
            session,
            selection,
            definition.file,
            inner_name=_inner_name(name, definition.file),
            alive=lease.check,
        )
        content = _Blocks(written, lambda: notes.progress(written.rows, written.content_bytes))
        stored_as = _store(run, content, written)
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


class _Blocks(ReadOnce):
    """Blocks of a writer as a file that storage reads."""

    def __init__(self, blocks: Written, each: Callable[[], None]) -> None:
        super().__init__()
        self._blocks = iter(blocks)
        self._each = each
        self._left = memoryview(b"")

    @property
    def size(self) -> int:
        return self.count

    def next_bytes(self, size: int) -> bytes:
        if not self._left:
            self._left = memoryview(next(self._blocks, b""))
            self._each()
        data, self._left = self._left[:size], self._left[size:]
        return bytes(data)


def _store(run: ExportRun, content: _Blocks, written: Written) -> str:
    """Stores what is written; its name in storage. Of anything but the whole nothing stays. Raises ExportError."""
    name = part_name(run.account)
    try:
        return str(default_storage.save(name, content))
    except psycopg.errors.QueryCanceled as error:
        raise ExportError("QUERY_TOO_SLOW", minutes=settings.EXPORT_QUERY_SECONDS // 60) from error
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


def _window(run: ExportRun, session: psycopg.Connection[tuple[Any, ...]]) -> None:
    """Decides what of the table the run covers, in the snapshot in which it is read. Raises ExportError."""
    row = session.execute(SERVER).fetchone()
    assert row is not None  # noqa: S101  it always has one
    server, in_recovery, xmin, now = row
    if in_recovery:
        raise ExportError("NOT_PRIMARY")
    if run.window_lo is not None and run.window_hi is not None:
        return  # a window again: as it was
    export = run.export
    run.window_hi, run.window_until, run.server = xmin, now, server
    if run.type not in WINDOWED or export is None:
        return
    export.refresh_from_db(fields=["watermark", "server", "resync", "start_with"])
    if export.watermark is not None and not export.resync:
        if export.server == server and export.watermark <= xmin:
            run.window_lo = export.watermark
            last = ExportRun.objects.filter(export=export, window_hi=export.watermark, delivered_at__isnull=False)
            run.window_from = last.order_by("-pk").values_list("window_until", flat=True).first()
            return
        run.warnings = [{"code": "RESTORED"}]


def _file_name(run: ExportRun, file: FileOptions) -> str:
    schedule = run.definition.get("schedule") or {}
    return file_name(
        file.name_pattern,
        moment=run.scheduled_for or run.created_at,
        zone=ZoneInfo(schedule.get("timezone") or "UTC"),
        name=run.name,
        run=run.pk,
        suffix=suffix_of(file),
    )


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
        try:
            with open_file(run.file) as content:
                run.delivered_as = deliver(run.destination, name=run.file.name, content=content, size=run.file.size)
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
    """The next run begins where this one ended; unless it began elsewhere than where the last delivery ended."""
    if run.type not in WINDOWED or run.export_id is None or run.trigger == "window":
        return
    mine = Export.objects.filter(pk=run.export_id)
    if run.window_lo is not None:
        mine = mine.filter(watermark=run.window_lo, server=run.server, resync=False)
    elif run.window_hi is None:
        return
    else:
        # Everything there was: unless a later run was delivered meanwhile.
        mine = mine.exclude(watermark__gt=run.window_hi, server=run.server)
    mine.update(watermark=run.window_hi, server=run.server, resync=False)
