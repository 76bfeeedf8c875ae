"""Filters of exports: each operator against the same rule in Python, over values as bad as they come."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import Account
from audience.models import ContactList, Database, DataTable, ListMember, Profile, Record, Suppression
from audience.services import database_default
from exports.conditions import (
    ALL_OPS,
    RULES_MAX,
    condition,
    explain,
    operators_of,
    sentence_of,
)
from exports.sources import SOURCES, Fields, SourceError, count
from tests.factories import make_account

TODAY = dt.datetime.now(dt.UTC)
# JSON values of one key; a row without it is added.
VALUES: list[Any] = [
    *("Gold", "gold", "Silver", "", " ", "50%", "50x", "a_b", "axb", "back\\slash", "back\\\\", "\\", "%", "_"),
    *("'quoted'", '"double"', "%s", "{}", "é", "É", "tab\tand\nline", "--", "; DROP TABLE", "null", "ok\u2028"),
    *("NaN", "nan", "Infinity", "-inf", "1e400", "1e-400", "1e9999", "not a number", "0x1F", "1_000", "1,5", "٣"),
    *("12", " 12 ", "-12.50", "+3", ".5", "5.", ".", "007", "1e3", "1E+2", "1e", "--1", "9" * 400),
    *("true", "TRUE", "t", "yes", "1", "0", "no", "F", "maybe", "on"),
    *("2026-03-01", "2026-03-02", "2026-02-29", "2024-02-29", "2026-13-45", "2026-3-1", "0000-01-01", "9999-12-31"),
    *("infinity", "-infinity", "today", "now", "epoch", "44 BC", "2026-03-01 BC", "20260301", "12026-03-01"),
    *("2026-03-01T00:00:00Z", "2026-03-01T23:59:59.999999Z", "2026-03-02T00:00:00+05:00", "2026-03-01T25:00:00Z"),
    *("2026-03-01 12:30", "2026-03-01T12:30:00", "2026-03-01T12:30:00Z junk", "2026-03-01T12:30:00Europe/Lisbon"),
    *(f"{TODAY - dt.timedelta(days=3):%Y-%m-%dT%H:%M:%SZ}", f"{TODAY + dt.timedelta(days=3):%Y-%m-%d}"),
    *(0, 1, -1, 12, 12.5, 1e300, -0.0, 10**60, True, False, None, [], {}, ["Gold"], {"a": {"b": "Gold"}}, [1, None]),
]
MISSING = object()


def text_of(value: Any) -> str | None:
    """As `->>` gives it, asked of PostgreSQL itself."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::jsonb -> 'v' #>> '{}'", [json.dumps({"v": value})])
        return cursor.fetchone()[0]  # type: ignore[no-any-return]


def number_of(text: str | None) -> Decimal | None:
    match = text is not None and re.fullmatch(
        r"\s*([+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?)\s*", text, re.ASCII | re.IGNORECASE
    )
    return Decimal(match[1]) if match else None


def time_of(text: str | None) -> dt.datetime | None:
    if text is None or not re.match(r"(?!0000|0001|9999)\d{4}-\d\d-\d\d($|[T ][0-9:.]+ ?(Z|[+-][0-9:]+)?$)", text):
        return None
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def boolean_of(text: str | None) -> bool | None:
    word = (text or "").strip().lower()
    return True if word in ("true", "t", "yes", "1") else False if word in ("false", "f", "no", "0") else None


def day(text: str, add: int = 0) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC) + dt.timedelta(days=add)


def folded(text: str | None) -> str:
    return (text or "").lower()


def numeric(test: Callable[[Decimal], bool]) -> Callable[[str | None], bool]:
    return lambda text: (number := number_of(text)) is not None and test(number)


def timely(test: Callable[[dt.datetime], bool]) -> Callable[[str | None], bool]:
    return lambda text: (time := time_of(text)) is not None and test(time)


