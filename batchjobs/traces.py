"""Finding people in bytes: whether the address or the number of somebody stands in a file or in a row.

What is searched is made plain first (lower case, escapes undone, UTF-16 without its zeros), a block at a time. Then the
block says in one go which keys are worth a search: a pass costs about the same for one person and for hundreds.
Rather a file too many is found than one too few.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from itertools import chain, pairwise
from typing import Any

from batchjobs.ingestion import checks
from batchjobs.ingestion.rows import ERASED

NUMBER_MIN = 6  # characters: shorter numbers stand everywhere
BESIDE = 3  # bytes on each side of an @ by which addresses are told apart at first
ESCAPED = 6  # bytes that a letter may take: \u0040
# For letters beyond ASCII: what files are written in. The others have ASCII in common.
ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be", "cp1250", "cp1251", "cp1252", "iso-8859-2", "iso-8859-15")
_JSON_ESCAPE = re.compile(rb"\\u00([2-7][0-9a-f])")
_DIGITS = re.compile(rb"[0-9]+")
_URL_ESCAPE = re.compile(rb"%(40|2b|2e|2d|5f)")


def _unescaped(match: re.Match[bytes]) -> bytes:
    return bytes([int(match[1], 16)])


def _plain(data: bytes) -> bytes:
    data = data.lower()
    if b"\\u00" in data:
        data = _JSON_ESCAPE.sub(_unescaped, data)
    if b"%" in data:
        data = _URL_ESCAPE.sub(_unescaped, data)
    return data.replace(b"\\/", b"/")


def _forms(key: str) -> set[bytes]:
    """A key as it may stand in plain bytes."""
    if key.isascii():
        return {key.lower().encode()}
    forms = {json.dumps(key.lower())[1:-1].lower().encode()}
    for text in (key.lower(), key.upper(), key.capitalize()):
        for encoding in ENCODINGS:
            forms.add(text.encode(encoding, "ignore").lower() if _fits(text, encoding) else b"")
    return forms - {b""}


def _fits(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _beside_at(address: bytes) -> bytes:
    """The bytes before and after the @, or b"" for an address in which that is not clear or too short."""
    pieces = address.split(b"@")
    if len(pieces) != 2 or min(map(len, pieces)) < BESIDE:
        return b""
    return pieces[0][-BESIDE:] + pieces[1][:BESIDE]


def _is_telling(number: str) -> bool:
    return len(number) >= NUMBER_MIN and any(map(str.isdecimal, number))


def _alone(key: bytes) -> re.Pattern[bytes]:
    """The key with no further digit or letter beside it: 123456 does not stand in 9912345678."""

    def edge(byte: bytes) -> bytes:
        return rb"[0-9]" if byte.isdigit() else rb"[a-z]" if byte.isalpha() else b""

    before, after = edge(key[:1]), edge(key[-1:])
    pattern = re.escape(key)
    if before:
        pattern = rb"(?:(?<!" + before + rb")|(?<=\\[nrt]))" + pattern
    return re.compile(pattern + (rb"(?!" + after + rb")" if after else b""))


@dataclass(slots=True)
class Traces:
    """The keys of some people.

    In bytes only what cannot be something else is searched for: addresses that are some, and numbers of some length
    with a digit in them. Or else `every` key, for a first look at what is then looked at cell by cell.
    """

    emails: Collection[str]
    numbers: Collection[str]
    every: bool = False
    _words: frozenset[str] = field(init=False)
    # By what a block is asked for first. Those that have no such thing stand under b"".
    _emails: dict[bytes, list[bytes]] = field(init=False)  # by what is beside the @
    _numbers: dict[bytes, list[re.Pattern[bytes]]] = field(init=False)  # by the digits
    _digits: re.Pattern[bytes] = field(init=False)
    _overlap: int = field(init=False)

    def __post_init__(self) -> None:
        emails = [email for email in self.emails if checks.email(email)]
        words = {*self.numbers, *self.emails}.difference(emails)
        self._words = frozenset(words)
        addresses = {form for email in emails for form in _forms(email)}
        numbers = {form for word in words if self.every or _is_telling(word) for form in _forms(word)}
        self._emails, self._numbers = defaultdict(list), defaultdict(list)
        for address in sorted(addresses):
            self._emails[_beside_at(address)].append(address)
        for number in sorted(numbers):
            # Beside the digits of a number there are no more of them: they are all the digits in their place.
            self._numbers[max(_DIGITS.findall(number), key=len, default=b"")].append(_alone(number))
        shortest = min((len(digits) for digits in self._numbers if digits), default=1)
        self._digits = re.compile(rb"[0-9]{%d,}" % shortest)
        longest = max(map(len, addresses | numbers), default=0)
        self._overlap = longest * ESCAPED + 16

    def in_blocks(self, blocks: Iterable[bytes]) -> bool:
        """Whether one of the keys stands in what these blocks are together."""
        window, is_first = b"", True
        for block in blocks:
            is_first = len(window) <= self._overlap and is_first
            window = window[-self._overlap :] + block
            if self._found(window, is_first=is_first, is_last=False):
                return True
        is_first = is_first and len(window) <= self._overlap
        return self._found(window[-self._overlap :], is_first=is_first, is_last=True)

    def in_text(self, text: str) -> bool:
        return self._found(text.encode("utf-8", "surrogatepass"), is_first=True, is_last=True)

    def in_row(self, raw: str, cells: list[str] | None) -> bool:
        """Of a rejected row; here short numbers count too, where they fill a cell."""
        whole = {cell.strip() for cell in cells or ()}
        return not whole.isdisjoint(self._words) or self.in_text("\n".join([raw, *(cells or ())]))

    def blanked(self, value: Any) -> Any:
        """A JSON value without the texts in which one of them stands."""
        if isinstance(value, str):
            return ERASED if value.strip() in self._words or self.in_text(value) else value
        if isinstance(value, list):
            return [self.blanked(item) for item in value]
        if isinstance(value, dict):
            return {name: self.blanked(item) for name, item in value.items()}
        return value

    def blanked_examples(self, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Groups of rejections: their codes and columns are not of the row."""
        return [
            {**group, "examples": self.blanked(group["examples"])} if "examples" in group else group for group in groups
        ]

    def _found(self, data: bytes, *, is_first: bool, is_last: bool) -> bool:
        plain = _plain(data)
        if self._holds(plain, is_first, is_last):
            return True
        return b"\0" in plain and self._holds(_plain(data.replace(b"\0", b"")), is_first, is_last)

    def _holds(self, plain: bytes, is_first: bool, is_last: bool) -> bool:
        return self._holds_email(plain) or self._holds_number(plain, is_first, is_last)

    def _holds_email(self, plain: bytes) -> bool:
        if not self._emails or b"@" not in plain:
            return False
        pieces = plain.split(b"@")
        there = {before[-BESIDE:] + after[:BESIDE] for before, after in pairwise(pieces)} | {b""}
        return any(address in plain for found in there & self._emails.keys() for address in self._emails[found])

    def _holds_number(self, plain: bytes, is_first: bool, is_last: bool) -> bool:
        if not self._numbers:
            return False
        there = {*self._digits.findall(plain), b""}
        for found in there & self._numbers.keys():
            for match in chain.from_iterable(number.finditer(plain) for number in self._numbers[found]):
                # What is beside it at an end stands in the next window, or stood in the one before.
                if (match.start() or is_first) and (match.end() < len(plain) or is_last):
                    return True
        return False
