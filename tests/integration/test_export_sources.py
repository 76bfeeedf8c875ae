"""What an export can hold: each source, its fields, its SELECT, and that accounts stay apart."""

from __future__ import annotations

import datetime as dt
import hashlib
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction

from accounts.models import Account
from audience.models import (
    ContactList,
    Database,
    DataTable,
    Interaction,
    ListMember,
    Profile,
    Record,
    Suppression,
)
from audience.services import database_default
from audience.windows import window_since
from batchjobs.sessions import open_session
from exports.conditions import condition
from exports.rows import ColumnType, Selection
from exports.sources import SOURCES, SourceError, changed, count, default_columns, preview
from exports.sources.base import LOOKED_AT, within
from tests.exports import settled_window
from tests.factories import make_account
from tests.rows import make_interaction, make_profile

pytestmark = pytest.mark.django_db(transaction=True)

WHEN = dt.datetime(2026, 3, 1, 12, 30, tzinfo=dt.UTC)
NASTY = "50% of \\ 'it' \"there\" __ %s {} \n é"


def rows_of(selection: Selection) -> list[dict[str, Any]]:
    """As a run reads them: on a session of its own, without parameters, by COPY."""
    with open_session("test") as session:
        found = session.execute(selection.select.encode()).fetchall()
        with session.cursor().copy(f"COPY ({selection.select}) TO STDOUT".encode()) as copy:
            assert sum(1 for _row in copy.rows()) == len(found)
    headers = [column.header for column in selection.columns]
    assert all(len(row) == len(headers) + 1 and isinstance(row[-1], int) for row in found)
    return [dict(zip(headers, row, strict=False)) for row in found]


def written(database: Database, data_type: str, table: str = "", kind: str = "", **more: Any) -> list[dict[str, Any]]:
    source = SOURCES[data_type]
    fields = source.fields(database, table, kind)
    columns = more.pop("columns", None)
    columns = columns and [{"field": name, "header": name} for name in columns]
    rows = source.rows(database, table, kind).order_by("pk")
    found = rows_of(source.selection(rows, columns, fields, **more))
    assert len(found) == count(rows)
    return found


@pytest.fixture
def database() -> Database:
    """Ines and Tom with all that hangs off people, in a database beside another account's, which has the same."""
    other = filled(make_account("Other"))
    assert Profile.objects.filter(database=other).count() == 2
    return filled(make_account())


def filled(account: Account) -> Database:
    database = database_default(account=account)
    ines = make_profile(account, "ines@example.com")
    ines.partner_user_id = "00112"
    ines.attributes = {"first_name": "Inês", "tier": "Gold", "score": 7, "vip": True, "mixed": 1, "2024": "year"}
    ines.save()
    tom = make_profile(account, "tom@example.com")
    tom.attributes = {"first_name": NASTY, "tier": None, "score": 1.5, "vip": False, "mixed": "007", "more": {"a": [1]}}
    tom.save()
    make_interaction(ines, WHEN, kind="purchase", external_id="A-1", properties={"sku": "X", "price": 9.99})
    make_interaction(tom, WHEN, kind="form_sent", properties={"form": "Contact"})
    make_interaction(tom, WHEN, kind="Form opened", decision="approved", decided_at=WHEN)
    newsletter = ContactList.objects.create(database=database, name="Newsletter")
    ContactList.objects.create(database=database, name="Nobody")
    ListMember.objects.create(contact_list=newsletter, profile=ines, joined_at=WHEN)
    digest = hashlib.sha256(b"tom@example.com").hexdigest()
    Suppression.objects.create(database=database, channel="email", email_sha256=digest, opted_out_at=WHEN, reason="no")
    Suppression.objects.create(database=database, channel="sms", partner_user_id="7", opted_out_at=WHEN)
    columns = [
        {"name": name, "type": kind}
        for name, kind in (
            ("seat", "text"),
            ("price", "number"),
            ("paid", "boolean"),
            ("day", "date"),
            ("scanned", "datetime"),
        )
    ]
    tickets = DataTable.objects.create(
        database=database, name="Tickets", slug="tickets", kind="linked", columns=columns, key="seat"
    )
    shops = DataTable.objects.create(database=database, name="Shops", slug="shops", kind="repository", columns=columns)
    good = {"seat": "A1", "price": 12.5, "paid": True, "day": "2026-03-01", "scanned": "2026-03-01T12:30:00Z"}
    bad = {"seat": 5, "price": "NaN", "paid": "maybe", "day": "2026-13-45", "scanned": "infinity", "undeclared": 1}
    Record.objects.create(table=tickets, profile=ines, key="A1", values=good)
    Record.objects.create(table=tickets, key="5", values=bad)
    Record.objects.create(table=shops, values={"seat": NASTY, "price": "1e400", "scanned": "2026-03-01"})
    return database


