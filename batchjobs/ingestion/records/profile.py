"""Profiles: who a person is. What is not declared here becomes an attribute under the file's own name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from django.utils.translation import gettext_lazy as _

from batchjobs.ingestion.copytext import Part, copy_texts
from batchjobs.ingestion.records.base import EMAIL, FIRST_NAME, LAST_NAME, PARTNER_USER_ID, Checker, RecordType, Values
from batchjobs.ingestion.records.columns import Column, Kind
from batchjobs.ingestion.records.table import Table
from batchjobs.ingestion.writing.profiles import ProfileWriter


class PersonChecker(Checker):
    """Rows that say who somebody is, and what is known of them."""

    attributes: ClassVar[tuple[str, ...]]
    has_attributes = True

    def stage(self, table: Table, kept: Values, lines: list[int]) -> list[Iterable[str]]:
        blank = [""] * len(lines)
        known = [Part(name, kept[name]) for name in self.attributes if name in kept]
        return [
            map(str, lines),
            copy_texts(kept.get("email", blank)),
            copy_texts(kept.get("partner_user_id", blank)),
            table.objects(known, blank_is_null=self.context.blank_erases),
        ]


class ProfileChecker(PersonChecker):
    columns = (
        EMAIL,
        Column(
            "partner_user_id",
            _("Your own number for the person: it finds them again, also without an e-mail address."),
            "00112",
            (*PARTNER_USER_ID.aliases, "id"),
        ),
        FIRST_NAME,
        LAST_NAME,
        Column("title", _("Form of address."), "Dr", ("salutation",)),
        Column("gender", _("As you note it."), "female", ("sex",)),
        Column("birth_date", _("Date of birth."), "1984-04-25", ("birthday", "date_of_birth", "dob"), Kind.DATE),
        Column("phone", _("Telephone number."), "+351 210 000 000", ("phone_number", "telephone", "mobile")),
        Column("street", _("Street and number."), "Rua Augusta 1", ("address", "address_1", "street_address")),
        Column("city", _("Town."), "Lisboa", ("town",)),
        Column("state", _("State or region."), "Lisboa", ("region", "province")),
        Column("postcode", _("Post code."), "1100-048", ("postal_code", "post_code", "zip", "zip_code")),
        Column("country", _("Country, best as its two-letter code."), "PT", ("country_code",)),
        Column("language", _("Language, best as its code."), "pt", ("lang", "locale")),
    )
    attributes = tuple(column.name for column in columns[2:])


PROFILE = RecordType(
    ProfileChecker,
    ProfileWriter,
    title=_("Profiles"),
    help=_("One person in each row. Who is there already is changed where the file says something else."),
    others=_("Every other column is kept as an attribute of the person."),
    options=("blank_erases",),
)
