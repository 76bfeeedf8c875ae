"""Subscriptions: who must not be written to, on which channel, since when. `kind` is a channel, if only one is wanted.

An opt-out is known by hashes of the address or by the partner's number, never by a profile (audience.models).
"""

from __future__ import annotations

from django.db.models import F
from django.db.models.functions import Coalesce
from django.utils.translation import gettext_lazy as _

from audience.fields import KeySha256
from audience.models import Database, Suppression, Tombstone
from exports.rows import ColumnType
from exports.sources.base import Field, Rows, Source, text_of


class SubscriptionSource(Source):
    data_type = "subscription"
    title = _("Subscriptions (opt-outs)")
    has_kind = True
    model = Suppression
    key_sha256 = Coalesce(text_of("email_sha256"), KeySha256("partner_user_id"))
    buried_as = Tombstone.Kind.SUPPRESSION

    def fixed(self, database: Database, table: str) -> list[Field]:
        return [
            Field("channel", _("Channel"), ColumnType.TEXT, "email", text_of("channel")),
            Field("email_sha256", _("SHA-256 of the address"), ColumnType.TEXT, "973dfe46…", text_of("email_sha256")),
            Field("email_md5", _("MD5 of the address"), ColumnType.TEXT, "5ec2f2d0…", text_of("email_md5")),
            Field("partner_user_id", _("Partner user id"), ColumnType.TEXT, "00112", F("partner_user_id")),
            Field("reason", _("Reason"), ColumnType.TEXT, "Too many messages", text_of("reason")),
            Field("opted_out_at", _("Opted out"), ColumnType.DATETIME, "2026-11-21T14:30:00Z", F("opted_out_at")),
        ]

    def rows(self, database: Database, table: str = "", kind: str = "") -> Rows:
        rows: Rows = Suppression.objects.filter(database=database)
        return rows.filter(channel=kind) if kind else rows


SUBSCRIPTION = SubscriptionSource()
