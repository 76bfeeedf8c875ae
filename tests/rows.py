"""Rows that the tests of pages and APIs look at, made without running anything."""

from __future__ import annotations

import datetime as dt
from itertools import count
from typing import Any

from django.core.files.base import ContentFile
from django.utils import timezone

from accounts.actors import Actor
from accounts.models import Account
from accounts.permissions import Role
from accounts.services import api_key_create
from audience.models import Database, Interaction, Profile
from audience.services import database_default
from batchjobs.files import store_file
from batchjobs.models import BatchJob
from batchjobs.states import ENDED, Status

_numbers = count(1)
CONTENT = b"email,event_name\nmarta@example.com,opened\n"


def make_token(account: Account, role: Role = Role.MANAGER) -> str:
    """An API key of that role; what a program sends."""
    return api_key_create(by=Actor(account=account, role=Role.MANAGER), name=f"{role} program", role=role)[1]


def make_job(account: Account, status: Status = Status.PENDING, **extra: Any) -> BatchJob:
    """A job in a state it could be in, with a stored file."""
    number = next(_numbers)
    file = store_file(account=account, name=f"events-{number}.csv", content=ContentFile(CONTENT))
    now = timezone.now()
    facts: dict[str, Any] = {}
    if status != Status.PENDING:
        facts["started_at"] = now - dt.timedelta(seconds=10)
    if status in ENDED:
        facts |= {
            "outcome": status,
            "completed_at": now,
            "valid_rows": 3,
            "skipped_rows": 1,
            "invalid_rows": 1,
        }
    if status == Status.FAILED:
        facts |= {"failure_code": "FILE_EMPTY", "valid_rows": 0, "skipped_rows": 0, "invalid_rows": 0}
    return BatchJob.objects.create(
        **{
            "account": account,
            "name": f"Job {number}",
            "file": file,
            "database": database_default(account=account),
            "status": status,
            **facts,
            **extra,
        }
    )


def make_profile(account: Account, email: str, database: Database | None = None) -> Profile:
    return Profile.objects.create(database=database or database_default(account=account), email=email)


def make_interaction(profile: Profile, occurred_at: dt.datetime, **extra: Any) -> Interaction:
    facts = {"kind": "opened", "created_by_job": 1, "row_no": 2, **extra}
    return Interaction.objects.create(database=profile.database, profile=profile, occurred_at=occurred_at, **facts)
