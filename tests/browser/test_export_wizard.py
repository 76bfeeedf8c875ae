"""The wizard of exports in a browser: each type from start to end, with and without script, by keyboard.

`SCREENSHOTS=folder` keeps pictures of the steps there.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from accounts.actors import Actor
from accounts.models import Account
from accounts.permissions import Role
from exports.models import Export
from exports.states import State
from tests.browser.conftest import OpenPage, keep_picture
from tests.browser.test_screens import WIDE_AND_NARROW, assert_accessible
from tests.exports import make_export, make_people

NEW = "/exports/new/"
COLUMNS = [{"field": name, "header": name.rpartition(".")[2]} for name in ("email", "attributes.tier", "created_at")]
GOLD_OR_NEW = {
    "and": [
        {"field": "attributes.tier", "op": "one_of", "value": ["Gold", "Silver"]},
        {"or": [{"field": "created_at", "op": "between", "value": ["2026-01-01", "2027-12-31"]}]},
    ]
}


@pytest.fixture
def by(account: Account, person: Any) -> Actor:
    actor = Actor(account=account, role=Role.MANAGER, user=person)
    make_people(actor, 30)
    return actor


def at_step(page: Page, number: int, title: str) -> None:
    expect(page.locator("dialog .eyebrow")).to_have_text(f"Step {number} of 7: {title}")


def go_on(page: Page) -> None:
    page.get_by_role("button", name="Continue").click()


def begin(page: Page, name: str, type_: str = "One shot") -> None:
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_role("radio", name=type_).check()
    go_on(page)
    at_step(page, 2, "Columns")


def draft(by: Actor, **definition: Any) -> Export:
    export = make_export(by, **definition)
    Export.objects.filter(pk=export.pk).update(step=7)
    return export


def edit(export: Export, step: int) -> str:
    return f"/exports/{export.pk}/edit/?step={step}"


def test_a_one_shot_export_from_start_to_end(open_page: OpenPage, by: Actor) -> None:
    page = open_page(NEW)
    expect(page.locator("#export-name")).to_be_focused()
    begin(page, "Gold people")
    assert re.search(r"/exports/\d+/edit/\?step=2$", page.url)
    expect(page.locator(".live-count")).to_have_text("30 rows match, of 30")
    expect(page.locator("#export-preview tbody tr")).to_have_count(20)

    # Columns of one's own.
    page.get_by_role("radio", name="These, under names").check()
    page.get_by_role("textbox", name="Name in the file for E-mail").fill("mail")
    page.get_by_role("button", name="Move tier up").click()
    page.get_by_role("button", name="Remove Partner user id").click()
    expect(page.get_by_role("button", name="Remove Partner user id")).to_have_count(0)
    expect(page.get_by_role("textbox", name="Name in the file for E-mail")).to_have_value("mail")
    expect(page.locator("#export-preview th").first).to_have_text("mail")
    page.locator("#export-add-head").click()
    page.get_by_label("Columns to add").select_option(["opted_out", "id"])
    page.locator("#export-add-go").click()
    expect(page.get_by_role("textbox", name="Name in the file for Opted out")).to_have_value("opted_out")

    # A filter.
    page.get_by_role("button", name="Add a rule").click()
    page.get_by_label("Field").select_option("attributes.tier")
    expect(page.get_by_label("Comparison of tier")).to_have_value("is")
    page.get_by_label("Value of tier").fill("Gold")
    expect(page.locator(".live-count")).to_have_text("10 rows match, of 30")
    expect(page.locator("#export-preview tbody tr")).to_have_count(10)
    assert_accessible(page)
    go_on(page)

    at_step(page, 3, "File")
    page.get_by_label("File name").fill("gold_$yyyyMMdd")
    expect(page.locator("#export-file-name code")).to_have_text(re.compile(r"gold_20\d{6}\.csv"))
    page.get_by_label("Separator").select_option(",")
    go_on(page)
    at_step(page, 4, "Destination")
    go_on(page)
    at_step(page, 5, "Schedule")
    go_on(page)
    at_step(page, 6, "Report")
    page.get_by_label("Send a report to").fill("marta@example.com")
    go_on(page)
    at_step(page, 7, "Summary")
    expect(page.locator("dialog .facts").first).to_contain_text("tier is Gold")
    page.get_by_role("button", name="Export now").click()
    expect(page.get_by_text("“Gold people” is being made.")).to_be_visible()
    export = Export.objects.get()
    assert export.state == State.STARTED
    assert export.filter == {"and": [{"field": "attributes.tier", "op": "is", "value": "Gold"}]}
    headers = [column["header"] for column in export.columns or []]
    assert headers[0] == "mail"
    assert headers[-2:] == ["id", "opted_out"]
    assert export.file["delimiter"] == ","


@pytest.mark.parametrize("type_", ["Periodic full", "Incremental"])
def test_a_recurring_export_from_start_to_end(type_: str, open_page: OpenPage, by: Actor) -> None:
    page = open_page(NEW)
    begin(page, "Feed", type_)
    go_on(page)
    at_step(page, 3, "File")
    page.get_by_role("radio", name="NDJSON").check()
    expect(page.get_by_label("Separator")).to_have_count(0)
    go_on(page)
    at_step(page, 4, "Destination")
    expect(page.get_by_role("radio", name="Download")).to_be_disabled()
    page.get_by_role("radio", name="Transfer box").check()
    go_on(page)
    at_step(page, 5, "Schedule")
    page.get_by_label("Time of day 1").fill("01:30")
    page.get_by_label("Not before").fill("2027-03-26")
    expect(page.locator("#export-next")).to_contain_text("Sun 28 March 2027, 02:30")
    expect(page.locator("#export-next")).to_contain_text("Clocks go forward")
    page.get_by_role("radio", name="Every week").check()
    page.get_by_label("On", exact=True).select_option("Monday")
    expect(page.locator("#export-next")).to_contain_text("Mon 29 March 2027, 01:30")
    page.get_by_role("button", name="Add a time").click()
    page.get_by_label("Time of day 2").fill("18:00")
    expect(page.locator("#export-next tbody tr").nth(1)).to_contain_text("Mon 29 March 2027, 18:00")
    if type_ == "Incremental":
        page.get_by_role("radio", name="What changes from now on").check()
        page.get_by_label("Tell what was deleted, too").check()
    go_on(page)
    at_step(page, 6, "Report")
    go_on(page)
    at_step(page, 7, "Summary")
    expect(page.locator("dialog.drawer .body")).to_contain_text("Every Monday at 01:30 and 18:00, Europe/Lisbon")
    page.get_by_role("button", name="Schedule the export").click()
    expect(page.get_by_text("“Feed” is scheduled.")).to_be_visible()
    export = Export.objects.get()
    assert export.state == State.SCHEDULED
    assert export.start_with == ("changes" if type_ == "Incremental" else "everything")
    assert export.deletions is (type_ == "Incremental")


def test_a_click_waits_for_the_one_before(open_page: OpenPage, by: Actor) -> None:
    page = open_page(edit(draft(by, columns=[{"field": "email"}, {"field": "partner_user_id"}, {"field": "id"}]), 2))
    expect(page.locator(".live-count")).to_have_text("30 rows match, of 30")
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/columns/", hold, times=1)
    page.get_by_role("button", name="Move Number of the profile up").click()
    expect(page.locator("#export-columns")).to_have_css("pointer-events", "none")
    held[0].continue_()
    page.get_by_role("button", name="Remove Partner user id").click()
    expect(page.locator("#export-column-table tbody tr")).to_have_text([re.compile("E-mail"), re.compile("Number")])


def test_without_script(open_page: OpenPage, by: Actor) -> None:
    page = open_page(NEW, script=False)
    page.get_by_label("Name", exact=True).fill("Feed")
    page.get_by_role("radio", name="Contact list").check()
    page.get_by_role("button", name="Show what goes with this choice").click()
    expect(page.get_by_label("List", exact=True)).to_be_visible()
    expect(page.get_by_label("Name", exact=True)).to_have_value("Feed")
    page.get_by_role("radio", name=re.compile("^Profile")).check()
    go_on(page)
    at_step(page, 2, "Columns")
    page.get_by_role("radio", name="These, under names").check()
    page.get_by_role("button", name="Show them").click()
    page.get_by_role("button", name="Remove Partner user id").click()
    page.get_by_role("button", name="Add a rule").click()
    page.get_by_label("Field").select_option("attributes.tier")
    page.get_by_label("Comparison").select_option("is")
    page.get_by_label("Value").fill("Gold")
    page.get_by_role("button", name="Count the rows").click()
    expect(page.locator(".live-count")).to_have_text("10 rows match, of 30")
    expect(page.locator("#export-preview tbody tr")).to_have_count(10)
    go_on(page)
    at_step(page, 3, "File")
    page.get_by_role("radio", name="NDJSON").check()
    page.get_by_role("button", name="Show the options").click()
    expect(page.get_by_label("Separator")).to_have_count(0)
    go_on(page)
    go_on(page)
    at_step(page, 5, "Schedule")
    page.get_by_role("radio", name="At a set moment").check()
    go_on(page)
    expect(page.get_by_text("Choose the day.", exact=True)).to_be_visible()
    page.get_by_label("Day", exact=True).fill("2027-03-28")
    page.get_by_label("Time", exact=True).fill("01:30")
    page.get_by_role("button", name="Show the next runs").click()
    expect(page.locator("#export-next")).to_contain_text("Sun 28 March 2027, 02:30")
    go_on(page)
    go_on(page)
    at_step(page, 7, "Summary")
    page.get_by_role("link", name="Back").click()
    at_step(page, 6, "Report")
    page.get_by_role("button", name="Save as draft").click()
    export = Export.objects.get()
    assert (export.state, export.step) == (State.DRAFT, 7)
    assert export.filter == {"and": [{"field": "attributes.tier", "op": "is", "value": "Gold"}]}


def test_keyboard_only(open_page: OpenPage, by: Actor) -> None:
    page = open_page(NEW)
    page.keyboard.type("Keys")
    page.keyboard.press("Enter")  # goes on
    at_step(page, 2, "Columns")
    expect(page.locator("#drawer-title")).to_be_focused()
    page.get_by_role("radio", name="All columns").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#export-header-0")).to_be_visible()
    page.locator("#export-header-0").focus()
    page.keyboard.press("Control+a")
    page.keyboard.type("mail")
    page.keyboard.press("Enter")
    at_step(page, 3, "File")
    page.go_back()
    at_step(page, 2, "Columns")
    expect(page.locator("#export-header-0")).to_have_value("mail")
    page.locator("#export-down-0").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#export-header-1")).to_have_value("mail")
    expect(page.locator("#export-down-0")).to_be_focused()
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_visible()  # what is not saved is asked about
    page.once("dialog", lambda dialog: dialog.accept())
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert Export.objects.get().state == State.DRAFT


def test_errors_get_the_focus(open_page: OpenPage, by: Actor) -> None:
    page = open_page(edit(draft(by), 6))
    page.get_by_label("Send a report to").fill("crm@example")
    go_on(page)
    expect(page.get_by_text("crm@example is not a complete address")).to_be_visible()
    expect(page.locator("#export-recipients")).to_be_focused()
    assert_accessible(page)


def test_a_rule_at_fault_gets_the_focus(open_page: OpenPage, by: Actor) -> None:
    page = open_page(edit(draft(by), 2))
    page.get_by_role("button", name="Add a rule").click()
    page.get_by_label("Field").select_option("id")
    page.get_by_label("Comparison").select_option("between")
    page.get_by_label("First value").fill("many")
    expect(page.locator(".live-count")).to_contain_text("It is a number.")
    go_on(page)
    expect(page.locator("#export-rule-value-0")).to_be_focused()
    expect(page.locator(".rule .error")).to_contain_text("It is a number.")
    assert_accessible(page)
    page.get_by_label("First value").fill("1")
    page.get_by_label("Last value").fill("9999999")
    go_on(page)
    at_step(page, 3, "File")


def test_steps_are_links_that_do_not_lose_what_was_typed(open_page: OpenPage, by: Actor) -> None:
    page = open_page(edit(draft(by), 6))
    page.get_by_role("link", name="File").click()
    at_step(page, 3, "File")
    page.get_by_label("File name").fill("other")
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("link", name="Summary").click()
    at_step(page, 3, "File")
    go_on(page)
    at_step(page, 4, "Destination")
    assert Export.objects.get().file["name_pattern"] == "other"


def test_segments(open_page: OpenPage, by: Actor) -> None:
    page = open_page(edit(draft(by, filter=GOLD_OR_NEW), 2))
    page.locator("#export-segments-head").click()
    page.get_by_label("Save these rules as a segment").fill("Gold or new")
    page.locator("#export-keep-go").click()
    expect(page.get_by_text("The segment “Gold or new” is saved.")).to_be_visible()
    for left in (1, 0):
        page.get_by_role("button", name=re.compile("Remove the rule")).first.click()
        expect(page.locator(".rule")).to_have_count(left)
    page.get_by_label("Start from a segment").select_option("Gold or new")
    page.locator("#export-segment-go").click()
    expect(page.locator(".rule")).to_have_count(2)


STEPS = ["data", "columns", "file", "destination", "schedule", "report", "summary"]


@WIDE_AND_NARROW
def test_every_step(screen: str, open_page: OpenPage, by: Actor) -> None:
    schedule = {"cadence": "daily", "at": "01:30", "timezone": "Europe/Lisbon", "first_on": "2027-03-26"}
    export = draft(
        by, type="incremental", columns=COLUMNS, filter=GOLD_OR_NEW, destination="transfer_box", schedule=schedule
    )
    for number, name in enumerate(STEPS, 1):
        page = open_page(edit(export, number), screen=screen)
        if name == "columns":
            expect(page.locator(".live-count")).to_be_visible()
            expect(page.locator("#export-preview table")).to_be_visible()
            page.locator("#export-segments-head").click()
            page.locator("#export-add-head").click()
        keep_picture(page, f"wizard-{number}-{screen}")
        if name == "columns":
            page.locator("#export-filter-title").scroll_into_view_if_needed()
            page.locator("#export-segments").scroll_into_view_if_needed()
            keep_picture(page, f"wizard-{number}b-{screen}")
        assert_accessible(page, in_dark=True)
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        inner = page.evaluate("(b => b.scrollWidth - b.clientWidth)(document.querySelector('dialog.drawer .body'))")
        assert max(wide, inner) <= 0, f"Step {number} scrolls sideways."
        page.context.close()
