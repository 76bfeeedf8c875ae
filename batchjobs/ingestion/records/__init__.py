"""What a row can be: one module a record type, all of one shape. RECORD_TYPES is the registry.

Those are the types that people choose. Apps above bring their own (config/registry.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from batchjobs.ingestion.records.approve import APPROVE
from batchjobs.ingestion.records.base import RecordType
from batchjobs.ingestion.records.event import EVENT
from batchjobs.ingestion.records.list_member import LIST
from batchjobs.ingestion.records.optout import OPTOUT
from batchjobs.ingestion.records.profile import PROFILE
from batchjobs.ingestion.records.purchase import PURCHASE
from batchjobs.ingestion.records.record import RECORD
from console.registry import registered

RECORD_TYPES: dict[str, RecordType] = {
    "event": EVENT,
    "optout": OPTOUT,
    "approve": APPROVE,
    "profile": PROFILE,
    "list": LIST,
    "purchase": PURCHASE,
    "record": RECORD,
}


def record_type_of(key: str, database: int, options: Mapping[str, Any]) -> RecordType:
    """The record type of a job. Raises KeyError, or FileFailureError where the options name what is not there."""
    found = RECORD_TYPES.get(key) or cast(RecordType, registered("RECORD_TYPES")[key])
    return found.declared(database, options) if found.declared else found
