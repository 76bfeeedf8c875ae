"""List members: who is on a list, with what is known of them. `table` is the name of the list."""

from __future__ import annotations

from django.db.models import F, QuerySet
from django.db.models.functions import Coalesce
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from audience.fields import KeySha256
from audience.models import ContactList, Database, ListMember, Tombstone
from exports.rows import ColumnType
from exports.sources import people
from exports.sources.base import Field, Rows, Source, SourceError, is_storable, text_of


def list_get(database: Database, name: str) -> ContactList:
    """Raises SourceError SOURCE_TABLE_MISSING."""
    found: ContactList | None = None
    if is_storable(name):
        found = ContactList.objects.filter(database=database, name=name).first()
    if found is None:
        raise SourceError("SOURCE_TABLE_MISSING", _t("There is no list “%(name)s”.") % {"name": name}, table=name)
    return found


class ListMemberSource(Source):
    data_type = "list_member"
    title = _("List members")
    needs_table = True
    free = (people.attributes("profile__", "profile.", is_default=True),)
    model = ListMember
    key_sha256 = KeySha256(Coalesce("profile__email", "profile__partner_user_id"))
    buried_as = Tombstone.Kind.LIST_MEMBER

    def fixed(self, database: Database, table: str) -> list[Field]:
        list_get(database, table)
        return [
            *people.identity("profile__", "profile."),
            Field("list", _("List"), ColumnType.TEXT, "Newsletter", text_of("contact_list__name")),
            Field("joined_at", _("Joined"), ColumnType.DATETIME, "2026-11-21T14:30:00Z", F("joined_at")),
            people.opted_out_of("profile__", "profile."),
        ]

    def rows(self, database: Database, table: str = "", kind: str = "") -> Rows:
        found = list_get(database, table)
        return ListMember.objects.filter(contact_list=found)

    def buried_in(
        self, tombstones: QuerySet[Tombstone], database: Database, table: str, kind: str
    ) -> QuerySet[Tombstone]:
        return tombstones.filter(part=str(list_get(database, table).pk))


LIST_MEMBER = ListMemberSource()
