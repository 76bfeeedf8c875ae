"""Checks of single values, shared by the record types."""

from __future__ import annotations

import datetime as dt
import re
from collections import deque
from collections.abc import Callable, Iterable
from email.utils import parsedate_to_datetime
from unicodedata import category
from zoneinfo import ZoneInfo

from django.core.validators import EmailValidator

# What nearly all addresses look like; what does not match is left to Django's validator.
_PLAIN = re.compile(
    r"[a-z0-9_%+-]+(?:\.[a-z0-9_%+-]+)*@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}"
).fullmatch
_django = EmailValidator(allowlist=[])
EMAIL_MAX = 254  # RFC 5321: 256 octets of a path, less the angle brackets


def email(value: str) -> str:
    """`value`, which is stripped and in lower case, if it is an address; else ""."""
    if _PLAIN(value) and len(value) <= EMAIL_MAX and value.find("@") <= 64:
        return value
    # Django's own rules, without its exception: each would keep a whole block of rows alive until the next
    # garbage collection.
    user, at, domain = value.rpartition("@")
    if not user.isascii():  # RFC 6531: letters of any script, as in stanisław.wójcik@wp.pl
        user = "".join(letter if letter.isascii() or category(letter)[0] not in "LMN" else "a" for letter in user)
    if not at or len(value) > EMAIL_MAX or not _django.user_regex.match(user):
        return ""
    return value if _django.validate_domain_part(domain) else ""


_MD5 = re.compile(r"[0-9a-f]{32}").fullmatch
_SHA256 = re.compile(r"[0-9a-f]{64}").fullmatch


def md5(value: str) -> str:
    """`value`, in lower case, if it is 32 hexadecimal digits; else ""."""
    return value if _MD5(value) else ""


def sha256(value: str) -> str:
    """`value`, in lower case, if it is 64 hexadecimal digits; else ""."""
    return value if _SHA256(value) else ""


def email_or_hash(value: str) -> str:
    return value if _MD5(value) or _SHA256(value) else email(value)


_NUMBER = re.compile(r"([+-]?)0*(\d{0,30})(?:\.(\d{1,30}))?")


def number(value: str) -> str:
    """`value` as a JSON number if it is a plain decimal one, with a point; else ""."""
    match = _NUMBER.fullmatch(value)
    if not match or not value.strip("+-."):
        return ""
    sign, whole, fraction = match.groups()
    return ("-" if sign == "-" else "") + (whole or "0") + (f".{fraction}" if fraction else "")


class DateAmbiguousError(ValueError):
    pass


_COMPACT = re.compile(r"(\d{4})(\d\d)(\d\d)(?:[T ]?(\d\d)(\d\d)(\d\d))?(?:Z)?")
_SLASHED = re.compile(r"(\d{1,2})[/.\-](\d{1,2})[/.\-](\d{4})(?:[ T](.+))?")
_YEAR_FIRST = re.compile(r"(\d{4})[/.](\d{1,2})[/.](\d{1,2})(?:[ T](.+))?")
_EPOCH = re.compile(r"\d{10}(?:\d{3})?")
_NAMED = ("%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d-%b-%Y", "%d %b %Y %H:%M", "%d %b %Y %H:%M:%S")


PLAIN_TIME = 20  # characters of 2026-11-21T14:30:00Z


def are_plain_times(values: list[str]) -> bool:
    """Whether all are as they are stored, 2026-11-21T14:30:00Z: looked at a column of characters at a time."""
    count = len(values)
    if set(map(len, values)) != {20}:
        return False
    joined = "".join(values)
    marks = ((0, "2"), (1, "0"), (4, "-"), (7, "-"), (10, "T"), (13, ":"), (16, ":"), (19, "Z"))
    if any(joined[at::20].count(mark) != count for at, mark in marks):
        return False
    try:
        deque(map(dt.datetime.fromisoformat, values), maxlen=0)
    except ValueError:
        return False
    return True


def date_parser(zone: ZoneInfo, *, day_first: bool | None) -> Callable[[str], str]:
    """A function from text to an ISO time with offset. A time without one is of `zone`.

    Read: ISO 8601, 20261121, 2026/11/21, 21/11/2026 where the day is clear or `day_first` says so, 21 Nov 2026,
    RFC 2822 and UNIX seconds or milliseconds. Raises DateAmbiguousError, OverflowError (years outside 1900 to 2099) or
    ValueError.
    """
    fromisoformat = dt.datetime.fromisoformat

    def parse(text: str) -> str:
        try:
            moment = fromisoformat(text)
        except ValueError:
            moment = _other_form(text, day_first=day_first)
        if len(text) == 20 and text[10] == "T" and text[4] == text[7] == "-" and text[-1] == "Z" and text[:2] == "20":
            return text  # the usual form, as it will be written
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone)
        if not 1900 <= moment.year < 2100:
            raise OverflowError(text)
        return moment.isoformat()

    return parse


def _other_form(text: str, *, day_first: bool | None) -> dt.datetime:
    if match := _COMPACT.fullmatch(text):
        return dt.datetime(*(int(part) for part in match.groups() if part), tzinfo=_zulu(text))  # type: ignore[arg-type, misc]
    if match := _YEAR_FIRST.fullmatch(text):
        return _joined(dt.date(*map(int, match.groups()[:3])), match[4])
    if match := _SLASHED.fullmatch(text):
        first, second, year = map(int, match.groups()[:3])
        if day_first is None and is_unclear_date(text):
            raise DateAmbiguousError(text)
        day, month = (first, second) if second <= 12 and (first > 12 or day_first is not False) else (second, first)
        return _joined(dt.date(year, month, day), match[4])
    if _EPOCH.fullmatch(text):
        return dt.datetime.fromtimestamp(int(text[:10]), dt.UTC)
    for form in _NAMED:
        try:
            return dt.datetime.strptime(text, form)  # noqa: DTZ007  the caller adds the zone
        except ValueError:
            continue
    return parsedate_to_datetime(text)


def orders_shown(values: Iterable[str]) -> set[str]:
    """What dates such as 25/04/2024 show of a file's order: "day" or "month" first."""
    shown = set()
    for value in values:
        if match := _SLASHED.fullmatch(value.strip()):
            first, second = int(match[1]), int(match[2])
            if first > 12 >= second:
                shown.add("day")
            elif second > 12 >= first:
                shown.add("month")
    return shown


def is_unclear_date(value: str) -> bool:
    """Whether a date can be read day first and month first."""
    match = _SLASHED.fullmatch(value)
    return match is not None and int(match[1]) <= 12 and int(match[2]) <= 12 and int(match[1]) != int(match[2])


def _zulu(text: str) -> dt.tzinfo | None:
    return dt.UTC if text.endswith("Z") else None


def _joined(day: dt.date, rest: str | None) -> dt.datetime:
    return dt.datetime.combine(day, dt.time.fromisoformat(rest) if rest else dt.time())
