"""What an export is defined by: checked key by key, as JSON, and as a query.

The keys are those of the API. A draft may have gaps, so each key is checked by itself (`apply`); whether all is there
is asked when it is scheduled (`problems_of`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _

from accounts.actors import Actor
from accounts.models import Account
from audience.models import Database, Tombstone
from audience.services import database_default
from audience.windows import Window
from exports import conditions, sources
from exports.destinations import transfer_box_of
from exports.errors import ExportError
from exports.models import DataType, Destination, Export, ReportWhen
from exports.names import PatternError, pattern_check
from exports.rows import Selection
from exports.schedules import Schedule, ScheduleError
from exports.sources import SourceError
from exports.sources.base import (
    COLUMNS_MAX,
    FIELD_NAME_MAX,
    HEADER_MAX,
    TOLD,
    Ask,
    header_text,
    is_storable,
)
from exports.states import RECURRING, STANDARD, WINDOWED, ExportType
from exports.writers import FORMATS, FileOptions, OptionError, suffix_of

STEPS = 7  # of the wizard
NAME_MAX = 120
RECIPIENTS_MAX = 50
RUN_YEARS = (1970, 2200)
DOWNLOAD = "download"

# What of the data each type of export can be made of.
DATA_TYPES: dict[str, frozenset[str]] = {
    ExportType.ONE_SHOT: frozenset(DataType.values),
    ExportType.PERIODIC_FULL: frozenset(
        {DataType.PROFILE, DataType.LIST_MEMBER, DataType.LINKED_DATA, DataType.REPOSITORY}
    ),
    ExportType.INCREMENTAL: frozenset(
        {DataType.PROFILE, DataType.INTERACTION, DataType.SUBSCRIPTION, DataType.FORM_PARTICIPATION}
    ),
}
# Custom exports can be made of any.
DATA_TYPES[ExportType.INCREMENTAL_CUSTOM] = DATA_TYPES[ExportType.INCREMENTAL]
WITH_TABLE = frozenset({DataType.LIST_MEMBER, DataType.LINKED_DATA, DataType.REPOSITORY})


class ExportRefusedError(Exception):
    """A definition at fault: `field` is the API's key. Nothing was changed. The message is a sentence."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


# As a query.


@dataclass(frozen=True, slots=True)
class Definition:
    """What is read and how it is written: the part of a definition that a run needs."""

    database: Database
    data_type: str
    table: str
    kind: str
    columns: list[dict[str, str]] | None
    filter: dict[str, Any] | None
    file: FileOptions
    deletions: bool = False  # of incremental exports: the file tells what was deleted too

    @property
    def source(self) -> sources.Source:
        return sources.SOURCES[self.data_type]

    def fields(self, *, seen: bool = True) -> sources.Fields:
        """What can be a column; free keys that rows have only if `seen`. Raises SourceError."""
        return self.source.fields(self.database, self.table, self.kind, seen=seen)

    def rows(self, window: Window | None = None, *, filtered: bool = True, returned: bool = False) -> Any:
        """The rows as a QuerySet, those of a window only if one is given. Raises SourceError.

        With `returned`, also those that are there under a number or key that tombstones of the window tell as deleted.
        """
        rows = self.source.rows(self.database, self.table, self.kind)
        if filtered and self.filter:
            rows = rows.filter(conditions.condition(self.filter, self.fields(seen=False)))
        if window is None:
            return rows
        tombstones = self.tombstones(window) if returned else None
        if tombstones is None:
            return window.rows(rows)
        # A key is asked of every row, which takes its time; only who sends a window again does.
        keys = tombstones.filter(key_sha256__isnull=False).values("key_sha256")
        known = rows.alias(key_now=self.source.key_sha256)
        return known.filter(
            Q(pk__in=window.rows(rows).values("pk")) | Q(pk__in=tombstones.values("row_id")) | Q(key_now__in=keys)
        )

    def tombstones(self, window: Window | None) -> QuerySet[Tombstone] | None:
        """What was deleted in the window, if the file tells it; nothing if it holds everything. Raises SourceError."""
        if not self.deletions:
            return None
        tombstones = self.source.tombstones(self.database, self.table, self.kind)
        return window.rows(tombstones) if window else tombstones.none()

    def selection(self, window: Window | None, *, ask: Ask, returned: bool = False) -> Selection:
        """The whole query of a run; `ask` asks in its snapshot. Raises ExportError for what is no longer there."""
        typed = FORMATS[self.file.format].is_typed
        try:
            rows = self.rows(window, returned=returned)
            if self.columns is None:
                fields = self.source.fields_of(rows, self.database, self.table, ask=ask)
            else:
                fields = self.fields(seen=typed)
            return self.source.selection(
                rows, self.columns, fields, typed=typed, ask=ask, tombstones=self.tombstones(window)
            )
        except SourceError as error:
            raise ExportError(error.code, **{"reason": error.sentence, **error.params}) from error


