"""Exports under late commits, failing deliveries and clocks that are killed: short here, long in chaos."""

from __future__ import annotations

import csv
import datetime as dt
import io
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.files.storage import storages
from django.db import connection

from accounts.actors import Actor
from audience.erasures import key_hash
from audience.models import Profile
from batchjobs import kernel
from batchjobs.sessions import open_session
from exports import dispatch
from exports.models import Export, ExportRun
from exports.schedules import Schedule, next_after
from exports.states import State
from tests.chaos import ROOT, environment, until
from tests.exports import DAILY, bytes_of, make_people, make_recurring

LONG = os.environ.get("CHAOS") == "1"
WRITERS = 24 if LONG else 8
RUNS = 200 if LONG else 30
OPEN_SECONDS = 30.0 if LONG else 0.6
DELETED_SECONDS = 0.5 if LONG else 0.1
DISPATCHERS = 5 if LONG else 3
TICKS = 10_000 if LONG else 150

NOW = dt.datetime(2027, 3, 1, 12, 0, tzinfo=dt.UTC)
INSERT = "INSERT INTO audience_profile (database_id, email, attributes) VALUES (%s, %s, %s)"
UPDATE = "UPDATE audience_profile SET attributes = %s WHERE database_id = %s AND email = %s"
RENAME = "UPDATE audience_profile SET email = %s WHERE database_id = %s AND email = %s"
DELETE = "DELETE FROM audience_profile WHERE database_id = %s AND email = %s"

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.chaos]


@pytest.fixture
def box() -> Iterator[Path]:
    root = Path(storages["transfer_box"].location)  # type: ignore[attr-defined]
    yield root
    if root.is_file():
        root.unlink()
    shutil.rmtree(root, ignore_errors=True)


class Writer(threading.Thread):
    """Adds, changes, renames and removes people in transactions of any length, a tenth of which are rolled back.
    `people` is what counts: the version of each by address.
    """

    def __init__(self, number: int, database: int, done: threading.Event) -> None:
        super().__init__()
        self.number, self.database, self.done = number, database, done
        self.rnd = random.Random(number)
        self.people: dict[str, str] = {}
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            with open_session(f"writer-{self.number}") as session:
                session.execute("SET idle_in_transaction_session_timeout = 0")
                session.execute("SET statement_timeout = 0")
                at = 0
                while not self.done.is_set():
                    at += 1
                    self.write(session, at)
        except BaseException as error:
            self.error = error

    def write(self, session, at: int) -> None:
        people = dict(self.people)
        session.execute("BEGIN")
        for n in range(self.rnd.randrange(1, 6)):
            email, version = f"w{self.number}-{at}-{n}@example.com", f"v{at}"
            session.execute(INSERT, [self.database, email, f'{{"version": "{version}"}}'])
            people[email] = version
        for share, change in ((0.3, self.update), (0.1, self.rename)):
            if people and self.rnd.random() < share:
                change(session, people, self.rnd.choice(list(people)), at)
        # Most are short, some stay open over several runs.
        self.done.wait(self.rnd.random() ** 3 * OPEN_SECONDS)
        if people and self.rnd.random() < 0.2:  # only now: whoever deletes keeps the others from deleting
            self.delete(session, people, self.rnd.choice(list(people)), at)
            self.done.wait(self.rnd.random() * DELETED_SECONDS)
        if self.rnd.random() < 0.1:
            session.execute("ROLLBACK")
        else:
            session.execute("COMMIT")
            self.people = people

    def update(self, session, people: dict[str, str], email: str, at: int) -> None:
        session.execute(UPDATE, [f'{{"version": "u{at}"}}', self.database, email])
        people[email] = f"u{at}"

    def rename(self, session, people: dict[str, str], email: str, at: int) -> None:
        session.execute(RENAME, [f"renamed-{at}-{email}", self.database, email])
        people[f"renamed-{at}-{email}"] = people.pop(email)

    def delete(self, session, people: dict[str, str], email: str, at: int) -> None:
        session.execute(DELETE, [self.database, email])
        del people[email]
        if self.rnd.random() < 0.3:  # and back, as somebody new
            session.execute(INSERT, [self.database, email, f'{{"version": "b{at}"}}'])
            people[email] = f"b{at}"


