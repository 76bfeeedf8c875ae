"""What exports can hold and where they can go: `/api/v1/exports/fields` and `/api/v1/destinations`."""

from __future__ import annotations

from typing import Annotated, Any

from django.utils.translation import gettext as _
from ninja import Query, Router, Schema
from pydantic import AfterValidator, Field

from accounts.params import Text
from audience.models import Database
from audience.services import database_default
from batchjobs.api import REFUSED, Problem
from console.cursors import CursorError, cursor_decode, cursor_encode
from exports import conditions
from exports.definitions import WITH_TABLE, ExportRefusedError
from exports.models import DataType, Destination
from exports.sources import SOURCES, SourceError

router = Router(tags=["Exports"])

DESTINATION_SORT = "id"


class ExportFieldOut(Schema):
    name: str = Field(description="What `columns` and `filter` say")
    label: str
    type: str = Field(description="text, number, boolean, date, datetime or json")
    operators: list[str] = Field(description="What a filter can ask")
    is_column: bool = Field(description="Else it can only be asked about")
    is_default: bool = Field(description="Whether it is among the columns where an export names none")
    is_free: bool = Field(description="A key that was seen in newest rows; others can be named too")
    example: str


class ExportFieldsOut(Schema):
    items: list[ExportFieldOut]
    next: str | None


class DestinationOut(Schema):
    id: int
    name: str
    kind: str


class DestinationListOut(Schema):
    items: list[DestinationOut]
    next: str | None


def _data_type(value: str) -> str:
    if value not in DataType.values:
        words = {"word": value, "list": ", ".join(DataType.values)}
        raise ValueError(_("There is no data type “%(word)s”; there are %(list)s.") % words)
    return value


class FieldFilters(Schema):
    data_type: Annotated[Text, AfterValidator(_data_type)] = Field(description=", ".join(DataType.values))
    database: Text = Field("", max_length=60, description="The slug of a database; left out: the first one")
    table: Text = Field("", max_length=120, description="Of linked data and repositories a slug, of lists the name")
    kind: Text = Field("", max_length=200, description="Only events of this name")


@router.get("/exports/fields", url_name="export_fields", response={200: ExportFieldsOut, REFUSED: Problem})
def export_field_list(request: Any, filters: Query[FieldFilters]) -> dict[str, Any]:
    """What can be a column of an export, and what its filter can ask about."""
    account = request.actor.account
    database = database_default(account=account)
    if filters.database:
        found = Database.objects.for_account(account).filter(slug=filters.database).first()
        if found is None:
            raise ExportRefusedError("database", _("There is no database “%(name)s”.") % {"name": filters.database})
        database = found
    if filters.data_type in WITH_TABLE and not filters.table:
        raise ExportRefusedError("table", _("Say which table or list."))
    try:
        fields = SOURCES[filters.data_type].fields(database, filters.table, filters.kind)
    except SourceError as error:
        raise ExportRefusedError("table", error.sentence) from error
    return {
        "items": [
            {
                "name": field.name,
                "label": str(field.label),
                "type": field.type.value,
                "operators": list(conditions.operators_of(field)),
                "is_column": field.is_column,
                "is_default": field.is_default and field.is_column,
                "is_free": field.is_free,
                "example": field.example or "",
            }
            for field in fields
        ],
        "next": None,
    }


class DestinationFilters(Schema):
    limit: int = Field(50, ge=1, le=200)
    cursor: str = Field("", max_length=2000, description="`next` of the page before")


@router.get("/destinations", url_name="destinations", response={200: DestinationListOut, REFUSED | {400}: Problem})
def destination_list(request: Any, filters: Query[DestinationFilters]) -> dict[str, Any]:
    """The account's destinations. The transfer box is among them once it was used; it can always be named."""
    found = Destination.objects.for_account(request.actor.account).order_by("pk")
    if filters.cursor:
        sort, _value, pk = cursor_decode(filters.cursor)
        if sort != DESTINATION_SORT:
            raise CursorError
        found = found.filter(pk__gt=pk)
    page = list(found[: filters.limit + 1])
    more = len(page) > filters.limit
    page = page[: filters.limit]
    return {
        "items": [{"id": one.pk, "name": one.name, "kind": one.kind} for one in page],
        "next": cursor_encode(DESTINATION_SORT, "", page[-1].pk) if more else None,
    }
