"""The wizard that makes and edits drafts, a step at a time."""

from __future__ import annotations

import datetime as dt
import html
import json
import re
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.actors import Actor
from accounts.permissions import Role
from audience.models import ContactList, DataTable, Interaction, Profile, Segment
from audience.services import database_default
from exports import services
from exports.models import Destination, Export
from exports.states import State
from exports.wizard.filter import as_option, of_option
from exports.wizard.forms import DataForm, DestinationForm, FileForm, ReportForm
from exports.wizard.when import WhenForm
from tests.exports import ODD_KEYS, make_export, make_people
from tests.factories import make_account, make_actor

pytestmark = pytest.mark.django_db
NEW = "/exports/new/"
HTMX = {"HX-Request": "true", "HX-Target": "drawer"}
GOLD = {"field": "attributes.tier", "op": "is", "value": "Gold"}


def data(**changes: Any) -> dict[str, Any]:
    return {"name": "Everybody", "database": "main", "data_type": "profile", "type": "one_shot", **changes}


def edit(export: Export, step: int) -> str:
    return f"/exports/{export.pk}/edit/?step={step}"


def draft(by: Actor, *, step: int = 7, **definition: Any) -> Export:
    export = make_export(by, **definition)
    Export.objects.filter(pk=export.pk).update(step=step)
    export.refresh_from_db()
    return export


def recurring(by: Actor, **definition: Any) -> Export:
    return draft(by, **{"type": "periodic_full", "destination": "transfer_box", **definition})


def rules(*rows: tuple[str, str, str, str], match: str = "and", **extra: Any) -> dict[str, Any]:
    """Rules as the page sends them: field, comparison, value, second value."""
    names = ("field", "op", "value", "second")
    sent = {f"rule_{name}": [row[at] for row in rows] for at, name in enumerate(names)}
    return {**sent, "rule_group": ["0"] * len(rows), "match": [match], **extra}


def columns(*pairs: tuple[str, str]) -> dict[str, Any]:
    return {
        "which": "chosen",
        "column_fields": json.dumps([field for field, _header in pairs]),
        "column_header": [header for _field, header in pairs],
    }


# Drafts.


def test_is_a_page_and_a_drawer(marta: Client) -> None:
    page = marta.get(NEW)
    assert page.status_code == 200
    assert "<!doctype" in page.content.decode()
    assert "Step 1 of 7: Data" in page.content.decode()
    drawer = marta.get(NEW, headers=HTMX).content.decode()
    assert drawer.lstrip().startswith("<dialog")


def test_the_first_step_makes_the_draft(marta: Client, marketer: Actor) -> None:
    response = marta.post(NEW, data(name=" Buyers "))
    export = Export.objects.get()
    assert (response.status_code, response["Location"]) == (303, edit(export, 2))
    assert (export.name, export.state, export.step, export.created_by) == ("Buyers", State.DRAFT, 2, marketer.user)


def test_htmx_goes_on_in_the_drawer(marta: Client) -> None:
    response = marta.post(NEW, data(), headers=HTMX)
    assert response["HX-Push-Url"] == edit(Export.objects.get(), 2)
    assert "Step 2 of 7: Columns" in response.content.decode()


def test_save_as_draft_leads_to_the_list(marta: Client) -> None:
    response = marta.post(NEW, {**data(), "go": "save"})
    assert response.status_code == 303
    assert Export.objects.get().step == 1
    assert marta.post(NEW, {**data(name="Other"), "go": "save"}, headers=HTMX)["HX-Redirect"]


def test_the_furthest_step_is_kept(marta: Client, marketer: Actor) -> None:
    export = draft(marketer, step=1)
    for step in range(1, 7):
        sent: dict[str, Any] = {
            1: data(),
            2: {"which": "all"},
            3: {"format": "csv", "compression": "none", "name_pattern": "x", "asked": ""},
            4: {"destination": "download"},
            5: {"moment": "now"},
            6: {"recipients": "", "report_when": "always"},
        }[step]
        assert marta.post(edit(export, step), sent)["Location"] == edit(export, step + 1)
        export.refresh_from_db()
        assert export.step == step + 1
    marta.post(edit(export, 4), {"destination": "download"})
    export.refresh_from_db()
    assert export.step == 7


def test_steps_ahead_are_not_open(marta: Client, marketer: Actor) -> None:
    export = draft(marketer, step=2)
    html = marta.get(edit(export, 6)).content.decode()
    assert "Step 2 of 7" in html
    assert f'href="{edit(export, 1)}"' in html
    assert f'href="{edit(export, 3)}"' not in html
    for odd in ("x", "0", "-1", "99999999999999999999", "²"):
        assert marta.get(f"/exports/{export.pk}/edit/", {"step": odd}).status_code == 200


def test_what_is_unchanged_leaves_no_trace(marta: Client, marketer: Actor) -> None:
    export = draft(marketer)
    from accounts.models import AuditEvent

    before = AuditEvent.objects.count()
    marta.post(edit(export, 4), {"destination": "download"})
    assert AuditEvent.objects.count() == before


# Who may.


