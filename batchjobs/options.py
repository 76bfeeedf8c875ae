"""How a job's file is to be read, as a person or program says it: one entry an option, with its check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from zoneinfo import available_timezones

from django.utils.translation import gettext as _

from batchjobs.ingestion.formats import FORMATS
from batchjobs.ingestion.sniff import DELIMITERS, SPACES
from batchjobs.refusals import JobRefusedError

ENCODINGS = ("utf-8", "cp1252", "latin-1", "utf-16")
NAMES_MAX = 1_000
NAME_MAX = 255
LIST_NAME_MAX = 120
TABLE_SLUG_MAX = 60


@dataclass(frozen=True, slots=True)
class Option:
    """`accepts` says whether a value will do, `wanted` what to write instead, `help` is for the API's reference."""

    accepts: Callable[[Any], bool]
    wanted: Callable[[], str]
    help: str


def _is_name(value: Any, length: int = NAME_MAX) -> bool:
    return isinstance(value, str) and len(value) <= length and "\x00" not in value


def _is_mapping(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and len(value) <= NAMES_MAX
        and all(_is_name(k) and _is_name(v) for k, v in value.items())
    )


def _is_header(value: Any) -> bool:
    return (
        isinstance(value, list)
        and 0 < len(value) <= NAMES_MAX
        and all(_is_name(name) and name.strip() for name in value)
        and len({name.strip().lower() for name in value}) == len(value)
    )


def _yes_or_no(help_text: str) -> Option:
    return Option(lambda value: isinstance(value, bool), lambda: _("It is true or false."), help_text)


OPTIONS: dict[str, Option] = {
    "format": Option(
        lambda value: value in FORMATS,
        lambda: _("It is one of %(list)s.") % {"list": ", ".join(FORMATS)},
        "How the file is read; left out: as its name and beginning say",
    ),
    "encoding": Option(
        lambda value: value in ENCODINGS,
        lambda: _("It is one of %(list)s.") % {"list": ", ".join(ENCODINGS)},
        "Left out: UTF-8, or UTF-16 where the file says so",
    ),
    "delimiter": Option(
        lambda value: value in (*DELIMITERS, SPACES),
        lambda: _("It is a comma, a semicolon, a tab, | or a blank."),
        "Between columns; a blank stands for any number of blanks. Left out: the one the header uses",
    ),
    "header": Option(
        _is_header,
        lambda: _("It is a list of different names."),
        "Names of the columns, for files without a header line",
    ),
    "columns": Option(
        _is_mapping,
        lambda: _("It is an object of texts: the file's name of a column, and the one it fills."),
        "Which column of the file fills which of ours; another name keeps it under that, an empty one leaves it out",
    ),
    "array": Option(
        _is_name,
        lambda: _("It is the name of a list in the JSON file."),
        "JSON: the list to read, where it is not the whole file; names on the way joined by dots",
    ),
    "time_zone": Option(
        lambda value: isinstance(value, str) and value in available_timezones(),
        lambda: _("It is an IANA name, such as Europe/Lisbon."),
        "Of times that do not say theirs; left out: UTC",
    ),
    "day_first": _yes_or_no("Whether 03/04/2024 is 3 April. Left out: such dates are asked about or rejected"),
    "list": Option(
        lambda value: _is_name(value, LIST_NAME_MAX),
        lambda: _("It is a name of 120 characters at most."),
        "Lists: the one for rows that name none",
    ),
    "table": Option(
        lambda value: _is_name(value, TABLE_SLUG_MAX),
        lambda: _("It is the short name of a table."),
        "Linked data or repository: the table (its slug) that the rows go to",
    ),
    "blank_erases": _yes_or_no("Profiles and lists: whether a blank value takes away what was known"),
    "formula_safe": _yes_or_no("Whether a ' was put before cells that a spreadsheet would run: it is taken away again"),
    "max_invalid_percent": Option(
        lambda value: isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 100,
        lambda: _("It is a number from 0 to 99."),
        "If a larger share of rows is rejected, nothing is written; 0: all or nothing. Left out: good rows go in",
    ),
    "run_anyway": _yes_or_no("Whether to run the same bytes a second time"),
}


def checked_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options that say something. Raises JobRefusedError."""
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise JobRefusedError(
            "options",
            _("There is no option “%(name)s”. Known are %(list)s.")
            % {"name": str(unknown[0])[:60], "list": ", ".join(sorted(OPTIONS))},
        )
    clean = {key: value for key, value in options.items() if value not in (None, "")}
    for name, value in clean.items():
        option = OPTIONS[name]
        try:
            accepted = option.accepts(value)
        except TypeError:  # a list or object where a word is due
            accepted = False
        if not accepted:
            raise JobRefusedError(
                "options",
                _("The option %(name)s cannot have that value. %(wanted)s") % {"name": name, "wanted": option.wanted()},
            )
    return clean
