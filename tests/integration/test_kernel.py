"""The promises of the job kernel, with real processes: killed, frozen, racing, told to stop."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest
import redis
from django.core.files.base import ContentFile
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from batchjobs import doorbell, kernel
from batchjobs.doorbell import DRAINING
from batchjobs.models import BatchJob, Chunk, JobCrash
from batchjobs.services import batchjob_cancel, batchjob_create, batchjob_give_up
from batchjobs.states import TransitionRefusedError
from benchmarks.data import write_events
from config import embedded
from tests import chaos
from tests.chaos import until
from tests.factories import make_actor

pytestmark = pytest.mark.django_db(transaction=True)
LONG = os.environ.get("CHAOS") == "1"
KINDS = ["events", "events_with_names", "events_ndjson_gz", "events_json"]
# Many more chunks than a worker commits in all the moments before it is killed or frozen.
ROWS = 900_000 if LONG else 300_000
NAMED_ROWS = 900_000 if LONG else 100_000  # three times as slow
JSON_ROWS = 600_000 if LONG else 100_000


@pytest.fixture(scope="session")
def events(tmp_path_factory):
    """Written straight into the audience."""
    return write_events(tmp_path_factory.mktemp("events"), ROWS)


@pytest.fixture(scope="session")
def events_with_names(tmp_path_factory):
    """Written by way of the stage, with people who are learned and change."""
    return write_events(tmp_path_factory.mktemp("events"), NAMED_ROWS, names=True)


@pytest.fixture(scope="session")
def events_ndjson_gz(tmp_path_factory):
    """Packed: each start unpacks again up to the checkpoint."""
    folder = tmp_path_factory.mktemp("events")
    return chaos.write_as_json(write_events(folder, JSON_ROWS), folder / "events.ndjson.gz")


@pytest.fixture(scope="session")
def events_json(tmp_path_factory):
    """One array: a checkpoint lies between two of its elements."""
    folder = tmp_path_factory.mktemp("events")
    return chaos.write_as_json(write_events(folder, JSON_ROWS), folder / "events.json")


@pytest.fixture(autouse=True)
def as_the_workers(settings):
    settings.JOB_LEASE_SECONDS = chaos.LEASE_SECONDS
    settings.JOB_CHUNK_ROWS = chaos.CHUNK_ROWS


def small_job(by, name="a-1.csv", rows=3):
    content = "email,n\n" + "".join(f"p{n}@example.com,{name}\n" for n in range(rows))
    return batchjob_create(by=by, content=ContentFile(content.encode()), file_name=name)


@pytest.mark.chaos
@pytest.mark.parametrize("kind", KINDS)
def test_killed_workers_lose_and_double_nothing(kind, request):
    events = request.getfixturevalue(kind)
    undisturbed = chaos.run_undisturbed(chaos.create(make_actor(), events.dirty))
    assert (undisturbed.valid_rows, undisturbed.invalid_rows) == (
        events.rows - len(events.bad_lines),
        len(events.bad_lines),
    )
    job = chaos.create(make_actor(), events.dirty)
    rnd = random.Random()
    wanted = 20 if LONG else 3
    for _ in range(wanted):
        with chaos.worker("--poll", "0.1") as process:
            chaos.moment(job, rnd)
            process.kill()
            process.wait()
            assert chaos.status_of(job) == "in_progress"
    with chaos.worker("--poll", "0.1"):
        until(lambda: chaos.status_of(job) == "done")
    job.refresh_from_db()
    assert JobCrash.objects.filter(job=job).count() == wanted
    chaos.assert_equal_runs(undisturbed, job)


@pytest.mark.chaos
@pytest.mark.parametrize("kind", KINDS)
def test_a_frozen_worker_commits_nothing_and_nobody_waits(kind, request):
    events = request.getfixturevalue(kind)
    undisturbed = chaos.run_undisturbed(chaos.create(make_actor(), events.dirty))
    job = chaos.create(make_actor(), events.dirty)
    rnd = random.Random()
    frozen: list[subprocess.Popen[bytes]] = []
    midway = 0
    try:
        for _ in range(20 if LONG else 2):
            with chaos.worker() as process:
                frozen.append(process)
                chaos.moment(job, rnd)
                process.send_signal(signal.SIGSTOP)
                if chaos.status_of(job) == "done":  # it was quicker
                    break
                token = BatchJob.objects.values_list("lease_token", flat=True).get(pk=job.pk)
                until(lambda: lease_ran_out(job), seconds=2 * chaos.LEASE_SECONDS)
                midway += 1
                before = chaos.chunks_of(job)
                with chaos.worker("--poll", "0.1"):
                    # Nobody waits: within one lease the next worker has it and has committed.
                    until(partial(goes_on, job, before), chaos.LEASE_SECONDS * 3)
                    process.send_signal(signal.SIGCONT)
                    process.wait(30)  # it notices and stops by itself
                assert not Chunk.objects.filter(job=job, lease_token=token, n__gte=before).exists()
        with chaos.worker("--poll", "0.1"):
            until(lambda: chaos.status_of(job) == "done")
    finally:
        for process in frozen:
            if process.poll() is None:
                process.kill()
    assert midway  # a worker that is always quicker would prove nothing
    job.refresh_from_db()
    chaos.assert_equal_runs(undisturbed, job)


def lease_ran_out(job):
    return BatchJob.objects.filter(pk=job.pk, lease_until__lt=Now()).exists()


def goes_on(job, chunks):
    return chaos.chunks_of(job) > chunks or chaos.status_of(job) == "done"


def test_saying_that_one_is_alive_leaves_no_transaction_open():
    """A worker that freezes in between would keep the row, and with it all other workers of its queue."""
    with CaptureQueriesContext(connection) as statements:
        kernel.queue_work("short")
    seen = [one["sql"] for one in statements if "batchjobs_beat" in one["sql"]]
    assert seen
    assert [one["sql"] for one in statements if one["sql"].startswith(("BEGIN", "SAVEPOINT"))] == []


def test_many_workers_race_for_one_job():
    small_job(make_actor())
    barrier = threading.Barrier(8)
    won: list[kernel.Lease] = []

    def race():
        barrier.wait()
        lease = kernel.claim("short")
        if lease:
            won.append(lease)
        connection.close()

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    won[0].control.close()


def test_a_lease_that_was_taken_over_is_worth_nothing():
    job = small_job(make_actor())
    first = kernel.claim("short")
    first.control.close()  # as when the process is gone: no need to wait for the lease to run out
    second = kernel.claim("short")
    assert (second.job.pk, second.token) == (job.pk, first.token + 1)
    first.control = second.control
    with pytest.raises(kernel.LeaseLostError):
        first.check(every=0)
    with pytest.raises(kernel.LeaseLostError):
        kernel.end(first, kernel.Status.DONE)
    kernel.end(second, kernel.Status.DONE)
    second.control.close()


def test_three_crashes_in_a_row_end_a_job_and_its_neighbours_go_on(monkeypatch):
    by = make_actor()
    poison, neighbour = small_job(by, "bad-1.csv"), small_job(by, "good-1.csv")
    starts = []
    from batchjobs.ingestion.run import import_run

    def run(job, lease):
        if job.pk == poison.pk:
            starts.append(job.pk)
            raise MemoryError("too big")
        import_run(job, lease)

    monkeypatch.setattr(kernel, "registered", lambda family: {"import": run})
    kernel.queue_work("short")
    poison.refresh_from_db()
    neighbour.refresh_from_db()
    assert (poison.status, poison.failure_code, len(starts)) == ("failed", "CRASHED", 3)
    assert neighbour.status == "done"
    assert "MemoryError: too big" in poison.crash_reports.first().report


def test_workers_that_vanish_three_times_end_a_job():
    job = small_job(make_actor())
    for _ in range(3):
        kernel.claim("short").control.close()
    assert kernel.claim("short") is None
    job.refresh_from_db()
    assert (job.status, job.failure_code, job.crash_reports.count()) == ("failed", "CRASHED", 3)


def test_the_cap_of_an_account_leaves_room_for_others(settings):
    settings.JOB_RUNNING_CAP = 1
    busy, other = make_actor(), make_actor()
    small_job(busy, "a-1.csv")
    second = small_job(busy, "a-2.csv")
    third = small_job(other, "b-1.csv")
    first_lease, third_lease = kernel.claim("short"), kernel.claim("short")
    assert third_lease.job == third
    assert kernel.claim("short") is None
    kernel.end(first_lease, kernel.Status.DONE)
    lease = kernel.claim("short")
    assert lease.job == second
    for held in (first_lease, third_lease, lease):
        held.control.close()


def test_cancel_takes_effect_within_two_chunks(events):
    by = make_actor()
    job = chaos.create(by, events.dirty)
    with chaos.worker():
        until(lambda: chaos.chunks_of(job) >= 2)
        batchjob_cancel(job=job, by=by)
        before = chaos.chunks_of(job)
        until(lambda: chaos.status_of(job) == "canceled")
    assert chaos.chunks_of(job) <= before + 2
    job.refresh_from_db()
    assert (job.outcome, job.canceled_by) == ("canceled", by.user.email)
    assert job.valid_rows == sum(c.valid for c in Chunk.objects.filter(job=job)) > 0
    with pytest.raises(TransitionRefusedError):
        batchjob_cancel(job=job, by=by)


def test_pending_jobs_end_at_once():
    by = make_actor()
    assert batchjob_cancel(job=small_job(by, "a-1.csv"), by=by).status == "canceled"
    given_up = batchjob_give_up(job=small_job(by, "a-2.csv"), by=by)
    assert (given_up.status, given_up.failure_code) == ("failed", "GIVEN_UP")
    assert kernel.queue_work("short") == 0


def test_canceling_never_waits_for_a_frozen_worker():
    """Also when the worker froze with the job's row locked, just before its commit."""
    by = make_actor()
    job = small_job(by)
    lease = kernel.claim("short")
    with lease.control.transaction():
        lease.control.execute("UPDATE batchjobs_batchjob SET next_chunk = 1 WHERE id = %s", [job.pk])
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = '2s'")
        batchjob_cancel(job=job, by=by)
        with connection.cursor() as cursor:
            cursor.execute("RESET statement_timeout")
    lease.control.close()
    kernel.queue_work("short")
    assert chaos.status_of(job) == "canceled"


