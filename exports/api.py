"""`/api/v1/exports`. Their runs are exports/api_runs.py, what can be a column or a filter exports/api_types.py.

A definition is checked by exports/definitions.py alone, so that a program is told the same as a person; the schemas of
bodies here only document it.
"""

from __future__ import annotations

from typing import Annotated, Any

from django.db.models import QuerySet, Value
from django.db.models.functions import Lower
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.translation import gettext as _
from ninja import Query, Router, Schema
from ninja.responses import Status as Answer
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SkipValidation, model_validator

from accounts.actors import Actor
from accounts.params import Text, json_storable
from batchjobs.api import REFUSED, SORTS, Moment, Problem, moment_text
from console.cursors import CursorError, behind, cursor_decode, cursor_encode, time_of
from exports import definitions, services
from exports.api_runs import RunOut, run_to_json
from exports.definitions import ExportRefusedError
from exports.models import DataType, Export
from exports.states import Action, ExportType, State
from exports.writers.options import COMPRESSIONS, ENCODINGS, FORMATS, NAME_PATTERN, QUOTING

router = Router(tags=["Exports"])

# What of a definition is an answer's, also where support staff look after the export.
ALWAYS_SHOWN = ("name", "database", "type", "data_type", "schedule")


# What is sent in.


class Body(BaseModel):
    """A JSON object of which each key is checked, and none is ignored. `given` are those that were sent."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"additionalProperties": False})

    @model_validator(mode="before")
    @classmethod
    def _storable(cls, value: Any) -> Any:
        json_storable(value)
        return value

    @property
    def given(self) -> dict[str, Any]:
        """Raises ExportRefusedError for a key that is not of this body."""
        for key in self.model_extra or ():
            raise ExportRefusedError(key, _("There is no “%(key)s” here.") % {"key": key})
        return {key: getattr(self, key) for key in self.model_fields_set}


class ColumnIn(BaseModel):
    field: str = Field(description="A name of /exports/fields")
    header: str = Field("", description="The name in the file; left out: the field's")


class FileIn(BaseModel):
    format: str = Field("csv", description=", ".join(FORMATS))
    delimiter: str = Field(";", description="CSV only: ; , | or a tab")
    quoting: str = Field("minimal", description=", ".join(QUOTING))
    header: bool = Field(True, description="Whether the first row has the names")
    encoding: str = Field("utf-8", description="CSV and PSV only: " + ", ".join(ENCODINGS))
    compression: str = Field("none", description=", ".join(COMPRESSIONS))
    name_pattern: str = Field(NAME_PATTERN, description="The ending is added: .csv.gz")
    formula_safe: bool = Field(False, description="A quote before cells that a spreadsheet would run as a formula")


class ScheduleIn(BaseModel):
    cadence: str = Field(description="daily, weekdays, weekly or monthly")
    at: str | list[str] = Field(description="HH:MM, or a list of up to 24")
    timezone: str = Field(description="An IANA name, such as Europe/Lisbon")
    weekday: int | None = Field(None, description="Weekly only: 0 (Monday) to 6")
    day: int | None = Field(None, description="Monthly only: 1 to 31; in a shorter month its last day")
    first_on: str | None = Field(None, description="The first day, YYYY-MM-DD")


class ExportPatch(Body):
    """The keys that are to change."""

    name: SkipValidation[str] = Field("", description="Unique in the account")
    database: SkipValidation[str] = Field("", description="The slug of a database; left out: the first one")
    type: SkipValidation[str] = Field("one_shot", description="one_shot, periodic_full or incremental")
    data_type: SkipValidation[str] = Field("profile", description=", ".join(DataType.values))
    table: SkipValidation[str] = Field("", description="Of linked data and repositories a slug, of lists the name")
    kind: SkipValidation[str] = Field("", description="Only events of this name, or opt-outs of this channel")
    columns: SkipValidation[list[ColumnIn] | None] = Field(None, description="In the order of the file; null: all")
    filter: SkipValidation[dict[str, Any] | None] = Field(
        None, description='{"and" or "or": [{"field", "op", "value"} or another group, …]}; null: all rows'
    )
    file: SkipValidation[FileIn | None] = Field(None, description="Left out: CSV; replaced as a whole")
    destination: SkipValidation[int | str] = Field(
        "download", description="download, transfer_box, or an id of /destinations"
    )
    schedule: SkipValidation[ScheduleIn | None] = Field(None, description="Of exports that recur")
    run_at: SkipValidation[str | None] = Field(None, description="A one-shot export at a moment; null: at once")
    start_with: SkipValidation[str] = Field(
        "everything", description="What the first incremental run sends: everything, or changes from its scheduling on"
    )
    deletions: SkipValidation[bool] = Field(
        False, description="Whether files of incremental exports tell what was deleted: _id, _key_sha256, _deleted"
    )
    send_empty: SkipValidation[bool] = Field(True, description="Whether a file without rows is delivered")
    recipients: SkipValidation[list[str]] = Field([], description="E-mail addresses that get the report")
    report_when: SkipValidation[str] = Field("always", description="always, problems")


class ExportIn(ExportPatch):
    """A definition. A draft may have gaps; scheduling says what is missing."""

    name: SkipValidation[str] = Field(description="Unique in the account")


class CopyIn(Body):
    name: SkipValidation[str] = Field("", description="Of the copy; unique in the account")


class UnscheduleIn(Body):
    for_good: SkipValidation[bool] = Field(
        False, description="Turns an export of support staff into a standard one; there it has to be true"
    )


# What is answered.


class ExportOut(Schema):
    """An export: a draft, scheduled, or a one-shot export that was started. Its executions are runs.

    Of custom exports, which support staff look after, the definition is null.
    """

    id: int
    name: str
    database: str = Field(description="The slug of the database")
    type: str = Field(description=", ".join(ExportType.values))
    data_type: str
    table: str | None
    kind: str | None
    columns: list[dict[str, str]] | None = Field(description="null: all")
    filter: dict[str, Any] | None
    file: dict[str, Any] | None
    destination: int | str | None = Field(description="download, or an id of /destinations")
    schedule: dict[str, Any] | None
    run_at: Moment | None
    start_with: str | None
    deletions: bool | None
    send_empty: bool | None
    recipients: list[str] | None
    report_when: str | None
    status: str = Field(description=", ".join(State.values))
    next_run_at: Moment | None
    resync: bool = Field(description="Whether the next run sends everything")
    stopped_because: str | None = Field(description="Why Batchdesk itself unscheduled it: FIVE_FAILURES")
    support_note: str | None = Field(description="What the definition of a support staff's export does not show")
    scheduled_at: Moment | None
    created_at: Moment
    edited_at: Moment
    links: dict[str, str] = Field(
        description="self, runs, schedule, unschedule, run, resync, copy: those that work now, for this key"
    )


class ExportListOut(Schema):
    items: list[ExportOut]
    next: str | None


EXPORT_LINKS: dict[Action, str] = {
    Action.SCHEDULE: "schedule",
    Action.UNSCHEDULE: "unschedule",
    Action.RUN_NOW: "run",
    Action.RESYNC: "resync",
    Action.COPY: "copy",
}
ROUTES = {"run": "run_now"}  # a link and its route are called the same but for this one


def export_to_json(export: Export, *, by: Actor) -> dict[str, Any]:
    """The export as programs see it; `links` are what `by` can do now."""
    allowed = services.actions_allowed(export, by=by)
    names = [name for action, name in EXPORT_LINKS.items() if action in allowed]
    if Action.SCHEDULE in allowed and services.can_run(export):
        names.append("run")
    shown = definitions.to_json(export)
    if Action.VIEW not in allowed:
        shown = {key: value if key in ALWAYS_SHOWN else None for key, value in shown.items()}
    return {
        "id": export.pk,
        **shown,
        "run_at": shown["run_at"] and moment_text(export.run_at),
        "status": export.state,
        "next_run_at": moment_text(export.next_run_at),
        "resync": export.resync,
        "stopped_because": export.stopped_because or None,
        "support_note": export.support_note or None,
        "scheduled_at": moment_text(export.scheduled_at),
        "created_at": moment_text(export.created_at),
        "edited_at": moment_text(export.edited_at),
        "links": {
            "self": reverse("api:export", args=[export.pk]),
            "runs": reverse("api:export_runs", args=[export.pk]),
            **{name: reverse(f"api:export_{ROUTES.get(name, name)}", args=[export.pk]) for name in names},
        },
    }


def _exports(request: Any) -> QuerySet[Export]:
    exports: QuerySet[Export] = Export.objects.for_account(request.actor.account)
    return exports.select_related("account", "database", "destination")


def _export(request: Any, export_id: int) -> Export:
    return get_object_or_404(_exports(request), pk=export_id)


def _shown(request: Any, export: Export) -> dict[str, Any]:
    """The export as it is now."""
    return export_to_json(_export(request, export.pk), by=request.actor)


def _words(known: list[str]) -> Any:
    """A validator of several words, comma separated or repeated."""

    def check(values: list[str]) -> list[str]:
        words = [word.strip() for value in values for word in value.split(",") if word.strip()]
        for word in words:
            if word not in known:
                raise ValueError(_("“%(word)s” is none of %(list)s.") % {"word": word, "list": ", ".join(known)})
        return words

    return AfterValidator(check)


def _sort(value: str) -> str:
    if value not in SORTS:
        raise ValueError(_("Sort by one of %(list)s.") % {"list": ", ".join(SORTS)})
    return value


class ExportFilters(Schema):
    q: Text = Field("", max_length=120, description="Part of the name")
    status: Annotated[list[str], _words(State.values)] = Field([], description="Several, or comma separated")
    type: Annotated[list[str], _words(ExportType.values)] = Field([], description="Several, or comma separated")
    data_type: Annotated[list[str], _words(DataType.values)] = Field([], description="Several, or comma separated")
    database: Text = Field("", max_length=60, description="The slug of a database")
    sort: Annotated[str, AfterValidator(_sort)] = Field("-created_at", description=", ".join(SORTS))
    limit: int = Field(50, ge=1, le=200)
    cursor: str = Field("", max_length=2000, description="`next` of the page before")


@router.get("/exports", url_name="exports", response={200: ExportListOut, REFUSED | {400}: Problem})
def export_list(request: Any, filters: Query[ExportFilters]) -> dict[str, Any]:
    """The account's exports, newest first. `next` is the cursor of the next page."""
    column, descending = SORTS[filters.sort]
    found: Any = _exports(request).alias(name_lower=Lower("name"))
    if filters.q:
        # lower() on both sides is what the trigram index serves; % and _ are escaped by Django.
        found = found.filter(name_lower__contains=Lower(Value(filters.q)))
    chosen = {"state": filters.status, "type": filters.type, "data_type": filters.data_type}
    found = found.filter(**{f"{name}__in": values for name, values in chosen.items() if values})
    if filters.database:
        found = found.filter(database=definitions.database_of(request.actor.account, filters.database))
    if filters.cursor:
        sort, value, pk = cursor_decode(filters.cursor)
        if sort != filters.sort:
            raise CursorError
        start = time_of(value) if column == "created_at" else value
        found = found.filter(behind(column, start, pk, descending=descending))
    sign = "-" if descending else ""
    page = list(found.annotate(name_lower=Lower("name")).order_by(f"{sign}{column}", f"{sign}pk")[: filters.limit + 1])
    last = page[filters.limit - 1] if len(page) > filters.limit else None
    return {
        "items": [export_to_json(export, by=request.actor) for export in page[: filters.limit]],
        "next": last
        and cursor_encode(
            filters.sort, last.created_at.isoformat() if column == "created_at" else last.name_lower, last.pk
        ),
    }


