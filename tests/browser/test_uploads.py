"""A file goes in through the page while everything breaks: connection, tab, web process. It arrives to the byte."""

from __future__ import annotations

import hashlib
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from accounts.models import Account
from batchjobs.files import open_file
from batchjobs.models import BatchJob, SourceFile
from tests.browser.conftest import OpenPage
from tests.browser.test_screens import assert_accessible
from tests.chaos import until
from tests.operations import make_job
from tests.rows import CONTENT
from tests.web import Web, web

NEW = "/batch-jobs/new/"
SLICE = 100_000
UPLOADS = re.compile(r"/batch-jobs/uploads/")


@pytest.fixture(autouse=True)
def small_slices(settings: Any) -> None:
    settings.UPLOAD_PART_BYTES = SLICE


@pytest.fixture
def expected_complaints(expected_complaints: tuple[str, ...]) -> tuple[str, ...]:
    return (*expected_complaints, "net::ERR_", "status of 405", "status of 50")


@pytest.fixture
def sales(tmp_path: Path) -> Path:
    """Two and a half slices."""
    file = tmp_path / "sales.csv"
    file.write_bytes(CONTENT + os.urandom(2 * SLICE + SLICE // 2))
    return file


def sha256_of(file: SourceFile | None) -> str:
    assert file is not None
    with open_file(file) as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def arrived(path: Path) -> BatchJob:
    """The one job, whose file is byte for byte that of `path`."""
    job = BatchJob.objects.get()
    assert sha256_of(job.file) == hashlib.sha256(path.read_bytes()).hexdigest()
    return job


def choose(page: Page, path: Path) -> None:
    page.locator("input[type=file]").set_input_files(path)


def run(page: Page) -> None:
    page.get_by_role("button", name="Run the job").click()


@pytest.fixture
def own_page(browser: Browser, person: Any) -> Iterator[Callable[[Web], Page]]:
    """Opens the form in a window of its own, at a web process that the test ends and starts again."""
    contexts: list[BrowserContext] = []
    client = Client()
    client.force_login(person)
    name = django_settings.SESSION_COOKIE_NAME

    def open_(server: Web) -> Page:
        context = browser.new_context(base_url=server.url, viewport={"width": 1440, "height": 900})
        contexts.append(context)
        context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": server.url}])
        page = context.new_page()
        page.goto(NEW)
        return page

    yield open_
    for context in contexts:
        context.close()


class Cutter:
    """Cuts what a page sends to /batch-jobs/uploads/: `allow` PATCHes pass, the next are cut until told otherwise."""

    def __init__(self, page: Page) -> None:
        self.allow = 0
        self.cuts = 0
        self.patches = 0
        page.route(UPLOADS, self._handle)

    def _handle(self, route: Route) -> None:
        if route.request.method == "PATCH":
            if self.allow <= 0:
                self.cuts += 1
                route.abort("connectionreset")
                return
            self.allow -= 1
            self.patches += 1
        route.continue_()


def test_in_pieces_while_the_form_is_filled_in(open_page: OpenPage, sales: Path) -> None:
    page = open_page(NEW)
    posted: list[int] = []
    page.on("request", lambda r: posted.append(len(r.post_data_buffer or b"")) if r.url.endswith(NEW) else None)
    choose(page, sales)
    expect(page.get_by_text("The file is here.")).to_be_visible()
    expect(page.locator("[data-upload-amount]")).to_have_text("250\u00a0KB")
    expect(page.get_by_label("Name of the job")).to_have_value("sales")
    assert_accessible(page)
    run(page)
    expect(page.get_by_role("dialog", name="sales")).to_be_visible()
    job = arrived(sales)
    assert job.file is not None
    assert job.file.parts.count() == 3
    assert 0 < max(posted) < 10_000  # the bytes were not sent a second time


@pytest.mark.parametrize("name", ["a.b.csv", "a.b.csv.gz", "a.b.ndjson.gz", "a.b.json", "a.b.ZIP"])
def test_the_name_is_that_of_the_file(open_page: OpenPage, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(b"x")
    page = open_page(NEW)
    choose(page, file)
    expect(page.get_by_label("Name of the job")).to_have_value("a.b")


def test_a_connection_that_is_cut_is_tried_again(open_page: OpenPage, sales: Path) -> None:
    page = open_page(NEW)
    cutter = Cutter(page)
    cutter.allow = 1
    choose(page, sales)
    expect(page.get_by_text("Connection lost. Trying again…")).to_be_visible()
    expect(page.locator("[data-upload-amount]")).to_have_text("100\u00a0KB of 250\u00a0KB")
    run(page)
    expect(page.get_by_text("The job starts as soon as the file is here.")).to_be_visible()
    assert_accessible(page)
    run(page)  # a second time changes nothing
    cutter.allow = 99
    expect(page.get_by_role("dialog", name="sales")).to_be_visible(timeout=10_000)
    arrived(sales)
    assert cutter.patches == 3
    assert cutter.cuts >= 1


def test_offline_and_online_again(open_page: OpenPage, sales: Path) -> None:
    page = open_page(NEW)
    page.clock.install()  # its timers stand still: only being online again can bring the upload on
    page.context.set_offline(True)
    page.clock.pause_at(page.evaluate("Date.now()") + 1000)
    choose(page, sales)
    expect(page.get_by_text("Connection lost. Trying again…")).to_be_visible()
    page.context.set_offline(False)
    expect(page.get_by_text("The file is here.")).to_be_visible()
    run(page)
    page.clock.resume()
    expect(page.get_by_role("dialog", name="sales")).to_be_visible()
    arrived(sales)


def test_a_server_that_fails_is_tried_again(open_page: OpenPage, sales: Path) -> None:
    page = open_page(NEW)
    failures = [502, 500, 503]
    page.route(UPLOADS, lambda route: route.fulfill(status=failures.pop()) if failures else route.continue_())
    page.clock.install()  # its timers stand still: the button tries
    page.clock.pause_at(page.evaluate("Date.now()") + 1000)
    choose(page, sales)
    for left in (2, 1, 0):
        until(lambda left=left: page.wait_for_timeout(1) or len(failures) == left)
        expect(page.get_by_text("Connection lost. Trying again…")).to_be_visible()
        page.get_by_role("button", name="Try now").click()
    expect(page.get_by_text("The file is here.")).to_be_visible()
    page.clock.resume()
    run(page)
    expect(page.get_by_role("dialog", name="sales")).to_be_visible()
    arrived(sales)


def test_pause_resume_and_stop(open_page: OpenPage, sales: Path) -> None:
    page = open_page(NEW)
    cutter = Cutter(page)
    cutter.allow = 1
    choose(page, sales)
    expect(page.get_by_text("Connection lost")).to_be_visible()
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("Paused. What is here stays.")).to_be_visible()
    assert page.evaluate("document.activeElement.hasAttribute('data-upload-resume')")
    cutter.allow = 1
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("[data-upload-amount]")).to_have_text("200\u00a0KB of 250\u00a0KB")
    page.get_by_role("button", name="Stop the upload").click()
    expect(page.get_by_text("The upload was stopped. Nothing was changed.")).to_be_visible()
    until(lambda: not SourceFile.objects.exists())
    cutter.allow = 99
    choose(page, sales)
    expect(page.get_by_text("The file is here.")).to_be_visible()
    run(page)
    expect(page.get_by_role("dialog", name="sales")).to_be_visible()
    arrived(sales)


def test_a_closed_tab_goes_on_in_another(open_page: OpenPage, sales: Path, tmp_path: Path) -> None:
    page = open_page(NEW)
    Cutter(page).allow = 2
    choose(page, sales)
    expect(page.locator("[data-upload-amount]")).to_have_text("200\u00a0KB of 250\u00a0KB")
    page.close()

    page = open_page(NEW)
    cutter = Cutter(page)
    cutter.allow = 99
    expect(page.get_by_text("200\u00a0KB of 250\u00a0KB are here. Choose the same file to go on.")).to_be_visible()
    assert_accessible(page)
    other = tmp_path / "other" / "sales.csv"  # of the same name and size, but another file
    other.parent.mkdir()
    other.write_bytes(sales.read_bytes()[::-1])
    os.utime(other, (1, 1))
    choose(page, other)
    expect(page.get_by_text("The file is here.")).to_be_visible()
    assert cutter.patches == 3
    choose(page, sales)
    expect(page.locator("[data-upload-list]")).to_have_count(0)
    expect(page.get_by_text("The file is here.")).to_be_visible()
    until(lambda: cutter.patches == 4)
    run(page)
    expect(page.get_by_role("dialog", name="sales")).to_be_visible()
    arrived(sales)


def test_an_upload_that_is_whole_needs_no_choosing(open_page: OpenPage, sales: Path) -> None:
    page = open_page(NEW)
    choose(page, sales)
    expect(page.get_by_text("The file is here.")).to_be_visible()
    page.close()
    for script in (True, False):
        page = open_page(NEW, script=script)
        page.get_by_label("Name of the job").fill("Waiting since yesterday")
        page.get_by_role("link", name="Use this file").click()
        expect(page.get_by_text("The file is here.")).to_be_visible()
        if script:
            expect(page.get_by_label("Name of the job")).to_have_value("Waiting since yesterday")
            page.close()
    page.get_by_label("Name of the job").fill("By hand")
    run(page)
    expect(page.locator("dialog.drawer h2")).to_have_text("By hand")
    arrived(sales)


@pytest.mark.parametrize("script", [True, False])
def test_enter_runs_the_job_and_discards_nothing(open_page: OpenPage, sales: Path, script: bool) -> None:
    page = open_page(NEW)
    choose(page, sales)
    expect(page.get_by_text("The file is here.")).to_be_visible()
    page.close()
    page = open_page(NEW, script=script)
    page.get_by_label("Name of the job").fill("Sales")
    page.get_by_label("Name of the job").press("Enter")  # without a file: the browser says so
    assert page.evaluate("document.activeElement.type") == "file"
    expect(page.get_by_role("button", name="Discard sales.csv")).to_be_visible()
    page.get_by_role("link", name="Use this file").click()
    page.get_by_label("Name of the job").fill("Sales")
    page.get_by_label("Name of the job").press("Enter")
    expect(page.locator("dialog.drawer h2")).to_have_text("Sales")
    arrived(sales)


@pytest.mark.parametrize("script", [True, False])
def test_discard(open_page: OpenPage, sales: Path, script: bool) -> None:
    page = open_page(NEW)
    Cutter(page).allow = 1
    choose(page, sales)
    expect(page.locator("[data-upload-amount]")).to_have_text("100\u00a0KB of 250\u00a0KB")
    page.close()
    page = open_page(NEW, script=script)
    page.get_by_role("button", name="Discard sales.csv").click()
    expect(page.locator("[data-upload-list]")).to_have_count(0)
    expect(page.get_by_role("dialog", name="New batch job")).to_be_visible()
    assert not SourceFile.objects.exists()


def test_an_error_of_the_form_keeps_the_upload(open_page: OpenPage, account: Account, sales: Path) -> None:
    make_job(account, name="Taken")
    page = open_page(NEW)
    cutter = Cutter(page)
    cutter.allow = 99
    choose(page, sales)
    page.get_by_label("Name of the job").fill("Taken")
    run(page)
    expect(page.get_by_text("Another job of this account has this name")).to_be_visible()
    expect(page.get_by_text("The file is here.")).to_be_visible()
    page.get_by_label("Name of the job").fill("Not taken")
    run(page)
    expect(page.get_by_role("dialog", name="Not taken")).to_be_visible()
    assert sha256_of(BatchJob.objects.get(name="Not taken").file) == hashlib.sha256(sales.read_bytes()).hexdigest()
    assert cutter.patches == 3


def test_a_web_process_that_is_killed(own_page: Callable[[Web], Page], sales: Path) -> None:
    with web(UPLOAD_PART_BYTES=str(SLICE)) as server:
        page = own_page(server)
        cutter = Cutter(page)
        cutter.allow = 1
        choose(page, sales)
        expect(page.get_by_text("Connection lost")).to_be_visible()
        server.kill()
        cutter.allow = 99
        server.start()
        expect(page.get_by_text("The file is here.")).to_be_visible(timeout=40_000)
        run(page)
        expect(page.get_by_role("dialog", name="sales")).to_be_visible()
    arrived(sales)


if os.environ.get("CHAOS"):  # the long form

    @pytest.mark.chaos
    def test_two_gigabytes_cut_five_times(own_page: Callable[[Web], Page], tmp_path: Path) -> None:
        """A connection cut, a tab closed, the web process killed, a tab closed again, the web process restarted."""
        path = tmp_path / "history.csv"
        digest = hashlib.sha256()
        with path.open("wb") as file:
            for n in range(2000):
                block = random.Random(n).randbytes(1_000_000)
                digest.update(block)
                file.write(block)
        size = path.stat().st_size
        peak, began, sent_at = 0, time.monotonic(), []

        def at(share: float) -> None:
            """Waits until that share of the file is here, and then some, so that a piece is under way."""
            until(lambda: SourceFile.objects.filter(received__gte=size * share).exists(), 600)
            sent_at.append(SourceFile.objects.get().received)
            page.wait_for_timeout(random.random() * 100)

        with web() as server:
            page = own_page(server)
            idle = server.peak_kilobytes()
            choose(page, path)
            at(0.15)
            page.context.set_offline(True)
            expect(page.get_by_text("Connection lost")).to_be_visible()
            page.context.set_offline(False)
            at(0.30)
            page.close()
            page = own_page(server)
            choose(page, path)
            at(0.45)
            peak = max(peak, server.peak_kilobytes())
            server.kill()
            expect(page.get_by_text("Connection lost")).to_be_visible()
            server.start()
            at(0.60)
            page.close()
            page = own_page(server)
            expect(page.get_by_text("Choose the same file to go on.")).to_be_visible()
            choose(page, path)
            at(0.75)
            peak = max(peak, server.peak_kilobytes())
            server.end()
            expect(page.get_by_text("Connection lost")).to_be_visible()
            run(page)
            server.start()
            expect(page.get_by_role("dialog", name="history")).to_be_visible(timeout=600_000)
            peak = max(peak, server.peak_kilobytes())
        seconds = time.monotonic() - began
        job = BatchJob.objects.get()
        assert sha256_of(job.file) == digest.hexdigest()
        assert SourceFile.objects.count() == 1
        assert job.file is not None
        print(
            f"{size:,} bytes in {seconds:.1f} s, {job.file.parts.count()} parts, peak memory of a web process"
            f" {peak / 1024:.0f} MB ({idle / 1024:.0f} MB before),"
            f" interrupted at {', '.join(f'{at:,}' for at in sent_at)}"
        )
        assert peak - idle < 100_000


def test_closing_the_drawer_asks_and_pauses(open_page: OpenPage, sales: Path) -> None:
    page = open_page(NEW)
    cutter = Cutter(page)
    cutter.allow = 1
    choose(page, sales)
    expect(page.get_by_text("Connection lost")).to_be_visible()
    asked: list[str] = []

    def answer(dialog: Any) -> None:
        asked.append(dialog.message)
        (dialog.dismiss if len(asked) == 1 else dialog.accept)()

    page.on("dialog", answer)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="New batch job")).to_be_visible()
    page.get_by_role("link", name="Close").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert len(asked) == 2
    assert "The upload pauses: what is here stays for 48 hours." in asked[0]
    cutter.allow = 99
    page.locator("[data-new]").click()
    expect(page.get_by_text("100\u00a0KB of 250\u00a0KB are here.")).to_be_visible()
    assert cutter.patches == 1
    choose(page, sales)
    run(page)
    expect(page.get_by_role("dialog", name="sales")).to_be_visible()
    arrived(sales)
    assert cutter.patches == 3


