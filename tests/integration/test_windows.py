"""Windows over changes: what commits late is in a later window, and nothing is in two.

Transactions of other databases of the server hold a window back too, so the tests wait until theirs are behind it.
"""

from __future__ import annotations

import pytest
from django.db import connection

from audience.models import Interaction, Profile, Suppression
from audience.services import database_default
from audience.windows import summarize, window_since
from batchjobs.sessions import open_session
from tests.chaos import until
from tests.factories import make_account

pytestmark = pytest.mark.django_db(transaction=True)
INSERT = "INSERT INTO audience_profile (database_id, email) VALUES (%s, %s)"


def emails(window):
    return sorted(window.rows(Profile.objects.all()).values_list("email", flat=True))


def window_past_everything(lo):
    """A window from `lo` that ends behind all that is committed by now."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id()::text::bigint")
        (now,) = cursor.fetchone()
    return until(lambda: window if (window := window_since(lo)).hi > now else None)


def test_a_late_commit_is_in_the_next_window():
    database = database_default(account=make_account()).pk
    start = window_past_everything(0).hi
    with open_session("slow") as slow, open_session("quick") as quick:
        with slow.transaction():
            slow.execute(INSERT, [database, "slow@example.com"])  # begins first, commits last
            quick.execute(INSERT, [database, "quick@example.com"])
            first = window_since(start)
            assert emails(first) == []  # quick is committed, but later than one that still runs
        second = window_past_everything(first.hi)
    assert emails(second) == ["quick@example.com", "slow@example.com"]
    assert emails(window_past_everything(second.hi)) == []


def test_only_real_changes_come_again():
    database = database_default(account=make_account()).pk
    with connection.cursor() as cursor:
        cursor.execute(INSERT, [database, "a@example.com"])
        cursor.execute(INSERT, [database, "b@example.com"])
    since = window_past_everything(0).hi
    Profile.objects.filter(email="a@example.com").update(attributes={"first_name": "Ana"})
    assert emails(window_past_everything(since)) == ["a@example.com"]


MANY = (
    "INSERT INTO audience_profile (database_id, email) SELECT %s, n || '@example.com' FROM generate_series(1, 1000) n"
)


def left_to_summarize():
    with connection.cursor() as cursor:
        cursor.execute("SELECT brin_summarize_new_values('profile_change')")
        return cursor.fetchone()[0]


def test_the_end_of_the_table_is_summarized():
    database = database_default(account=make_account()).pk
    with connection.cursor() as cursor:
        cursor.execute(MANY, [database])
    summarize(Profile)
    assert left_to_summarize() == 0
    with connection.cursor() as cursor:
        cursor.execute(MANY.replace("n ||", "'x' || n ||"), [database])
    assert left_to_summarize() > 0  # or this would say nothing


def test_nobody_waits_for_a_vacuum_that_summarizes():
    database = database_default(account=make_account()).pk
    with connection.cursor() as cursor:
        cursor.execute(MANY, [database])
    with open_session("vacuum") as vacuum, vacuum.transaction():
        vacuum.execute("LOCK TABLE audience_profile IN SHARE UPDATE EXCLUSIVE MODE")  # as a vacuum does
        summarize(Profile)
    assert left_to_summarize() > 0


@pytest.mark.parametrize("model", [Interaction, Suppression])
def test_any_model_can_be_summarized(model):
    summarize(model)