@pytest.mark.parametrize("path", ["edit/", "columns/", "count/", "preview/", "next-runs/"])
def test_other_accounts_exports_are_not_there(path: str, marta: Client) -> None:
    other = make_export(make_actor(make_account("Pier Nine")))
    assert marta.post(f"/exports/{other.pk}/{path}", {}).status_code == 404


@pytest.mark.parametrize("path", ["edit/", "columns/", "count/", "preview/", "next-runs/"])
def test_viewers_do_not_make_exports(path: str, marketer: Actor) -> None:
    viewer = make_actor(marketer.account, Role.VIEWER)
    client = Client()
    client.force_login(viewer.user)  # type: ignore[arg-type]
    assert client.get(NEW).status_code == 403
    assert client.post(f"/exports/{make_export(marketer).pk}/{path}", {}).status_code == 403


def test_a_scheduled_export_is_not_edited(marta: Client, marketer: Actor) -> None:
    export = recurring(marketer, schedule={"cadence": "daily", "at": "06:30", "timezone": "UTC"})
    services.export_schedule(export=export, by=marketer)
    for response in (marta.get(edit(export, 1)), marta.post(edit(export, 1), data(name="Mine"))):
        assert response.status_code == 303
    export.refresh_from_db()
    assert export.name == "Everybody"


def test_two_windows(marta: Client, marketer: Actor) -> None:
    export = draft(marketer)
    sent = {"recipients": "a@example.com", "report_when": "always", "send_empty": "on"}
    page = marta.get(edit(export, 6))
    stamp = page.context["stamp"]
    services.export_update(export=export, by=marketer, changes={"recipients": ["b@example.com"]})
    refused = marta.post(edit(export, 6), {**sent, "stamp": stamp})
    assert refused.status_code == 422
    assert "changed in another window" in refused.content.decode()
    assert "a@example.com" in refused.content.decode()
    export.refresh_from_db()
    assert export.recipients == ["b@example.com"]
    # Said once, it is the person's decision.
    assert marta.post(edit(export, 6), {**sent, "stamp": refused.context["stamp"]}).status_code == 303
    # Another step's change is no obstacle.
    stamp = marta.get(edit(export, 6)).context["stamp"]
    services.export_update(export=export, by=marketer, changes={"name": "Renamed"})
    assert marta.post(edit(export, 6), {**sent, "stamp": stamp}).status_code == 303


def test_a_summary_that_is_no_longer_true(marta: Client, marketer: Actor) -> None:
    export = draft(marketer)
    stamp = marta.get(edit(export, 7)).context["stamp"]
    services.export_update(export=export, by=marketer, changes={"recipients": ["b@example.com"]})
    refused = marta.post(edit(export, 7), {"stamp": stamp, "go": "next"})
    html = refused.content.decode()
    assert refused.status_code == 422
    assert "changed meanwhile" in html
    assert "b@example.com" in html
    assert "is yours" not in html
    export.refresh_from_db()
    assert export.state == State.DRAFT
    answer = marta.post(edit(export, 7), {"stamp": refused.context["stamp"], "go": "next"})
    assert answer.status_code == 303
    export.refresh_from_db()
    assert export.state == State.STARTED


# Step 1.


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"name": ""}, "name", "Give the export a name"),
        ({"name": "x" * 121}, "name", "at most 120 characters"),
        ({"name": "TAKEN"}, "name", "Another export of this account has this name"),
        ({"name": "a\x07b"}, "name", "Control characters"),
        ({"database": "elsewhere"}, "database", "Select a valid choice"),
        ({"data_type": "unicorn"}, "data_type", "Select a valid choice"),
        ({"data_type": "list_member"}, "table", "Choose which list"),
        ({"data_type": "linked_data"}, "table", "Choose which table"),
        ({"data_type": "list_member", "table": "Nobody"}, "table", "There is no list"),
        ({"type": "custom"}, "type", "Select a valid choice"),
        ({"type": "periodic_full", "data_type": "interaction"}, "type", "what happens is added"),
        ({"type": "incremental", "data_type": "list_member", "table": "News"}, "type", "do not tell what is new"),
    ],
)
def test_data_errors(changes: dict[str, Any], field: str, says: str, marta: Client, marketer: Actor) -> None:
    make_export(marketer, name="Taken")
    ContactList.objects.create(database=database_default(account=marketer.account), name="News")
    for headers in ({}, HTMX):
        response = marta.post(NEW, data(**changes), headers=headers)
        assert response.status_code == 422
        assert says in " ".join(response.context["form"].errors[field])
        assert says in response.content.decode()
    assert Export.objects.count() == 1


def test_lists_tables_and_event_names_are_offered(marta: Client, marketer: Actor) -> None:
    database = make_people(marketer, 1)
    ContactList.objects.create(database=database, name="News")
    DataTable.objects.create(database=database, name="Orders", slug="orders", kind="linked", columns=[])
    other = database_default(account=make_account("Pier Nine"))
    ContactList.objects.create(database=other, name="Secret")
    Interaction.objects.create(
        database=database,
        profile=database.profiles.get(),
        kind="order",
        occurred_at=timezone.now(),
        created_by_job=1,
        row_no=1,
    )

    def shown(data_type: str) -> str:
        return marta.post(NEW, {**data(data_type=data_type), "do": "refresh"}).content.decode()

    assert '<option value="News">News</option>' in shown("list_member")
    assert "Secret" not in shown("list_member")
    assert '<option value="orders">Orders</option>' in shown("linked_data")
    assert "There is none in this database yet" in shown("repository")
    assert "<option>order</option>" in shown("interaction")
    assert "<option>email</option>" in shown("subscription")
    assert "Give the export a name" not in shown("profile")
    assert Export.objects.count() == 0


