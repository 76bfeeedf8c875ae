"""Runs of exports: built once, delivered, reported; windows that miss nothing; what goes wrong and how it ends."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import io
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core import mail
from django.core.files.storage import default_storage, storages
from django.db import connections
from django.utils import timezone

from accounts.actors import Actor
from audience.models import ContactList, ListMember, Profile
from batchjobs.models import BatchJob, FilePart
from exports import dispatch, services
from exports.models import Export, ExportRun
from exports.services import ExportRefusedError
from exports.states import State, TransitionRefusedError
from tests import chaos
from tests.chaos import until
from tests.exports import (
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
    from batchjobs.expiry import account_expire

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
