"""Expiry: what is past its time goes, the history stays, and neither kills nor a lost storage make it untrue."""

from __future__ import annotations

import datetime as dt
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from django.contrib.sessions.models import Session
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection, connections, transaction
from django.test import Client
from django.utils import timezone
from moto.server import ThreadedMotoServer

from accounts.actors import Actor
from accounts.models import Account, AuditEvent
from audience.models import Interaction, Profile, ProfileBeforeImage
from batchjobs import kernel
from batchjobs.expiry import account_expire, expiry_schedule
from batchjobs.failures import failure_of
from batchjobs.ingestion.rejects import job_folder
from batchjobs.models import BatchJob, Chunk, IdempotencyKey, JobCrash, SourceFile
from batchjobs.services import batchjob_run_anyway
from config.celery import app
from tests import chaos
from tests.chaos import until
from tests.factories import make_actor, make_user
from tests.integration.test_api_jobs import Program
from tests.integration.test_import import run_file
from tests.rows import make_job, make_token

pytestmark = pytest.mark.django_db(transaction=True)
SECOND = dt.timedelta(seconds=1)
MESSY = (
    "email,event_name,colour\nmarta@example.com,opened,red\nines.prata@example,opened,blue\n"
    "tom@example.com,opened,green\njoao.lopes(at)example.com,opened,grey\n"
)
PERSONAL = ("ines.prata", "joao.lopes")


def days(number: int) -> dt.timedelta:
    return dt.timedelta(days=number)


def messy_job(by: Actor, name: str = "opens.csv", **how: Any) -> BatchJob:
    return run_file(by, MESSY, name, **how)


def uploaded(job: BatchJob, *, ago: dt.timedelta) -> None:
    SourceFile.objects.filter(pk=job.file_id).update(created_at=timezone.now() - ago)
    BatchJob.objects.filter(pk=job.pk).update(created_at=timezone.now() - ago)


def stored(account: Account) -> list[str]:
    """All that storage has of an account."""

    def under(folder: str) -> Iterator[str]:
        try:
            folders, files = default_storage.listdir(folder)
        except FileNotFoundError:
            return
        yield from (f"{folder}/{name}" for name in files)
        for name in folders:
            yield from under(f"{folder}/{name}")

    return sorted(name for top in ("sources", "rejects") for name in under(f"{top}/{account.pk}"))


def expire() -> BatchJob | None:
    """What beat and a worker do. The job, if there was one."""
    newest = BatchJob.objects.filter(kind="expiry").order_by("-pk").first()
    if not expiry_schedule():
        return None
    kernel.queue_work("long")
    job = BatchJob.objects.filter(kind="expiry").order_by("-pk").first()
    assert job != newest
    return job


def facts(job: BatchJob) -> dict[str, Any]:
    """What history keeps of a job."""
    job.refresh_from_db()
    job.file.refresh_from_db()
    kept = ("name", "outcome", "valid_rows", "skipped_rows", "invalid_rows", "started_at", "completed_at", "created_by")
    chunks = Chunk.objects.filter(job=job).order_by("n")
    return {
        **{field: getattr(job, field) for field in kept},
        "file": (job.file.name, job.file.size, job.file.sha256, job.file.created_by),
        "chunks": list(chunks.values_list("n", "valid", "skipped", "invalid", "skipped_lines", "event_names")),
        "groups": [[(g["code"], g["column"], g["count"]) for g in chunk.groups] for chunk in chunks],
        "header": job.reader_state["header"],
    }


def traces(job: BatchJob) -> str:
    """Everything the database holds of a job, as text."""
    rows = [
        *BatchJob.objects.filter(pk=job.pk).values(),
        *Chunk.objects.filter(job=job).values(),
        *SourceFile.objects.filter(pk=job.file_id).values(),
    ]
    return str(rows)


