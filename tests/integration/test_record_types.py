"""Each record type through the real pipeline: what goes in, what is refused, and that the order of files is all one."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import zipfile
from typing import Any

import pytest
from django.core.files.base import ContentFile

from accounts.actors import Actor
from audience.models import ContactList, Interaction, ListMember, Profile, Suppression
from batchjobs import kernel
from batchjobs.downloads import rejects, skipped_rows_response
from batchjobs.failures import failure_of
from batchjobs.models import BatchJob
from batchjobs.services import batchjob_create

pytestmark = pytest.mark.django_db(transaction=True)


def run(by: Actor, kind: str, content: str | bytes, name: str = "file.csv", **extra: Any) -> BatchJob:
    """A job for the file, run to its end."""
    data = content.encode() if isinstance(content, str) else content
    job = batchjob_create(by=by, content=ContentFile(data), file_name=name, record_type=kind, **extra)
    kernel.queue_work("short")
    job.refresh_from_db()
    return job


def counts(job: BatchJob) -> tuple[str, int, int, int]:
    return job.failure_code or job.status, job.valid_rows, job.skipped_rows, job.invalid_rows


def codes(job: BatchJob) -> list[tuple[int, str]]:
    return [(entry["line"], error["code"]) for entry in rejects(job) for error in entry["errors"]]


def test_profiles_write_only_what_changes(marketer):
    first = run(marketer, "profile", "email,FirstName,city,loyalty\na@example.com,Ana,Porto,gold\nb@example.com,Bo,,\n")
    assert counts(first) == ("done", 2, 0, 0)
    a = Profile.objects.get(email="a@example.com")
    assert a.attributes == {"first_name": "Ana", "city": "Porto", "loyalty": "gold"}
    mark = a.change_xid
    again = run(marketer, "profile", "email,city,loyalty\na@example.com,,gold\nb@example.com,Faro,\n", "two.csv")
    assert counts(again) == ("done", 2, 0, 0)
    a.refresh_from_db()
    assert a.change_xid == mark, "nothing changed, so nothing was written"
    assert a.attributes == {"first_name": "Ana", "city": "Porto", "loyalty": "gold"}
    assert Profile.objects.get(email="b@example.com").attributes == {"first_name": "Bo", "city": "Faro"}


def test_blank_erases_when_it_is_asked_for(marketer):
    run(marketer, "profile", "email,city,tier\na@example.com,Porto,gold\n")
    job = run(
        marketer,
        "profile",
        "email,city,tier\na@example.com,,silver\nnew@example.com,,x\n",
        "two.csv",
        options={"blank_erases": True},
    )
    assert counts(job) == ("done", 2, 0, 0)
    assert Profile.objects.get(email="a@example.com").attributes == {"tier": "silver"}
    assert Profile.objects.get(email="new@example.com").attributes == {"tier": "x"}


def test_json_profiles_keep_types_and_accents(marketer):
    records = [
        {"Email": "luis@example.com", "FirstName": "Luís", "CustomerId": 1, "visits": 3, "vip": True, "tags": ["á"]},
        {"Email": "bad", "FirstName": "Bad", "CustomerId": 2},
    ]
    document = json.dumps({"Genre": [{"Name": "Rock"}], "Customer": records}, indent=2, ensure_ascii=False)
    refused = run(marketer, "profile", document, "all.json")
    assert refused.failure_code == "LIST_NOT_CHOSEN"
    assert refused.failure_params["lists"] == ["Genre", "Customer"]
    job = run(marketer, "profile", document, "all.json", options={"array": "Customer", "run_anyway": True})
    assert counts(job) == ("done", 1, 0, 1)
    luis = Profile.objects.get(email="luis@example.com")
    assert luis.partner_user_id == "1"
    assert luis.attributes == {"first_name": "Luís", "visits": 3, "vip": True, "tags": ["á"]}
    (entry,) = rejects(job)
    assert entry["line"] == document.split("\n").index('      "Email": "bad",')


def test_optouts_by_address_hash_and_number(marketer):
    md5 = hashlib.md5(b"b@example.com").hexdigest()
    sha = hashlib.sha256(b"c@example.com").hexdigest()
    job = run(
        marketer,
        "optout",
        f"email,customer_id,channel,reason\nA@example.com,,,\n{md5.upper()},,,Moved\n{sha},,sms,\n,77,,\nnobody,,,\n,,,\n"
        "x@example.com,,pigeon,\n",
    )
    assert counts(job) == ("done", 4, 0, 3)
    assert codes(job) == [(6, "EMAIL_OR_HASH_INVALID"), (7, "IDENTITY_MISSING"), (8, "CHOICE_INVALID")]
    assert set(
        Suppression.objects.values_list("channel", "email_sha256", "email_md5", "partner_user_id", "reason")
    ) == {
        (
            "email",
            hashlib.sha256(b"a@example.com").hexdigest(),
            hashlib.md5(b"a@example.com").hexdigest(),
            None,
            "",
        ),
        ("email", None, md5, None, "Moved"),
        ("sms", sha, None, None, ""),
        ("email", None, None, "77", ""),
    }


def test_an_optout_by_hash_and_by_address_are_one(marketer):
    md5 = hashlib.md5(b"b@example.com").hexdigest()
    run(marketer, "optout", f"email,opted_out_at\n{md5},2026-01-05\n")
    again = run(marketer, "optout", "email,opted_out_at\nb@example.com,2026-02-05\n", "two.csv")
    assert counts(again) == ("done", 1, 0, 0)
    one = Suppression.objects.get()
    assert (one.email_md5, one.email_sha256) == (md5, hashlib.sha256(b"b@example.com").hexdigest())
    assert one.opted_out_at.date().isoformat() == "2026-02-05"
    older = run(marketer, "optout", "email,opted_out_at\nb@example.com,2025-02-05\nb@example.com,\n", "three.csv")
    assert counts(older) == ("done", 0, 2, 0)
    one.refresh_from_db()
    assert one.opted_out_at.date().isoformat() == "2026-02-05"


@pytest.mark.parametrize("order", [("optout", "profile"), ("profile", "optout")])
def test_an_optout_holds_whatever_comes_first(marketer, order):
    files = {
        "profile": "id,email,subscribed\n77,a@example.com,yes\n78,b@example.com,yes\n",
        "optout": "member_id,reason\n77,\n",
    }
    for kind in order:
        assert run(marketer, kind, files[kind]).status == "done"
    profiles = Profile.objects.suppressed("email")
    assert [profile.email for profile in profiles] == ["a@example.com"]


def test_list_members(marketer):
    job = run(
        marketer,
        "list",
        "a@example.com\nb@example.com\nnot an address\n\na@example.com\n",
        "vip.txt",
        options={"list": "VIP"},
    )
    assert counts(job) == ("done", 3, 0, 1)
    vip = ContactList.objects.get(name="VIP")
    assert sorted(vip.members.values_list("profile__email", flat=True)) == ["a@example.com", "b@example.com"]
    run(
        marketer,
        "list",
        "email,list,signup_date\na@example.com,VIP,2020-01-01\na@example.com,Other,2020-01-01\n",
        "two.csv",
    )
    assert ListMember.objects.count() == 3
    assert ListMember.objects.get(contact_list__name="Other").joined_at.year == 2020


def test_a_list_needs_a_name(marketer):
    assert run(marketer, "list", "email\na@example.com\n").failure_code == "COLUMN_MISSING"


def test_approvals(marketer):
    run(
        marketer,
        "event",
        "email,event_name,partner_event_id\na@example.com,refer,A1\nb@example.com,refer,A2\nc@example.com,refer,A3\n",
    )
    job = run(
        marketer,
        "approve",
        "partner_event_id,decision,note\nA1,,Seen\nA2,Declined,\nA9,,\nA3,perhaps,\nA2,no,\n",
    )
    assert counts(job) == ("done", 2, 1, 2)
    assert codes(job) == [(4, "EVENT_UNKNOWN"), (5, "CHOICE_INVALID")]
    assert list(Interaction.objects.order_by("external_id").values_list("decision", "decision_note")) == [
        ("approved", "Seen"),
        ("declined", None),
        (None, None),
    ]
    again = run(marketer, "approve", "partner_event_id,decision\nA1,approved\nA2,approved\n", "two.csv")
    assert counts(again) == ("done", 1, 1, 0)
    by_number = Interaction.objects.get(external_id="A3").pk
    assert counts(run(marketer, "approve", f"event_id,decision\n{by_number},declined\n12x,\n")) == ("done", 1, 0, 1)


PURCHASES = [
    {
        "email": "user1@example.com",
        "date": "2016-06-01",
        "purchase_keys": {"extid": "purchase101"},
        "items": [{"qty": 1, "id": "2005", "title": "T-shirt", "url": "https://example.com/t", "price": 4000}],
        "vars": {"store": "x"},
        "adjustments": [{"price": -5000, "title": "Sale"}],
        "tenders": [{"price": "9998", "title": "Card"}],
    },
    {"email": "user2@example.com", "date": "2016-06-02", "items": []},
    {"email": "user3@example.com", "purchase_keys": {"extid": "p3"}},
    {"email": "user4@example.com", "date": "2016-06-02", "purchase_keys": {"extid": "p4"}, "incomplete": 1},
    {
        "email": "user5@example.com",
        "date": "2016-06-02",
        "purchase_keys": {"extid": "p5"},
        "items": [{"price": "free"}],
    },
    {"email": "user6@example.com", "date": "2016-06-02", "purchase_keys": {"extid": "purchase101"}},
]


def test_purchases_in_strict_json(marketer):
    content = "".join(json.dumps(record) + "\n" for record in PURCHASES)
    job = run(marketer, "purchase", gzip.compress(content.encode()), "p.ndjson.gz")
    assert counts(job) == ("done", 1, 1, 4)
    assert codes(job) == [
        (2, "VALUE_MISSING"),
        (3, "VALUE_MISSING"),
        (4, "REALTIME_ONLY"),
        (5, "NUMBER_INVALID"),
    ]
    purchase = Interaction.objects.get()
    assert (purchase.kind, purchase.external_id) == ("purchase", "purchase101")
    expected = {key: PURCHASES[0][key] for key in ("purchase_keys", "items", "vars", "adjustments", "tenders")}
    assert purchase.properties == expected


def test_purchases_in_a_flat_file(marketer):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(
            "orders.csv", "id,user_id,order_date,total,status\n1,7,2018-01-01,12.50,paid\n2,8,2018-01-02,x,\n"
        )
    job = run(marketer, "purchase", archive.getvalue(), "orders.zip")
    assert counts(job) == ("done", 1, 0, 1)
    purchase = Interaction.objects.get()
    assert purchase.properties == {"price": 12.5, "status": "paid"}
    assert purchase.profile.partner_user_id == "7"


def test_columns_are_matched_by_hand(marketer):
    content = " customer_id  date number_of_cds  dollar_value\n 00001 19970101  1   11.77\n 00002 19970112  1   12.00\n"
    assert run(marketer, "purchase", content, "cdnow.txt").failure_code in ("NO_DELIMITER", "COLUMN_MISSING")
    job = run(
        marketer,
        "purchase",
        content,
        "cdnow.txt",
        options={"delimiter": " ", "columns": {"dollar_value": "price", "number_of_cds": "cds"}, "run_anyway": True},
    )
    assert counts(job) == ("done", 2, 0, 0)
    first = Interaction.objects.order_by("pk").first()
    assert first is not None
    assert first.properties == {"price": 11.77, "cds": "1"}
    assert first.occurred_at.date().isoformat() == "1997-01-01"


def skipped_of(job: BatchJob) -> bytes:
    return b"".join(skipped_rows_response(job).streaming_content)


def test_skipped_rows_can_be_had(marketer, settings):
    settings.JOB_CHUNK_ROWS = 2
    rows = [
        "a@example.com,E1",
        "b@example.com,E2",
        "bad,E3",
        'c@example.com,"E\n4"',
        "d@example.com,E1",
        "e@example.com,E5",
    ]
    content = "email,partner_event_id\n" + "\n".join(rows) + "\n"
    first = run(marketer, "event", content, "open-1.csv")
    assert counts(first) == ("done", 4, 1, 1)
    assert skipped_of(first) == b"email,partner_event_id\nd@example.com,E1\n"
    again = run(marketer, "event", gzip.compress(content.encode()), "open-1.csv.gz")
    assert counts(again) == ("done", 0, 5, 1)
    good = [row for row in rows if not row.startswith("bad")]
    assert skipped_of(again).decode() == "email,partner_event_id\n" + "\n".join(good) + "\n"
    records = [{"email": "a@example.com", "event_name": "open", "partner_event_id": "E1"}, {"email": "z@example.com"}]
    as_json = run(marketer, "event", json.dumps(records, indent=1), "more.json", event_name="open")
    assert counts(as_json) == ("done", 1, 1, 0)
    assert json.loads(skipped_of(as_json)) == records[0]


@pytest.mark.parametrize(("limit", "status"), [(0, "INVALID_TOO_MANY"), (24.9, "INVALID_TOO_MANY"), (25, "done")])
def test_a_limit_of_rejected_rows(marketer, limit, status):
    content = "email\na@example.com\nb@example.com\nbad\nc@example.com\n"
    job = run(marketer, "event", content, "open-1.csv", options={"max_invalid_percent": limit})
    assert counts(job) == (status, 3, 0, 1)
    assert codes(job) == [(4, "EMAIL_INVALID")]
    assert Interaction.objects.count() == Profile.objects.count() == (3 if status == "done" else 0)
    if status != "done":
        failure = failure_of(job.failure_code, job.failure_params)
        assert failure.title == "1 of 4 rows were rejected"
        assert "25.0 %" in failure.advice


def test_json_may_name_people_by_number_later_on(marketer):
    """The quick way of writing is left in the middle: nothing is lost or doubled."""
    lines = [json.dumps({"email": f"p{n}@example.com", "event_name": "open", "n": n}) for n in range(9000)]
    lines[7000] = json.dumps({"customer_id": "77", "event_name": "open", "first_name": "Ana"})
    job = run(marketer, "event", "\n".join(lines).encode(), "e.ndjson")
    assert counts(job) == ("done", 9000, 0, 0)
    assert Interaction.objects.count() == 9000
    assert Profile.objects.get(partner_user_id="77").attributes == {"first_name": "Ana"}


def test_json_records_may_name_a_column_in_several_ways(marketer):
    records = [
        {"email": "a@example.com", "mail": "kept@example.com", "event_name": "open"},
        {"E-Mail": "b@example.com", "event_name": "open"},
        {"mail": "c@example.com", "event_name": "open", "size": 2},
    ]
    job = run(marketer, "event", "\n".join(map(json.dumps, records)), "e.ndjson")
    assert counts(job) == ("done", 3, 0, 0)
    found = Interaction.objects.order_by("row_no").values_list("profile__email", "properties")
    assert list(found) == [
        ("a@example.com", {"mail": "kept@example.com"}),
        ("b@example.com", {}),
        ("c@example.com", {"size": 2}),
    ]
