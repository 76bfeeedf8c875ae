"""What a person sees of a file before it runs: how it would be read, and which column would go where."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import IO, TYPE_CHECKING, Any, ClassVar, cast

from django.conf import settings
from django.utils.translation import gettext as _

from accounts.models import Account
from audience.models import Database
from batchjobs.failures import Failure, FileFailureError, failure_of
from batchjobs.files import FileGoneError, open_beginning
from batchjobs.ingestion import checks
from batchjobs.ingestion.formats import Found, layout_find, layout_to_state
from batchjobs.ingestion.records import RECORD_TYPES, record_type_of
from batchjobs.ingestion.records.base import Context, RecordType
from batchjobs.ingestion.records.columns import LEAVE_OUT, Column, Kind, match_columns, match_keys
from batchjobs.ingestion.records.table import for_people
from batchjobs.ingestion.rejects import shown
from batchjobs.ingestion.rows import CellBlock
from batchjobs.ingestion.run import EVENT_IN_NAME
from batchjobs.ingestion.source import Content, Opened, content_open
from batchjobs.models import SourceFile
from batchjobs.words import date_readings, layout_words

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

COLUMNS_SHOWN = 60
EXAMPLES = 2
ROWS_LOOKED_AT = 500
BYTES_LOOKED_AT = 2 * 1024 * 1024  # of the content: a second of work where lists of a JSON file are looked for


@dataclass(frozen=True, slots=True)
class LookColumn:
    """A column of the file. `target` is one of ours, a name to keep it under, or "" to leave it out."""

    name: str
    examples: list[str]
    target: str
    help: str | _StrPromise = ""  # of ours; "" where it goes to none
    own_name: bool = True  # it can be kept under its own name, for that is none of ours
    fixed: bool = False  # it holds what only this column of ours can take

    @property
    def is_left_out(self) -> bool:
        return self.target == LEAVE_OUT

    @property
    def is_matched(self) -> bool:
        return bool(self.help)

    @property
    def is_kept(self) -> bool:
        return not (self.is_matched or self.is_left_out)

    @property
    def is_renamed(self) -> bool:
        return self.is_kept and self.target != self.name


@dataclass(frozen=True, slots=True)
class Look:
    """What was found. `failure` says why the file cannot be read as it is; then there are no columns."""

    format: str = ""
    columns: list[LookColumn] = field(default_factory=list)
    more_columns: int = 0
    targets: list[tuple[str, list[Column]]] = field(default_factory=list)  # ours, under headings
    keeps_others: bool = True  # of the record type
    missing: str = ""  # a column without which the job stops
    instead: list[str] = field(default_factory=list)  # of which one would do too
    twice: str = ""  # one of ours that two columns of the file go to
    problem: Failure | None = None  # another reason for which the job would stop
    unclear_date: str = ""  # such as 03/04/2024
    lists: list[str] = field(default_factory=list)  # of a JSON file, to choose from
    list_read: str = ""  # the one of them
    failure: Failure | None = None
    arriving: bool = False  # the file is not whole yet: what stops it now may not stop it then

    @property
    def matched(self) -> int:
        return sum(column.is_matched for column in self.columns)

    @property
    def date_readings(self) -> list[tuple[str, str]]:
        return date_readings(self.unclear_date)


@dataclass(frozen=True, slots=True)
class Sample:
    """The beginning of a file that a job is still to write."""

    account: Account
    name: str
    content: bytes
    is_complete: ClassVar[bool] = True


def file_look(file: SourceFile | Sample, *, record_type: str, options: Mapping[str, Any], event_name: str = "") -> Look:
    """Looks at the beginning of a file of the library, which may still be arriving or to be written."""
    try:
        with io.BytesIO(file.content) if isinstance(file, Sample) else open_beginning(file) as stored:
            return _look(file, stored, record_type, dict(options), event_name)
    except FileGoneError:
        return Look(failure=failure_of("FILE_GONE", {}))
    except FileFailureError as failure:
        lists = [str(name) for name in failure.params.get("lists", [])]
        said = failure_of(failure.code, {"line": "1", **failure.params})
        return Look(failure=said, lists=lists, arriving=not (lists or file.is_complete))


def type_looked_at(record_type: str, *, database: int, options: Mapping[str, Any]) -> RecordType:
    """The record type as a job with these options would have it, as far as they say it yet."""
    try:
        return record_type_of(record_type, database, options)
    except FileFailureError:
        return RECORD_TYPES[record_type]


def columns_chosen(names: list[str], targets: list[str], *, entry: RecordType) -> dict[str, str]:
    """The option `columns`: what a person chose other than what is found by itself."""
    automatic = _targets(names, entry, {})
    return {name: target for name, target in zip(names, targets, strict=False) if target != automatic.get(name, name)}


def _look(
    file: SourceFile | Sample, stored: IO[bytes], record_type: str, options: dict[str, Any], event_name: str
) -> Look:
    first = Database.objects.for_account(file.account).order_by("pk").first()
    entry = type_looked_at(record_type, database=first.pk if first else 0, options=options)
    found, lists = _found(content_open(stored, file.name), options)  # type: ignore[arg-type]
    header = [name for name in found.layout.header if name]
    targets = _targets(header, entry, options.get("columns") or {})
    values = {name: _values(found, name) for name in header}
    stop = _stop(file, found, entry, options, event_name)
    if stop and stop.code == "COLUMNS_TOO_MANY":
        raise stop
    missing = str(stop.params["column"]) if stop and stop.code == "COLUMN_MISSING" else ""
    identity = entry.checker.identity
    twice = ""
    if found.has_header:
        ours = Counter(target for target in targets.values() if any(target == column.name for column in entry.columns))
        twice = next((target for target, count in ours.items() if count > 1), "")
    return Look(
        format=layout_words(layout_to_state(found.key, found.layout)),
        columns=[_column(name, targets[name], values[name], entry) for name in header[:COLUMNS_SHOWN]],
        more_columns=max(0, len(header) - COLUMNS_SHOWN),
        targets=_under_headings(entry),
        keeps_others=entry.keeps_others,
        missing=missing,
        instead=[name for name in identity if name != missing] if missing in identity else [],
        twice=twice,
        problem=failure_of(stop.code, stop.params) if stop and not (missing or twice) else None,
        unclear_date=_unclear_date(entry.columns, targets, values),
        lists=lists,
        list_read=str(getattr(found.layout, "array", "")),
    )


def _found(opened: Opened, options: dict[str, Any]) -> tuple[Found, list[str]]:
    """How the file is read, and between which lists there is to choose. Raises FileFailureError."""
    opened = replace(opened, content=_Beginning(opened.content))
    read = partial(layout_find, opened, record_max=settings.RECORD_MAX_BYTES)
    wanted = options.pop("array", "")
    lists: list[str] = []
    found = failure = None
    try:
        found = read(options=options)
    except FileFailureError as error:
        failure, lists = error, [str(name) for name in error.params.get("lists", [])]
    if wanted and (lists or (found and wanted != getattr(found.layout, "array", wanted))):
        try:
            return read(options={**options, "array": wanted}), list(dict.fromkeys([*lists, wanted]))
        except FileFailureError:
            pass  # another file had that list
    if found is None:
        raise cast(FileFailureError, failure)
    return found, lists


class _Beginning:
    """The first bytes of a content, as if there were no more."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._left = BYTES_LOOKED_AT

    def seek(self, offset: int, /) -> int:
        at = self._content.seek(offset)
        self._left = max(0, BYTES_LOOKED_AT - at)
        return at

    def read(self, size: int, /) -> bytes:
        data = self._content.read(min(size, self._left))
        self._left -= len(data)
        return data