def test_types_that_do_not_go_with_the_data_say_why(marta: Client) -> None:
    html = marta.post(NEW, {**data(data_type="interaction"), "do": "refresh"}).content.decode()
    assert 'value="periodic_full" disabled' in html
    assert "what happens is added, so send what is new" in html


def test_other_data_begin_with_other_columns(marta: Client, marketer: Actor) -> None:
    export = draft(marketer, filter={"and": [GOLD]})
    assert marta.post(edit(export, 1), data(data_type="interaction")).status_code == 303
    export.refresh_from_db()
    assert (export.data_type, export.columns, export.filter) == ("interaction", None, None)
    assert "did not fit any more" in marta.get(edit(export, 2)).content.decode()


def test_a_new_name_keeps_the_columns(marta: Client, marketer: Actor) -> None:
    export = draft(marketer, filter={"and": [GOLD]})
    marta.post(edit(export, 1), data(name="Gold"))
    export.refresh_from_db()
    assert (export.name, export.filter) == ("Gold", {"and": [GOLD]})
    assert export.columns


# Step 2.


def test_columns_and_rules_are_saved(marta: Client, marketer: Actor) -> None:
    make_people(marketer, 3)
    export = draft(marketer)
    sent = {
        **columns(("attributes.tier", "level"), ("email", "mail")),
        **rules(
            ("attributes.tier", "one_of", "Gold\r\nSilver\r\n", ""), ("id", "between", "1", "900"), ("", "is", "", "")
        ),
    }
    assert marta.post(edit(export, 2), sent).status_code == 303
    export.refresh_from_db()
    assert export.columns == [{"field": "attributes.tier", "header": "level"}, {"field": "email", "header": "mail"}]
    assert export.filter == {
        "and": [
            {"field": "attributes.tier", "op": "one_of", "value": ["Gold", "Silver"]},
            {"field": "id", "op": "between", "value": [1, 900]},
        ]
    }
    html = marta.get(edit(export, 2)).content.decode()
    assert 'value="level"' in html
    assert "Gold\nSilver</textarea>" in html


def test_all_columns_and_all_rows(marta: Client, marketer: Actor) -> None:
    export = draft(marketer, filter={"and": [GOLD]})
    assert marta.post(edit(export, 2), {"which": "all", "match": "and"}).status_code == 303
    export.refresh_from_db()
    assert (export.columns, export.filter) == (None, None)


def test_groups(marta: Client, marketer: Actor) -> None:
    export = draft(marketer)
    rows = [("attributes.tier", "is", "Gold", ""), ("email", "contains", "a", ""), ("email", "contains", "b", "")]
    sent = {**columns(("email", "email")), **rules(*rows), "rule_group": ["0", "1", "1"], "match": ["and", "or"]}
    assert marta.post(edit(export, 2), sent).status_code == 303
    export.refresh_from_db()
    one, other = ({"field": "email", "op": "contains", "value": letter} for letter in "ab")
    assert export.filter == {"and": [GOLD, {"or": [one, other]}]}
    html = marta.get(edit(export, 2)).content.decode()
    assert 'aria-label="Group 1"' in html


def test_deeper_filters_are_kept(marta: Client, marketer: Actor) -> None:
    deep = {"and": [GOLD, {"or": [GOLD, {"and": [GOLD, GOLD]}]}]}
    export = draft(marketer, filter=deep)
    html = marta.get(edit(export, 2)).content.decode()
    assert "It is kept as it is" in html
    assert "tier is Gold" in html
    marta.post(edit(export, 2), {**columns(("email", "mail")), "match": "and", "filter_kept": "1"})
    export.refresh_from_db()
    assert export.filter == deep
    html = marta.post(
        edit(export, 2), {**columns(("email", "mail")), "match": "and", "filter_kept": "1", "do": "replace"}
    ).content.decode()
    assert "Add a rule" in html
    assert "filter_kept" not in html


@pytest.mark.parametrize(
    ("sent", "field", "says"),
    [
        (columns(), "columns", "Choose at least one column"),
        (columns(("email", "a"), ("id", "a")), "columns", "Two columns are called"),
        (columns(("gone", "a")), "columns", "There is no column"),
        (columns(("lists", "a")), "columns", "There is no column"),
        (columns(("email", "x" * 201)), "columns", "200 characters"),
        (rules(("attributes.tier", "is", "", "")), "filter", "text of 1 to"),
        (rules(("id", "gt", "many", "")), "filter", "It is a number"),
        (rules(("created_at", "on", "yesterday", "")), "filter", "It is a date"),
        (rules(("created_at", "between", "2026-01-01", "")), "filter", "It is a date"),
        (rules(("gone", "is", "x", "")), "filter", "There is no field"),
        (rules(("email", "gt", "1", "")), "filter", "cannot be asked"),
    ],
)
def test_columns_errors(sent: dict[str, Any], field: str, says: str, marta: Client, marketer: Actor) -> None:
    export = draft(marketer)
    response = marta.post(edit(export, 2), {**columns(("email", "email")), **sent})
    assert response.status_code == 422
    assert field in response.context["form"].errors
    assert says in response.content.decode()
    before = export.columns
    export.refresh_from_db()
    assert (export.columns, export.filter) == (before, None)


