"""A file whose columns have other names, several lists or unclear dates goes in all the same: with keys, on a phone,
without script."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from playwright.sync_api import Page, Route, expect

from accounts.actors import Actor
from accounts.models import Account
from accounts.permissions import Role
from audience.models import Interaction, ListMember, Profile, Suppression
from batchjobs.kernel import queue_work
from batchjobs.models import BatchJob
from batchjobs.services import batchjob_create
from batchjobs.states import Status
from tests.browser.conftest import OpenPage
from tests.browser.test_screens import assert_accessible
from tests.browser.test_uploads import NEW, choose, run

LOOK = "**/batch-jobs/look/**"
CONTACTS = "mail,what,when,shoe_size\nrosa@example.com,signup,2026-11-14T09:12:00Z,38\nmax@example.com,signup,,44\n"
SHOP = '{"orders": [{"total": 3}], "people": [{"mail": "rosa@example.com"}, {"mail": "max@example.com"}]}'
DATES = "email,event_name,event_time\nrosa@example.com,signup,03/04/2026\nmax@example.com,signup,05/04/2026\n"


@pytest.fixture
def by(account: Account, person: Any) -> Actor:
    return Actor(account=account, role=Role.MANAGER, user=person)


@pytest.fixture
def file(tmp_path: Path) -> Any:
    def make(name: str, content: str) -> Path:
        path = tmp_path / name
        path.write_text(content)
        return path

    return make


def target(page: Page, column: str) -> Any:
    return page.get_by_label(f"Where the column {column} goes")


def pick(field: Any, value: str) -> None:
    """As a person does: the field has the focus then."""
    field.focus()
    field.select_option(value)


def goes_to(page: Page, column: str, expected: str) -> None:
    expect(target(page, column).locator("option:checked")).to_have_text(expected)


def job_of(by: Actor, content: str, file_name: str, name: str) -> BatchJob:
    """A job that a program sent in, without answers to what the file leaves open."""
    job = batchjob_create(by=by, content=ContentFile(content.encode()), file_name=file_name, name=name)
    queue_work("short")
    job.refresh_from_db()
    assert job.status == Status.FAILED
    return job


def ended(page: Page, name: str) -> BatchJob:
    """The drawer of the new job, once its work is done."""
    expect(page.get_by_role("dialog", name=name)).to_be_visible()
    queue_work("short")
    expect(page.locator("dialog .pill", has_text="Done")).to_be_visible(timeout=6000)
    assert_accessible(page)
    return BatchJob.objects.get(name=name)


class Looks:
    """Counts what the form asks the server, and can hold an answer back."""

    def __init__(self, page: Page) -> None:
        self.count = 0
        self.held: list[Route] = []
        self.holding = False
        page.route(LOOK, self._handle)

    def _handle(self, route: Route) -> None:
        self.count += 1
        if self.holding:
            self.held.append(route)
        else:
            route.continue_()


@pytest.mark.parametrize("screen", ["1440", "390"])
def test_columns_are_matched_with_the_keyboard(open_page: OpenPage, file: Any, screen: str) -> None:
    page = open_page(NEW, screen=screen)
    looks = Looks(page)
    choose(page, file("contacts.csv", CONTACTS))
    expect(page.get_by_role("heading", name="Match the columns")).to_be_visible()
    goes_to(page, "mail", "email")
    goes_to(page, "what", "Keep as it is")
    expect(page.get_by_role("heading", name="No column goes to event_name yet")).to_be_visible()
    assert_accessible(page)
    looks.count = 0
    target(page, "what").focus()
    page.keyboard.type("event_n")
    page.keyboard.press("Tab")
    page.keyboard.type("event_t")
    expect(page.get_by_text("3 of 4 columns are matched.")).to_be_visible()
    expect(page.get_by_role("heading", name="No column goes to")).to_have_count(0)
    expect(target(page, "when")).to_be_focused()
    goes_to(page, "what", "event_name")
    goes_to(page, "when", "event_time")
    page.keyboard.press("Tab")
    page.keyboard.type("Lea")
    expect(target(page, "shoe_size")).to_be_focused()
    goes_to(page, "shoe_size", "Leave out")
    assert_accessible(page)
    run(page)
    job = ended(page, "contacts")
    events = list(Interaction.objects.filter(created_by_job=job.pk).order_by("row_no"))
    assert [(event.kind, event.properties) for event in events] == [("signup", {})] * 2
    assert events[0].occurred_at.isoformat() == "2026-11-14T09:12:00+00:00"
    assert looks.count <= 6  # of 17 keys


def test_typing_on_while_an_answer_is_on_its_way_loses_nothing(open_page: OpenPage, file: Any) -> None:
    page = open_page(NEW)
    choose(page, file("contacts.csv", CONTACTS))
    goes_to(page, "mail", "email")
    looks = Looks(page)
    looks.holding = True
    pick(target(page, "what"), "event_name")
    expect(page.locator("#job-questions.htmx-request")).to_have_count(1)
    pick(target(page, "when"), "event_time")
    page.get_by_label("Tags").fill("autumn, b")
    looks.holding = False
    expect(page.get_by_text("3 of 4 columns are matched.")).to_be_visible()
    goes_to(page, "what", "event_name")
    goes_to(page, "when", "event_time")
    expect(page.get_by_label("Tags")).to_have_value("autumn, b")
    expect(page.get_by_label("Tags")).to_be_focused()


def test_an_event_name_for_all_rows_answers_too(open_page: OpenPage, file: Any) -> None:
    page = open_page(NEW)
    choose(page, file("contacts.csv", CONTACTS))
    missing = page.get_by_role("heading", name="No column goes to event_name yet")
    expect(missing).to_be_visible()
    page.get_by_label("Event name").fill("visit")
    expect(missing).to_have_count(0)
    expect(page.get_by_label("Event name")).to_be_focused()
    page.keyboard.type("ed")
    run(page)
    job = ended(page, "contacts")
    assert set(Interaction.objects.filter(created_by_job=job.pk).values_list("kind", flat=True)) == {"visited"}


@pytest.mark.parametrize("screen", ["1440", "390"])
def test_another_type_has_other_targets(open_page: OpenPage, file: Any, screen: str) -> None:
    page = open_page(NEW, screen=screen)
    choose(page, file("contacts.csv", CONTACTS))
    expect(target(page, "what")).to_contain_text("event_name")
    kind = page.get_by_label("What is in the file?")
    pick(kind, "profile")
    expect(target(page, "what")).to_contain_text("birth_date")
    expect(target(page, "what")).not_to_contain_text("event_name")
    expect(page.get_by_label("Blank cells erase what was known")).to_be_visible()
    expect(kind).to_be_focused()
    pick(target(page, "what"), "title")
    expect(page.get_by_text("2 of 4 columns are matched.")).to_be_visible()
    pick(kind, "list")
    expect(target(page, "what")).not_to_contain_text("title")
    goes_to(page, "what", "Keep as it is")
    expect(page.get_by_role("heading", name="No column goes to list yet")).to_be_visible()
    page.locator("#job-list_name").fill("Fans")
    expect(page.get_by_role("heading", name="No column goes to list yet")).to_have_count(0)
    assert_accessible(page)
    run(page)
    ended(page, "contacts")
    assert ListMember.objects.filter(contact_list__name="Fans").count() == 2


def test_opt_outs_leave_out_what_they_do_not_know(open_page: OpenPage, file: Any) -> None:
    page = open_page(NEW)
    choose(page, file("stop.csv", "contact,why\nrosa@example.com,enough\n"))
    pick(page.get_by_label("What is in the file?"), "optout")
    expect(page.get_by_text("Other columns are not kept.")).to_be_visible()
    expect(target(page, "contact")).not_to_contain_text("Keep")
    pick(target(page, "contact"), "email")
    pick(target(page, "why"), "reason")
    expect(page.get_by_text("2 of 2 columns are matched.")).to_be_visible()
    run(page)
    ended(page, "stop")
    assert Suppression.objects.get().reason == "enough"


@pytest.mark.parametrize("screen", ["1440", "390"])
def test_one_of_several_lists(open_page: OpenPage, file: Any, screen: str) -> None:
    page = open_page(NEW, screen=screen)
    choose(page, file("shop.json", SHOP))
    expect(page.get_by_role("heading", name="The file holds several lists")).to_be_visible()
    assert_accessible(page)
    pick(page.get_by_label("What is in the file?"), "profile")
    run(page)  # the browser asks for the list
    expect(page.get_by_role("dialog", name="New batch job")).to_be_visible()
    pick(page.get_by_label("Read the list"), "orders")
    expect(target(page, "total")).to_be_visible()
    expect(page.get_by_label("Read the list")).to_be_focused()
    pick(page.get_by_label("Read the list"), "people")
    goes_to(page, "mail", "email")
    expect(page.get_by_label("Read the list")).to_have_count(1)
    assert_accessible(page)
    run(page)
    ended(page, "shop")
    assert Profile.objects.count() == 2


@pytest.mark.parametrize("screen", ["1440", "390"])
def test_unclear_dates_are_answered_in_the_form(open_page: OpenPage, file: Any, screen: str) -> None:
    page = open_page(NEW, screen=screen)
    choose(page, file("dates.csv", DATES))
    question = page.get_by_role("radiogroup", name="Which day is 03/04/2026?")
    expect(question).to_be_visible()
    assert_accessible(page)
    question.get_by_role("radio", name="3 April 2026").focus()
    with page.expect_response(LOOK):
        page.keyboard.press("Space")
    expect(question).not_to_have_attribute("data-tone", "info")
    expect(question.get_by_role("radio", name="3 April 2026")).to_be_checked()
    expect(question.get_by_role("radio", name="3 April 2026")).to_be_focused()
    page.locator("#job-reading summary").click()
    expect(page.locator("[name=day_first]")).to_have_count(2)  # not asked twice
    run(page)
    job = ended(page, "dates")
    days = Interaction.objects.filter(created_by_job=job.pk).values_list("occurred_at__month", flat=True)
    assert set(days) == {4}


def test_what_is_unfolded_stays_unfolded_and_keeps_the_focus(open_page: OpenPage, file: Any) -> None:
    page = open_page(NEW)
    choose(page, file("semicolons.csv", "email;event_name\nrosa@example.com;signup\n"))
    expect(target(page, "event_name")).to_be_visible()
    page.locator("#job-reading summary").click()
    delimiter = page.get_by_label("Columns are separated by")
    with page.expect_response(LOOK):
        pick(delimiter, ",")
    expect(page.get_by_role("heading", name="The first line has only one column")).to_be_visible()
    expect(delimiter).to_be_visible()
    expect(delimiter).to_be_focused()
    assert_accessible(page)
    pick(delimiter, ";")
    goes_to(page, "email", "email")
    expect(delimiter).to_be_focused()
    page.locator("#job-reading summary").click()
    with page.expect_response(LOOK):
        pick(target(page, "event_name"), "first_name")
    expect(page.locator("#job-reading")).not_to_have_attribute("open", "")


def test_another_file_shows_its_own_columns(open_page: OpenPage, file: Any) -> None:
    page = open_page(NEW)
    choose(page, file("contacts.csv", CONTACTS))
    expect(target(page, "shoe_size")).to_be_visible()
    choose(page, file("other.csv", "who,city\nrosa@example.com,Porto\n"))
    expect(target(page, "city")).to_be_visible()
    expect(target(page, "shoe_size")).to_have_count(0)
    page.get_by_role("button", name="Stop the upload and discard it").click()
    expect(page.get_by_role("heading", name="Match the columns")).to_have_count(0)
    expect(page.get_by_role("link", name="Columns, and a template to start from")).to_be_visible()


def test_an_archive_in_several_pieces_is_looked_into_at_its_end(
    open_page: OpenPage, tmp_path: Path, settings: Any
) -> None:
    settings.UPLOAD_PART_BYTES = 100
    path = tmp_path / "contacts.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("contacts.csv", CONTACTS)
    page = open_page(NEW)
    choose(page, path)
    goes_to(page, "mail", "email")
    expect(page.get_by_text("damaged")).to_have_count(0)


def test_the_reference_is_a_link_away(open_page: OpenPage, file: Any) -> None:
    page = open_page("/batch-jobs/")
    page.get_by_role("link", name="What a file can hold, with templates for each type").click()
    expect(page.get_by_role("heading", name="What a file can hold")).to_be_visible()
    page.get_by_role("link", name="Opt-outs").click()
    expect(page.get_by_role("cell", name="Why.")).to_be_visible()
    page.goto(NEW)
    choose(page, file("contacts.csv", CONTACTS))
    with page.expect_popup() as opened:
        page.get_by_role("link", name="What a file of events can hold").click()
    expect(opened.value).to_have_url(page.url.replace("new/", "columns/event/"))


# The same after a job has stopped.


@pytest.mark.parametrize(("screen", "script"), [("1440", True), ("390", True), ("1440", False)])
def test_unclear_dates_are_answered_in_the_drawer(open_page: OpenPage, by: Actor, screen: str, script: bool) -> None:
    job = job_of(by, DATES, "dates.csv", "Dates")
    page = open_page(f"/batch-jobs/{job.pk}/", screen=screen, script=script)
    if script:
        assert_accessible(page)
    page.get_by_role("button", name="The month: it is 4 March 2026").click()
    expect(page.locator("dialog.drawer h2")).to_have_text("Dates (again)")
    queue_work("short")
    page.reload()
    expect(page.get_by_role("heading", name="All 2 rows are in")).to_be_visible()
    again = BatchJob.objects.get(rerun_of=job)
    days = Interaction.objects.filter(created_by_job=again.pk).values_list("occurred_at__day", flat=True)
    assert set(days) == {4}


@pytest.mark.parametrize(("screen", "script"), [("1440", True), ("390", True), ("1440", False)])
def test_the_list_is_answered_in_the_drawer(open_page: OpenPage, by: Actor, screen: str, script: bool) -> None:
    job = job_of(by, SHOP.replace('"mail"', '"event_name": "visit", "mail"'), "shop.json", "Shop")
    page = open_page(f"/batch-jobs/{job.pk}/", screen=screen, script=script)
    if script:
        assert_accessible(page)
    pick(page.get_by_label("Read the list"), "people")
    page.get_by_role("button", name="Run this list").click()
    expect(page.locator("dialog.drawer h2")).to_have_text("Shop (again)")
    queue_work("short")
    page.reload()
    expect(page.get_by_role("heading", name="All 2 rows are in")).to_be_visible()


@pytest.mark.parametrize("screen", ["1440", "390"])
def test_a_failed_job_is_matched_and_runs_again(open_page: OpenPage, by: Actor, screen: str) -> None:
    job = job_of(by, CONTACTS.replace("mail", "contact"), "contacts.csv", "Contacts")
    page = open_page("/batch-jobs/", screen=screen)
    page.get_by_role("link", name="Contacts").click()
    expect(page.get_by_role("heading", name="The file has no email column")).to_be_visible()
    page.get_by_role("link", name="Match its columns and run it again").click()
    expect(page.get_by_role("dialog", name="Run a file again")).to_be_visible()
    assert page.url.endswith(f"/batch-jobs/{job.pk}/again/")
    expect(page.get_by_label("Name of the job")).to_have_value("Contacts (again)")
    assert_accessible(page)
    pick(target(page, "contact"), "email")
    pick(target(page, "what"), "event_name")
    expect(page.get_by_text("2 of 4 columns are matched.")).to_be_visible()
    run(page)
    again = ended(page, "Contacts (again)")
    assert (again.rerun_of, again.valid_rows) == (job, 2)
    page.get_by_role("link", name="Contacts", exact=True).last.click()
    expect(page.get_by_role("dialog", name="Contacts", exact=True)).to_be_visible()


def test_without_script(open_page: OpenPage, file: Any) -> None:
    page = open_page(NEW, script=False)
    page.locator("input[type=file]").set_input_files(file("contacts.csv", CONTACTS.replace("mail", "contact")))
    page.get_by_label("Name of the job").fill("By hand")
    page.get_by_label("Event name").fill("visit")
    run(page)
    expect(page.locator("dialog.drawer h2")).to_have_text("By hand")
    queue_work("short")
    page.reload()
    expect(page.locator("dialog.drawer")).to_contain_text("The file has no email column")
    page.get_by_role("link", name="Match its columns and run it again").click()
    pick(target(page, "contact"), "email")
    run(page)
    expect(page.locator("dialog.drawer h2")).to_have_text("By hand (again)")
    queue_work("short")
    page.reload()
    expect(page.locator("dialog.drawer")).to_contain_text("All 2 rows are in")
    assert Interaction.objects.filter(kind="visit").count() == 2


def test_asking_neither_stops_enter_nor_forgets_that_something_is_unsaved(open_page: OpenPage, file: Any) -> None:
    page = open_page(NEW)
    looks = Looks(page)
    looks.holding = True
    choose(page, file("visit-47.csv", "email\nrosa@example.com\n"))
    expect(page.get_by_text("The file is here.")).to_be_visible()
    expect(page.locator("#job-questions.htmx-request")).to_have_count(1)
    expect(page.get_by_role("button", name="Run the job")).to_be_enabled()
    looks.held.pop().continue_()
    goes_to(page, "email", "email")
    asked: list[str] = []
    page.once("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="New batch job")).to_be_visible()
    assert asked == ["Close without saving? What you entered is lost."]
    with page.expect_request(LOOK):
        pick(page.get_by_label("What is in the file?"), "profile")
    page.get_by_label("Name of the job").press("Enter")
    expect(page.get_by_role("dialog", name="visit-47")).to_be_visible()
