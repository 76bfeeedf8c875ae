"""Form participations: the interactions whose event name begins with "form"."""

from __future__ import annotations

from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _

from audience.models import Database, Tombstone
from exports.sources.base import Rows
from exports.sources.interaction import InteractionSource


class FormSource(InteractionSource):
    data_type = "form_participation"
    title = _("Form participations")

    def rows(self, database: Database, table: str = "", kind: str = "") -> Rows:
        return super().rows(database, table, kind).filter(kind__istartswith="form")

    def buried_in(
        self, tombstones: QuerySet[Tombstone], database: Database, table: str, kind: str
    ) -> QuerySet[Tombstone]:
        return super().buried_in(tombstones, database, table, kind).filter(part__istartswith="form")


FORM_PARTICIPATION = FormSource()
