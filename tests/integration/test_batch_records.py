"""Batch records through the real pipeline: what each mode does, what is refused and why, and that nothing doubles."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.files.base import ContentFile
from django.db import connection

from accounts.actors import Actor
from audience.models import (
    ContactList,
    DataTable,
    Erasure,
    Interaction,
    ListMember,
    Profile,
    ProfileBeforeImage,
    Record,
    Reference,
    Suppression,
)
from audience.services import database_default
from batchjobs import kernel
from batchjobs.downloads import rejects
from batchjobs.files import store_file
from batchjobs.ingestion.chunks import Chunks
from batchjobs.ingestion.formats.ndjson import NdjsonReader
from batchjobs.models import BatchJob, Queue
from tests.factories import make_account, make_actor
from tests.integration.test_bad_input import tar
from uploads.records import log_code
from uploads.writing import RecordWriter

pytestmark = pytest.mark.django_db(transaction=True)


def ref(number: int) -> str:
    return str(UUID(int=number))


def make_batch(by: Actor, content: bytes, *, packed: bool = False) -> BatchJob:
    """A batch that waits. `packed`: the content is gzip already."""
    name = f"{uuid4()}.ndjson.gz"
    data = content if packed else gzip.compress(content)
    return BatchJob.objects.create(
        account=by.account,
        name=name,
        kind="batch",
        record_type="batch",
        file=store_file(account=by.account, name=name, content=ContentFile(data)),
        database=database_default(account=by.account),
        options={"format": "ndjson"},
        queue=Queue.SHORT,
    )


def run(by: Actor, *records: Any) -> BatchJob:
    """A batch of these records, run to its end. Texts are lines as they are."""
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    return finished(make_batch(by, "\n".join(lines).encode()), len(lines))


def finished(job: BatchJob, records: int | None = None) -> BatchJob:
    kernel.queue_work("short")
    job.refresh_from_db()
    assert not job.crash_reports.exists(), job.crash_reports.first().report[-3000:]
    if records is not None:
        assert job.status == "done"
        assert job.valid_rows + job.invalid_rows == records
        assert job.skipped_rows == 0
    return job


def told(job: BatchJob) -> list[tuple[int, str, str]]:
    """(line, code, field) of all errors."""
    return [(entry["line"], e["code"], e["column"]) for entry in rejects(job) for e in entry["errors"]]


def record(number: int, schema: str, mode: str, value: Any = None) -> dict[str, Any]:
    return {"ref": ref(number), "schema": schema, "mode": mode, "value": value}


def guest(number: int, mode: str = "upsert", /, **value: Any) -> dict[str, Any]:
    return record(number, "guest", mode, value)


def order(number: int, mode: str = "upsert", /, **value: Any) -> dict[str, Any]:
    return record(number, "order", mode, {"orderedAt": "2026-11-21T10:00:00.000Z", **value})


def tracking(number: int, mode: str = "upsert", /, **value: Any) -> dict[str, Any]:
    return record(number, "tracking", mode, {"createdAt": "2026-11-21T10:00:00.000Z", **value})


def attributes(email: str = "a@example.com") -> dict[str, Any]:
    found: dict[str, Any] = Profile.objects.get(email=email).attributes
    return found


def interaction(number: int) -> Interaction:
    return Interaction.objects.get(external_id=ref(number))


def codes(job: BatchJob) -> list[tuple[int, str]]:
    return [(line, code) for line, code, _field in told(job)]


def test_a_guest_becomes_a_profile(marketer):
    job = run(
        marketer,
        guest(
            1,
            email=" Ana@Example.com ",
            firstName="Ana",
            dateOfBirth="1984-04-25T00:00",
            phoneNumbers=["+351 1", "+351 2"],
            street=["Rua Augusta 1", "2.º"],
            postCode="1100",
            guestType="customer",
            lastSeen="2026-01-01T10:00:00.000Z",
            loyalty={"tier": "gold"},
            identifiers=[{"provider": "CRM", "id": "77"}],
            nothing=None,
        ),
    )
    assert told(job) == []
    ana = Profile.objects.get()
    assert (ana.email, ana.partner_user_id, ana.created_by_job) == ("ana@example.com", "CRM:77", job.pk)
    assert ana.attributes == {
        "first_name": "Ana",
        "birth_date": "1984-04-25",
        "phone": "+351 1",
        "phone_numbers": ["+351 1", "+351 2"],
        "street": "Rua Augusta 1, 2.º",
        "postcode": "1100",
        "guest_type": "customer",
        "last_seen": "2026-01-01T10:00:00.000Z",
        "loyalty": {"tier": "gold"},
        "identifiers": [{"provider": "CRM", "id": "77"}],
    }
    one = Reference.objects.get()
    assert (one.schema, str(one.ref), one.profile_id, one.job, one.row_no) == ("guest", ref(1), ana.pk, job.pk, 1)


def test_modes_of_guests(marketer):
    run(marketer, guest(1, "create", email="a@example.com", firstName="Ana", city="Porto", likes={"a": 1, "b": [1]}))
    run(marketer, guest(1, "upsert", city="Faro", likes={"a": 2}, firstName=None))
    assert attributes() == {"city": "Faro", "likes": {"a": 2}}
    run(marketer, guest(1, "merge", likes={"b": [2], "c": {"d": 1}}, title="Dr"))
    assert attributes() == {"city": "Faro", "title": "Dr", "likes": {"a": 2, "b": [2], "c": {"d": 1}}}
    run(marketer, guest(1, "merge", likes={"a": None, "c": {"e": 2}}, title=None))
    assert attributes() == {"city": "Faro", "likes": {"b": [2], "c": {"d": 1, "e": 2}}}
    run(marketer, guest(1, "insert", email="a@example.com", lastName="Prata"))
    assert attributes() == {"last_name": "Prata"}
    refused = run(marketer, guest(1, "create", email="a@example.com", lastName="X"))
    assert told(refused) == [(1, "REF_EXISTS", "ref")]
    assert log_code("REF_EXISTS") == 403
    assert attributes() == {"last_name": "Prata"}


def test_merge_knows_the_elements_of_lists(marketer):
    run(
        marketer,
        guest(
            1,
            email="a@example.com",
            extensions=[{"name": "ext", "key": "a", "x": 1, "y": 1}, {"name": "ext", "key": "b", "x": 1}],
            identifiers=[{"provider": "CRM", "id": "1", "note": "old"}],
            subscriptions=[{"name": "n", "channel": "EMAIL", "pointOfSale": "pt", "status": "SUBSCRIBED"}],
            phoneNumbers=["1", "2"],
        ),
    )
    run(
        marketer,
        guest(
            1,
            "merge",
            extensions=[{"name": "ext", "key": "c"}, {"name": "ext", "key": "a", "x": 2, "y": None}],
            identifiers=[{"provider": "CRM", "id": "1", "expiryDate": "2030-01-01"}],
            subscriptions=[{"name": "n", "channel": "EMAIL", "pointOfSale": "es", "status": "SUBSCRIBED"}],
            phoneNumbers=["3"],
        ),
    )
    found = attributes()
    assert found["extensions"] == [
        {"name": "ext", "key": "a", "x": 2},
        {"name": "ext", "key": "b", "x": 1},
        {"name": "ext", "key": "c"},
    ]
    assert found["identifiers"] == [{"provider": "CRM", "id": "1", "note": "old", "expiryDate": "2030-01-01"}]
    assert [entry["pointOfSale"] for entry in found["subscriptions"]] == ["pt", "es"]
    assert (found["phone_numbers"], found["phone"]) == (["3"], "3")


def test_a_guest_is_removed_with_all_that_is_theirs(marketer):
    run(marketer, guest(1, email="a@example.com"), guest(2, email="b@example.com"), order(3, guestRef=ref(1)))
    gone = Profile.objects.get(email="a@example.com")
    lists = ContactList.objects.create(database=gone.database, name="VIP")
    ListMember.objects.create(contact_list=lists, profile=gone)
    job = run(marketer, record(1, "guest", "delete"), record(9, "guest", "delete"), order(4, guestRef=ref(1)))
    assert told(job) == [(3, "GUEST_UNKNOWN", "guestRef")]
    assert [profile.email for profile in Profile.objects.all()] == ["b@example.com"]
    assert not Interaction.objects.exists()
    assert not ListMember.objects.exists()
    alive = Reference.objects.filter(profile__isnull=False)
    assert [str(one.ref) for one in alive] == [ref(2)]
    again = run(marketer, guest(1, "create", email="a@example.com", firstName="New"))
    assert told(again) == []
    assert attributes() == {"first_name": "New"}


@pytest.mark.parametrize("mode", ["delete", "gdpr_delete"])
def test_a_guest_is_removed_from_every_table_that_names_profiles(mode, marketer):
    run(marketer, guest(1, email="a@example.com"), order(2, guestRef=ref(1)))
    gone = Profile.objects.get()
    lists = ContactList.objects.create(database=gone.database, name="VIP")
    ListMember.objects.create(contact_list=lists, profile=gone)
    table = DataTable.objects.create(database=gone.database, name="Seats", slug="seats", kind="linked")
    of_nobody = Record.objects.create(table=table)
    Record.objects.create(table=table, profile=gone)

    def still_there() -> dict[str, bool]:
        links = [relation.field for relation in Profile._meta.related_objects]
        return {
            f"{link.model.__name__}.{link.name}": link.model.objects.filter(**{link.name: gone.pk}).exists()
            for link in links
        }

    assert all(still_there().values()), "this test has no row of a table that names profiles"
    run(marketer, record(1, "guest", mode))
    if mode == "gdpr_delete":
        kernel.queue_work("long")
    assert not Profile.objects.exists()
    assert not any(still_there().values()), still_there()
    assert Record.objects.get() == of_nobody


def test_what_a_chunk_says_of_a_guest_it_removes(marketer):
    """Earlier lines go with the guest, later ones are about a new person."""
    run(marketer, guest(1, email="a@example.com", city="Porto"))
    first = Profile.objects.get().pk
    job = run(
        marketer,
        order(2, guestRef=ref(1)),
        guest(3, email="a@example.com", firstName="Before"),
        order(4, email="a@example.com"),
        order(5, guestRef=ref(3)),
        record(1, "guest", "delete"),
        guest(6, email="a@example.com", firstName="After"),
        order(7, guestRef=ref(6)),
        order(8, guestRef=ref(1)),
    )
    assert told(job) == [(8, "GUEST_UNKNOWN", "guestRef")]
    after = Profile.objects.get()
    assert after.pk != first
    assert after.attributes == {"first_name": "After"}
    assert [one.external_id for one in Interaction.objects.all()] == [ref(7)]


def test_gdpr_delete_asks_for_an_erasure(marketer):
    run(marketer, guest(1, email="a@example.com", identifiers=[{"provider": "CRM", "id": "1"}]))
    a = Profile.objects.get()
    job = run(
        marketer,
        record(1, "guest", "gdpr_delete"),
        record(2, "guest", "gdpr_delete", {"email": "Nobody@example.com"}),
        record(3, "guest", "gdpr_delete"),
        record(4, "order", "gdpr_delete"),
        record(5, "guest", "gdpr_delete", {"identifiers": [{"provider": "CRM", "id": "1"}]}),
    )
    assert told(job) == [(4, "MODE_NOT_ALLOWED", "mode")]
    assert log_code("MODE_NOT_ALLOWED") == 403

    def sha256(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    known = (a.pk, "a@example.com", "CRM:1", sha256("a@example.com"), sha256("CRM:1"))
    nobody = (None, "nobody@example.com", None, sha256("nobody@example.com"), None)
    columns = ("profile_id", "email", "partner_user_id", "email_sha256", "partner_sha256", "requested_by")
    assert list(Erasure.objects.order_by("pk").values_list(*columns)) == [
        (*known, f"batch {ref(1)}"),
        (*nobody, f"batch {ref(2)}"),
        (*known, f"batch {ref(5)}"),
    ]
    assert Profile.objects.filter(pk=a.pk).exists(), "the erasure is another job"


@pytest.mark.parametrize(("make", "kind"), [(order, "order"), (tracking, "tracking")])
def test_modes_of_interactions(marketer, make, kind):
    run(marketer, guest(1, email="a@example.com"), guest(2, email="b@example.com"))
    run(marketer, make(5, "create", guestRef=ref(1), price=1, items={"a": 1}, status="NEW"))
    one = interaction(5)
    assert (one.kind, one.profile.email) == (kind, "a@example.com")
    assert one.properties == {"price": 1, "items": {"a": 1}, "status": "NEW"}
    assert codes(run(marketer, make(5, "create", guestRef=ref(1)))) == [(1, "REF_EXISTS")]
    run(marketer, record(5, kind, "upsert", {"price": 2, "status": None}))
    assert interaction(5).properties == {"price": 2, "items": {"a": 1}}
    run(marketer, record(5, kind, "merge", {"items": {"b": 2}, "guestRef": ref(2)}))
    assert interaction(5).properties == {"price": 2, "items": {"a": 1, "b": 2}}
    assert interaction(5).profile.email == "b@example.com"
    run(marketer, make(5, "insert", guestRef=ref(1), note="x"))
    assert interaction(5).properties == {"note": "x"}
    assert interaction(5).pk == one.pk
    when, owner = {"orderedAt": "2026-01-01", "createdAt": "2026-01-01"}, {"guestRef": ref(1)}
    refused = run(
        marketer,
        record(5, kind, "insert", when),
        record(6, kind, "upsert", owner),
        record(7, kind, "merge", when),
        make(8, "upsert", guestRef=ref(9)),
        make(10, "upsert", guestRef="x"),
        make(11, "upsert", email="no"),
    )
    time = "orderedAt" if kind == "order" else "createdAt"
    assert told(refused) == [
        (1, "VALUE_MISSING", "guestRef"),
        (2, "VALUE_MISSING", time),
        (3, "VALUE_MISSING", "guestRef"),
        (4, "GUEST_UNKNOWN", "guestRef"),
        (5, "REF_INVALID", "guestRef"),
        (6, "EMAIL_INVALID", "email"),
    ]
    assert told(run(marketer, record(5, kind, "delete"), record(99, kind, "delete"))) == []
    assert not Interaction.objects.exists()
    assert told(run(marketer, make(5, "create", email="new@example.com", identifiers=[]))) == []
    assert interaction(5).profile.email == "new@example.com"


def test_tracking_says_what_and_when(marketer):
    run(
        marketer,
        record(
            1, "tracking", "insert", {"email": "a@example.com", "type": "VIEW", "name": "n", "timestamp": "2026-02-03"}
        ),
        record(
            2, "tracking", "insert", {"email": "a@example.com", "name": "ADD", "eventTime": "2026-02-04T01:00:00+01:00"}
        ),
    )
    assert (interaction(1).kind, interaction(1).properties) == ("VIEW", {"name": "n"})
    assert (interaction(2).kind, interaction(2).occurred_at.isoformat()) == ("ADD", "2026-02-04T00:00:00+00:00")
    refused = run(marketer, order(1, email="a@example.com"), record(1, "order", "upsert", {"x": 1}))
    assert codes(refused) == [(1, "REF_OF_OTHER_SCHEMA"), (2, "REF_OF_OTHER_SCHEMA")]


WRONG: list[tuple[Any, list[tuple[str, str]]]] = [
    ("[1]", [("RECORD_NOT_OBJECT", "")]),
    ("{", [("JSON_INVALID", "")]),
    ('{"ref": NaN}', [("JSON_INVALID", "")]),
    ('{"ref": 1, "ref": 2}', [("KEY_TWICE", "ref")]),
    ('{"value": {"a": 1, "a": 2}}', [("KEY_TWICE", "value")]),
    ('{"value": ' + "[" * 40 + "]" * 40 + "}", [("JSON_TOO_DEEP", "")]),
    ({}, [("REF_INVALID", "ref"), ("SCHEMA_UNKNOWN", "schema"), ("MODE_UNKNOWN", "mode")]),
    (
        {"ref": "x", "schema": [], "mode": "insert", "value": {}},
        [("REF_INVALID", "ref"), ("SCHEMA_UNKNOWN", "schema")],
    ),
    (record(1, "guest", "replace", {}), [("MODE_UNKNOWN", "mode")]),
    (record(1, "session", "insert", {}), [("SCHEMA_UNKNOWN", "schema")]),
    (record(1, "tracking", "gdpr_delete"), [("MODE_NOT_ALLOWED", "mode")]),
    (record(1, "guest", "insert", [1]), [("RECORD_VALUE_MISSING", "value")]),
    (record(1, "guest", "insert"), [("RECORD_VALUE_MISSING", "value")]),
    (guest(1, firstName="Ana"), [("GUEST_UNIDENTIFIED", "")]),
    (guest(1, email="", identifiers=[]), [("GUEST_UNIDENTIFIED", "")]),
    (
        guest(1, email="no", firstName=1, city=[], dateOfBirth="25th", phoneNumbers=[1], street={}),
        [
            ("EMAIL_INVALID", "email"),
            ("VALUE_TYPE_WRONG", "firstName"),
            ("VALUE_TYPE_WRONG", "city"),
            ("EVENT_TIME_INVALID", "dateOfBirth"),
            ("VALUE_TYPE_WRONG", "phoneNumbers"),
            ("VALUE_TYPE_WRONG", "street"),
        ],
    ),
    (guest(1, email="a@example.com", lastName="x" * 256), [("VALUE_TOO_LONG", "lastName")]),
    (guest(1, email="a@example.com", lastSeen="1066-10-14"), [("DATE_OUT_OF_RANGE", "lastSeen")]),
    (guest(1, identifiers=[{"provider": "CRM"}]), [("VALUE_NOT_JSON", "identifiers")]),
    (guest(1, identifiers={}), [("VALUE_TYPE_WRONG", "identifiers")]),
    (guest(1, email="a@example.com", extensions=["x"]), [("VALUE_TYPE_WRONG", "extensions")]),
    (
        guest(1, email="a@example.com", subscriptions=[{"channel": "EMAIL", "effectiveDate": "soon"}]),
        [("EVENT_TIME_INVALID", "subscriptions")],
    ),
    (guest(1, email="a@example.com", subscriptions=[{"status": 1}]), [("VALUE_TYPE_WRONG", "subscriptions")]),
    (guest(1, email="a@example.com", other="\x00"), [("NUL_CHARACTER", "value")]),
    (
        order(1, email="a@example.com", price="1", orderItems=[1], currencyCode=1),
        [("VALUE_TYPE_WRONG", "price"), ("VALUE_TYPE_WRONG", "orderItems"), ("VALUE_TYPE_WRONG", "currencyCode")],
    ),
    (order(1, email="a@example.com", orderedAt="x"), [("EVENT_TIME_INVALID", "orderedAt")]),
    (order(1, email="a@example.com", orderedAt=None), [("VALUE_MISSING", "orderedAt")]),
    (tracking(1, email="a@example.com", type=[]), [("VALUE_TYPE_WRONG", "type")]),
]


def test_each_error_has_its_code_and_line(marketer):
    job = run(marketer, *(line for line, _errors in WRONG))
    assert (job.valid_rows, job.invalid_rows) == (0, len(WRONG))
    expected = [(line, code, field) for line, (_, errors) in enumerate(WRONG, 1) for code, field in errors]
    assert told(job) == expected
    assert log_code("MODE_UNKNOWN") == 402
    assert {log_code(code) for _, code, _ in expected} == {400, 402, 403}
    assert not Profile.objects.exists()
    assert not Reference.objects.exists()


@pytest.mark.parametrize("rows", [1, 64_000])
def test_a_reference_stands_once_in_a_batch(marketer, settings, monkeypatch, rows):
    settings.JOB_CHUNK_ROWS = rows
    monkeypatch.setattr(NdjsonReader, "block_bytes", 200)
    filler = [guest(n, email=f"p{n}@example.com") for n in range(100, 130)]
    upper = {**guest(1, city="Faro"), "ref": ref(1).upper()}
    job = run(
        marketer,
        guest(1, email="a@example.com", city="Porto"),
        upper,
        guest(2, identifiers=[]),
        guest(2, email="b@example.com"),
        record(3, "guest", "delete"),
        order(1, email="a@example.com"),
        *filler,
        guest(1, city="Lisboa"),
        guest(3, email="c@example.com"),
        tracking(1, email="a@example.com"),
    )
    assert codes(job) == [
        (2, "REF_TWICE"),
        (3, "GUEST_UNIDENTIFIED"),
        (37, "REF_TWICE"),
        (38, "REF_TWICE"),
        (39, "REF_TWICE"),
    ]
    assert attributes() == {"city": "Porto"}
    if rows == 1:
        assert job.next_chunk > 10


@pytest.mark.parametrize("rows", [1, 64_000])
def test_orders_of_guests_in_the_same_batch(marketer, settings, monkeypatch, rows):
    settings.JOB_CHUNK_ROWS = rows
    monkeypatch.setattr(NdjsonReader, "block_bytes", 200)
    job = run(
        marketer,
        order(1, guestRef=ref(10)),
        guest(10, email="a@example.com"),
        order(2, guestRef=ref(10).upper()),
        *(guest(n, email=f"p{n}@example.com") for n in range(100, 120)),
        order(3, guestRef=ref(10)),
        tracking(4, guestRef=ref(119)),
    )
    assert told(job) == [(1, "GUEST_UNKNOWN", "guestRef")]
    owners = Interaction.objects.order_by("row_no").values_list("profile__email", flat=True)
    assert list(owners) == ["a@example.com", "a@example.com", "p119@example.com"]


def test_unsubscribed_is_an_opt_out(marketer):
    def subscription(channel: str, status: str, **more: str) -> dict[str, str]:
        return {"name": "news", "channel": channel, "pointOfSale": "pt", "status": status, **more}

    subscriptions = [
        subscription("EMAIL", "unsubscribed", effectiveDate="2026-01-02"),
        subscription("MMS", "UNSUBSCRIBED"),
        subscription("MOBILE_APP", "UNSUBSCRIBED"),
        subscription("POST", "SUBSCRIBED"),
        subscription("PIGEON", "UNSUBSCRIBED"),
    ]
    job = run(marketer, guest(1, email="a@example.com", subscriptions=subscriptions))
    assert told(job) == []
    assert attributes()["subscriptions"] == subscriptions
    assert set(Suppression.objects.values_list("channel", "reason")) == {
        ("email", "news"),
        ("sms", "news"),
        ("push", "news"),
    }
    assert Suppression.objects.get(channel="email").opted_out_at.date().isoformat() == "2026-01-02"
    assert Profile.objects.suppressed("email").count() == 1
    run(marketer, guest(1, subscriptions=[subscription("EMAIL", "SUBSCRIBED")]))
    assert Suppression.objects.count() == 3, "being subscribed takes none away"


def test_who_a_guest_is(marketer):
    run(marketer, guest(1, email="a@example.com"), guest(2, email="b@example.com"))
    job = run(
        marketer,
        guest(1, email="b@example.com"),
        guest(2, email="new@example.com", identifiers=[{"provider": "CRM", "id": "2"}]),
        guest(3, email="new@example.com", firstName="Bo"),
        guest(4, identifiers=[{"provider": "Web", "id": "x"}, {"provider": "CRM", "id": "2"}], city="Faro"),
        guest(5, email="c@example.com", identifiers=[{"provider": "CRM", "id": "2"}]),
    )
    assert told(job) == [(1, "EMAIL_OF_ANOTHER", "email")]
    found = dict(Profile.objects.values_list("email", "partner_user_id"))
    assert found == {"a@example.com": None, "new@example.com": "CRM:2", "c@example.com": None}
    bo = Profile.objects.get(email="new@example.com")
    assert bo.attributes["first_name"] == "Bo"
    assert bo.attributes["city"] == "Faro"
    assert set(bo.references.values_list("ref", flat=True)) == {UUID(int=2), UUID(int=3), UUID(int=4)}
    run(marketer, guest(2, "merge", email=None))
    assert Profile.objects.get(partner_user_id="CRM:2").email is None
    refused = run(marketer, guest(1, "merge", email=None), guest(5, "insert", city="Faro"))
    assert codes(refused) == [(1, "GUEST_UNIDENTIFIED"), (2, "GUEST_UNIDENTIFIED")]


def test_only_what_changes_is_written(marketer):
    records = [
        guest(1, email="a@example.com", city="Porto", identifiers=[{"provider": "CRM", "id": "1"}]),
        order(2, guestRef=ref(1), price=1),
    ]
    run(marketer, *records)
    before = Profile.objects.get(), Interaction.objects.get()
    for mode in ("upsert", "merge", "insert"):
        run(marketer, *({**entry, "mode": mode} for entry in records))
        assert Profile.objects.get().change_xid == before[0].change_xid
        assert Interaction.objects.get().change_xid == before[1].change_xid
    assert not ProfileBeforeImage.objects.exists()
    job = run(marketer, guest(1, email="b@example.com", city="Faro"))
    image = ProfileBeforeImage.objects.get(job=job.pk)
    assert (image.profile_id, image.email, image.attributes) == (before[0].pk, "a@example.com", before[0].attributes)
    assert job.chunks.get().changed_profiles
    assert Profile.objects.get().change_xid != before[0].change_xid


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_ends_of_lines(marketer, newline, last):
    lines = [json.dumps(guest(n, email=f"p{n}@example.com")) for n in range(3)] + ["[", "no"]
    content = newline.join(lines) + (newline if last else "")
    half = len(content) // 2
    packed = gzip.compress(content[:half].encode()) + gzip.compress(content[half:].encode())
    job = finished(make_batch(marketer, packed, packed=True), 5)
    assert codes(job) == [(4, "JSON_INVALID"), (5, "JSON_INVALID")]
    assert Profile.objects.count() == 3


def test_a_json_array_is_a_bad_line_each(marketer):
    job = run(marketer, "[", json.dumps(guest(1, email="a@example.com")) + ",", "]")
    assert [code for _, code in codes(job)] == ["JSON_INVALID"] * 3
    assert job.status == "done"


@pytest.mark.parametrize(
    ("content", "packed", "failure"),
    [
        (b"", False, "FILE_EMPTY"),
        (b"", True, "FILE_EMPTY"),
        (b"{}\n", True, "GZIP_MISNAMED"),
        (gzip.compress(b"{}\n" * 9000, mtime=0)[:-20], True, "ARCHIVE_DAMAGED"),
        (gzip.compress(b"{}\n", mtime=0) + b"more", True, "ARCHIVE_DAMAGED"),
        (tar(), False, "TAR_IN_GZIP"),
    ],
)
def test_archives(marketer, content, packed, failure):
    job = finished(make_batch(marketer, content, packed=packed))
    assert (job.status, job.failure_code) == ("failed", failure)


def test_no_record_at_all_and_the_same_file_again(marketer):
    assert finished(make_batch(marketer, b"\n\n"), 0).status == "done"
    content = json.dumps(guest(1, email="a@example.com")).encode()
    for _ in range(2):
        job = finished(make_batch(marketer, content), 1)
        assert job.file.sha256
        assert job.valid_rows == 1


def many(count: int) -> list[dict[str, Any]]:
    """Records of all sorts, with guests that go and come and references that repeat."""
    rnd = random.Random(5)
    records = []
    for n in range(count):
        person = rnd.randrange(count // 4)
        records.append(
            rnd.choice(
                [
                    guest(person, rnd.choice(["upsert", "merge", "insert"]), email=f"p{person}@example.com", n=n),
                    guest(rnd.randrange(count), email=f"p{rnd.randrange(count)}@example.com", city=str(n)),
                    order(10_000 + rnd.randrange(count), guestRef=ref(person), price=n),
                    tracking(20_000 + n, email=f"p{person}@example.com"),
                    record(person, "guest", "delete") if n % 5 == 0 else order(30_000 + n, guestRef=ref(person)),
                ]
            )
        )
    return records


def contents(by: Actor) -> list[Any]:
    """All tables of the account's audience, without ids that a sequence gives."""
    database = database_default(account=by.account)
    who = {None: None, **dict(Profile.objects.filter(database=database).values_list("pk", "email"))}
    references = Reference.objects.filter(database=database).order_by("schema", "ref")
    interactions = Interaction.objects.filter(database=database).order_by("external_id")
    return [
        list(Profile.objects.filter(database=database).order_by("email").values_list("email", "attributes")),
        [(one.schema, one.ref, who[one.profile_id], one.row_no) for one in references],
        [(who[one.profile_id], one.kind, one.external_id, one.properties, one.row_no) for one in interactions],
    ]


