"""What people do on the page: with the keyboard, without script, while jobs run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone
from playwright.sync_api import Page, expect

from accounts.models import Account
from batchjobs.ingestion.records.event import EVENT
from batchjobs.kernel import queue_work
from batchjobs.models import BatchJob
from batchjobs.states import Status
from tests.browser.conftest import OpenPage
from tests.browser.test_screens import assert_accessible
from tests.factories import PASSWORD, make_user
from tests.operations import make_job

LIST = "/batch-jobs/"


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    file = tmp_path / "Orders, week 47.csv"
    file.write_text("email,event_name,event_time\na@example.com,order,2026-11-21T10:00:00Z\n")
    return file


def has_focus(page: Page, selector: str) -> bool:
    return bool(page.evaluate("s => document.activeElement?.matches(s)", selector))


def test_keyboard_only(open_page: OpenPage, account: Account, person: Any) -> None:
    first, second = (make_job(account, name=name, by=person) for name in ("First", "Second"))
    page = open_page(LIST)
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert has_focus(page, f"#job-{first.pk}-link")
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Second")).to_be_visible()
    assert page.url.endswith(f"{LIST}{second.pk}/")
    page.wait_for_function("document.activeElement.id === 'drawer-title'")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert page.url.endswith(LIST)
    assert has_focus(page, f"#job-{second.pk}-link")
    page.keyboard.press("/")
    assert has_focus(page, "[data-search]")
    page.keyboard.type("first")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.wait_for_url(f"**{LIST}?q=first")
    page.locator("h1").click()
    page.keyboard.press("n")
    expect(page.get_by_role("dialog", name="New batch job")).to_be_visible()
    page.keyboard.press("Escape")
    assert has_focus(page, "#new-job-link")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    assert_accessible(page)
    page.get_by_role("switch").uncheck()
    page.keyboard.press("Escape")
    page.locator("h1").click()
    page.keyboard.press("n")
    page.wait_for_timeout(300)
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_focus_stays_in_the_drawer(open_page: OpenPage, account: Account) -> None:
    page = open_page(f"{LIST}{make_job(account).pk}/")
    for _ in range(12):
        page.keyboard.press("Tab")
        inside = "document.activeElement === document.body || !!document.activeElement.closest('dialog')"
        assert page.evaluate(inside)


def test_back_and_forward(open_page: OpenPage, account: Account) -> None:
    make_job(account, name="First")
    page = open_page(LIST)
    page.get_by_role("link", name="First").click()
    expect(page.get_by_role("dialog", name="First")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("link", name="First")).to_be_visible()
    page.go_forward()
    expect(page.get_by_role("dialog", name="First")).to_be_visible()


def test_previous_and_next_job(open_page: OpenPage, account: Account) -> None:
    for name in ("First", "Second", "Third"):
        make_job(account, name=name)
    page = open_page(LIST)
    page.get_by_role("link", name="Third").click()
    for name in ("Second", "First"):
        page.get_by_role("link", name="Next job").click()
        expect(page.get_by_role("dialog", name=name)).to_be_visible()
    expect(page.get_by_role("link", name="Next job")).to_have_count(0)
    expect(page.locator("#results tr[aria-current]")).to_contain_text("First")


def test_filter_sort_and_chips(open_page: OpenPage, account: Account) -> None:
    make_job(account, name="Alpha")
    make_job(account, Status.FAILED, name="Beta", valid=0, chunks=0)
    page = open_page(LIST)
    page.locator("details[data-multi] > summary").click()
    page.get_by_role("checkbox", name=re.compile("Failed")).check()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.wait_for_url(f"**{LIST}?status=failed")
    assert_accessible(page)
    page.get_by_role("link", name="Remove the filter Status: Failed").click()
    expect(page.locator("tbody tr")).to_have_count(2)
    page.get_by_role("link", name="Name", exact=True).click()
    page.wait_for_url(f"**{LIST}?sort=name")
    expect(page.locator("tbody tr").first).to_contain_text("Alpha")
    expect(page.get_by_role("columnheader", name="Name")).to_have_attribute("aria-sort", "ascending")


def test_expired_job_keeps_its_history(open_page: OpenPage, account: Account) -> None:
    job = make_job(account, Status.EXPIRED, name="Spring orders", valid=20_114, invalid=41)
    page = open_page(LIST)
    row = page.locator(f"#job-{job.pk}")
    expect(row).to_contain_text("ended as done")
    row.get_by_role("link").click()
    opened = page.get_by_role("dialog", name="Spring orders")
    expect(opened.get_by_role("heading", name="The files of this job were removed on")).to_be_visible()
    expect(opened).to_contain_text("20,114 rows in, 41 rejected")
    expect(opened.get_by_text("Values were removed.").first).to_be_visible()
    expect(opened.locator("#job-downloads, [download]")).to_have_count(0)
    page.goto(f"/batch-jobs/{job.pk}/rejected-rows/")
    expect(page.get_by_role("heading", name="The rejected rows of this job are no longer kept")).to_be_visible()
    assert_accessible(page)
    page.get_by_role("link", name="Go to the job").click()
    expect(page.get_by_role("dialog", name="Spring orders")).to_be_visible()


def test_theme_is_kept_without_a_flash(open_page: OpenPage) -> None:
    page = open_page(LIST)
    page.locator("[data-user] summary").click()
    page.get_by_role("button", name="Theme: dark").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    html = page.request.get(page.url).text()
    assert re.search(r'<html[^>]* data-theme="dark"', html)


def test_upload(open_page: OpenPage, orders: Path) -> None:
    page = open_page(LIST)
    page.locator("[data-new]").click()
    page.locator("input[type=file]").set_input_files(orders)
    expect(page.get_by_label("Name of the job")).to_have_value("Orders, week 47")
    expect(page.locator("[data-file-name]")).to_contain_text("Orders, week 47.csv")
    page.get_by_role("button", name="Run the job").click()
    expect(page.get_by_role("dialog", name="Orders, week 47")).to_be_visible()
    toast = page.locator("dialog .toast")
    expect(toast).to_contain_text("“Orders, week 47” is in the queue.")
    assert_accessible(page)
    queue_work("short")
    expect(page.get_by_role("heading", name="The one row is in")).to_be_visible(timeout=6000)
    with page.expect_download() as download:
        page.locator("#job-about ~ dl").get_by_role("link", name="Orders, week 47.csv").click()
    assert Path(download.value.path()).read_bytes() == orders.read_bytes()


def test_error_keeps_the_file_and_takes_the_focus(open_page: OpenPage, account: Account, orders: Path) -> None:
    make_job(account, name="Taken")
    page = open_page(f"{LIST}new/")
    page.locator("input[type=file]").set_input_files(orders)
    page.get_by_label("Name of the job").fill("Taken")
    page.get_by_role("button", name="Run the job").click()
    expect(page.get_by_text("Another job of this account has this name")).to_be_visible()
    page.wait_for_function("document.activeElement.name === 'name'")
    assert_accessible(page)
    page.get_by_label("Name of the job").fill("Not taken")
    page.get_by_role("button", name="Run the job").click()
    expect(page.get_by_role("dialog", name="Not taken")).to_be_visible()
    file = BatchJob.objects.get(name="Not taken").file
    assert file is not None
    assert file.size == orders.stat().st_size


def test_form_leads_to_the_columns_of_a_file(open_page: OpenPage) -> None:
    page = open_page(f"{LIST}new/", screen="390")
    with page.expect_popup() as opened:
        page.get_by_role("link", name="Columns, and a template to start from").click()
    expect(opened.value.locator("[data-reference] tbody tr")).to_have_count(len(EVENT.columns))
    assert_accessible(opened.value)


def test_support_staff_without_an_account_find_their_pages(open_page: OpenPage) -> None:
    user = make_user(email="sam@example.com", is_staff=True)
    page = open_page(LIST, stranger=True)
    page.get_by_label("E-mail").fill(user.email)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="You are in no account yet")).to_be_visible()
    assert_accessible(page)
    page.get_by_role("link", name="Open the support pages").click()
    page.wait_for_url("**/admin/")


def test_unsaved_form_asks_before_closing(open_page: OpenPage) -> None:
    page = open_page(f"{LIST}new/")
    page.get_by_label("Name of the job").fill("Half")
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="New batch job")).to_be_visible()
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("link", name="Close").click()
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_live_rows_and_drawer(open_page: OpenPage, account: Account) -> None:
    job = make_job(account, Status.IN_PROGRESS, name="Runs", chunks=4, invalid=40)
    page = open_page(LIST)
    page.get_by_role("link", name="Runs").click()
    page.get_by_text("E-mail address is not complete").click()
    BatchJob.objects.filter(pk=job.pk).update(next_offset=F("next_offset") + 1_000_000, next_chunk=5)
    expect(page.locator("dialog progress")).to_have_attribute("value", "87", timeout=6000)
    expect(page.locator("#job-group-1")).to_have_attribute("open", "")
    expect(page.locator("#live")).to_have_attribute("hx-get", "/batch-jobs/live/")
    BatchJob.objects.filter(pk=job.pk).update(
        status=Status.DONE, outcome=Status.DONE, completed_at=timezone.now(), lease_until=None,
        valid_rows=960, skipped_rows=0, invalid_rows=40,
    )  # fmt: skip
    expect(page.get_by_text("960 rows are in, 40 need a correction")).to_be_visible(timeout=6000)
    expect(page.locator("#live")).not_to_have_attribute("hx-get", re.compile(".*"))
    expect(page.locator("#nav-count-batchjob_list")).to_be_hidden()
    page.keyboard.press("Escape")
    assert has_focus(page, f"#job-{job.pk}-link")


def test_cancel_with_a_question(open_page: OpenPage, account: Account) -> None:
    job = make_job(account, Status.PENDING, name="Waits")
    page = open_page(f"{LIST}{job.pk}/")
    page.get_by_role("link", name="Cancel the job").click()
    question = page.get_by_role("dialog", name="Cancel this job?")
    expect(question).to_be_visible()
    assert_accessible(page)
    question.get_by_role("link", name="Let it run").click()
    expect(question).to_have_count(0)
    page.get_by_role("link", name="Cancel the job").click()
    question.get_by_role("button", name="Cancel the job").click()
    expect(page.get_by_text("Canceled before it began")).to_be_visible()


def test_without_script(open_page: OpenPage, account: Account, orders: Path) -> None:
    job = make_job(account, Status.PENDING, name="Waits")
    page = open_page(LIST, script=False)
    page.locator("[data-search]").fill("wait")
    page.locator("[data-search]").press("Enter")
    page.get_by_role("link", name="Waits").click()
    expect(page.locator("dialog.drawer")).to_contain_text("It is next")
    page.get_by_role("link", name="Cancel the job").click()
    page.locator("#cancel-job").get_by_role("button", name="Cancel the job").click()
    expect(page.locator("dialog.drawer")).to_contain_text("Canceled before it began")
    page.locator("dialog.drawer footer").get_by_role("link", name="Close").click()
    assert page.url.endswith("/batch-jobs/?q=wait")
    job.refresh_from_db()
    assert job.status == Status.CANCELED
    page.get_by_role("link", name="New batch job").click()
    page.locator("input[type=file]").set_input_files(orders)
    page.get_by_label("Name of the job").fill("By hand")
    page.get_by_role("button", name="Run the job").click()
    expect(page.locator("dialog.drawer h2")).to_have_text("By hand")
    expect(page.locator(".toast")).to_contain_text("is in the queue")
    page.goto(LIST)
    page.locator("[data-user] summary").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_sign_in(open_page: OpenPage, person: Any) -> None:
    page = open_page(LIST, stranger=True)
    page.get_by_label("E-mail").fill(person.email)
    page.get_by_label("Password", exact=True).fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    assert_accessible(page)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Batch jobs")).to_be_visible()
    expect(page.locator(".toast")).to_have_count(0)
    page.locator("[data-user] summary").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(page.locator(".toast")).to_have_count(0)


def test_server_that_does_not_answer_says_so(open_page: OpenPage, account: Account) -> None:
    make_job(account, name="First")
    page = open_page(LIST)
    page.route(
        "**/batch-jobs/*/",
        lambda route: route.fulfill(status=200, body="<!doctype html><title>Proxy</title>Sign in here"),
    )
    page.get_by_role("link", name="First").click()
    expect(page).to_have_title("Proxy")  # a whole page is never put into the drawer
