"""The list of batch jobs: its search, filters and sorts. For the page and the API."""

from __future__ import annotations

import datetime as dt
from typing import Any

import django_filters
from django.db.models import F, QuerySet, Value
from django.db.models.functions import Coalesce, Lower
from django.utils.translation import gettext_lazy as _

from batchjobs.models import BatchJob
from batchjobs.states import Status
from console.tables import Sort, Table

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


class BatchJobFilter(django_filters.FilterSet):
    """`q`: part of the name, whatever the case. `status`: any of several."""

    q = django_filters.CharFilter(label=_("Name"), method="name_contains", max_length=200)
    status = django_filters.MultipleChoiceFilter(label=_("Status"), choices=Status.choices)

    class Meta:
        model = BatchJob
        fields: list[str] = []

    def name_contains(self, queryset: QuerySet[BatchJob], _field: str, value: str) -> QuerySet[Any]:
        # lower() on both sides is what the trigram index serves; % and _ are escaped by Django.
        return queryset.alias(name_lower=Lower("name")).filter(name_lower__contains=Lower(Value(value)))
