"""Keyset pages of the APIs: a cursor says after which row the next page begins."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
from typing import Any

from django.db.models import Q

BIGINT_MAX = 2**63 - 1


class CursorError(ValueError):
    """The cursor is not one that this list has given out."""


def cursor_encode(*parts: str | int) -> str:
    """An opaque text from the sort's name, its value and the row's id."""
    return base64.urlsafe_b64encode(json.dumps(parts, separators=(",", ":")).encode()).decode().rstrip("=")


def cursor_decode(cursor: str) -> tuple[str, str, int]:
    """Sort, value and id. Raises CursorError for anything `cursor_encode` has not made."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        sort, value, pk = json.loads(raw)
    except (binascii.Error, ValueError, TypeError, RecursionError) as error:
        raise CursorError from error
    sound = isinstance(sort, str) and isinstance(value, str) and "\x00" not in value and type(pk) is int
    if not sound or not 0 <= pk <= BIGINT_MAX:
        raise CursorError
    return sort, value, pk


def time_of(value: str) -> dt.datetime:
    """The moment in a cursor. Raises CursorError."""
    try:
        moment = dt.datetime.fromisoformat(value)
    except ValueError as error:
        raise CursorError from error
    if moment.tzinfo is None:
        raise CursorError
    return moment


def behind(column: str, value: Any, pk: int, *, descending: bool) -> Q:
    """The rows after (value, pk) in the order of (column, pk).

    The first condition alone bounds an index scan; the second leaves out the row and its equals before it.
    """
    op = "lt" if descending else "gt"
    return Q(**{f"{column}__{op}e": value}) & (Q(**{f"{column}__{op}": value}) | Q(**{f"pk__{op}": pk}))