CASES: list[tuple[str, Any, Callable[[str | None], bool]]] = [
    ("is", "Gold", lambda text: text == "Gold"),
    ("is", "50%", lambda text: text == "50%"),
    ("is_not", "Gold", lambda text: text != "Gold"),
    ("is_not", "null", lambda text: text != "null"),
    ("one_of", ["Gold", "\\", "%s"], lambda text: text in ("Gold", "\\", "%s")),
    ("contains", "%", lambda text: "%" in folded(text)),
    ("contains", "_", lambda text: "_" in folded(text)),
    ("contains", "\\", lambda text: "\\" in folded(text)),
    ("contains", "gOLD", lambda text: "gold" in folded(text)),
    ("contains", "é", lambda text: "é" in folded(text)),
    ("contains", "'", lambda text: "'" in folded(text)),
    ("starts_with", "50%", lambda text: folded(text).startswith("50%")),
    ("starts_with", "BACK\\", lambda text: folded(text).startswith("back\\")),
    ("ends_with", "\\", lambda text: folded(text).endswith("\\")),
    ("ends_with", "_b", lambda text: folded(text).endswith("_b")),
    ("is_empty", None, lambda text: not text),
    ("is_not_empty", None, bool),
    ("eq", 12, numeric(lambda number: number == 12)),
    ("eq", "-12.5", numeric(lambda number: number == Decimal("-12.5"))),
    ("ne", 12, lambda text: number_of(text) != 12),
    ("lt", 0, numeric(lambda number: number < 0)),
    ("lte", 0.5, numeric(lambda number: number <= Decimal("0.5"))),
    ("gt", "1e300", numeric(lambda number: number > Decimal("1e300"))),
    ("gte", 1e300, numeric(lambda number: number >= Decimal("1e300"))),
    ("between", [1, 12.5], numeric(lambda number: 1 <= number <= Decimal("12.5"))),
    ("between", ["5", 1], lambda text: False),
    ("on", "2026-03-01", timely(lambda time: day("2026-03-01") <= time < day("2026-03-02"))),
    ("on", "2026-03-01T12:00:00Z", timely(lambda time: day("2026-03-01") <= time < day("2026-03-02"))),
    ("before", "2026-03-01", timely(lambda time: time < day("2026-03-01"))),
    ("before", "2026-03-01T12:30:01Z", timely(lambda time: time < day("2026-03-01T12:30:01"))),
    ("after", "2026-03-01", timely(lambda time: time >= day("2026-03-02"))),
    ("after", "2026-03-01T12:30:00+00:00", timely(lambda time: time > day("2026-03-01T12:30:00"))),
    ("between", ["2024-02-29", "2026-03-01"], timely(lambda time: day("2024-02-29") <= time < day("2026-03-02"))),
    (
        "between",
        ["2026-03-01", "2026-03-01T12:30:00Z"],
        timely(lambda time: day("2026-03-01") <= time <= day("2026-03-01T12:30:00")),
    ),
    ("in_last_days", 7, timely(lambda time: dt.timedelta(0) < TODAY - time < dt.timedelta(days=7))),
    ("in_last_days", "36500", timely(lambda time: time < TODAY)),
    ("is_true", None, lambda text: boolean_of(text) is True),
    ("is_false", None, lambda text: boolean_of(text) is False),
]


def rule(field: str, op: str, value: Any = None) -> dict[str, Any]:
    return {"and": [{"field": field, "op": op, "value": value}]}


@pytest.fixture
def account(db: None) -> Account:
    return make_account()


@pytest.fixture
def people(account: Account) -> tuple[Database, dict[int, str | None]]:
    """A profile a value, under `attributes.v`; each one's text by its number."""
    database = database_default(account=account)
    made = Profile.objects.bulk_create(
        Profile(database=database, email=f"p{at:03}@example.com", attributes={} if value is MISSING else {"v": value})
        for at, value in enumerate([*VALUES, MISSING])
    )
    texts = [text_of(value) for value in VALUES]
    return database, dict(zip((profile.pk for profile in made), [*texts, None], strict=True))


def test_each_operator_says_what_python_says(people: tuple[Database, dict[int, str | None]]) -> None:
    database, texts = people
    source = SOURCES["profile"]
    fields = source.fields(database)
    for op, value, holds in CASES:
        found = set(
            source.rows(database)
            .filter(condition(rule("attributes.v", op, value), fields))
            .values_list("pk", flat=True)
        )
        wanted = {key for key, text in texts.items() if holds(text)}
        assert found == wanted, (op, value, [texts[key] for key in found ^ wanted])
    assert {op for op, _value, _holds in CASES} == set(ALL_OPS)


