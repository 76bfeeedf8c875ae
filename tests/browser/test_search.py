"""Searching on the page: by a person, by days, and searches that are kept as views."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from accounts.models import Account
from batchjobs.models import BatchJob, SavedView
from batchjobs.states import Status
from tests.browser.conftest import OpenPage
from tests.browser.test_flows import has_focus
from tests.browser.test_screens import assert_accessible
from tests.factories import make_user
from tests.operations import make_job

LIST = "/batch-jobs/"
SCREENS = pytest.mark.parametrize("screen", ["1440", "390"])


@pytest.fixture
def jobs(account: Account, person: Any) -> list[BatchJob]:
    tom = make_user(account, name="Tom Aldridge")
    return [
        make_job(account, name="Marta’s opens", by=person),
        make_job(account, Status.FAILED, name="Tom’s orders", by=tom, tags=["autumn"]),
        make_job(account, name="Tom’s old orders", by=tom, age=dt.timedelta(days=40)),
    ]


def rows(page: Page) -> Any:
    return page.locator("#results tbody tr")


def fits(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))


@SCREENS
def test_by_user_a_person_is_picked(screen: str, open_page: OpenPage, jobs: list[BatchJob]) -> None:
    page = open_page(LIST, screen=screen)
    page.get_by_label("Search by").select_option("User")
    field = page.get_by_role("combobox", name="User", exact=True)
    expect(field.get_by_role("option")).to_have_text(["Anyone", "Marta Oliveira", "Tom Aldridge"])
    expect(rows(page)).to_have_count(3)
    field.select_option("Tom Aldridge")
    expect(rows(page)).to_have_count(2)
    tom = jobs[1].created_by_id
    page.wait_for_url(f"**{LIST}?by=user&q={tom}")
    expect(page.get_by_role("link", name="Remove the filter User: Tom Aldridge")).to_be_visible()
    assert_accessible(page)
    assert fits(page)
    # Another “Search by” has another field, and what was picked means nothing to it.
    page.get_by_label("Search by").select_option("Tag")
    expect(rows(page)).to_have_count(3)
    page.get_by_role("searchbox", name="Tag").fill("AUT")
    expect(rows(page)).to_have_count(1)
    page.wait_for_url(f"**{LIST}?by=tag&q=AUT")
    page.reload()
    expect(page.get_by_role("searchbox", name="Tag")).to_have_value("AUT")
    page.get_by_label("Search by").select_option("Name")
    expect(page.get_by_role("searchbox", name="Name")).to_have_value("AUT")
    expect(page.get_by_role("heading", name="No jobs match “Name: AUT”")).to_be_visible()


@SCREENS
def test_days(screen: str, open_page: OpenPage, jobs: list[BatchJob]) -> None:
    page = open_page(LIST, screen=screen)
    created = page.locator("[data-days] > summary")
    created.click()
    page.get_by_role("link", name="Last 7 days").click()
    page.wait_for_url(f"**{LIST}?from=last-7-days")
    expect(rows(page)).to_have_count(2)
    expect(page.get_by_role("link", name="Remove the filter Created: last 7 days")).to_be_visible()
    # A day takes the place of the period, which stays when something else changes.
    created.click()
    day = timezone.localdate() - dt.timedelta(days=60)
    page.get_by_label("To", exact=True).fill((timezone.localdate() - dt.timedelta(days=20)).isoformat())
    expect(rows(page)).to_have_count(0)
    page.get_by_label("From", exact=True).fill(day.isoformat())
    expect(rows(page)).to_have_count(1)
    page.wait_for_url(re.compile(rf"\?from={day}&to=[\d-]+$"))
    expect(page.locator("#days-on")).to_have_text("2")
    assert_accessible(page)
    assert fits(page)
    page.get_by_role("button", name="Clear").locator("visible=true").click()
    expect(rows(page)).to_have_count(3)
    page.wait_for_url(f"**{LIST}")


@SCREENS
def test_a_view_is_saved_used_and_deleted(screen: str, open_page: OpenPage, jobs: list[BatchJob], person: Any) -> None:
    page = open_page(f"{LIST}?status=failed", screen=screen)
    views = page.locator("[data-views] > summary")
    views.click()
    if screen == "1440":  # on a phone the menu lies over half of a link, which is no small target
        assert_accessible(page)
    page.get_by_role("link", name="Save this view").click()
    expect(page.get_by_role("dialog", name="Save this view")).to_be_visible()
    assert_accessible(page)
    page.get_by_label("Name of the view").fill("Failed")
    page.get_by_role("button", name="Save the view").click()
    expect(page.locator(".toast")).to_contain_text("The view “Failed” is saved.")
    expect(views).to_contain_text("Failed")
    page.goto(f"{LIST}?sort=name")
    expect(views).to_contain_text("Views")
    # The same name again: it says so first.
    views.click()
    page.get_by_role("link", name="Save this view").click()
    page.get_by_label("Name of the view").fill("failed")
    page.get_by_role("button", name="Save the view").click()
    expect(page.get_by_role("alert")).to_contain_text("You have a view “failed” already.")
    assert SavedView.objects.get().query == "status=failed"
    page.get_by_role("button", name="Replace the view").click()
    expect(views).to_contain_text("failed")
    assert SavedView.objects.get(user=person).query == "sort=name"
    views.click()
    page.get_by_role("link", name="Delete the view failed").click()
    assert_accessible(page)
    page.get_by_role("link", name="Keep the view").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    views.click()
    page.get_by_role("link", name="Delete the view failed").click()
    page.get_by_role("button", name="Delete the view").click()
    expect(page.locator(".toast")).to_contain_text("is deleted. No job was changed.")
    assert not SavedView.objects.exists()


def test_views_with_the_keyboard(open_page: OpenPage, jobs: list[BatchJob]) -> None:
    page = open_page(f"{LIST}?q=orders")
    page.locator("[data-views] > summary").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    assert has_focus(page, "#save-view-link")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Save this view")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert has_focus(page, "[data-views] > summary")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Name of the view")).to_be_focused()
    page.keyboard.type("Orders")
    page.keyboard.press("Enter")
    page.locator(".toast").wait_for()
    page.goto(LIST)
    page.locator("[data-views] > summary").focus()
    for _ in range(2):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{LIST}?q=orders")
    expect(rows(page)).to_have_count(2)
    page.locator("[data-views] > summary").focus()
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Delete the view “Orders”?")).to_be_visible()
    page.get_by_role("button", name="Delete the view").focus()
    page.keyboard.press("Enter")
    page.locator(".toast").wait_for()
    assert not SavedView.objects.exists()


def test_searching_without_script(open_page: OpenPage, jobs: list[BatchJob]) -> None:
    page = open_page(f"{LIST}?q=orders", script=False)
    page.get_by_label("Search by").select_option("User")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("combobox", name="User", exact=True).select_option("Tom Aldridge")
    page.get_by_role("button", name="Search").click()
    expect(rows(page)).to_have_count(2)
    page.get_by_label("Search by").select_option("Name")
    page.get_by_role("button", name="Search").click()
    expect(rows(page)).to_have_count(3)
    page.locator("[data-days] > summary").click()
    page.get_by_role("link", name="Today").click()
    page.locator("[data-views] > summary").click()
    page.get_by_role("link", name="Save this view").click()
    page.get_by_label("Name of the view").fill("Of today")
    page.get_by_role("button", name="Save the view").click()
    expect(page.locator("[data-views] > summary")).to_contain_text("Of today")
    assert SavedView.objects.get().query == "from=today"
