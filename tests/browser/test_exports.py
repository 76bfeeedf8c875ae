"""The Exports page in a real browser: every action, list, drawers, dialogs, keys, live changes, pictures."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import storages
from django.utils import timezone
from playwright.sync_api import Page

from accounts.actors import Actor
from accounts.models import Account
from accounts.permissions import Role
from exports import services
from exports.models import Destination, Export
from exports.states import ExportType
from tests.browser.conftest import OpenPage
from tests.browser.test_batch_uploads import fits
from tests.browser.test_screens import VIEWS, assert_accessible
from tests.exports import last_run, make_export, make_people, make_recurring, work

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


def shoot(page: Page, name: str, screen: str, theme: str, tmp_path: Path) -> None:
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    page.wait_for_timeout(100)  # colours of buttons fade in
    page.screenshot(path=folder / f"exports-{name}-{screen}-{theme}.png")
    body = page.locator("dialog.drawer .body")
    if body.count():
        body.evaluate("body => body.scrollTo(0, body.scrollHeight)")
        page.screenshot(path=folder / f"exports-{name}-{screen}-{theme}-end.png")


@pytest.mark.parametrize(("screen", "theme"), VIEWS)
def test_screens(screen: str, theme: str, open_page: OpenPage, world: World, tmp_path: Path) -> None:
    page = open_page(LIST, screen=screen, theme=theme)
    paths = {f"tab-{tab}": f"{LIST}?tab={tab}" for tab in TABS}
    paths |= {f"drawer-{name}": world.path(name) for name in DRAWERS}
    paths |= {f"dialog-{name}": world.dialog(name) for name in DIALOGS}
    paths |= {"no-results": f"{LIST}?q=ffff&type=custom", "menu": LIST}
    for name, path in paths.items():
        page.goto(path)
        if name == "menu":
            page.locator("details.above summary").first.click()
        shoot(page, name, screen, theme, tmp_path)
        if name != "menu":  # what an open menu covers in part is too small a target for axe
            assert_accessible(page)
        assert fits(page), f"{name} scrolls sideways."


@pytest.mark.parametrize(("screen", "theme"), VIEWS)
def test_empty(screen: str, theme: str, open_page: OpenPage, by: Actor, tmp_path: Path) -> None:
    page = open_page(LIST, screen=screen, theme=theme)
    shoot(page, "empty", screen, theme, tmp_path)
    assert_accessible(page)
    make_export(by)
    page.goto(f"{LIST}?tab=finished")
    shoot(page, "empty-tab", screen, theme, tmp_path)
    assert_accessible(page)