def test_declared_columns_are_read_as_their_type(account: Account) -> None:
    database = database_default(account=account)
    columns = [{"name": kind, "type": kind} for kind in ("text", "number", "boolean", "date", "datetime")]
    table = DataTable.objects.create(database=database, name="T", slug="t", kind="repository", columns=columns)
    texts = {}
    for value in VALUES:
        record = Record.objects.create(
            table=table, values=dict.fromkeys(("text", "number", "boolean", "date", "datetime"), value)
        )
        texts[record.pk] = text_of(value)
    source = SOURCES["repository"]
    fields = source.fields(database, "t")
    for field in fields:
        for op, value, holds in CASES:
            if not field.name.startswith("values.") or op not in operators_of(field):
                continue
            kind = field.type.value
            if op == "between" and (kind == "number") != isinstance(value[1], int | float):
                continue
            if kind == "date" and op not in ("is_empty", "is_not_empty"):
                continue  # below
            q = condition(rule(field.name, op, value), fields)
            found = {texts[key] for key in source.rows(database, "t").filter(q).values_list("pk", flat=True)}
            assert found == {text for text in texts.values() if holds(text)}, (kind, op, value)
    for op, value, dates in (
        ("on", "2026-03-01", {"2026-03-01"}),
        ("before", "2026-03-01", {"2024-02-29"}),
        ("between", ["2026-03-02", "2026-03-02"], {"2026-03-02"}),
        ("in_last_days", 7, {f"{TODAY - dt.timedelta(days=3):%Y-%m-%d}"}),
    ):
        q = condition(rule("values.date", op, value), fields)
        found = {str(texts[key])[:10] for key in source.rows(database, "t").filter(q).values_list("pk", flat=True)}
        assert found == dates, op


def test_addresses_opt_outs_and_lists(account: Account) -> None:
    database = database_default(account=account)
    ines, tom, ann = (
        Profile.objects.create(database=database, email=email, partner_user_id=number)
        for email, number in (("ines@example.com", None), ("tom@example.com", "Ä-7"), (None, "8"))
    )
    Suppression.objects.create(database=database, channel="email", partner_user_id="8")
    Suppression.objects.create(database=database, channel="sms", partner_user_id="Ä-7")
    autumn = ContactList.objects.create(database=database, name="Autumn")
    spring = ContactList.objects.create(database=database, name="Spring")
    for profile, contact_list in ((ines, autumn), (ines, spring), (tom, spring)):
        ListMember.objects.create(profile=profile, contact_list=contact_list)
    source = SOURCES["profile"]
    fields = source.fields(database)
    for field, op, value, who in (
        ("email", "is", " Ines@Example.COM", [ines]),
        ("email", "one_of", ["TOM@example.com", "x"], [tom]),
        ("email", "ends_with", "EXAMPLE.com", [ines, tom]),
        ("email", "is_not", "ines@example.com", [tom, ann]),
        ("email", "is_empty", None, [ann]),
        ("partner_user_id", "starts_with", "ä", [tom]),
        ("opted_out", "is_true", None, [ann]),
        ("opted_out", "is_false", None, [ines, tom]),
        ("lists", "one_of", ["Autumn", "Nobody's"], [ines]),
        ("lists", "is", "Spring", [ines, tom]),
        ("lists", "is_not", "Autumn", [tom, ann]),
        ("lists", "is_empty", None, [ann]),
        ("lists", "is_not_empty", None, [ines, tom]),
        ("id", "eq", tom.pk, [tom]),
        ("created_at", "in_last_days", 1, [ines, tom, ann]),
        ("created_at", "is_empty", None, []),
    ):
        q = condition(rule(field, op, value), fields)
        assert list(source.rows(database).filter(q).order_by("pk")) == who, (field, op)


