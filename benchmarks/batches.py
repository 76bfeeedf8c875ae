"""Batch uploads: how fast a body is received, and how fast a batch of guests is processed."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from django.core.files.base import ContentFile

from accounts.actors import system_actor
from accounts.models import Account
from batchjobs.files import remove_bytes
from batchjobs.models import Queue
from benchmarks.memory import peak_rss_mb
from benchmarks.runs import ROOT, Run, empty_audience, interleaved, result, work_long
from benchmarks.tables import psql
from uploads.models import BatchUpload
from uploads.services import Declaration, batch_allocate, batch_receive, location_token

BODY_BYTES = 48 * 1024 * 1024
GUESTS_MAX = 200_000
REFERENCE = "reference_profile"


def receive_upload(folder: Path, *, rows: int, rounds: int, with_peers: bool) -> dict[str, Any]:
    """MB/s of a body put to its location, against `cat` from a loopback socket to the same disk."""
    body = random.Random(1).randbytes(BODY_BYTES)
    account = _account()
    with _web() as server:
        runs: dict[str, Run] = {
            "ours": partial(_put, account, server, body),
            "reference": partial(_cat, folder / "cat", body, durable=False),
        }
        if with_peers:
            runs["cat, then fsync"] = partial(_cat, folder / "cat", body, durable=True)
        rates, peaks = interleaved(runs, rounds, unit="MB/s")
    return result(rates, peaks, unit="MB/s", rows=1)


def ingest_guests_gz(folder: Path, *, rows: int, rounds: int, with_peers: bool) -> dict[str, Any]:
    """Guests a second from the claim of the job to its end, against `psql \\copy` of the same profiles into a copy of
    the table with its indexes. References and identities are ours alone.
    """
    count = min(rows, GUESTS_MAX)
    file, clean = _write_guests(folder, count)
    rates, peaks = interleaved(
        {"ours": partial(_our_run, _account(), file, count), "reference": partial(_reference_run, clean, count)}, rounds
    )
    return result(rates, peaks, rows=count)


def _account() -> Account:
    account, _made = Account.objects.get_or_create(slug="bench", defaults={"name": "Bench"})
    return account


def _allocated(account: Account, body: bytes) -> BatchUpload:
    declaration = Declaration(hashlib.md5(body, usedforsecurity=False).hexdigest(), len(body))
    return batch_allocate(by=system_actor(account), ref=uuid4(), declaration=declaration)


@contextmanager
def _web() -> Iterator[dict[str, Any]]:
    """A web process as in production, on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "-c", "config/gunicorn.py", "config.wsgi"],
        cwd=ROOT,
        env={**os.environ, "WEB_BIND": f"127.0.0.1:{port}", "WEB_WORKERS": "1"},
    )
    try:
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5):
                    break
            except OSError:
                time.sleep(0.05)
        yield {"url": f"http://127.0.0.1:{port}", "process": process}
    finally:
        process.terminate()
        process.wait(30)


def _put(account: Account, server: dict[str, Any], body: bytes) -> tuple[float, float]:
    upload = _allocated(account, body)
    url = f"{server['url']}/v2/locations/{location_token(upload)}"
    begun = time.monotonic()
    with urllib.request.urlopen(urllib.request.Request(url, body, method="PUT"), timeout=120) as answer:
        assert answer.status == 200
    seconds = time.monotonic() - begun
    children = Path(f"/proc/{server['process'].pid}/task/{server['process'].pid}/children").read_text().split()
    upload.refresh_from_db()
    assert upload.file
    remove_bytes(upload.file)
    return len(body) / 1e6 / seconds, max(peak_rss_mb(int(pid)) for pid in children)


def _cat(target: Path, body: bytes, *, durable: bool) -> tuple[float, float]:
    """`cat` with the socket as its input, as inetd would start it."""
    target.unlink(missing_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as listening, target.open("wb") as out:
        begun = time.monotonic()
        sender = threading.Thread(target=_send, args=(listening.getsockname()[1], body))
        sender.start()
        incoming, _address = listening.accept()
        with incoming:
            subprocess.run(["cat"], stdin=incoming, stdout=out, check=True)
        if durable:
            os.fsync(out.fileno())
        seconds = time.monotonic() - begun
        sender.join()
    assert target.stat().st_size == len(body)
    return len(body) / 1e6 / seconds, 0.0


def _send(port: int, body: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port)) as outgoing:
        outgoing.sendall(body)


def _write_guests(folder: Path, count: int) -> tuple[bytes, Path]:
    """A batch, gzipped, and the same people as rows of the table."""
    clean = folder / "guests.copy"
    lines = []
    with clean.open("w") as out:
        for number in range(count):
            email = f"person-{number:07d}@example.com"
            value = {"guestType": "customer", "email": email, "firstName": f"Name {number % 977}", "city": "Lisboa"}
            ref = str(UUID(int=number, version=4))
            lines.append(json.dumps({"ref": ref, "schema": "guest", "mode": "upsert", "value": value}))
            attributes = {"guest_type": "customer", "first_name": value["firstName"], "city": "Lisboa"}
            out.write(f"1\t{email}\t{json.dumps(attributes)}\n")
    return gzip.compress("\n".join(lines).encode() + b"\n", 6), clean


def _our_run(account: Account, body: bytes, count: int) -> tuple[float, float]:
    empty_audience()
    upload = _allocated(account, body)
    with ContentFile(body) as content:
        batch_receive(upload=upload, body=content, length=len(body))  # type: ignore[arg-type]  # File reads bytes
    upload.refresh_from_db()
    job = upload.job
    assert job
    job.queue = Queue.LONG
    job.save(update_fields=["queue"])
    peak = work_long()
    job.refresh_from_db()
    assert (job.status, job.valid_rows, job.invalid_rows) == ("done", count, 0), job.failure_code
    assert job.completed_at
    assert job.started_at
    return count / (job.completed_at - job.started_at).total_seconds(), peak


def _reference_run(clean: Path, count: int) -> tuple[float, float]:
    psql(
        f"DROP TABLE IF EXISTS {REFERENCE}",
        f"CREATE TABLE {REFERENCE} (LIKE audience_profile INCLUDING ALL)",
        "CHECKPOINT",
    )
    begun = time.monotonic()
    psql(f"\\copy {REFERENCE} (database_id, email, attributes) FROM '{clean}'")
    return count / (time.monotonic() - begun), 0.0
