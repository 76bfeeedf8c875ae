"""The job kernel: who runs which job, and how a job ends.

PostgreSQL is the queue. A run claims a job with a lease (the database's clock) and a fencing token; every chunk it
commits proves the token again. A lease may be taken when it ran out, or at once when its owner's sessions are gone;
the taker first ends what is left of those sessions, so nobody ever waits for a frozen owner.
"""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass, field
from typing import Any

import psycopg
import structlog
from django.conf import settings
from django.db import close_old_connections, connection
from django.db.models.functions import Now
from psycopg.types.json import Jsonb

from batchjobs.doorbell import DRAINING, ring
from batchjobs.failures import JobFailureError
from batchjobs.models import BatchJob, JobRequest, Queue
from batchjobs.sessions import open_session, owner_name
from batchjobs.states import Status, sources_of
from console.registry import registered

log = structlog.get_logger(__name__)


REPORT_MAX = 20_000  # characters of a traceback, from its end


class LeaseLostError(Exception):
    """Someone else has the job: this run must stop, and must not write."""


class StopRequestedError(Exception):
    """A person asked for the job to be canceled or given up."""


class DrainingError(Exception):
    """This worker is going away: the job is handed over at its checkpoint."""


@dataclass(slots=True)
class Lease:
    """The right to run a job until `lease_until`, proved by `token`. `control` is a session of the run."""

    job: BatchJob
    token: int
    owner: str
    control: psycopg.Connection[tuple[Any, ...]]
    _renewed: float = field(default_factory=time.monotonic)

    def check(self, *, every: float | None = None) -> None:
        """Renews the lease if a third of it has passed, and looks for requests.

        Raises LeaseLostError, StopRequestedError or DrainingError.
        """
        if DRAINING.is_set():
            raise DrainingError
        now = time.monotonic()
        if now - self._renewed < (settings.JOB_LEASE_SECONDS / 3 if every is None else every):
            return
        self._renewed = now
        _seen(f"worker:{self.job.queue}")
        row = self.control.execute(RENEW, {"job": self.job.pk, "token": self.token, "lease": _lease()}).fetchone()
        if row is None:
            raise LeaseLostError
        if row[0]:
            raise StopRequestedError


def _lease() -> str:
    return f"{settings.JOB_LEASE_SECONDS} seconds"


CLAIMABLE = """
    j.queue = %(queue)s AND j.status IN ('pending', 'in_progress')
    AND (j.lease_until IS NULL OR j.lease_until < clock_timestamp() OR NOT EXISTS (
        SELECT FROM pg_stat_activity a WHERE a.application_name = j.lease_owner AND a.datname = current_database()))
"""
# Sessions of owners whose lease ran out: frozen, or cut off. They may hold locks, so they go first.
END_LATE_OWNERS = """
    SELECT a.application_name, pg_terminate_backend(a.pid, 5000)
    FROM batchjobs_batchjob j
    JOIN pg_stat_activity a ON a.application_name = j.lease_owner AND a.datname = current_database()
    WHERE j.queue = %(queue)s AND j.status = 'in_progress' AND j.lease_until < clock_timestamp()
      AND a.pid <> pg_backend_pid()
"""
CANDIDATE = f"""
    SELECT j.id, j.account_id, j.lease_until IS NOT NULL AS abandoned, j.lease_until < clock_timestamp() AS late,
           j.lease_token, j.next_chunk, coalesce(c.running_cap, %(cap)s), j.crashes
    FROM batchjobs_batchjob j JOIN accounts_account c ON c.id = j.account_id
    WHERE {CLAIMABLE} AND NOT j.account_id = ANY(%(full)s)
    ORDER BY j.id LIMIT 1 FOR UPDATE OF j SKIP LOCKED
"""  # noqa: S608  no outside text
RUNNING = """
    SELECT count(*) FROM batchjobs_batchjob j
    WHERE j.account_id = %(account)s AND j.status = 'in_progress' AND j.lease_until >= clock_timestamp() AND EXISTS (
        SELECT FROM pg_stat_activity a WHERE a.application_name = j.lease_owner AND a.datname = current_database())
"""
CLAIM = """
    UPDATE batchjobs_batchjob
    SET status = 'in_progress', started_at = coalesce(started_at, clock_timestamp()),
        lease_token = lease_token + 1, lease_owner = %(owner)s, lease_until = clock_timestamp() + %(lease)s::interval,
        crashes = %(crashes)s
    WHERE id = %(job)s RETURNING lease_token
"""
RENEW = """
    UPDATE batchjobs_batchjob SET lease_until = clock_timestamp() + %(lease)s::interval
    WHERE id = %(job)s AND lease_token = %(token)s AND status = 'in_progress'
    RETURNING EXISTS (SELECT FROM batchjobs_jobrequest r WHERE r.job_id = %(job)s AND r.handled_at IS NULL)
"""
RELEASE = """
    UPDATE batchjobs_batchjob SET lease_until = NULL, lease_owner = '', crashes = crashes + %(crashed)s
    WHERE id = %(job)s AND lease_token = %(token)s AND status = 'in_progress' RETURNING crashes, next_chunk
"""
REPORT_CRASH = """
    INSERT INTO batchjobs_jobcrash (job_id, lease_token, at_chunk, reason, report)
    VALUES (%(job)s, %(token)s, %(chunk)s, %(reason)s, %(report)s)
"""
END = """
    UPDATE batchjobs_batchjob j
    SET status = %(status)s::text, outcome = %(status)s::text, completed_at = clock_timestamp(),
        lease_until = NULL, lease_owner = '', failure_code = %(code)s, failure_params = %(params)s,
        duplicate_of_id = %(duplicate_of)s, canceled_by = %(by)s,
        valid_rows = t.valid, skipped_rows = t.skipped, invalid_rows = t.invalid, event_names = t.names
    FROM (SELECT coalesce(sum(valid), 0) AS valid, coalesce(sum(skipped), 0) AS skipped,
                 coalesce(sum(invalid), 0) AS invalid,
                 coalesce((SELECT array_agg(name) FROM (
                     SELECT DISTINCT name COLLATE "C" AS name FROM batchjobs_chunk n,
                            jsonb_array_elements_text(n.event_names) AS name
                     WHERE n.job_id = %(job)s ORDER BY 1 LIMIT 20) names), '{}') AS names
          FROM batchjobs_chunk WHERE job_id = %(job)s) t
    WHERE j.id = %(job)s AND j.lease_token = %(token)s AND j.status = ANY(%(sources)s)
    RETURNING j.status
"""
HANDLED = """
    UPDATE batchjobs_jobrequest SET handled_at = clock_timestamp() WHERE job_id = %(job)s AND handled_at IS NULL
    RETURNING kind, by
"""