def test_groups(people: tuple[Database, dict[int, str | None]]) -> None:
    database, texts = people
    source = SOURCES["profile"]
    fields = source.fields(database)
    gold, twelve, percent = ({"field": "attributes.v", "op": "is", "value": value} for value in ("Gold", "12", "%"))
    for filter_, wanted in (
        ({"or": [gold, twelve]}, {"Gold", "12"}),
        ({"and": [gold, twelve]}, set()),
        ({"or": [percent, {"and": [gold, {"or": [twelve, gold]}]}]}, {"Gold", "%"}),
        ({"and": [gold, {"or": []}, {"and": [{"or": []}]}]}, {"Gold"}),
    ):
        rows = source.rows(database).filter(condition(filter_, fields))
        assert {texts[row.pk] for row in rows} == wanted
    for everything in (None, {"and": []}, {"or": []}):
        assert count(source.rows(database).filter(condition(everything, fields))) == len(texts)


DEEP: dict[str, Any] = {"and": [{"and": [{"and": [{"and": []}]}]}]}


@pytest.mark.parametrize(
    ("filter_", "says"),
    [
        ([], "“and” or “or”"),
        ({}, "“and” or “or”"),
        ("x", "“and” or “or”"),
        ({"not": []}, "“and” or “or”"),
        ({"and": [], "or": []}, "“and” or “or”"),
        ({"and": {}}, "Behind “and”"),
        ({"and": [1]}, "A rule is"),
        ({"and": [{"field": "email"}]}, "A rule is"),
        ({"and": [{"field": "email", "op": "is", "value": "x", "more": 1}]}, "A rule is"),
        (rule("nonsense", "is", "x"), "no field “nonsense”"),
        (rule("attributes.\0", "is", "x"), "no field"),
        ({"and": [{"field": ["email"], "op": "is"}]}, "no field"),
        (rule("email", "gt", 1), "“email” cannot be asked with “gt”"),
        (rule("created_at", "contains", "x"), "“created_at” cannot"),
        (rule("lists", "contains", "x"), "“lists” cannot"),
        ({"and": [{"field": "email", "op": ["is"], "value": "x"}]}, "“email” cannot"),
        (rule("email", "is", None), "“email” with “is” will not do. It is a text"),
        (rule("email", "is", ""), "It is a text"),
        (rule("email", "is", 5), "It is a text"),
        (rule("email", "is", "a\0b"), "It is a text"),
        (rule("email", "contains", "\ud800"), "It is a text"),
        (rule("email", "contains", "x" * 1001), "It is a text"),
        (rule("email", "one_of", "x"), "It is a list of 1"),
        (rule("email", "one_of", []), "It is a list of 1"),
        (rule("email", "one_of", ["x"] * 1001), "It is a list of 1"),
        (rule("email", "one_of", [None]), "It is a text"),
        (rule("id", "eq", "seven"), "It is a number"),
        (rule("id", "eq", True), "It is a number"),
        (rule("id", "eq", float("nan")), "It is a number"),
        (rule("id", "eq", "NaN"), "It is a number"),
        (rule("id", "eq", 10**5000), "It is a number"),
        (rule("id", "between", [1]), "two values"),
        (rule("id", "between", [1, "x"]), "It is a number"),
        (rule("created_at", "on", "2026-13-45"), "It is a date"),
        (rule("created_at", "on", "20260301"), "It is a date"),
        (rule("created_at", "on", "9999-12-31"), "It is a date"),
        (rule("created_at", "before", 5), "It is a date"),
        (rule("created_at", "between", ["2026-01-01", None]), "It is a date"),
        (rule("created_at", "in_last_days", 0), "whole number of days"),
        (rule("created_at", "in_last_days", 1.5), "whole number of days"),
        (rule("created_at", "in_last_days", 10**9), "whole number of days"),
        (DEEP, "3 deep"),
        ({"and": [{"field": "email", "op": "is_empty"}] * (RULES_MAX + 1)}, "50 rules"),
    ],
    ids=range(43),
)
def test_what_is_refused_is_said(filter_: Any, says: str, account: Account) -> None:
    fields = SOURCES["profile"].fields(database_default(account=account))
    for use in (condition, sentence_of):
        with pytest.raises(SourceError) as refused:
            use(filter_, fields)
        assert refused.value.code == "FILTER_INVALID"
        assert says in refused.value.sentence