def test_profiles(database: Database) -> None:
    first, second = written(database, "profile")
    assert list(first) == [
        *("email", "partner_user_id", "created_at", "updated_at"),
        *("2024", "first_name", "mixed", "more", "score", "tier", "vip"),
    ]
    assert (first["email"], first["partner_user_id"], first["2024"]) == ("ines@example.com", "00112", "year")
    assert (first["score"], second["score"]) == (Decimal(7), Decimal("1.5"))
    assert (first["vip"], second["vip"]) == (True, False)
    # Not all of it are numbers: nothing may be lost, and a number keeps its zeros.
    assert (first["mixed"], second["mixed"]) == ("1", "007")
    assert (second["first_name"], second["tier"], second["more"]) == (NASTY, None, '{"a": [1]}')
    columns = ["opted_out", "id", "attributes.tier", "attributes.never seen 'x' %s", "email", "email"]
    first, second = written(database, "profile", columns=columns)
    assert (first["opted_out"], second["opted_out"]) == (False, True)
    assert (first["attributes.tier"], first["attributes.never seen 'x' %s"]) == ("Gold", None)
    assert isinstance(first["id"], int)


def test_types_are_those_that_all_rows_have(database: Database) -> None:
    source = SOURCES["profile"]
    fields = source.fields(database)
    types = {field.name: field.type for field in fields}
    assert types["attributes.score"] is ColumnType.NUMBER
    assert types["attributes.vip"] is ColumnType.BOOLEAN
    assert types["attributes.mixed"] is types["attributes.tier"] is ColumnType.TEXT
    columns = [{"field": "attributes.score", "header": "Score"}]
    odd = make_profile(database.account, "odd@example.com", database)
    odd.attributes = {"score": "n/a"}
    odd.save()
    rows = source.rows(database).order_by("pk")
    selection = source.selection(rows, columns, fields)  # the fields are from before
    assert selection.columns[0].type is ColumnType.TEXT
    assert [row["Score"] for row in rows_of(selection)] == ["7", "1.5", "n/a"]
    few = source.selection(rows.exclude(pk=odd.pk), columns, fields)
    assert few.columns[0].type is ColumnType.NUMBER
    none = source.selection(rows.filter(pk=0), columns, fields)
    assert none.columns[0].type is ColumnType.NUMBER
    untyped = source.selection(rows.exclude(pk=odd.pk), columns, fields, typed=False)
    assert [row["Score"] for row in rows_of(untyped)] == ["7", "1.5"]


def test_interactions_and_forms(database: Database) -> None:
    rows = written(database, "interaction")
    assert [row["kind"] for row in rows] == ["purchase", "form_sent", "Form opened"]
    assert rows[0] == {
        **{"kind": "purchase", "occurred_at": WHEN, "external_id": "A-1", "email": "ines@example.com"},
        **{"partner_user_id": "00112", "form": None, "price": Decimal("9.99"), "sku": "X"},
    }
    assert [row["kind"] for row in written(database, "interaction", kind="purchase")] == ["purchase"]
    assert "form" not in written(database, "interaction", kind="purchase")[0]
    forms = written(database, "form_participation", columns=["kind", "profile.attributes.tier", "decided_at"])
    assert [(row["kind"], row["decided_at"]) for row in forms] == [("form_sent", None), ("Form opened", WHEN)]
    assert written(database, "form_participation", kind="purchase", columns=["kind"]) == []


