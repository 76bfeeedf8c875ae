"""The Batch uploads page in a real browser: list, drawer, filter, live changes, the log, keys, pictures."""

from __future__ import annotations

import datetime as dt
import gzip
import re
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from accounts.models import Account
from batchjobs.models import BatchJob
from batchjobs.states import Status
from tests.browser.conftest import OpenPage, keep_picture
from tests.browser.test_flows import has_focus
from tests.browser.test_screens import WIDE_AND_NARROW, assert_accessible
from tests.uploads import MD5, make_batch, take_in
from uploads.models import BatchUpload
from uploads.states import State

LIST = "/uploads/"
NAMES = [
    "list", "empty", "no-results", "no-such-reference", "status-menu",
    "uploading", "late", "file_uploaded", "processing", "success", "error", "unread", "corrupted", "checksum",
]  # fmt: skip


@pytest.fixture
def uploads(account: Account, person: Any) -> dict[str, BatchUpload]:
    ago = lambda n: dt.timedelta(minutes=n)  # noqa: E731
    make = make_batch
    return {
        "checksum": make(
            account, State.CORRUPTED, ref="4c0bb7d1-8f3e-4a57-9a0c-2f6b1d7e9c35", age=dt.timedelta(days=2),
            size=640_000, fault="CHECKSUM_MISMATCH",
            fault_params={"declared": MD5, "received": "e4d909c290d0fb1ca068ffaddf22cbd0"},
        ),
        "late": make(
            account, ref="92f7d1a0-c8e6-4095-9d4b-e3a15c7b08f6", age=dt.timedelta(days=1), late=True, size=48_100_000
        ),
        "corrupted": make(
            account, State.CORRUPTED, ref="e09d7ac4-55f1-47b6-a3c8-1d20be96f07c", age=ago(50), size=3_300_000
        ),
        "unread": make(
            account, State.ERROR, ref="1c64b8fe-2a90-4d3f-bb17-86e5d0a7c921", age=ago(45), size=402,
            failure_code="ARCHIVE_DAMAGED", seconds=0.211,
        ),
        "success": make(
            account, State.SUCCESS, ref="5be20f93-7c4d-4a21-9e8e-0b6c71d3f5e4", age=ago(40), valid=10_000
        ),
        "error": make(account, State.ERROR, ref="a81c0d5e-3b7f-4e19-8c60-f2d49b8817aa", age=ago(20), seconds=48.21),
        "file_uploaded": make(
            account, State.FILE_UPLOADED, ref="c3a9e07b-1f54-4b8c-b1d2-7e90aa5f3d02", age=ago(3), size=1_200_000
        ),
        "uploading": make(account, ref="7d2f41c8-90b3-4f0e-8f0b-5a1de20c6e11", age=ago(2), size=48_100_000),
        "processing": make(
            account, State.PROCESSING, ref="0f5e8c1a-6a0e-4d6b-9a57-3c1c0a94b27d", age=ago(1), valid=2086, invalid=14,
            seconds=18,
        ),
    }  # fmt: skip


def rows(page: Page) -> Any:
    return page.locator("#results tbody tr")


def fits(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))


@WIDE_AND_NARROW
@pytest.mark.parametrize("name", NAMES)
def test_screen(name: str, screen: str, open_page: OpenPage, request: pytest.FixtureRequest) -> None:
    made = {} if name == "empty" else request.getfixturevalue("uploads")
    queries = {"no-results": "?q=ffff&status=error", "no-such-reference": "?q=Harbour"}
    path = f"{LIST}{made[name].ref}/" if name in made else f"{LIST}{queries.get(name, '')}"
    page = open_page(path, screen=screen)
    if name == "status-menu":
        page.locator("details[data-multi] > summary").click()
    keep_picture(page, f"batch-uploads-{name}-{screen}")
    if name in made:  # all of the drawer, as a picture of its own
        page.locator("dialog.drawer .body").evaluate("body => body.scrollTo(0, body.scrollHeight)")
        keep_picture(page, f"batch-uploads-{name}-{screen}-end")
    if name != "status-menu" or screen == "1440":  # on a phone the menu lies over half of a link, which is no target
        assert_accessible(page, in_dark=True)
    assert fits(page), "The page scrolls sideways."


@pytest.mark.parametrize("screen", ["1440", "390"])
def test_search_filter_and_clear(screen: str, open_page: OpenPage, uploads: dict[str, BatchUpload]) -> None:
    page = open_page(LIST, screen=screen)
    expect(rows(page)).to_have_count(9)
    menu = page.locator("details[data-multi]")
    menu.locator("summary").click()
    menu.get_by_role("checkbox", name=re.compile("Error")).check()
    expect(rows(page)).to_have_count(2)
    menu.get_by_role("checkbox", name=re.compile("Location expired")).check()
    expect(rows(page)).to_have_count(3)
    page.wait_for_url(f"**{LIST}?status=location_expired&status=error")
    expect(menu.locator("summary .count")).to_have_text("2")
    menu.get_by_role("button", name="Clear").click()
    expect(rows(page)).to_have_count(9)
    page.keyboard.press("Escape")
    page.wait_for_url(f"**{LIST}")
    page.get_by_role("searchbox").fill("7D2F41")
    expect(rows(page)).to_have_count(1)
    page.wait_for_url(f"**{LIST}?q=7D2F41")
    page.reload()
    expect(page.get_by_role("searchbox")).to_have_value("7D2F41")
    page.get_by_role("searchbox").fill("harbour")
    expect(page.get_by_role("heading", name="There is no such reference")).to_be_visible()
    page.get_by_role("link", name="Remove the filter Reference: harbour").click()
    expect(rows(page)).to_have_count(9)


