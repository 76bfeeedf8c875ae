"""Why a job stopped, as sentences a marketer can act on: one entry a code.

A failure says what is so (`title`) and what to do (`advice`). Both take the failure's parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext_lazy as _

from console.formats import filesize

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise


@dataclass(frozen=True, slots=True)
class Failure:
    title: str | _StrPromise
    advice: str | _StrPromise
    short: str | _StrPromise


# No other way of reading the file would help: it has to be another file.
FILE_AT_FAULT = frozenset(
    {
        *("FILE_EMPTY", "NO_ROWS", "BINARY_FILE", "NAME_UNKNOWN", "JSON_BROKEN", "FILE_GONE", "COLUMNS_TOO_MANY"),
        *("GZIP_MISNAMED", "ZIP_MISNAMED", "ZIP_NOT_ONE_FILE", "ZIP_ENCRYPTED", "ARCHIVE_DAMAGED", "ARCHIVE_TOO_LARGE"),
        *("TAR_IN_GZIP", "AUDIENCE_GONE", "AUDIENCE_EMPTY", "AUDIENCE_UNREADABLE"),
    }
)


class JobFailureError(Exception):
    """Ends a job as failed, for a reason that has a name. `params` is JSON: what the reason's sentence is told."""

    def __init__(self, code: str, **params: Any) -> None:
        super().__init__(code)
        self.code = code
        self.params = params


class FileFailureError(JobFailureError):
    """The file as a whole cannot be taken in. `code` is a key of FAILURES."""

    def __init__(self, code: str, **params: Any) -> None:
        if code not in FAILURES:
            raise KeyError(code)
        super().__init__(code, **params)


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
            "Batchdesk found no comma, semicolon, tab or other delimiter between columns in “{header}”. The file needs "
            "at least a column that says who. Save it with separated columns, or, if they are set out with blanks, "
            "start the job again and choose “Blanks” as delimiter."
        ),
        _("One column only"),
    ),
    "COLUMN_MISSING": Failure(
        _("The file has no {column} column"),
        _("{hint} The columns found are: {found}. Say which of them it is, or rename it in the file."),
        _("No {column} column"),
    ),
    "TABLE_MISSING": Failure(
        _("There is no such table"),
        _("Nothing was changed. Choose the table that the rows go to; support staff set tables up."),
        _("No such table"),
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
    "HEADER_MISSING": Failure(
        _("The first line holds no names of columns"),
        _(
            "It begins with “{header}”, which looks like a row. Put a line with the names of the columns on top of "
            "the file and start a new job. Nothing was changed."
        ),
        _("No header"),
    ),
    "DATE_ORDER_UNKNOWN": Failure(
        _("Which comes first in {example}, the day or the month?"),
        _("Dates of this file, from line {line} on, can be read both ways. Nothing was changed: answer, and it runs."),
        _("Day or month first?"),
    ),
    "NAME_UNKNOWN": Failure(
        _("The file inside, “{name}”, is of no kind that is known"),
        _("It must end in one of {list}. Rename it and pack it again. Nothing was changed."),
        _("Unknown kind of file"),
    ),
    "GZIP_MISNAMED": Failure(
        _("The name ends in .gz, but this is not gzip"),
        _("It looks like {kind}. Give it the name that fits, or pack it with gzip. Nothing was changed."),
        _("Not gzip"),
    ),
    "TAR_IN_GZIP": Failure(
        _("The archive holds a tar, not a file of records"),
        _("Pack the file itself with gzip, without tar around it. Nothing was changed."),
        _("Tar in the gzip"),
    ),
    "ZIP_MISNAMED": Failure(
        _("The name ends in .zip, but this is not a zip archive"),
        _("It looks like {kind}. Give it the name that fits, or pack it as zip. Nothing was changed."),
        _("Not a zip archive"),
    ),
    "ZIP_NOT_ONE_FILE": Failure(
        _("The zip archive holds {count} files"),
        _("Exactly one is read. In it are: {names}. Upload each of them as a job of its own. Nothing was changed."),
        _("Not one file in the zip"),
    ),
    "ZIP_ENCRYPTED": Failure(
        _("The zip archive is protected with a password"),
        _("Pack the file again without one. Nothing was changed."),
        _("Protected zip"),
    ),
    "ZIP_METHOD_UNKNOWN": Failure(
        _("The zip archive is packed in an unusual way"),
        _("Its method is {method}. Pack the file again the usual way (deflate). Nothing was changed."),
        _("Unusual zip"),
    ),
    "ARCHIVE_DAMAGED": Failure(
        _("The archive is damaged"),
        _("It can be unpacked up to line {line}. {reason} Nothing was changed: pack the file again and upload that."),
        _("Damaged archive"),
    ),
    "ARCHIVE_TOO_LARGE": Failure(
        _("What is in the archive is too large"),
        _(
            "Unpacking was stopped: {stored_bytes} had grown to {unpacked_bytes}. Nothing was changed. Upload the file "
            "in several pieces if it really is so large."
        ),
        _("Too large when unpacked"),
    ),
    "JSON_BROKEN": Failure(
        _("The JSON is broken at line {line}"),
        _("{reason} What stands before was read. Repair the file or export it again."),
        _("Broken JSON"),
    ),
    "LIST_NOT_CHOSEN": Failure(
        _("The file holds several lists"),
        _("They are: {found}. Choose the one that is meant. Nothing was changed."),
        _("Which list?"),
    ),
    "LIST_NOT_FOUND": Failure(
        _("The file has no list called “{name}”"),
        _("Lists that were found: {found}. Nothing was changed."),
        _("No list {name}"),
    ),
    "NO_VALID_ROWS": Failure(
        _("No row of the file could be used"),
        _("All {count} rows were rejected, so nothing was changed. Below is what was wrong with them."),
        _("No usable row"),
    ),
    "INVALID_TOO_MANY": Failure(
        _("{invalid} of {count} rows were rejected"),
        _("That is {share} %, and more than {limit} % was chosen as the limit, so nothing was changed at all."),
        _("More rejected than allowed"),
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
    "AUDIENCE_GONE": Failure(
        _("“{name}” is no longer there"),
        _("The list or segment was removed or renamed before the job could read it. Nothing was changed."),
        _("Audience is gone"),
    ),
    "AUDIENCE_EMPTY": Failure(
        _("Nobody is in “{name}”"),
        _("There were no people when the job began, so nothing was changed. Choose another list or segment."),
        _("Nobody there"),
    ),
    "AUDIENCE_UNREADABLE": Failure(
        _("The people of “{name}” could not be read"),
        _("{reason} Nothing was changed."),
        _("Audience not read"),
    ),
    "FILE_GONE": Failure(
        _("The uploaded file is no longer there"),
        _("Its bytes could not be read from storage. Upload the file again."),
        _("File is gone"),
    ),
    "STORAGE_FAILED": Failure(
        _("Storage did not give up everything that had to go"),
        _("Nothing is called removed whose bytes may still be there. The next run, within the hour, tries again."),
        _("Storage failed"),
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
    sizes = {f"{key}_bytes": filesize(value) for key, value in params.items() if key in ("stored", "unpacked")}
    fill = _Params(params | sizes)
    return Failure(
        str(entry.title).format_map(fill), str(entry.advice).format_map(fill), str(entry.short).format_map(fill)
    )


class _Params(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return "…"
