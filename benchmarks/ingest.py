"""The real job path against `psql \\copy` of the same good rows into a copy of the same indexed table."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from django.core.files.base import File
from django.db import connection

from accounts.actors import system_actor
from accounts.models import Account
from batchjobs.files import remove_bytes
from batchjobs.models import BatchJob
from batchjobs.services import batchjob_create
from benchmarks import peers
from benchmarks.data import EventFile, write_events, write_events_ndjson_gz, write_good_events
from benchmarks.memory import peak_rss_mb
from benchmarks.tables import COLUMNS, fresh_copy, psql

ROOT = Path(__file__).parent.parent
REFERENCE = "reference"

Run = Callable[[], tuple[float, float]]  # returns rows a second and the peak memory in MB


def ingest_csv_1m(folder: Path, *, rows: int, rounds: int, with_peers: bool) -> dict[str, Any]:
    file = write_events(folder, rows)
    return _ingest(file, rounds, _peer_runs(folder, file) if with_peers else {})


def ingest_ndjson_gz_1m(folder: Path, *, rows: int, rounds: int, with_peers: bool) -> dict[str, Any]:
    return _ingest(write_events_ndjson_gz(folder, rows), rounds, {})


def _ingest(file: EventFile, rounds: int, others: Mapping[str, Run]) -> dict[str, Any]:
    """Rows a second from the claim of the job to its end; the worker is a process of its own."""
    account, _ = Account.objects.get_or_create(slug="bench", defaults={"name": "Bench"})
    runs: dict[str, Run] = {
        "ours": partial(_our_run, account, file),
        "reference": partial(_reference_run, file),
        **others,
    }
    rates, peaks = interleaved(runs, rounds)
    return {
        "ratio": round(rates["ours"] / rates["reference"], 3),
        "ours": round(rates["ours"]),
        "reference": round(rates["reference"]),
        "unit": "rows/s",
        "rows": file.rows,
        "peak_rss_mb": round(peaks["ours"]),
        "peers": {name: round(rates[name] / rates["reference"], 3) for name in others},
        "peer_runs": {
            name: {
                "rate": round(rates[name]),
                "rows": peers.rows_of(name, file.good),
                "peak_rss_mb": round(peaks[name]),
            }
            for name in others
        },
    }


def interleaved(
    runs: Mapping[str, Run], rounds: int, *, unit: str = "rows/s"
) -> tuple[dict[str, float], dict[str, float]]:
    """The median of each one's rates, and the highest of its memory peaks."""
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for number in range(rounds):
        for name, run in runs.items():
            measured[name].append(run())
            print(f"round {number + 1}: {name} {measured[name][-1][0]:,.0f} {unit}", file=sys.stderr)
    return (
        {name: statistics.median(rate for rate, _ in all_) for name, all_ in measured.items()},
        {name: max(peak for _, peak in all_) for name, all_ in measured.items()},
    )


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
        peak = max(peak, peak_rss_mb(process.pid))
        time.sleep(0.05)
    job.refresh_from_db()
    assert (job.status, job.valid_rows, job.invalid_rows) == (
        "done",
        file.good,
        len(file.bad_lines),
    ), job.failure_code
    assert job.completed_at
    assert job.started_at
    assert job.file
    remove_bytes(job.file)  # or each round would leave a copy of the file on disk
    return file.rows / (job.completed_at - job.started_at).total_seconds(), peak


def _reference_run(file: EventFile) -> tuple[float, float]:
    fresh_copy(REFERENCE)
    begun = time.monotonic()
    psql(f"\\copy {REFERENCE} ({COLUMNS}) FROM '{file.clean}'")
    return file.good / (time.monotonic() - begun), 0.0


def _peer_runs(folder: Path, file: EventFile) -> dict[str, Run]:
    """Each peer with its number of rows; to be run after the reference, whose rows theirs must equal."""
    runs: dict[str, Run] = {}
    for name in peers.available():
        rows = peers.rows_of(name, file.good)
        files = peers.Files(csv=folder / f"good-{rows}.csv", copy=folder / f"good-{rows}.copy")
        if not files.csv.exists():
            write_good_events(files.csv, rows, of=file.rows)
            with file.clean.open() as clean, files.copy.open("w") as copy:
                copy.writelines(islice(clean, rows))
        runs[name] = partial(peers.peer_run, name, files, rows, same_as=REFERENCE)
    return runs