def claim(queue: str) -> Lease | None:
    """Takes the oldest job of `queue` that nobody runs, or None.

    The cap of running jobs an account is checked under a lock of that account. An abandoned job counts a crash; at
    JOB_MAX_CRASHES in a row without a new chunk it ends as failed here.
    """
    owner = owner_name()
    control = open_session(owner)
    try:
        control.execute(END_LATE_OWNERS, {"queue": queue})
        full: list[int] = []
        while True:
            with control.transaction():
                found = _claim_one(control, queue, owner, full)
            if found is None:
                control.close()
                return None
            if isinstance(found, Lease):
                found.job = BatchJob.objects.select_related("account", "file", "database").get(pk=found.job.pk)
                return found
            if found:
                full.append(found)
    except BaseException:
        control.close()
        raise


def _claim_one(
    control: psycopg.Connection[tuple[Any, ...]], queue: str, owner: str, full: list[int]
) -> Lease | int | None:
    """A lease; or the account that is at its cap; or 0 if a job was ended instead; or None if nothing waits."""
    row = control.execute(CANDIDATE, {"queue": queue, "full": full, "cap": settings.JOB_RUNNING_CAP}).fetchone()
    if row is None:
        return None
    job, account, abandoned, late, token, chunk, cap, crashes = row
    # The two-number form of the lock leaves the one-number form to others; 1 is the kernel's.
    control.execute("SELECT pg_advisory_xact_lock(1, %s)", (account % 2**31,))
    running = control.execute(RUNNING, {"account": account}).fetchone()
    if running and running[0] >= cap:
        return int(account)
    if abandoned:
        crashes += 1
        reason = "The lease ran out" if late else "The worker is gone"
        _report(control, job=job, token=token, chunk=chunk, reason=reason)
        log.warning("job_abandoned", job=job, reason=reason, chunk=chunk, crashes=crashes)
        if crashes >= settings.JOB_MAX_CRASHES:
            _end(control, job=job, token=token, status=Status.FAILED, code="CRASHED")
            return 0
    claimed = control.execute(CLAIM, {"job": job, "owner": owner, "lease": _lease(), "crashes": crashes}).fetchone()
    assert claimed is not None  # noqa: S101  the row is locked
    return Lease(BatchJob(pk=job), claimed[0], owner, control)


def queue_work(queue: str) -> int:
    """Runs jobs of `queue` until none can be claimed; returns how many runs there were."""
    runs = 0
    registered("JOB_KINDS")  # imported before a lease begins to run out
    _seen(f"worker:{queue}")
    while not DRAINING.is_set():
        close_old_connections()
        lease = claim(queue)
        if lease is None:
            break
        runs += 1
        with structlog.contextvars.bound_contextvars(job=lease.job.pk, token=lease.token):
            try:
                _run(lease)
            finally:
                lease.control.close()
        _seen(f"worker:{queue}")
    close_old_connections()
    return runs


