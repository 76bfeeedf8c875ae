"""Events: something a person did. Every column that is not declared here becomes a property of the event."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat
from typing import ClassVar

from django.utils.translation import gettext_lazy as _

from batchjobs.ingestion.copytext import Part, copy_objects, copy_text, copy_texts
from batchjobs.ingestion.records.base import (
    EMAIL,
    FIRST_NAME,
    LAST_NAME,
    NAMES_REMEMBERED,
    PARTNER_USER_ID,
    Checker,
    RecordType,
    Values,
)
from batchjobs.ingestion.records.columns import Column, Kind, Matched
from batchjobs.ingestion.records.table import Table
from batchjobs.ingestion.writing.direct import DirectConflictError, People
from batchjobs.ingestion.writing.interactions import InteractionWriter

ATTRIBUTES = ("first_name", "last_name")  # of the person; all others are of the event


class InteractionChecker(Checker):
    """What a row of any kind of interaction becomes: `kind`, `time`, `external_id` and properties.

    Subclasses name the columns these come from.
    """

    time_column: ClassVar[str]
    property_columns: ClassVar[tuple[str, ...]] = ()

    def kinds(self, kept: Values, count: int) -> list[str]:
        raise NotImplementedError

    def properties(self, table: Table, kept: Values) -> list[str]:
        return table.objects([Part(name, kept[name]) for name in self.property_columns if name in kept])

    def times(self, kept: Values, count: int) -> list[str]:
        times = kept.get(self.time_column)
        default = self.context.default_time
        if times is None:
            return [default] * count
        return [time or default for time in times] if "" in times else times

    def stage(self, table: Table, kept: Values, lines: list[int]) -> list[Iterable[str]]:
        count = len(lines)
        blank = [""] * count
        return [
            map(str, lines),
            copy_texts(kept.get("email", blank)),
            copy_texts(kept.get("partner_user_id", blank)),
            copy_texts(self.kinds(kept, count)),
            self.times(kept, count),
            copy_texts(kept.get(self.dedupe, blank)),
            self.properties(table, kept),
            copy_objects([Part(name, kept[name]) for name in ATTRIBUTES if name in kept], count),
        ]

    def copy_text(self, table: Table, kept: Values, lines: list[int], people: People | None) -> str:
        if people is None:
            return copy_text(self.stage(table, kept, lines))
        if any(kept.get("partner_user_id", ())):
            raise DirectConflictError  # JSON: the first records had none
        count = len(lines)
        attributes = [(name, kept[name]) for name in ATTRIBUTES if name in kept]
        return copy_text(
            [
                people.identify(kept["email"], attributes),
                copy_texts(self.kinds(kept, count)),
                self.times(kept, count),
                copy_texts(kept.get(self.dedupe, [""] * count)),
                self.properties(table, kept),
                repeat(str(people.job), count),
                map(str, lines),
            ]
        )


class EventChecker(InteractionChecker):
    columns = (
        EMAIL,
        PARTNER_USER_ID,
        Column("event_name", _("What happened."), "purchase", ("event", "event_type")),
        Column(
            "event_time",
            _("When it happened. Left out: when the file is run."),
            "2026-11-21T14:30:00Z",
            ("event_date",),
            Kind.TIME,
            wrong="2026-02-31",
        ),
        Column(
            "partner_event_id",
            _("Your own number for the event: the same one is never counted twice."),
            "A-88121",
        ),
        FIRST_NAME,
        LAST_NAME,
        Column("coupon_code", _("Code that was used."), "AUTUMN-10"),
    )
    dedupe = "partner_event_id"
    time_column = "event_time"
    property_columns = ("coupon_code",)

    def missing(self, matched: Matched) -> tuple[str, str] | None:
        if found := super().missing(matched):
            return found
        context = self.context
        if "event_name" not in matched.known and not (context.event_name or context.event_in_file_name):
            return "event_name", "No event name was given for the whole file either, so nothing was changed."
        return None

    def judge(self, table: Table, values: Values) -> None:
        default = self.context.event_name
        if not default and "event_name" not in self.matched.known:
            default = self.context.event_in_file_name
        self.fill(table, values, "event_name", default, "EVENT_NAME_MISSING")

    def kinds(self, kept: Values, count: int) -> list[str]:
        if len(self.names_found) < NAMES_REMEMBERED:
            self.names_found.update(kept["event_name"])
        return kept["event_name"]


EVENT = RecordType(
    EventChecker,
    InteractionWriter,
    title=_("Events"),
    help=_("One thing that a person did in each row: who, what and when."),
    others=_("Every other column is kept as a property of the event."),
    options=("event_name",),
)
