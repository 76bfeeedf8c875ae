"""The doorbell of the queues: how a worker learns that there is work, and that it should go."""

from __future__ import annotations

import multiprocessing

import structlog
from celery import current_app
from django.conf import settings
from django.db import transaction

log = structlog.get_logger(__name__)

# Set in the worker's parent when it is told to stop; the forked children see it and hand their jobs over.
DRAINING = multiprocessing.Event()


def ring(queue: str) -> None:
    """After the commit, tells the workers of `queue` to look. A lost ring is made up for by the sweep."""
    transaction.on_commit(lambda: _ring(queue))


def _ring(queue: str) -> None:
    try:
        # A ring that nobody heard for some sweeps is worth nothing: later ones stand behind it.
        current_app.send_task(
            "batchjobs.tasks.queue_work",
            (queue,),
            queue=queue,
            retry=False,
            ignore_result=True,
            expires=settings.JOB_SWEEP_SECONDS * 3,
        )
    except Exception as error:  # the broker is down: the sweep rings again when it is back
        log.warning("ring_lost", queue=queue, error=repr(error))
