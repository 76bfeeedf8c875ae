"""The real job path against `psql \\copy` of the same good rows into a copy of the same indexed table."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from django.core.files.base import File
from django.db import connection

from accounts.actors import system_actor
from accounts.models import Account
from batchjobs.models import BatchJob
from batchjobs.services import batchjob_create
from benchmarks.data import EventFile, write_events
from config import embedded

ROOT = Path(__file__).parent.parent
COLUMNS = "database_id, profile_id, kind, occurred_at, external_id, properties, created_by_job, row_no"


def ingest_csv_1m(folder: Path, *, rows: int, rounds: int) -> dict[str, Any]:
    """Rows a second from the claim of the job to its end; the worker is a process of its own."""
    file = write_events(folder, rows)
    account = Account.objects.create(name="Bench", slug="bench")
    ours, reference, peak = [], [], 0.0
    for number in range(rounds):
        seconds, rss = _our_run(account, file)
        ours.append(rows / seconds)
        peak = max(peak, rss)
        reference.append((rows - len(file.bad_lines)) / _reference_run(file, folder))
        print(f"round {number + 1}: {ours[-1]:,.0f} rows/s, reference {reference[-1]:,.0f} rows/s", file=sys.stderr)
    return {
        "ratio": round(statistics.median(ours) / statistics.median(reference), 3),
        "ours": round(statistics.median(ours)),
        "reference": round(statistics.median(reference)),
        "unit": "rows/s",
        "peak_rss_mb": round(peak),
        "peers": {},
    }


def _our_run(account: Account, file: EventFile) -> tuple[float, float]:
    with connection.cursor() as cursor:
        cursor.execute(
            "TRUNCATE audience_interaction, audience_profile, audience_profilebeforeimage, batchjobs_batchjob CASCADE"
        )
        cursor.execute("CHECKPOINT")
    with file.dirty.open("rb") as content:
        job = batchjob_create(
            by=system_actor(account), content=File(content), file_name=file.dirty.name, event_name="x"
        )
    BatchJob.objects.filter(pk=job.pk).update(queue="long")
    process = subprocess.Popen([sys.executable, "manage.py", "work", "long"], cwd=ROOT)
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, _peak_rss_mb(process.pid))
        time.sleep(0.05)
    job.refresh_from_db()
    assert (job.status, job.valid_rows, job.invalid_rows) == (
        "done",
        file.rows - len(file.bad_lines),
        len(file.bad_lines),
    ), job.failure_code
    assert job.completed_at
    assert job.started_at
    return (job.completed_at - job.started_at).total_seconds(), peak


def _reference_run(file: EventFile, folder: Path) -> float:
    psql = [str(embedded.postgres_binary("psql")), "-qX", "-h", str(embedded.socket_dir(folder)), "-U", "postgres"]
    subprocess.run(
        [
            *psql,
            *("-c", "DROP TABLE IF EXISTS reference"),
            *("-c", "CREATE TABLE reference (LIKE audience_interaction INCLUDING ALL)"),
            *("-c", "CHECKPOINT"),
        ],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    begun = time.monotonic()
    subprocess.run([*psql, "-c", f"\\copy reference ({COLUMNS}) FROM '{file.clean}'"], check=True)
    return time.monotonic() - begun


def _peak_rss_mb(pid: int) -> float:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0.0
