"""Kills, freezes and the comparison with an undisturbed run: used by the short tests and by `make chaos`."""

from __future__ import annotations

import csv
import gzip
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.core.files.base import File
from django.db import connection

from accounts.actors import Actor
from batchjobs import kernel
from batchjobs.downloads import error_log_response, rejected_rows_response
from batchjobs.models import BatchJob, Chunk
from batchjobs.services import batchjob_create
from benchmarks.data import EventFile

ROOT = Path(__file__).parent.parent
LEASE_SECONDS = 3
CHUNK_ROWS = 4_000


def environment(**more: str) -> dict[str, str]:
    """For a process of the product that works on the test's database and files."""
    target = connection.settings_dict
    host = quote(target["HOST"], safe="")
    return {
        **os.environ,
        "DATABASE_URL": f"postgresql://{target['USER']}@/{target['NAME']}?host={host}",
        "DATA_DIR": str(settings.DATA_DIR),
        "JOB_LEASE_SECONDS": str(LEASE_SECONDS),
        "JOB_CHUNK_ROWS": str(CHUNK_ROWS),
        "LOG_LEVEL": "INFO",
        **more,
    }


@contextmanager
def worker(*options: str, queue: str = "long", **more: str):
    """A worker process, with `more` settings; ended by its id whatever happens."""
    command = [sys.executable, "manage.py", "work", queue, *options]
    with (Path(settings.DATA_DIR) / "worker.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment(**more), stdout=log, stderr=log)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """Waits for something of another process; the value of `condition`, or a failure after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {condition}")


def write_as_json(events: EventFile, path: Path) -> EventFile:
    """The same events as NDJSON or a JSON array, by the path's name; a row with a cell too many is no JSON there."""
    is_array = path.suffix == ".json"
    with (
        gzip.open(path, "wt", 1) if path.suffix == ".gz" else path.open("w") as out,
        events.dirty.open(newline="") as source,
    ):
        header, *rows = csv.reader(source)
        out.write("[\n" if is_array else "")
        for number, row in enumerate(rows):
            text = json.dumps(dict(zip(header, row, strict=False)))
            if len(row) != len(header):
                text = text.replace('", "', '" "', 1)
            out.write((",\n" if number else "") + text if is_array else text + "\n")
        out.write("\n]\n" if is_array else "")
    return replace(events, dirty=path)


def create(by: Actor, path: Path) -> BatchJob:
    with path.open("rb") as content:
        job = batchjob_create(by=by, content=File(content, name=path.name), file_name=path.name)
    BatchJob.objects.filter(pk=job.pk).update(queue="long")
    job.refresh_from_db()
    return job


def chunks_of(job: BatchJob) -> int:
    return Chunk.objects.filter(job=job).count()


def status_of(job: BatchJob) -> str:
    return BatchJob.objects.values_list("status", flat=True).get(pk=job.pk)


def moment(job: BatchJob, rnd: random.Random) -> None:
    """Waits until a worker that has just been started commits, and then some: anywhere within a chunk's work."""
    token = BatchJob.objects.values_list("lease_token", flat=True).get(pk=job.pk)
    until(lambda: Chunk.objects.filter(job=job, lease_token__gt=token).exists() or status_of(job) == "done")
    time.sleep(rnd.random() * 0.25)


def run_undisturbed(job: BatchJob) -> BatchJob:
    kernel.queue_work("long")
    job.refresh_from_db()
    assert job.status == "done"
    return job


PROFILES = """
    SELECT coalesce(email, '#' || partner_user_id) AS key, partner_user_id, attributes
    FROM audience_profile WHERE database_id = %s
"""
INTERACTIONS = """
    SELECT i.row_no::text AS key, p.email, p.partner_user_id, i.kind, i.occurred_at, i.external_id,
           i.properties
    FROM audience_interaction i JOIN audience_profile p ON p.id = i.profile_id WHERE i.created_by_job = %s
"""
COUNTS = (
    "valid_rows",
    "invalid_rows",
    "skipped_rows",
    "next_chunk",
    "next_offset",
    "next_line",
    "event_names",
)
LEDGER = (
    "n",
    "end_offset",
    "end_line",
    "valid",
    "skipped",
    "invalid",
    "new_profiles",
    "skipped_lines",
    "groups",
)


def assert_equal_runs(one: BatchJob, other: BatchJob) -> None:
    """Tables row for row, counts, ledger and both files."""
    with connection.cursor() as cursor:
        for rows, of in ((PROFILES, "database_id"), (INTERACTIONS, "pk")):
            cursor.execute(
                f"SELECT count(*), count(*) FILTER (WHERE a::text IS DISTINCT FROM b::text)"
                f" FROM ({rows}) a FULL JOIN ({rows}) b ON a.key = b.key",
                [getattr(one, of), getattr(other, of)],
            )
            count, different = cursor.fetchone()
            assert count > 0
            assert different == 0, rows
    for read in (
        lambda job: [getattr(job, field) for field in COUNTS],
        lambda job: list(Chunk.objects.filter(job=job).order_by("n").values(*LEDGER)),
        lambda job: b"".join(error_log_response(job).streaming_content),
        lambda job: b"".join(rejected_rows_response(job, formula_safe=False).streaming_content),
    ):
        assert read(one) == read(other)
