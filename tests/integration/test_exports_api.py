"""`/api/v1/exports` as programs use it: the whole life of an export with real runs, and what is refused."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import io
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import storages
from django.db import connections
from django.test import Client

from accounts.actors import Actor, system_actor
from accounts.models import Account, AuditEvent
from accounts.permissions import Role
from audience.models import Database, Profile
from audience.services import database_default
from batchjobs import kernel
from exports import dispatch, support
from exports.errors import ERRORS
from exports.models import Destination, Export, ExportRun
from tests.exports import (
    DAILY,
    ODD_KEYS,
    bytes_of,
    last_run,
    make_export,
    make_people,
    make_recurring,
    settled_window,
    work,
)
from tests.factories import make_account
from tests.integration.test_api_jobs import Program
from tests.rows import make_token

pytestmark = pytest.mark.django_db(transaction=True)

URL, RUNS = "/api/v1/exports", "/api/v1/export-runs"
NOW = dt.datetime(2027, 3, 1, 12, 0, tzinfo=dt.UTC)  # past everything that the tests write
DUE = dt.datetime(2027, 3, 2, 6, 30, tzinfo=dt.UTC)
FILE = {"format": "csv", "delimiter": ",", "name_pattern": "people"}
RUN_FIELDS = {
    *("id", "export", "status", "scheduled_for", "started_at", "completed_at", "file_name", "rows", "bytes", "sha256"),
    *("window", "warnings", "error", "links"),
}
DEFINITION = {
    *("name", "database", "type", "data_type", "table", "kind", "columns", "filter", "file", "destination"),
    *("schedule", "recipients"),
}


class ExportProgram(Program):
    """Sends JSON."""

    def send_json(self, method: str, path: str, body: Any = None, **extra: Any) -> Any:
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        return self.generic(method, path, content, "application/json", **extra)

    def create(self, **definition: Any) -> Any:
        return self.send_json("POST", URL, {"name": "Everybody", "file": FILE, **definition})

    def made(self, **definition: Any) -> dict[str, Any]:
        answer = self.create(**definition)
        assert answer.status_code == 201, answer.content
        return answer.json()

    def change(self, export: dict[str, Any], **changes: Any) -> Any:
        return self.send_json("PATCH", export["links"]["self"], changes)

    def ask(self, of: dict[str, Any], what: str, body: Any = None) -> Any:
        return self.send_json("POST", f"{of['links']['self']}/{what}", body)


@pytest.fixture
def account() -> Account:
    return make_account()


@pytest.fixture
def program(account: Account) -> ExportProgram:
    return ExportProgram(make_token(account, Role.MARKETER))


@pytest.fixture
def by(account: Account) -> Actor:
    return system_actor(account)


@pytest.fixture(autouse=True)
def empty_box() -> Iterator[None]:
    yield
    if box_root().is_file():
        box_root().unlink()
    shutil.rmtree(box_root(), ignore_errors=True)


def box_root() -> Path:
    return Path(storages["transfer_box"].location)  # type: ignore[attr-defined]


def content_of(answer: Any) -> bytes:
    return b"".join(answer.streaming_content)


# The whole life.


def test_the_life_of_a_one_shot_export(program: ExportProgram, account: Account, by: Actor) -> None:
    database = make_people(by, 7)
    answer = program.create()
    assert answer.status_code == 201, answer.content
    export = answer.json()
    assert set(export) >= DEFINITION | {"id", "status", "links"}
    assert answer.headers["Location"] == export["links"]["self"] == f"{URL}/{export['id']}"
    assert (export["status"], export["type"], export["database"]) == ("draft", "one_shot", database.slug)
    assert set(export["links"]) == {"self", "runs", "schedule", "run", "copy"}

    fields = program.get(f"{URL}/fields", {"data_type": "profile"}).json()
    assert fields["next"] is None
    known = {field["name"]: field for field in fields["items"]}
    assert known["attributes.tier"]["type"] == "text"
    assert "one_of" in known["attributes.tier"]["operators"]
    assert known["lists"]["is_column"] is False

    changes = {
        "columns": [{"field": "attributes.tier", "header": "Tier"}, {"field": "email"}],
        "filter": {"and": [{"field": "attributes.tier", "op": "one_of", "value": ["Gold", "Silver"]}]},
    }
    answer = program.change(export, **changes)
    assert answer.status_code == 200, answer.content
    assert answer.json()["columns"] == [
        {"field": "attributes.tier", "header": "Tier"},
        {"field": "email", "header": "email"},
    ]
    assert program.get(export["links"]["self"]).json() == answer.json()

    scheduled = program.ask(export, "schedule")
    assert (scheduled.status_code, scheduled.json()["status"]) == (200, "started")
    (run,) = program.get(export["links"]["runs"]).json()["items"]
    assert set(run) >= RUN_FIELDS
    assert (run["export"], run["status"], run["file_name"], run["error"]) == (export["id"], "in_progress", None, None)
    assert set(run["links"]) == {"self", "export", "cancel"}
    assert program.get(f"{run['links']['self']}/download").status_code == 409

    settled_window()
    kernel.queue_work("long")
    dispatch.tick(now=NOW)
    run = program.get(run["links"]["self"]).json()
    assert (run["status"], run["file_name"], run["rows"], run["window"]) == ("succeeded", "people.csv", 5, None)
    assert set(run["links"]) == {"self", "export", "download"}
    answer = program.get(run["links"]["download"])
    content = content_of(answer)
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="people.csv"')
    assert (len(content), hashlib.sha256(content).hexdigest()) == (run["bytes"], run["sha256"])
    wanted = Profile.objects.filter(database=database, attributes__tier__in=["Gold", "Silver"])
    rows = [tuple(row) for row in csv.reader(io.StringIO(content.decode()))]
    assert rows[0] == ("Tier", "email")
    assert sorted(rows[1:]) == sorted(wanted.values_list("attributes__tier", "email"))

    copy = program.ask(export, "copy", {"name": "Everybody again"})
    assert copy.status_code == 201, copy.content
    assert copy.headers["Location"] == copy.json()["links"]["self"]
    same = DEFINITION - {"name"}
    assert {key: copy.json()[key] for key in same} == {key: scheduled.json()[key] for key in same}
    assert program.delete(export["links"]["self"]).status_code == 409  # it has run: it is no draft
    answer = program.delete(copy.json()["links"]["self"])
    assert (answer.status_code, answer.content) == (204, b"")
    assert program.get(copy.json()["links"]["self"]).status_code == 404
    actions = AuditEvent.objects.for_account(account).filter(action__startswith="export.").order_by("pk")
    assert list(actions.values_list("action", flat=True)) == [
        *("export.created", "export.edited", "export.scheduled", "export.run", "export.copied", "export.deleted")
    ]
    assert {event.actor for event in actions} == {"API key marketer program"}


def test_the_life_of_a_feed(program: ExportProgram, by: Actor) -> None:
    make_people(by, 2)
    export = program.made(type="incremental", destination="transfer_box", schedule=DAILY)
    assert (export["schedule"], export["destination"]) == (DAILY, Destination.objects.get().pk)
    assert program.get("/api/v1/destinations").json()["items"] == [
        {"id": export["destination"], "name": "Transfer box", "kind": "transfer_box"}
    ]
    export = program.ask(export, "schedule").json()
    assert export["status"] == "scheduled"
    assert export["next_run_at"].endswith("Z")
    assert set(export["links"]) == {"self", "runs", "unschedule", "run", "resync", "copy"}
    assert program.change(export, recipients=[]).status_code == 409
    assert program.delete(export["links"]["self"]).status_code == 409

    answer = program.ask(export, "run")
    assert answer.status_code == 201, answer.content
    first = answer.json()
    assert answer.headers["Location"] == first["links"]["self"]
    assert (first["status"], first["trigger"], first["scheduled_for"]) == ("in_progress", "person", None)
    assert program.ask(export, "run").status_code == 409  # one at a time
    work()
    first = program.get(first["links"]["self"]).json()
    assert (first["status"], first["rows"], first["window"]["lo"]) == ("succeeded", 2, None)
    assert first["delivered_as"]
    assert program.get(f"{first['links']['self']}/download").status_code == 409  # it went to its destination

    make_people(by, 1, first=2)
    program.ask(export, "run")
    work()
    second, listed = program.get(export["links"]["runs"]).json()["items"]
    assert listed == first
    assert (second["rows"], second["window"]["lo"]) == (1, first["window"]["hi"])
    assert second["window"]["changes_after"] == first["window"]["changes_until"]

    again = program.ask(second, "window-again")
    assert again.status_code == 201, again.content
    assert again.json()["trigger"] == "window"
    work()
    made = program.get(again.json()["links"]["self"]).json()
    assert (made["rows"], made["window"]) == (1, second["window"])

    assert program.ask(export, "resync").json()["resync"] is True
    program.ask(export, "run")
    work()
    newest = program.get(export["links"]["runs"]).json()["items"][0]
    assert (newest["rows"], newest["window"]["lo"]) == (3, None)
    export = program.ask(export, "unschedule").json()
    assert (export["status"], export["next_run_at"], export["resync"]) == ("draft", None, False)
    assert program.ask(export, "run").status_code == 409  # a draft that recurs
    assert program.delete(export["links"]["self"]).status_code == 204
    orphan = program.get(newest["links"]["self"]).json()
    assert (orphan["export"], orphan["name"]) == (None, "Everybody")
    assert set(orphan["links"]) == {"self"}


def test_run_starts_a_draft_whatever_its_moment(program: ExportProgram, by: Actor) -> None:
    make_people(by, 1)
    at_once = program.ask(program.made(), "run")
    assert (at_once.status_code, at_once.json()["status"]) == (201, "in_progress")
    later = program.made(name="Later", run_at="2027-03-02T06:30:00+00:00")
    assert later["run_at"] == "2027-03-02T06:30:00Z"
    answer = program.ask(later, "run")
    assert answer.status_code == 201, answer.content
    later = program.get(later["links"]["self"]).json()
    assert (later["status"], later["next_run_at"]) == ("started", None)
    assert program.ask(later, "run").status_code == 409
    work()
    assert {run.state for run in ExportRun.objects.with_state()} == {"succeeded"}


def test_a_failed_delivery_is_relaunched(program: ExportProgram, by: Actor) -> None:
    make_people(by, 2)
    export = make_recurring(by, now=NOW)
    box_root().parent.mkdir(parents=True, exist_ok=True)
    box_root().write_bytes(b"")  # a file stands where the folder should be
    dispatch.tick(now=DUE)
    work(DUE)
    run = program.get(f"{RUNS}/{last_run(export).pk}").json()
    assert (run["status"], run["scheduled_for"]) == ("failed", "2027-03-02T06:30:00Z")
    assert run["error"]["code"] == "DESTINATION_REFUSED"
    assert run["error"]["retryable"] is True
    assert run["error"]["message"].startswith("The destination did not take the file. ")
    assert (run["rows"], run["delivered_at"]) == (2, None)
    box_root().unlink()
    again = program.send_json("POST", run["links"]["relaunch"])
    assert (again.status_code, again.json()["status"], again.json()["id"]) == (200, "in_progress", run["id"])
    work(DUE)
    done = program.get(run["links"]["self"]).json()
    assert (done["status"], done["error"], done["sha256"]) == ("succeeded", None, run["sha256"])
    assert "relaunch" not in done["links"]
    assert program.ask(done, "relaunch").status_code == 409


def test_a_run_that_was_missed(program: ExportProgram, by: Actor) -> None:
    export = make_recurring(by, now=NOW)
    dispatch.tick(now=DUE + dt.timedelta(days=3, hours=1))
    runs = program.get(f"{URL}/{export.pk}/runs").json()["items"]
    assert [(run["status"], run["started_at"]) for run in runs].count(("failed", None)) == 3
    missed = next(run for run in runs if run["status"] == "failed")
    assert (missed["error"]["code"], missed["error"]["retryable"], missed["rows"]) == ("MISSED", False, None)
    assert program.ask(missed, "relaunch").status_code == 409
    assert program.ask(missed, "cancel").status_code == 409
    assert program.ask(missed, "window-again").status_code == 409


def test_a_run_is_canceled(program: ExportProgram, by: Actor) -> None:
    make_people(by, 1)
    run = program.ask(program.made(), "run").json()
    answer = program.ask(run, "cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
    assert set(answer.json()["links"]) == {"self", "export"}
    assert program.ask(run, "cancel").status_code == 409
    work()
    assert program.get(f"{run['links']['self']}/download").status_code == 409


def test_warnings_are_told(program: ExportProgram) -> None:
    run = program.ask(program.made(), "run").json()
    work()
    run = program.get(run["links"]["self"]).json()
    assert run["warnings"] == [{"code": "NO_ROWS", "message": "The file has no rows."}]


# Downloads.


def test_parts_of_a_file(program: ExportProgram, by: Actor) -> None:
    make_people(by, 3)
    run = program.ask(program.made(), "run").json()
    work()
    run = program.get(run["links"]["self"]).json()
    url = run["links"]["download"]
    whole = content_of(program.get(url))
    part = program.get(url, headers={"Range": "bytes=5-9"})
    assert (part.status_code, content_of(part)) == (206, whole[5:10])
    assert part.headers["Content-Range"] == f"bytes 5-9/{len(whole)}"
    assert part.headers["ETag"] == f'"{run["sha256"]}"'
    assert program.get(url, headers={"If-None-Match": part.headers["ETag"]}).status_code == 304
    beyond = program.get(url, headers={"Range": f"bytes={len(whole)}-"})
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{len(whole)}")
    head = program.head(url)
    assert (head.status_code, head.headers["Content-Length"], head.content) == (200, str(len(whole)), b"")


def test_a_file_that_is_no_longer_kept(program: ExportProgram, by: Actor) -> None:
    make_people(by, 1)
    run = program.ask(program.made(), "run").json()
    work()
    stored = ExportRun.objects.get(pk=run["id"]).file
    assert stored
    stored.removed_at = NOW
    stored.save()
    run = program.get(run["links"]["self"]).json()
    assert "download" not in run["links"]
    assert run["rows"] == 1
    answer = program.get(f"{run['links']['self']}/download")
    assert answer.status_code == 404
    assert "no longer kept" in answer.json()["detail"]


# What is refused.


@pytest.mark.parametrize(
    ("field", "definition"),
    [
        ("name", {"name": ""}),
        ("name", {"name": None}),
        ("name", {"name": 5}),
        ("name", {"name": "x" * 121}),
        ("name", {"name": "a\tb"}),
        ("database", {"database": "nowhere"}),
        ("database", {"database": ["main"]}),
        ("type", {"type": "nonsense"}),
        ("type", {"type": "custom"}),
        ("type", {"type": "incremental_custom"}),
        ("type", {"type": {}}),
        ("data_type", {"data_type": "people"}),
        ("table", {"data_type": "linked_data", "table": "nowhere"}),
        ("table", {"table": 5}),
        ("kind", {"kind": "x" * 201}),
        ("columns", {"columns": []}),
        ("columns", {"columns": "email"}),
        ("columns", {"columns": [{"header": "E-mail"}]}),
        ("columns", {"columns": [{"field": "nonsense"}]}),
        ("columns", {"columns": [{"field": "lists"}]}),
        ("columns", {"columns": [{"field": "email", "title": "E-mail"}]}),
        ("columns", {"columns": [{"field": "email"}, {"field": "email"}]}),
        ("columns", {"columns": [{"field": "email"}] * 1001}),
        ("filter", {"filter": []}),
        ("filter", {"filter": {"nor": []}}),
        ("filter", {"filter": {"and": [{"field": "nonsense", "op": "is", "value": "x"}]}}),
        ("filter", {"filter": {"and": [{"field": "email", "op": "gt", "value": 5}]}}),
        ("filter", {"filter": {"and": [{"field": "created_at", "op": "on", "value": "yesterday"}]}}),
        ("file.format", {"file": {"format": "docx"}}),
        ("file.format", {"file": 5}),
        ("file.delimiter", {"file": {"format": "csv", "delimiter": "xx"}}),
        ("file.header", {"file": {"format": "csv", "header": "yes"}}),
        ("file.encoding", {"file": {"format": "csv", "encoding": "ebcdic"}}),
        ("file.compression", {"file": {"format": "csv", "compression": "rar"}}),
        ("file.quoting", {"file": {"format": "csv", "quoting": "some"}}),
        ("file.name_pattern", {"file": {"format": "csv", "name_pattern": "../$name"}}),
        ("file.name_pattern", {"file": {"format": "csv", "name_pattern": "$nonsense"}}),
        ("file.name_pattern", {"file": {"format": "csv", "name_pattern": "a" * 145 + "$run"}}),
        ("file.formula_safe", {"file": {"format": "csv", "formula_safe": 1}}),
        ("file.nonsense", {"file": {"format": "csv", "nonsense": 1}}),
        ("destination", {"destination": 999}),
        ("destination", {"destination": "ftp"}),
        ("destination", {"destination": {"id": 1}}),
        ("schedule.cadence", {"schedule": {"cadence": "hourly", "at": "06:30", "timezone": "UTC"}}),
        ("schedule.cadence", {"schedule": 5}),
        ("schedule.at", {"schedule": {"cadence": "daily", "at": "25:00", "timezone": "UTC"}}),
        ("schedule.timezone", {"schedule": {"cadence": "daily", "at": "06:30", "timezone": "Mars/Olympus"}}),
        ("schedule.timezone", {"schedule": {"cadence": "daily", "at": "06:30"}}),
        ("schedule.weekday", {"schedule": {"cadence": "weekly", "at": "06:30", "timezone": "UTC"}}),
        ("schedule.nonsense", {"schedule": {**DAILY, "nonsense": 1}}),
        ("run_at", {"run_at": "2027-03-02T06:30:00"}),
        ("run_at", {"run_at": "soon"}),
        ("run_at", {"run_at": "9999-12-31T23:59:59-14:00"}),
        ("run_at", {"run_at": "0001-01-01T00:00:00+14:00"}),
        ("start_with", {"start_with": "nothing"}),
        ("deletions", {"deletions": "no"}),
        ("deletions", {"type": "incremental", "deletions": True, "columns": [{"field": "email", "header": "_id"}]}),
        ("send_empty", {"send_empty": "no"}),
        ("recipients", {"recipients": "crm@example.com"}),
        ("recipients", {"recipients": ["crm"]}),
        ("recipients", {"recipients": [{"@": 1}]}),
        ("recipients", {"recipients": [["@"]]}),
        ("recipients", {"recipients": [f"a{n}@example.com" for n in range(51)]}),
        ("report_when", {"report_when": "never"}),
        ("nonsense", {"nonsense": 1}),
        ("given", {"given": 1}),
        ("with_deletions", {"with_deletions": True}),
        ("body", {"filter": {"and": [{"field": "email", "op": "is_empty", "value": "\0"}]}}),
        ("body", {"filter": {"and": [{"field": "email", "op": "is_empty", "value": float("nan")}]}}),
        ("body", {"kind": "\ud800"}),
    ],
)
def test_what_is_wrong_is_named(program: ExportProgram, field: str, definition: dict[str, Any]) -> None:
    answer = program.create(**definition)
    assert answer.status_code == 422, answer.content
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert not Export.objects.exists()
    if "name" not in definition:
        export = program.made()
        answer = program.change(export, **definition)
        assert answer.status_code == 422
        assert [error["field"] for error in answer.json()["errors"]] == [field]
        assert program.get(export["links"]["self"]).json() == export


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"5", b"null", b"\xff", b"[" * 100_000, b'{"name": ' + b"9" * 5_000]
)
def test_bodies_that_cannot_be_read(program: ExportProgram, body: bytes) -> None:
    for method, path in (("POST", URL), ("PATCH", f"{URL}/{program.made(name=f'For {len(body)}')['id']}")):
        assert program.send_json(method, path, body).status_code in (400, 422)


def test_a_body_that_is_too_large(program: ExportProgram) -> None:
    assert program.create(kind="x" * 3_000_000).status_code == 413


def test_gaps_are_told_when_it_is_scheduled(program: ExportProgram) -> None:
    export = program.made(type="incremental")
    for field, change in (
        ("destination", {"destination": "transfer_box"}),
        ("schedule", {"schedule": DAILY}),
    ):
        answer = program.ask(export, "schedule")
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
        program.change(export, **change)
    program.change(export, data_type="linked_data")
    assert program.ask(export, "schedule").json()["errors"][0]["field"] == "data_type"
    program.change(export, data_type="profile")
    assert program.ask(export, "schedule").status_code == 200


def test_a_name_is_used_once(program: ExportProgram, by: Actor) -> None:
    export = program.made()
    make_export(system_actor(make_account()))  # another account may have it too
    for answer in (
        program.create(name="EVERYBODY"),
        program.change(program.made(name="Other"), name="everybody"),
        program.ask(export, "copy", {"name": "Everybody"}),
    ):
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "name")
    for body in (None, {}, {"name": " "}, {"name": 5}):
        answer = program.ask(export, "copy", body)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "name")
    answer = program.ask(export, "copy", {"name": "Third", "nonsense": 1})
    assert answer.json()["errors"][0]["field"] == "nonsense"
    assert Export.objects.for_account(by.account).count() == 2


def test_two_who_schedule_at_once(program: ExportProgram, account: Account) -> None:
    export = program.made()
    start = threading.Barrier(2)
    statuses = []

    def schedule() -> None:
        other = ExportProgram(make_token(account))
        start.wait(10)
        try:
            statuses.append(other.ask(export, "schedule").status_code)
        finally:
            connections.close_all()

    programs = [threading.Thread(target=schedule) for _ in range(2)]
    for one in programs:
        one.start()
    for one in programs:
        one.join()
    assert sorted(statuses) == [200, 409]
    assert ExportRun.objects.count() == 1


# Who may.


ASKED = ("schedule", "unschedule", "copy", "run", "resync")
RUN_ASKED = ("relaunch", "cancel", "window-again")


def test_a_viewer_looks_and_changes_nothing(program: ExportProgram, account: Account) -> None:
    export = program.made()
    run = program.ask(export, "run").json()
    work()
    viewer = ExportProgram(make_token(account, Role.VIEWER))
    assert set(viewer.get(export["links"]["self"]).json()["links"]) == {"self", "runs"}
    assert viewer.get(URL).json()["items"][0]["id"] == export["id"]
    assert set(viewer.get(run["links"]["self"]).json()["links"]) == {"self", "export", "download"}
    assert content_of(viewer.get(f"{run['links']['self']}/download"))
    assert viewer.get(f"{URL}/fields?data_type=profile").status_code == 200
    assert viewer.get("/api/v1/destinations").status_code == 200
    for answer in (
        viewer.create(name="Mine"),
        viewer.change(export, kind=""),
        viewer.delete(export["links"]["self"]),
        *(viewer.ask(export, what, {"name": "Mine"}) for what in ASKED),
        *(viewer.ask(run, what) for what in RUN_ASKED),
    ):
        assert answer.status_code == 403
    assert Client().get(URL).status_code == 401


def test_what_is_another_accounts_is_not_there(program: ExportProgram, by: Actor) -> None:
    export = program.made(type="incremental", destination="transfer_box", schedule=DAILY)
    program.ask(export, "schedule")
    run = program.ask(export, "run").json()
    stranger = ExportProgram(make_token(make_account("Pier Nine Vinyl")))
    assert stranger.get(URL).json()["items"] == []
    assert stranger.get("/api/v1/destinations").json()["items"] == []
    for answer in (
        stranger.get(export["links"]["self"]),
        stranger.get(export["links"]["runs"]),
        stranger.change(export, kind=""),
        stranger.delete(export["links"]["self"]),
        *(stranger.ask(export, what, {"name": "Mine"} if what == "copy" else None) for what in ASKED),
        stranger.get(run["links"]["self"]),
        stranger.get(f"{run['links']['self']}/download"),
        *(stranger.ask(run, what) for what in RUN_ASKED),
    ):
        assert answer.status_code == 404
    other = Database.objects.create(account=by.account, name="Other", slug="other")
    assert stranger.create(database=other.slug).json()["errors"][0]["field"] == "database"
    assert stranger.get(f"{URL}/fields?data_type=profile&database=other").json()["errors"][0]["field"] == "database"
    assert stranger.create(destination=export["destination"]).json()["errors"][0]["field"] == "destination"


def test_exports_of_support_staff(program: ExportProgram, by: Actor) -> None:
    make_people(by, 1)
    made = {}
    for type_ in ("custom", "incremental_custom"):
        made[type_] = support.custom_create(by=by, name=type_, type_=type_, data_type="profile")
        definition = {"destination": "transfer_box", "schedule": DAILY, "recipients": ["crm@example.com"]}
        support.custom_update(export=made[type_], by=by, changes=definition, support_note="")
        support.custom_schedule(export=made[type_], by=by)
    custom = program.get(f"{URL}/{made['custom'].pk}").json()
    assert {key: custom[key] for key in DEFINITION if custom[key] is not None} == {
        "name": "custom",
        "database": database_default(account=by.account).slug,
        "type": "custom",
        "data_type": "profile",
        "schedule": DAILY,
    }
    assert set(custom["links"]) == {"self", "runs"}
    for what in ASKED:
        assert program.ask(custom, what, {"name": "Mine"} if what == "copy" else None).status_code == 409
    assert program.change(custom, kind="").status_code == 409
    flow = program.get(f"{URL}/{made['incremental_custom'].pk}").json()
    assert flow["recipients"] == ["crm@example.com"]
    assert set(flow["links"]) == {"self", "runs", "unschedule", "copy"}
    assert program.ask(flow, "copy", {"name": "Mine"}).json()["type"] == "incremental"
    for body in (None, {}, {"for_good": False}, {"for_good": 1}, {"for_good": True, "nonsense": 1}):
        answer = program.ask(flow, "unschedule", body)
        assert answer.status_code == 422, body
    flow = program.ask(flow, "unschedule", {"for_good": True}).json()
    assert (flow["type"], flow["status"]) == ("incremental", "draft")
    assert program.change(flow, send_empty=False).json()["send_empty"] is False


# Lists, fields and the document.


def test_what_is_listed_can_be_taken(program: ExportProgram, by: Actor) -> None:
    make_people(by, 2)
    Profile.objects.filter(email="person-00000@example.com").update(attributes=ODD_KEYS)
    listed = [field["name"] for field in program.get(f"{URL}/fields", {"data_type": "profile"}).json()["items"]]
    odd = [f"attributes.{key}" for key in ODD_KEYS]
    assert set(odd) < set(listed)
    for at, (name, value) in enumerate(zip(odd, ODD_KEYS.values(), strict=True)):
        export = program.made(
            name=f"Odd {at}",
            columns=[{"field": name}],
            filter={"and": [{"field": name, "op": "is", "value": value}]},
        )
        assert export["columns"][0]["field"] == name
        program.ask(export, "run")
        work()
        run = last_run(Export.objects.get(pk=export["id"]))
        header, row = csv.reader(io.StringIO(bytes_of(run).decode(), newline=""))
        assert header == [export["columns"][0]["header"]]
        assert header[0].isprintable()
        assert row == [value]
    for name in ("attributes.\0", "attributes.\ud800", f"attributes.{'x' * 256}", "x" * 275, " email", "attributes."):
        refused = program.create(name="No", columns=[{"field": name}])
        assert refused.status_code == 422, name
        assert refused.json()["errors"][0]["field"] in ("columns", "body"), name  # some are no text to start with


@pytest.mark.parametrize("sort", ["created_at", "-created_at", "name", "-name"])
def test_pages_hold_every_export_once(program: ExportProgram, by: Actor, sort: str) -> None:
    exports = [make_export(by, name=f"Export {letter} {n}") for n, letter in enumerate("bAcDa")]
    make_export(system_actor(make_account()))
    found, cursor = [], ""
    while cursor is not None:
        page = program.get(URL, {"sort": sort, "limit": 2, "cursor": cursor}).json()
        assert len(page["items"]) <= 2
        found += [item["id"] for item in page["items"]]
        cursor = page["next"]
    exports = list(Export.objects.filter(pk__in=[export.pk for export in exports]))
    key = (lambda one: (one.name.lower(), one.pk)) if "name" in sort else (lambda one: (one.created_at, one.pk))
    assert found == [one.pk for one in sorted(exports, key=key, reverse=sort.startswith("-"))]


def test_pages_of_runs_and_destinations(program: ExportProgram, by: Actor) -> None:
    export = make_recurring(by, now=NOW)
    for day in range(5):
        dispatch.tick(now=DUE + dt.timedelta(days=day))
    Destination.objects.create(account=by.account, name="Warehouse", kind="transfer_box")
    for path, count in ((f"{URL}/{export.pk}/runs", 5), ("/api/v1/destinations", 2)):
        found, cursor = [], ""
        while cursor is not None:
            page = program.get(path, {"limit": 1, "cursor": cursor}).json()
            found += [item["id"] for item in page["items"]]
            cursor = page["next"]
        assert len(found) == len(set(found)) == count
        assert found == sorted(found, reverse=path.endswith("runs"))
        for wrong in ("nonsense", "WyJuYW1lIiwiYSIsMV0"):
            assert program.get(path, {"cursor": wrong}).status_code == 400
    runs = program.get(f"{URL}/{export.pk}/runs").json()["items"]
    assert [run["error"] and run["error"]["code"] for run in runs] == ["OVERLAPPED"] * 4 + [None]


def test_filters(program: ExportProgram, by: Actor) -> None:
    one = make_export(by, name="One 50%")
    feed = make_recurring(by, now=NOW, data_type="interaction", columns=None)

    def ids(query: str) -> set[int]:
        answer = program.get(f"{URL}?{query}")
        assert answer.status_code == 200, answer.content
        return {item["id"] for item in answer.json()["items"]}

    assert ids("status=draft") == ids("type=one_shot") == ids("data_type=profile") == ids("q=50%25") == {one.pk}
    assert ids("status=scheduled") == ids("type=incremental") == ids("q=FEED") == {feed.pk}
    assert ids("status=draft,scheduled") == ids("status=draft&status=scheduled") == {one.pk, feed.pk}
    assert ids(f"database={one.database.slug}") == {one.pk, feed.pk}
    assert ids("status=started") == set()
    refused = program.get(f"{URL}?database=nowhere")
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "database")


@pytest.mark.parametrize(
    ("path", "query"),
    [
        *((URL, query) for query in ("status=finished", "type=x", "data_type=x", "sort=id", "limit=0", "q=a%00")),
        *((URL, f"cursor={cursor}") for cursor in ("nonsense", "WyJuYW1lIiwiYSIsMV0", "WyItY3JlYXRlZF9hdCIsIngiLDFd")),
        *((f"{URL}/fields", query) for query in ("", "data_type=x", "data_type=profile%00", "data_type=linked_data")),
        (f"{URL}/fields", "data_type=list_member&table=nowhere"),
        (f"{URL}/fields", "data_type=profile&database=nowhere"),
        ("/api/v1/destinations", "limit=201"),
    ],
)
def test_queries_that_make_no_sense(program: ExportProgram, path: str, query: str) -> None:
    assert program.get(f"{path}?{query}").status_code in (400, 422)


@pytest.mark.parametrize(
    "path",
    [
        *(f"{URL}/{name}" for name in (2**63, "9" * 5000, -1, "abc", "1%00", "")),
        *(f"{RUNS}/{name}" for name in (2**63, "9" * 30, "abc", "")),
        f"{URL}/999/runs",
        f"{RUNS}/999/download",
        RUNS,
    ],
)
def test_addresses_that_lead_nowhere(program: ExportProgram, path: str) -> None:
    for method in ("GET", "POST", "PATCH", "DELETE"):
        assert program.send_json(method, path, {}).status_code in (404, 405)


def test_lists_ask_the_database_the_same_for_many(
    program: ExportProgram, by: Actor, django_assert_max_num_queries: Any
) -> None:
    feed = make_recurring(by, now=NOW)
    for day in range(8):
        make_export(by, name=f"Export {day}")
        dispatch.tick(now=DUE + dt.timedelta(days=day))
    program.get(URL)
    with django_assert_max_num_queries(3):
        assert len(program.get(URL).json()["items"]) == 9
    with django_assert_max_num_queries(4):
        assert len(program.get(f"{URL}/{feed.pk}/runs").json()["items"]) == 8


def test_the_document_is_sound() -> None:
    document = Client().get("/api/v1/openapi.json").json()
    paths, schemas = document["paths"], document["components"]["schemas"]
    assert {path for path in paths if path.startswith((URL, RUNS, "/api/v1/destinations"))} == {
        *(URL, f"{URL}/fields", f"{URL}/{{export_id}}", f"{URL}/{{export_id}}/runs", "/api/v1/destinations"),
        *(f"{URL}/{{export_id}}/{what}" for what in ASKED),
        *(f"{RUNS}/{{run_id}}", f"{RUNS}/{{run_id}}/download"),
        *(f"{RUNS}/{{run_id}}/{what}" for what in RUN_ASKED),
    }
    operations = [operation for methods in paths.values() for operation in methods.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(ids) == len(set(ids))
    for path, methods in paths.items():
        for operation in methods.values():
            named = {one["name"] for one in operation.get("parameters", []) if one["in"] == "path"}
            assert named == {part[1:-1] for part in path.split("/") if part.startswith("{")}
            assert operation["description"]
    references = set(_references(document))
    assert references <= {f"#/components/schemas/{name}" for name in schemas}
    assert schemas["ExportIn"]["required"] == ["name"]
    assert schemas["ExportIn"]["additionalProperties"] is False
    assert {"format", "compression", "formula_safe"} <= set(json.dumps(schemas["FileIn"]).split('"'))
    page = Client().get("/api/v1/docs").content.decode()
    assert "POST /api/v1/exports" in page
    assert "name_pattern" in page


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for one in node.values():
            yield from _references(one)
    elif isinstance(node, list):
        for one in node:
            yield from _references(one)


def test_every_code_of_an_error_can_be_told(program: ExportProgram, by: Actor) -> None:
    export = make_export(by)
    for number, code in enumerate(ERRORS):
        at = NOW + dt.timedelta(hours=number)
        facts = {"account": by.account, "database": export.database, "name": code, "type": "one_shot"}
        run = ExportRun.objects.create(
            **facts, data_type="profile", definition={}, trigger="schedule", scheduled_for=at, fault=code
        )
        error = program.get(f"{RUNS}/{run.pk}").json()["error"]
        assert (error["code"], error["retryable"]) == (code, ERRORS[code].retryable)
        assert "{" not in error["message"]
