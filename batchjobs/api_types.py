"""`/api/v1/record-types`: what files of each type hold, as the ingestion declares it."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Router, Schema
from pydantic import Field

from batchjobs.options import OPTIONS
from batchjobs.reference import TypeEntry, type_entries

router = Router(tags=["Batch jobs"])


class ColumnOut(Schema):
    name: str
    holds: str
    kind: str = Field(description="What its values are")
    required: bool = Field(description="In each row")
    identity: bool = Field(description="At least one of the type's identities is in each row")
    aliases: list[str] = Field(description="Other names it is found by")
    example: str


class TypeOut(Schema):
    type: str
    title: str
    columns: list[ColumnOut]
    other_columns: str = Field(description="What becomes of columns that are not listed")


class OptionOut(Schema):
    name: str
    meaning: str


class TypesOut(Schema):
    items: list[TypeOut]
    options: list[OptionOut] = Field(description="What `options` of a new job can hold")


@router.get("/record-types", url_name="record_types", response=TypesOut)
def record_type_list(request: HttpRequest) -> dict[str, Any]:
    """The types of batch jobs with their columns, and the options for reading files."""
    return {
        "items": [_type(entry) for entry in type_entries()],
        "options": [{"name": name, "meaning": option.help} for name, option in OPTIONS.items()],
    }


def _type(entry: TypeEntry) -> dict[str, Any]:
    return {
        "type": entry.word,
        "title": str(entry.record_type.title),
        "other_columns": str(entry.record_type.others),
        "columns": [
            {
                "name": row.column.name,
                "holds": str(row.column.help),
                "kind": row.kind,
                "required": row.column.required,
                "identity": row.needed == "one",
                "aliases": list(row.column.aliases),
                "example": row.column.example,
            }
            for row in entry.columns
        ],
    }
