"""Expiry: a job that removes what batchjobs/retention.py says is past its time.

Beat calls `expiry_schedule`, which makes at most one active job an account, and none where nothing is due. The run
goes in small steps, bytes before rows, and may be killed between any two of them: the next one finds the rest.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import structlog
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts.actors import system_actor
from accounts.models import Account
from accounts.services import audit
from batchjobs import retention
from batchjobs.failures import FileFailureError
from batchjobs.files import StorageFailedError
from batchjobs.housekeeping import STORAGE_TRIES, Notes, schedule
from batchjobs.kernel import Lease
from batchjobs.models import BatchJob
from batchjobs.retention import Check, Policy
from batchjobs.sessions import owned_by

log = structlog.get_logger(__name__)

KIND = "expiry"
LOT = 100

Noted = Callable[[str, int], None]


def expiry_schedule(*, now: dt.datetime | None = None) -> int:
    """Makes a job for each account in which something is due; returns how many. Clears what belongs to none."""
    now = now or timezone.now()
    for policy in retention.policies():
        if policy.everywhere:
            apply(policy, None, now)
    accounts = Account.objects.order_by("pk")
    due = (account for account in accounts if something_due(account, now))
    return sum(schedule(account, kind=KIND, title="Expiry", now=now) for account in due)


def something_due(account: Account, now: dt.datetime) -> bool:
    return any(_is_due(policy, account, now) for policy in retention.policies() if not policy.everywhere)


def _is_due(policy: Policy, account: Account, now: dt.datetime) -> bool:
    found = (policy.look or policy.due)(account, now)
    if isinstance(found, QuerySet):
        return found.exists()
    try:
        return next(found, None) is not None
    except StorageFailedError as error:
        log.warning("storage_failed", policy=policy.name, account=account.pk, error=repr(error.__cause__))
        return False


def expiry_run(job: BatchJob, lease: Lease, *, now: dt.datetime | None = None) -> None:
    """Removes what is due in the job's account. What storage does not give up makes it a FileFailureError."""
    notes = Notes(job, lease)
    with owned_by(lease.owner):
        failed = account_expire(account=job.account, now=now or timezone.now(), check=lease.check, noted=notes.add)
        if notes.figures:
            audit(by=system_actor(job.account), action="retention.removed", target=job.name, data=notes.figures)
    if failed:
        raise FileFailureError("STORAGE_FAILED", count=failed)


def account_expire(
    *, account: Account, now: dt.datetime, check: Check = lambda: None, noted: Noted = lambda name, count: None
) -> int:
    """Removes all that is due in the account; returns how many things storage did not give up.

    `check` is called all along. `noted` gets what a step removed, in the transaction of the step.
    """
    policies = [policy for policy in retention.policies() if not policy.everywhere]
    return sum(apply(policy, account, now, check=check, noted=noted) for policy in policies)


def apply(
    policy: Policy,
    account: Account | None,
    now: dt.datetime,
    *,
    check: Check = lambda: None,
    noted: Noted = lambda name, count: None,
) -> int:
    """Carries out one line of the table, step by step; returns how many things storage did not give up."""
    failed = 0
    left: list[Any] = []  # what this run could not remove
    try:
        for keys in _steps(policy, account, now, left):
            check()
            emptied = []
            for key in keys:
                try:
                    policy.empty(key, check)
                    emptied.append(key)
                except StorageFailedError as error:
                    log.warning("storage_failed", policy=policy.name, key=key, error=repr(error.__cause__))
                    left.append(key)
                    failed += 1
            with transaction.atomic():
                removed = policy.remove(policy.due(account, now), emptied, now) if emptied else 0
                if removed:
                    noted(policy.name, removed)
            if removed < len(emptied):
                left += emptied
            if failed >= STORAGE_TRIES:
                break
    except StorageFailedError as error:  # while looking
        log.warning("storage_failed", policy=policy.name, error=repr(error.__cause__))
        failed += 1
    return failed


def _steps(policy: Policy, account: Account | None, now: dt.datetime, left: list[Any]) -> Iterator[list[Any]]:
    """What is due, a step's worth at a time. Found in lots, and looked at again when its turn has come."""
    due = policy.due(account, now)
    if isinstance(due, QuerySet):
        pks = due.values_list("pk", flat=True)
        while lot := list(pks.exclude(pk__in=left)[: max(policy.step, LOT)]):
            for start in range(0, len(lot), policy.step):
                if keys := list(pks.filter(pk__in=lot[start : start + policy.step])):
                    yield keys
    else:
        while keys := list(islice(due, policy.step)):
            yield keys
