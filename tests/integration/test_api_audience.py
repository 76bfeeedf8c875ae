"""`/api/v1/profiles` and `/api/v1/interactions`."""

from __future__ import annotations

import datetime as dt

import pytest
from django.db import connection

from accounts.models import Account
from accounts.permissions import Role
from audience.models import Database, Interaction
from tests.factories import make_account
from tests.integration.test_api_jobs import Program
from tests.rows import make_interaction, make_profile, make_token

pytestmark = pytest.mark.django_db
PROFILES, INTERACTIONS = "/api/v1/profiles", "/api/v1/interactions"
NOON = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)


@pytest.fixture
def account() -> Account:
    return make_account()


@pytest.fixture
def program(account: Account) -> Program:
    return Program(make_token(account, Role.VIEWER))


def test_a_profile_is_found_by_its_address(program: Program, account: Account):
    profile = make_profile(account, "marta@example.com")
    make_profile(make_account(), "marta@example.com")
    found = program.get(PROFILES, {"email": " Marta@Example.com "}).json()
    assert found["next"] is None
    (item,) = found["items"]
    assert (item["id"], item["email"], item["database"]) == (profile.pk, "marta@example.com", "main")
    assert (item["attributes"], item["partner_user_id"]) == ({}, None)
    assert item["created_at"].endswith("Z")


def test_an_address_may_be_in_several_databases(program: Program, account: Account):
    second = Database.objects.create(account=account, name="Trade", slug="trade")
    make_profile(account, "a@example.com", second)
    make_profile(account, "a@example.com", Database.objects.create(account=account, name="B", slug="b"))
    assert {i["database"] for i in program.get(PROFILES, {"email": "a@example.com"}).json()["items"]} == {
        "trade",
        "b",
    }


def test_unknown_people_have_no_items(program: Program):
    for path in (PROFILES, INTERACTIONS):
        assert program.get(path, {"email": "nobody@example.com"}).json() == {"items": [], "next": None}
    assert program.get(INTERACTIONS, {"profile_id": 2**62}).json()["items"] == []


@pytest.mark.parametrize(
    "query",
    [
        *(
            "",
            "email=",
            "email=a%00",
            f"email={'x' * 255}",
            "profile_id=x",
            "profile_id=-1",
            f"profile_id={2**63}",
        ),
        *(f"profile_id={'9' * 5000}", "email=a&limit=0", "email=a&limit=1001", "email=a&cursor=x"),
        "email=a&cursor=WyJvY2N1cnJlZF9hdCIsIngiLDFd",
        "email=a&kind=%00",
    ],
)
def test_queries_that_make_no_sense(program: Program, query: str):
    assert program.get(f"{INTERACTIONS}?{query}").status_code in (400, 422)


def test_an_address_is_needed(program: Program):
    assert program.get(PROFILES).status_code == 422


def test_what_a_person_did_in_pages(program: Program, account: Account):
    profile, other = make_profile(account, "a@example.com"), make_profile(account, "b@example.com")
    rows = [
        make_interaction(profile, NOON + dt.timedelta(hours=h), row_no=n, external_id=f"e{n}", properties={"n": n})
        for n, h in enumerate([3, 1, 1, 2, 1])
    ]
    make_interaction(other, NOON)
    found, cursor = [], ""
    while cursor is not None:
        page = program.get(INTERACTIONS, {"email": "A@example.com", "limit": 2, "cursor": cursor}).json()
        found += page["items"]
        cursor = page["next"]
    assert [item["id"] for item in found] == [r.pk for r in sorted(rows, key=lambda r: (r.occurred_at, r.pk))]
    first = found[0]
    assert (first["event_name"], first["kind"], first["email"]) == ("opened", "opened", "a@example.com")
    assert (first["job"], first["line"], first["profile_id"]) == (1, 1, profile.pk)
    assert (first["partner_event_id"], first["properties"]) == ("e1", {"n": 1})
    assert first["occurred_at"] == "2026-11-21T13:00:00Z"


def test_by_profile_and_kind(program: Program, account: Account):
    profile = make_profile(account, "a@example.com")
    make_interaction(profile, NOON)
    clicked = make_interaction(profile, NOON, kind="clicked")
    found = program.get(INTERACTIONS, {"profile_id": profile.pk, "kind": "clicked"}).json()["items"]
    assert [item["id"] for item in found] == [clicked.pk]
    assert program.get(INTERACTIONS, {"profile_id": profile.pk, "email": "b@example.com"}).json()["items"] == []


def test_another_accounts_people_are_not_there(program: Program):
    theirs = make_profile(make_account(), "a@example.com")
    make_interaction(theirs, NOON)
    for query in ({"email": "a@example.com"}, {"profile_id": theirs.pk}):
        assert program.get(INTERACTIONS, query).json()["items"] == []


def test_an_index_serves_the_timeline(program: Program, account: Account, django_assert_max_num_queries):
    people = [make_profile(account, f"p{n}@example.com") for n in range(200)]
    Interaction.objects.bulk_create(
        Interaction(
            database=people[0].database,
            profile=person,
            kind="opened",
            occurred_at=NOON + dt.timedelta(minutes=n),
            created_by_job=1,
            row_no=n,
        )
        for person in people
        for n in range(50)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE audience_interaction, audience_profile, audience_database")
        cursor.execute("SET LOCAL enable_seqscan = off")  # as it is with millions of rows
    with django_assert_max_num_queries(4) as queries:
        program.get(INTERACTIONS, {"email": "p7@example.com"})
    for query in queries.captured_queries:
        if "audience_" not in query["sql"] or not query["sql"].startswith("SELECT"):
            continue
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {query['sql']}")
            plan = "\n".join(row[0] for row in cursor.fetchall())
        assert "Seq Scan on audience_interaction" not in plan, plan
        assert "Seq Scan on audience_profile" not in plan, plan
    assert "interaction_timeline" in plan
