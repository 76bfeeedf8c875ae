"""Runs of exports: built once, delivered, reported; windows that miss nothing; what goes wrong and how it ends."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import threading
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import openpyxl
import pytest
from django.core import mail
from django.core.files.storage import default_storage, storages
from django.db import connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Func, TextField
from django.utils import timezone
from pyarrow import parquet

from accounts.actors import Actor
from accounts.models import User
from audience.models import ContactList, DataTable, ListMember, Profile, Record
from batchjobs import kernel
from batchjobs.expiry import account_expire
from batchjobs.models import BatchJob, FilePart
from exports import dispatch, services
from exports.claims import name_claim
from exports.models import Export, ExportRun
from exports.run import RunNotes
from exports.services import ExportRefusedError
from exports.sources import base
from exports.sources.base import COLUMNS_MAX, LOOKED_AT, TOLD
from exports.states import State, TransitionRefusedError
from exports.writers import FileOptions
from tests import chaos
from tests.chaos import until
from tests.exports import (
    ODD_KEYS,
    bytes_of,
    last_run,
    lines_of,
    make_export,
    make_people,
    make_recurring,
    settled_window,
    work,
)
from tests.factories import make_actor

pytestmark = pytest.mark.django_db(transaction=True)

NOW = dt.datetime(2027, 3, 1, 12, 0, tzinfo=dt.UTC)  # past everything that the tests write
DUE = dt.datetime(2027, 3, 2, 6, 30, tzinfo=dt.UTC)  # 06:30 in Lisbon, in winter


@pytest.fixture(autouse=True)
def empty_box() -> Iterator[None]:
    """The box of one test is not that of another."""
    yield
    if box_root().is_file():
        box_root().unlink()
    shutil.rmtree(box_root(), ignore_errors=True)


def box_root() -> Path:
    return Path(storages["transfer_box"].location)  # type: ignore[attr-defined]


def box(by: Actor) -> dict[str, bytes]:
    folder = box_root() / str(by.account.pk) / "out"
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def write(by: Actor, *emails: str, tier: str = "Gold") -> None:
    database = make_people(by, 0)
    for email in emails:
        Profile.objects.update_or_create(database=database, email=email, defaults={"attributes": {"tier": tier}})


def run_at(now: dt.datetime) -> None:
    dispatch.tick(now=now)
    work(now)


def emails(content: bytes) -> list[str]:
    return sorted(row["email"] for row in csv.DictReader(io.StringIO(content.decode())))


# What ends well.


def test_a_one_shot_export_is_there_to_download(marketer: Actor) -> None:
    make_people(marketer, 3)
    export = services.export_schedule(export=make_export(marketer), by=marketer)
    assert export.state == State.STARTED
    assert last_run(export).state == "in_progress"
    work()
    run = last_run(export)
    assert run.state == "succeeded"
    assert lines_of(run)[0] == "email,tier"
    assert sorted(lines_of(run)[1:]) == [
        "person-00000@example.com,Gold",
        "person-00001@example.com,Silver",
        "person-00002@example.com,Bronze",
    ]
    assert (run.rows, run.file.name, run.file.size) == (3, "people.csv", len(bytes_of(run)))
    assert run.file.sha256 == hashlib.sha256(bytes_of(run)).hexdigest()
    assert [step["what"] for step in run.steps] == ["written"]
    assert run.settled_at


def test_a_one_shot_export_at_a_set_moment(marketer: Actor) -> None:
    make_people(marketer)
    export = make_export(marketer, run_at="2027-03-02T06:30:00+00:00")
    export = services.export_schedule(export=export, by=marketer, now=NOW)
    assert (export.state, export.next_run_at) == (State.SCHEDULED, DUE)
    dispatch.tick(now=DUE - dt.timedelta(seconds=1))
    assert not ExportRun.objects.exists()
    run_at(DUE)
    assert last_run(export).scheduled_for == DUE
    assert last_run(export).state == "succeeded"


def test_a_file_is_named_by_the_clock_of_who_asked(marketer: Actor) -> None:
    make_people(marketer)
    User.objects.filter(pk=marketer.user.pk).update(time_zone="Pacific/Auckland")  # 13 hours ahead of UTC in March
    export = make_export(
        marketer, run_at="2027-03-02T13:30:00+00:00", file={"format": "csv", "name_pattern": "p_$yyyyMMdd_$HHmmss"}
    )
    services.export_schedule(export=export, by=marketer, now=NOW)
    run_at(DUE + dt.timedelta(days=1))
    assert last_run(export).file.name == "p_20270303_023000.csv"


def test_a_feed_delivers_only_what_is_new(marketer: Actor) -> None:
    write(marketer, "ana@example.com", "bea@example.com")
    export = make_recurring(marketer, now=NOW)
    assert export.next_run_at == DUE
    run_at(DUE)
    first = last_run(export)
    assert first.state == "succeeded"
    assert first.window is None  # everything there was
    assert emails(box(marketer)[first.file.name]) == ["ana@example.com", "bea@example.com"]
    write(marketer, "bea@example.com", "caro@example.com", tier="Silver")
    run_at(DUE + dt.timedelta(days=1))
    second = last_run(export)
    assert second.window is not None
    assert second.window.lo == first.window_hi
    assert emails(box(marketer)[second.file.name]) == ["bea@example.com", "caro@example.com"]
    with connection.cursor() as cursor:  # the index of changes knew them all
        cursor.execute("SELECT brin_summarize_new_values('profile_change')")
        assert cursor.fetchone() == (0,)
    run_at(DUE + dt.timedelta(days=2))
    third = last_run(export)
    assert (third.rows, [warning["code"] for warning in third.warnings]) == (0, ["NO_ROWS"])
    assert box(marketer)[third.file.name] == b"email,tier\n"


def test_a_feed_may_begin_with_what_changes(marketer: Actor) -> None:
    write(marketer, "ana@example.com")
    settled_window()
    export = make_recurring(marketer, now=NOW, start_with="changes")
    write(marketer, "bea@example.com")
    run_at(DUE)
    assert emails(bytes_of(last_run(export))) == ["bea@example.com"]


def test_empty_files_can_be_left_out(marketer: Actor) -> None:
    export = make_recurring(marketer, now=NOW, send_empty=False)
    run_at(DUE)
    run = last_run(export)
    assert run.state == "succeeded"
    assert [warning["code"] for warning in run.warnings] == ["NO_ROWS", "NOT_SENT"]
    assert box(marketer) == {}
    write(marketer, "ana@example.com")
    run_at(DUE + dt.timedelta(days=1))
    assert emails(bytes_of(last_run(export))) == ["ana@example.com"]


def test_everything_again(marketer: Actor) -> None:
    write(marketer, "ana@example.com")
    export = make_recurring(marketer, now=NOW)
    run_at(DUE)
    services.export_resync(export=export, by=marketer)
    run_at(DUE + dt.timedelta(days=1))
    assert emails(bytes_of(last_run(export))) == ["ana@example.com"]
    export.refresh_from_db()
    assert not export.resync
    run_at(DUE + dt.timedelta(days=2))
    assert last_run(export).rows == 0


def test_a_window_again(marketer: Actor) -> None:
    write(marketer, "ana@example.com")
    export = make_recurring(marketer, now=NOW)
    run_at(DUE)
    write(marketer, "bea@example.com", "caro@example.com")
    run_at(DUE + dt.timedelta(days=1))
    second = last_run(export)
    write(marketer, "caro@example.com", tier="Silver")
    run_at(DUE + dt.timedelta(days=2))
    third = last_run(export)
    again = services.run_window_again(run=second, by=marketer)
    work()
    again = last_run(export)
    assert again.window == second.window
    # What changed once more is in a later window, and was delivered with that.
    assert emails(bytes_of(again)) == ["bea@example.com"]
    assert emails(bytes_of(third)) == ["caro@example.com"]
    export.refresh_from_db()
    assert export.watermark == third.window_hi


def test_a_list_and_its_filter(marketer: Actor) -> None:
    database = make_people(marketer, 6)
    winter = ContactList.objects.create(database=database, name="Winter")
    for profile in Profile.objects.order_by("pk")[:4]:
        ListMember.objects.create(contact_list=winter, profile=profile)
    export = make_export(
        marketer,
        data_type="list_member",
        table="Winter",
        columns=None,
        filter={"and": [{"field": "profile.attributes.tier", "op": "is", "value": "Gold"}]},
    )
    services.export_schedule(export=export, by=marketer)
    work()
    run = last_run(export)
    assert run.state == "succeeded", run.job.failure_params
    assert run.rows == 2


# The clock.


def test_missed_times_are_recorded_and_the_latest_is_made_up_for(marketer: Actor) -> None:
    export = make_recurring(marketer, now=NOW)
    run_at(DUE + dt.timedelta(days=3, hours=2))
    runs = ExportRun.objects.with_state().filter(export=export).order_by("scheduled_for")
    assert [(run.scheduled_for, run.fault, run.state) for run in runs] == [
        (DUE, "MISSED", "failed"),
        (DUE + dt.timedelta(days=1), "MISSED", "failed"),
        (DUE + dt.timedelta(days=2), "MISSED", "failed"),
        (DUE + dt.timedelta(days=3), "", "succeeded"),
    ]
    export.refresh_from_db()
    assert export.next_run_at == DUE + dt.timedelta(days=4)


def test_what_is_too_late_is_not_made_up_for(marketer: Actor) -> None:
    monday = {"cadence": "weekly", "weekday": 0, "at": "06:30", "timezone": "UTC"}
    export = make_recurring(marketer, now=NOW, schedule=monday)
    assert export.next_run_at == dt.datetime(2027, 3, 8, 6, 30, tzinfo=dt.UTC)
    run_at(dt.datetime(2027, 3, 10, 6, 30, tzinfo=dt.UTC))
    assert [run.fault for run in ExportRun.objects.filter(export=export)] == ["MISSED"]


def test_a_run_that_still_goes_on_is_not_run_twice(marketer: Actor) -> None:
    export = make_recurring(marketer, now=NOW)
    dispatch.tick(now=DUE)
    dispatch.tick(now=DUE + dt.timedelta(days=1))
    faults = list(ExportRun.objects.filter(export=export).order_by("pk").values_list("fault", flat=True))
    assert faults == ["", "OVERLAPPED"]


def test_ticks_at_once_make_one_run(marketer: Actor) -> None:
    exports = [make_recurring(marketer, now=NOW, name=f"Feed {number}") for number in range(5)]

    def tick() -> None:
        try:
            for hour in range(72):
                dispatch.tick(now=DUE + dt.timedelta(hours=hour))
        finally:
            connections.close_all()

    ticking = [threading.Thread(target=tick) for _ in range(4)]
    for thread in ticking:
        thread.start()
    for thread in ticking:
        thread.join()
    for export in exports:
        times = list(ExportRun.objects.filter(export=export).order_by("scheduled_for").values_list("scheduled_for"))
        assert times == [(DUE + dt.timedelta(days=day),) for day in range(3)]


# What people do at once, and what is refused.


def test_of_two_people_who_schedule_one_is_told(marketer: Actor) -> None:
    export = make_export(marketer)
    start = threading.Barrier(2)
    outcomes = []

    def schedule() -> None:
        start.wait(10)
        try:
            services.export_schedule(export=export, by=marketer)
            outcomes.append("done")
        except TransitionRefusedError:
            outcomes.append("refused")
        finally:
            connections.close_all()

    people = [threading.Thread(target=schedule) for _ in range(2)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert sorted(outcomes) == ["done", "refused"]
    assert ExportRun.objects.count() == 1


def test_a_name_is_taken_once(marketer: Actor) -> None:
    make_export(marketer, name="Loyalty")
    with pytest.raises(ExportRefusedError, match="has this name"):
        make_export(marketer, name="LOYALTY")
    make_export(make_actor(), name="Loyalty")  # elsewhere it is free


def test_a_copy_and_a_deleted_draft(marketer: Actor) -> None:
    make_people(marketer)
    export = make_recurring(marketer, now=NOW)
    run_at(DUE)
    copy = services.export_copy(export=export, by=marketer, name="Feed again")
    assert (copy.state, copy.watermark, copy.schedule, copy.columns) == (
        State.DRAFT,
        None,
        export.schedule,
        export.columns,
    )
    with pytest.raises(TransitionRefusedError, match="Unschedule it first"):
        services.export_delete(export=export, by=marketer)
    services.export_unschedule(export=export, by=marketer)
    services.export_delete(export=export, by=marketer)
    run = ExportRun.objects.with_state().get()
    assert (run.export, run.name, run.state, run.rows) == (None, "Feed", "succeeded", 3)
    assert services.run_copy(run=run, by=marketer, name="Feed once more").columns == export.columns


def test_unscheduling_pauses_and_goes_on_where_it_was(marketer: Actor) -> None:
    write(marketer, "ana@example.com")
    export = make_recurring(marketer, now=NOW)
    run_at(DUE)
    services.export_unschedule(export=export, by=marketer)
    write(marketer, "bea@example.com")
    run_at(DUE + dt.timedelta(days=1))
    assert ExportRun.objects.count() == 1
    services.export_schedule(export=export, by=marketer, now=DUE + dt.timedelta(days=1))
    run_at(DUE + dt.timedelta(days=2))
    assert emails(bytes_of(last_run(export))) == ["bea@example.com"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"schedule": {"cadence": "daily", "at": "25:00", "timezone": "UTC"}}, "schedule.at"),
        ({"schedule": {"cadence": "daily", "at": "06:00", "timezone": "Europe/Atlantis"}}, "schedule.timezone"),
        ({"file": {"format": "csv", "name_pattern": "$nonsense"}}, "file.name_pattern"),
        ({"file": {"format": "csv", "name_pattern": "../up"}}, "file.name_pattern"),
        ({"file": {"format": "wav"}}, "file.format"),
        ({"columns": [{"field": "nothing"}]}, "columns"),
        ({"columns": []}, "columns"),
        ({"columns": [{"field": "email", "header": "a"}, {"field": "id", "header": "a"}]}, "columns"),
        ({"filter": {"and": [{"field": "created_at", "op": "before", "value": "soon"}]}}, "filter"),
        ({"filter": {"and": [{"field": "nothing", "op": "is", "value": "x"}]}}, "filter"),
        ({"data_type": "linked_data", "table": "orders"}, "table"),
        ({"destination": 999_999}, "destination"),
        ({"destination": {"a": 1}}, "destination"),
        ({"recipients": ["crm@example"]}, "recipients"),
        ({"recipients": "marta@example.com"}, "recipients"),
        ({"type": "custom"}, "type"),
        ({"type": ["one_shot"]}, "type"),
        ({"name": "a\x00b"}, "name"),
        ({"name": " "}, "name"),
        ({"run_at": "2027-03-02T06:30:00"}, "run_at"),
        ({"database": "elsewhere"}, "database"),
        ({"colour": "blue"}, "colour"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_definition_is_refused(changes: dict[str, Any], field: str, marketer: Actor) -> None:
    export = make_export(marketer)
    with pytest.raises(ExportRefusedError) as refused:
        services.export_update(export=export, by=marketer, changes=changes)
    assert refused.value.field == field
    assert refused.value.message.endswith(".")


def test_a_recurring_export_needs_a_schedule_and_a_destination(marketer: Actor) -> None:
    export = make_export(marketer, type="incremental")
    for changes, field in (
        ({}, "destination"),
        ({"destination": "transfer_box"}, "schedule"),
        ({"type": "periodic_full", "data_type": "interaction", "columns": None}, "data_type"),
    ):
        export = services.export_update(export=export, by=marketer, changes=changes)
        with pytest.raises(ExportRefusedError) as refused:
            services.export_schedule(export=export, by=marketer)
        assert refused.value.field == field


# What files are called.


def test_a_name_as_long_as_may_be_is_delivered(marketer: Actor) -> None:
    make_people(marketer)
    pattern = "日" * 78  # 234 bytes, 238 with .csv
    export = make_export(marketer, destination="transfer_box", file={"format": "csv", "name_pattern": pattern})
    services.export_schedule(export=export, by=marketer)
    work()
    assert last_run(export).state == "succeeded"
    assert list(box(marketer)) == [f"{pattern}.csv"]


def to_box(by: Actor, pattern: str, **definition: Any) -> Export:
    """A one-shot export to the transfer box, to be run."""
    file = {"format": "csv", "compression": "gzip", "name_pattern": pattern}
    export = make_export(by, **{"destination": "transfer_box", "file": file, **definition})
    return services.export_schedule(export=export, by=by)


def test_no_file_replaces_that_of_another_export(marketer: Actor) -> None:
    make_people(marketer)
    patterns = ["people", "people", "$yyyy", "$yyyy"]
    runs = []
    for number, pattern in enumerate(patterns):
        export = to_box(marketer, pattern, name=f"Export {number}", recipients=["crm@example.com"])
        work()
        runs.append(last_run(export))
    first, second, third, fourth = runs
    year = f"{first.created_at:%Y}"
    assert [run.delivered_as for run in runs] == [
        "out/people.csv.gz",
        f"out/people_{second.pk}.csv.gz",
        f"out/{year}.csv.gz",
        f"out/{year}_{fourth.pk}.csv.gz",
    ]
    assert box(marketer) == {run.delivered_as.removeprefix("out/"): bytes_of(run) for run in runs}
    assert [run.warnings for run in (first, third)] == [[], []]
    assert second.warnings == [{"code": "NAME_TAKEN", "name": f"people_{second.pk}.csv.gz"}]
    said = f"A file of this name was there already, so this one is called people_{second.pk}.csv.gz."
    assert said in mail.outbox[1].body


def test_a_name_with_the_number_may_be_taken_too(marketer: Actor) -> None:
    first = last_run(to_box(marketer, "people", name="One"))
    number = first.pk + 2
    to_box(marketer, f"people_{number}", name="Two")
    work()
    assert last_run(to_box(marketer, "people", name="Three")).pk == number
    work()
    assert set(box(marketer)) == {"people.csv.gz", f"people_{number}.csv.gz", f"people_{number}-2.csv.gz"}


def test_no_increment_replaces_another(marketer: Actor) -> None:
    write(marketer, "ana@example.com")
    export = make_recurring(marketer, now=NOW, file={"format": "csv", "delimiter": ",", "name_pattern": "feed_$yyyy"})
    for address in ("bea@example.com", "caro@example.com"):
        services.export_run_now(export=export, by=marketer)
        work()
        write(marketer, address)
    later = last_run(export)
    assert later.delivered_as == f"out/feed_{later.created_at:%Y}_{later.pk}.csv"
    assert [emails(content) for _name, content in sorted(box(marketer).items())] == [
        ["ana@example.com"],
        ["bea@example.com"],
    ]


def test_a_constant_name_is_that_of_the_newest_run(marketer: Actor) -> None:
    write(marketer, "ana@example.com")
    export = make_recurring(marketer, now=NOW, file={"format": "csv", "name_pattern": "$name"})
    box_root().parent.mkdir(parents=True, exist_ok=True)
    box_root().write_bytes(b"")
    run_at(DUE)
    failed = last_run(export)
    box_root().unlink()
    for day in (1, 2):
        run_at(DUE + dt.timedelta(days=day))
        newest = last_run(export)
        assert (newest.delivered_as, newest.warnings) == ("out/feed.csv", [{"code": "NO_ROWS"}] if day == 2 else [])
        assert box(marketer) == {"feed.csv": bytes_of(newest)}
    services.run_relaunch(run=failed, by=marketer)  # what is older does not come after what is newer
    work()
    assert box(marketer) == {"feed.csv": bytes_of(newest), f"feed_{failed.pk}.csv": bytes_of(failed)}


def test_a_delivery_that_is_repeated_has_the_same_name(marketer: Actor) -> None:
    make_people(marketer)
    runs = []
    for name in ("One", "Two"):
        export = to_box(marketer, "people", name=name)
        work()
        runs.append(last_run(export))
    for run in runs:  # as if the worker had been killed before it noted the delivery
        name = run.delivered_as
        ExportRun.objects.filter(pk=run.pk).update(delivered_at=None, delivered_as="", settled_at=None)
        BatchJob.objects.filter(pk=run.job.pk).update(
            status="failed", outcome="failed", failure_code="DESTINATION_REFUSED"
        )
        services.run_relaunch(run=services.run_get(run), by=marketer)
        work()
        assert services.run_get(run).delivered_as == name
        assert services.run_get(run).warnings == run.warnings
    assert len(box(marketer)) == 2


def test_a_name_is_free_again_when_its_file_is_gone(marketer: Actor) -> None:
    make_people(marketer)
    first = last_run(to_box(marketer, "people", name="One"))
    work()
    ExportRun.objects.filter(pk=first.pk).update(delivered_at=timezone.now() - dt.timedelta(days=6, minutes=1))
    second = to_box(marketer, "people", name="Two")
    work()
    assert (last_run(second).delivered_as, last_run(second).warnings) == ("out/people.csv.gz", [])


def test_of_runs_that_deliver_at_once_each_has_a_name(marketer: Actor) -> None:
    make_people(marketer)
    for name in ("One", "Two"):
        to_box(marketer, "people", name=name)
    work()
    ExportRun.objects.update(claimed_name="")
    ready = threading.Barrier(2)

    def claim(run: ExportRun) -> None:
        try:
            with transaction.atomic():
                ready.wait(10)
                name_claim(run, FileOptions(name_pattern="people", compression="gzip"))
        finally:
            connections.close_all()

    runs = list(ExportRun.objects.order_by("pk"))
    threads = [threading.Thread(target=claim, args=[run]) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert "people.csv.gz" in {run.claimed_name for run in runs}
    assert len({run.claimed_name for run in runs}) == 2


BY_NAME = {"format": "xlsx", "compression": "gzip", "name_pattern": "$name"}


def test_a_pattern_is_checked_for_all_runs_to_come(marketer: Actor) -> None:
    with pytest.raises(ExportRefusedError, match="too long") as refused:
        make_export(marketer, file={"format": "csv", "name_pattern": "a" * 145 + "$run"})
    assert refused.value.field == "file.name_pattern"


def test_a_new_name_has_to_do_for_files(marketer: Actor) -> None:
    export = make_export(marketer, file=BY_NAME)
    with pytest.raises(ExportRefusedError, match="Windows keeps the name con") as refused:
        services.export_update(export=export, by=marketer, changes={"name": "con"})
    assert refused.value.field == "name"
    changes = {"name": "con", "file": {"format": "csv", "name_pattern": "x"}}
    assert services.export_update(export=export, by=marketer, changes=changes).name == "con"


def test_a_copy_has_the_file_or_is_refused(marketer: Actor) -> None:
    export = make_export(marketer, file=BY_NAME)
    services.export_schedule(export=export, by=marketer)
    work()
    for copy in (
        lambda name: services.export_copy(export=export, by=marketer, name=name),
        lambda name: services.run_copy(run=last_run(export), by=marketer, name=name),
    ):
        with pytest.raises(ExportRefusedError, match="Windows keeps the name aux") as refused:
            copy("aux")
        assert refused.value.field == "name"
    assert services.export_copy(export=export, by=marketer, name="Fine").file == export.file


def test_a_pattern_that_is_no_longer_good_is_a_named_failure(marketer: Actor) -> None:
    make_people(marketer)
    export = make_recurring(marketer, now=NOW)
    bad = {**export.file, "name_pattern": "a\u00adb"}
    Export.objects.filter(pk=export.pk).update(file=bad)
    run_at(DUE)
    run = last_run(export)
    assert (run.state, run.job.failure_code) == ("failed", "DEFINITION_INVALID")
    assert "not seen" in run.job.failure_params["reason"]
    services.export_unschedule(export=export, by=marketer)
    with pytest.raises(ExportRefusedError, match="not seen") as refused:
        services.export_schedule(export=export, by=marketer)
    assert refused.value.field == "file.name_pattern"


def test_part_files_that_were_left_go_after_their_time(marketer: Actor) -> None:
    folder = box_root() / str(marketer.account.pk) / "out"
    folder.mkdir(parents=True)
    fresh, old = folder / f".{uuid4().hex}.part", folder / f".{uuid4().hex}.part"
    for part, days in ((fresh, 0), (old, 6)):
        part.write_bytes(b"email")
        written = timezone.now().timestamp() - days * 86400
        os.utime(part, (written, written))
    account_expire(account=marketer.account, now=timezone.now())
    assert list(box(marketer)) == [fresh.name]


# What goes wrong.


def test_a_failed_delivery_is_tried_again_with_the_same_file(marketer: Actor) -> None:
    write(marketer, "ana@example.com")
    export = make_recurring(marketer, now=NOW)
    box_root().parent.mkdir(parents=True, exist_ok=True)
    box_root().write_bytes(b"")  # a file stands where the folder should be
    run_at(DUE)
    run = last_run(export)
    assert (run.state, run.job.failure_code) == ("failed", "DESTINATION_REFUSED")
    assert [(step["what"], step["ok"]) for step in run.steps] == [("written", True), ("delivered", False)]
    built = bytes_of(run)
    export.refresh_from_db()
    assert export.watermark is None
    write(marketer, "bea@example.com")
    box_root().unlink()
    services.run_relaunch(run=run, by=marketer)
    work()
    run = last_run(export)
    assert run.state == "succeeded"
    assert box(marketer) == {run.file.name: built}
    run_at(DUE + dt.timedelta(days=1))
    assert emails(bytes_of(last_run(export))) == ["bea@example.com"]


def test_five_failures_in_a_row_stop_an_export_and_tell_its_owner(marketer: Actor) -> None:
    export = make_recurring(marketer, now=NOW, recipients=["crm@example.com"], report_when="problems")
    box_root().parent.mkdir(parents=True, exist_ok=True)
    box_root().write_bytes(b"")
    for day in range(5):
        export.refresh_from_db()
        assert export.state == State.SCHEDULED
        run_at(DUE + dt.timedelta(days=day))
    export.refresh_from_db()
    assert (export.state, export.stopped_because) == (State.DRAFT, "FIVE_FAILURES")
    assert len(mail.outbox) == 6
    assert {address for message in mail.outbox for address in message.to} == {
        "crm@example.com",
        marketer.user.email,  # type: ignore[union-attr]
    }
    assert "five failures" in mail.outbox[-1].subject
    box_root().unlink()
    services.export_schedule(export=export, by=marketer, now=DUE + dt.timedelta(days=5))
    run_at(DUE + dt.timedelta(days=6))
    assert last_run(export).state == "succeeded"


def test_reports_go_to_the_recipients(marketer: Actor) -> None:
    make_people(marketer)
    export = make_export(marketer, recipients=["crm@example.com", "warehouse@example.com"])
    services.export_schedule(export=export, by=marketer)
    work()
    run = last_run(export)
    assert [message.to for message in mail.outbox] == [["crm@example.com"], ["warehouse@example.com"]]
    text = mail.outbox[0].body
    assert run.file.sha256 in text
    assert "people.csv" in text
    assert f"/exports/runs/{run.pk}/" in text


@pytest.mark.parametrize("format_", ["xlsx", "parquet"])
def test_rows_are_shown_and_a_cancel_is_seen_while_a_file_is_made_in_one_piece(
    marketer: Actor, format_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_people(marketer, 10_000)
    seen: list[int] = []
    note = RunNotes.progress

    def progress(notes: RunNotes, rows: int, content_bytes: int) -> None:
        note(notes, rows, content_bytes)
        notes.run.job.refresh_from_db()
        if rows and not content_bytes:
            seen.append(notes.run.job.reader_state["rows"])
        if len(set(seen)) == 3:
            services.run_cancel(run=notes.run, by=marketer)
            seen.append(-1)

    monkeypatch.setattr("exports.run.PROGRESS_SECONDS", 0)
    monkeypatch.setattr("exports.writers.parquet.BLOCK", 64 * 1024)
    monkeypatch.setattr(RunNotes, "progress", progress)
    export = make_export(marketer, file={"format": format_, "name_pattern": "people"})
    services.export_schedule(export=export, by=marketer)
    work()
    assert seen[-1] == -1
    assert seen[:-1] == sorted(seen[:-1])
    assert last_run(export).state == "canceled"
    assert FilePart.objects.count() == 0


def test_what_was_removed_since_is_a_named_failure(marketer: Actor) -> None:
    database = make_people(marketer)
    winter = ContactList.objects.create(database=database, name="Winter")
    export = make_export(marketer, data_type="list_member", table="Winter", columns=None)
    services.export_schedule(export=export, by=marketer)
    winter.delete()
    work()
    run = last_run(export)
    assert (run.state, run.job.failure_code) == ("failed", "SOURCE_TABLE_MISSING")
    assert not services.is_retryable(run)
    assert FilePart.objects.count() == 0


# All columns.


def run_all(by: Actor, format_: str = "ndjson", **definition: Any) -> ExportRun:
    """The run of an export of all columns, over what there is."""
    name = f"All {Export.objects.count()}"
    export = make_export(by, name=name, columns=None, file={"format": format_, "name_pattern": "all"}, **definition)
    services.export_schedule(export=export, by=by)
    work()
    return last_run(export)


def keys_of(run: ExportRun) -> set[str]:
    return {key for line in lines_of(run) for key in json.loads(line)} - FIXED


FIXED = {"email", "partner_user_id", "created_at", "updated_at"}


def test_all_columns_are_those_that_any_row_has(marketer: Actor) -> None:
    database = make_people(marketer, LOOKED_AT + 1)
    old = Profile.objects.order_by("pk").first()
    assert old is not None
    old.attributes = {"only_here": 7, "mixed": 1, "vip": True, "none": None}
    old.save()
    last = Profile.objects.order_by("pk").last()
    assert last is not None
    last.attributes = {**{f"key_{n}": "v" for n in range(500)}, "mixed": "007", "vip": None}
    last.save()
    Profile.objects.filter(pk=last.pk - 1).update(attributes=[1])  # no object: it has no keys
    found = {*(f"key_{n}" for n in range(500)), "only_here", "mixed", "vip", "tier", "first_name"}
    run = run_all(marketer)
    assert keys_of(run) == found
    rows = {row["email"]: row for row in map(json.loads, lines_of(run))}
    assert (rows[old.email]["only_here"], rows[old.email]["vip"], rows[old.email]["mixed"]) == (7, True, "1")
    assert (rows[last.email]["mixed"], rows[last.email]["key_499"]) == ("007", "v")
    header = lines_of(run_all(marketer, "csv"))[0].split(";")
    assert set(header) - FIXED == found
    # Those of the rows that the file holds, and of no others.
    narrowed = run_all(marketer, filter={"and": [{"field": "attributes.only_here", "op": "is_not_empty"}]})
    assert keys_of(narrowed) == {"only_here", "mixed", "vip"}
    nobody = run_all(marketer, filter={"and": [{"field": "email", "op": "is", "value": "nobody@example.com"}]})
    assert (nobody.state, nobody.rows) == ("succeeded", 0)
    people = ContactList.objects.create(database=database, name="Some")
    ListMember.objects.create(contact_list=people, profile=old, joined_at=timezone.now())
    assert {"only_here", "mixed", "vip"} < keys_of(run_all(marketer, data_type="list_member", table="Some"))


@pytest.mark.parametrize("format_", ["csv", "psv", "ndjson", "json", "xml", "xlsx", "parquet"])
def test_any_key_has_a_header_of_its_own(format_: str, marketer: Actor) -> None:
    make_people(marketer, 1)
    long = "k" * 254 + "l"
    Profile.objects.update(attributes={**ODD_KEYS, "sp": "none", long: "other"})
    run = run_all(marketer, format_)
    row = row_of(bytes_of(run), format_)
    assert len(row) == len(FIXED) + len(ODD_KEYS) + 2
    assert {*ODD_KEYS.values(), "none", "other"} < set(row.values())
    assert all(name.isprintable() and name == name.strip() and 0 < len(name) <= 200 for name in row)
    assert {"attributes. sp", "attributes.sp", "漢字 é"} < set(row)


@pytest.mark.parametrize("format_", ["csv", "psv", "ndjson", "json", "xml", "xlsx", "parquet"])
def test_a_type_that_was_changed_loses_no_value(format_: str, marketer: Actor) -> None:
    columns = [{"name": "n", "type": "number"}, {"name": "at", "type": "datetime"}]
    table = DataTable.objects.create(
        database=make_people(marketer, 0), name="Rates", slug="rates", kind="repository", columns=columns
    )
    Record.objects.create(table=table, values={"n": "abc", "at": "soon"})
    run = run_all(marketer, format_, data_type="repository", table="rates")
    row = row_of(bytes_of(run), format_)
    assert (row["n"], row["at"]) == ("abc", "soon")


def row_of(content: bytes, format_: str) -> dict[str, Any]:
    """The only row of a file, by the names of its columns; without what is empty."""
    if format_ in ("csv", "psv"):
        lines = csv.reader(io.StringIO(content.decode(), newline=""), delimiter="|" if format_ == "psv" else ";")
        names, cells = lines
        assert len(set(names)) == len(names)
        return dict(zip(names, cells, strict=True))
    if format_ == "xlsx":
        names, cells = openpyxl.load_workbook(io.BytesIO(content)).active.iter_rows(values_only=True)
        return dict(zip(names, cells, strict=True))
    if format_ == "parquet":
        return dict(parquet.read_table(io.BytesIO(content)).to_pylist()[0])
    if format_ == "xml":
        (row,) = ElementTree.fromstring(content)
        return {str(field.get("name")): field.text for field in row} | {"partner_user_id": None}
    parsed = json.loads(content)
    return dict(parsed[0] if format_ == "json" else parsed)


def test_all_columns_of_a_window(marketer: Actor) -> None:
    write(marketer, "ana@example.com")
    export = make_recurring(marketer, now=NOW, columns=None, deletions=True)
    run_at(DUE)
    assert lines_of(last_run(export))[0].split(",")[-4:] == ["tier", *TOLD]
    make_people(marketer, 1)
    Profile.objects.filter(email="person-00000@example.com").update(attributes={"plan": "x"})
    Profile.objects.filter(email="ana@example.com").delete()
    run_at(DUE + dt.timedelta(days=1))
    header, gone, there = (line.split(",") for line in lines_of(last_run(export)))
    assert header[-4:] == ["plan", *TOLD]
    assert (gone[-1], there[-4], there[-1]) == ("true", "x", "false")
    assert last_run(export).deletions == 1


def test_more_columns_than_a_file_can_have_is_a_named_failure(marketer: Actor) -> None:
    make_people(marketer, 1)
    Profile.objects.update(attributes={f"key_{n}": n for n in range(1700)})
    run = run_all(marketer)
    assert (run.state, run.job.failure_code) == ("failed", "DEFINITION_INVALID")
    reason = run.job.failure_params["reason"]
    assert "1704" in reason
    assert "Choose columns" in reason
    Profile.objects.update(attributes={f"key_{n}": n + 0.5 for n in range(COLUMNS_MAX - len(FIXED))})
    for format_ in ("ndjson", "csv", "parquet", "xlsx", "xml"):
        run = run_all(marketer, format_)
        assert (run.state, run.rows) == ("succeeded", 1), format_


@contextmanager
def profiles_locked() -> Iterator[BaseDatabaseWrapper]:
    """By another session, until it rolls back."""
    settled_window()
    other = connection.copy()
    with closing(other), other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("LOCK TABLE audience_profile")
        yield other


def all_columns_asked(by: Actor) -> Export:
    make_people(by, 1)
    export = make_export(by, columns=None, file={"format": "ndjson"})
    services.export_schedule(export=export, by=by)
    return export


def test_waiting_too_long_for_the_keys_is_a_named_failure(marketer: Actor, settings: Any) -> None:
    settings.EXPORT_QUERY_SECONDS = 1
    export = all_columns_asked(marketer)
    with profiles_locked():
        kernel.queue_work("long")
        run = last_run(export)
        assert (run.state, run.job.failure_code) == ("failed", "QUERY_TOO_SLOW")
    services.run_relaunch(run=run, by=marketer)
    work()
    run.refresh_from_db()
    assert run.rows == 1
    assert keys_of(run) == {"tier", "first_name"}


def test_keys_are_waited_for(marketer: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time that the wizard gives a list of fields is no limit of a run."""
    monkeypatch.setattr(base, "FIELDS_MILLISECONDS", 100)
    export = all_columns_asked(marketer)
    with profiles_locked() as other:
        letting_go = threading.Timer(1, other.connection.rollback)
        letting_go.start()
        kernel.queue_work("long")
        letting_go.join()
    assert keys_of(last_run(export)) == {"tier", "first_name"}


