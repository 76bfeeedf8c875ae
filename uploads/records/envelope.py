"""An envelope: which record it is and what is to be done with it. Read by itself, without what is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from audience.models import Reference
from batchjobs.ingestion.records.table import TEXT_MAX, for_people
from batchjobs.ingestion.rows import RowError
from uploads.records.values import Given, guest_given, identity_given, order_given, reference, tracking_given

GUEST, ORDER, TRACKING = Reference.Schema.values
CREATE, INSERT, UPSERT, MERGE = WRITES = ("create", "insert", "upsert", "merge")
DELETE, GDPR_DELETE = REMOVALS = ("delete", "gdpr_delete")
MODES = frozenset((*WRITES, *REMOVALS))
_READ = {GUEST: guest_given, ORDER: order_given, TRACKING: tracking_given}


@dataclass(slots=True)
class Record:
    """A record whose envelope and value are right. `known`: what it is about is stored already."""

    place: int  # in its block
    ref: str
    schema: str
    mode: str
    given: Given
    known: bool = False

    @property
    def writes(self) -> bool:
        return self.mode in WRITES

    @property
    def key(self) -> str:
        """What may stand in a file once. Orders and tracking records are both interactions."""
        return self.ref if self.schema != GUEST else f"guest {self.ref}"


def record_read(place: int, envelope: dict[str, Any]) -> Record | list[RowError]:
    """The record, or all that is wrong with it."""
    ref, schema, mode, value = map(envelope.get, ("ref", "schema", "mode", "value"))
    errors: list[RowError] = []
    stored_ref = reference(ref)
    if not stored_ref:
        errors.append(_wrong("ref", "REF_INVALID", ref))
    if not isinstance(schema, str) or schema not in _READ:
        errors.append(_wrong("schema", "SCHEMA_UNKNOWN", schema))
        schema = ""
    if not isinstance(mode, str) or mode not in MODES:
        return [*errors, _wrong("mode", "MODE_UNKNOWN", mode)]
    if mode == GDPR_DELETE and schema in (ORDER, TRACKING):
        errors.append(_wrong("mode", "MODE_NOT_ALLOWED", mode))
    given = Given()
    if mode in WRITES:
        if not isinstance(value, dict):
            errors.append(_wrong("value", "RECORD_VALUE_MISSING", value))
        elif schema:
            given = _READ[schema](value)
    elif mode == GDPR_DELETE and isinstance(value, dict):
        given = identity_given(value)
    errors += given.errors
    return errors or Record(place, stored_ref, schema, mode, given)


def _wrong(name: str, code: str, value: Any) -> RowError:
    return RowError(name, code, for_people(value)[:TEXT_MAX])
