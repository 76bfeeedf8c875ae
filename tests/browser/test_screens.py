"""Each page wide and narrow, in light and dark: a picture, the accessibility rules, no complaint in the console.

`SCREENSHOTS=folder` keeps the pictures there.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from accounts.actors import Actor
from accounts.models import Account
from accounts.permissions import Role
from batchjobs.models import BatchJob
from batchjobs.states import Status
from tests.browser.conftest import OpenPage, in_both_themes, keep_picture
from tests.factories import make_user
from tests.operations import make_job, make_upload

WIDE_AND_NARROW = pytest.mark.parametrize("screen", ["1440", "390"])
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
STATES = ["pending", "running", "done", "clean", "checked", "failed", "unclear", "duplicate", "canceled", "expired"]
FILES = {
    "match": (
        "autumn-sale.csv",
        b"order_ref,contact_mail,sold_at,amount,partner_event_id,coupon code\n"
        b"A-88121,rosa.silva@example.com,2026-11-14 09:12,39.90,A-88121,AUTUMN-10\n"
        b"A-88122,m.keller@example.com,2026-11-14 09:15,12.50,A-88122,\n",
    ),
    "question": (
        "sign-ups.csv",
        b"email,event_name,event_time,city\nrosa.silva@example.com,signup,03/04/2026,Porto\n"
        b"m.keller@example.com,signup,05/04/2026,Bonn\n",
    ),
    "lists": (
        "shop.json",
        b'{"orders":[{"id":1,"email":"rosa.silva@example.com"}],"people":[{"email":"m.keller@example.com"}]}',
    ),
}
PAGES = [
    "sign-in", "batch-jobs-list", "batch-jobs-empty", "batch-jobs-no-results", "batch-job-new", "not-found",
    "batch-job-match", "batch-job-question", "batch-job-lists", "columns-reference",
    *(f"batch-job-{state}" for state in STATES),
]  # fmt: skip


@pytest.fixture
def jobs(account: Account, person: Any) -> dict[str, BatchJob]:
    tom = make_user(account, name="Tom Aldridge")
    minutes = lambda n: dt.timedelta(minutes=n)  # noqa: E731
    clean = make_job(
        account, name="Newsletter opens, October", by=tom, valid=402_118, chunks=7, seconds=61,
        age=dt.timedelta(days=1, hours=3), file_name="campaign_recipient_activity.tsv", size=58_200_000,
        tags=["newsletter"],
    )  # fmt: skip
    return {
        "expired": make_job(
            account, Status.EXPIRED, name="Spring campaign purchases", by=person, valid=20_114, invalid=41,
            age=dt.timedelta(days=95), file_name="spring-2026-orders.csv", size=6_600_000,
        ),
        "clean": clean,
        "canceled": make_job(
            account, Status.CANCELED, name="Event sign-ups, wrong list", by=tom, valid=640, age=dt.timedelta(days=1),
            file_name="signup-rest.csv", size=118_000, share_read=0.38, canceled_by="Tom Aldridge", seconds=3,
        ),
        "done": make_job(
            account, name="Loyalty members, November", by=person, valid=17_892, invalid=312, skipped=40, chunks=3,
            age=minutes(190), seconds=41, tags=["loyalty", "monthly"], event_names=["purchase", "signup"],
        ),
        "checked": make_job(
            account, name="Autumn sale conversions, checked first", by=tom, valid=12_400, invalid=80, dry_run=True,
            age=minutes(150), seconds=3, file_name="autumn-sale-conversions.csv", size=1_900_000,
        ),
        "failed": make_job(
            account, Status.FAILED, name="Autumn sale conversions", by=tom, valid=0, chunks=0, age=minutes(90),
            seconds=1,
            file_name="autumn-sale-conversions.csv", size=1_900_000,
            failure_params={"column": "email", "hint": "Each row must say whose event it is.",
                            "found": "order_ref, contact_mail, sold_at, amount",
                "preview": {
                    "header": ["order_ref", "contact_mail", "sold_at", "amount"],
                    "rows": [
                        {"line": 2, "cells": ["A-88121", "rosa.silva@example.com", "2026-11-14 09:12", "39.90"]},
                        {"line": 3, "cells": ["A-88122", "m.keller@example.com", "2026-11-14 09:15", "12.50"]},
                        {"line": 4, "cells": ["A-88123", "noor.haddad@example.com", "2026-11-14 09:31", "71.00"]},
                    ],
                },
            },
        ),
        "unclear": make_job(
            account, Status.FAILED, name="Sign-ups of spring", by=tom, valid=0, chunks=0, age=minutes(75), seconds=1,
            file_name="sign-ups.csv", size=84_000, failure_code="DATE_ORDER_UNKNOWN",
            failure_params={"example": "03/04/2026", "line": "2"},
        ),
        "duplicate": make_job(
            account, Status.FAILED, name="Newsletter opens, second try", by=person, valid=0, chunks=0, age=minutes(60),
            seconds=1, failure_code="DUPLICATE_FILE", duplicate_of=clean,
            file_name="campaign_recipient_activity.tsv", size=58_200_000,
        ),
        "running": make_job(
            account, Status.IN_PROGRESS, name="CDNOW purchases, 1997 to mid 1998", by=person, valid=43_561, invalid=341,
            chunks=14, age=minutes(2), seconds=109, file_name="CDNOW_master.csv", size=2_400_000, event_name="purchase",
            tags=["cdnow", "history"],
        ),
        "pending": make_job(
            account, Status.PENDING, name="Bounce clean-up, week 47", by=tom, age=minutes(1),
            file_name="bounces-w47.csv", size=84_000,
        ),
    }  # fmt: skip


def path_of(name: str, jobs: dict[str, BatchJob], by: Actor) -> str:
    if (about := name.removeprefix("batch-job-")) in FILES:
        return f"/batch-jobs/new/?upload={make_upload(by, *FILES[about]).upload_id}"
    fixed = {
        "sign-in": "/accounts/login/",
        "batch-jobs-list": "/batch-jobs/",
        "batch-jobs-empty": "/batch-jobs/",
        "batch-jobs-no-results": "/batch-jobs/?q=easter&status=failed",
        "batch-job-new": "/batch-jobs/new/",
        "columns-reference": "/batch-jobs/columns/event/",
        "not-found": "/batch-jobs/999999/",
    }
    return fixed.get(name) or f"/batch-jobs/{jobs[name.removeprefix('batch-job-')].pk}/"


@WIDE_AND_NARROW
@pytest.mark.parametrize("name", PAGES)
def test_screen(
    name: str,
    screen: str,
    open_page: OpenPage,
    account: Account,
    person: Any,
    request: pytest.FixtureRequest,
) -> None:
    jobs = {} if name in ("batch-jobs-empty", "sign-in") else request.getfixturevalue("jobs")
    by = Actor(account=account, role=Role.MANAGER, user=person)
    page = open_page(path_of(name, jobs, by), screen=screen, stranger=name == "sign-in")
    assert ("not here" in page.content()) == (name == "not-found")
    keep_picture(page, f"{name}-{screen}")
    if name == "batch-job-new":
        page.locator("#job-reading summary").click()
    assert_accessible(page, in_dark=True)
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, "The page scrolls sideways."


def assert_accessible(page: Page, *, in_dark: bool = False) -> None:
    """By all rules of axe; if asked, in the dark theme too."""
    for theme in in_both_themes(page) if in_dark else ("light",):
        found = Axe().run(page, options={"runOnly": RULES}).response["violations"]
        told = [f"{v['id']}: {v['help']}: {[n['html'][:200] for n in v['nodes'][:4]]}" for v in found]
        assert not found, "\n".join([theme, *told])