def test_settling_types_for_too_long_is_a_named_failure(
    marketer: Actor, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_people(marketer, 1)
    Profile.objects.update(attributes={"points": 7})
    settings.EXPORT_QUERY_SECONDS = 1
    slow = Func(template="(SELECT pg_sleep(9)::text)", output_field=TextField())
    monkeypatch.setattr(base, "_type_of", lambda one: slow)
    export = make_export(marketer, columns=[{"field": "attributes.points"}], file={"format": "parquet"})
    services.export_schedule(export=export, by=marketer)
    work()
    run = last_run(export)
    assert (run.state, run.job.failure_code) == ("failed", "QUERY_TOO_SLOW")
    assert FilePart.objects.count() == 0


def test_a_restore_makes_the_next_run_full(marketer: Actor) -> None:
    write(marketer, "ana@example.com")
    export = make_recurring(marketer, now=NOW)
    run_at(DUE)
    Export.objects.filter(pk=export.pk).update(server="7000000000000000001.1")
    run_at(DUE + dt.timedelta(days=1))
    run = last_run(export)
    assert [warning["code"] for warning in run.warnings] == ["RESTORED"]
    assert emails(bytes_of(run)) == ["ana@example.com"]
    run_at(DUE + dt.timedelta(days=2))
    assert last_run(export).rows == 0


def test_a_canceled_run_leaves_nothing(marketer: Actor) -> None:
    make_people(marketer)
    export = services.export_schedule(export=make_export(marketer), by=marketer)
    services.run_cancel(run=last_run(export), by=marketer)
    work()
    run = last_run(export)
    assert (run.state, run.file) == ("canceled", None)
    assert FilePart.objects.count() == 0
    with pytest.raises(TransitionRefusedError):
        services.run_cancel(run=run, by=marketer)


def test_a_full_disk(marketer: Actor, tmp_path: Path, settings: Any) -> None:
    """Storage on a small file system of its own, filled up."""
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path)], check=False)
    if made.returncode:
        pytest.skip("only root can mount")
    try:
        options = {"location": str(tmp_path)}
        files = {"BACKEND": "console.storage.DurableFileSystemStorage", "OPTIONS": options}
        settings.STORAGES = {**settings.STORAGES, "default": files}
        make_people(marketer, 20_000)
        export = services.export_schedule(export=make_export(marketer), by=marketer)
        work()
        run = last_run(export)
        assert (run.state, run.job.failure_code) == ("failed", "DISK_FULL")
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
        assert services.is_retryable(run)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
    settings.STORAGES = {**settings.STORAGES, "default": {**files, "OPTIONS": {"location": str(tmp_path)}}}
    services.run_relaunch(run=run, by=marketer)
    work()
    assert last_run(export).rows == 20_000


