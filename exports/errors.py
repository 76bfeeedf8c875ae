"""Why a run of an export failed: one entry a code, with a sentence and whether trying again can help.

Codes are the product's own and are never renamed (docs/exports.md lists them). Sentences take the failure's parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext_lazy as _

from batchjobs.failures import JobFailureError

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise


@dataclass(frozen=True, slots=True)
class RunError:
    title: str | _StrPromise
    advice: str | _StrPromise
    retryable: bool


ERRORS: dict[str, RunError] = {
    "SOURCE_TABLE_MISSING": RunError(
        _("What should be exported is no longer there"),
        _("“{table}” was removed or renamed. Unschedule the export, edit it and choose another one."),
        False,
    ),
    "COLUMN_MISSING": RunError(
        _("A column is no longer there"),
        _("“{column}” was removed since the export was defined. Unschedule the export and edit its columns."),
        False,
    ),
    "FILTER_INVALID": RunError(
        _("A rule of the filter cannot be used any more"),
        _("{reason} Unschedule the export and edit its filter."),
        False,
    ),
    "DEFINITION_INVALID": RunError(
        _("The definition cannot be used any more"),
        _("{reason} Unschedule the export and edit it."),
        False,
    ),
    "VALUE_NOT_WRITABLE": RunError(
        _("A value does not fit the file"),
        _("{reason} Choose another format, or leave the column out."),
        False,
    ),
    "QUERY_TOO_SLOW": RunError(
        _("Reading the data took too long"),
        _("It was stopped after {minutes} minutes. Try again at a quieter time, or narrow the filter."),
        True,
    ),
    "DISK_FULL": RunError(
        _("There is no room left for the file"),
        _("Nothing half-written was kept. Make room, or ask who runs Batchdesk to do so, and relaunch."),
        True,
    ),
    "STORAGE_FAILED": RunError(
        _("The file could not be stored"),
        _("Storage did not take it. Nothing half-written was kept. Relaunch when it works again."),
        True,
    ),
    "NOT_PRIMARY": RunError(
        _("The database server is a copy"),
        _("Only the primary server knows which changes are complete. Whoever runs Batchdesk has to connect to that."),
        True,
    ),
    "EXPORT_CHANGED": RunError(
        _("The export was changed before this run began"),
        _("It was edited or deleted meanwhile, so nothing was sent. Its next run sends what is due."),
        False,
    ),
    "FILE_GONE": RunError(
        _("The file of this run is no longer kept"),
        _("It cannot be delivered again. Run the export once more."),
        False,
    ),
    "DESTINATION_MISSING": RunError(
        _("The destination is no longer there"),
        _("It was removed since. Unschedule the export and choose another one."),
        False,
    ),
    "DESTINATION_REFUSED": RunError(
        _("The destination did not take the file"),
        _("The file is ready and safe. {reason} Relaunch to deliver the same file again."),
        True,
    ),
    "DESTINATION_FULL": RunError(
        _("There is no room left at the destination"),
        _("The file is ready and safe. Make room there and relaunch to deliver the same file again."),
        True,
    ),
    "MISSED": RunError(
        _("Nothing ran at that time"),
        _("Batchdesk was not running. Runs up to 24 hours late are made up for, of several the latest only."),
        False,
    ),
    "OVERLAPPED": RunError(
        _("The run before was still going on"),
        _("An export runs once at a time, so this run was left out. The next one covers what it would have sent."),
        False,
    ),
    "CRASHED": RunError(
        _("The run broke off three times"),
        _("Something is wrong in Batchdesk. Support staff can see the reports; relaunching may help."),
        True,
    ),
    "GIVEN_UP": RunError(
        _("Support staff stopped this run"),
        _("Ask them why before you relaunch it."),
        True,
    ),
}


class ExportError(JobFailureError):
    """The run cannot go on. `code` is a key of ERRORS."""

    def __init__(self, code: str, **params: Any) -> None:
        if code not in ERRORS:
            raise KeyError(code)
        super().__init__(code, **params)


class DeliveryError(ExportError):
    """The file is there and could not be delivered."""


class _Gaps(dict[str, Any]):
    """A parameter that is not there leaves no gap in a sentence."""

    def __missing__(self, key: str) -> str:
        return ""


@dataclass(frozen=True, slots=True)
class ErrorShown:
    code: str
    title: str
    advice: str
    retryable: bool


def error_shown(code: str, params: dict[str, Any] | None = None) -> ErrorShown:
    """The entry of a code as texts."""
    error = ERRORS.get(code, ERRORS["CRASHED"])
    advice = " ".join(str(error.advice).format_map(_Gaps(params or {})).split())
    return ErrorShown(code, str(error.title), advice, error.retryable)
