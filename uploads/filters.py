"""The list of batch uploads: its search, filter and sort, as its URL has them."""

from __future__ import annotations

import datetime as dt
import re
from functools import cached_property
from typing import Any
from uuid import UUID

from django.db.models import Case, CharField, Count, F, Q, QuerySet, Value, When
from django.http import QueryDict
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from console.lists import params_kept
from console.tables import Sort, Table
from uploads.models import BatchUpload
from uploads.states import State

# What a row says instead of Uploading once its location ran out: nothing is on its way any more.
LOCATION_EXPIRED = "location_expired"

LABELS: dict[str, Any] = {
    State.UPLOADING.value: State.UPLOADING.label,
    LOCATION_EXPIRED: _("Location expired"),
    **{state.value: state.label for state in State if state != State.UPLOADING},
}

UPLOAD_TABLE: Table[BatchUpload] = Table(
    sorts={"modified": Sort(F("modified_at"), dt.datetime, descending_first=True)},
    default="-modified",
)

LIST_PARAMS = ("q", "status", *UPLOAD_TABLE.parameters)
SEARCH_MAX = 200
UUID_DIGITS = 32
DIGITS = re.compile(r"[0-9a-f]{1,32}")


def list_params(given: QueryDict) -> QueryDict:
    """Of what a URL says, the part that is the list's and makes sense: rows and drawers keep it."""
    return params_kept(
        given,
        LIST_PARAMS,
        {
            "q": lambda value: len(value) <= SEARCH_MAX,
            "status": lambda value: value in LABELS,
            "sort": lambda value: value.removeprefix("-") in UPLOAD_TABLE.sorts and value != UPLOAD_TABLE.default,
        },
    )


def ref_digits(text: str) -> str:
    """The digits of a UUID or of its beginning; empty for a text that cannot be one. Case and hyphens do not matter."""
    bare = re.sub(r"[\s-]", "", text.strip().lower().removeprefix("urn:uuid:").strip("{}"))
    return bare if DIGITS.fullmatch(bare) else ""


def refs_from(digits: str) -> Q:
    """References that begin with these digits: a range, which an index serves."""
    return Q(ref__range=(UUID(digits.ljust(UUID_DIGITS, "0")), UUID(digits.ljust(UUID_DIGITS, "f"))))


def statuses_of(text: str) -> list[str]:
    """Statuses of which a word begins with the text: “succ”, “file_uploaded”, “expired”."""
    words = " ".join(text.lower().replace("_", " ").split())
    if not words:
        return []
    found = ((value, (str(label).lower(), value.replace("_", " "))) for value, label in LABELS.items())
    return [value for value, names in found if any(f" {name}".find(f" {words}") >= 0 for name in names)]


class UploadFilter:
    """`q`: a UUID or its first characters, else a word of a status. `status`: any of several."""

    def __init__(self, params: QueryDict, uploads: QuerySet[BatchUpload], now: dt.datetime | None = None) -> None:
        self.q = params.get("q") or ""
        self.chosen = params.getlist("status")
        # `shown` is what the row's pill says: `state`, but for a location that ran out.
        late = Q(state=State.UPLOADING, location_expires_at__lte=now or timezone.now())
        self.uploads = uploads.annotate(
            shown=Case(When(late, then=Value(LOCATION_EXPIRED)), default=F("state"), output_field=CharField())
        )

    @cached_property
    def digits(self) -> str:
        return ref_digits(self.q)

    @cached_property
    def words(self) -> list[str]:
        return [] if self.digits else statuses_of(self.q)

    @property
    def not_a_ref(self) -> bool:
        """Whether what is searched for can be no part of a UUID and is no status either: nothing is found."""
        return bool(self.q) and not self.digits and not self.words

    @cached_property
    def searched(self) -> QuerySet[BatchUpload]:
        """What the search alone finds."""
        if not self.q:
            return self.uploads
        if self.digits:
            return self.uploads.filter(refs_from(self.digits))
        return self.uploads.filter(Q(shown__in=self.words))

    @property
    def found(self) -> QuerySet[BatchUpload]:
        return self.searched.filter(Q(shown__in=self.chosen)) if self.chosen else self.searched

    def counts(self) -> dict[str, int]:
        """How many of each status the search finds, in one query."""
        searched: Any = self.searched.order_by()  # `shown` is unknown to the types
        tally = searched.values("shown").annotate(n=Count("pk")).values_list("shown", "n")
        return dict.fromkeys(LABELS, 0) | dict(tally)