def test_subscriptions(database: Database) -> None:
    rows = written(database, "subscription")
    assert [(row["channel"], row["partner_user_id"], row["reason"]) for row in rows] == [
        ("email", None, "no"),
        ("sms", "7", ""),
    ]
    assert len(rows[0]["email_sha256"]) == 64
    assert rows[0]["opted_out_at"] == WHEN
    assert len(written(database, "subscription", kind="sms")) == 1


def test_list_members(database: Database) -> None:
    (row,) = written(database, "list_member", "Newsletter")
    assert (row["email"], row["list"], row["joined_at"], row["score"]) == (
        "ines@example.com",
        "Newsletter",
        WHEN,
        Decimal(7),
    )
    assert written(database, "list_member", "Nobody") == []
    assert written(database, "list_member", "Newsletter", columns=["profile.opted_out"]) == [
        {"profile.opted_out": False}
    ]


def test_tables(database: Database) -> None:
    good, bad = written(database, "linked_data", "tickets")
    assert list(good)[:7] == ["email", "partner_user_id", "seat", "price", "paid", "day", "scanned"]
    # Not all of these are what was declared: nothing may be lost.
    assert (good["email"], good["seat"], good["price"], good["paid"]) == ("ines@example.com", "A1", "12.5", "true")
    assert (good["day"], good["scanned"]) == ("2026-03-01", "2026-03-01T12:30:00Z")
    assert [bad[name] for name in list(good)[:7]] == [None, None, "5", "NaN", "maybe", "2026-13-45", "infinity"]
    assert "undeclared" not in bad
    (shop,) = written(database, "repository", "shops")
    assert (shop["seat"], shop["price"]) == (NASTY, Decimal("1e400"))
    assert shop["scanned"] == dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
    assert "email" not in shop


def test_declared_types_are_those_that_all_rows_have(database: Database) -> None:
    """A type that was changed later does not fit what was loaded before."""
    source = SOURCES["linked_data"]
    fields = source.fields(database, "tickets")
    rows = source.rows(database, "tickets").order_by("pk")
    names = ("seat", "price", "paid", "day", "scanned")
    columns = [{"field": f"values.{name}"} for name in names]
    tickets = DataTable.objects.get(database=database, slug="tickets")
    later = {"price": 1, "paid": False, "day": None, "scanned": "2026-03-01T13:30:00.500000+01:00"}
    Record.objects.create(table=tickets, key="A2", values=later)

    def types(rows: Any, **more: Any) -> list[ColumnType]:
        return [column.type for column in source.selection(rows, columns, fields, **more).columns]

    good = rows.exclude(key="5")
    assert types(good) == [field.type for field in fields if field.name.startswith("values.")]
    assert [row["price"] for row in rows_of(source.selection(good, columns, fields))] == [Decimal("12.5"), Decimal(1)]
    assert types(rows) == [ColumnType.TEXT] * 5
    assert types(good, typed=False) == [ColumnType.TEXT] * 5
    for typed in (True, False):
        assert [list(row.values()) for row in rows_of(source.selection(rows, columns, fields, typed=typed))] == [
            ["A1", "12.5", "true", "2026-03-01", "2026-03-01T12:30:00Z"],
            ["5", "NaN", "maybe", "2026-13-45", "infinity"],
            [None, "1", "false", None, "2026-03-01T12:30:00.5Z"],
        ]


