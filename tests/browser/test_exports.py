"""The Exports page in a real browser: every action, list, drawers, dialogs, keys, live changes, pictures."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import storages
from django.utils import timezone
from playwright.sync_api import Locator, Page, expect

from accounts.actors import Actor
from accounts.models import Account
from accounts.permissions import Role
from exports import services
from exports.models import Destination, Export
from exports.states import ExportType, State
from tests.browser.conftest import OpenPage, keep_picture
from tests.browser.test_batch_uploads import fits, rows
from tests.browser.test_flows import has_focus
from tests.browser.test_screens import WIDE_AND_NARROW, assert_accessible
from tests.exports import bytes_of, last_run, make_export, make_people, make_recurring, work

LIST = "/exports/"
DAILY = {"cadence": "daily", "at": "06:30", "timezone": "Europe/Lisbon"}
TABS = ["draft", "scheduled", "in_progress", "finished"]
DRAWERS = [
    "draft",
    "stopped",
    "feed",
    "support",
    "custom",
    "run-ok",
    "run-failed",
    "run-download",
    "run-progress",
    "run-definition",
]
DIALOGS = ["copy", "delete", "unschedule", "unschedule-support", "resync", "cancel"]


@pytest.fixture
def by(account: Account, person: Any) -> Actor:
    return Actor(account, Role.MANAGER, user=person)


def box_file(by: Actor) -> Path:
    """A file where the transfer box of the account would be: nothing can be delivered."""
    path = Path(storages["transfer_box"].location) / str(by.account.pk)  # type: ignore[attr-defined]
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


class World:
    """One of each: drafts, scheduled ones, runs of all ends."""

    def __init__(self, by: Actor) -> None:
        make_people(by, 40)
        self.by = by
        self.draft = make_export(
            by,
            name="Black Friday buyers 2025",
            data_type="interaction",
            columns=None,
            filter={"and": [{"field": "kind", "op": "is", "value": "purchase"}]},
        )
        Export.objects.filter(pk=self.draft.pk).update(step=5)
        make_export(by, name="Dormant customers, win-back")
        self.feed = make_recurring(
            by,
            name="Daily loyalty feed",
            columns=[
                {"field": name, "header": name.rpartition(".")[2]}
                for name in ("email", "attributes.first_name", "attributes.tier", "updated_at")
            ],
            filter={
                "and": [
                    {"field": "attributes.tier", "op": "one_of", "value": ["Silver", "Gold"]},
                    {"field": "opted_out", "op": "is_false"},
                ]
            },
            file={"format": "csv", "compression": "gzip", "name_pattern": "loyalty_$yyyyMMdd"},
            recipients=["marta@example.com"],
            report_when="problems",
        )
        for _n in range(3):
            services.export_run_now(export=self.feed, by=by)
            work()
            make_people(by, 30, first=100 * (_n + 1))
        services.export_run_now(export=self.feed, by=by)
        work()
        self.run_ok = last_run(self.feed)
        self.full = make_recurring(
            by,
            name="Purchases to the warehouse",
            type="periodic_full",
            schedule={**DAILY, "timezone": "UTC", "at": "07:00"},
        )
        self.support = make_recurring(by, name="Web shop sync", schedule={**DAILY, "at": "08:00"})
        Export.objects.filter(pk=self.support.pk).update(
            type=ExportType.INCREMENTAL_CUSTOM, support_note="The mixed order of event and profile columns"
        )
        self.custom = make_recurring(by, name="Point of sale, nightly", schedule={**DAILY, "at": "02:15"})
        Export.objects.filter(pk=self.custom.pk).update(type=ExportType.CUSTOM)
        # One whose destination takes nothing, until it was stopped.
        self.stopped = make_recurring(by, name="Weekly print house list", type="periodic_full")
        gone = Destination.objects.create(account=by.account, name="Print house", kind="transfer_box")
        Export.objects.filter(pk=self.stopped.pk).update(destination=gone)
        self.stopped.refresh_from_db()
        folder = box_file(by)
        folder.rename(folder.with_name("kept"))
        folder.touch()
        for _n in range(5):
            services.export_run_now(export=self.stopped, by=by)
            work()
        folder.unlink()
        folder.with_name("kept").rename(folder)
        self.run_failed = last_run(self.stopped)
        self.one_shot = make_export(by, name="Lapsed subscribers, Portugal")
        services.export_schedule(export=self.one_shot, by=by)
        work()
        self.run_download = last_run(self.one_shot)
        self.winter = make_export(by, name="Newsletter audience, winter")
        services.export_schedule(export=self.winter, by=by)
        self.run_progress = last_run(self.winter)

    def start(self) -> None:
        """The run in progress, as its worker has it."""
        job = self.run_progress.job
        job.status, job.started_at = "in_progress", timezone.now() - dt.timedelta(seconds=18)
        job.reader_state = {"rows": 15_745, "bytes": 3_200_000}
        job.save()

    def path(self, name: str) -> str:
        runs = {"run-ok": self.run_ok, "run-failed": self.run_failed, "run-download": self.run_download}
        if name == "run-definition":
            return f"{LIST}runs/{self.run_ok.pk}/definition/"
        if name == "run-progress":
            return f"{LIST}runs/{self.run_progress.pk}/"
        if name in runs:
            return f"{LIST}runs/{runs[name].pk}/"
        return f"{LIST}{getattr(self, name).pk}/"

    def dialog(self, name: str) -> str:
        if name == "cancel":
            return f"{LIST}runs/{self.run_progress.pk}/cancel/"
        export = {"delete": self.draft, "unschedule-support": self.support}.get(name, self.feed)
        return f"{LIST}{export.pk}/{name.partition('-')[0]}/"


@pytest.fixture
def world(by: Actor) -> World:
    made = World(by)
    made.start()
    return made


def shoot(page: Page, name: str, screen: str) -> None:
    keep_picture(page, f"exports-{name}-{screen}")
    body = page.locator("dialog.drawer .body")
    if body.count():
        body.evaluate("body => body.scrollTo(0, body.scrollHeight)")
        keep_picture(page, f"exports-{name}-{screen}-end")


@WIDE_AND_NARROW
def test_screens(screen: str, open_page: OpenPage, world: World) -> None:
    page = open_page(LIST, screen=screen)
    paths = {f"tab-{tab}": f"{LIST}?tab={tab}" for tab in TABS}
    paths |= {f"drawer-{name}": world.path(name) for name in DRAWERS}
    paths |= {f"dialog-{name}": world.dialog(name) for name in DIALOGS}
    paths |= {"no-results": f"{LIST}?q=ffff&type=custom", "menu": LIST}
    for name, path in paths.items():
        page.goto(path)
        if name == "menu":
            page.locator("details.above summary").first.click()
        shoot(page, name, screen)
        if name != "menu":  # what an open menu covers in part is too small a target for axe
            assert_accessible(page, in_dark=True)
        assert fits(page), f"{name} scrolls sideways."


@WIDE_AND_NARROW
def test_empty(screen: str, open_page: OpenPage, by: Actor) -> None:
    page = open_page(LIST, screen=screen)
    shoot(page, "empty", screen)
    assert_accessible(page, in_dark=True)
    make_export(by)
    page.goto(f"{LIST}?tab=finished")
    shoot(page, "empty-tab", screen)
    assert_accessible(page, in_dark=True)


def ask(page: Page, name: str, action: str, role: Any = "link") -> None:
    """Chooses an action in the menu of a row."""
    row = rows(page).filter(has_text=name).first
    row.get_by_label(f"Actions for {name}").click()
    row.get_by_role(role, name=action).click()


def dialog(page: Page, name: str | re.Pattern[str]) -> Locator:
    return page.get_by_role("dialog", name=name)


def deliver_nothing(by: Actor, export: Export, times: int) -> None:
    folder = box_file(by)
    folder.touch()
    for _n in range(times):
        services.export_run_now(export=export, by=by)
        work()
    folder.unlink()


# Finding an export.


def test_search_facets_and_tabs(open_page: OpenPage, world: World) -> None:
    page = open_page(LIST)
    expect(rows(page)).to_have_count(4)
    page.get_by_role("checkbox", name="Incremental", exact=False).first.check()
    expect(rows(page)).to_have_count(1)
    page.wait_for_url(f"**{LIST}?tab=scheduled&type=incremental")
    finished = page.locator("#export-tabs").get_by_role("link", name="Finished")
    expect(finished).to_have_text("Finished 4")
    finished.click()
    expect(rows(page)).to_have_count(4)
    expect(page.get_by_role("checkbox", name="Incremental", exact=False).first).to_be_checked()
    page.get_by_role("link", name="Remove the filter Export type: Incremental").click()
    expect(rows(page)).to_have_count(10)
    page.get_by_role("checkbox", name="Failed").check()
    expect(rows(page)).to_have_count(5)
    page.get_by_role("searchbox").fill("LAPSED")
    expect(page.get_by_role("heading", name="Nothing here matches")).to_be_visible()
    page.wait_for_url(f"**{LIST}?tab=finished&q=LAPSED&status=failed")
    page.reload()
    expect(page.get_by_role("searchbox")).to_have_value("LAPSED")
    page.get_by_role("link", name="Clear the filters").click()
    expect(rows(page)).to_have_count(10)


def test_a_new_sort_shows_the_first_page(open_page: OpenPage, by: Actor) -> None:
    for n in range(30):
        make_export(by, name=f"Draft {n:02}")
    page = open_page(LIST)
    expect(rows(page).first).to_contain_text("Draft 29")
    page.get_by_role("link", name="Older").click()
    expect(rows(page)).to_have_count(5)
    page.get_by_role("columnheader", name="Name").get_by_role("link").click()
    page.wait_for_url(f"**{LIST}?sort=name")
    expect(rows(page)).to_have_count(25)
    expect(rows(page).first).to_contain_text("Draft 00")
    expect(page.locator(".pager")).to_contain_text("25 of 30, by name")


def test_filters_fold_on_a_phone(open_page: OpenPage, world: World) -> None:
    page = open_page(LIST, screen="390")
    box = page.get_by_role("checkbox", name="Periodic full")
    expect(box).to_be_hidden()
    page.locator("#export-facets > summary").click()
    box.check()
    expect(rows(page)).to_have_count(1)
    expect(page.locator("#facets-on")).to_have_text("1")
    assert fits(page)
    assert_accessible(page)


# What can be done.


def test_edit_a_draft_and_only_a_draft(open_page: OpenPage, world: World) -> None:
    page = open_page(f"{LIST}?tab=draft")
    page.get_by_role("link", name=world.draft.name).click()
    expect(dialog(page, world.draft.name).locator(".eyebrow")).to_contain_text("Step 5 of 7")
    page.keyboard.press("Escape")
    assert has_focus(page, f"#export-{world.draft.pk}-link")
    page.locator("#export-tabs").get_by_role("link", name="Scheduled").click()
    row = rows(page).filter(has_text=world.feed.name)
    row.get_by_label(f"Actions for {world.feed.name}").click()
    expect(row.get_by_role("link", name="Unschedule")).to_be_visible()
    expect(row.get_by_role("link", name="Edit")).to_have_count(0)


@pytest.mark.parametrize("tab", ["draft", "scheduled", "finished"])
def test_copy_from_each_tab(tab: str, open_page: OpenPage, world: World) -> None:
    name = {"draft": world.draft, "scheduled": world.full, "finished": world.one_shot}[tab].name
    page = open_page(f"{LIST}?tab={tab}")
    ask(page, name, "Copy")
    asked = dialog(page, f"Copy “{name}”")
    field = asked.get_by_label("Name of the copy")
    expect(field).to_have_value(f"Copy of {name}")
    field.fill(name)
    asked.get_by_role("button", name="Make the copy").click()
    expect(asked.get_by_text("Another export of this account has this name.")).to_be_visible()
    asked.get_by_label("Name of the copy").fill("Another one")
    asked.get_by_role("button", name="Make the copy").click()
    page.wait_for_url("**/edit/")
    expect(dialog(page, "Another one")).to_be_visible()
    assert Export.objects.get(name="Another one").state == State.DRAFT


def test_delete_a_draft(open_page: OpenPage, world: World) -> None:
    page = open_page(f"{LIST}?tab=draft")
    ask(page, world.draft.name, "Delete")
    asked = dialog(page, f"Delete “{world.draft.name}”?")
    asked.get_by_role("link", name="Keep the draft").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert page.url.endswith("?tab=draft")
    assert has_focus(page, f"#export-{world.draft.pk}-menu > summary")
    ask(page, world.draft.name, "Delete")
    asked.get_by_role("button", name="Delete the draft").click()
    expect(page.get_by_text("is deleted. The reports of its runs stay.")).to_be_visible()
    expect(rows(page).filter(has_text=world.draft.name)).to_have_count(0)


def test_view_the_definition_in_each_tab(open_page: OpenPage, world: World) -> None:
    page = open_page(LIST)
    page.get_by_role("link", name=world.feed.name).click()
    drawer = dialog(page, world.feed.name)
    expect(drawer.get_by_text("tier is Silver or Gold, and E-mail is not opted out")).to_be_visible()
    expect(drawer.get_by_role("heading", name="Next five runs")).to_be_visible()
    page.wait_for_function("document.activeElement.id === 'drawer-title'")
    page.keyboard.press("Escape")
    assert has_focus(page, f"#export-{world.feed.pk}-link")
    for tab, export in (("in_progress", world.winter), ("finished", world.one_shot)):
        page.goto(f"{LIST}?tab={tab}")
        ask(page, export.name, "View definition")
        expect(dialog(page, export.name).get_by_text("As it was for the run of")).to_be_visible()
        page.wait_for_url("**/definition/?tab=*")
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)


def test_unschedule_then_edit(open_page: OpenPage, world: World) -> None:
    page = open_page(LIST)
    ask(page, world.full.name, "Unschedule")
    asked = dialog(page, f"Unschedule “{world.full.name}”?")
    expect(asked.get_by_text(re.compile("All runs, beginning with .* 07:00, UTC"))).to_be_visible()
    asked.get_by_role("button", name="Unschedule").click()
    expect(page.get_by_text("is unscheduled. You can edit it now.")).to_be_visible()
    expect(page.locator("#export-tabs [aria-current]")).to_contain_text("In definition")
    page.get_by_role("link", name=world.full.name).click()
    expect(dialog(page, world.full.name).locator(".eyebrow")).to_contain_text("of 7")


def test_unschedule_for_good_takes_a_tick(open_page: OpenPage, world: World) -> None:
    page = open_page(LIST)
    ask(page, world.support.name, "Unschedule")
    asked = dialog(page, f"Unschedule “{world.support.name}”?")
    button = asked.get_by_role("button", name="Unschedule for good")
    expect(asked.get_by_text("The mixed order of event and profile columns")).to_be_visible()
    expect(button).to_be_disabled()
    asked.get_by_role("checkbox").check()
    expect(button).to_be_enabled()
    asked.get_by_role("checkbox").uncheck()
    expect(button).to_be_disabled()
    asked.get_by_role("link", name="Keep it scheduled").click()
    world.support.refresh_from_db()
    assert (world.support.type, world.support.state) == (ExportType.INCREMENTAL_CUSTOM, State.SCHEDULED)
    ask(page, world.support.name, "Unschedule")
    asked.get_by_role("checkbox").check()
    button.click()
    expect(page.get_by_text("is unscheduled. You can edit it now.")).to_be_visible()
    world.support.refresh_from_db()
    assert (world.support.type, world.support.state) == (ExportType.INCREMENTAL, State.DRAFT)


def test_what_support_staff_look_after_is_only_seen(open_page: OpenPage, world: World) -> None:
    page = open_page(LIST)
    row = rows(page).filter(has_text=world.custom.name)
    row.get_by_label(f"Actions for {world.custom.name}").click()
    expect(row.locator(".panel :is(a, button)")).to_have_text(["View status and reports"])
    row.get_by_role("link", name="View status and reports").click()
    drawer = dialog(page, world.custom.name)
    expect(drawer.get_by_role("heading", name="Status")).to_be_visible()
    expect(drawer.get_by_text("Columns")).to_have_count(0)
    expect(drawer.locator("footer :is(a, button)")).to_have_text(["Close"])


def test_download_a_one_shot_export(open_page: OpenPage, world: World) -> None:
    page = open_page(f"{LIST}?tab=finished")
    with page.expect_download() as started:
        ask(page, world.one_shot.name, "Download")
    assert started.value.suggested_filename == "people.csv"
    assert Path(started.value.path()).read_bytes() == bytes_of(world.run_download)
    row = rows(page).filter(has_text=world.feed.name).first
    row.get_by_label(f"Actions for {world.feed.name}").click()
    expect(row.get_by_role("link", name="View report")).to_be_visible()
    expect(row.get_by_role("link", name="Download")).to_have_count(0)


def test_report_and_relaunch(open_page: OpenPage, by: Actor) -> None:
    make_people(by)
    feed = make_recurring(by, name="To the print house")
    deliver_nothing(by, feed, 1)
    page = open_page(f"{LIST}?tab=finished")
    ask(page, feed.name, "View report")
    report = dialog(page, feed.name)
    expect(report.get_by_role("heading", name="The destination did not take the file")).to_be_visible()
    expect(report.locator(".steps li")).to_have_count(2)
    expect(report.locator(".facts")).to_contain_text("DESTINATION_REFUSED, can be relaunched")
    report.get_by_role("button", name="Relaunch the delivery").click()
    expect(page.locator("#run-head")).to_contain_text("In progress")
    work()
    expect(page.locator("#run-head")).to_contain_text("Succeeded")
    expect(report.get_by_role("heading", name="3 rows delivered to Transfer box")).to_be_visible()
    expect(page.locator("#nav-count-export_list")).to_be_hidden()
    expect(page.locator("#live")).not_to_have_attribute("hx-trigger", "every 2s")


def test_run_now_window_again_and_send_everything(open_page: OpenPage, world: World) -> None:
    page = open_page(LIST)
    ask(page, world.feed.name, "Run now", "button")
    page.wait_for_url("**/exports/runs/*/")
    expect(page.locator("#run-head")).to_contain_text("In progress")
    work()
    expect(page.locator("#run-head")).to_contain_text("Succeeded")
    page.goto(world.path("run-ok"))
    page.get_by_role("button", name="Export this window again").click()
    expect(page.get_by_text("is made again for the window of that run")).to_be_visible()
    work()
    expect(page.get_by_text("where the next run begins did not change")).to_be_visible()
    page.goto(LIST)
    ask(page, world.feed.name, "Send everything again")
    dialog(page, re.compile("^Send everything of")).get_by_role("button", name="Send everything again").click()
    expect(page.get_by_text("The next run sends everything, not only what is new.")).to_be_visible()


def test_schedule_what_was_stopped(open_page: OpenPage, world: World) -> None:
    page = open_page(f"{LIST}?tab=draft")
    expect(rows(page).filter(has_text=world.stopped.name)).to_contain_text("after five failures")
    ask(page, world.stopped.name, "View definition")
    drawer = dialog(page, world.stopped.name)
    expect(drawer.get_by_role("heading", name=re.compile("after five failures in a row"))).to_be_visible()
    drawer.get_by_role("button", name="Schedule").click()
    expect(page.get_by_text("is scheduled. It runs next:")).to_be_visible()
    expect(page.locator("dialog.drawer header .pill")).to_have_text("Scheduled")


def test_cancel_a_run(open_page: OpenPage, by: Actor) -> None:
    make_people(by)
    export = make_export(by)
    services.export_schedule(export=export, by=by)
    page = open_page(f"{LIST}?tab=in_progress")
    page.get_by_role("link", name=export.name).click()
    report = dialog(page, export.name).first
    report.get_by_role("link", name="Cancel").click()
    asked = dialog(page, re.compile("^Cancel this run"))
    asked.get_by_role("link", name="Let it run").click()
    expect(report.get_by_text("Waiting to start")).to_be_visible()  # the drawer is back
    report.get_by_role("link", name="Cancel").click()
    asked.get_by_role("button", name="Cancel the run").click()
    expect(page.get_by_role("heading", name="Canceled by marta@example.com")).to_be_visible()


def test_rows_while_they_are_written(open_page: OpenPage, world: World) -> None:
    page = open_page(f"{LIST}?tab=in_progress")
    row = page.locator(f"#run-{world.run_progress.pk}")
    expect(row).to_contain_text("15,745")
    job = world.run_progress.job
    assert job is not None
    job.reader_state = {"rows": 17_001, "bytes": 3_500_000}
    job.save()
    expect(row).to_contain_text("17,001")
    job.status, job.started_at, job.reader_state = "pending", None, {}
    job.save()
    work()
    expect(row).to_contain_text("Succeeded")
    expect(page.locator("#export-tabs").get_by_role("link", name="In progress")).to_contain_text("0")


def test_why_somebody_is_not_in_it(open_page: OpenPage, world: World, by: Actor) -> None:
    page = open_page(world.path("run-download"))
    part = page.locator("#run-why")
    for address, found in (
        ("nobody@example.com", "Not in the table"),
        ("person-00004@example.com", "In row 5 of the file"),
        ("person", "person is not a complete address"),
    ):
        part.get_by_label("E-mail address").fill(address)
        part.get_by_role("button", name="Look for this person").click()
        expect(part.get_by_text(found)).to_be_visible()
    assert has_focus(page, "#run-why input[name=email]")
    assert_accessible(page)


def test_print_a_report(open_page: OpenPage, world: World) -> None:
    page = open_page(world.path("run-failed"))
    page.evaluate("window.print = () => { window.printed = true; }")
    page.get_by_role("button", name="Print").click()
    assert page.evaluate("window.printed")
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    expect(page.get_by_text("Printed on")).to_be_visible()
    expect(page.locator("#run-foot")).to_be_hidden()


# Keys, and no script.


def test_keyboard_only(open_page: OpenPage, world: World) -> None:
    page = open_page("/batch-jobs/")
    page.keyboard.press("g")
    page.keyboard.press("e")
    page.wait_for_url(f"**{LIST}")
    expect(page.get_by_role("heading", name="Exports", exact=True)).to_be_visible()
    # Which row it is depends on the time of day: they stand in the order of their next runs.
    for link in rows(page).locator("a.stretched").all():
        page.keyboard.press("j")
        expect(link).to_be_focused()
        if link.get_attribute("id") == f"export-{world.feed.pk}-link":
            break
    page.keyboard.press("Enter")
    drawer = dialog(page, world.feed.name)
    expect(drawer).to_be_visible()
    for _ in range(12):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement === document.body || !!document.activeElement.closest('dialog')")
    drawer.get_by_role("link", name="Unschedule").focus()
    page.keyboard.press("Enter")
    expect(dialog(page, re.compile("^Unschedule"))).to_be_visible()
    page.keyboard.press("Escape")
    expect(drawer).to_be_visible()  # it comes back
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert page.url.partition("?")[0].endswith(LIST)
    page.locator("h1").click()
    page.keyboard.press("n")
    expect(dialog(page, "New export")).to_be_visible()


def test_a_dialog_of_its_own_leaves_the_list(open_page: OpenPage, world: World) -> None:
    page = open_page(f"{LIST}{world.feed.pk}/unschedule/")
    page.get_by_role("link", name="Keep it scheduled").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert page.url.endswith(f"{LIST}?tab=scheduled")
    assert has_focus(page, f"#export-{world.feed.pk}-link")


def test_without_script(open_page: OpenPage, world: World) -> None:
    page = open_page(LIST, script=False)
    page.get_by_role("checkbox", name="Periodic full").check()
    page.get_by_role("button", name="Show").click()
    expect(rows(page)).to_have_count(1)
    page.get_by_role("searchbox").fill("nothing")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("heading", name="Nothing here matches")).to_be_visible()
    page.goto(LIST)
    ask(page, world.support.name, "Unschedule")
    page.wait_for_url("**/unschedule/**")
    page.get_by_role("checkbox", name="I understand").check()
    page.get_by_role("button", name="Unschedule for good").click()
    expect(page.get_by_text("is unscheduled. You can edit it now.")).to_be_visible()
    page.goto(LIST)
    ask(page, world.feed.name, "Run now", "button")
    page.wait_for_url("**/exports/runs/*/")
    page.goto(world.path("run-download"))
    page.get_by_label("E-mail address").fill("person-00001@example.com")
    page.get_by_role("button", name="Look for this person").click()
    expect(page.get_by_text("In row 2 of the file")).to_be_visible()
    page.goto(f"{LIST}?tab=draft")
    ask(page, world.draft.name, "Delete")
    page.get_by_role("button", name="Delete the draft").click()
    expect(page.get_by_text("is deleted. The reports of its runs stay.")).to_be_visible()
