"""Why something that was asked for is not done. Nothing was stored then."""

from __future__ import annotations


class JobRefusedError(Exception):
    """The job cannot be made. `field` names the input at fault, `message` is a sentence."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


class IdempotencyConflictError(Exception):
    """The Idempotency-Key was used for another request."""