def _stop(
    file: SourceFile | Sample, found: Found, entry: RecordType, options: Mapping[str, Any], event_name: str
) -> FileFailureError | None:
    """What would stop the job before its first row: as it would find out itself."""
    in_file_name = re.match(EVENT_IN_NAME, file.name)
    try:
        entry.checker(
            Context(
                header=found.layout.header,
                has_header=found.has_header,
                columns=options.get("columns") or {},
                parse_time=str,
                default_time="",
                database=0,
                look_up=cast(Any, None),  # no row is checked
                event_name=event_name,
                event_in_file_name=in_file_name[1] if in_file_name else "",
                list_name=str(options.get("list") or ""),
            )
        )
    except FileFailureError as failure:
        return failure
    return None


def _column(name: str, target: str, values: list[str], entry: RecordType) -> LookColumn:
    column = next((column for column in entry.columns if column.name == target), None)
    return LookColumn(
        name=name,
        examples=[shown(value) for value in dict.fromkeys(filter(None, values))][:EXAMPLES],
        target=target,
        help=column.help if column else "",
        own_name=all(name != column.name for column in entry.columns),
        fixed=column is not None and column.kind is Kind.JSON,
    )


def _under_headings(entry: RecordType) -> list[tuple[str, list[Column]]]:
    single = [column for column in entry.columns if column.kind is not Kind.JSON]
    needed = [column for column in single if column.required]
    one_of = [column for column in single if column.name in entry.checker.identity]
    others = [column for column in single if column not in needed and column not in one_of]
    groups = [(_("One of these is needed"), one_of), (_("Needed"), needed), (_("If you have it"), others)]
    return [(heading, columns) for heading, columns in groups if columns]


def _targets(header: list[str], entry: RecordType, chosen: Mapping[str, str]) -> dict[str, str]:
    """Where each column of a file goes: one of ours, a name to keep it under, or LEAVE_OUT."""
    single = [column for column in entry.columns if column.kind is not Kind.JSON]
    try:
        matched = match_columns(header, single, limit=settings.COLUMNS_MAX, chosen=chosen)
    except FileFailureError:  # two of one name
        targets = match_keys(header, single, chosen)[1]
    else:
        targets = dict.fromkeys(header, LEAVE_OUT)
        targets |= {header[place]: name for name, place in matched.others.items()}
        targets |= {header[place]: name for name, place in matched.known.items()}
    if entry.keeps_others:
        return targets
    ours = {column.name for column in entry.columns}
    return {name: target if target in ours else LEAVE_OUT for name, target in targets.items()}


def _values(found: Found, name: str) -> list[str]:
    block = found.first
    if block is None:
        return []
    if isinstance(block, CellBlock):
        place = found.layout.header.index(name)
        return block.columns[place][:ROWS_LOOKED_AT]
    return [for_people(record.get(name)) for record in block.objects[:ROWS_LOOKED_AT]]


def _unclear_date(columns: tuple[Column, ...], targets: dict[str, str], values: dict[str, list[str]]) -> str:
    """The first date that can be read both ways, unless the file writes its dates in both ways."""
    dates = {column.name for column in columns if column.kind in (Kind.TIME, Kind.DATE)}
    cells = [cell.strip() for name, column in values.items() if targets[name] in dates for cell in column]
    if len(checks.orders_shown(cells)) > 1:
        return ""
    return next((cell for cell in cells if checks.is_unclear_date(cell)), "")
