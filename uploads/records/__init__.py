"""The records of batches: guests, orders and tracking records, each in an envelope that says what is to be done.

envelope.py reads a record by itself, values.py its value, checker.py judges it against what is there.
"""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from batchjobs.ingestion.records.base import RecordType
from uploads.records.checker import BatchChecker
from uploads.writing import RecordWriter

BATCH = RecordType(
    BatchChecker,
    RecordWriter,
    title=_("Batch records"),
    help=_("Guests, orders and tracking records, each with a reference and a mode."),
    others=_("Every other value is kept under its own name."),
)

VALIDATION, MODE_UNSUPPORTED, ACTION_REFUSED = 400, 402, 403
_CODES = {"MODE_UNKNOWN": MODE_UNSUPPORTED, "MODE_NOT_ALLOWED": ACTION_REFUSED, "REF_EXISTS": ACTION_REFUSED}


def log_code(problem_code: str) -> int:
    """The number in the error log of a batch for a key of PROBLEMS."""
    return _CODES.get(problem_code, VALIDATION)