def test_who_applies_what_was_delivered_has_what_was_committed(marketer: Actor, box: Path) -> None:
    database = make_people(marketer, 0)
    export = make_recurring(
        marketer,
        now=NOW,
        columns=[{"field": "email"}, {"field": "attributes.version", "header": "version"}],
        deletions=True,
    )
    done = threading.Event()
    writers = [Writer(number, database.pk, done) for number in range(WRITERS)]
    rnd = random.Random(1)
    now = export.next_run_at
    for writer in writers:
        writer.start()
    try:
        for _ in range(RUNS):
            fails = rnd.random() < 0.2
            break_box(box, broken=fails)
            dispatch.start_one(now)
            kernel.queue_work("long")
            now += dt.timedelta(days=1)
            time.sleep(rnd.random() * OPEN_SECONDS / 4)
    finally:
        done.set()
        for writer in writers:
            writer.join()
    assert [writer.error for writer in writers] == [None] * WRITERS
    break_box(box, broken=False)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id()::text::bigint")
        (last,) = cursor.fetchone()
    until(lambda: _xmin() > last)
    dispatch.start_one(now)
    kernel.queue_work("long")
    runs = list(ExportRun.objects.with_state().filter(export=export).order_by("pk"))
    assert Counter(run.state for run in runs)["failed"] >= RUNS // 20
    assert runs[-1].state == "succeeded"
    # What was delivered, window after window, each beginning where the one before ended.
    by_id: dict[str, tuple[str, str]] = {}
    by_key: dict[str, tuple[str, str]] = {}
    deleted = 0
    before = None
    for run in (run for run in runs if run.delivered_at):
        assert run.window_lo == before
        before = run.window_hi
        rows = list(csv.DictReader(io.StringIO((box / str(marketer.account.pk) / "out" / run.file.name).read_text())))
        assert (box / str(marketer.account.pk) / "out" / run.file.name).read_bytes() == bytes_of(run)
        emails = [row["email"] for row in rows if row["_deleted"] == "false"]
        assert len(set(emails)) == len(emails)
        assert (run.rows, run.deletions) == (len(rows), len(rows) - len(emails))
        deleted += run.deletions
        for row in rows:
            for replica, key in ((by_id, row["_id"]), (by_key, row["_key_sha256"])):
                if row["_deleted"] == "true":
                    replica.pop(key, None)
                else:
                    replica[key] = (row["email"], row["version"])
    assert deleted > RUNS
    stored = list(Profile.objects.filter(database=database).values_list("pk", "email", "attributes__version"))
    assert by_id == {str(pk): (email, version) for pk, email, version in stored}
    assert by_key == {key_hash(email): (email, version) for _pk, email, version in stored}
    assert sorted(by_key.values()) == sorted(one for writer in writers for one in writer.people.items())


def break_box(box: Path, *, broken: bool) -> None:
    """Takes the folder away, so that nothing can be delivered, or puts it back."""
    aside = box.with_name("box-aside")
    if broken and not box.is_file():
        if box.exists():
            box.rename(aside)
        box.write_bytes(b"")
    elif not broken and box.is_file():
        box.unlink()
        if aside.exists():
            aside.rename(box)


def _xmin() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
        return int(cursor.fetchone()[0])


def test_clocks_that_are_killed_make_each_run_once(marketer: Actor, box: Path) -> None:
    """Several beats tick over the same hours at once and are killed; each time of each export is there exactly once."""
    schedules = {
        "Daily": DAILY,
        "Often": {"cadence": "daily", "at": ["00:00", "06:00", "12:00", "18:00"], "timezone": "UTC"},
        "At weekdays": {"cadence": "weekdays", "at": "01:30", "timezone": "America/New_York"},
    }
    for name, schedule in schedules.items():
        make_recurring(marketer, now=NOW, name=name, schedule=schedule)
    step = 1800
    rnd = random.Random(2)
    arguments = [NOW.isoformat(), str(step), str(TICKS)]
    ticking = [start_ticking(arguments) for _ in range(DISPATCHERS)]
    kills = 0
    try:
        while any(process.poll() is None for process in ticking):
            time.sleep(0.3 + rnd.random() * 0.5)
            kernel.queue_work("long")
            running = [at for at, process in enumerate(ticking) if process.poll() is None]
            if len(running) > 1 and kills < DISPATCHERS * 4:
                at = rnd.choice(running)
                ticking[at].kill()
                ticking[at].wait()
                kills += 1
                if kills < DISPATCHERS * 3:
                    ticking[at] = start_ticking(arguments)  # from the beginning: its clock is late
    finally:
        for process in ticking:
            if process.poll() is None:
                process.kill()
            process.wait()
    assert kills
    dispatch.tick(now=NOW + dt.timedelta(seconds=step * TICKS))
    for export in Export.objects.all():
        assert export.state == State.SCHEDULED
        times = list(
            ExportRun.objects.filter(export=export).order_by("scheduled_for").values_list("scheduled_for", flat=True)
        )
        assert len(set(times)) == len(times)
        expected = []
        at = next_after(Schedule.from_json(export.schedule), NOW)
        while at <= NOW + dt.timedelta(seconds=step * TICKS):
            expected.append(at)
            at = next_after(Schedule.from_json(export.schedule), at)
        assert times == expected
        assert export.next_run_at == at


def start_ticking(arguments: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "tests.ticking", *arguments], cwd=ROOT, env=environment())
