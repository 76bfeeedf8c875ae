"""What Celery runs: a task takes a queue's name at most, and makes one domain call."""

from __future__ import annotations

from celery import shared_task
from celery.signals import worker_shutting_down

from batchjobs import erasure, expiry, kernel, resumable
from batchjobs.doorbell import DRAINING


@shared_task
def queue_work(queue: str) -> None:
    """Runs jobs of the queue until none can be claimed."""
    kernel.queue_work(queue)


@shared_task
def jobs_sweep() -> None:
    """Re-rings queues in which a job waits or was abandoned; notes that beat and a worker are alive."""
    kernel.sweep()


@shared_task
def expiry_schedule() -> None:
    """Makes jobs that remove what is past its time, where there is something."""
    expiry.expiry_schedule()


@shared_task
def erasure_schedule() -> None:
    """Makes jobs that erase people, where that was asked for and can be done."""
    erasure.erasure_schedule()


@shared_task
def uploads_sweep() -> None:
    """Removes uploads that nobody went on with."""
    resumable.uploads_sweep()


@worker_shutting_down.connect
def hand_over(**_: object) -> None:
    """Jobs of a worker that is told to stop go to another at the next block."""
    DRAINING.set()
