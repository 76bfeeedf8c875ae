"""Profiles: one person in each row."""

from __future__ import annotations

from django.db.models import F
from django.db.models.functions import Coalesce
from django.utils.translation import gettext_lazy as _

from audience.fields import KeySha256
from audience.models import Database, Profile, Tombstone
from exports.rows import ColumnType
from exports.sources import people
from exports.sources.base import Field, Rows, Source


class ProfileSource(Source):
    data_type = "profile"
    title = _("Profiles")
    free = (people.attributes("", "", is_default=True),)
    model = Profile
    key_sha256 = KeySha256(Coalesce("email", "partner_user_id"))
    buried_as = Tombstone.Kind.PROFILE

    def fixed(self, database: Database, table: str) -> list[Field]:
        return [
            *people.identity(),
            Field("created_at", _("Created"), ColumnType.DATETIME, "2026-11-21T14:30:00Z", F("created_at")),
            Field("updated_at", _("Changed"), ColumnType.DATETIME, "2026-11-21T14:30:00Z", F("updated_at")),
            Field("id", _("Number of the profile"), ColumnType.NUMBER, "7", F("pk"), is_default=False),
            people.opted_out(),
            people.lists(),
        ]

    def rows(self, database: Database, table: str = "", kind: str = "") -> Rows:
        return Profile.objects.filter(database=database)


PROFILE = ProfileSource()
