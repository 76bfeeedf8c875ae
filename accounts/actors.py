"""Who is acting: a person in one of their accounts, or a program with a key."""

from __future__ import annotations

from dataclasses import dataclass

from accounts.models import Account, ApiKey, User
from accounts.permissions import Permission, Role, role_can


@dataclass(frozen=True, slots=True)
class Actor:
    """Passed to services as `by=`. Exactly one of `user` and `api_key` is set, or neither for the system."""

    account: Account
    role: Role
    user: User | None = None
    api_key: ApiKey | None = None

    def __str__(self) -> str:
        if self.user:
            return self.user.email
        return f"API key {self.api_key.name}" if self.api_key else "Batchdesk"

    def can(self, permission: Permission) -> bool:
        return role_can(self.role, permission)


def system_actor(account: Account) -> Actor:
    """The product itself: the command line, beat, first-run loading."""
    return Actor(account=account, role=Role.MANAGER)
