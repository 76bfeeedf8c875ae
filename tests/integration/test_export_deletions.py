"""Files that tell what was deleted: of every source, in every format, and for as long as it is remembered."""

from __future__ import annotations

import datetime as dt
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.db.models import F
from pyarrow import parquet

from accounts.actors import Actor
from audience.erasures import erasure_request, key_hash
from audience.models import (
    ContactList,
    Database,
    DataTable,
    Interaction,
    ListMember,
    Profile,
    Record,
    Suppression,
    Tombstone,
)
from batchjobs import kernel
from batchjobs.erasure import erasure_schedule
from batchjobs.expiry import expiry_schedule
from exports import dispatch, services
from exports.definitions import ExportRefusedError
from exports.models import Export, ExportRun
from exports.why import why
from tests.exports import bytes_of, last_run, make_export, make_people, make_recurring, work
from tests.rows import make_interaction, make_profile

pytestmark = pytest.mark.django_db(transaction=True)

NOW = dt.datetime(2027, 3, 1, 12, 0, tzinfo=dt.UTC)
WHEN = dt.datetime(2026, 3, 1, 12, 30, tzinfo=dt.UTC)
NDJSON = {"format": "ndjson", "name_pattern": "feed_$run"}
TOLD = {"_id", "_key_sha256", "_deleted"}


def next_run(export: Export) -> ExportRun:
    export.refresh_from_db()
    dispatch.tick(now=export.next_run_at)
    work(export.next_run_at)
    run = last_run(export)
    assert run.state == "succeeded", run.job.failure_code
    return run


def rows_of(run: ExportRun) -> list[dict[str, Any]]:
    return [json.loads(line) for line in bytes_of(run).splitlines()]


def told(run: ExportRun) -> list[tuple[int, str | None]]:
    """Number and hash of what the file tells as deleted; those rows come first and hold nothing else."""
    rows = rows_of(run)
    deleted = [row for row in rows if row["_deleted"]]
    assert rows[: len(deleted)] == deleted
    assert all(value is None for row in deleted for name, value in row.items() if name not in TOLD)
    assert (run.rows, run.deletions) == (len(rows), len(deleted))
    return [(row["_id"], row["_key_sha256"]) for row in deleted]


def test_a_feed_tells_who_was_deleted(marketer: Actor) -> None:
    make_people(marketer, 4)
    zero, one, two, three = Profile.objects.order_by("email")
    export = make_recurring(marketer, now=NOW, file=NDJSON, deletions=True)
    first = next_run(export)
    assert (first.rows, told(first)) == (4, [])
    assert [(row["_id"], row["_key_sha256"], row["_deleted"]) for row in rows_of(first)] == [
        (person.pk, key_hash(person.email), False) for person in (zero, one, two, three)
    ]
    gone = [(zero.pk, key_hash(zero.email)), (one.pk, key_hash(one.email)), (two.pk, key_hash(two.email))]
    zero.delete()
    one.delete()
    back = make_profile(marketer.account, "person-00001@example.com")
    Profile.objects.filter(pk=two.pk).update(email="new@example.com")
    Profile.objects.filter(pk=three.pk).update(partner_user_id="00112")  # still known by the address
    second = next_run(export)
    assert told(second) == gone
    assert {row["email"]: row["_id"] for row in rows_of(second)[3:]} == {
        "person-00001@example.com": back.pk,
        "new@example.com": two.pk,
        "person-00003@example.com": three.pk,
    }
    third = next_run(export)
    assert (third.rows, third.deletions) == (0, 0)


def test_without_the_option_nothing_is_told(marketer: Actor) -> None:
    make_people(marketer, 2)
    export = make_recurring(marketer, now=NOW, file=NDJSON)
    assert not TOLD & set(rows_of(next_run(export))[0])
    Profile.objects.all().delete()
    run = next_run(export)
    assert (run.rows, run.deletions) == (0, None)


def remove_people(database: Database) -> None:
    """As erasure and batches do: the people first, then what refers to them."""
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("DELETE FROM audience_profile WHERE database_id = %s", [database.pk])
        cursor.execute("DELETE FROM audience_listmember")
        cursor.execute("DELETE FROM audience_interaction")
        cursor.execute("COMMIT")


