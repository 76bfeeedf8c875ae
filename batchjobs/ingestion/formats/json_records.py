"""JSON records: one text into one object, strictly (RFC 8259); what the database could not hold becomes row errors.

Two ways to the same result. `decode` knows everything that can be wrong. `decode_lines` goes through orjson, and sends
to `decode` whatever is not plainly right: what orjson refuses, and what it would pass while losing something (keys
that stand twice, digits beyond a float, NUL characters, depth).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import repeat
from typing import Any

import orjson
from django.conf import settings

from batchjobs.ingestion.rows import Rejected, RowError

KEY = b'":'  # the end of a key, and perhaps something in a text
DIGITS_EXACT = 15  # as many a float keeps (IEEE 754 double)
EXPONENT_MAX = 300  # of a number; larger ones are no figures, and PostgreSQL's numeric ends somewhere too
NUMBER_LENGTH_MAX = 400
NAME_MAX = 255


class Number(str):
    """A number kept as it is written, because a float would lose some of it."""

    __slots__ = ()


class RecordError(Exception):
    """The text is no record at all. `code` is a key of PROBLEMS."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class _Pairs(dict[str, Any]):
    """An object that had a key twice."""

    twice = ""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    marked = _Pairs(found)
    seen: set[str] = set()
    marked.twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return marked


def _int(text: str) -> int | Number:
    return int(text) if len(text) - (text[0] == "-") <= DIGITS_EXACT else Number(text)


def _float(text: str) -> float | Number:
    plain = "e" not in text and "E" not in text
    return float(text) if plain and len(text) - (text[0] == "-") <= DIGITS_EXACT else Number(text)


def _constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_int, parse_float=_float, parse_constant=_constant, strict=True
)
# A string that does not end goes to the end of the text: looking for its end at each quote would take the square.
STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)'  # possessive: no memory for a way back
_BRACKETS = re.compile(STRING + r"|[\[\]{}]", re.DOTALL)


def too_deep(text: str) -> bool:
    """Whether brackets nest deeper than NESTING_MAX. Cheap for texts that have few."""
    if text.count("[") + text.count("{") <= settings.NESTING_MAX:
        return False
    depth = 0
    for match in _BRACKETS.finditer(text):
        first = match[0][0]
        if first in "[{":
            depth += 1
            if depth > settings.NESTING_MAX:
                return True
        elif first in "]}":
            depth -= 1
    return False


def decode(text: str) -> tuple[dict[str, Any], list[RowError]]:
    """An object, and what about it cannot be stored. Raises RecordError.

    `text` may hold lone surrogates for bytes that are not UTF-8.
    """
    if too_deep(text):
        raise RecordError("JSON_TOO_DEEP")
    try:
        value = DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise RecordError("JSON_INVALID") from error
    return judged(value)


def judged(value: Any) -> tuple[dict[str, Any], list[RowError]]:
    """The object with what about it cannot be stored. Raises RecordError RECORD_NOT_OBJECT."""
    if not isinstance(value, dict):
        raise RecordError("RECORD_NOT_OBJECT")
    errors: list[RowError] = []
    if len(value) > settings.COLUMNS_MAX:
        errors.append(RowError("", "KEYS_TOO_MANY"))
    for key, inner in value.items():
        if problem := _unstorable(key) or _unstorable(inner):
            errors.append(RowError(_name(key), problem, _shown(inner)))
    if isinstance(value, _Pairs):
        errors.insert(0, RowError(_name(value.twice), "KEY_TWICE"))
    return value, errors


def _name(key: str) -> str:
    """A key as the column of an error: blank if no page could show it."""
    return key if len(key) <= NAME_MAX and not _unstorable(key) else ""


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _unstorable(value: Any) -> str:  # noqa: PLR0911  a case a type
    """The code of what PostgreSQL could not hold, or a file should not; "" if all is well."""
    if isinstance(value, Number):
        return "" if _is_sized(value) else "NUMBER_OUT_OF_RANGE"
    if isinstance(value, str):
        if "\x00" in value:
            return "NUL_CHARACTER"
        return "" if value.isascii() or _encodable(value) else "ENCODING_INVALID"
    if isinstance(value, _Pairs):
        return "KEY_TWICE"
    if isinstance(value, dict):
        return next(filter(None, (_unstorable(key) or _unstorable(inner) for key, inner in value.items())), "")
    if isinstance(value, list):
        return next(filter(None, map(_unstorable, value)), "")
    return ""


def _is_sized(number: Number) -> bool:
    mantissa, _, exponent = number.lower().partition("e")
    return len(mantissa) <= NUMBER_LENGTH_MAX and len(exponent) <= 6 and abs(int(exponent or 0)) <= EXPONENT_MAX


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


