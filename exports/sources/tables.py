"""Linked data and repositories: the rows of a table of the account's own. `table` is its slug."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import F, QuerySet
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from audience.fields import KeySha256
from audience.models import Database, DataTable, Record, Tombstone
from exports.rows import ColumnType
from exports.sources import people
from exports.sources.base import Field, Free, Rows, Source, SourceError, is_storable
from exports.sources.expressions import JsonText, typed

PREFIX = "values."


class TableSource(Source):
    """Of tables of one kind. What is in a row without being a declared column is not shown."""

    needs_table = True
    model = Record
    key_sha256 = KeySha256("key")
    buried_as = Tombstone.Kind.RECORD
    kind: ClassVar[DataTable.Kind]

    def __init__(self, data_type: str, kind: DataTable.Kind, title: Any) -> None:
        self.data_type, self.kind, self.title = data_type, kind, title  # type: ignore[misc]  # of each object

    def table_get(self, database: Database, slug: str) -> DataTable:
        """Raises SourceError SOURCE_TABLE_MISSING."""
        found: DataTable | None = None
        if is_storable(slug):
            tables = DataTable.objects.filter(database=database, kind=self.kind)
            found = tables.filter(slug=slug).first()
        if found is None:
            raise SourceError("SOURCE_TABLE_MISSING", _t("There is no table “%(name)s”.") % {"name": slug}, table=slug)
        return found

    def fixed(self, database: Database, table: str) -> list[Field]:
        declared = [
            _declared(column["name"], ColumnType(column["type"])) for column in self.table_get(database, table).columns
        ]
        return [
            *(people.identity("profile__", "profile.") if self.kind is DataTable.Kind.LINKED else ()),
            *declared,
            Field("created_at", _("Created"), ColumnType.DATETIME, "2026-11-21T14:30:00Z", F("created_at")),
            Field("updated_at", _("Changed"), ColumnType.DATETIME, "2026-11-21T14:30:00Z", F("updated_at")),
            Field("id", _("Number of the row"), ColumnType.NUMBER, "7", F("pk"), is_default=False),
        ]

    def frees(self, database: Database, table: str) -> tuple[Free, ...]:
        linked = self.kind is DataTable.Kind.LINKED
        return (people.attributes("profile__", "profile.", is_default=False),) if linked else ()

    def rows(self, database: Database, table: str = "", kind: str = "") -> Rows:
        return Record.objects.filter(table=self.table_get(database, table))

    def buried_in(
        self, tombstones: QuerySet[Tombstone], database: Database, table: str, kind: str
    ) -> QuerySet[Tombstone]:
        return tombstones.filter(part=str(self.table_get(database, table).pk))


def _declared(name: str, kind: ColumnType) -> Field:
    text = JsonText("values", name)
    return Field(PREFIX + name, name, kind, "", typed(text, kind), text)


LINKED_DATA = TableSource("linked_data", DataTable.Kind.LINKED, _("Linked data"))
REPOSITORY = TableSource("repository", DataTable.Kind.REPOSITORY, _("Repository"))
