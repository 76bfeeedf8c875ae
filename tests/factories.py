"""Makes rows for tests, with names that say who they are."""

from __future__ import annotations

from itertools import count

from accounts.actors import Actor
from accounts.models import Account, Membership, User
from accounts.permissions import Role

_numbers = count(1)
PASSWORD = "correct horse battery"


def make_account(name: str = "Harbour Records") -> Account:
    number = next(_numbers)
    return Account.objects.create(name=name, slug=f"account-{number}")


def make_user(account: Account | None = None, role: str = Role.MARKETER, **extra: object) -> User:
    """A person, as a member of `account` if one is given. The password is PASSWORD."""
    number = next(_numbers)
    user = User.objects.create_user(
        **{"email": f"person-{number}@example.com", "password": PASSWORD, "name": f"Person {number}", **extra}  # type: ignore[arg-type]
    )
    if account:
        Membership.objects.create(account=account, user=user, role=role)
    return user


def make_actor(account: Account | None = None, role: Role = Role.MARKETER) -> Actor:
    account = account or make_account()
    return Actor(account=account, role=role, user=make_user(account, role))
