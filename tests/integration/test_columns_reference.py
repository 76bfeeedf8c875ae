"""The reference of columns: its templates go in, its failing examples are rejected, and each type has a page."""

from __future__ import annotations

import pytest
from django.core.files.base import ContentFile
from django.test import Client

from accounts.actors import Actor
from audience.models import DataTable
from audience.services import database_default
from batchjobs import kernel
from batchjobs.downloads import rejects
from batchjobs.models import BatchJob, RecordType
from batchjobs.reference import type_entry
from batchjobs.services import batchjob_create

pytestmark = pytest.mark.django_db(transaction=True)


def run(by: Actor, kind: str, content: str, name: str) -> BatchJob:
    options = {"run_anyway": True}
    if kind == RecordType.RECORD:
        table = {"slug": "tickets", "name": "Tickets", "kind": "linked"}
        database = database_default(account=by.account)
        options["table"] = DataTable.objects.get_or_create(database=database, **table)[0].slug
    job = batchjob_create(
        by=by, content=ContentFile(content.encode()), file_name=name, record_type=kind, options=options
    )
    kernel.queue_work("short")
    job.refresh_from_db()
    return job


@pytest.mark.parametrize("kind", RecordType.values)
def test_templates_go_in(marketer, kind):
    entry = type_entry(kind)
    run(marketer, "event", type_entry("event").csv_template, "event.csv")
    in_csv = run(marketer, kind, entry.csv_template, "template.csv")
    assert (in_csv.status, in_csv.invalid_rows) == ("done", 0), list(rejects(in_csv))
    in_json = run(marketer, kind, entry.json_template, "template.ndjson")
    assert (in_json.status, in_json.invalid_rows) == ("done", 0), list(rejects(in_json))
    assert in_json.valid_rows + in_json.skipped_rows == 1


@pytest.mark.parametrize("kind", RecordType.values)
def test_each_row_of_the_failing_example_is_rejected_for_what_the_page_says(marketer, kind):
    entry = type_entry(kind)
    run(marketer, "event", type_entry("event").csv_template, "event.csv")
    job = run(marketer, kind, entry.failing_example, "bad.csv")
    wrong = [row for row in entry.columns if row.wrong]
    assert job.invalid_rows == len(wrong) > 0
    told = [[(error["column"], error["message"]) for error in entry["errors"]] for entry in rejects(job)]
    assert told == [[(row.column.name, row.why)] for row in wrong]


@pytest.mark.parametrize("kind", RecordType.values)
def test_pages_and_downloads(marketer, kind):
    client = Client()
    client.force_login(marketer.user)
    page = client.get(f"/batch-jobs/columns/{kind}/")
    assert page.status_code == 200
    for row in type_entry(kind).columns:
        assert f"<code>{row.column.name}</code>" in page.content.decode()
    assert client.get(f"/batch-jobs/columns/{kind}/template.csv").content.decode() == type_entry(kind).csv_template
    assert client.get(f"/batch-jobs/columns/{kind}/template.ndjson").status_code == 200
    assert client.get(f"/batch-jobs/columns/{kind}/template.xls").status_code == 404


def test_unknown_types_are_not_there(marketer):
    client = Client()
    client.force_login(marketer.user)
    assert client.get("/batch-jobs/columns/guest/").status_code == 404
    assert client.get("/batch-jobs/columns/").headers["Location"] == "/batch-jobs/columns/event/"