def test_sort_goes_to_the_first_page(open_page: OpenPage, account: Account) -> None:
    made = [make_batch(account, State.CORRUPTED, age=dt.timedelta(minutes=n)) for n in range(30)]
    page = open_page(LIST)
    expect(rows(page)).to_have_count(25)
    page.get_by_role("link", name="Older").click()
    expect(rows(page)).to_have_count(5)
    page.get_by_role("link", name="Modified").click()
    page.wait_for_url(f"**{LIST}?sort=modified")
    expect(rows(page)).to_have_count(25)
    expect(rows(page).first).to_contain_text(str(made[-1].ref))
    expect(page.get_by_role("columnheader", name="Modified")).to_have_attribute("aria-sort", "ascending")
    expect(page.locator(".pager")).to_contain_text("25 of 30 uploads, longest unchanged first")


def test_from_uploading_to_success_while_the_page_is_open(open_page: OpenPage, account: Account) -> None:
    upload = make_batch(account, ref="7d2f41c8-90b3-4f0e-8f0b-5a1de20c6e11")
    page = open_page(LIST)
    nav = page.locator("#nav-count-batch_upload_list")
    expect(nav).to_contain_text("1")
    row = page.locator(f"#upload-{upload.ref}")
    row.get_by_role("link").click()
    drawer = page.get_by_role("dialog", name=str(upload.ref))
    expect(drawer.get_by_role("heading", name="Waiting for the file")).to_be_visible()
    take_in(upload, State.PROCESSING, valid=2086, seconds=9)
    upload.save()
    expect(drawer.get_by_text("2,086 records read")).to_be_visible(timeout=6000)
    expect(row.locator("progress")).to_have_attribute("value", "21")
    now = timezone.now()
    BatchJob.objects.filter(pk=upload.job_id).update(
        status=Status.DONE, outcome=Status.DONE, completed_at=now, lease_until=None,
        valid_rows=10_000, skipped_rows=0, invalid_rows=0,
    )  # fmt: skip
    expect(drawer.get_by_role("heading", name="All 10,000 records were processed")).to_be_visible(timeout=6000)
    expect(row).to_contain_text("Success")
    expect(nav).to_be_hidden()
    expect(page.locator("#live")).not_to_have_attribute("hx-get", re.compile(".*"))
    assert_accessible(page)


def test_log_is_downloaded(open_page: OpenPage, uploads: dict[str, BatchUpload]) -> None:
    page = open_page(f"{LIST}{uploads['error'].ref}/")
    with page.expect_download() as download:
        page.locator(".banner").get_by_role("link", name="Download log").click()
    assert download.value.suggested_filename == f"{uploads['error'].ref}-errors.json.gz"
    lines = gzip.decompress(Path(download.value.path()).read_bytes()).splitlines()
    assert len(lines) == 36


def test_keyboard(open_page: OpenPage, uploads: dict[str, BatchUpload]) -> None:
    page = open_page("/batch-jobs/")
    page.keyboard.press("g")
    page.keyboard.press("u")
    page.wait_for_url(f"**{LIST}")
    expect(rows(page)).to_have_count(9)
    first, second = uploads["processing"].ref, rows(page).nth(1).locator("a").inner_text()
    page.keyboard.press("j")
    assert has_focus(page, f"#upload-{first}-link")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name=str(first))).to_be_visible()
    page.wait_for_function("document.activeElement.id === 'drawer-title'")
    for _ in range(10):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement === document.body || !!document.activeElement.closest('dialog')")
    page.get_by_role("link", name="Next upload").click()
    expect(page.get_by_role("dialog", name=second)).to_be_visible()
    expect(page.locator("#results tr[aria-current]")).to_contain_text(second)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert page.url.endswith(LIST)
    assert has_focus(page, f"#upload-{second}-link")
    page.keyboard.press("/")
    assert has_focus(page, "#upload-search")


def test_lines_are_copied(open_page: OpenPage, uploads: dict[str, BatchUpload]) -> None:
    page = open_page(f"{LIST}{uploads['uploading'].ref}/", permissions=["clipboard-read", "clipboard-write"])
    page.locator(".code").get_by_role("button", name="Copy").click()
    expect(page.locator(".code button")).to_have_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.locator(".code code").inner_text()
    assert f"/v2/batches/{uploads['uploading'].ref}" in copied


def test_without_script(open_page: OpenPage, uploads: dict[str, BatchUpload]) -> None:
    page = open_page(LIST, script=False)
    page.get_by_role("searchbox").fill("a81c")
    page.get_by_role("button", name="Search").click()
    expect(rows(page)).to_have_count(1)
    page.locator("#results tbody a").click()
    expect(page.get_by_role("heading", name="36 of 10,000 records were not processed")).to_be_visible()
    page.get_by_role("link", name="Close").first.click()
    expect(page.get_by_role("searchbox")).to_have_value("a81c")
    page.get_by_role("searchbox").fill("")
    page.locator("details[data-multi] > summary").click()
    page.get_by_role("checkbox", name=re.compile("Corrupted")).check()
    page.get_by_role("button", name="Show uploads").click()
    expect(rows(page)).to_have_count(2)