def test_a_draining_worker_hands_its_job_over(events):
    job = chaos.create(make_actor(), events.dirty)
    with chaos.worker() as process:
        until(lambda: chaos.chunks_of(job) >= 1)
        process.terminate()
        assert process.wait(20) == 0
    job.refresh_from_db()
    assert (job.status, job.lease_until, job.crashes) == ("in_progress", None, 0)
    assert not job.crash_reports.exists()
    assert not DRAINING.is_set()


def test_flushall_loses_no_job(tmp_path, settings):
    """Celery and beat as in production, a Redis that forgets everything: all jobs end, each once."""
    redis_dir = embedded.socket_dir(tmp_path)
    url = f"unix://{redis_dir / 'redis.sock'}"
    processes = []
    log = (tmp_path / "log").open("ab")

    def start(*command):
        processes.append(
            subprocess.Popen(
                command,
                cwd=chaos.ROOT,
                env=chaos.environment(REDIS_URL=url),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        )

    try:
        start(*embedded.valkey_command(tmp_path))
        until((redis_dir / "redis.sock").exists)
        client = redis.Redis.from_url(url)
        celery = (sys.executable, "-m", "celery", "-A", "config")
        start(*celery, "worker", "-Q", "short,long", "-c", "2", "--without-gossip", "--without-mingle")
        start(*celery, "beat", "-s", str(tmp_path / "schedule"))
        by = make_actor()
        jobs = []
        for number in range(30):
            jobs.append(small_job(by, f"job-{number}.csv", rows=500))
            if number % 5 == 0:
                client.flushall()
        client.flushall()
        until(lambda: not BatchJob.objects.filter(status__in=["pending", "in_progress"]).exists(), seconds=60)
        client.close()
    finally:
        for process in reversed(processes):
            os.killpg(process.pid, signal.SIGTERM)
        for process in reversed(processes):
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        log.close()
    ended = list(BatchJob.objects.values_list("status", "valid_rows", "lease_token", "crashes"))
    assert ended == [("done", 500, 1, 0)] * 30, Path(tmp_path / "log").read_text()[-3000:]


def test_without_redis_a_job_is_still_made(monkeypatch):
    def refuse(*args, **kwargs):
        raise ConnectionError("no broker")

    monkeypatch.setattr(doorbell.current_app, "send_task", refuse)
    job = small_job(make_actor())
    assert kernel.sweep() == {"short": 1, "long": 0}
    kernel.queue_work("short")
    assert chaos.status_of(job) == "done"
