"""Files by others, read from BATCHDESK_CORPORA; deselected where that is not set (tests/conftest.py)."""

from __future__ import annotations

import csv
import io
import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.db import connection

from audience.models import Interaction, Profile
from batchjobs import kernel
from batchjobs.failures import FileFailureError
from batchjobs.ingestion.checks import email
from batchjobs.models import BatchJob
from batchjobs.services import batchjob_create
from tests.integration.test_bad_input import outcome, run
from tests.unit.readers import read

ROOT = Path(os.environ.get("BATCHDESK_CORPORA") or "/nowhere")
TORTURE = ROOT / "torture"
JSON_FILES = sorted((TORTURE / "JSONTestSuite" / "test_parsing").glob("*.json"))
RUST = TORTURE / "rust-csv" / "examples" / "data"
MAILCHIMP = ROOT / "fivetran-mailchimp" / "integration_tests" / "seeds"

if os.environ.get("BATCHDESK_CORPORA") and not (len(JSON_FILES) == 318 and RUST.is_dir() and MAILCHIMP.is_dir()):
    raise FileNotFoundError(f"{ROOT} does not hold the files that these tests read")

pytestmark = [pytest.mark.corpora, pytest.mark.django_db(transaction=True)]


@pytest.mark.parametrize("path", sorted((TORTURE / "csv-spectrum" / "csvs").glob("*.csv")), ids=lambda path: path.stem)
def test_csv_spectrum(path):
    expected = json.loads((path.parent.parent / "json" / f"{path.stem}.json").read_bytes().decode("utf-8", "replace"))
    data = path.read_bytes()
    header = next(csv.reader(io.StringIO(data.decode("utf-8", "replace"), newline="")))
    found = read("delimited", data)
    rows = [dict(zip(header, row, strict=True)) for _, row, _, _ in found.records]
    assert not found.rejected
    if path.stem == "location_coordinates":  # not UTF-8, and the JSON beside it holds another number
        assert "\udc9a" in rows[0]["Location Coordinates"] or "\ufffd" in rows[0]["Location Coordinates"]
        assert (rows[0]["Cities"], expected["Cities"]) == ("Modesto", "Modesto")
        return
    assert rows == expected


def refused(found: Any) -> bool:
    return bool(found.broken or found.rejected or any(codes for *_, codes in found.records))


def reading(key: str, data: bytes) -> Any:
    """What the reader gives, or None where it refuses the file."""
    try:
        return read(key, data)
    except FileFailureError:
        return None


@pytest.mark.parametrize("path", JSON_FILES, ids=lambda path: path.stem)
def test_json_test_suite(path):
    """y_ files are JSON, n_ files are not, of i_ files nobody knows. Ours must be objects, so each is wrapped too."""
    data = path.read_bytes()
    verdict = path.name[0]
    readers = ["json"] if b"\n" in data.strip() or b"\r" in data.strip() else ["json", "ndjson"]
    for key in readers:
        wrapped = data if key == "json" else b'{"v":' + data.strip(b"\n") + b"}"
        for content in {data, wrapped}:
            found = reading(key, content)
            if verdict == "n":
                assert found is None or refused(found) or not found.records, (key, content)
            if verdict == "y" and content is wrapped and found is not None:
                assert not found.broken
                codes = {code for _, code, _ in found.rejected} | {c for *_, codes in found.records for c in codes}
                # What is JSON and cannot be stored, or is no record.
                assert codes <= {"RECORD_NOT_OBJECT", "NUL_CHARACTER", "KEY_TWICE", "NUMBER_OUT_OF_RANGE"}, codes
            if verdict == "y":
                assert found is not None, (key, content)


def test_json_test_suite_as_jobs(marketer):
    """All of them as real jobs: each ends, and none crashes."""
    assert len(JSON_FILES) == 318
    for path in JSON_FILES:
        batchjob_create(
            by=marketer,
            content=ContentFile(path.read_bytes()),
            file_name=path.name,
            record_type="profile",
            dry_run=path.name < "n_string",  # both ways of running
        )
    kernel.queue_work("short")
    jobs = BatchJob.objects.for_account(marketer.account)
    assert not jobs.exclude(status__in=["done", "failed"]).exists()
    assert not jobs.filter(crashes__gt=0).exists()
    assert not jobs.filter(failure_code="CRASHED").exists()
    assert not jobs.filter(status="done", file__name__startswith="n_").exists()