def test_files_go_and_the_history_stays(marketer: Actor) -> None:
    job = messy_job(marketer, tags=["autumn"])
    uploaded(job, ago=days(90))
    before, came_in = facts(job), (Interaction.objects.count(), Profile.objects.count())
    assert len(stored(marketer.account)) == 2
    assert all(person in traces(job) for person in PERSONAL)

    done = expire()

    assert stored(marketer.account) == []
    assert facts(job) == before
    assert (job.status, job.outcome, job.tags) == ("expired", "done", ["autumn"])
    assert job.expired_at == job.file.removed_at is not None
    assert not any(person in traces(job) for person in PERSONAL)
    assert not Chunk.objects.filter(job=job).exclude(part="", samples=[]).exists()
    assert (Interaction.objects.count(), Profile.objects.count()) == came_in
    assert (done.status, done.reader_state) == ("done", {"removed": {"files": 1}})
    told = AuditEvent.objects.get(action="retention.removed")
    assert (told.account, told.actor, told.data) == (marketer.account, "Batchdesk", {"files": 1})


def test_a_second_run_finds_nothing(marketer: Actor) -> None:
    job = messy_job(marketer)
    uploaded(job, ago=days(91))
    expire()
    before = traces(job)
    assert expire() is None
    assert account_expire(account=marketer.account, now=timezone.now()) == 0
    assert traces(job) == before


def test_nothing_due_makes_no_job(marketer: Actor) -> None:
    messy_job(marketer)
    assert expire() is None
    assert not BatchJob.objects.filter(kind="expiry").exists()


def test_a_failed_file_loses_its_first_lines_and_keeps_its_reason(marketer: Actor) -> None:
    """Of a file without a header the first line is a person."""
    job = run_file(marketer, "ines.prata@example.com,opened\njoao.lopes@example.com,opened\n")
    assert job.failure_code == "HEADER_MISSING"
    assert all(person in traces(job) for person in PERSONAL)
    uploaded(job, ago=days(90))
    expire()
    job.refresh_from_db()
    assert (job.status, job.outcome, job.failure_code) == ("expired", "failed", "HEADER_MISSING")
    assert not any(person in traces(job) for person in PERSONAL)
    assert failure_of(job.failure_code, job.failure_params).title == "The first line holds no names of columns"


def test_a_file_of_two_jobs_waits_for_both(marketer: Actor) -> None:
    first = messy_job(marketer)
    twice = messy_job(marketer, name="again.csv")
    assert twice.failure_code == "DUPLICATE_FILE"
    again = batchjob_run_anyway(job=twice, by=marketer)
    for job in (first, twice):
        uploaded(job, ago=days(120))
    expire()
    statuses = [chaos.status_of(job) for job in (first, twice, again)]
    assert statuses == ["expired", "failed", "pending"]
    kernel.queue_work("short")
    assert expire() is None  # what was started with it lately can still be looked into
    assert chaos.status_of(again) == "done"
    uploaded(again, ago=days(90))
    expire()
    assert [chaos.status_of(job) for job in (first, twice, again)] == ["expired"] * 3
    again.refresh_from_db()
    assert (again.outcome, again.invalid_rows) == ("done", 2)
    assert stored(marketer.account) == []


@pytest.mark.parametrize("status", ["pending", "in_progress"])
def test_an_active_job_keeps_its_file(status: str, marketer: Actor) -> None:
    job = make_job(marketer.account, status)
    uploaded(job, ago=days(200))
    before = stored(marketer.account)
    assert account_expire(account=marketer.account, now=timezone.now()) == 0
    assert expire() is None
    assert chaos.status_of(job) == status
    assert stored(marketer.account) == before != []


def test_other_accounts_are_not_touched(marketer: Actor) -> None:
    other = make_actor()
    mine, theirs = messy_job(marketer), messy_job(other)
    uploaded(mine, ago=days(90))
    uploaded(theirs, ago=days(80))
    before, names = traces(theirs), stored(other.account)
    account_expire(account=marketer.account, now=timezone.now() + days(5))
    uploaded(theirs, ago=days(90))  # due as well, and still not this account's
    account_expire(account=marketer.account, now=timezone.now())
    uploaded(theirs, ago=days(80))
    assert chaos.status_of(mine) == "expired"
    assert chaos.status_of(theirs) == "done"
    assert stored(other.account) == names
    assert before.count(PERSONAL[0]) == traces(theirs).count(PERSONAL[0]) > 0


