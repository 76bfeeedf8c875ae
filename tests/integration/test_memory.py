"""What a worker needs at most, whatever it is sent: the peak that the kernel tells of its process."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.files.base import File

from batchjobs.models import BatchJob
from batchjobs.services import batchjob_create
from benchmarks.memory import peak_rss_mb
from tests import chaos
from tests.factories import make_actor

pytestmark = pytest.mark.django_db(transaction=True)
LONG = os.environ.get("CHAOS") == "1"
LIMIT_MB = 256
MB = 1024 * 1024
# What the long form has gigabytes of, the short one has a few megabytes of.
LINE = (1024 if LONG else 100) * MB
OPEN_QUOTE = (300 if LONG else 20) * MB
UNPACKED = (10 * 1024 if LONG else 100) * MB
GOOD = b"email,note\na@example.com,1\n"
PERSON = b'{"email":"a@example.com"}'


class Made(io.RawIOBase):
    """A file of pieces that are made as they are read, so that the test itself needs no memory."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._left = pieces, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._left = self._left or next(self._pieces, b"")
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size


def repeated(head: bytes, piece: bytes, size: int, tail: bytes) -> Iterator[bytes]:
    yield head
    block = piece * max(1, MB // len(piece))
    for _ in range(size // len(block)):
        yield block
    yield tail


def bomb() -> Iterator[bytes]:
    packer = zlib.compressobj(9, wbits=31)
    for piece in repeated(GOOD, b"\n", UNPACKED, b""):
        if packed := packer.compress(piece):
            yield packed
    yield packer.flush()


def run(tmp_path: Path, name: str, pieces: Iterator[bytes]) -> tuple[BatchJob, float]:
    """The job, and the peak of a worker of its own in MB."""
    path = tmp_path / name
    with path.open("wb") as out:
        for piece in pieces:
            out.write(piece)
    with path.open("rb") as content:
        job = batchjob_create(by=make_actor(), content=File(content), file_name=name, record_type="profile")
    path.unlink()
    BatchJob.objects.filter(pk=job.pk).update(queue="long")
    log = Path(settings.DATA_DIR) / "worker.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "work", "long"],
            cwd=chaos.ROOT,
            env=chaos.environment(JOB_LEASE_SECONDS="30"),
            stdout=out,
            stderr=out,
        )
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, peak_rss_mb(process.pid))
            time.sleep(0.02)
    assert process.returncode == 0, log.read_text()[-3000:]
    job.refresh_from_db()
    assert not job.crash_reports.exists(), job.crash_reports.first().report
    return job, peak


def outcome(job: BatchJob) -> tuple[str, int, int]:
    return job.failure_code or job.status, job.valid_rows, job.invalid_rows


@pytest.mark.chaos
@pytest.mark.parametrize(
    ("name", "head", "piece", "tail", "expected"),
    [
        ("line.csv", GOOD + b"b@example.com,", b"x", b"\nc@example.com,1\n", ("done", 2, 1)),
        ("quoted.csv", GOOD + b'b@example.com,"', b"x", b'"\nc@example.com,1\n', ("done", 2, 1)),
        ("line.ndjson", PERSON + b'\n{"email":"', b"x", b'"}\n' + PERSON, ("done", 2, 1)),
        ("element.json", b"[" + PERSON + b',{"email":"', b"x", b'"},' + PERSON + b"]", ("done", 2, 1)),
        ("element-of-many.json", b"[" + PERSON + b",[", b'{"a":[1]},', b"1]," + PERSON + b"]", ("done", 2, 1)),
        ("named.json", b'{"x":"', b"x", b'","people":[' + PERSON + b"]}", ("done", 1, 0)),
        ("addresses.txt", b"a@example.com\n", b"x", b"\nb@example.com\n", ("done", 2, 1)),
        ("blanks.json", b"[" + PERSON, b" ", b"]", ("JSON_BROKEN", 1, 0)),
    ],
)
def test_a_record_of_any_size(tmp_path, name, head, piece, tail, expected):
    size = LINE if not name.startswith("element-of-many") else LINE // (5 if LONG else 25)
    job, peak = run(tmp_path, name, repeated(head, piece, size, tail))
    assert outcome(job) == expected
    print(f"{name}: {peak:.0f} MB")
    assert peak <= LIMIT_MB


@pytest.mark.chaos
def test_a_quote_that_never_closes(tmp_path):
    line = b"p@example.com," + b"y" * 99 + b"\n"
    job, peak = run(tmp_path, "quote.csv", repeated(GOOD + b'b@example.com,"open\n', line, OPEN_QUOTE, b""))
    assert outcome(job)[::2] == ("done", 1)
    print(f"quote.csv: {peak:.0f} MB")
    assert peak <= LIMIT_MB


@pytest.mark.chaos
def test_an_archive_that_grows_beyond_all_measure(tmp_path):
    job, peak = run(tmp_path, "bomb.csv.gz", bomb())
    assert outcome(job) == ("ARCHIVE_TOO_LARGE", 0, 0)
    print(f"bomb.csv.gz: {peak:.0f} MB")
    assert peak <= LIMIT_MB
