"""What can be done with accounts, people and keys."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import secrets
import string
import time
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.db import transaction
from django.utils import timezone
from django.utils.text import slugify
from django.utils.translation import gettext as _

from accounts.actors import Actor
from accounts.models import Account, ApiKey, AuditEvent, Membership, User
from accounts.permissions import ROLE_PERMISSIONS, Role

KEY_PREFIX = "bd_live_"
KEY_ID_LETTERS = string.ascii_lowercase + string.digits
KEY_PATTERN = re.compile(KEY_PREFIX + r"([a-z0-9]{8})([A-Za-z0-9_-]{43})")

# How fresh `last_used_at` is: a busy key does not write with every request.
LAST_USED_SECONDS = 60


class RoleTooHighError(Exception):
    """Nobody gives away more than they have. The message is a sentence."""

    def __init__(self) -> None:
        super().__init__(_("This role allows more than your own does."))


def audit(*, by: Actor, action: str, target: str = "", data: dict[str, Any] | None = None) -> None:
    """Adds a line to the audit log, in the caller's transaction."""
    AuditEvent.objects.create(account=by.account, actor=str(by), action=action, target=target[:254], data=data or {})


def roles_grantable(*, by: Actor) -> list[Role]:
    """The roles that allow nothing that `by` may not do."""
    return [role for role in Role if ROLE_PERMISSIONS[role] <= ROLE_PERMISSIONS[Role(by.role)]]


def _refuse_higher(by: Actor, role: str) -> None:
    if role not in roles_grantable(by=by):
        raise RoleTooHighError


def api_key_create(*, by: Actor, name: str, role: str = Role.MARKETER) -> tuple[ApiKey, str]:
    """A new key and its token, which is nowhere to be had again. Raises RoleTooHighError."""
    _refuse_higher(by, role)
    key_id = "".join(secrets.choice(KEY_ID_LETTERS) for _n in range(8))
    secret = secrets.token_urlsafe(32)
    with transaction.atomic():
        key = ApiKey.objects.create(
            account=by.account,
            name=name.strip(),
            key_id=key_id,
            secret_sha256=_digest(secret),
            hint=secret[-4:],
            role=role,
            created_by=by.user,
        )
        audit(by=by, action="api_key.created", target=key.name, data={"key_id": key_id, "role": role})
    key.refresh_from_db()
    return key, f"{KEY_PREFIX}{key_id}{secret}"


def api_key_revoke(*, by: Actor, key: ApiKey) -> None:
    """Programs that use the key are refused from now on. Revoking twice changes nothing."""
    with transaction.atomic():
        fresh = ApiKey.objects.filter(pk=key.pk, revoked_at__isnull=True)
        if fresh.update(revoked_at=timezone.now()):
            audit(by=by, action="api_key.revoked", target=key.name, data={"key_id": key.key_id})
    key.refresh_from_db()


def api_key_authenticate(*, token: str, key_id: str = "") -> ApiKey | None:
    """The key of a token, with its account; None for one that is malformed, wrong or revoked.

    `key_id`: what the program says beside it is its client key; it must be the token's own.
    """
    match = KEY_PATTERN.fullmatch(token)
    if match is None or (key_id and key_id != match[1]):
        return None
    key = ApiKey.objects.filter(key_id=match[1]).select_related("account").first()
    # The comparison is made for unknown ids too, so that the time taken does not tell them from known ones.
    right = secrets.compare_digest(_digest(match[2]), key.secret_sha256 if key else "0" * 64)
    if key is None or not right or key.revoked_at:
        return None
    now = timezone.now()
    if key.last_used_at is None or now - key.last_used_at > dt.timedelta(seconds=LAST_USED_SECONDS):
        ApiKey.objects.filter(pk=key.pk).update(last_used_at=now)
    return key


def api_key_wait(*, key: ApiKey) -> int:
    """Counts a request; seconds to wait if the key has made API_RATE_PER_MINUTE in this minute, else 0."""
    now = int(time.time())
    counter = f"api-rate:{key.pk}:{now // 60}"
    cache.add(counter, 0, 120)
    try:
        made = cache.incr(counter)
    except ValueError:  # forgotten in between: the cache was emptied
        return 0
    return 60 - now % 60 if made > settings.API_RATE_PER_MINUTE else 0


def _digest(secret: str) -> str:
    # A plain hash is enough for 256 random bits; it would not be for a password.
    return hashlib.sha256(secret.encode()).hexdigest()


def account_create(*, name: str, slug: str = "", manager: User | None = None, by: User | None = None) -> Account:
    """A new tenant, with its first manager if one is given. `by` is a support person; None: the product."""
    with transaction.atomic():
        account = Account.objects.create(name=name.strip(), slug=slug or _free_slug(name))
        actor = Actor(account=account, role=Role.MANAGER, user=by)
        audit(by=actor, action="account.created", target=account.name)
        if manager:
            membership_add(by=actor, user=manager, role=Role.MANAGER)
    account.refresh_from_db()
    return account


def _free_slug(name: str) -> str:
    stem = slugify(name)[:50] or "account"
    taken = set(Account.objects.filter(slug__startswith=stem).values_list("slug", flat=True))
    return next(s for s in (stem, *(f"{stem}-{n}" for n in range(2, len(taken) + 3))) if s not in taken)


def membership_add(*, by: Actor, user: User, role: str) -> Membership:
    """Lets `user` work in the account of `by`, or changes their role there. Raises RoleTooHighError."""
    _refuse_higher(by, role)
    with transaction.atomic():
        membership, made = Membership.objects.get_or_create(account=by.account, user=user, defaults={"role": role})
        if made or membership.role != role:
            membership.role = role
            membership.save(update_fields=["role"])
            action = "membership.added" if made else "membership.changed"
            audit(by=by, action=action, target=user.email, data={"role": role})
    return membership


def memberships_of(*, user: User) -> list[Membership]:
    """Where the person works, with the accounts, by name."""
    return list(Membership.objects.filter(user=user).select_related("account").order_by("account__name", "pk"))


def account_switch(*, user: User, account_id: int) -> Account:
    """The account the person wants to work in. Raises Account.DoesNotExist for one they are not in."""
    return Account.objects.get(pk=account_id, memberships__user=user)


def profile_update(*, user: User, name: str, time_zone: str) -> None:
    """What a person says about themselves."""
    user.name, user.time_zone = name.strip(), time_zone
    user.save(update_fields=["name", "time_zone"])
