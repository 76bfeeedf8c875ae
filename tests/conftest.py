"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connection
from django.test import TransactionTestCase

from accounts.actors import Actor
from accounts.permissions import Role
from tests.factories import make_actor

# Django's own way truncates every table and makes all permissions anew, a quarter of a second a test. Here only rows
# that there are go, without triggers; a table that has grown is truncated.
EMPTY = """
    DO $$
    DECLARE one regclass;
    BEGIN
        SET LOCAL session_replication_role = replica;
        FOR one IN
            SELECT oid FROM pg_class
            WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND pg_relation_size(oid) > 0
              AND relname NOT IN ('django_migrations', 'django_content_type', 'auth_permission')
        LOOP
            IF pg_relation_size(one) > 500000 THEN
                EXECUTE format('TRUNCATE %s CASCADE', one);
            ELSE
                EXECUTE format('DELETE FROM %s', one);
            END IF;
        END LOOP;
    END $$
"""


def _emptied(_case: TransactionTestCase) -> None:
    with connection.cursor() as cursor:
        cursor.execute(EMPTY)


def pytest_sessionstart() -> None:
    TransactionTestCase._fixture_teardown = _emptied  # type: ignore[method-assign]
    Path(django_settings.STATIC_ROOT).mkdir(parents=True, exist_ok=True)  # WhiteNoise warns where there is none
    # A thread of the live server lives as long as its client's connection. It may not sit in the database until then:
    # that is removed at the end, and could not be.
    django_settings.DATABASES["default"]["CONN_MAX_AGE"] = 0


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files by others are read where they lie (BATCHDESK_CORPORA); without them their tests are none of this run."""
    if os.environ.get("BATCHDESK_CORPORA"):
        return
    without = [item for item in items if item.get_closest_marker("corpora")]
    if without:
        config.hook.pytest_deselected(items=without)
        items[:] = [item for item in items if item not in without]


@pytest.fixture(autouse=True)
def plain_static_files(settings: Any) -> None:
    """Static files under their own names: there is no manifest without collectstatic."""
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": plain}


@pytest.fixture
def marketer(db: None) -> Actor:
    """A marketer of an account of their own."""
    return make_actor(role=Role.MARKETER)
