"""Requests to erase people, and by which hashes those are known who were asked for. batchjobs/erasure.py erases."""

from __future__ import annotations

import hashlib
from typing import Any

from audience.models import Database, Erasure, Profile


def key_hash(key: str) -> str:
    """What stays of an address in lower case, or of a partner's number: its SHA-256 in hexadecimal."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def erasure_request(
    *,
    database: Database,
    by: str,
    profile: Profile | None = None,
    email: str | None = None,
    partner_user_id: str | None = None,
) -> Erasure:
    """Asks for the erasure of a person, known by any of the three; the pending request if there is one already.

    Whoever asks calls `batchjobs.erasure.erasure_schedule` afterwards. Raises ValueError if nobody is named.
    """
    email = (email or "").strip().lower() or (profile.email if profile else None)
    partner_user_id = (partner_user_id or "").strip() or (profile.partner_user_id if profile else None)
    keys: dict[str, Any] = {
        "profile_id": profile.pk if profile else None,
        "email": email,
        "partner_user_id": partner_user_id,
    }
    named = {name: value for name, value in keys.items() if value is not None}
    if not named:
        raise ValueError("An erasure needs a profile, an address or a partner's number.")
    pending = Erasure.objects.filter(database=database, erased_at__isnull=True)
    if earlier := pending.filter(**named).order_by("pk").first():
        return earlier
    request: Erasure = Erasure.objects.create(
        database=database,
        requested_by=by[:254],
        email_sha256=key_hash(email) if email else None,
        partner_sha256=key_hash(partner_user_id) if partner_user_id else None,
        **named,
    )
    return request


def erased_hashes(*, database: int) -> frozenset[str]:
    """Hashes of the addresses and numbers of those who are not to come back, pending requests included."""
    columns = ("email", "email_sha256", "partner_user_id", "partner_sha256")
    found: set[str] = set()
    for email, by_email, partner, by_partner in (
        Erasure.objects.filter(database=database).values_list(*columns).iterator()
    ):
        # A request that no run has looked at yet may have come without hashes.
        if by_email or email:
            found.add(by_email or key_hash(email.strip().lower()))
        if by_partner or partner:
            found.add(by_partner or key_hash(partner.strip()))
    return frozenset(found)