def definition_of(export: Export) -> Definition:
    return Definition(
        export.database,
        export.data_type,
        export.table,
        export.kind,
        export.columns,
        export.filter,
        FileOptions.from_json(export.file),
        export.deletions and export.type in WINDOWED,
    )


def from_json(definition: Mapping[str, Any], *, database: Database) -> Definition:
    """The definition that a run keeps. Raises ExportError if it can no longer be read."""
    try:
        file = FileOptions.from_json(definition.get("file") or {})
    except OptionError as error:
        raise ExportError("DEFINITION_INVALID", reason=str(error)) from error
    return Definition(
        database,
        str(definition["data_type"]),
        str(definition.get("table") or ""),
        str(definition.get("kind") or ""),
        definition.get("columns"),
        definition.get("filter"),
        file,
        bool(definition.get("deletions")) and definition["type"] in WINDOWED,
    )


# As JSON.


def to_json(export: Export) -> dict[str, Any]:
    """The definition as the API has it."""
    return {
        "name": export.name,
        "database": export.database.slug,
        "type": export.type,
        "data_type": export.data_type,
        "table": export.table,
        "kind": export.kind,
        "columns": export.columns,
        "filter": export.filter,
        "file": export.file,
        "destination": export.destination_id or DOWNLOAD,
        "schedule": export.schedule,
        "run_at": export.run_at.isoformat() if export.run_at else None,
        "start_with": export.start_with,
        "deletions": export.deletions,
        "send_empty": export.send_empty,
        "recipients": export.recipients,
        "report_when": export.report_when,
    }


# Checked key by key.


def blank(account: Account) -> Export:
    """An export that nothing is known of yet."""
    return Export(account=account, database=database_default(account=account), file=FileOptions(format="csv").to_json())


def apply(export: Export, changes: Mapping[str, Any], *, by: Actor) -> None:
    """Puts the keys of `changes` into the export, unsaved. Raises ExportRefusedError at the first one at fault."""
    unknown = sorted(set(changes) - set(_SETTERS))
    if unknown:
        raise ExportRefusedError(unknown[0], _("There is no “%(key)s” in an export.") % {"key": unknown[0]})
    before = to_json(export)
    # In this order, because what can be chosen depends on what was chosen before.
    for key, setter in _SETTERS.items():
        if key in changes:
            setter(export, changes[key], by)
    if "name" in changes and "file" not in changes:
        _file_of_name(export, export.file, by)
    _leave_out(export, changes)
    _begin_anew(export, before)
    if {"columns", "filter", "table", "kind", "data_type", "database", "type", "deletions"} & set(changes):
        _check_query(export)


# What decides which rows leave, and how: of another table, or otherwise.
SOURCE_KEYS = ("database", "data_type", "table", "kind")
SENT_KEYS = (*SOURCE_KEYS, "columns", "filter", "deletions")


def sends_same(export: Export, definition: Mapping[str, Any]) -> bool:
    """Whether the export sends what it did when `definition` was its own: else a window of then means nothing now."""
    now = to_json(export)
    return all(definition.get(key) == now[key] or not (definition.get(key) or now[key]) for key in SENT_KEYS)


def _begin_anew(export: Export, before: Mapping[str, Any]) -> None:
    """The next run is a first one if what the export sends is no longer what was sent, as `start_with` says.

    Of the same table, with what changes from now on, it goes on where it ended: nothing in between is left out.
    """
    now = to_json(export)
    changed = {key for key in (*SENT_KEYS, "start_with") if before[key] != now[key]}
    if changed & set(SOURCE_KEYS) or (changed and export.start_with == "everything"):
        export.watermark, export.watermark_at, export.server, export.resync_at = None, None, "", None


def restore(export: Export, definition: Mapping[str, Any], *, by: Actor) -> None:
    """Puts a definition that was good once into a new export: what can no longer be used is left out.

    Raises ExportRefusedError for the name, and for the file: without its options it would be quite another one.
    """
    for key, setter in _SETTERS.items():
        if key not in definition:
            continue
        if key == "file":
            _file_of_name(export, definition[key], by)
            continue
        try:
            setter(export, definition[key], by)
        except ExportRefusedError:
            if key == "name":
                raise


