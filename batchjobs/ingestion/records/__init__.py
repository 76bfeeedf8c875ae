"""What a row can be: one module a record type, all of one shape. RECORD_TYPES is the registry.

Those are the types that people choose. Apps above bring their own (config/registry.py).
"""

from __future__ import annotations

from typing import cast

from batchjobs.ingestion.records.approve import APPROVE
from batchjobs.ingestion.records.base import RecordType
from batchjobs.ingestion.records.event import EVENT
from batchjobs.ingestion.records.list_member import LIST
from batchjobs.ingestion.records.optout import OPTOUT
from batchjobs.ingestion.records.profile import PROFILE
from batchjobs.ingestion.records.purchase import PURCHASE
from console.registry import registered

RECORD_TYPES: dict[str, RecordType] = {
    "event": EVENT,
    "optout": OPTOUT,
    "approve": APPROVE,
    "profile": PROFILE,
    "list": LIST,
    "purchase": PURCHASE,
}


def record_type_of(key: str) -> RecordType:
    """The record type of a job. Raises KeyError."""
    return RECORD_TYPES.get(key) or cast(RecordType, registered("RECORD_TYPES")[key])
