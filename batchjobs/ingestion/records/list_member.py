"""List members: who is on a list. Further columns are attributes of the person."""

from __future__ import annotations

from collections.abc import Iterable

from django.utils.translation import gettext_lazy as _

from batchjobs.ingestion.copytext import copy_texts
from batchjobs.ingestion.records.base import EMAIL, FIRST_NAME, LAST_NAME, PARTNER_USER_ID, RecordType, Values
from batchjobs.ingestion.records.columns import Column, Kind, Matched
from batchjobs.ingestion.records.profile import PersonChecker
from batchjobs.ingestion.records.table import Table
from batchjobs.ingestion.writing.list_members import ListWriter

NAME_MAX = 120


class ListChecker(PersonChecker):
    columns = (
        EMAIL,
        PARTNER_USER_ID,
        Column("list", _("Name of the list. A new name makes a new list."), "Newsletter", ("list_name",)),
        Column(
            "joined_at",
            _("Since when. Left out: when the file is run."),
            "2026-11-21",
            ("signup_date", "subscribed_at", "timestamp_opt"),
            Kind.TIME,
            wrong="1700000000000000",
        ),
        FIRST_NAME,
        LAST_NAME,
    )
    attributes = ("first_name", "last_name")

    def missing(self, matched: Matched) -> tuple[str, str] | None:
        if found := super().missing(matched):
            return found
        if "list" not in matched.known and not self.context.list_name:
            return "list", "No list was named for the whole file either, so nothing was changed."
        return None

    def judge(self, table: Table, values: Values) -> None:
        self.fill(table, values, "list", self.context.list_name, "LIST_MISSING")
        for at, name in enumerate(values["list"]):
            if len(name) > NAME_MAX:
                table.add(at, "list", "VALUE_TOO_LONG", name)

    def stage(self, table: Table, kept: Values, lines: list[int]) -> list[Iterable[str]]:
        joined = kept.get("joined_at", [""] * len(lines))
        return [
            *super().stage(table, kept, lines),
            copy_texts(kept["list"]),
            [time or self.context.default_time for time in joined],
        ]


LIST = RecordType(
    ListChecker,
    ListWriter,
    title=_("List members"),
    help=_("One person in each row, to be put on a list. Nobody is taken off it."),
    others=_("Every other column is kept as an attribute of the person."),
    options=("list", "blank_erases"),
)
