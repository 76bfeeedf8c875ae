"""What a person sees of a file before it runs: how it would be read, and which column would go where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from batchjobs.failures import Failure, FileFailureError, failure_of
from batchjobs.ingestion import checks
from batchjobs.ingestion.formats import Found, layout_find, layout_to_state
from batchjobs.ingestion.records import RECORD_TYPES
from batchjobs.ingestion.records.columns import LEAVE_OUT, Column, Kind, match_columns, match_keys
from batchjobs.ingestion.records.table import for_people
from batchjobs.ingestion.rejects import shown
from batchjobs.ingestion.rows import CellBlock
from batchjobs.ingestion.source import content_open
from batchjobs.layouts import layout_words
from batchjobs.library import FileGoneError, open_beginning
from batchjobs.models import SourceFile

COLUMNS_SHOWN = 60
EXAMPLES = 2
ROWS_LOOKED_AT = 500


@dataclass(frozen=True, slots=True)
class LookColumn:
    """A column of the file. `target` is one of ours, a name to keep it under, or "" to leave it out."""

    name: str
    examples: list[str]
    target: str
    keeps: bool  # it goes under a name of its own


@dataclass(frozen=True, slots=True)
class Look:
    """`failure` says why the file cannot be read as it is; then the rest is empty."""

    format: str = ""
    columns: list[LookColumn] = field(default_factory=list)
    more_columns: int = 0
    ours: tuple[Column, ...] = ()
    missing: str = ""  # a column without which no row can be good
    unclear_date: str = ""  # such as 03/04/2024
    lists: list[str] = field(default_factory=list)  # of a JSON file, to choose from
    failure: Failure | None = None


def file_look(file: SourceFile, *, record_type: str, options: Mapping[str, Any], event_name: str = "") -> Look:
    """Looks at the beginning of a file of the library, which may still be arriving."""
    try:
        with open_beginning(file) as stored:
            found = layout_find(content_open(stored, file.name), dict(options), settings.RECORD_MAX_BYTES)  # type: ignore[arg-type]
            return _look(found, record_type, options)
    except FileGoneError:
        return Look(failure=failure_of("FILE_GONE", {}))
    except FileFailureError as failure:
        lists = [str(name) for name in failure.params.get("lists", [])]
        return Look(failure=failure_of(failure.code, failure.params), lists=lists)


def columns_chosen(names: list[str], targets: list[str], *, record_type: str) -> dict[str, str]:
    """The option `columns`: what a person chose other than what is found by itself."""
    ours = RECORD_TYPES[record_type].columns
    automatic = _targets(names, ours, {})
    return {name: target for name, target in zip(names, targets, strict=False) if target != automatic.get(name, name)}


def _look(found: Found, record_type: str, options: Mapping[str, Any]) -> Look:
    entry = RECORD_TYPES[record_type]
    header = [name for name in found.layout.header if name]
    chosen = options.get("columns") or {}
    targets = _targets(header, entry.columns, chosen)
    known = {column.name for column in entry.columns}
    values = {name: _values(found, name) for name in header}
    columns = [
        LookColumn(
            name=name,
            examples=[shown(value) for value in dict.fromkeys(filter(None, values[name]))][:EXAMPLES],
            target=targets[name],
            keeps=targets[name] not in known and targets[name] != LEAVE_OUT,
        )
        for name in header
    ]
    filled = {column.target for column in columns}
    missing = "" if filled & set(entry.checker.identity) else entry.checker.identity[0]
    if not missing:
        missing = next((c.name for c in entry.columns if c.required and c.name not in filled), "")
    return Look(
        format=layout_words(layout_to_state(found.key, found.layout)),
        columns=columns[:COLUMNS_SHOWN],
        more_columns=max(0, len(columns) - COLUMNS_SHOWN),
        ours=tuple(column for column in entry.columns if column.kind is not Kind.JSON),
        missing=missing,
        unclear_date="" if options.get("day_first") is not None else _unclear_date(entry.columns, targets, values),
    )


def _targets(header: list[str], columns: tuple[Column, ...], chosen: Mapping[str, str]) -> dict[str, str]:
    """Where each column of a file goes: one of ours, a name to keep it under, or LEAVE_OUT."""
    single = [column for column in columns if column.kind is not Kind.JSON]
    try:
        matched = match_columns(header, single, limit=settings.COLUMNS_MAX, chosen=chosen)
    except FileFailureError:  # two of one name: the run will say so
        return match_keys(header, single, chosen)[1]
    targets = dict.fromkeys(header, LEAVE_OUT)
    targets |= {header[place]: name for name, place in matched.others.items()}
    return targets | {header[place]: name for name, place in matched.known.items()}


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