def test_as_many_columns_as_a_file_can_have(marta: Client, marketer: Actor) -> None:
    export = draft(marketer)
    sent = columns(*((f"attributes.key-{n}", f"key-{n}") for n in range(1_000)))
    assert (
        marta.post(edit(export, 2), {**sent, **rules(*[("email", "is", "a@example.com", "")] * 50)}).status_code == 303
    )
    export.refresh_from_db()
    assert len(export.columns or []) == 1_000
    assert marta.get(edit(export, 2)).status_code == 200
    assert marta.post(f"/exports/{export.pk}/preview/", sent).status_code == 200


def columns_now(html: str) -> list[str]:
    return json.loads(html.split('name="column_fields" value="')[1].split('"', maxsplit=1)[0].replace("&quot;", '"'))


@pytest.mark.parametrize(
    ("sent", "wanted"),
    [
        ({"do": "up:1"}, ["id", "email", "updated_at"]),
        ({"do": "down:1"}, ["email", "updated_at", "id"]),
        ({"do": "remove:0"}, ["id", "updated_at"]),
        ({"do": "up:0"}, ["email", "id", "updated_at"]),
        ({"do": "down:2"}, ["email", "id", "updated_at"]),
        ({"do": "remove:99"}, ["email", "id", "updated_at"]),
        ({"do": "up:x"}, ["email", "id", "updated_at"]),
        ({"do": "add", "add": ["created_at", "lists", "gone"]}, ["email", "id", "updated_at", "created_at"]),
        ({"do": "nonsense"}, ["email", "id", "updated_at"]),
    ],
)
def test_buttons_of_the_columns(sent: dict[str, Any], wanted: list[str], marta: Client, marketer: Actor) -> None:
    export = draft(marketer)
    form = {**columns(("email", "e"), ("id", "i"), ("updated_at", "u")), **sent}
    fragment = marta.post(
        f"/exports/{export.pk}/columns/", form, headers={"HX-Request": "true", "HX-Target": "export-columns"}
    )
    assert fragment.content.decode().lstrip().startswith('<div id="export-columns"')
    assert columns_now(fragment.content.decode()) == wanted
    page = marta.post(edit(export, 2), form)  # the same without script
    assert page.status_code == 200
    assert columns_now(page.content.decode()) == wanted
    export.refresh_from_db()
    assert [column["field"] for column in export.columns or []] == ["email", "attributes.tier"]


def test_choosing_begins_with_all(marta: Client, marketer: Actor) -> None:
    make_people(marketer, 1)
    export = draft(marketer, columns=None)
    assert "column_header" not in marta.get(edit(export, 2)).content.decode()
    html = marta.post(f"/exports/{export.pk}/columns/", {"which": "chosen", "do": "refresh"}).content.decode()
    assert columns_now(html)[:2] == ["email", "partner_user_id"]
    assert "attributes.tier" in columns_now(html)


def test_any_key_can_be_chosen_and_asked_about(marta: Client, marketer: Actor) -> None:
    """As a browser sends it: with line breaks of its own in the values of options."""
    database = make_people(marketer, 1)
    keys = {**ODD_KEYS, "k" * 254 + "l": "other", "sp": "none"}
    Profile.objects.filter(database=database).update(attributes=keys)
    export = draft(marketer)
    names = [f"attributes.{key}" for key in keys]
    shown = marta.get(edit(export, 2)).content.decode()
    (add,) = re.findall(r'<select[^>]* name="add".*?</select>', shown, re.DOTALL)
    options = [browsers(html.unescape(value)) for value in re.findall(r'<option value="([^"]*)"', add)]
    sent = {**columns(("email", "email")), "do": "add", "add": options}
    form = marta.post(edit(export, 2), sent).context["form"]
    assert {pair["field"] for pair in form.pairs} > set(names)
    sent = {
        **columns(*((pair["field"], pair["header"]) for pair in form.pairs)),
        **rules(*((as_option(name), "is", "v", "") for name in names)),
    }
    assert marta.post(edit(export, 2), sent).status_code == 303
    export.refresh_from_db()
    assert [column["field"] for column in export.columns or []] == [pair["field"] for pair in form.pairs]
    assert [rule["field"] for rule in export.filter["and"]] == names
    again = marta.get(edit(export, 2)).content.decode()
    chosen = re.findall(r'<option value="([^"]*)" selected', again)
    assert {of_option(browsers(html.unescape(value))) for value in chosen} > set(names)
    assert json.loads(html.unescape(re.findall(r'name="column_fields" value="([^"]*)"', again)[0])) == [
        pair["field"] for pair in form.pairs
    ]


