"""/healthz, /readyz and /metrics."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from batchjobs.models import Beat, JobCrash
from batchjobs.states import Status
from config import health
from tests.factories import make_account
from tests.rows import make_job

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def forget_storage():
    health._storage_seen["at"] = 0.0


def seen(*, seconds_ago: float = 0) -> None:
    for name in ("beat", "worker:short", "worker:long"):
        Beat.objects.create(name=name, seen_at=timezone.now() - dt.timedelta(seconds=seconds_ago))


def test_alive_without_a_database(django_assert_num_queries):
    with django_assert_num_queries(0):
        assert Client().get("/healthz").content == b"ok"
    assert Client().post("/healthz").status_code == 405


def test_ready_when_everything_is_there():
    seen()
    answer = Client().get("/readyz")
    assert answer.status_code == 200
    assert set(answer.json()["checks"].values()) == {"ok"}
    assert set(answer.json()["checks"]) == {"database", "redis", "storage", "beat", "worker"}


def test_not_ready_without_beat_or_worker():
    seen(seconds_ago=61)
    answer = Client().get("/readyz")
    assert answer.status_code == 503
    checks = answer.json()["checks"]
    assert checks["beat"] != "ok"
    assert "worker:long" in checks["worker"]
    assert checks["database"] == "ok"


def test_not_ready_without_redis_or_storage(settings: Any, tmp_path: Any):
    seen()
    closed = tmp_path / "file"
    closed.write_text("not a folder")
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": "unix:///nowhere/redis.sock",
        }
    }
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {"BACKEND": "console.storage.DurableFileSystemStorage", "OPTIONS": {"location": closed}},
    }
    answer = Client().get("/readyz")
    assert answer.status_code == 503
    checks = answer.json()["checks"]
    assert (checks["redis"], checks["storage"], checks["database"]) == (
        "not reachable",
        "not reachable",
        "ok",
    )


def test_storage_is_asked_every_ten_seconds(monkeypatch: pytest.MonkeyPatch):
    health._storage()
    monkeypatch.setattr("config.health.default_storage", None)
    health._storage()
    health._storage_seen["at"] -= 11
    with pytest.raises(AttributeError):
        health._storage()


def test_metrics_tell_of_jobs():
    account = make_account()
    for status in (Status.PENDING, Status.DONE):
        make_job(account, status)
    abandoned = make_job(account, Status.IN_PROGRESS, lease_until=timezone.now() - dt.timedelta(minutes=1))
    make_job(account, Status.IN_PROGRESS, lease_until=timezone.now() + dt.timedelta(minutes=1))
    JobCrash.objects.create(job=abandoned, lease_token=1, at_chunk=0, reason="lease_expired")
    seen(seconds_ago=5)
    answer = Client().get("/metrics")
    lines = answer.content.decode().splitlines()
    for line in (
        'batchdesk_jobs{status="pending"} 1.0',
        'batchdesk_jobs{status="in_progress"} 2.0',
        'batchdesk_jobs{status="failed"} 0.0',
        'batchdesk_queue_depth{queue="long"} 1.0',
        'batchdesk_jobs_leased{queue="long"} 1.0',
        'batchdesk_jobs_abandoned{queue="long"} 1.0',
        'batchdesk_crashes{reason="lease_expired"} 1.0',
        'batchdesk_rows{outcome="valid"} 3.0',
        "batchdesk_chunks 0.0",
    ):
        assert line in lines
    assert any(line.startswith("process_resident_memory_bytes") for line in lines)


def test_metrics_are_not_for_everyone(settings: Any):
    assert Client().get("/metrics", REMOTE_ADDR="192.0.2.7").status_code == 403
    assert Client().get("/metrics", headers={"X-Forwarded-For": "192.0.2.7"}).status_code == 403
    assert Client().get("/metrics", REMOTE_ADDR="::1").status_code == 200
    settings.METRICS_TOKEN = "a-token"
    assert Client().get("/metrics").status_code == 403
    assert Client().get("/metrics", headers={"Authorization": "Bearer b-t\xf6ken"}).status_code == 403
    with_token = Client().get("/metrics", REMOTE_ADDR="192.0.2.7", headers={"Authorization": "Bearer a-token"})
    assert with_token.status_code == 200
