"""Set-based writes and windowed reads of the marketing data."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from accounts.models import Account
from audience.models import CHANNELS, Database, Interaction, Profile
from console.cursors import behind


def database_default(*, account: Account) -> Database:
    """The account's first database, made when it is first needed."""
    found = Database.objects.for_account(account).order_by("pk").first()
    if found is None:
        found, _made = Database.objects.get_or_create(account=account, slug="main", defaults={"name": "Audience"})
    database: Database = found
    return database


def profiles_found(*, account: Account, email: str = "", profile_id: int | None = None) -> list[Profile]:
    """The account's profiles with this address (at most one a database) and this id, as far as given."""
    found = Profile.objects.for_account(account).select_related("database")
    if email:
        found = found.filter(email=email.strip().lower())
    if profile_id is not None:
        found = found.filter(pk=profile_id)
    if not email and profile_id is None:
        return []
    return list(found.order_by("pk"))


def suppressed_channels(*, profile: Profile) -> list[str]:
    """The channels on which a person must not be written to."""
    return [channel for channel in CHANNELS if Profile.objects.suppressed(channel).filter(pk=profile.pk).exists()]


def interactions_of(
    *,
    account: Account,
    profiles: Sequence[Profile],
    kind: str = "",
    after: tuple[dt.datetime, int] | None = None,
    limit: int,
) -> list[Interaction]:
    """What these people did, oldest first, behind (occurred_at, id). Served by interaction_timeline."""
    if not profiles:
        return []
    found = Interaction.objects.for_account(account).filter(profile__in=[profile.pk for profile in profiles])
    if kind:
        found = found.filter(kind=kind)
    if after:
        found = found.filter(behind("occurred_at", *after, descending=False))
    return list(found.order_by("occurred_at", "pk")[:limit])