def members(database: Database) -> dict[int, str | None]:
    newsletter = ContactList.objects.create(database=database, name="Newsletter")
    other = ContactList.objects.create(database=database, name="Other")
    people = [
        Profile.objects.create(database=database, email="ines@example.com"),
        Profile.objects.create(database=database, partner_user_id="00112"),
    ]
    for person in people:
        ListMember.objects.create(contact_list=other, profile=person)
    return {
        ListMember.objects.create(contact_list=newsletter, profile=person).pk: key_hash(
            person.email or person.partner_user_id
        )
        for person in people
    }


def events(database: Database) -> dict[int, str | None]:
    ines = make_profile(database.account, "ines@example.com", database)
    make_interaction(ines, WHEN, kind="purchase", external_id="B-1")
    signed = make_interaction(ines, WHEN, kind="form.signup", external_id="A-1")
    other = make_interaction(ines, WHEN, kind="form.contact", external_id=None)
    return {signed.pk: key_hash("A-1"), other.pk: None}


def events_of_a_kind(database: Database) -> dict[int, str | None]:
    ines = make_profile(database.account, "ines@example.com", database)
    make_interaction(ines, WHEN, kind="form.signup", external_id="A-1")
    return {make_interaction(ines, WHEN, kind="purchase", external_id="B-1").pk: key_hash("B-1")}


def opt_outs(database: Database) -> dict[int, str | None]:
    known = [
        {"email_sha256": key_hash("ines@example.com")},
        {"partner_user_id": "00112"},
        {"email_md5": "0" * 32},
    ]
    keys = [key_hash("ines@example.com"), key_hash("00112"), None]
    made = [Suppression.objects.create(database=database, **one) for one in known]
    return {one.pk: key for one, key in zip(made, keys, strict=True)}


def table_of(kind: str) -> Callable[[Database], dict[int, str | None]]:
    def records(database: Database) -> dict[int, str | None]:
        made = []
        for name in ("stock", "other"):
            columns = [{"name": "sku", "type": "text"}]
            table = DataTable.objects.create(database=database, name=name, slug=name, kind=kind, columns=columns)
            made.append(Record.objects.create(table=table, key="X-1", values={"sku": "X-1"}))
        return {made[0].pk: key_hash("X-1")}

    return records


def remove_all(database: Database) -> None:
    for model in (Record, Suppression, ListMember, Interaction):
        model.objects.all().delete()


SOURCES = {
    "list_member": ({"table": "Newsletter"}, members, remove_people),
    "list_member alone": ({"table": "Newsletter"}, members, remove_all),
    "interaction": ({"kind": "purchase"}, events_of_a_kind, remove_people),
    "form_participation": ({}, events, remove_people),
    "subscription": ({"kind": "email"}, opt_outs, remove_all),
    "linked_data": ({"table": "stock"}, table_of("linked"), remove_all),
    "repository": ({"table": "stock"}, table_of("repository"), remove_all),
}


@pytest.mark.parametrize("case", SOURCES)
def test_each_source_tells_its_own(case: str, marketer: Actor) -> None:
    narrowed, make, remove = SOURCES[case]
    database = make_people(marketer, 0)
    expected = make(database)
    # Support sets up custom exports, which may be incremental of any data.
    export = make_recurring(marketer, now=NOW, file=NDJSON, type="incremental", deletions=True)
    Export.objects.filter(pk=export.pk).update(
        type="incremental_custom", data_type=case.partition(" ")[0], columns=None, **narrowed
    )
    first = next_run(export)
    assert {row["_id"]: row["_key_sha256"] for row in rows_of(first)} == expected
    remove(database)
    assert dict(told(next_run(export))) == expected


@pytest.mark.parametrize("format_", ["csv", "psv", "json", "xml", "xlsx", "parquet"])
def test_each_format_holds_them(format_: str, marketer: Actor) -> None:
    make_people(marketer, 2)
    Profile.objects.update(attributes={"score": 7, "tier": "Gold"})
    columns = [{"field": "email"}, {"field": "attributes.score"}, {"field": "created_at"}, {"field": "opted_out"}]
    export = make_recurring(
        marketer, now=NOW, columns=columns, file={"format": format_, "name_pattern": "f_$run"}, deletions=True
    )
    next_run(export)
    person = Profile.objects.order_by("pk").first()
    key, address = person.pk, person.email
    person.delete()
    run = next_run(export)
    assert (run.rows, run.deletions) == (1, 1)
    content = bytes_of(run)
    if format_ == "parquet":
        (row,) = parquet.read_table(io.BytesIO(content)).to_pylist()
        assert (int(row["_id"]), row["_key_sha256"], row["_deleted"]) == (key, key_hash(address), True)
    elif format_ == "xlsx":
        openpyxl = pytest.importorskip("openpyxl")
        rows = list(openpyxl.load_workbook(io.BytesIO(content)).active.iter_rows(values_only=True))
        assert rows[1][-3:] == (key, key_hash(address), True)
    else:
        assert key_hash(address) in content.decode()
        assert address not in content.decode()