def browsers(text: str) -> str:
    return re.sub(r"\r\n|\r|\n", "\r\n", text)


def test_buttons_of_the_filter(marta: Client, marketer: Actor) -> None:
    make_people(marketer, 1)
    export = draft(marketer)

    def after(do: str, sent: dict[str, Any]) -> str:
        return marta.post(
            f"/exports/{export.pk}/columns/", {**columns(("email", "e")), **sent, "do": do}
        ).content.decode()

    assert after("rule:0", {}).count('name="rule_field"') == 1
    one = rules(("created_at", "is", "", ""))
    assert 'type="date"' in after("refresh", one)  # the first comparison that the field has
    assert after("group", one).count('name="rule_field"') == 2
    assert after("drop:0", one).count('name="rule_field"') == 0
    assert after("drop:7", one).count('name="rule_field"') == 1
    assert 'name="rule_second" value=""' in after("refresh", rules(("id", "between", "1", "")))


def test_segments(marta: Client, marketer: Actor) -> None:
    database = make_people(marketer, 1)
    export = draft(marketer)
    rule = rules(("attributes.tier", "is", "Gold", ""))
    html = marta.post(
        f"/exports/{export.pk}/columns/", {**rule, "segment": "Gold people", "do": "keep"}
    ).content.decode()
    assert "The segment “Gold people” is saved" in html
    segment = Segment.objects.get()
    assert (segment.filter, segment.data_type, segment.database) == ({"and": [GOLD]}, "profile", database)
    html = marta.post(f"/exports/{export.pk}/columns/", {"from_segment": segment.pk, "do": "segment"}).content.decode()
    assert 'value="Gold"' in html
    assert "These are the rules of “Gold people”" in html
    for name, says in (
        ("Gold people", "has this name"),
        ("", "Give the segment a name"),
        ("x" * 121, "Give the segment a name"),
    ):
        html = marta.post(f"/exports/{export.pk}/columns/", {**rule, "segment": name, "do": "keep"}).content.decode()
        assert says in html
    html = marta.post(f"/exports/{export.pk}/columns/", {"segment": "Everybody", "do": "keep"}).content.decode()
    assert "at least one rule" in html
    other = Segment.objects.create(
        database=database_default(account=make_account("Pier Nine")), name="Secret", filter={}
    )
    html = marta.post(f"/exports/{export.pk}/columns/", {"from_segment": other.pk, "do": "segment"}).content.decode()
    assert "Choose a segment to start from" in html
    assert Segment.objects.count() == 2


def test_count_and_preview(marta: Client, marketer: Actor) -> None:
    make_people(marketer, 30)
    export = draft(marketer)
    sent = {**columns(("email", "mail"), ("attributes.tier", "level")), **rules(("attributes.tier", "is", "Gold", ""))}
    assert "<b>10</b> rows match, of 30" in marta.post(f"/exports/{export.pk}/count/", sent).content.decode()
    html = marta.post(f"/exports/{export.pk}/preview/", sent).content.decode()
    assert html.count("<tr>") == 11
    assert '<th scope="col">level</th>' in html
    assert "person-00027@example.com" in html
    everybody = marta.post(f"/exports/{export.pk}/preview/", columns(("email", "mail"))).content.decode()
    assert everybody.count("<tr>") == 21
    bad = rules(("id", "gt", "many", ""))
    assert "It is a number" in marta.post(f"/exports/{export.pk}/count/", bad).content.decode()
    assert "It is a number" in marta.post(f"/exports/{export.pk}/preview/", bad).content.decode()
    page = marta.post(edit(export, 2), {**sent, "do": "look"}).content.decode()  # without script
    assert "rows match, of 30" in page
    assert "person-00027@example.com" in page


# Step 3.


def file(**changes: Any) -> dict[str, Any]:
    asked = "delimiter encoding formula_safe header quoting"
    return {
        "format": "csv", "delimiter": ",", "quoting": "all", "encoding": "windows-1252", "compression": "none",
        "name_pattern": "$name_$yyyyMMdd", "header": "on", "asked": asked, **changes,
    }  # fmt: skip


def test_the_file_is_saved(marta: Client, marketer: Actor) -> None:
    export = draft(marketer)
    assert marta.post(edit(export, 3), file()).status_code == 303
    export.refresh_from_db()
    wanted = {"format": "csv", "delimiter": ",", "quoting": "all", "encoding": "windows-1252", "header": True}
    assert wanted.items() <= export.file.items()
    assert (export.file["formula_safe"], export.file["name_pattern"]) == (False, "$name_$yyyyMMdd")


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"format": "docx"}, "format", "Select a valid choice"),
        ({"delimiter": "x"}, "delimiter", "Select a valid choice"),
        ({"encoding": "ebcdic"}, "encoding", "Select a valid choice"),
        ({"compression": "rar"}, "compression", "Select a valid choice"),
        ({"name_pattern": ""}, "name_pattern", "Give the file a name"),
        ({"name_pattern": "$yyyyMM"}, "name_pattern", "is not known"),
        ({"name_pattern": "a/b"}, "name_pattern", "cannot have the character"),
    ],
)
def test_file_errors(changes: dict[str, Any], field: str, says: str, marta: Client, marketer: Actor) -> None:
    response = marta.post(edit(draft(marketer), 3), file(**changes))
    assert response.status_code == 422
    assert says in " ".join(response.context["form"].errors[field])