def _run(lease: Lease) -> None:
    job = lease.job
    log.info("job_claimed", name=job.name, chunk=job.next_chunk)
    try:
        try:
            lease.check(every=0)
            registered("JOB_KINDS")[job.kind](job, lease)
            end(lease, Status.DONE)
        except JobFailureError as failure:
            end(lease, Status.FAILED, code=failure.code, params=failure.params)
        except StopRequestedError:
            _end_as_requested(lease)
        except DrainingError:
            _release(lease, crashed=False)
            log.info("job_handed_over")
            ring(job.queue)
    except LeaseLostError:
        log.warning("lease_lost")
    except Exception:
        report = traceback.format_exc()
        log.exception("job_crashed")
        try:
            _crashed(lease, report)
        except psycopg.Error:
            # No way to say so: the lease runs out, and whoever takes the job over counts the crash.
            log.exception("crash_not_reported")


def end(lease: Lease, status: Status, *, code: str = "", params: dict[str, Any] | None = None, by: str = "") -> None:
    """Ends the job with sums over its ledger. Raises LeaseLostError if it is not ours to end."""
    with lease.control.transaction():
        ended = _end(
            lease.control, job=lease.job.pk, token=lease.token, status=status, code=code, params=params or {}, by=by
        )
        if not ended:
            raise LeaseLostError
    log.info("job_ended", status=status.value, code=code)


def _end(
    session: psycopg.Connection[tuple[Any, ...]],
    *,
    job: int,
    token: int,
    status: Status,
    code: str = "",
    params: dict[str, Any] | None = None,
    by: str = "",
) -> bool:
    params = dict(params or {})
    duplicate_of = params.pop("duplicate_of", None)
    row = session.execute(
        END,
        {
            "job": job,
            "token": token,
            "status": status.value,
            "code": code,
            "params": Jsonb(params),
            "duplicate_of": duplicate_of,
            "by": by,
            "sources": [source.value for source in sources_of(status)],
        },
    ).fetchone()
    if row is not None:
        session.execute(HANDLED, {"job": job})
    return row is not None


def _end_as_requested(lease: Lease) -> None:
    asked = JobRequest.objects.filter(job=lease.job, handled_at__isnull=True).order_by("pk").first()
    if asked is None or asked.kind == JobRequest.Kind.CANCEL:
        end(lease, Status.CANCELED, by=asked.by if asked else "")
    else:
        end(lease, Status.FAILED, code="GIVEN_UP", by=asked.by)


def end_pending(job: BatchJob, *, kind: str, by: str) -> bool:
    """Ends a job that nobody has claimed yet; False if a worker was quicker."""
    status = Status.CANCELED if kind == JobRequest.Kind.CANCEL else Status.FAILED
    changed = BatchJob.objects.filter(pk=job.pk, status=Status.PENDING).update(
        status=status,
        outcome=status,
        completed_at=Now(),
        failure_code="GIVEN_UP" if status == Status.FAILED else "",
        canceled_by=by,
        valid_rows=0,
        skipped_rows=0,
        invalid_rows=0,
    )
    if changed:
        job.requests.filter(handled_at__isnull=True).update(handled_at=Now())
    return bool(changed)


def _crashed(lease: Lease, report: str) -> None:
    """Notes a crash of our own, and gives the job back or, after too many in a row, gives it up."""
    session = lease.control
    if session.closed or session.broken:
        session = lease.control = open_session(lease.owner)
    with session.transaction():
        row = session.execute(RELEASE, {"job": lease.job.pk, "token": lease.token, "crashed": 1}).fetchone()
        if row is None:
            raise LeaseLostError
        crashes, chunk = row
        _report(
            session,
            job=lease.job.pk,
            token=lease.token,
            chunk=chunk,
            reason="An error in the program",
            report=report,
        )
        if crashes >= settings.JOB_MAX_CRASHES:
            _end(session, job=lease.job.pk, token=lease.token, status=Status.FAILED, code="CRASHED")


def _release(lease: Lease, *, crashed: bool) -> None:
    lease.control.execute(RELEASE, {"job": lease.job.pk, "token": lease.token, "crashed": int(crashed)})


def _report(
    session: psycopg.Connection[tuple[Any, ...]], *, job: int, token: int, chunk: int, reason: str, report: str = ""
) -> None:
    kept = report.replace("\x00", "")[-REPORT_MAX:]
    session.execute(REPORT_CRASH, {"job": job, "token": token, "chunk": chunk, "reason": reason, "report": kept})


def sweep() -> dict[str, int]:
    """Rings the queues, more often where jobs wait or were abandoned. Returns how many wait, by queue.

    Each queue is rung at least once: that is also how /readyz learns that a worker is alive.
    """
    _seen("beat")
    waiting = {}
    for queue in Queue.values:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM batchjobs_batchjob j WHERE {CLAIMABLE}", {"queue": queue})  # noqa: S608
            waiting[queue] = int(cursor.fetchone()[0])
        for _ in range(max(1, min(waiting[queue], 4))):
            ring(queue)
    return waiting


SEEN = """
    INSERT INTO batchjobs_beat (name, seen_at, detail) VALUES (%s, clock_timestamp(), '{}')
    ON CONFLICT (name) DO UPDATE SET seen_at = EXCLUDED.seen_at
"""


def _seen(name: str) -> None:
    # One statement, which commits by itself: a worker that freezes here must not keep the row from the others.
    with connection.cursor() as cursor:
        cursor.execute(SEEN, [name])
