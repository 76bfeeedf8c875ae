"""What can be done with accounts, people and keys."""

from __future__ import annotations

from typing import Any

from accounts.actors import Actor
from accounts.models import AuditEvent


def audit(*, by: Actor, action: str, target: str = "", data: dict[str, Any] | None = None) -> None:
    """Adds a line to the audit log, in the caller's transaction."""
    AuditEvent.objects.create(account=by.account, actor=str(by), action=action, target=target[:254], data=data or {})
