"""What pages need in tests: passwords that hash quickly, and throttles of their own."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.test import Client

from accounts.actors import Actor


@pytest.fixture(autouse=True)
def quick_pages(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    # Redis is shared by all that runs at once: throttles of one test must not stop another.
    settings.CACHES = {"default": {**settings.CACHES["default"], "KEY_PREFIX": uuid4().hex}}


@pytest.fixture
def marta(marketer: Actor) -> Client:
    """The browser of the marketer."""
    client = Client()
    client.force_login(marketer.user)  # type: ignore[arg-type]
    return client
