"""What an export can hold: one module a kind of data, all of one shape. SOURCES is the registry."""

from __future__ import annotations

from exports.sources.base import (
    Field,
    Fields,
    Source,
    SourceError,
    changed,
    count,
    default_columns,
    preview,
)
from exports.sources.form_participation import FORM_PARTICIPATION
from exports.sources.interaction import INTERACTION
from exports.sources.list_member import LIST_MEMBER
from exports.sources.profile import PROFILE
from exports.sources.subscription import SUBSCRIPTION
from exports.sources.tables import LINKED_DATA, REPOSITORY

SOURCES: dict[str, Source] = {
    "profile": PROFILE,
    "interaction": INTERACTION,
    "subscription": SUBSCRIPTION,
    "form_participation": FORM_PARTICIPATION,
    "list_member": LIST_MEMBER,
    "linked_data": LINKED_DATA,
    "repository": REPOSITORY,
}

__all__ = [
    "SOURCES",
    "Field",
    "Fields",
    "Source",
    "SourceError",
    "changed",
    "count",
    "default_columns",
    "preview",
]
