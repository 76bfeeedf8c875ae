"""A real Chromium on a real server: pages, keys, no script, screenshots and accessibility rules."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page
from pytest_django.live_server_helper import LiveServer

from accounts.models import Account, Membership
from accounts.permissions import Role
from tests.chaos import until
from tests.factories import make_account, make_user
from tests.programs import absent

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
ANSWERING = "process_request_thread"  # in the name of a thread of the live server, which lives as long as a connection
FADED = "document.getAnimations().every(one => one.effect.getComputedTiming().endTime === Infinity)"
SCREENS = {"1440": {"width": 1440, "height": 900}, "390": {"width": 390, "height": 844}}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    if not Path(CHROMIUM).exists() and find_spec("playwright"):
        absent(f"There is no Chromium at {CHROMIUM}. Install chromium, or set CHROMIUM to its path.")
    return {**browser_type_launch_args, "executable_path": CHROMIUM, "args": ARGUMENTS}


@pytest.fixture
def account(transactional_db: None) -> Account:
    return make_account()


@pytest.fixture
def person(account: Account) -> Any:
    """Marta, a marketer, and a second account, so that the switcher is there."""
    user = make_user(account, Role.MANAGER, name="Marta Oliveira", email="marta@example.com", time_zone="Europe/Lisbon")
    Membership.objects.create(account=make_account("Pier Nine Vinyl"), user=user, role=Role.VIEWER)
    return user


@pytest.fixture
def signed_in(person: Any, live_server: LiveServer) -> list[dict[str, str]]:
    """Cookies of a session."""
    client = Client()
    client.force_login(get_user_model().objects.get(pk=person.pk))
    name = django_settings.SESSION_COOKIE_NAME
    return [{"name": name, "value": client.cookies[name].value, "url": live_server.url}]


OpenPage = Callable[..., Page]


def keep_picture(page: Page, name: str) -> None:
    """A picture in light and one in dark in the folder that SCREENSHOTS names, to be looked at; without one none."""
    if folder := os.environ.get("SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        for theme in in_both_themes(page):
            # Else an empty style attribute stays at each field, and htmx may copy none.
            page.screenshot(path=Path(folder) / f"{name}-{theme}.png", caret="initial")


def in_both_themes(page: Page) -> Iterator[str]:
    """The page in dark, and then in light again, each when its colours have faded in."""
    for theme in ("dark", "light"):
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        until(lambda: page.evaluate(FADED))
        yield theme


@pytest.fixture
def expected_complaints() -> tuple[str, ...]:
    """Parts of what the console may say: a status that the test asks for, and a request that it stops."""
    return ("status of 403", "status of 404", "status of 422", "htmx:sendAbort", "htmx:afterRequest")


@pytest.fixture
def open_page(
    browser: Browser, live_server: LiveServer, signed_in: list[dict[str, str]], expected_complaints: tuple[str, ...]
) -> Iterator[OpenPage]:
    """Opens a path in a window of its own. At the end, anything the console complained of fails the test."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []
    before = threading.enumerate()

    def heard(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(f"{message.type}: {message.text}")

    def open_(
        path: str,
        *,
        screen: str = "1440",
        script: bool = True,
        stranger: bool = False,
        **kw: Any,
    ) -> Page:
        context = browser.new_context(
            base_url=live_server.url,
            viewport=SCREENS[screen],  # type: ignore[arg-type]
            java_script_enabled=script,
            reduced_motion="reduce",
            **kw,
        )
        contexts.append(context)
        if not stranger:
            context.add_cookies(signed_in)  # type: ignore[arg-type]
        page = context.new_page()
        page.on("console", heard)
        page.on("pageerror", lambda error: complaints.append(f"exception: {error}"))
        page.goto(path)
        return page

    yield open_
    for context in contexts:
        context.close()
    # What a page had just asked for is still being answered, and would be in the way of emptying the tables.
    until(lambda: not [one for one in threading.enumerate() if one not in before and ANSWERING in one.name])
    assert [text for text in complaints if not any(part in text for part in expected_complaints)] == []
