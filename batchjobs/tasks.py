"""The doorbell and the sweep. A task takes a queue's name, and makes one domain call."""

from __future__ import annotations

import multiprocessing

import structlog
from celery import shared_task
from celery.signals import worker_shutting_down
from django.conf import settings
from django.db import transaction

log = structlog.get_logger(__name__)

# Set in the worker's parent when it is told to stop; the forked children see it between chunks and hand over.
DRAINING = multiprocessing.Event()


def ring(queue: str) -> None:
    """After the commit, tells the workers of `queue` to look. A lost ring is made up for by the sweep."""
    transaction.on_commit(lambda: _ring(queue))


def _ring(queue: str) -> None:
    try:
        # A ring that nobody heard for some sweeps is worth nothing: later ones stand behind it.
        queue_work.apply_async((queue,), queue=queue, retry=False, expires=settings.JOB_SWEEP_SECONDS * 3)
    except Exception as error:  # the broker is down: the sweep rings again when it is back
        log.warning("ring_lost", queue=queue, error=repr(error))


@shared_task
def queue_work(queue: str) -> None:
    """Runs jobs of the queue until none can be claimed."""
    from batchjobs import kernel

    kernel.queue_work(queue)


@shared_task
def jobs_sweep() -> None:
    """Re-rings queues in which a job waits or was abandoned; notes that beat and a worker are alive."""
    from batchjobs import kernel

    kernel.sweep()


@worker_shutting_down.connect
def hand_over(**_: object) -> None:
    """Jobs of a worker that is told to stop end at the next chunk and go to another."""
    DRAINING.set()