def test_artifacts_go_after_their_time_and_reports_stay(marketer: Actor) -> None:
    write(marketer, "ana@example.com")
    export = make_recurring(marketer, now=NOW)
    run_at(DUE)
    run = last_run(export)
    name = run.file.name
    later = timezone.now() + dt.timedelta(days=6)
    assert list(box(marketer)) == [name]
    account_expire(account=marketer.account, now=later)
    assert box(marketer) == {}
    assert bytes_of(run)
    account_expire(account=marketer.account, now=timezone.now() + dt.timedelta(days=31))
    run = last_run(export)
    assert run.file.removed_at
    assert default_storage.listdir(f"sources/{marketer.account.pk}")[1] == []
    assert (run.state, run.rows, run.file.name, len(run.file.sha256)) == ("succeeded", 1, name, 64)


# Workers that are lost.


@pytest.mark.chaos
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_a_lost_worker_loses_and_doubles_nothing(sign: int, marketer: Actor) -> None:
    make_people(marketer, 120_000)
    export = make_recurring(marketer, now=NOW)
    dispatch.tick(now=DUE)
    job = last_run(export).job
    with chaos.worker() as process:
        until(lambda: BatchJob.objects.filter(pk=job.pk, lease_token=1).exists())
        process.send_signal(sign)
        with chaos.worker("--poll", "0.1"):
            until(lambda: BatchJob.objects.get(pk=job.pk).completed_at)
        if sign == signal.SIGSTOP:
            process.send_signal(signal.SIGCONT)
            process.wait(30)  # it notices and stops by itself
    dispatch.tick(now=DUE)
    run = last_run(export)
    assert run.state == "succeeded"
    assert run.rows == 120_000
    assert box(marketer) == {run.file.name: bytes_of(run)}
    assert len(set(emails(bytes_of(run)))) == 120_000
