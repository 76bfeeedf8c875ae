"""Set-based writes and windowed reads of the marketing data."""

from __future__ import annotations

from accounts.models import Account
from audience.models import Database


def database_default(*, account: Account) -> Database:
    """The account's first database, made when it is first needed."""
    found = Database.objects.for_account(account).order_by("pk").first()
    if found is None:
        found, _made = Database.objects.get_or_create(account=account, slug="main", defaults={"name": "Audience"})
    database: Database = found
    return database