def test_a_column_that_was_removed_is_missing(database: Database) -> None:
    table = DataTable.objects.get(database=database, slug="tickets")
    table.columns = table.columns[1:]
    table.save()
    with pytest.raises(SourceError) as missing:
        written(database, "linked_data", "tickets", columns=["values.seat"])
    assert (missing.value.code, missing.value.params) == ("COLUMN_MISSING", {"column": "values.seat"})
    for name in ("attributes", "attributes.", "attributes.\0", "attributes.\ud800", "nonsense", "lists", ""):
        with pytest.raises(SourceError) as missing:
            written(database, "profile", columns=[name])
        assert missing.value.code == "COLUMN_MISSING", name


@pytest.mark.parametrize(
    ("data_type", "table"),
    [
        ("list_member", ""),
        ("list_member", "newsletter"),
        ("list_member", "\0"),
        ("list_member", "Theirs"),
        ("linked_data", "theirs"),
        ("linked_data", "shops"),
        ("linked_data", ""),
        ("repository", "tickets"),
        ("repository", "\ud800"),
    ],
    ids=range(9),
)
def test_what_is_not_there_or_another_accounts_is_missing(data_type: str, table: str, database: Database) -> None:
    other = Database.objects.exclude(pk=database.pk).get()
    ContactList.objects.create(database=other, name="Theirs")
    DataTable.objects.create(database=other, name="Theirs", slug="theirs", kind="linked")
    # Nor does a second database of the account know the first one's.
    second = Database.objects.create(account=database.account, name="Second", slug="second")
    for one in (database, second):
        for ask in (SOURCES[data_type].rows, SOURCES[data_type].fields):
            with pytest.raises(SourceError) as missing:
                ask(one, table)
            assert missing.value.code == "SOURCE_TABLE_MISSING"
            assert missing.value.sentence


def test_accounts_stay_apart(database: Database) -> None:
    other = Database.objects.exclude(pk=database.pk).get()
    secret = make_profile(other.account, "secret@example.com", other)
    secret.attributes = {"secret": "x"}
    secret.save()
    for data_type, table in (
        ("profile", ""),
        ("interaction", ""),
        ("list_member", "Newsletter"),
        ("linked_data", "tickets"),
    ):
        rows = written(database, data_type, table)
        assert not any("secret" in str(row) for row in rows)
        keys = set(SOURCES[data_type].rows(database, table).values_list("pk", flat=True))
        assert keys.isdisjoint(SOURCES[data_type].rows(other, table).values_list("pk", flat=True))
    # A member of another database's list of the same name.
    q = condition(
        {"and": [{"field": "lists", "op": "one_of", "value": ["Newsletter"]}]}, SOURCES["profile"].fields(other)
    )
    assert [p.email for p in SOURCES["profile"].rows(other).filter(q)] == ["ines@example.com"]
    assert not SOURCES["profile"].rows(database).filter(q).filter(database=other).exists()


def test_keys_are_looked_for_in_the_newest_rows(database: Database) -> None:
    rows = [Profile(database=database, email=f"p{n}@example.com", attributes={"plan": n}) for n in range(LOOKED_AT)]
    Profile.objects.bulk_create(rows)
    assert [field.name for field in SOURCES["profile"].fields(database) if field.is_free] == ["attributes.plan"]
    Profile.objects.filter(pk=rows[-1].pk).update(attributes={f"k{n:03}": n for n in range(300)})
    Profile.objects.filter(pk=rows[-2].pk).update(attributes=[1, 2])
    Profile.objects.filter(pk=rows[-3].pk).update(attributes="a text")
    Profile.objects.filter(pk=rows[-4].pk).update(attributes={"": 1, "x" * 300: 1, "k 'q' %s {}": "v", "none": None})
    names = [field.name for field in SOURCES["profile"].fields(database) if field.is_free]
    assert names == sorted(names)
    assert "attributes.plan" in names
    assert "attributes.none" not in names
    assert len(names) > 190
    assert not any(field.is_free for field in SOURCES["profile"].fields(database, seen=False))