def test_a_file_that_no_job_took_goes_too(marketer: Actor) -> None:
    job = make_job(marketer.account, "done")
    file = job.file
    job.delete()
    SourceFile.objects.filter(pk=file.pk).update(created_at=timezone.now() - days(90))
    expire()
    file.refresh_from_db()
    assert file.removed_at
    assert stored(marketer.account) == []


# Each line of the table, a second before its time and at it: what it makes, and whether that is still there.


def _files(by: Actor, at: dt.datetime) -> Callable[[], bool]:
    job = make_job(by.account, "done", created_at=at)
    SourceFile.objects.filter(pk=job.file_id).update(created_at=at)
    return lambda: SourceFile.objects.filter(pk=job.file_id, removed_at=None).exists()


def _before_images(by: Actor, at: dt.datetime) -> Callable[[], bool]:
    job = make_job(by.account, "done")
    image = ProfileBeforeImage.objects.create(job=job.pk, profile_id=1, attributes={}, created_at=at)
    return lambda: ProfileBeforeImage.objects.filter(pk=image.pk).exists()


def _idempotency_keys(by: Actor, at: dt.datetime) -> Callable[[], bool]:
    job = make_job(by.account, "done")
    key = IdempotencyKey.objects.create(account=by.account, key="k", fingerprint="f", job=job, created_at=at)
    return lambda: IdempotencyKey.objects.filter(pk=key.pk).exists()


def _crashes(by: Actor, at: dt.datetime) -> Callable[[], bool]:
    job = make_job(by.account, "done")
    crash = JobCrash.objects.create(job=job, lease_token=1, at_chunk=0, reason="r", report="row", created_at=at)
    return lambda: JobCrash.objects.filter(pk=crash.pk).exists()


def _housekeeping(by: Actor, at: dt.datetime) -> Callable[[], bool]:
    job = BatchJob.objects.create(
        account=by.account, name="Expiry", kind="expiry", status="done", outcome="done", started_at=at, completed_at=at
    )
    return lambda: BatchJob.objects.filter(pk=job.pk).exists()


def _orphans(by: Actor, at: dt.datetime) -> Callable[[], bool]:
    name = orphan_of(make_job(by.account, "done"), at)
    return lambda: default_storage.exists(name)


LINES = [
    (_files, days(90)), (_before_images, days(30)), (_idempotency_keys, days(7)), (_crashes, days(30)),
    (_housekeeping, days(90)), (_orphans, days(1)),
]  # fmt: skip


@pytest.mark.parametrize(("make", "kept"), LINES, ids=[make.__name__.strip("_") for make, _kept in LINES])
def test_a_line_of_the_table_at_its_boundary(make: Any, kept: dt.timedelta, marketer: Actor) -> None:
    at = timezone.now().replace(microsecond=0) - days(1)
    is_there = make(marketer, at)
    account_expire(account=make_actor().account, now=at + kept)
    account_expire(account=marketer.account, now=at + kept - SECOND)
    assert is_there()
    account_expire(account=marketer.account, now=at + kept)
    assert not is_there()


def test_jobs_of_files_are_no_housekeeping(marketer: Actor) -> None:
    job = make_job(marketer.account, "done", completed_at=timezone.now() - days(1000))
    account_expire(account=marketer.account, now=timezone.now())
    assert chaos.status_of(job) == "done"


def test_sessions_are_cleared_by_the_schedule(marketer: Actor) -> None:
    now = timezone.now()
    Session.objects.create(session_key="over", session_data="", expire_date=now)
    Session.objects.create(session_key="open", session_data="", expire_date=now + SECOND)
    assert expiry_schedule(now=now) == 0
    assert list(Session.objects.values_list("session_key", flat=True)) == ["open"]


def orphan_of(job: BatchJob, at: dt.datetime) -> str:
    """A part that a run stored and did not commit."""
    name = default_storage.save(f"{job_folder(job.account_id, job.pk)}/000009-7.ndjson", ContentFile(b"{}\n"))
    os.utime(default_storage.path(name), (at.timestamp(), at.timestamp()))
    return name


