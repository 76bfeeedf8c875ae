"""The two demo accounts of `manage.py up`: people, keys, and sample files sent through the real pipeline."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any, NamedTuple

from django.core.files.base import File
from django.db import transaction

from accounts import services as accounts
from accounts.actors import Actor, system_actor
from accounts.models import Account, ApiKey, Membership, User
from accounts.permissions import Role
from batchjobs.models import BatchJob
from batchjobs.services import batchjob_create
from batchjobs.states import ACTIVE
from config.env import BASE_DIR

KEY_NAME = "Demo"
SUPPORT = "support"  # not a role within an account: staff of the product, who see Django's admin


class Person(NamedTuple):
    email: str
    name: str
    role: str


class DemoAccount(NamedTuple):
    name: str
    slug: str
    people: tuple[Person, ...]


HARBOUR = DemoAccount(
    "Harbour Records",
    "harbour-records",
    (
        Person("maya.lindqvist@example.com", "Maya Lindqvist", Role.MANAGER),
        Person("jonas.okafor@example.com", "Jonas Okafor", Role.MARKETER),
        Person("vera.sandoval@example.com", "Vera Sandoval", Role.VIEWER),
    ),
)
PIER_NINE = DemoAccount(
    "Pier Nine Vinyl",
    "pier-nine-vinyl",
    (
        Person("nadia.petrov@example.com", "Nadia Petrov", Role.MANAGER),
        Person("tom.achterberg@example.com", "Tom Achterberg", Role.MARKETER),
        Person("ines.calloway@example.com", "Ines Calloway", Role.VIEWER),
    ),
)
ACCOUNTS = (HARBOUR, PIER_NINE)
STAFF = Person("sam.whitfield@example.com", "Sam Whitfield", SUPPORT)


class Sample(NamedTuple):
    job_name: str
    file: Path
    tags: tuple[str, ...]


CDNOW = Sample("CDNOW purchases, 1997 to mid 1998", BASE_DIR / "samples" / "cdnow-events.csv", ("cdnow", "sample"))
MESSY = Sample("Spring newsletter, as it came", BASE_DIR / "samples" / "messy-events.csv", ("newsletter", "sample"))


def demo_ensure(file: Path, *, url: str) -> dict[str, Any]:
    """What stands in the credentials `file`, which is made when it is missing or does not fit the accounts.

    Passwords and keys are kept as hashes only. So when the file is gone, the demo people get new passwords
    and the accounts new keys; what the accounts hold stays.
    """
    known = _read(file)
    if known is None:
        with transaction.atomic():
            entries = [_account_ensure(demo) for demo in ACCOUNTS]
            staff = _person_ensure(STAFF, is_staff=True, is_superuser=True)
        # The support person sees both accounts' data in the admin, and belongs to none of them.
        first = entries[0]
        known = {"users": [*first["users"], staff], "api_key": first["api_key"], "accounts": entries}
    written = {"url": url, **{key: value for key, value in known.items() if key != "url"}}
    if written != known:
        _write(file, written)
    return written


def samples_load() -> list[BatchJob]:
    """Sends each sample file once through the pipeline, as a marketer of the first account. The new jobs."""
    account = Account.objects.get(slug=HARBOUR.slug)
    user = User.objects.get(email=next(p.email for p in HARBOUR.people if p.role == Role.MARKETER))
    made = []
    for sample in (MESSY, CDNOW):
        if BatchJob.objects.for_account(account).filter(name__iexact=sample.job_name).exists():
            continue
        if not sample.file.exists():
            continue
        with sample.file.open("rb") as content:
            made.append(
                batchjob_create(
                    by=Actor(account=account, role=Role.MARKETER, user=user),
                    content=File(content, name=sample.file.name),
                    file_name=sample.file.name,
                    name=sample.job_name,
                    tags=sample.tags,
                )
            )
    return made


def has_ended(jobs: list[BatchJob]) -> bool:
    return not BatchJob.objects.filter(pk__in=[job.pk for job in jobs], status__in=ACTIVE).exists()


def _account_ensure(demo: DemoAccount) -> dict[str, Any]:
    account = Account.objects.filter(slug=demo.slug).first()
    if account is None:
        account = accounts.account_create(name=demo.name, slug=demo.slug)
    actor = system_actor(account)
    users = []
    for person in demo.people:
        users.append(_person_ensure(person))
        user = User.objects.get(email=person.email)
        if not Membership.objects.filter(account=account, user=user).exists():
            accounts.membership_add(by=actor, user=user, role=person.role)
    for key in ApiKey.objects.for_account(account).filter(name=KEY_NAME, revoked_at__isnull=True):
        accounts.api_key_revoke(by=actor, key=key)
    _key, token = accounts.api_key_create(by=actor, name=KEY_NAME, role=Role.MANAGER)
    return {"name": account.name, "slug": account.slug, "api_key": token, "users": users}


def _person_ensure(person: Person, **extra: bool) -> dict[str, str]:
    password = secrets.token_urlsafe(12)
    user = User.objects.filter(email=person.email).first()
    if user is None:
        User.objects.create_user(person.email, password, name=person.name, **extra)
    else:
        user.set_password(password)
        user.save(update_fields=["password"])
    return {"email": person.email, "name": person.name, "password": password, "role": str(person.role)}


def _read(file: Path) -> dict[str, Any] | None:
    """The file's content, if its keys fit the database: it may have been written for another one."""
    try:
        known: dict[str, Any] = json.loads(file.read_text())
        tokens = {account["slug"]: account["api_key"] for account in known["accounts"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    for demo in ACCOUNTS:
        key = accounts.api_key_authenticate(token=tokens.get(demo.slug, ""))
        if key is None or key.account.slug != demo.slug:
            return None
    return known


def _write(file: Path, content: dict[str, Any]) -> None:
    """For the owner's eyes only, from the first byte on, and never half of it."""
    fresh = file.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as out:
        json.dump(content, out, indent=2)
        out.write("\n")
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(file)