def test_what_a_format_does_not_have_is_not_asked(marta: Client, marketer: Actor) -> None:
    export = draft(marketer)
    html = marta.post(edit(export, 3), {**file(format="ndjson"), "do": "refresh"}).content.decode()
    assert 'name="delimiter"' not in html
    assert 'name="formula_safe"' not in html
    assert marta.post(edit(export, 3), file(format="ndjson", asked="")).status_code == 303
    export.refresh_from_db()
    assert export.file["format"] == "ndjson"
    # Back again: what was not on the page is as it is usual, and no box is unticked for not having been there.
    html = marta.post(edit(export, 3), {**file(asked=""), "do": "refresh"}).content.decode()
    assert 'name="header" id="export-header" checked' in html


def test_formulas_are_harmless_where_people_open_the_file(marta: Client, marketer: Actor) -> None:
    usual = {"format": "csv"}
    once, feed = draft(marketer, step=3, file=usual), recurring(marketer, name="Feed", file=usual)
    Export.objects.filter(pk=feed.pk).update(step=3)
    assert marta.get(edit(once, 3)).context["form"]["formula_safe"].value() is True
    assert marta.get(edit(feed, 3)).context["form"]["formula_safe"].value() is False


def test_the_name_of_today(marta: Client, marketer: Actor) -> None:
    html = marta.post(edit(draft(marketer), 3), {**file(), "do": "refresh"}).content.decode()
    assert f"<code>everybody_{timezone.now():%Y%m%d}.csv</code>" in html
    html = marta.post(edit(draft(marketer, name="B"), 3), {**file(name_pattern="$x"), "do": "refresh"}).content.decode()
    assert "$x is not known" in html


def test_a_name_that_would_get_too_long_one_day(marta: Client, marketer: Actor) -> None:
    long = file(name_pattern="a" * 145 + "$run")
    html = marta.post(edit(draft(marketer), 3), {**long, "do": "refresh"}).content.decode()
    assert "gets too long" in html
    assert "A run today would be named" not in html


def test_a_new_name_has_to_do_for_files(marta: Client, marketer: Actor) -> None:
    export = draft(marketer, file={"format": "csv", "name_pattern": "$name"})
    response = marta.post(edit(export, 1), data(name="con"))
    assert response.status_code == 422
    assert "Windows keeps the name con" in " ".join(response.context["form"].errors["name"])
    response = marta.post(f"/exports/{export.pk}/copy/", {"name": "aux"})
    assert response.status_code == 422
    assert "Windows keeps the name aux" in response.content.decode()


# Step 4.


def test_destinations(marta: Client, marketer: Actor) -> None:
    once, feed = draft(marketer), draft(marketer, name="Feed", type="periodic_full")
    foreign = Destination.objects.create(account=make_account("Pier Nine"), name="Secret", kind="transfer_box")
    assert Destination.objects.count() == 1
    assert "Secret" not in marta.get(edit(once, 4)).content.decode()
    assert Destination.objects.count() == 1  # looking makes none
    assert 'value="download" disabled' in marta.get(edit(feed, 4)).content.decode()
    assert marta.post(edit(feed, 4), {"destination": "transfer_box"}).status_code == 303
    feed.refresh_from_db()
    assert feed.destination is not None
    assert feed.destination.account == marketer.account
    assert marta.post(edit(once, 4), {"destination": feed.destination.pk}).status_code == 303
    for sent, says in (
        ({}, "Choose where"),
        ({"destination": "download"}, "not to a download"),
        ({"destination": foreign.pk}, "There is no such destination"),
        ({"destination": "²"}, "There is no such destination"),
    ):
        response = marta.post(edit(feed, 4), sent)
        assert response.status_code == 422
        assert says in response.content.decode()


# Step 5.


def when(**changes: Any) -> dict[str, Any]:
    return {"cadence": "daily", "at": ["06:30"], "zone": "Europe/Lisbon", **changes}