@router.post("/exports", url_name="exports", response={201: ExportOut, REFUSED | {400}: Problem})
def export_create(request: Any, response: HttpResponse, body: ExportIn) -> Answer:
    """A draft. What is wrong is refused key by key; what is still missing is said when it is scheduled."""
    export = services.export_create(by=request.actor, definition=body.given, step=definitions.STEPS)
    response["Location"] = reverse("api:export", args=[export.pk])
    return Answer(201, _shown(request, export))


@router.get("/exports/{int:export_id}", url_name="export", response={200: ExportOut, REFUSED: Problem})
def export_read(request: Any, export_id: int) -> dict[str, Any]:
    """One export."""
    return export_to_json(_export(request, export_id), by=request.actor)


@router.patch("/exports/{int:export_id}", url_name="export", response={200: ExportOut, REFUSED | {400, 409}: Problem})
def export_update(request: Any, export_id: int, body: ExportPatch) -> dict[str, Any]:
    """Changes the keys that are sent. Only of a draft: what is scheduled is unscheduled first (409)."""
    export = _export(request, export_id)
    changes = body.given
    return _shown(
        request,
        services.export_update(export=export, by=request.actor, changes=changes, step=definitions.STEPS),
    )


@router.delete("/exports/{int:export_id}", url_name="export", response={204: None, REFUSED | {409}: Problem})
def export_delete(request: Any, export_id: int) -> Answer:
    """Removes a draft. The runs it once had stay."""
    services.export_delete(export=_export(request, export_id), by=request.actor)
    return Answer(204, None)


