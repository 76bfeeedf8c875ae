"""What commands about jobs have in common: whose they are, and waiting with a line on the terminal."""

from __future__ import annotations

from collections.abc import Callable
from time import sleep
from typing import Any

from django.core.management.base import CommandError

from accounts.models import Account
from batchjobs.models import BatchJob

POLL_SECONDS = 0.25
LINE_WIDTH = 78


def account_named(slug: str) -> Account:
    """The account; the first one without a name. Raises CommandError."""
    accounts = Account.objects.order_by("pk")
    found = accounts.filter(slug=slug).first() if slug else accounts.first()
    if found is None:
        known = ", ".join(accounts.values_list("slug", flat=True)[:20])
        if slug and known:
            raise CommandError(f"There is no account “{slug}”. There are: {known}.")
        raise CommandError("There is no account yet. `manage.py up` makes the demo accounts.")
    return found


def job_wait(job_id: int, stream: Any, line_of: Callable[[BatchJob], str]) -> BatchJob:
    """The job when it has ended. Until then a terminal shows what `line_of` says of it."""
    while True:
        job = BatchJob.objects.get_queryset().with_progress().select_related("file", "database").get(pk=job_id)
        if stream.isatty():
            stream.write(f"\r{line_of(job):<{LINE_WIDTH}}", ending="" if job.is_active else "\n")
            stream.flush()
        if not job.is_active:
            return job
        sleep(POLL_SECONDS)