@pytest.mark.parametrize(
    ("sent", "wanted"),
    [
        (when(), {"cadence": "daily", "at": "06:30"}),
        (when(at=["17:00", "", "08:00"], cadence="weekdays"), {"cadence": "weekdays", "at": ["08:00", "17:00"]}),
        (when(cadence="weekly", weekday="6"), {"cadence": "weekly", "weekday": 6}),
        (when(cadence="monthly", day_of_month="31", first_on="2027-03-26"), {"day": 31, "first_on": "2027-03-26"}),
        (when(weekday="6", day_of_month="3"), {"cadence": "daily", "timezone": "Europe/Lisbon"}),
    ],
)
def test_schedules_are_saved(sent: dict[str, Any], wanted: dict[str, Any], marta: Client, marketer: Actor) -> None:
    export = recurring(marketer)
    assert marta.post(edit(export, 5), sent).status_code == 303
    export.refresh_from_db()
    assert wanted.items() <= (export.schedule or {}).items()
    assert marta.get(edit(export, 5)).status_code == 200


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"cadence": "hourly"}, "cadence", "Select a valid choice"),
        ({"at": []}, "times", "at what time"),
        ({"at": [""]}, "times", "at what time"),
        ({"at": ["25:00"]}, "times", "HH:MM"),
        ({"zone": "Mars/Olympus"}, "zone", "Select a valid choice"),
        ({"cadence": "weekly"}, "weekday", "Choose the day of the week"),
        ({"cadence": "monthly"}, "day_of_month", "Choose the day of the month"),
        ({"cadence": "monthly", "day_of_month": "32"}, "day_of_month", "less than or equal to 31"),
        ({"first_on": "soon"}, "first_on", "valid date"),
    ],
)
def test_schedule_errors(changes: dict[str, Any], field: str, says: str, marta: Client, marketer: Actor) -> None:
    sent = {key: value for key, value in when(**changes).items() if value != []}
    response = marta.post(edit(recurring(marketer), 5), {**sent, **({"at": ""} if changes.get("at") == [] else {})})
    assert response.status_code == 422
    assert says in " ".join(response.context["form"].errors[field])
    assert says in response.content.decode()


def test_the_next_runs_tell_of_clocks(marta: Client, marketer: Actor) -> None:
    export = recurring(marketer)
    sent = when(at=["01:30"], first_on="2027-03-26")
    html = marta.post(f"/exports/{export.pk}/next-runs/", sent).content.decode()
    assert html.count("<tr>") == 6
    assert "Sun 28 March 2027, 02:30" in html
    assert "Clocks go forward: 01:30 does not exist, so it runs at 02:30" in html
    assert "Mon 00:30" in html
    assert "when all of it is filled in" in marta.post(f"/exports/{export.pk}/next-runs/", when(at="")).content.decode()
    # What says nothing is left out.
    assert re.findall('scope="col">([^<]*)<', html) == ["Europe/Lisbon", "UTC"]
    html = marta.post(f"/exports/{export.pk}/next-runs/", when(zone="UTC")).content.decode()
    assert re.findall('scope="col">([^<]*)<', html) == ["UTC"]
    assert html.count("<td") == 5


def test_times_are_added_and_removed(marta: Client, marketer: Actor) -> None:
    export = recurring(marketer)
    assert marta.post(edit(export, 5), {**when(), "do": "time"}).content.decode().count('name="at"') == 2
    html = marta.post(edit(export, 5), {**when(at=["06:30", "18:00"]), "do": "less:0"}).content.decode()
    assert html.count('name="at"') == 1
    assert 'name="at" value="18:00"' in html


def test_an_incremental_export_begins_as_one_says(marta: Client, marketer: Actor) -> None:
    export = recurring(marketer, type="incremental")
    assert marta.post(edit(export, 5), when(start_with="changes", deletions="on")).status_code == 303
    export.refresh_from_db()
    assert (export.start_with, export.deletions) == ("changes", True)
    assert "Told, in columns of their own" in marta.get(edit(export, 7)).content.decode()
    columns = [{"field": "email", "header": "_id"}]
    Export.objects.filter(pk=export.pk).update(columns=columns, deletions=False)
    answer = marta.post(edit(export, 5), when(start_with="changes", deletions="on"))
    assert (answer.status_code, "“_id” is a column of the deletions" in answer.content.decode()) == (422, True)
    assert marta.post(edit(export, 5), when(start_with="nothing")).status_code == 422


def test_a_moment(marta: Client, marketer: Actor) -> None:
    export = draft(marketer)
    sent = {"moment": "at", "day": "2027-03-28", "time": "01:30", "zone": "Europe/Lisbon"}
    html = marta.post(f"/exports/{export.pk}/next-runs/", sent).content.decode()
    assert "Sun 28 March 2027, 02:30" in html
    assert "Clocks go forward" in html
    assert marta.post(edit(export, 5), sent).status_code == 303
    export.refresh_from_db()
    assert export.run_at == dt.datetime(2027, 3, 28, 1, 30, tzinfo=dt.UTC)
    assert marta.post(edit(export, 5), {"moment": "now"}).status_code == 303
    export.refresh_from_db()
    assert export.run_at is None


@pytest.mark.parametrize(
    ("sent", "field", "says"),
    [
        ({"moment": "at", "zone": "UTC", "time": "10:00"}, "day", "Choose the day"),
        ({"moment": "at", "zone": "UTC", "day": "2027-03-28"}, "time", "Choose the time"),
        ({"moment": "at", "zone": "UTC", "day": "2020-01-01", "time": "10:00"}, "day", "is past"),
        ({"moment": "at", "zone": "UTC", "day": "0001-01-01", "time": "00:00"}, "day", "is past"),
        ({"moment": "at", "zone": "UTC", "day": "x", "time": "10:00"}, "day", "valid date"),
        ({"moment": "later"}, "moment", "Select a valid choice"),
    ],
)
def test_moment_errors(sent: dict[str, Any], field: str, says: str, marta: Client, marketer: Actor) -> None:
    response = marta.post(edit(draft(marketer), 5), sent)
    assert response.status_code == 422
    assert says in " ".join(response.context["form"].errors[field])


