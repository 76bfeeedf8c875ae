"""Files of linked data and of repositories: columns that a table declares, keys, people, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.test import Client

from accounts.actors import Actor
from audience.erasures import erasure_request
from audience.models import Database, DataTable, Profile, Record
from audience.services import database_default
from batchjobs import kernel
from batchjobs.models import BatchJob
from batchjobs.refusals import JobRefusedError
from batchjobs.services import batchjob_create
from tests.factories import make_actor
from tests.integration.test_import import log_of, run_file
from tests.operations import make_upload
from tests.rows import make_token

pytestmark = pytest.mark.django_db(transaction=True)

COLUMNS = [
    {"name": "seat", "type": "text"},
    {"name": "price", "type": "number"},
    {"name": "paid", "type": "boolean"},
    {"name": "Show Day", "type": "date"},
    {"name": "scanned", "type": "datetime"},
]


def make_table(by: Actor, kind: str = "linked", key: str = "seat", **more: Any) -> DataTable:
    database = more.pop("database", None) or database_default(account=by.account)
    facts = {"name": "Tickets", "slug": "tickets", "kind": kind, "key": key, "columns": COLUMNS, **more}
    return DataTable.objects.create(database=database, **facts)


def run(by: Actor, content: str, name: str = "tickets.csv", table: str = "tickets", **options: Any) -> BatchJob:
    return run_file(by, content, name, record_type="record", options={"table": table, **options})


def rows(table: DataTable) -> list[tuple[str | None, str | None, dict[str, Any]]]:
    found = Record.objects.filter(table=table).order_by("pk").select_related("profile")
    return [(row.key, row.profile and row.profile.email, row.values) for row in found]


def test_linked_data(marketer: Actor) -> None:
    table = make_table(marketer)
    job = run(
        marketer,
        "Mail,Seat,Price,Paid,Show day,scanned,other\n"
        "Ines@example.com,A1,012.50,yes,2026-03-01,2026-03-01T19:30:00Z,x\n"
        "tom@example.com,A2,,NO,,,\n"
        "tom@example.com,A3,a lot,maybe,2026-13-45,soon,\n"
        ",A4,1,yes,,,\n"
        "nobody,A5,1,yes,,,\n"
        "ann@example.com,,1,yes,,,\n",
    )
    assert (job.status, job.valid_rows, job.invalid_rows, job.skipped_rows) == ("done", 2, 4, 0)
    assert rows(table) == [
        (
            "A1",
            "ines@example.com",
            {
                **{"seat": "A1", "price": 12.5, "paid": True},
                **{"Show Day": "2026-03-01", "scanned": "2026-03-01T19:30:00Z"},
            },
        ),
        ("A2", "tom@example.com", {"seat": "A2", "paid": False}),
    ]
    assert [[(error["column"], error["code"]) for error in entry["errors"]] for entry in log_of(job)] == [
        [
            *(("Price", "NUMBER_INVALID"), ("Paid", "CHOICE_INVALID")),
            *(("Show day", "EVENT_TIME_INVALID"), ("scanned", "EVENT_TIME_INVALID")),
        ],
        [("Mail", "IDENTITY_MISSING")],
        [("Mail", "EMAIL_INVALID")],
        [("Seat", "VALUE_MISSING")],
    ]
    assert not Profile.objects.get(email="tom@example.com").attributes


def test_the_same_key_is_the_same_row(marketer: Actor) -> None:
    table = make_table(marketer)
    run(marketer, "email,seat,price\na@example.com,A1,1\na@example.com,A2,2\nb@example.com,A1,\na@example.com,A1,3\n")
    assert rows(table) == [
        ("A1", "a@example.com", {"seat": "A1", "price": 3}),
        ("A2", "a@example.com", {"seat": "A2", "price": 2}),
    ]
    before = {row.key: (row.change_xid, row.updated_at) for row in Record.objects.all()}
    job = run(marketer, "email,seat,price,paid\na@example.com,A1,3,\nb@example.com,A2,,true\nb@example.com,A3,,\n")
    assert (job.valid_rows, job.chunks.get().figures) == (3, {"new_records": 1, "changed_records": 1})
    assert rows(table)[1:] == [
        ("A2", "b@example.com", {"seat": "A2", "price": 2, "paid": True}),
        ("A3", "b@example.com", {"seat": "A3"}),
    ]
    after = {row.key: (row.change_xid, row.updated_at) for row in Record.objects.all()}
    assert after["A1"] == before["A1"]  # unchanged rows do not look changed
    assert after["A2"][0] > before["A2"][0]
    assert after["A2"][1] > before["A2"][1]


def test_rows_without_a_key_and_people_by_number(marketer: Actor) -> None:
    table = make_table(marketer, key="")
    ines = Profile.objects.create(database=table.database, email="ines@example.com", partner_user_id="00112")
    job = run(marketer, "customer_id,seat\n00112,A1\n00112,A1\nnew-7,\n")
    assert (job.valid_rows, job.invalid_rows) == (3, 0)
    assert rows(table)[:2] == [(None, "ines@example.com", {"seat": "A1"})] * 2
    assert Record.objects.filter(profile=ines).count() == 2
    assert Record.objects.latest("pk").profile.partner_user_id == "new-7"


@pytest.mark.parametrize("name", ["shops.csv", "shops.ndjson"])
def test_repositories_are_about_nobody(name: str, marketer: Actor) -> None:
    columns = [{"name": "id", "type": "text"}, {"name": "text", "type": "text"}, {"name": "email", "type": "text"}]
    table = make_table(marketer, "repository", "id", slug="shops", columns=columns)
    long = "long " * 400
    if name == "shops.csv":
        content = f"id,text,email\n1,{long},shop@example.com\n2,,not an address\n"
    else:
        content = "\n".join(
            json.dumps(row)
            for row in ({"id": 1, "text": long, "email": "shop@example.com"}, {"id": "2", "email": "not an address"})
        )
    job = run(marketer, content, name, "shops")
    assert (job.status, job.valid_rows, job.invalid_rows) == ("done", 2, 0), log_of(job)
    assert rows(table) == [
        ("1", None, {"id": "1", "text": long.strip(), "email": "shop@example.com"}),
        ("2", None, {"id": "2", "email": "not an address"}),
    ]
    assert not Profile.objects.exists()


@pytest.mark.parametrize(
    ("kind", "key", "content", "code"),
    [
        ("linked", "seat", "seat,price\nA1,1\n", "COLUMN_MISSING"),
        ("linked", "seat", "email,price\na@example.com,1\n", "COLUMN_MISSING"),
        ("repository", "", "colour,size\nred,1\n", "COLUMN_MISSING"),
        ("repository", "seat", "price,size\n1,1\n", "COLUMN_MISSING"),
    ],
    ids=["nobody", "no key", "no column", "no key in a repository"],
)
def test_what_a_file_needs(kind: str, key: str, content: str, code: str, marketer: Actor) -> None:
    table = make_table(marketer, kind, key)
    job = run(marketer, content)
    assert (job.status, job.failure_code) == ("failed", code)
    assert rows(table) == []


def test_a_table_that_is_not_there(marketer: Actor) -> None:
    make_table(marketer)
    make_table(make_actor(), slug="theirs")
    second = Database.objects.create(account=marketer.account, name="Second", slug="second")
    make_table(marketer, slug="elsewhere", database=second)
    for table in ("", "theirs", "elsewhere", "x" * 61, 5):
        with pytest.raises(JobRefusedError, match="table"):
            run(marketer, "email,seat\na@example.com,A1\n", table=table)


def test_a_table_that_is_removed_before_the_job_runs(marketer: Actor) -> None:
    table = make_table(marketer)
    content = ContentFile(b"email,seat\na@example.com,A1\n")
    job = batchjob_create(
        by=marketer, content=content, file_name="t.csv", record_type="record", options={"table": "tickets"}
    )
    table.delete()
    kernel.queue_work("short")
    job.refresh_from_db()
    assert (job.status, job.failure_code) == ("failed", "TABLE_MISSING")


def test_programs_say_the_table(marketer: Actor, client: Client) -> None:
    make_table(marketer)
    token = {"headers": {"Authorization": f"Bearer {make_token(marketer.account)}"}}

    def send(options: str) -> Any:
        file = ContentFile(b"email,seat\na@example.com,A1\n", name="t.csv")
        return client.post("/api/v1/batch-jobs", {"type": "record", "file": file, "options": options}, **token)

    assert send('{"table": "tickets"}').status_code == 201
    refused = send("{}")
    assert (refused.status_code, "table" in refused.content.decode()) == (422, True)


def test_the_form_asks_for_the_table(marketer: Actor, marta: Client) -> None:
    make_table(marketer)
    make_table(make_actor(), name="Theirs", slug="theirs")
    upload = make_upload(marketer, "t.csv", b"mail,Seat,colour\na@example.com,A1,red\n")
    form = {"record_type": "record", "upload": str(upload.upload_id), "looking": str(upload.upload_id), "name": "Seats"}
    page = marta.post("/batch-jobs/look/", form).content.decode()
    assert '<option value="tickets">Tickets</option>' in page
    assert "There is no such table" in page
    assert 'value="theirs"' not in page
    page = marta.post("/batch-jobs/look/", {**form, "table": "tickets"}).content.decode()
    assert "<option selected>seat</option>" in page
    assert "<option selected>email</option>" in page
    assert "There is no such table" not in page
    columns = {"column_type": "record", "column_name": ["mail", "Seat", "colour"], "column_to": ["email", "seat", ""]}
    assert "Choose the table" in marta.post("/batch-jobs/new/", {**form, **columns}).content.decode()
    assert marta.post("/batch-jobs/new/", {**form, **columns, "table": "theirs"}).status_code == 422
    assert marta.post("/batch-jobs/new/", {**form, **columns, "table": "tickets"}).status_code == 303
    assert BatchJob.objects.get().options == {"table": "tickets"}


def test_whoever_was_erased_does_not_come_back(marketer: Actor) -> None:
    table = make_table(marketer)
    erasure_request(database=table.database, by="marta", email="ines@example.com")
    job = run(marketer, "email,seat\nines@example.com,A1\ntom@example.com,A2\n")
    assert (job.valid_rows, job.invalid_rows) == (1, 1)
    assert [email for _key, email, _values in rows(table)] == ["tom@example.com"]