def test_sentences(account: Account) -> None:
    fields = SOURCES["profile"].fields(database_default(account=account))
    filter_ = {
        "and": [
            {"field": "attributes.tier", "op": "one_of", "value": ["Silver", "Gold", "100%"]},
            {"field": "opted_out", "op": "is_false"},
            {
                "or": [
                    {"field": "created_at", "op": "between", "value": ["2026-01-01", "2026-02-01T10:00:00Z"]},
                    {"field": "lists", "op": "is", "value": "Autumn"},
                    {"field": "attributes.score", "op": "gte", "value": "1.50"},
                ]
            },
        ]
    }
    assert sentence_of(filter_, fields) == (
        "tier is Silver, Gold or 100%, and E-mail is not opted out, and (Created is between 2026-01-01 and "
        "2026-02-01 10:00 UTC, or On the list Autumn, or score ≥ 1.50)"
    )
    assert sentence_of(None, fields) == ""
    for op in ALL_OPS:
        value = next(value for name, value, _holds in CASES if name == op)
        assert sentence_of(rule("attributes.%(x)s %", op, value), fields).startswith("%(x)s %")


def test_why_somebody_is_not_in_it(account: Account) -> None:
    database = database_default(account=account)
    source = SOURCES["profile"]
    profile = Profile.objects.create(
        database=database, email="a@example.com", attributes={"tier": "Gold", "city": "Faro"}
    )
    fields = source.fields(database)
    tier, city = (
        {"field": f"attributes.{name}", "op": "is", "value": value}
        for name, value in (("tier", "Gold"), ("city", "Porto"))
    )
    plan = {"field": "attributes.plan", "op": "gt", "value": 3}

    def why(filter_: Any) -> list[str]:
        return explain(source.rows(database), filter_, fields, profile.pk)

    assert why(None) == why({"and": [tier]}) == why({"or": [city, tier]}) == []
    assert why({"and": [tier, city, plan]}) == ["city is Porto", "plan > 3"]
    assert why({"or": [plan, city]}) == ["plan > 3, or city is Porto"]
    assert why({"and": [tier, {"or": [plan, {"and": [tier, city]}]}]}) == [
        "plan > 3, or (tier is Gold, and city is Porto)"
    ]
    assert why({"and": [tier, {"and": [plan]}]}) == ["plan > 3"]
    with pytest.raises(Profile.DoesNotExist):
        explain(source.rows(database), {"and": [tier]}, fields, profile.pk + 1)


# Made-up filters.

NAMES = (
    "email",
    "partner_user_id",
    "created_at",
    "id",
    "opted_out",
    "lists",
    "attributes.v",
    "attributes.x",
    "nonsense",
)
odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-100, 40_000),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from([value for value in VALUES if isinstance(value, str)]),
    st.dates().map(str),
    st.datetimes().map(lambda moment: moment.isoformat()),
)
rules = st.fixed_dictionaries(
    {
        "field": st.sampled_from(NAMES),
        "op": st.sampled_from(ALL_OPS),
        "value": st.one_of(odd, st.lists(odd, max_size=3)),
    }
)
good_rules = st.sampled_from(CASES).map(lambda case: {"field": "attributes.v", "op": case[0], "value": case[1]})
filters = st.recursive(
    st.one_of(rules, good_rules),
    lambda inner: st.dictionaries(st.sampled_from(["and", "or"]), st.lists(inner, max_size=4), min_size=1, max_size=1),
    max_leaves=12,
)


@pytest.fixture
def fields(people: tuple[Database, dict[int, str | None]]) -> Fields:
    return SOURCES["profile"].fields(people[0])


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(filter_=st.one_of(filters, st.lists(st.one_of(rules, good_rules), max_size=4).map(lambda some: {"and": some})))
def test_no_filter_is_a_database_error(
    filter_: Any, people: tuple[Database, dict[int, str | None]], fields: Fields
) -> None:
    source = SOURCES["profile"]
    rows = source.rows(people[0])
    try:
        q = condition(filter_, fields)
    except SourceError:
        return  # said; what is said is tried above
    found = rows.filter(q)
    selection = source.selection(found, [{"field": "attributes.v", "header": "v"}], fields, typed=False)
    with connection.cursor() as cursor:
        cursor.execute(selection.select)
        keys = [row[-1] for row in cursor.fetchall()]
    assert count(found) == len(keys) == len(set(keys))
    assert sentence_of(filter_, fields) or len(keys) == len(people[1])
    for key in (min(people[1]), max(people[1])):
        assert (not explain(rows, filter_, fields, key)) == (key in keys)
