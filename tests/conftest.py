"""Fixtures for all tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings

from accounts.actors import Actor
from accounts.permissions import Role
from tests.factories import make_actor


def pytest_sessionstart() -> None:
    Path(django_settings.STATIC_ROOT).mkdir(parents=True, exist_ok=True)  # WhiteNoise warns where there is none


@pytest.fixture(autouse=True)
def plain_static_files(settings: Any) -> None:
    """Static files under their own names: there is no manifest without collectstatic."""
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": plain}


@pytest.fixture
def marketer(db: None) -> Actor:
    """A marketer of an account of their own."""
    return make_actor(role=Role.MARKETER)
