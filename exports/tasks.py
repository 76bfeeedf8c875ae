"""What beat rings for exports."""

from __future__ import annotations

from celery import shared_task

from exports import dispatch


@shared_task
def exports_tick() -> None:
    """Starts what is due, and settles what has ended."""
    dispatch.tick()