def test_parts_that_no_chunk_names_go(marketer: Actor) -> None:
    now = timezone.now()
    job = messy_job(marketer)
    BatchJob.objects.filter(pk=job.pk).update(completed_at=now - days(1))
    good = stored(marketer.account)
    orphan_of(job, now - days(1))
    running = make_job(marketer.account, "in_progress", queue="short")
    expected = sorted([*good, orphan_of(running, now - days(3)), *stored_of_file(running)])
    done = expire()
    assert done.reader_state == {"removed": {"orphans": 1}}
    assert stored(marketer.account) == expected
    assert expire() is None


def stored_of_file(job: BatchJob) -> list[str]:
    return list(job.file.parts.values_list("stored_as", flat=True))


def test_what_beat_sends_makes_the_job(marketer: Actor, settings: Any) -> None:
    uploaded(messy_job(marketer), ago=days(90))
    app.loader.import_default_modules()  # as a worker does when it starts
    app.tasks[settings.CELERY_BEAT_SCHEDULE["expiry"]["task"]]()
    assert BatchJob.objects.get(kind="expiry").account == marketer.account


# What goes wrong.


def test_one_schedule_makes_one_job(marketer: Actor) -> None:
    uploaded(messy_job(marketer), ago=days(90))

    def beat(_number: int) -> int:
        try:
            return expiry_schedule()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as beats:
        assert sum(beats.map(beat, range(4))) == 1
    assert expiry_schedule() == 0
    assert BatchJob.objects.filter(kind="expiry").count() == 1


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_a_worker_lost_between_bytes_and_marks(sign: int, marketer: Actor, settings: Any) -> None:
    """It is lost in its transaction, with the rows locked; whoever follows neither waits nor leaves it half done."""
    settings.JOB_LEASE_SECONDS = chaos.LEASE_SECONDS
    job, second = messy_job(marketer), run_file(marketer, MESSY + "nobody\n", "second.csv")
    before = facts(job)
    for one in (job, second):
        uploaded(one, ago=days(90))
    parts = [*stored_of_file(job), *Chunk.objects.filter(job=job).values_list("part", flat=True)]
    assert expiry_schedule() == 1
    with chaos.worker() as worker:
        with transaction.atomic():
            # The marks wait for this row; the bytes do not.
            BatchJob.objects.select_for_update().get(pk=job.pk)
            until(lambda: not any(default_storage.exists(name) for name in parts))
            until(is_waiting_for_a_lock)
            os.kill(worker.pid, sign)
            job.refresh_from_db()
            assert (job.status, job.expired_at) == ("done", None)
        until(lambda: kernel.queue_work("long") or expired_all(marketer.account))
    assert facts(job) == before
    assert stored(marketer.account) == []
    assert expired_all(marketer.account)
    end = BatchJob.objects.get(kind="expiry")
    assert (end.status, end.reader_state["removed"]["files"]) == ("done", 2)
    assert expiry_schedule() == 0


def is_waiting_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            " AND application_name LIKE 'batchdesk-run-%%'"
        )
        return cursor.fetchone()[0] > 0


def expired_all(account: Account) -> bool:
    return not BatchJob.objects.filter(account=account, kind="import").exclude(status="expired").exists()


def test_what_storage_keeps_is_not_called_removed(marketer: Actor) -> None:
    """A folder with something in it stands where the file was: it cannot be deleted as one."""
    stuck, fine = messy_job(marketer), run_file(marketer, MESSY + "nobody\n", "second.csv")
    for job in (stuck, fine):
        uploaded(job, ago=days(90))
    path = Path(default_storage.path(stored_of_file(stuck)[0]))
    path.unlink()
    path.mkdir()
    (path / "something").touch()
    failed = expire()
    assert (failed.status, failed.failure_code) == ("failed", "STORAGE_FAILED")
    assert failed.reader_state == {"removed": {"files": 1}}
    assert not failed.crash_reports.exists()
    assert (chaos.status_of(stuck), chaos.status_of(fine)) == ("done", "expired")
    stuck.file.refresh_from_db()
    assert stuck.file.removed_at is None
    (path / "something").unlink()
    assert expire().status == "done"
    assert chaos.status_of(stuck) == "expired"