def test_what_cannot_be_read_is_said_at_once(open_page: OpenPage, sales: Path, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"x")
    page = open_page(NEW)
    choose(page, photo)
    expect(page.get_by_text("“photo.png” cannot be read: upload a file that ends in")).to_be_visible()
    choose(page, sales)
    expect(page.get_by_text("The file is here.")).to_be_visible()
    expect(page.get_by_text("cannot be read")).to_be_hidden()


def test_too_large_is_not_sent(open_page: OpenPage, sales: Path, settings: Any) -> None:
    settings.UPLOAD_MAX_BYTES = SLICE
    page = open_page(NEW)
    choose(page, sales)
    expect(page.get_by_text("The file is too large: 100\u00a0KB at most.")).to_be_visible()
    assert not SourceFile.objects.exists()


def test_signed_out_in_between_says_so(open_page: OpenPage, sales: Path) -> None:
    page = open_page(NEW)
    page.context.clear_cookies(name="batchdesk_session")
    choose(page, sales)
    expect(page.get_by_text("The upload cannot go on: reload the page, sign in")).to_be_visible()


def test_a_file_that_changes_is_not_mixed(open_page: OpenPage, sales: Path) -> None:
    page = open_page(NEW)
    cutter = Cutter(page)
    cutter.allow = 1
    choose(page, sales)
    expect(page.get_by_text("Connection lost")).to_be_visible()
    sales.write_bytes(os.urandom(3 * SLICE))
    cutter.allow = 99
    expect(page.get_by_text("The file has changed or cannot be read any more.")).to_be_visible(timeout=10_000)