# Step 6.


def test_recipients(marta: Client, marketer: Actor) -> None:
    export = draft(marketer)
    sent = {"recipients": " a@example.com\r\n\r\nb@example.com, c@example.com", "report_when": "problems"}
    assert marta.post(edit(export, 6), sent).status_code == 303
    export.refresh_from_db()
    assert export.recipients == ["a@example.com", "b@example.com", "c@example.com"]
    assert (export.report_when, export.send_empty) == ("problems", False)


@pytest.mark.parametrize(
    ("sent", "field", "says"),
    [
        ({"recipients": "a@example.com\ncrm@example"}, "recipients", "crm@example is not a complete address"),
        ({"recipients": "\n".join(f"p{n}@example.com" for n in range(51))}, "recipients", "50 at most"),
        ({"report_when": "never"}, "report_when", "Select a valid choice"),
    ],
)
def test_report_errors(sent: dict[str, Any], field: str, says: str, marta: Client, marketer: Actor) -> None:
    response = marta.post(edit(draft(marketer), 6), {"recipients": "", "report_when": "always", **sent})
    assert response.status_code == 422
    assert says in " ".join(response.context["form"].errors[field])


# Step 7.


def test_the_summary_says_what_is_missing(marta: Client, marketer: Actor) -> None:
    export = draft(marketer, type="periodic_full")
    html = marta.get(edit(export, 7)).content.decode()
    assert "goes to a destination, not to a download" in html
    assert f'<a href="{edit(export, 4)}"' in html
    assert f'<a href="{edit(export, 5)}"' in html
    assert marta.post(edit(export, 7), {"go": "next"}).status_code == 422
    export.refresh_from_db()
    assert export.state == State.DRAFT


def test_the_last_step_starts_or_schedules(marta: Client, marketer: Actor) -> None:
    once = draft(marketer)
    page = marta.get(edit(once, 7))
    assert "Export now" in page.content.decode()
    assert marta.post(edit(once, 7), {"go": "next", "stamp": page.context["stamp"]}).status_code == 303
    once.refresh_from_db()
    assert once.state == State.STARTED
    assert once.runs.count() == 1
    feed = recurring(marketer, name="Feed", schedule={"cadence": "daily", "at": "06:30", "timezone": "UTC"})
    assert "Schedule the export" in marta.get(edit(feed, 7)).content.decode()
    assert marta.post(edit(feed, 7), {"go": "next"}, headers=HTMX)["HX-Redirect"]
    feed.refresh_from_db()
    assert feed.state == State.SCHEDULED


def test_what_was_not_seen_is_not_started(marta: Client, marketer: Actor) -> None:
    export = draft(marketer)
    stamp = marta.get(edit(export, 7)).context["stamp"]
    services.export_update(export=export, by=marketer, changes={"recipients": ["b@example.com"]})
    assert marta.post(edit(export, 7), {"go": "next", "stamp": stamp}).status_code == 422
    export.refresh_from_db()
    assert export.state == State.DRAFT


NASTY = [
    "\x00",
    "²",
    "-1",
    "9" * 40,
    "<script>",
    "{",
    "[" * 50_000,
    '["\\ud800"]',
    '[["a"]]',
    "\u202e",
    "0001-01-01",
    "%s' --",
]


OF_THE_COLUMNS = [
    "rule_field",
    "rule_op",
    "rule_value",
    "rule_second",
    "column_fields",
    "column_header",
    "add",
    "from_segment",
]


@pytest.mark.parametrize("value", NASTY, ids=range(len(NASTY)))
def test_nonsense_is_no_fault_of_ours(value: str, marta: Client, marketer: Actor) -> None:
    make_people(marketer, 1)
    once, feed = draft(marketer), recurring(marketer, name="Feed")
    forms = [DataForm, FileForm, DestinationForm, WhenForm, ReportForm]
    names = [*(name for form in forms for name in form.base_fields), *OF_THE_COLUMNS, "at", "stamp", "asked", "segment"]
    sent = {**dict.fromkeys(names, value), "which": "chosen", "rule_group": "0", "match": "and"}
    asked = {**sent, "rule_field": "email", "rule_op": "contains"}
    buttons = {
        2: [value, "keep", "segment", "add", f"up:{value[:9]}", f"drop:{value[:9]}", f"rule:{value[:9]}", "look"],
        3: ["refresh"],
        5: ["refresh", f"less:{value[:9]}"],
    }
    for export in (once, feed):
        for step in range(1, 8):
            assert marta.post(edit(export, step), sent).status_code in (200, 303, 422)
            for do in buttons.get(step, []):
                assert marta.post(edit(export, step), {**asked, "do": do}).status_code == 200
    for path in ("columns", "count", "preview", "next-runs"):
        assert marta.post(f"/exports/{feed.pk}/{path}/", sent).status_code == 200


def test_no_inline_script_or_style(marta: Client, marketer: Actor) -> None:
    export = recurring(marketer, filter={"and": [GOLD]})
    for step in range(1, 8):
        html = marta.get(edit(export, step)).content.decode()
        assert " style=" not in html
        assert " onclick=" not in html
        assert f"Step {step} of 7" in html
