"""The tenant filter: the one place that knows how a row belongs to an account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeVar

from django.db import models

if TYPE_CHECKING:
    from accounts.models import Account

M = TypeVar("M", bound=models.Model)


class TenantQuerySet(models.QuerySet[M]):
    """Rows of models whose `tenant_path` leads to their account."""

    def for_account(self, account: Account) -> Self:
        """Only what belongs to `account`. What is not in it does not exist for its members: 404, never 403."""
        path: str = getattr(self.model, "tenant_path", "account")
        return self.filter(**{path: account})


class TenantManager(models.Manager[M]):
    def get_queryset(self) -> TenantQuerySet[M]:
        return TenantQuerySet(self.model, using=self._db)

    def for_account(self, account: Account) -> Any:
        return self.get_queryset().for_account(account)
