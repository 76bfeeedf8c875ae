"""Fields of a person, for the sources whose rows are about one."""

from __future__ import annotations

from typing import Any

from django.db.models import BooleanField, Exists, ExpressionWrapper, F, OuterRef, Q
from django.utils.translation import gettext_lazy as _

from audience.models import ListMember, Profile, is_suppressed
from exports.rows import ColumnType
from exports.sources.base import Field, Free

OPTED_OUT = {"is_true": _("E-mail is opted out"), "is_false": _("E-mail is not opted out")}


def identity(path: str = "", prefix: str = "") -> list[Field]:
    """Address and number. `path` leads to the profile in the ORM, `prefix` stands before the names."""
    return [
        Field(
            f"{prefix}email",
            _("E-mail"),
            ColumnType.TEXT,
            "ines.prata@example.com",
            F(f"{path}email"),
            is_lowered=True,
        ),
        Field(f"{prefix}partner_user_id", _("Partner user id"), ColumnType.TEXT, "00112", F(f"{path}partner_user_id")),
    ]


def attributes(path: str, prefix: str, *, is_default: bool) -> Free:
    return Free(f"{prefix}attributes.", f"{path}attributes", is_default)


def opted_out() -> Field:
    """Of a profile: whether it must not be written to by e-mail."""
    return Field(
        "opted_out",
        _("Opted out of e-mail"),
        ColumnType.BOOLEAN,
        "false",
        ExpressionWrapper(is_suppressed("email"), BooleanField()),
        is_default=False,
        sentences=OPTED_OUT,
    )


def opted_out_of(path: str, prefix: str) -> Field:
    """The same of a row about a profile."""
    suppressed = Profile.objects.suppressed("email").filter(pk=OuterRef(path.removesuffix("__")))
    return Field(
        f"{prefix}opted_out",
        _("Opted out of e-mail"),
        ColumnType.BOOLEAN,
        "false",
        Exists(suppressed),
        is_default=False,
        sentences=OPTED_OUT,
    )


def lists() -> Field:
    """Of a profile: the lists it is on, by their names. Only asked about."""
    return Field(
        "lists",
        _("Lists"),
        ColumnType.TEXT,
        "Newsletter",
        F("pk"),
        is_default=False,
        is_column=False,
        asks=_on_lists,
        sentences={
            "one_of": _("On the list %(value)s"),
            "is": _("On the list %(value)s"),
            "is_not": _("Not on the list %(value)s"),
            "is_empty": _("On no list"),
            "is_not_empty": _("On some list"),
        },
    )


def _on_lists(op: str, names: list[str]) -> Any:
    members = ListMember.objects.filter(profile=OuterRef("pk"))
    if names:
        # The names of another database's lists are not those of this one's.
        members = members.filter(contact_list__name__in=names, contact_list__database=OuterRef("database"))
    return Q(~Exists(members) if op in ("is_not", "is_empty") else Exists(members))
