"""The names of files that leave: patterns such as $name_$yyyyMMdd, and names that are good on every system.

A word begins with a $ and goes on as long as there are letters, so $yyyyMM is refused and not read as $yyyy and MM.
"""

from __future__ import annotations

import datetime as dt
import re
import unicodedata

from django.utils.text import slugify
from django.utils.translation import gettext as _

CHARACTERS_MAX = 150
BYTES_MAX = 240  # in UTF-8: most file systems take 255, and a file under way has a suffix more
SLUG_BYTES_MAX = 120
LONGEST_RUN = 2**63 - 1

FORMATS = {
    "yyyyMMdd": "%Y%m%d",
    "HHmmss": "%H%M%S",
    "yyyy": "%Y",
    "MM": "%m",
    "dd": "%d",
    "HH": "%H",
    "mm": "%M",
    "ss": "%S",
}
WORDS = (*FORMATS, "name", "run")

_WORD = re.compile(r"\$([^\W\d_]*)")
_FORBIDDEN = frozenset('<>:"|?*\\/')
# Characters that nobody sees and that make a name read as another one: marks and turns of direction.
_HIDDEN = frozenset("\u061c\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff")
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})  # controls, halves of characters, ends of lines
_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", *(f"{device}{n}" for device in ("com", "lpt") for n in "0123456789¹²³")]
)


class PatternError(ValueError):
    """The pattern gives no good name. `sentence` is for people."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


def file_name(pattern: str, *, moment: dt.datetime, zone: dt.tzinfo, name: str, run: int | str, suffix: str) -> str:
    """The name of a run's file, in NFC. Words are filled in as the clock of `zone` shows `moment` (aware); `suffix`,
    such as ".csv.gz", ends it once, also where the pattern has it or its beginning already. Raises PatternError."""
    if moment.tzinfo is None:
        raise ValueError("A moment needs a time zone.")
    local = moment.astimezone(zone)
    values = {word: local.strftime(shape) for word, shape in FORMATS.items()}
    values |= {"name": slug(name), "run": str(run)}

    def filled(match: re.Match[str]) -> str:
        if (word := match[1]) in values:
            return values[word]
        raise PatternError(
            _("%(word)s is not known. Known are %(list)s.")
            % {"word": match[0], "list": ", ".join(f"${word}" for word in WORDS)}
        )

    stem = _without(suffix, _WORD.sub(filled, pattern.strip()).strip())
    if not stem:
        raise PatternError(_("A file needs a name."))
    result = unicodedata.normalize("NFC", stem + suffix)
    _check(result)
    return result


def pattern_check(pattern: str, *, name: str, suffix: str) -> None:
    """Raises PatternError for what would not make a good name in every run, however many there will be."""
    moment = dt.datetime(2000, 12, 31, 23, 59, 59, tzinfo=dt.UTC)
    file_name(pattern, moment=moment, zone=dt.UTC, name=name, run=LONGEST_RUN, suffix=suffix)


def slug(name: str) -> str:
    """An export's name as a part of a file's: lower case, hyphens, never empty, SLUG_BYTES_MAX bytes at most."""
    whole = unicodedata.normalize("NFC", slugify(name, allow_unicode=True))
    return whole.encode()[:SLUG_BYTES_MAX].decode(errors="ignore").rstrip("-_") or "export"


def _without(suffix: str, stem: str) -> str:
    """`stem` without the suffix, or the part of it that somebody typed: .csv of .csv.gz."""
    parts = suffix.split(".")
    for end in range(len(parts), 1, -1):
        typed = ".".join(parts[:end])
        if stem.lower().endswith(typed.lower()):
            return stem[: -len(typed)].rstrip()
    return stem


def _check(name: str) -> None:
    if wrong := next((character for character in name if character in _FORBIDDEN), ""):
        raise PatternError(_("The name of a file cannot have the character %(character)s.") % {"character": wrong})
    if any(character in _HIDDEN or unicodedata.category(character) in _HIDDEN_CATEGORIES for character in name):
        raise PatternError(_("The name of a file cannot have characters that are not seen."))
    if name.startswith("."):
        raise PatternError(_("The name of a file cannot begin with a dot."))
    if name.partition(".")[0].rstrip().lower() in _DEVICES:
        raise PatternError(_("Windows keeps the name %(name)s for itself.") % {"name": name.partition(".")[0]})
    if len(name) > CHARACTERS_MAX or len(name.encode()) > BYTES_MAX:
        raise PatternError(
            _("The name of the file gets too long: at most %(characters)d characters and %(bytes)d bytes.")
            % {"characters": CHARACTERS_MAX, "bytes": BYTES_MAX}
        )