@pytest.mark.parametrize(
    "path", sorted((TORTURE / "JSONTestSuite" / "test_transform").glob("*.json")), ids=lambda p: p.stem
)
def test_json_test_suite_values(path):
    """Numbers come out as they were written, and what stands twice or is no text is told."""
    data = path.read_bytes()
    found = read("ndjson", b'{"v":' + data.strip() + b"}")
    if found.rejected:
        assert found.rejected[0][1] == "JSON_INVALID"
        return
    (_, record, _, codes) = found.records[0]
    if path.stem.startswith("number_"):
        value = record["v"][0]
        assert codes == (["NUMBER_OUT_OF_RANGE"] if "e-999" in path.stem else [])
        assert str(value) == path.stem.removeprefix("number_") or float(value) == json.loads(data)[0]
    elif "same_key" in path.stem:
        assert codes == ["KEY_TWICE"]
    elif "invalid_codepoint" in path.stem:
        assert codes == ["ENCODING_INVALID"]
    elif "NULL" in path.stem:
        assert codes == ["NUL_CHARACTER"]
    else:
        assert codes == []


def test_ndjson_spec():
    """The examples of the specification, and its rule on empty lines: ours are no rows, and say so nowhere."""
    text = (TORTURE / "ndjson-spec" / "README.md").read_text()
    example = text.split("~~~~~")[1]
    for newline in ("\n", "\r\n"):
        found = read("ndjson", example.replace("\n", newline).encode())
        assert [record for _, record, _, _ in found.records] == [
            json.loads(line) for line in example.splitlines() if line.strip()
        ]
        assert not found.rejected


def test_latin1_is_asked_for(marketer):
    data = (RUST / "uspop-latin1.csv").read_bytes()
    columns = {"columns": {"City": "partner_user_id"}, "run_anyway": True}
    job = run(data, "uspop.csv", by=marketer, options=columns)
    bad = [number for number, line in enumerate(data.splitlines(), 1) if not line.isascii()]
    assert bad
    assert outcome(job) == ("done", 100 - len(bad), 0, {number: ["ENCODING_INVALID"] for number in bad})
    job = run(data, "uspop.csv", by=marketer, options={**columns, "encoding": "latin-1"})
    assert outcome(job) == ("done", 100, 0, {})
    expected = {line.split(",")[0] for line in data.decode("latin-1").splitlines()[1:]}
    cities = set(Profile.objects.for_account(marketer.account).values_list("partner_user_id", flat=True))
    assert cities == expected


def test_nul_never_reaches_the_database():
    """The file has the word NULL; a dump of a program in C would have the character."""
    data = (RUST / "uspop-null.csv").read_bytes()
    assert outcome(run(data, "uspop.csv", options={"columns": {"City": "partner_user_id"}}))[:2] == ("done", 100)
    data = data.replace(b"NULL", b"\0")
    job = run(data, "uspop.csv", options={"columns": {"City": "partner_user_id"}})
    bad = {number: ["NUL_CHARACTER"] for number, line in enumerate(data.splitlines(), 1) if b"\0" in line}
    assert bad
    assert outcome(job) == ("done", 100 - len(bad), 0, bad)


@pytest.mark.parametrize("name", ["strange.csv", "smallpop-colon.csv", "smallpop-no-headers.csv", "smallpop.csv"])
def test_rust_csv_without_people(name):
    job = run((RUST / name).read_bytes(), name)
    assert job.failure_code in ("NO_DELIMITER", "COLUMN_MISSING", "HEADER_UNREADABLE")


def test_rust_csv_with_a_column_map():
    job = run((RUST / "smallpop.csv").read_bytes(), "smallpop.csv", options={"columns": {"city": "partner_user_id"}})
    assert outcome(job) == ("done", 10, 0, {})
    world = (RUST / "bench" / "worldcitiespop.csv").read_bytes()
    found = read("delimited", world)
    rows = list(csv.reader(io.StringIO(world.decode("utf-8", "surrogateescape"), newline="")))
    assert not found.rejected
    assert [row for _, row, _, _ in found.records] == rows[1:]


def test_email_addresses():
    cases = json.loads((TORTURE / "django-emailvalidator-cases.json").read_text())
    assert (len(cases["valid"]), len(cases["invalid"])) == (22, 40)
    # Values are stripped before they are looked at; localhost is an exception of Django's for developers.
    wrong = [value for value in cases["valid"] if not email(value.strip().lower())]
    assert wrong == ["email@localhost"]
    taken = [value for value in cases["invalid"] if value and email(value.strip().lower())]
    assert taken == [value for value in cases["invalid"] if value and value != value.strip()]