def problems_of(export: Export, *, now: dt.datetime | None = None) -> list[ExportRefusedError]:
    """What keeps the export from being scheduled, in the order of the wizard's steps."""
    found = []

    def add(field: str, message: str) -> None:
        found.append(ExportRefusedError(field, message))

    possible = DATA_TYPES.get(export.type)
    if possible is not None and export.data_type not in possible:
        words = {"type": ExportType(export.type).label, "data": DataType(export.data_type).label}
        add("data_type", _("“%(data)s” cannot be exported as “%(type)s”.") % words)
    if export.data_type in WITH_TABLE and not export.table:
        add("table", _("Choose which table or list is to leave."))
    elif not found:
        try:
            _check_query(export)
        except ExportRefusedError as error:
            found.append(error)
    try:
        _file_options(export.file, name=export.name)
    except ExportRefusedError as error:
        found.append(error)
    if export.type in RECURRING:
        if export.destination_id is None:
            add("destination", _("An export that recurs goes to a destination, not to a download."))
        if not export.schedule:
            add("schedule", _("Say when the export runs."))
    return found


def _check_query(export: Export) -> None:
    """Columns and filter against what there is. Raises ExportRefusedError."""
    if export.data_type in WITH_TABLE and not export.table:
        return
    definition = definition_of(export)
    try:
        fields = definition.fields(seen=False)
    except SourceError as error:
        raise ExportRefusedError("table", error.sentence) from error
    for column in export.columns or []:
        found = fields.find(column["field"])
        if found is None or not found.is_column:
            raise ExportRefusedError("columns", _("There is no column “%(name)s”.") % {"name": column["field"]})
    if definition.deletions:
        for header in {column["header"] for column in export.columns or []} & set(TOLD):
            raise ExportRefusedError(
                "deletions", _("“%(name)s” is a column of the deletions. Call yours something else.") % {"name": header}
            )
    try:
        definition.rows()
    except SourceError as error:
        raise ExportRefusedError("filter", error.sentence) from error


def _leave_out(export: Export, changes: Mapping[str, Any]) -> None:
    """What the data do not have: refused if it was asked for, else what was there before goes."""
    source = sources.SOURCES[export.data_type]
    for key, has in (("table", source.needs_table), ("kind", source.has_kind)):
        if has or not getattr(export, key):
            continue
        if changes.get(key):
            words = {"data": DataType(export.data_type).label, "key": key}
            raise ExportRefusedError(key, _("“%(data)s” has no “%(key)s”. Leave it out.") % words)
        setattr(export, key, "")


def _text(field: str, value: Any, limit: int) -> str:
    if not isinstance(value, str):
        raise ExportRefusedError(field, _("This has to be a text."))
    text = value.strip()
    if len(text) > limit:
        raise ExportRefusedError(field, _("This can have %(n)s characters at most.") % {"n": limit})
    if any(ord(letter) < 32 or 0xD800 <= ord(letter) <= 0xDFFF for letter in text):
        raise ExportRefusedError(field, _("Control characters cannot be used here."))
    return text


def _name(export: Export, value: Any, by: Actor) -> None:
    name = _text("name", value, NAME_MAX)
    if not name:
        raise ExportRefusedError("name", _("Give the export a name."))
    export.name = name


def database_of(account: Account, slug: str) -> Database:
    """The account's database of this name. Raises ExportRefusedError."""
    found: Database | None = Database.objects.for_account(account).filter(slug=slug).first()
    if found is None:
        raise ExportRefusedError("database", _("There is no database “%(name)s”.") % {"name": slug})
    return found


def _database(export: Export, value: Any, by: Actor) -> None:
    export.database = database_of(by.account, _text("database", value, 60))


def _choice(field: str, choices: Any, message: str) -> Any:
    def setter(export: Export, value: Any, by: Actor) -> None:
        if value not in list(choices):  # a list: the value may be anything
            raise ExportRefusedError(field, message % {"value": value})
        setattr(export, field, value)

    return setter


def _short_text(field: str, limit: int) -> Any:
    def setter(export: Export, value: Any, by: Actor) -> None:
        setattr(export, field, _text(field, value or "", limit))

    return setter


def _boolean(field: str) -> Any:
    def setter(export: Export, value: Any, by: Actor) -> None:
        if not isinstance(value, bool):
            raise ExportRefusedError(field, _("This is true or false."))
        setattr(export, field, value)

    return setter


def _columns(export: Export, value: Any, by: Actor) -> None:
    if value is None:
        export.columns = None
        return
    if not isinstance(value, list) or not value:
        raise ExportRefusedError("columns", _("Choose at least one column, or leave the columns out for all."))
    if len(value) > COLUMNS_MAX:
        raise ExportRefusedError("columns", _("A file can have %(n)s columns at most.") % {"n": COLUMNS_MAX})
    columns = []
    for one in value:
        if not isinstance(one, dict) or not isinstance(one.get("field"), str):
            raise ExportRefusedError("columns", _("A column is an object with “field” and, if you like, “header”."))
        for key in one.keys() - {"field", "header"}:
            raise ExportRefusedError("columns", _("There is no “%(key)s” in a column.") % {"key": key})
        field = _field_name(one["field"])
        header = _text("columns", one.get("header") or header_text(field), HEADER_MAX)
        columns.append({"field": field, "header": header})
    headers = [column["header"] for column in columns]
    for header in headers:
        if headers.count(header) > 1:
            raise ExportRefusedError("columns", _("Two columns are called “%(name)s” in the file.") % {"name": header})
    export.columns = columns