def test_a_crash_between_chunks_changes_nothing(settings, monkeypatch):
    """The second run begins where the last chunk was committed, and refuses the same records for the same reasons."""
    settings.JOB_CHUNK_ROWS = 20
    monkeypatch.setattr(NdjsonReader, "block_bytes", 2000)
    known = [guest(n, email=f"p{n}@example.com") for n in range(0, 100, 3)]
    wanted = many(400)
    plain, disturbed = make_actor(), make_actor()
    for by in (plain, disturbed):
        run(by, *known)
    expected = run(plain, *wanted)
    read, calls = Chunks.read, []

    def read_or_crash(chunks: Chunks) -> Any:
        calls.append(1)
        if len(calls) in (5, 9, 16):
            raise RuntimeError("crash")
        return read(chunks)

    monkeypatch.setattr(Chunks, "read", read_or_crash)
    settings.JOB_MAX_CRASHES = 4
    job = make_batch(disturbed, "\n".join(map(json.dumps, wanted)).encode())
    kernel.queue_work("short")
    job.refresh_from_db()
    assert job.crash_reports.count() == 3
    assert job.status == "done"
    assert {code for _, code, _ in told(expected)} == {"REF_TWICE", "GUEST_UNKNOWN"}
    assert told(job) == told(expected)
    assert (job.valid_rows, job.invalid_rows) == (expected.valid_rows, expected.invalid_rows)
    assert contents(disturbed) == contents(plain)


