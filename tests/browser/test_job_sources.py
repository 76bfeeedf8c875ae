"""The four sources of a new job: with the mouse, with keys, on a phone, without script; each is a picture too."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from accounts.actors import Actor
from accounts.models import Account
from accounts.permissions import Role
from audience.models import Interaction, ListMember
from batchjobs.kernel import queue_work
from batchjobs.models import BatchJob
from exports.models import ExportRun
from tests.browser.conftest import OpenPage, keep_picture
from tests.browser.test_matching import goes_to, pick
from tests.browser.test_screens import WIDE_AND_NARROW, assert_accessible
from tests.browser.test_uploads import NEW, choose, run
from tests.integration.test_import import run_file
from tests.integration.test_job_sources import EVENTS, make_list, make_report, make_segment


@pytest.fixture
def by(account: Account, person: Any) -> Actor:
    return Actor(account=account, role=Role.MANAGER, user=person)


@pytest.fixture
def world(by: Actor) -> dict[str, str]:
    """Something of each source, and what cannot be chosen. The keys to choose by."""
    make_list(by, "Autumn guests, Stockholm pop-up and everybody who wrote to the shop since", count=0)
    opens = run_file(by, EVENTS, "newsletter-opens-october.csv", name="Newsletter opens, October")
    run_file(by, "email,event_name\nrosa@example.com,signup\n", "sign-ups.csv", name="Sign-ups of spring")
    make_list(by)
    make_segment(by)
    make_report(by, name="Everybody, for the print shop", file={"format": "xlsx"})
    report = make_report(by, name="Lapsed subscribers, Portugal", file={"format": "csv", "compression": "gzip"})
    return {"existing_file": str(opens.file_id), "audience": "list:Newsletter", "report": str(report.pk)}


def picture(page: Page, name: str) -> None:
    keep_picture(page, name)
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, "The page scrolls sideways."


def starts(text: str) -> re.Pattern[str]:
    return re.compile("^" + re.escape(text))


def source(page: Page, name: str) -> Any:
    return page.get_by_role("radio", name=name)


@WIDE_AND_NARROW
def test_each_source(open_page: OpenPage, world: dict[str, str], by: Actor, screen: str) -> None:
    page = open_page(NEW, screen=screen)
    for name, word in (("Existing file", "existing_file"), ("Audience", "audience"), ("Report", "report")):
        source(page, name).check()
        choice = page.locator(f"#job-choices input[value='{world[word]}']")
        expect(choice).to_be_visible()
        expect(source(page, name)).to_be_focused()
        expect(page.locator("#job-dropzone")).to_be_hidden()
        picture(page, f"job-source-{word}-{screen}")
        assert_accessible(page, in_dark=True)
        choice.check()
        expect(page.get_by_role("heading", name="Match the columns")).to_be_visible()
    expect(page.get_by_label("Name of the job")).to_have_value(starts("Lapsed subscribers, Portugal, run"))
    goes_to(page, "tier", "Keep as it is")
    page.get_by_label("Event name").fill("asked")
    expect(page.get_by_role("heading", name="No column goes to event_name yet")).to_have_count(0)
    page.locator("#job-origin").scroll_into_view_if_needed()
    picture(page, f"job-source-chosen-{screen}")
    assert_accessible(page, in_dark=True)
    run(page)
    expect(page.get_by_role("dialog", name="Lapsed subscribers")).to_be_visible()
    queue_work("short")
    expect(page.locator("dialog .pill", has_text="Done")).to_be_visible(timeout=6000)
    page.locator("#job-lineage").scroll_into_view_if_needed()
    picture(page, f"job-source-done-{screen}")
    assert_accessible(page, in_dark=True)
    job = BatchJob.objects.latest("pk")
    assert (job.source, Interaction.objects.filter(created_by_job=job.pk).count()) == ("report", job.valid_rows)
    page.get_by_role("link", name="report of Lapsed").click()
    expect(page.get_by_role("dialog", name="Lapsed subscribers")).to_be_visible()
    assert f"/exports/runs/{world['report']}/" in page.url


def test_with_keys_and_a_search(open_page: OpenPage, world: dict[str, str]) -> None:
    page = open_page(NEW)
    source(page, "New file").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(source(page, "Audience")).to_be_focused()
    expect(page.get_by_text("List, people: 5")).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.type("GOLD")
    expect(page.locator("#job-choices input")).to_have_count(1)
    expect(page.locator("#job-find-text")).to_be_focused()
    page.keyboard.press("Enter")  # does not start a job
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(page.get_by_role("radio", name="Gold ones")).to_be_checked()
    expect(page.get_by_label("Name of the job")).to_have_value(starts("Gold ones, "))
    pick(page.get_by_label("What is in the file?"), "list")
    page.locator("#job-list_name").fill("Gold")
    page.locator("#job-find-text").fill("zzz")
    expect(page.get_by_text("Nothing there is called “zzz”.")).to_be_visible()
    expect(page.get_by_role("radio", name="Gold ones")).to_be_checked()
    assert_accessible(page)
    run(page)
    expect(page.get_by_role("dialog", name="Gold ones")).to_be_visible()
    queue_work("long")
    expect(page.locator("dialog .pill", has_text="Done")).to_be_visible(timeout=6000)
    assert ListMember.objects.filter(contact_list__name="Gold").exists()


def test_there_and_back_keeps_the_upload(open_page: OpenPage, world: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "fresh.csv"
    file.write_text("email,event_name\nnew@example.com,opened\n")
    page = open_page(NEW)
    choose(page, file)
    expect(page.get_by_text("The file is here.")).to_be_visible()
    expect(page.get_by_label("Name of the job")).to_have_value("fresh")
    source(page, "Audience").check()
    page.get_by_role("radio", name="Newsletter").check()
    expect(page.get_by_label("Name of the job")).to_have_value(starts("Newsletter, "))
    goes_to(page, "tier", "Keep as it is")
    source(page, "New file").check()
    expect(page.get_by_text("The file is here.")).to_be_visible()
    expect(page.get_by_text("2 of 2 columns are matched.")).to_be_visible()
    expect(page.get_by_label("Name of the job")).to_have_value("fresh")
    run(page)
    expect(page.get_by_role("dialog", name="fresh")).to_be_visible()
    job = BatchJob.objects.latest("pk")
    assert (job.source, job.file.name) == ("new_file", "fresh.csv")


def test_without_script(open_page: OpenPage, world: dict[str, str]) -> None:
    page = open_page(NEW, script=False)
    page.get_by_role("link", name="Report").click()
    page.get_by_role("searchbox", name="Part of the name of an export").fill("lapsed")
    page.locator("dialog").get_by_role("button", name="Search").click()
    expect(page.locator("#job-choices input")).to_have_count(1)
    page.get_by_role("radio", name="Lapsed").check()
    page.get_by_label("Name of the job").fill("By hand")
    page.get_by_label("Event name").fill("asked")
    page.get_by_label("Name of the job").press("Enter")
    expect(page.get_by_role("heading", name="By hand").first).to_be_visible()
    job = BatchJob.objects.latest("pk")
    assert (job.source, job.source_key, ExportRun.objects.filter(file=job.file).count()) == (
        "report",
        world["report"],
        1,
    )