def _field_name(name: str) -> str:
    """As it is: blanks and line breaks may be part of a key. Raises ExportRefusedError."""
    if len(name) > FIELD_NAME_MAX:
        raise ExportRefusedError("columns", _("A field has %(n)s characters at most.") % {"n": FIELD_NAME_MAX})
    if not is_storable(name):
        raise ExportRefusedError("columns", _("Characters that no key can have cannot be used here."))
    return name


def _filter(export: Export, value: Any, by: Actor) -> None:
    if value is not None and not isinstance(value, dict):
        raise ExportRefusedError("filter", _("A filter is an object with “and” or “or”, or null."))
    export.filter = value or None


def _file(export: Export, value: Any, by: Actor) -> None:
    export.file = _file_options(value, name=export.name).to_json()


def _file_options(value: Any, *, name: str) -> FileOptions:
    """How files of an export of this name are written. Raises ExportRefusedError, also if they could not be named."""
    try:
        options = FileOptions.from_json(value or {})
        pattern_check(options.name_pattern, name=name, suffix=suffix_of(options))
    except OptionError as error:
        raise ExportRefusedError(f"file.{error.field}", error.sentence) from error
    except PatternError as error:
        raise ExportRefusedError("file.name_pattern", error.sentence) from error
    return options


def _file_of_name(export: Export, value: Any, by: Actor) -> None:
    """The same where only the name of the export is new: what files cannot be called is said of that."""
    try:
        _file(export, value, by)
    except ExportRefusedError as refused:
        field = "name" if refused.field == "file.name_pattern" else refused.field
        raise ExportRefusedError(field, refused.message) from refused


def _destination(export: Export, value: Any, by: Actor) -> None:
    if value in (DOWNLOAD, None, ""):
        export.destination = None
        return
    if value == "transfer_box":
        export.destination = transfer_box_of(by.account)
        return
    number = int(value) if str(value).isascii() and str(value).isdecimal() and len(str(value)) < 18 else 0
    found = Destination.objects.for_account(by.account).filter(pk=number).first()
    if found is None:
        raise ExportRefusedError("destination", _("There is no such destination."))
    export.destination = found


def _schedule(export: Export, value: Any, by: Actor) -> None:
    if value is None:
        export.schedule = None
        return
    try:
        export.schedule = Schedule.from_json(value).to_json()
    except ScheduleError as error:
        raise ExportRefusedError(f"schedule.{error.field}", str(error)) from error


def _run_at(export: Export, value: Any, by: Actor) -> None:
    if value in (None, ""):
        export.run_at = None
        return
    try:
        moment = parse_datetime(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    # Within the years that schedules have, so that it exists in every time zone.
    if moment is None or timezone.is_naive(moment) or not RUN_YEARS[0] < moment.year < RUN_YEARS[1]:
        raise ExportRefusedError("run_at", _("Write the moment with its zone, such as 2027-03-28T09:00:00+01:00."))
    export.run_at = moment


def _recipients(export: Export, value: Any, by: Actor) -> None:
    if not isinstance(value, list) or len(value) > RECIPIENTS_MAX:
        raise ExportRefusedError(
            "recipients", _("Recipients are a list of e-mail addresses, %(n)s at most.") % {"n": RECIPIENTS_MAX}
        )
    addresses = []
    for one in value:
        try:
            validate_email(one if isinstance(one, str) else "")
        except ValidationError:
            raise ExportRefusedError(
                "recipients", _("%(text)s is not a complete address. Write it like name@example.com.") % {"text": one}
            ) from None
        if one not in addresses:
            addresses.append(one)
    export.recipients = addresses


_SETTERS: dict[str, Any] = {
    "name": _name,
    "database": _database,
    "type": _choice("type", STANDARD, _("There is no export type “%(value)s”.")),
    "data_type": _choice("data_type", DataType.values, _("There is no data type “%(value)s”.")),
    "table": _short_text("table", NAME_MAX),
    "kind": _short_text("kind", HEADER_MAX),
    "columns": _columns,
    "filter": _filter,
    "file": _file,
    "destination": _destination,
    "schedule": _schedule,
    "run_at": _run_at,
    "start_with": _choice("start_with", ("changes", "everything"), _("Begin with “changes” or “everything”.")),
    "deletions": _boolean("deletions"),
    "send_empty": _boolean("send_empty"),
    "recipients": _recipients,
    "report_when": _choice("report_when", ReportWhen.values, _("A report is sent “always” or on “problems”.")),
}