def test_headers_of_all_columns_are_different(database: Database) -> None:
    Profile.objects.filter(database=database).update(attributes={"email": "second", "id": 1})
    fields = SOURCES["profile"].fields(database)
    headers = [column["header"] for column in default_columns(fields)]
    assert headers == ["email", "partner_user_id", "created_at", "updated_at", "attributes.email", "id"]
    assert written(database, "profile")[0]["attributes.email"] == "second"


def test_preview_and_count(database: Database) -> None:
    source = SOURCES["linked_data"]
    fields = source.fields(database, "tickets")
    rows = source.rows(database, "tickets")
    columns = [{"field": f"values.{name}"} for name in ("seat", "price", "paid", "day", "scanned")]
    assert preview(rows, columns, fields) == [
        ["5", "NaN", "maybe", "2026-13-45", "infinity"],
        ["A1", "12.5", "true", "2026-03-01", "2026-03-01T12:30:00Z"],
    ]
    assert preview(rows, columns, fields, limit=1) == [["5", "NaN", "maybe", "2026-13-45", "infinity"]]
    assert preview(rows, None, fields, limit=1)[0][2] == "5"
    assert count(rows) == 2
    assert count(rows, limit=1) == 1


def test_who_takes_too_long_is_given_up_and_the_transaction_goes_on(database: Database) -> None:
    slow = SOURCES["profile"].rows(database).extra(where=["pg_sleep(5) IS NOT NULL"])
    with transaction.atomic(), connection.cursor() as cursor:
        assert count(slow, milliseconds=50) is None
        assert preview(slow, None, SOURCES["profile"].fields(database), milliseconds=50) is None
        with within(1000) as outcome:
            assert not outcome.gave_up
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone() == ("0",)
        assert count(SOURCES["profile"].rows(database)) == 2


def test_windows(database: Database) -> None:
    settled_window()
    before = window_since(0)
    tom = Profile.objects.get(database=database, email="tom@example.com")
    for data_type, table in (("profile", ""), ("interaction", ""), ("subscription", ""), ("list_member", "Newsletter")):
        assert count(changed(SOURCES[data_type].rows(database, table), before)) > 0
    Profile.objects.filter(pk=tom.pk).update(attributes={"tier": "Silver"})
    record = Record.objects.get(table__database=database, key="A1")
    Record.objects.filter(pk=record.pk).update(values={"seat": "B2"})
    settled_window()
    window = window_since(before.hi)
    assert [row.pk for row in changed(SOURCES["profile"].rows(database), window)] == [tom.pk]
    assert [row.pk for row in changed(SOURCES["linked_data"].rows(database, "tickets"), window)] == [record.pk]
    assert not changed(SOURCES["interaction"].rows(database), window).exists()
    assert Interaction.objects.count() == 6


def test_a_selection_is_read_in_a_snapshot(database: Database) -> None:
    source = SOURCES["profile"]
    selection = source.selection(source.rows(database), None, source.fields(database))
    with open_session("test") as session:
        session.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        session.read_only = True
        with session.transaction():
            assert len(session.execute(selection.select.encode()).fetchall()) == 2


def test_who_a_row_is_about_is_read_out_of_an_index(database: Database) -> None:
    """Without the pages of the people, which are ten times as many."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO audience_profile (database_id, email, attributes)"
            " SELECT %s, n || '@example.com', jsonb_build_object('note', repeat('x', 300))"
            " FROM generate_series(1, 5000) n",
            [database.pk],
        )
        cursor.execute("VACUUM (ANALYZE) audience_profile, audience_interaction")
    source = SOURCES["interaction"]
    fields = source.fields(database)

    def plan(*names: str) -> str:
        columns = [{"field": name} for name in names]
        select = source.selection(source.rows(database), columns, fields, typed=False).select
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {select}")
            return "\n".join(line for (line,) in cursor.fetchall())

    identity = [field.name for field in fields if field.name in ("profile.email", "profile.partner_user_id")]
    assert len(identity) == 2
    assert "Index Only Scan using profile_identity" in plan("kind", *identity)
    assert "Index Only Scan" not in plan("kind", *identity, "profile.attributes.first_name")
