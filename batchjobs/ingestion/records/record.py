"""Rows of a table of the account's own (audience.models.DataTable). The option `table` names it, by its slug.

Each table declares its columns, so each has a checker of its own: `declared` makes it when a job needs it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import repeat
from typing import Any, ClassVar

from django.utils.translation import gettext_lazy as _

from audience.models import DataTable
from batchjobs.failures import FileFailureError
from batchjobs.ingestion.copytext import Part, copy_objects, copy_texts
from batchjobs.ingestion.records.base import EMAIL, PARTNER_USER_ID, Checker, RecordType, Values
from batchjobs.ingestion.records.columns import Column, Kind, Matched, canonical
from batchjobs.ingestion.records.table import Table
from batchjobs.ingestion.writing.records import RecordWriter

KINDS = {
    "text": Kind.LONG_TEXT,
    "number": Kind.NUMBER,
    "boolean": Kind.CHOICE,
    "date": Kind.DATE,
    "datetime": Kind.TIME,
}
EXAMPLES = {
    "text": "A1",
    "number": "12.50",
    "boolean": "true",
    "date": "2026-11-21",
    "datetime": "2026-11-21T14:30:00Z",
}
YES_OR_NO = {
    **dict.fromkeys(("true", "yes", "t", "y", "1"), "true"),
    **dict.fromkeys(("false", "no", "f", "n", "0"), "false"),
}


class RecordChecker(Checker):
    """Of no table yet: people are told of these columns, which those of linked data have beside their own."""

    columns = (EMAIL, PARTNER_USER_ID)
    table: ClassVar[int] = 0  # its id
    key: ClassVar[str] = ""
    own: ClassVar[tuple[Column, ...]] = ()  # the declared columns
    has_attributes = False  # what a row says is its own

    def missing(self, matched: Matched) -> tuple[str, str] | None:
        if not self.table:
            raise FileFailureError("TABLE_MISSING")
        if self.identity:
            return super().missing(matched)
        names = [column.name for column in self.own]
        needed = [self.key] if self.key else names
        if matched.known.keys() & set(needed):
            return None
        return (needed or ["column"])[0], "Without it no row can be one of the table, so nothing was changed."

    def has(self, name: str) -> bool:
        return bool(self.identity) and super().has(name)

    def _check_identity(self, table: Table, values: Values) -> None:
        if self.identity:
            super()._check_identity(table, values)

    def stage(self, table: Table, kept: Values, lines: list[int]) -> list[Iterable[str]]:
        blank = [""] * len(lines)
        is_json = (Kind.NUMBER, Kind.CHOICE)
        parts = [
            Part(column.name, kept[column.name], column.kind in is_json) for column in self.own if column.name in kept
        ]
        about = [kept.get(name, blank) if self.identity else blank for name in ("email", "partner_user_id")]
        return [
            map(str, lines),
            *map(copy_texts, about),
            repeat(str(self.table), len(lines)),
            copy_texts(kept.get(self.key, blank) if self.key else blank),
            copy_objects(parts, len(lines)),
        ]


def declared(database: int, options: Mapping[str, Any]) -> RecordType:
    """The record type of the table that the options name. Raises FileFailureError TABLE_MISSING."""
    slug = str(options.get("table") or "")
    table = DataTable.objects.filter(database=database, slug=slug).first()
    if table is None:
        raise FileFailureError("TABLE_MISSING")
    linked = table.kind == DataTable.Kind.LINKED
    people = (EMAIL, PARTNER_USER_ID) if linked else ()
    named = {column.name: column for column in people}
    # One that is called as a person's column is both.
    own = tuple(named.get(one["name"]) or _column(one["name"], one["type"], table.key) for one in table.columns)
    facts = {
        "columns": (*people, *(column for column in own if column.name not in named)),
        "own": own,
        "identity": RecordChecker.identity if linked else (),
        "personal": RecordChecker.personal if linked else (),
        "table": table.pk,
        "key": table.key,
    }
    return replace(RECORD, checker=type("TableChecker", (RecordChecker,), facts))


def _column(name: str, kind: str, key: str) -> Column:
    spelling = canonical(name)
    return Column(
        name,
        _("A column of the table."),
        EXAMPLES[kind],
        (spelling,) if spelling != name else (),
        # A key has an index, and so a length.
        Kind.TEXT if name == key and kind == "text" else KINDS[kind],
        required=name == key,
        choices=YES_OR_NO if kind == "boolean" else None,
    )


RECORD = RecordType(
    RecordChecker,
    RecordWriter,
    title=_("Linked data or repository"),
    help=_("Rows of a table of your own. It says which columns there are, and whether each row is about a person."),
    others=_("Columns that the table does not have are not kept."),
    keeps_others=False,
    options=("table",),
    declared=declared,
)
