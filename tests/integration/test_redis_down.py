"""Without Redis: nobody waits, nobody is turned away, and what is throttled stays so."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from accounts.permissions import Role
from batchjobs import doorbell
from config.cache import SteadyRedisCache
from tests.factories import PASSWORD, make_account, make_user
from tests.rows import CONTENT, make_token

pytestmark = pytest.mark.django_db


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that lets nobody in and does not say so, as behind a firewall: its queue is full."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield server.getsockname()[1]
        for client in waiting:
            client.close()


@pytest.fixture(params=["refusing", "silent"])
def lost(request: pytest.FixtureRequest, settings: Any, monkeypatch: pytest.MonkeyPatch, silent: int) -> None:
    from config.celery import app

    url = f"redis://127.0.0.1:{silent if request.param == 'silent' else 1}/0"
    settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": url}}
    monkeypatch.setattr(SteadyRedisCache, "down_until", {})
    connection = app.connection_for_write(url)
    monkeypatch.setattr(doorbell.current_app, "send_task", partial(app.send_task, connection=connection))


@pytest.mark.usefixtures("lost")
def test_job_is_taken_at_once(django_capture_on_commit_callbacks: Any) -> None:
    key = make_token(make_account(), Role.MARKETER)
    began = time.monotonic()
    with django_capture_on_commit_callbacks(execute=True) as rings:
        answer = Client().post(
            "/api/v1/batch-jobs",
            {"file": SimpleUploadedFile("events.csv", CONTENT), "type": "event"},
            headers={"Authorization": f"Bearer {key}"},
        )
    assert answer.status_code == 201
    assert rings
    assert time.monotonic() - began < 4


@pytest.mark.usefixtures("lost")
def test_signing_in_goes_on_and_is_throttled() -> None:
    user, url = make_user(make_account()), reverse("account_login")
    began = time.monotonic()
    assert Client().post(url, {"login": user.email, "password": PASSWORD}).status_code == 302
    for _ in range(5):
        assert Client().post(url, {"login": user.email, "password": "wrong"}).status_code == 200
    assert b"Too many" in Client().post(url, {"login": user.email, "password": PASSWORD}).content
    assert time.monotonic() - began < 5


@pytest.mark.usefixtures("lost")
def test_readiness_tells_of_it() -> None:
    answer = Client().get("/readyz")
    assert (answer.status_code, answer.json()["checks"]["redis"]) == (503, "not reachable")


@pytest.mark.usefixtures("lost")
def test_cache_is_kept_in_memory() -> None:
    cache.set("a", 1)
    assert cache.add("a", 2) is False
    assert (cache.incr("a"), cache.get("a"), cache.get_many(["a", "b"])) == (2, 2, {"a": 2})
    assert cache.delete("a") is True
    assert "a" not in cache


def test_redis_that_is_back_is_used_again(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    location = settings.CACHES["default"]["LOCATION"]
    monkeypatch.setattr(SteadyRedisCache, "down_until", {location: time.monotonic() + 60})
    cache.set("where", "memory")
    SteadyRedisCache.down_until[location] = time.monotonic()
    assert cache.get("where") is None
