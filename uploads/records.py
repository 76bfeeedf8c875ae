"""The record type of batches. (Being built.)"""

from __future__ import annotations


def log_code(code: str) -> int:
    """The number of a problem in the error log."""
    return {"MODE_UNKNOWN": 402, "MODE_REFUSED": 403}.get(code, 400)
