"""Where files go: a module a kind, of one shape.

A kind takes a file that is complete and puts it where its name says so that nobody there ever sees a part of it under
the final name. Doing so again with the same file is harmless; the name is no other run's (exports/claims.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Protocol

from django.utils.translation import gettext_lazy as _

from exports.destinations import transfer_box
from exports.models import Destination

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

    from accounts.models import Account


class Deliver(Protocol):
    def __call__(self, destination: Destination, *, name: str, content: IO[bytes], size: int) -> str:
        """Delivers a file; where it stands now, for people. Raises DeliveryError."""


@dataclass(frozen=True, slots=True)
class Kind:
    """`kept` is the setting that says for how many days files stay there; none where others remove them."""

    label: str | _StrPromise
    deliver: Deliver
    kept: str = ""


DESTINATIONS: dict[str, Kind] = {
    "transfer_box": Kind(_("Transfer box"), transfer_box.deliver, kept="TRANSFER_BOX_KEPT_DAYS"),
}


def transfer_box_of(account: Account) -> Destination:
    """The account's own box, made when it is first asked for."""
    found: Destination
    found, _made = Destination.objects.get_or_create(
        account=account, kind="transfer_box", defaults={"name": str(DESTINATIONS["transfer_box"].label)}
    )
    return found


def deliver(destination: Destination, **file: Any) -> str:
    """Delivers a file (`name`, `content`, `size`) by the destination's kind. Raises DeliveryError."""
    return DESTINATIONS[destination.kind].deliver(destination, **file)
