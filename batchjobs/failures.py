"""Why a job stopped, as sentences a marketer can act on: one entry a code.

A failure says what is so (`title`) and what to do (`advice`). Both take the failure's parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise


@dataclass(frozen=True, slots=True)
class Failure:
    title: str | _StrPromise
    advice: str | _StrPromise
    short: str | _StrPromise


class FileFailureError(Exception):
    """The file as a whole cannot be taken in. `code` is a key of FAILURES."""

    def __init__(self, code: str, **params: Any) -> None:
        if code not in FAILURES:
            raise KeyError(code)
        super().__init__(code)
        self.code = code
        self.params = params


FAILURES: dict[str, Failure] = {
    "FILE_EMPTY": Failure(
        _("The file is empty"),
        _("It holds no bytes at all. Export it again from where it came, and upload the new file."),
        _("Empty file"),
    ),
    "NO_ROWS": Failure(
        _("The file has a header and no rows"),
        _("There is nothing below the first line, so nothing was changed. Check the export that made the file."),
        _("No rows"),
    ),
    "BINARY_FILE": Failure(
        _("This is not a text file"),
        _(
            "It looks like {kind}. Batchdesk reads text files: save it as CSV in UTF-8 and upload that. "
            "Nothing was changed."
        ),
        _("Not a text file"),
    ),
    "ENCODING_UNKNOWN": Failure(
        _("The file is not in UTF-8"),
        _(
            "Nearly every row holds bytes that are not UTF-8, so names would come out wrong. Save the file as UTF-8, "
            "or start the job again and say which encoding it has, for example Windows-1252."
        ),
        _("Not in UTF-8"),
    ),
    "HEADER_UNREADABLE": Failure(
        _("The first line cannot be read as a header"),
        _("{reason} The first line must hold the names of the columns. Nothing was changed."),
        _("Unreadable header"),
    ),
    "NO_DELIMITER": Failure(
        _("The first line has only one column"),
        _(
            "Batchdesk found no comma, semicolon, tab or | between columns in “{header}”. An event file needs at least "
            "a column that says who. Save the file with separated columns and upload it again."
        ),
        _("One column only"),
    ),
    "COLUMN_MISSING": Failure(
        _("The file has no {column} column"),
        _("{hint} The columns found are: {found}. Rename the column in the file and start a new job."),
        _("No {column} column"),
    ),
    "COLUMN_TWICE": Failure(
        _("The column {column} stands in the file twice"),
        _("Batchdesk cannot know which of the two is meant, so nothing was changed. Rename or remove one of them."),
        _("Column {column} twice"),
    ),
    "COLUMNS_TOO_MANY": Failure(
        _("The file has {count} columns"),
        _("At most {limit} are read. Remove those that are not needed and start a new job."),
        _("Too many columns"),
    ),
    "NO_VALID_ROWS": Failure(
        _("No row of the file could be used"),
        _("All {count} rows were rejected, so nothing was changed. Below is what was wrong with them."),
        _("No usable row"),
    ),
    "REJECTS_TOO_MANY": Failure(
        _("Stopped after {count} rejected rows"),
        _("So many rows in a row cannot be read that the file seems to be damaged from line {line} on. {valid}"),
        _("Too many rejected rows"),
    ),
    "DUPLICATE_FILE": Failure(
        _("This file has been run before"),
        _("It holds exactly the same bytes as an earlier job. Nothing was changed."),
        _("Run before"),
    ),
    "FILE_GONE": Failure(
        _("The uploaded file is no longer there"),
        _("Its bytes could not be read from storage. Upload the file again."),
        _("File is gone"),
    ),
    "CRASHED": Failure(
        _("The job stopped three times without getting further"),
        _(
            "This is a fault of Batchdesk or of the machine it runs on, not of your file. What had come in before "
            "stays. Support staff can see the reports."
        ),
        _("Stopped three times"),
    ),
    "GIVEN_UP": Failure(
        _("Support staff stopped this job"),
        _("What had come in before stays. Ask them for the reason, or start the file again."),
        _("Stopped by support"),
    ),
}


def failure_of(code: str, params: dict[str, Any]) -> Failure:
    """The sentences of a job's failure, with its parameters filled in."""
    entry = FAILURES[code]
    fill = _Params(params)
    return Failure(
        str(entry.title).format_map(fill), str(entry.advice).format_map(fill), str(entry.short).format_map(fill)
    )


class _Params(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return "…"