@pytest.fixture
def bucket(settings: Any) -> Iterator[ThreadedMotoServer]:
    """Files on S3 instead of a disk."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    name = f"desk-{uuid4().hex}"
    access = {
        "endpoint_url": f"http://{host}:{port}",
        "aws_access_key_id": "test",
        "aws_secret_access_key": "test",
        "region_name": "eu-west-1",
    }
    boto3.client("s3", **access).create_bucket(
        Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    names = {"aws_access_key_id": "access_key", "aws_secret_access_key": "secret_key"}
    options = {"bucket_name": name, **{names.get(key, key): value for key, value in access.items()}}
    s3 = {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}
    settings.STORAGES = {**settings.STORAGES, "default": s3}
    yield server
    server.stop()


def test_files_on_s3(bucket: ThreadedMotoServer, marketer: Actor) -> None:
    now = timezone.now()
    job = messy_job(marketer)
    BatchJob.objects.filter(pk=job.pk).update(completed_at=now)
    default_storage.save(f"{job_folder(job.account_id, job.pk)}/000009-7.ndjson", ContentFile(b"{}\n"))
    assert len(stored(marketer.account)) == 3
    tomorrow = timezone.now() + days(1) + SECOND  # storage tells whole seconds
    assert expiry_schedule(now=tomorrow) == 1  # for the orphan
    assert account_expire(account=marketer.account, now=tomorrow) == 0
    assert len(stored(marketer.account)) == 2
    account_expire(account=marketer.account, now=now + days(91))
    assert stored(marketer.account) == []
    assert chaos.status_of(job) == "expired"


def test_s3_that_is_gone_ends_the_job_and_marks_nothing(
    bucket: ThreadedMotoServer, marketer: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    job = messy_job(marketer)
    uploaded(job, ago=days(90))
    before = traces(job)
    bucket.stop()
    failed = expire()
    assert (failed.status, failed.failure_code) == ("failed", "STORAGE_FAILED")
    assert traces(job) == before


# Pages and APIs.


@pytest.fixture
def expired(marketer: Actor) -> BatchJob:
    job = messy_job(marketer)
    uploaded(job, ago=days(90))
    expire()
    job.refresh_from_db()
    return job


@pytest.fixture
def pages(marketer: Actor) -> Client:
    client = Client()
    client.force_login(marketer.user)
    return client


@pytest.mark.parametrize("what", ["source", "error-log", "rejected-rows"])
def test_downloads_say_that_it_is_gone(what: str, expired: BatchJob, pages: Client, marketer: Actor) -> None:
    page = pages.get(f"/batch-jobs/{expired.pk}/{what}/")
    assert page.status_code == 404
    assert "no longer kept" in page.content.decode()
    assert f'href="/batch-jobs/{expired.pk}/"' in page.content.decode()
    answer = Program(make_token(marketer.account)).get(f"/api/v1/batch-jobs/{expired.pk}/{what}")
    assert answer.status_code == 404
    assert "no longer kept" in answer.json()["detail"]


def test_the_api_tells_how_it_ended(expired: BatchJob, marketer: Actor) -> None:
    answer = Program(make_token(marketer.account)).get(f"/api/v1/batch-jobs/{expired.pk}").json()
    assert (answer["status"], answer["outcome"], answer["valid_rows"], answer["invalid_rows"]) == (
        *("expired", "done"),
        *(2, 2),
    )
    assert answer["expired_at"]
    assert set(answer["links"]) == {"self"}


def test_the_list_tells_how_it_ended(expired: BatchJob, pages: Client) -> None:
    assert "ended as done" in pages.get("/batch-jobs/?status=expired").content.decode()


def test_a_job_that_keeps_house_breaks_no_page(expired: BatchJob, pages: Client, marketer: Actor) -> None:
    """It has no file, no database and no type that means anything."""
    house = BatchJob.objects.get(kind="expiry")
    staff = Client()
    staff.force_login(make_user(is_staff=True, is_superuser=True))
    for client, path in (
        (pages, "/batch-jobs/"),
        (staff, "/admin/batchjobs/batchjob/"),
        (staff, f"/admin/batchjobs/batchjob/{house.pk}/change/"),
        (Program(make_token(marketer.account)), "/api/v1/batch-jobs"),
    ):
        assert client.get(path).status_code == 200
    assert pages.get(f"/batch-jobs/{house.pk}/").status_code in (200, 404)