@router.post(
    "/exports/{int:export_id}/schedule",
    url_name="export_schedule",
    response={200: ExportOut, REFUSED | {409}: Problem},
)
def export_schedule(request: Any, export_id: int) -> dict[str, Any]:
    """Starts a one-shot export, now or at its moment; makes another one run from now on."""
    return _shown(request, services.export_schedule(export=_export(request, export_id), by=request.actor))


@router.post(
    "/exports/{int:export_id}/unschedule",
    url_name="export_unschedule",
    response={200: ExportOut, REFUSED | {400, 409}: Problem},
)
def export_unschedule(request: Any, export_id: int, body: UnscheduleIn | None = None) -> dict[str, Any]:
    """Back to the drafts: nothing runs any more until it is scheduled again."""
    export = _export(request, export_id)
    for_good = (body.given if body else {}).get("for_good", False)
    if not isinstance(for_good, bool):
        raise ExportRefusedError("for_good", _("This is true or false."))
    return _shown(request, services.export_unschedule(export=export, by=request.actor, for_good=for_good))


@router.post(
    "/exports/{int:export_id}/copy", url_name="export_copy", response={201: ExportOut, REFUSED | {400, 409}: Problem}
)
def export_copy(request: Any, response: HttpResponse, export_id: int, body: CopyIn | None = None) -> Answer:
    """A draft with the same definition. Of an incremental custom export, its standard equivalent."""
    export = _export(request, export_id)
    given = body.given if body else {}
    export = services.export_copy(export=export, by=request.actor, name=given.get("name", ""))
    response["Location"] = reverse("api:export", args=[export.pk])
    return Answer(201, _shown(request, export))


@router.post(
    "/exports/{int:export_id}/run", url_name="export_run_now", response={201: RunOut, REFUSED | {409}: Problem}
)
def export_run_now(request: Any, response: HttpResponse, export_id: int) -> Answer:
    """A run now: starts a one-shot draft; of what is scheduled, one beside its schedule."""
    run = services.export_run(export=_export(request, export_id), by=request.actor)
    response["Location"] = reverse("api:export_run", args=[run.pk])
    return Answer(201, run_to_json(run, by=request.actor))


@router.post(
    "/exports/{int:export_id}/resync", url_name="export_resync", response={200: ExportOut, REFUSED | {409}: Problem}
)
def export_resync(request: Any, export_id: int) -> dict[str, Any]:
    """The next run of an incremental export sends everything."""
    return _shown(request, services.export_resync(export=_export(request, export_id), by=request.actor))