def test_guests_that_are_removed_meanwhile(marketer, settings, monkeypatch):
    """What was looked up may be gone when the chunk is written: it is read again, and that ends."""
    settings.JOB_CHUNK_ROWS = 5
    monkeypatch.setattr(NdjsonReader, "block_bytes", 500)
    run(marketer, *(guest(n, email=f"p{n}@example.com") for n in range(30)))
    write, removed = RecordWriter.write, []

    def remove_and_write(self: RecordWriter, session: Any, merged: Any) -> None:
        if len(removed) < 4:
            gone = Reference.objects.filter(schema="guest", profile__isnull=False).order_by("-ref").first().profile_id
            Profile.objects.filter(pk=gone).delete()
            connection.close()  # of the loader's thread
            removed.append(gone)
        write(self, session, merged)

    monkeypatch.setattr(RecordWriter, "write", remove_and_write)
    job = run(marketer, *(order(100 + n, guestRef=ref(n)) for n in reversed(range(30))))
    assert len(removed) == 4
    assert codes(job) == [(n, "GUEST_UNKNOWN") for n in (1, 2, 3, 4)]
    assert Interaction.objects.count() == 26
    assert not Interaction.objects.exclude(profile__in=Profile.objects.all()).exists()


def test_conflicts_with_chunks_in_flight_end(marketer, settings, monkeypatch):
    """Addresses that a chunk in flight gives to others: each start brings at least a chunk further."""
    settings.JOB_CHUNK_ROWS = 1
    monkeypatch.setattr(NdjsonReader, "block_bytes", 100)
    run(marketer, *(guest(n, email=f"old{n}@example.com") for n in range(30)))
    records = []
    for n in range(30):
        records += [guest(100 + n, email=f"new{n}@example.com"), guest(n, email=f"new{n}@example.com")]
    job = run(marketer, *records)
    assert codes(job) == [(line, "EMAIL_OF_ANOTHER") for line in range(2, 61, 2)]


