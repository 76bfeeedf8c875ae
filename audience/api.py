"""`/api/v1/profiles` and `/api/v1/interactions`: enough to see that what went in is there."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext as _
from ninja import Query, Router, Schema
from ninja.errors import ValidationError
from pydantic import Field

from accounts.params import RowId, Text
from audience.services import interactions_of, profiles_found, suppressed_channels
from console.cursors import CursorError, cursor_decode, cursor_encode, time_of

router = Router(tags=["Audience"])

SORT = "occurred_at"  # the only one, and the mark of this list's cursors


class ProfileOut(Schema):
    id: int
    email: str | None
    partner_user_id: str | None
    attributes: dict[str, Any]
    lists: list[str] = Field(description="Names of the lists the person is on")
    suppressed: list[str] = Field(description="Channels on which the person must not be written to")
    database: str = Field(description="The slug of the database")
    created_at: str
    updated_at: str


class ProfileListOut(Schema):
    items: list[ProfileOut]
    next: str | None


class InteractionOut(Schema):
    id: int
    kind: str
    event_name: str = Field(description="The same as `kind`")
    occurred_at: str
    partner_event_id: str | None
    decision: str | None = Field(description="approved, declined, or null as long as nothing was decided")
    properties: dict[str, Any]
    profile_id: int
    email: str | None
    job: int = Field(description="The batch job that brought it in")
    line: int = Field(description="The line of that job's file")


class InteractionListOut(Schema):
    items: list[InteractionOut]
    next: str | None


class AudienceProblem(Schema):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[dict[str, str]] | None = None


REFUSED = frozenset({400, 401, 403, 422})


@router.get("/profiles", url_name="profiles", response={200: ProfileListOut, REFUSED: AudienceProblem})
def profile_list(request: Any, email: Query[Text]) -> dict[str, Any]:
    """The profiles with this e-mail address: one for each database that has it. Unknown: no items."""
    found = profiles_found(account=request.actor.account, email=email)
    return {
        "items": [
            {
                "id": profile.pk,
                "email": profile.email,
                "partner_user_id": profile.partner_user_id,
                "attributes": profile.attributes,
                "lists": sorted(profile.memberships.values_list("contact_list__name", flat=True)),
                "suppressed": suppressed_channels(profile=profile),
                "database": profile.database.slug,
                "created_at": _moment(profile.created_at),
                "updated_at": _moment(profile.updated_at),
            }
            for profile in found
        ],
        "next": None,
    }


class InteractionFilters(Schema):
    email: Text = Field("", max_length=254, description="Needed unless `profile_id` is given")
    profile_id: RowId | None = None
    kind: Text = Field("", max_length=200, description="The event's name")
    limit: int = Field(200, ge=1, le=1000)
    cursor: str = Field("", max_length=2000, description="`next` of the page before")


@router.get("/interactions", url_name="interactions", response={200: InteractionListOut, REFUSED: AudienceProblem})
def interaction_list(request: HttpRequest, filters: Query[InteractionFilters]) -> dict[str, Any]:
    """What a person did, oldest first."""
    if not filters.email and filters.profile_id is None:
        raise ValidationError([{"loc": ("query", "email"), "msg": _("Give an e-mail address or a profile_id.")}])
    account = request.actor.account  # type: ignore[attr-defined]
    people = profiles_found(account=account, email=filters.email, profile_id=filters.profile_id)
    start = None
    if filters.cursor:
        sort, value, pk = cursor_decode(filters.cursor)
        if sort != SORT:
            raise CursorError
        start = (time_of(value), pk)
    page = interactions_of(account=account, profiles=people, kind=filters.kind, after=start, limit=filters.limit + 1)
    more = len(page) > filters.limit
    page = page[: filters.limit]
    emails = {profile.pk: profile.email for profile in people}
    return {
        "items": [
            {
                "id": row.pk,
                "kind": row.kind,
                "event_name": row.kind,
                "occurred_at": _moment(row.occurred_at),
                "partner_event_id": row.external_id,
                "decision": row.decision,
                "properties": row.properties,
                "profile_id": row.profile_id,
                "email": emails[row.profile_id],
                "job": row.created_by_job,
                "line": row.row_no,
            }
            for row in page
        ],
        "next": cursor_encode(SORT, page[-1].occurred_at.isoformat(), page[-1].pk) if more else None,
    }


def _moment(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
