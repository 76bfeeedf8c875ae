"""Exports as the product runs them: a job of the long queue, in this process, from its claim to its end."""

from __future__ import annotations

import shutil
from pathlib import Path

from accounts.actors import system_actor
from accounts.models import Account
from batchjobs import kernel
from batchjobs.files import open_file, remove_bytes
from batchjobs.models import BatchJob
from exports import dispatch, services
from exports.models import Export, ExportRun

BENCH = {"slug": "bench", "defaults": {"name": "Bench"}}  # account and database

__all__ = ["BENCH", "account_bench", "run_export", "take"]


def account_bench() -> Account:
    account, _made = Account.objects.get_or_create(**BENCH)
    return account


def run_export(export: Export) -> tuple[float, ExportRun]:
    """Runs the export once; the seconds from the claim of the job to its end, and the run."""
    made = services.export_run(export=export, by=system_actor(export.account))
    kernel.queue_work("long")
    dispatch.tick()
    job = BatchJob.objects.get(pk=made.job_id)
    assert job.status == "done", job.failure_code
    assert job.started_at
    assert job.completed_at
    return (job.completed_at - job.started_at).total_seconds(), ExportRun.objects.get(pk=made.pk)


def take(made: ExportRun, path: Path | None = None) -> None:
    """Moves the file of a run out of storage, to `path` or nowhere."""
    assert made.file
    if path:
        with open_file(made.file) as stored, path.open("wb") as out:
            shutil.copyfileobj(stored, out)
    remove_bytes(made.file)