def test_who_was_erased_is_told_without_being_named(marketer: Actor) -> None:
    database = make_people(marketer, 2)
    export = make_recurring(marketer, now=NOW, deletions=True)
    next_run(export)
    Profile.objects.filter(email="person-00001@example.com").update(partner_user_id="00112")
    erasure_request(database=database, by="marta", email="person-00001@example.com")
    assert erasure_schedule(marketer.account)
    kernel.queue_work("long")
    run = next_run(export)
    assert (run.rows, run.deletions) == (1, 1)
    assert key_hash("person-00001@example.com") in bytes_of(run).decode()
    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(t::text, ' ') FROM audience_tombstone t")
        kept = cursor.fetchone()[0]
    assert "person-00001" not in kept
    assert "00112" not in kept


def test_deletions_are_remembered_for_a_while(marketer: Actor) -> None:
    make_people(marketer, 3)
    export = make_recurring(marketer, now=NOW, deletions=True)
    old = next_run(export)
    Profile.objects.filter(email="person-00000@example.com").delete()
    told_it = next_run(export)
    assert told_it.deletions == 1
    Profile.objects.filter(email="person-00001@example.com").delete()
    ages = dt.timedelta(days=settings.TOMBSTONES_KEPT_DAYS)
    Tombstone.objects.update(deleted_at=F("deleted_at") - ages)
    Export.objects.update(watermark_at=F("watermark_at") - ages)
    ExportRun.objects.update(window_from=F("window_from") - ages)
    assert expiry_schedule()
    kernel.queue_work("long")
    assert not Tombstone.objects.exists()
    run = next_run(export)
    assert (run.window, run.rows, run.deletions) == (None, 1, 0)
    assert [warning["code"] for warning in run.warnings] == ["DELETIONS_FORGOTTEN"]
    told_it.refresh_from_db()
    again = services.run_window_again(run=ExportRun.objects.with_state().get(pk=told_it.pk), by=marketer)
    work(NOW)
    again = ExportRun.objects.get(pk=again.pk)
    assert [warning["code"] for warning in again.warnings] == ["DELETIONS_MISSING", "NO_ROWS"]
    assert old.window_hi == told_it.window_lo


def test_why_somebody_is_not_in_it_knows_of_deletions(marketer: Actor) -> None:
    make_people(marketer, 3)
    file = {"format": "csv", "name_pattern": "f_$run", "delimiter": ",", "header": False}
    make_recurring(marketer, now=NOW, name="Feed 1", file=file, deletions=True)
    make_recurring(marketer, now=NOW, name="Feed 2", file=NDJSON, deletions=True)
    feeds = list(Export.objects.order_by("pk"))
    next_run(feeds[0])  # both are due at once
    Profile.objects.filter(email="person-00001@example.com").delete()
    Profile.objects.filter(email="person-00002@example.com").delete()
    make_profile(marketer.account, "person-00002@example.com")
    next_run(feeds[0])
    for run in map(last_run, feeds):
        assert (run.rows, run.deletions) == (3, 2)
        answer = why(run, "person-00001@example.com")
        assert (answer.kind, answer.title) == ("deleted", "Row 1 of the file tells that they were deleted")
        assert why(run, "person-00002@example.com").kind == "in_file"
        assert why(run, "person-00000@example.com").kind == "outside_window"


def test_a_column_must_not_have_the_name_of_theirs(marketer: Actor) -> None:
    columns = [{"field": "email", "header": "_deleted"}]
    with pytest.raises(ExportRefusedError, match="“_deleted” is a column of the deletions"):
        make_export(marketer, type="incremental", columns=columns, deletions=True)
    make_export(marketer, type="incremental", columns=columns)
