"""The names of files that leave: patterns such as $name_$yyyyMMdd, and names that are good on every system.

A word begins with a $ and goes on as long as there are letters, so $yyyyMM is refused and not read as $yyyy and MM.
"""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from itertools import pairwise

from django.utils.text import slugify
from django.utils.translation import gettext as _

CHARACTERS_MAX = 150
BYTES_MAX = 240  # in UTF-8: most file systems take 255, and some programs add an end while they fetch
SLUG_BYTES_MAX = 110  # so that the usual pattern does with any name, whatever the number of the run
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
# Characters that nobody sees make a name read as another one. By their categories: controls, what only formats (turns
# of direction, soft hyphens, tags), halves of characters, ends of lines.
_UNSEEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# What is of other categories and still not drawn: the rest of Unicode's Default_Ignorable_Code_Point (fillers,
# variation selectors) and the blank of Braille.
_UNSEEN = re.compile(
    r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    r"\U000e0000-\U000e0fff]"
)
_JOINERS = "\u200c\u200d"  # the zero-width non-joiner and joiner
_VIRAMA = 9  # the combining class of the marks that bind consonants
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


def is_constant(pattern: str) -> bool:
    """Whether all runs of an export have the same name by it: no word of it is a time or the number of the run."""
    return all(word == "name" for word in _WORD.findall(pattern))


def with_number(name: str, number: str, *, suffix: str) -> str:
    """`name`, which ends with `suffix`, made different by a number: people_417.csv. A long one is cut before it."""
    end = f"_{number}{suffix}"
    stem = name.removesuffix(suffix)[: CHARACTERS_MAX - len(end)]
    return stem.encode()[: BYTES_MAX - len(end)].decode(errors="ignore") + end


def slug(name: str) -> str:
    """An export's name as a part of a file's: lower case, hyphens, never empty, SLUG_BYTES_MAX bytes at most."""
    seen = _UNSEEN.sub("", unicodedata.normalize("NFKC", name))  # of the rest slugify keeps only what is seen
    whole = unicodedata.normalize("NFC", slugify(seen, allow_unicode=True))
    return whole.encode()[:SLUG_BYTES_MAX].decode(errors="ignore").rstrip("-_") or "export"


def _without(suffix: str, stem: str) -> str:
    """`stem` without the suffix, or the part of it that somebody typed: .csv of .csv.gz."""
    parts = suffix.split(".")
    for end in range(len(parts), 1, -1):
        typed = ".".join(parts[:end])
        if stem.lower().endswith(typed.lower()):
            return stem[: -len(typed)].rstrip()
    return stem


def _is_unseen(character: str, before: str) -> bool:
    """Whether nobody sees it after the character `before`. Joiners are seen where spelling needs them, in scripts like
    Arabic and those of India: the same rule as of host names (RFC 5892), without asking how each letter joins."""
    if character in _JOINERS:
        return unicodedata.combining(before) != _VIRAMA and unicodedata.bidirectional(before) != "AL"
    return unicodedata.category(character) in _UNSEEN_CATEGORIES or bool(_UNSEEN.match(character))


def _check(name: str) -> None:
    if wrong := next((character for character in name if character in _FORBIDDEN), ""):
        raise PatternError(_("The name of a file cannot have the character %(character)s.") % {"character": wrong})
    if any(_is_unseen(character, before) for before, character in pairwise("." + name)):
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
