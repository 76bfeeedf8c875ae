"""The list of batch jobs: its search, filters and sorts, as its URL has them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from functools import cached_property
from typing import Any

import django_filters
from django import forms
from django.db.models import F, QuerySet, Value
from django.db.models.functions import Coalesce, Lower
from django.http import QueryDict
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from batchjobs.models import BatchJob
from batchjobs.search import INDEXED_LETTERS, NAME, SEARCHES, Choice, SearchBy
from batchjobs.states import Status
from console.lists import params_kept
from console.tables import NEAR, Sort, Table

# Jobs that have not counted anything yet come before those that counted nothing.
NOT_COUNTED = Value(-1)

# `valid` and `rejected` need BatchJobQuerySet.with_progress.
JOB_TABLE: Table[BatchJob] = Table(
    sorts={
        "name": Sort(Lower("name"), str),
        "type": Sort(F("record_type"), str),
        "valid": Sort(Coalesce(F("valid_rows"), F("live_valid"), NOT_COUNTED), int, descending_first=True),
        "rejected": Sort(Coalesce(F("invalid_rows"), F("live_invalid"), NOT_COUNTED), int, descending_first=True),
        "created": Sort(F("created_at"), dt.datetime, descending_first=True),
    },
    default="-created",
)

# Days that move on with the calendar, so that a saved view of the last week stays one: word of `from` -> days back.
PERIODS: dict[str, tuple[int, Any]] = {
    "today": (0, _("Today")),
    "last-7-days": (6, _("Last 7 days")),
    "last-30-days": (29, _("Last 30 days")),
}
# Days outside are mistyped years, and their midnights fall out of the calendar in some zones.
FIRST_DAY, LAST_DAY = dt.date(1970, 1, 2), dt.date(9999, 12, 30)

LIST_PARAMS = ("by", "q", "status", "from", "to", *JOB_TABLE.parameters)


def day_of(text: str, *, now: dt.datetime | None = None) -> dt.date | None:
    """A day from a word of PERIODS or as 2026-11-25; None for anything else. Days are those of the person's zone."""
    if text in PERIODS:
        return timezone.localdate(now) - dt.timedelta(days=PERIODS[text][0])
    try:
        day = dt.date.fromisoformat(text)
    except ValueError:
        return None
    return day if FIRST_DAY <= day <= LAST_DAY else None


def midnight(day: dt.date) -> dt.datetime:
    """When the day begins in the person's zone."""
    return dt.datetime.combine(day, dt.time(), timezone.get_current_timezone())


def list_params(given: QueryDict) -> QueryDict:
    """Of what a URL says, the part that is the list's and makes sense: rows, drawers and saved views keep it."""
    params = params_kept(given, LIST_PARAMS, _SENSIBLE)
    was = SEARCHES.get(given.get("was") or "")
    if was and was.choices and was is not SEARCHES[params.get("by", NAME)]:
        params.pop("q", None)  # chosen from a list that is gone
    return params


_SENSIBLE: dict[str, Callable[[str], bool]] = {
    "by": lambda value: value in SEARCHES and value != NAME,
    "status": lambda value: value in Status.values,
    "from": lambda value: day_of(value) is not None,
    "to": lambda value: day_of(value) is not None and value not in PERIODS,
    "sort": lambda value: value.removeprefix("-") in JOB_TABLE.sorts and value != JOB_TABLE.default,
}


class DayField(forms.CharField):
    def clean(self, value: Any) -> Any:
        return day_of(value or "")


class DayFilter(django_filters.Filter):
    field_class = DayField


class BatchJobFilter(django_filters.FilterSet):
    """`q`: looked for in what `by` names (batchjobs/search.py). `status`: any of several. `from`, `to`: days.

    What is not understood is no filter: a mistyped URL shows the list.
    """

    q = django_filters.CharFilter(method="search", max_length=200)
    status = django_filters.MultipleChoiceFilter(label=_("Status"), choices=Status.choices, distinct=False)

    class Meta:
        model = BatchJob
        fields: list[str] = []

    @classmethod
    def get_filters(cls) -> dict[str, Any]:
        days = {"from": DayFilter(method="created_from"), "to": DayFilter(method="created_to")}  # “from” is Python's
        return {**super().get_filters(), **days}

    @cached_property
    def by(self) -> str:
        asked = self.data.get("by")
        return asked if asked in SEARCHES else NAME

    @property
    def search_by(self) -> SearchBy:
        return SEARCHES[self.by]

    @cached_property
    def choices(self) -> list[Choice] | None:
        """What `by` lets choose from, None where it takes any text."""
        return self.search_by.choices(self.queryset) if self.search_by.choices else None

    @cached_property
    def understood(self) -> dict[str, Any]:
        """The filters that are on."""
        self.form.is_valid()
        found = {name: value for name, value in self.form.cleaned_data.items() if value}
        if "q" in found and self.choices is not None and found["q"] not in {choice.value for choice in self.choices}:
            del found["q"]
        return found

    @property
    def q_label(self) -> str:
        """What is searched for, as it is called: a name instead of an id."""
        q = self.understood.get("q", "")
        return next((choice.label for choice in self.choices or [] if choice.value == q), q)

    def filter_queryset(self, queryset: QuerySet[BatchJob]) -> QuerySet[BatchJob]:
        return self.only(*self.understood, among=queryset)

    def only(self, *names: str, among: QuerySet[BatchJob] | None = None) -> QuerySet[BatchJob]:
        """The jobs found by some of the filters alone."""
        found: QuerySet[BatchJob] = self.queryset if among is None else among
        for name in names:
            if value := self.understood.get(name):
                found = self.filters[name].filter(found, value)
        return found

    def search(self, queryset: QuerySet[BatchJob], _field: str, value: str) -> QuerySet[BatchJob]:
        found = self.search_by.find(queryset, value)
        return found.filter(created_at__gte=self.newest_since) if self.newest_since else found

    @property
    def is_text(self) -> bool:
        """Whether a word is looked for, not one of `choices`."""
        return "q" in self.understood and self.choices is None

    @cached_property
    def newest_since(self) -> dt.datetime | None:
        """Where the newest 20,000 jobs begin: only they are searched for one or two letters, which no index serves."""
        if not self.is_text or len(self.understood["q"]) >= INDEXED_LETTERS:
            return None
        newest = self.only("from", "to").order_by("-created_at").values_list("created_at", flat=True)
        return newest[NEAR : NEAR + 1].first()

    def created_from(self, queryset: QuerySet[BatchJob], _field: str, day: dt.date) -> QuerySet[BatchJob]:
        return queryset.filter(created_at__gte=midnight(day))

    def created_to(self, queryset: QuerySet[BatchJob], _field: str, day: dt.date) -> QuerySet[BatchJob]:
        return queryset.filter(created_at__lt=midnight(day + dt.timedelta(days=1)))
