"""Runs the job of a batch."""

from __future__ import annotations

from batchjobs.erasure import erasure_schedule
from batchjobs.ingestion.run import import_run
from batchjobs.kernel import Lease
from batchjobs.models import BatchJob


def batch_run(job: BatchJob, lease: Lease) -> None:
    """Reads the records as any import does. People that `gdpr_delete` named are erased by a job of their own."""
    import_run(job, lease)
    erasure_schedule(job.account)
