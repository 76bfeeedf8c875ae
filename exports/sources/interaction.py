"""Interactions: something that a person did in each row; of one kind, or of all."""

from __future__ import annotations

from django.db.models import F
from django.utils.translation import gettext_lazy as _

from audience.fields import KeySha256
from audience.models import Database, Interaction, Tombstone
from exports.rows import ColumnType
from exports.sources import people
from exports.sources.base import Field, Free, Rows, Source


class InteractionSource(Source):
    data_type = "interaction"
    title = _("Interactions")
    has_kind = True
    model = Interaction
    key_sha256 = KeySha256("external_id")
    buried_as = Tombstone.Kind.INTERACTION
    free = (
        Free("properties.", "properties"),
        people.attributes("profile__", "profile.", is_default=False),
    )

    def fixed(self, database: Database, table: str) -> list[Field]:
        return [
            Field("kind", _("Event name"), ColumnType.TEXT, "purchase", F("kind")),
            Field("occurred_at", _("Occurred"), ColumnType.DATETIME, "2026-11-21T14:30:00Z", F("occurred_at")),
            Field("external_id", _("Partner event id"), ColumnType.TEXT, "A-88121", F("external_id")),
            *people.identity("profile__", "profile."),
            Field("decision", _("Decision"), ColumnType.TEXT, "approved", F("decision"), is_default=False),
            Field("decision_note", _("Note"), ColumnType.TEXT, "", F("decision_note"), is_default=False),
            Field("decided_at", _("Decided"), ColumnType.DATETIME, "", F("decided_at"), is_default=False),
            Field("id", _("Number of the interaction"), ColumnType.NUMBER, "7", F("pk"), is_default=False),
        ]

    def rows(self, database: Database, table: str = "", kind: str = "") -> Rows:
        rows: Rows = Interaction.objects.filter(database=database)
        return rows.filter(kind=kind) if kind else rows


INTERACTION = InteractionSource()
