"""The real job path against `psql \\copy` of the same good rows into a copy of the same indexed table."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from django.core.files.base import File

from accounts.actors import system_actor
from accounts.models import Account
from batchjobs.files import remove_bytes
from batchjobs.models import BatchJob
from batchjobs.services import batchjob_create
from benchmarks import peers
from benchmarks.data import EventFile, write_events, write_events_ndjson_gz, write_good_events
from benchmarks.runs import Run, empty_audience, interleaved, result, work_long
from benchmarks.tables import COLUMNS, fresh_copy, psql

REFERENCE = "reference"


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
    return result(rates, peaks, rows=file.rows, rows_of=lambda name: peers.rows_of(name, file.good))


def _our_run(account: Account, file: EventFile) -> tuple[float, float]:
    empty_audience()
    with file.dirty.open("rb") as content:
        job = batchjob_create(
            by=system_actor(account), content=File(content), file_name=file.dirty.name, event_name="x"
        )
    BatchJob.objects.filter(pk=job.pk).update(queue="long")
    peak = work_long()
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