# What orjson would read and lose something of, as signs to look for in the bytes: NUL characters, blanks before a colon
# (the count of keys below would be wrong), more digits than a float has, an exponent. In texts they only cost time.
_DIGITS = bytes.maketrans(b"123456789.E", b"0000000000e")
# A sign, and a byte of it that is looked for first: that is a hundred times as quick, and mostly there is none.
_SIGNS = ((b"\\u0000", b"\\"), (b" :", b" "), (b"\t:", b"\t"), (b"\r:", b"\r"))
_NUMBER_SIGNS = (b"0" * (DIGITS_EXACT + 1), b"0e")


def is_risky(data: bytes) -> bool:
    """Whether there is something in JSON text that orjson might read and lose something of."""
    # Looked for from the end, because rfind takes half the time of find.
    if any(byte in data and data.rfind(sign) != -1 for sign, byte in _SIGNS):
        return True
    digits = data.translate(_DIGITS)
    return any(digits.rfind(sign) != -1 for sign in _NUMBER_SIGNS)


def decode_lines(
    lines: Sequence[bytes],
    numbers: Sequence[int],
    *,
    joined: bytes,
    risky: bool | None = None,
) -> tuple[list[dict[str, Any]], list[int], list[int], dict[int, list[RowError]], list[Rejected]]:
    """A record a line. `joined` is all lines in one, to look for rare things once; `risky` is `is_risky` of it.

    Returns the objects, the place of each among `lines`, its line number, errors by place in the objects, and what is
    no record.
    """
    objects: list[Any] = []
    loads = orjson.loads
    rest = iter(lines)
    while len(objects) < len(lines):
        try:
            objects.extend(map(loads, rest))
        except orjson.JSONDecodeError:
            objects.append(None)
    errors: dict[int, list[RowError]] = {}
    rejected: list[Rejected] = []
    blank = False
    for place in _doubtful(objects, lines, joined, is_risky(joined) if risky is None else risky):
        if not lines[place].strip():
            objects[place], blank = None, True
            continue
        text = lines[place].decode("utf-8", "surrogateescape")
        try:
            objects[place], wrong = decode(text)
        except RecordError as error:
            objects[place] = None
            rejected.append(Rejected(numbers[place], [RowError("", error.code)], text, None))
            continue
        if wrong:
            errors[place] = wrong
    if not rejected and not blank:
        return objects, list(range(len(lines))), list(numbers), errors, rejected
    places = [place for place, value in enumerate(objects) if value is not None]
    moved = {place: at for at, place in enumerate(places) if place in errors}
    return (
        [objects[place] for place in places],
        places,
        [numbers[place] for place in places],
        {moved[place]: wrong for place, wrong in errors.items()},
        rejected,
    )


def _doubtful(objects: list[Any], lines: Sequence[bytes], joined: bytes, risky: bool) -> list[int]:
    """The places of lines that are read once more, strictly."""
    many = settings.COLUMNS_MAX
    flat = b"[" not in joined and joined.count(b"{") == len(lines)
    if flat and not risky:
        odd = [place for place, value in enumerate(objects) if type(value) is not dict]
        sizes = [len(value) for value in objects if type(value) is dict]
        # No line has fewer of these signs than keys, so equal sums are equal lines.
        if max(sizes, default=0) <= many and sum(sizes) == joined.count(KEY) - sum(lines[at].count(KEY) for at in odd):
            return odd
    keys = list(map(bytes.count, lines, repeat(KEY)))
    doubtful = []
    deep = settings.NESTING_MAX
    for place, (value, line, count) in enumerate(zip(objects, lines, keys, strict=True)):
        plain = type(value) is dict and not (risky and (is_risky(line) or b"\n" in line))
        if not plain or line.count(b"{") + line.count(b"[") > deep or len(value) > many or count != _keys(value):
            doubtful.append(place)
    return doubtful


def _keys(value: Any) -> int:
    """How many keys there are at all depths."""
    if isinstance(value, dict):
        return len(value) + sum(_keys(inner) for inner in value.values() if isinstance(inner, dict | list))
    return sum(_keys(inner) for inner in value if isinstance(inner, dict | list))


def as_text(value: Any) -> str | None:
    """A value for a column of texts: numbers as they are written, null as blank; None if it is a list or an object."""
    if isinstance(value, str):
        return str(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    return None


def encode(value: Any) -> bytes:
    """`value` as compact JSON; numbers that were kept as text come out as they were written."""
    return orjson.dumps(value, _number, orjson.OPT_PASSTHROUGH_SUBCLASS)


def _number(value: Any) -> Any:
    if isinstance(value, Number):
        return orjson.Fragment(str(value))
    if isinstance(value, _Pairs):
        return dict(value)
    raise TypeError(type(value).__name__)
