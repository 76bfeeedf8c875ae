"""What the jobs share that keep house: one active job of a kind in an account, and figures noted step by step."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from django.db import transaction
from django.db.models import F

from accounts.models import Account
from batchjobs.doorbell import ring
from batchjobs.kernel import Lease, LeaseLostError
from batchjobs.models import BatchJob, Queue
from batchjobs.states import ACTIVE, Status

STORAGE_TRIES = 10  # then storage is taken to be away, and what is left waits for the next run


def schedule(account: Account, *, kind: str, title: str, now: dt.datetime) -> bool:
    """Makes a job of `kind` in the account, unless one is active."""
    with transaction.atomic():
        # Beats may be several. The lock lets rows be added that refer to the account.
        Account.objects.select_for_update(no_key=True).get(pk=account.pk)
        if BatchJob.objects.for_account(account).filter(kind=kind, status__in=ACTIVE).exists():
            return False
        name = f"{title} {now.astimezone(dt.UTC):%Y-%m-%d %H:%M} {uuid4().hex[:4]}"
        # Long: a small file never waits behind it.
        BatchJob.objects.create(account=account, kind=kind, name=name, queue=Queue.LONG)
        ring(Queue.LONG)
    return True


@dataclass(slots=True)
class Notes:
    """What a run keeps with its job: figures of what was removed, and where the next run would go on."""

    job: BatchJob
    lease: Lease
    state: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.state = self.job.reader_state
        self.state.setdefault("removed", {})

    @property
    def figures(self) -> dict[str, int]:
        figures: dict[str, int] = self.state["removed"]
        return figures

    def add(self, name: str, count: int) -> None:
        """Counts what a step removed, in the transaction of the step. Raises LeaseLostError."""
        self.figures[name] = self.figures.get(name, 0) + count
        self.write()

    def write(self, **state: Any) -> None:
        """Notes that a step was done. Raises LeaseLostError."""
        self.state.update(state)
        mine = BatchJob.objects.filter(pk=self.job.pk, lease_token=self.lease.token, status=Status.IN_PROGRESS)
        if not mine.update(reader_state=self.state, next_chunk=F("next_chunk") + 1, crashes=0):
            raise LeaseLostError
