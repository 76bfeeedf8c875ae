"""What load balancers and monitoring ask. No session is looked at, and nothing here tells a secret."""

from __future__ import annotations

import datetime as dt
import secrets
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import structlog
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection
from django.db.models import Count, Min, Sum
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, ProcessCollector, generate_latest

from batchjobs.models import BatchJob, Beat, Chunk, JobCrash, Queue
from batchjobs.states import ACTIVE, Status
from config.startup import redis_is_up

log = structlog.get_logger(__name__)

SEEN_SECONDS = 60
STORAGE_KEPT_SECONDS = 10


class NotReadyError(Exception):
    """A check found what is wrong, in words that anyone may read."""


def healthz(request: HttpRequest) -> HttpResponse:
    """The process answers."""
    return HttpResponse("ok", content_type="text/plain")


def readyz(request: HttpRequest) -> HttpResponse:
    """Everything a request or a job needs is there: 200, else 503, and which part is missing."""
    checks = {name: _outcome(name, check) for name, check in CHECKS.items()}
    ready = all(found == "ok" for found in checks.values())
    response = JsonResponse({"ready": ready, "checks": checks}, status=200 if ready else 503)
    add_never_cache_headers(response)
    return response


def _outcome(name: str, check: Callable[[], None]) -> str:
    try:
        check()
    except NotReadyError as error:
        return str(error)
    except Exception as error:  # whatever a store's client raises: the log has it, the answer does not
        log.warning("not_ready", check=name, error=repr(error))
        return "not reachable"
    return "ok"


def _database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def _redis() -> None:
    if not redis_is_up():  # the cache itself hides that (config/cache.py)
        raise NotReadyError("not reachable")


_storage_seen = {"at": 0.0}


def _storage() -> None:
    # Writing costs money and time on object storage, so a good answer holds for a while.
    if _storage_seen["at"] and time.monotonic() - _storage_seen["at"] < STORAGE_KEPT_SECONDS:
        return
    content = uuid4().hex.encode()
    name = default_storage.save(f"readyz/{uuid4().hex}", ContentFile(content))
    try:
        with default_storage.open(name) as file:
            if file.read() != content:
                raise NotReadyError("what was written is not what is read")
    finally:
        default_storage.delete(name)
    _storage_seen["at"] = time.monotonic()


def _seen(*names: str) -> None:
    since = timezone.now() - dt.timedelta(seconds=SEEN_SECONDS)
    seen = set(Beat.objects.filter(name__in=names, seen_at__gte=since).values_list("name", flat=True))
    if missing := [name for name in names if name not in seen]:
        raise NotReadyError(f"not seen for {SEEN_SECONDS} seconds: {', '.join(missing)}")


CHECKS: dict[str, Callable[[], None]] = {
    "database": _database,
    "redis": _redis,
    "storage": _storage,
    "beat": lambda: _seen("beat"),
    "worker": lambda: _seen(*(f"worker:{queue}" for queue in Queue.values)),
}


def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus metrics, computed from the database: any web process gives the same figures."""
    if not _may_measure(request):
        return HttpResponse("Forbidden", status=403, content_type="text/plain")
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    _measure_jobs(registry)
    _measure_work(registry)
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _may_measure(request: HttpRequest) -> bool:
    if settings.METRICS_TOKEN:
        given = request.headers.get("Authorization", "")
        return secrets.compare_digest(given.encode(), f"Bearer {settings.METRICS_TOKEN}".encode())
    # A proxy on this machine makes everyone look local; it says for whom it asks.
    proxied = "X-Forwarded-For" in request.headers or "Forwarded" in request.headers
    return request.META.get("REMOTE_ADDR") in ("127.0.0.1", "::1") and not proxied


def _gauge(registry: CollectorRegistry, name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
    return Gauge(f"batchdesk_{name}", text, labels, registry=registry)


def _measure_jobs(registry: CollectorRegistry) -> None:
    by_status = _gauge(registry, "jobs", "Batch jobs by status", ("status",))
    counts: dict[str, int] = dict.fromkeys(Status.values, 0)
    counts |= dict(BatchJob.objects.order_by().values_list("status").annotate(n=Count("pk")))
    for status, number in counts.items():
        by_status.labels(status).set(number)

    depth = _gauge(registry, "queue_depth", "Pending batch jobs by queue", ("queue",))
    age = _gauge(registry, "queue_oldest_seconds", "How long the oldest pending job has waited", ("queue",))
    running = _gauge(registry, "jobs_leased", "Batch jobs with a lease that holds", ("queue",))
    abandoned = _gauge(registry, "jobs_abandoned", "Running batch jobs whose lease ran out", ("queue",))
    now = timezone.now()
    found: dict[str, Any] = {
        row["queue"]: row
        for row in BatchJob.objects.filter(status=Status.PENDING)
        .order_by()
        .values("queue")
        .annotate(n=Count("pk"), oldest=Min("created_at"))
    }
    leases = BatchJob.objects.filter(status=Status.IN_PROGRESS, status__in=ACTIVE).order_by()
    held = dict(leases.filter(lease_until__gt=now).values_list("queue").annotate(n=Count("pk")))
    everything = dict(leases.values_list("queue").annotate(n=Count("pk")))
    for queue in Queue.values:
        waiting = found.get(queue)
        depth.labels(queue).set(waiting["n"] if waiting else 0)
        age.labels(queue).set(max(0.0, (now - waiting["oldest"]).total_seconds()) if waiting else 0)
        running.labels(queue).set(held.get(queue, 0))
        abandoned.labels(queue).set(everything.get(queue, 0) - held.get(queue, 0))


def _measure_work(registry: CollectorRegistry) -> None:
    crashes = _gauge(registry, "crashes", "Runs that ended without saying so, by reason", ("reason",))
    for reason, number in JobCrash.objects.order_by().values_list("reason").annotate(n=Count("pk")):
        crashes.labels(reason).set(number)
    _gauge(registry, "chunks", "Committed chunks in the ledger").set(Chunk.objects.count())
    rows = _gauge(registry, "rows", "Rows of jobs that have ended, by outcome", ("outcome",))
    sums = BatchJob.objects.aggregate(valid=Sum("valid_rows"), skipped=Sum("skipped_rows"), invalid=Sum("invalid_rows"))
    for outcome, number in sums.items():
        rows.labels(outcome).set(number or 0)
    seen = _gauge(registry, "process_seen_seconds", "Seconds since a kind of process was last seen", ("name",))
    now = timezone.now()
    for beat in Beat.objects.all():
        seen.labels(beat.name).set(max(0.0, (now - beat.seen_at).total_seconds()))
