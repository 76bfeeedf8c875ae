"""Finding people in bytes: whether the address or the number of somebody stands in a file or in a row.

What is searched is made plain first (lower case, escapes undone, UTF-16 without its zeros), a block at a time, so that
each key is one search for bytes. Rather a file too many is found than one too few.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from batchjobs.ingestion.rows import ERASED

NUMBER_MIN = 6  # characters: shorter numbers stand everywhere
ESCAPED = 6  # bytes that a letter may take: \u0040
# For letters beyond ASCII: what files are written in. The others have ASCII in common.
ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be", "cp1250", "cp1251", "cp1252", "iso-8859-2", "iso-8859-15")
_JSON_ESCAPE = re.compile(rb"\\u00([2-7][0-9a-f])")
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
    """The keys of some people. Numbers that are shorter than `number_min` are not searched for in bytes."""

    emails: Collection[str]
    numbers: Collection[str]
    number_min: int = NUMBER_MIN
    _emails: list[bytes] = field(init=False)
    _numbers: list[tuple[bytes, re.Pattern[bytes]]] = field(init=False)
    _overlap: int = field(init=False)

    def __post_init__(self) -> None:
        self._emails = sorted({form for email in self.emails for form in _forms(email)})
        numbers = {form for number in self.numbers if len(number) >= self.number_min for form in _forms(number)}
        self._numbers = [(number, _alone(number)) for number in sorted(numbers)]
        longest = max(map(len, [*self._emails, *numbers]), default=0)
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
        return not whole.isdisjoint(self.numbers) or self.in_text("\n".join([raw, *(cells or ())]))

    def blanked(self, value: Any) -> Any:
        """A JSON value without the texts in which one of them stands."""
        if isinstance(value, str):
            return ERASED if value.strip() in self.numbers or self.in_text(value) else value
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
        if any(email in plain for email in self._emails):
            return True
        for number, alone in self._numbers:
            if number in plain:
                for match in alone.finditer(plain):
                    # What is beside it at an end stands in the next window, or stood in the one before.
                    if (match.start() or is_first) and (match.end() < len(plain) or is_last):
                        return True
        return False
