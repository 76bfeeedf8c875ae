"""Types of what programs send in: what the database cannot hold is refused before it gets there."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any

from django.utils.translation import gettext as _
from pydantic import AfterValidator, Field

from console.cursors import BIGINT_MAX

JSON_MAX_CHARACTERS = 16_000
JSON_MAX_DEPTH = 32


def _storable(text: str) -> str:
    if "\x00" in text:
        raise ValueError(_("The character NUL is not allowed."))
    return text


# A text that PostgreSQL can store and compare with.
Text = Annotated[str, AfterValidator(_storable)]
# The id of a row.
RowId = Annotated[int, Field(ge=0, le=BIGINT_MAX)]


def json_object(text: str) -> dict[str, Any]:
    """A JSON object that PostgreSQL can store. Raises ValueError with a sentence."""
    if not text.strip():
        return {}
    if len(text) > JSON_MAX_CHARACTERS:
        raise ValueError(_("The JSON is too long."))
    try:
        found = json.loads(text, parse_constant=_no_constant)
    except RecursionError as error:
        raise ValueError(_("The JSON is nested too deeply.")) from error
    except ValueError as error:
        raise ValueError(_("This is not valid JSON.")) from error
    if not isinstance(found, dict):
        raise ValueError(_("A JSON object is expected."))
    json_storable(found)
    return found


def json_storable(value: Any) -> None:
    """Raises ValueError with a sentence if PostgreSQL could not store this value of JSON."""
    _check(value, depth=0)


def _no_constant(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity are not JSON


def _check(value: Any, *, depth: int) -> None:
    if depth > JSON_MAX_DEPTH:
        raise ValueError(_("The JSON is nested too deeply."))
    if isinstance(value, str):
        _storable(value)
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError(_("The JSON holds half of a surrogate pair.")) from error
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(_("A number in the JSON is too large, or none."))
    elif isinstance(value, dict):
        for key, member in value.items():
            _check(key, depth=depth)
            _check(member, depth=depth + 1)
    elif isinstance(value, list):
        for member in value:
            _check(member, depth=depth + 1)
