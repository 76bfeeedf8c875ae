"""What can be wrong with a row: one entry a code. Stored with the row, so codes are never renamed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise


@dataclass(frozen=True, slots=True)
class Problem:
    """`message` goes into the error log, `title` heads the group on the page, `hint` says how it usually comes."""

    title: str | _StrPromise
    message: str
    hint: str | _StrPromise


PROBLEMS: dict[str, Problem] = {
    "EMAIL_INVALID": Problem(
        _("E-mail address is not complete"),
        "This is not an e-mail address.",
        _("Usually an address that was cut off, or with a space or a second @ in it."),
    ),
    "IDENTITY_MISSING": Problem(
        _("Nobody is named"),
        "The row has neither an e-mail address nor a partner user id.",
        _("Each row must say whose event it is: fill in email or partner_user_id."),
    ),
    "EVENT_NAME_MISSING": Problem(
        _("The event has no name"),
        "The row has no event name.",
        _("Fill in event_name, or give one name for the whole file when you start the job."),
    ),
    "EVENT_TIME_INVALID": Problem(
        _("Time of the event is not a real date"),
        "This is not a date or time that can be read.",
        _("Best is ISO 8601, as in 2026-11-21T14:30:00Z."),
    ),
    "DATE_AMBIGUOUS": Problem(
        _("Day and month cannot be told apart"),
        "This date can be read as day first or as month first.",
        _("Start the job again and say which comes first, or write dates as 2026-11-21."),
    ),
    "DATE_OUT_OF_RANGE": Problem(
        _("Time of the event is out of range"),
        "The year must lie between 1900 and 2099.",
        _("Usually a two-digit year or a number that is not a date."),
    ),
    "VALUE_TOO_LONG": Problem(
        _("Value is too long"),
        "The value is longer than 255 characters.",
        _("Names and identifiers may have 255 characters at most."),
    ),
    "ROW_TOO_SHORT": Problem(
        _("The row has too few cells"),
        "The row has fewer cells than the header.",
        _("A separator is missing, or a line was broken in two."),
    ),
    "ROW_TOO_LONG": Problem(
        _("The row has too many cells"),
        "The row has more cells than the header.",
        _("Usually a value that contains the separator and is not in quotes."),
    ),
    "QUOTE_UNCLOSED": Problem(
        _("A quote is opened and never closed"),
        'A " opens a value on this line and none closes it.',
        _('Close the quote, or write a " inside a value twice.'),
    ),
    "QUOTE_MALFORMED": Problem(
        _("Something stands behind a closing quote"),
        'After a closing " only the separator or the end of the line may follow.',
        _('Write a " inside a quoted value twice.'),
    ),
    "RECORD_TOO_LARGE": Problem(
        _("The line is too long"),
        "The line is longer than the limit of 1 MB, so it was not read. The beginning is kept here.",
        _("Usually a missing line break."),
    ),
    "NUL_CHARACTER": Problem(
        _("The row contains a NUL character"),
        "The value contains a NUL character, which is not text.",
        _("Usually part of the file was damaged, or it was saved as UTF-16."),
    ),
    "ENCODING_INVALID": Problem(
        _("The text is not in the encoding of the file"),
        "The value holds bytes that are not valid in the encoding of the file.",
        _("Save the file as UTF-8, or start the job again and say its encoding, for example Windows-1252."),
    ),
}
