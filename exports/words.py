"""What the choices of an export are called on screen. Those about files are exports/writers/options.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy as _

from exports.models import DataType
from exports.states import ExportType

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

    Words = str | _StrPromise


@dataclass(frozen=True, slots=True)
class Said:
    """A choice: its name, and a line about it."""

    label: Words
    about: Words


DATA: dict[str, Said] = {
    DataType.PROFILE: Said(_("Profile"), _("People and their attributes")),
    DataType.INTERACTION: Said(_("Interaction"), _("Purchases and other events")),
    DataType.SUBSCRIPTION: Said(_("Subscriptions"), _("Who must not be written to, and since when")),
    DataType.FORM_PARTICIPATION: Said(_("Form participation"), _("Answers to forms")),
    DataType.LIST_MEMBER: Said(_("Contact list"), _("The people on a list")),
    DataType.LINKED_DATA: Said(_("Linked data"), _("Tables tied to a profile")),
    DataType.REPOSITORY: Said(_("Repository"), _("Catalogues and look-ups")),
}
TYPES: dict[str, Said] = {
    ExportType.ONE_SHOT: Said(_("One shot"), _("Once, now or at a moment you choose. You can download it.")),
    ExportType.PERIODIC_FULL: Said(_("Periodic full"), _("All matching rows, on a schedule, to a destination.")),
    ExportType.INCREMENTAL: Said(
        _("Incremental"), _("Only what is new since the last delivery, on a schedule, to a destination.")
    ),
    ExportType.CUSTOM: Said(_("Custom"), _("Set up by support staff.")),
    ExportType.INCREMENTAL_CUSTOM: Said(
        _("Incremental custom"), _("Only what is new since the last delivery, set up by support staff.")
    ),
}
# What an export type means, behind its name.
MEANINGS: dict[str, Words] = {
    ExportType.ONE_SHOT: _("once"),
    ExportType.PERIODIC_FULL: _("all matching rows each time"),
    ExportType.INCREMENTAL: _("only what is new since the last delivery"),
    ExportType.CUSTOM: _("as support staff set it up"),
    ExportType.INCREMENTAL_CUSTOM: _("only what is new since the last delivery"),
}
# Delimiters within a sentence; their names are those of exports.writers.options.
SEPARATED: dict[str, Words] = {";": _("semicolons"), ",": _("commas"), "\t": _("tabs"), "|": _("bars")}