def test_jaffle_shop(marketer):
    seeds = ROOT / "jaffle-shop" / "seeds"
    job = run((seeds / "raw_customers.csv").read_bytes(), "customers.csv", by=marketer)
    assert outcome(job) == ("done", 100, 0, {})
    job = run((seeds / "raw_orders.csv").read_bytes(), "orders.csv", by=marketer, kind="purchase")
    assert outcome(job) == ("done", 99, 0, {})
    people = Profile.objects.for_account(marketer.account)
    assert people.count() == 100
    assert people.get(partner_user_id="1").attributes == {"first_name": "Michael", "last_name": "P."}
    assert Interaction.objects.for_account(marketer.account).filter(profile__in=people).count() == 99


def test_chinook(marketer):
    data = (ROOT / "chinook" / "ChinookData.json").read_bytes()
    document = json.loads(data)
    assert run(data, "chinook.json", by=marketer).failure_code == "LIST_NOT_CHOSEN"
    options = {"array": "Customer", "run_anyway": True}
    assert outcome(run(data, "chinook.json", by=marketer, options=options)) == ("done", 59, 0, {})
    people = Profile.objects.for_account(marketer.account)
    names = {person.email: person.attributes["first_name"] for person in people}
    assert names == {customer["Email"].lower(): customer["FirstName"] for customer in document["Customer"]}
    job = run(data, "chinook.json", by=marketer, kind="purchase", options={"array": "Invoice"})
    assert outcome(job) == ("done", 412, 0, {})
    invoices = Interaction.objects.for_account(marketer.account).filter(profile__in=people)
    assert invoices.count() == 412
    assert people.count() == 59
    total = sum(Decimal(str(invoice.properties["price"])) for invoice in invoices)
    assert total == sum(Decimal(str(invoice["Total"])) for invoice in document["Invoice"])


@pytest.mark.parametrize("order", [("profile", "optout"), ("optout", "profile")])
def test_mailchimp_members(marketer, order):
    files = {
        "profile": ("member.csv", {"columns": {"id": "partner_user_id"}}),
        "optout": ("unsubscribe.csv", {}),
    }
    for kind in order:
        name, options = files[kind]
        data = (MAILCHIMP / name).read_bytes()
        job = run(data, name, by=marketer, kind=kind, options=options)
        assert outcome(job) == ("done", len(list(csv.DictReader(io.StringIO(data.decode())))), 0, {})
    gone = [row["member_id"] for row in csv.DictReader(io.StringIO((MAILCHIMP / "unsubscribe.csv").read_text()))]
    suppressed = Profile.objects.suppressed("email").filter(database__account=marketer.account)
    assert list(suppressed.values_list("partner_user_id", flat=True)) == gone
    assert suppressed.get().email == "dylan+testing@example.co"


def test_mailchimp_activity(marketer):
    data = (MAILCHIMP / "campaign_recipient_activity.csv").read_bytes()
    options = {"columns": {"action": "event_name", "timestamp": "event_time"}}
    job = run(data, "campaign_recipient_activity.csv", by=marketer, kind="event", options=options)
    rows = list(csv.DictReader(io.StringIO(data.decode())))
    assert outcome(job) == ("done", len(rows), 0, {})
    stored = Interaction.objects.for_account(marketer.account)
    assert sorted(stored.values_list("kind", "profile__partner_user_id")) == sorted(
        (row["action"], row["member_id"]) for row in rows
    )


def test_cdnow(marketer):
    data = (ROOT / "cdnow" / "CDNOW_master.txt").read_bytes()
    job = run(data, "CDNOW_master.txt", by=marketer, kind="purchase")
    assert job.failure_code == "NO_DELIMITER"
    options = {"delimiter": " ", "columns": {"dollar_value": "price", "number_of_cds": "qty"}, "run_anyway": True}
    job = run(data, "CDNOW_master.txt", by=marketer, kind="purchase", options=options)
    assert outcome(job) == ("done", 69_659, 0, {})
    assert Profile.objects.for_account(marketer.account).count() == 23_570
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT sum((properties->>'price')::numeric), sum((properties->>'qty')::numeric)"
            " FROM audience_interaction WHERE created_by_job = %s",
            [job.pk],
        )
        found = cursor.fetchone()
    rows = [line.split() for line in data.decode().splitlines()[1:] if line.strip()]
    assert found == (sum(Decimal(row[3]) for row in rows), sum(Decimal(row[2]) for row in rows))