OTHER_PEOPLE = """
    INSERT INTO audience_profile (database_id, partner_user_id, attributes)
    SELECT %s, 'n' || n, '{}' FROM generate_series(1, 10000) n
"""
OTHER_EVENTS = """
    INSERT INTO audience_interaction (database_id, profile_id, kind, occurred_at, created_by_job, row_no)
    SELECT %s, 1, 'open', now(), 1, n FROM generate_series(1, 10000) n
"""


def test_what_the_planner_knows_of_other_data_does_not_mislead_it(settings):
    """Statistics of people without addresses and events without numbers: joins planned by them do not end in time."""
    settings.JOB_LEASE_SECONDS = 5  # a statement may take four fifths of it
    by, other = make_actor(), database_default(account=make_account("Pier Nine Vinyl"))
    with connection.cursor() as cursor:
        cursor.execute(OTHER_PEOPLE, [other.pk])
        cursor.execute(OTHER_EVENTS, [other.pk])
        cursor.execute("ANALYZE audience_profile, audience_interaction, audience_reference, audience_listmember")
    numbers = range(1, 12_001)
    for mode in ("create", "upsert", "merge"):
        run(by, *(guest(n, mode, email=f"p{n}@example.com", city=mode) for n in numbers))
        run(by, *(order(10**6 + n, mode, guestRef=ref(n), status=mode) for n in numbers))
    mine = Profile.objects.for_account(by.account)
    assert mine.filter(attributes__city="merge").count() == len(numbers)
    assert Interaction.objects.filter(kind="order", properties__status="merge").count() == len(numbers)
    run(by, *(order(10**6 + n, "delete") for n in numbers[::2]))
    assert Interaction.objects.filter(kind="order").count() == len(numbers) // 2
    run(by, *(guest(n, "delete") for n in numbers))
    assert not mine.exists()
    assert not Interaction.objects.filter(kind="order").exists()
