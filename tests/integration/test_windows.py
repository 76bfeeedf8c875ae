"""Windows over changes: what commits late is in a later window, and nothing is in two."""

from __future__ import annotations

import pytest
from django.db import connection

from audience.models import Profile
from audience.services import database_default
from audience.windows import window_since
from batchjobs.sessions import open_session
from tests.factories import make_account

pytestmark = pytest.mark.django_db(transaction=True)
INSERT = "INSERT INTO audience_profile (database_id, email) VALUES (%s, %s)"


def emails(window):
    return sorted(window.rows(Profile.objects.all()).values_list("email", flat=True))


def test_a_late_commit_is_in_the_next_window():
    database = database_default(account=make_account()).pk
    start = window_since(0).hi
    slow, quick = open_session("slow"), open_session("quick")
    with slow.transaction():
        slow.execute(INSERT, [database, "slow@example.com"])  # begins first, commits last
        quick.execute(INSERT, [database, "quick@example.com"])
        first = window_since(start)
        assert emails(first) == []  # quick is committed, but later than one that still runs
    second = window_since(first.hi)
    assert emails(second) == ["quick@example.com", "slow@example.com"]
    assert emails(window_since(second.hi)) == []
    slow.close()
    quick.close()


def test_only_real_changes_come_again():
    database = database_default(account=make_account()).pk
    with connection.cursor() as cursor:
        cursor.execute(INSERT, [database, "a@example.com"])
        cursor.execute(INSERT, [database, "b@example.com"])
    since = window_since(0).hi
    Profile.objects.filter(email="a@example.com").update(attributes={"first_name": "Ana"})
    assert emails(window_since(since)) == ["a@example.com"]
