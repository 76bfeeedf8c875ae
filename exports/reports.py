"""The report of a run by mail.

Settling a run notes who is to be told (`report_to`). Mails are sent outside of any transaction, for a mail server may
be slow, and one by one: recipients need not know of each other, and who has had the mail is taken off the list. A run
is claimed for that by moving `report_at` on. So nobody gets a second mail, unless a beat dies between a mail and its
note.
"""

from __future__ import annotations

import datetime as dt
from smtplib import SMTPDataError, SMTPRecipientsRefused
from typing import Any

import structlog
from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from console.formats import filesize, number
from exports.errors import error_shown
from exports.models import ExportRun, ReportWhen
from exports.states import RunState

log = structlog.get_logger(__name__)

CLAIM = dt.timedelta(minutes=10)  # far longer than the exchange of one mail, each step of which has EMAIL_TIMEOUT
RETRY = dt.timedelta(minutes=1)
TRIES = dt.timedelta(hours=24)
UNREPORTED = "REPORT_NOT_SENT"  # the warning that an address was given up


def recipients_of(run: ExportRun) -> list[str]:
    """Whom the end of a run is reported to: those of its definition, and its owner when that stopped the export."""
    went_wrong = run.state != RunState.SUCCEEDED or bool(run.warnings)
    wanted = run.definition.get("report_when") != ReportWhen.PROBLEMS or went_wrong
    recipients = list(run.definition.get("recipients") or []) if wanted else []
    owner = run.export.created_by if run.export else None
    if run.stopped_export and owner:
        recipients.append(owner.email)
    return list(dict.fromkeys(recipients))


def reports_send() -> None:
    """Mails the reports that are due. What the mail server does not take now is tried again later, for a day."""
    while (run := _claimed()) is not None:
        if not _report(run):
            return  # nothing can be sent now, to nobody


def _claimed() -> ExportRun | None:
    """The run whose report is due longest: this beat's, until `report_at`."""
    with transaction.atomic():
        due = ExportRun.objects.filter(report_at__lte=timezone.now()).order_by("report_at", "pk")
        found = due.select_for_update(skip_locked=True, of=("self",)).first()
        if found is None:
            return None
        run = ExportRun.objects.with_state().get(pk=found.pk)
        run.report_at = timezone.now() + CLAIM
        run.save(update_fields=["report_at"])
    return run


def _report(run: ExportRun) -> bool:
    """Mails a claimed report to all who have not had it. False if the mail server itself is the trouble."""
    assert run.settled_at is not None  # noqa: S101  that made it due
    for address in list(run.report_to):
        refused, given_up = 0, False
        try:
            EmailMessage(subject_of(run), text_of(run), to=[address]).send()
        except (OSError, ValueError) as error:  # SMTPException is an OSError
            refused = _refusal(error)
            given_up = refused >= 500 or timezone.now() - run.settled_at >= TRIES
            log.warning("report_not_sent", run=run.pk, error=repr(error), given_up=given_up)
            if not given_up and refused:
                continue
            if not given_up:
                _put_off(run)
                return False
        if not _note(run, address, given_up=given_up):
            return True  # relaunched meanwhile, or this took longer than the claim: it is another's
    if run.report_at:
        _put_off(run)
    return True


def _refusal(error: OSError | ValueError) -> int:
    """The reply by which the server refused a recipient, or the mail to them; 0 if it is not about them.

    5xx is final (RFC 5321, 4.2.1), and so is an address that cannot be written. Refused senders and passwords are
    somebody's mistake in the settings, which can be put right.
    """
    if isinstance(error, SMTPRecipientsRefused):
        return int(next(iter(error.recipients.values()))[0])
    if isinstance(error, SMTPDataError):
        return int(error.smtp_code)
    return 553 if isinstance(error, ValueError) else 0


def _note(run: ExportRun, address: str, *, given_up: bool) -> bool:
    """Takes an address off the list, with a warning if it was given up. False if the claim is no longer ours."""
    with transaction.atomic():
        mine = ExportRun.objects.select_for_update().filter(pk=run.pk, report_at=run.report_at).first()
        if mine is None:
            return False
        mine.report_to = [other for other in mine.report_to if other != address]
        if given_up:
            mine.warnings.append({"code": UNREPORTED, "address": address})
        mine.report_at = timezone.now() + CLAIM if mine.report_to else None
        mine.save(update_fields=["report_to", "report_at", "warnings"])
    run.report_at = mine.report_at
    return True


def _put_off(run: ExportRun) -> None:
    """Leaves the others to a later tick."""
    ExportRun.objects.filter(pk=run.pk, report_at=run.report_at).update(report_at=timezone.now() + RETRY)


def subject_of(run: ExportRun) -> str:
    state = RunState(run.state).label
    subject = _("%(name)s: stopped after five failures") if run.stopped_export else _("%(name)s: %(state)s")
    return " ".join((subject % {"name": run.name, "state": str(state).lower()}).split())


def text_of(run: ExportRun) -> str:
    """The report as plain text. No data of persons, and no file: that is fetched by who may."""
    lines = [_("Export: %(name)s") % {"name": run.name}]
    job = run.job
    if run.state == RunState.FAILED:
        error = error_shown(run.fault or (job.failure_code if job else ""), job.failure_params if job else {})
        lines += ["", f"{error.title}. {error.advice}", _("Code: %(code)s") % {"code": error.code}]
    lines.append("")
    if run.file:
        lines.append(_("File: %(name)s") % {"name": run.file.name})
    if run.rows is not None and run.file:
        lines.append(_("Rows: %(rows)s, %(size)s") % {"rows": number(run.rows), "size": filesize(run.file.size)})
        if run.deletions is not None:
            lines.append(_("Deleted rows among them: %(rows)s") % {"rows": number(run.deletions)})
        lines.append(f"SHA-256: {run.file.sha256}")
    if job and job.started_at and job.completed_at:
        lines.append(_("Started: %(at)s UTC") % {"at": f"{job.started_at:%Y-%m-%d %H:%M:%S}"})
        lines.append(_("Ended: %(at)s UTC") % {"at": f"{job.completed_at:%Y-%m-%d %H:%M:%S}"})
    # Whom else it could not be sent to is nobody's business.
    lines += [_warning_text(warning) for warning in run.warnings if warning.get("code") != UNREPORTED]
    if run.stopped_export:
        lines += ["", _("The export was unscheduled after five failures in a row. Schedule it again when it works.")]
    return "\n".join([*lines, "", f"{settings.BASE_URL}/exports/runs/{run.pk}/", ""])


def warnings_of(run: ExportRun) -> list[str]:
    """What is worth a look, as sentences."""
    return [_warning_text(warning) for warning in run.warnings]


def _warning_text(warning: dict[str, Any]) -> str:
    code = str(warning.get("code"))
    text = {
        "NO_ROWS": _("The file has no rows."),
        "NOT_SENT": _("There was nothing to send, so nothing was delivered."),
        "NAME_TAKEN": _("A file of this name was there already, so this one is called {name}."),
        "UNUSUAL_ROWS": _("The runs before had about {usual} rows."),
        "RESTORED": _("The database was restored since the last run, so this one holds everything."),
        "DELETIONS_FORGOTTEN": _(
            "The last run is so long ago that not all deletions since are known, so this one holds everything. "
            "Remove what is not in it."
        ),
        "DELETIONS_MISSING": _("The window is so long ago that not all deletions in it are still known."),
        "CHARACTERS_REPLACED": _("{count} characters do not exist in the file's encoding and were written as ?."),
        "TEXTS_CUT": _("{count} texts are longer than a cell can be and were cut."),
        "TIMES_LEFT_OUT": _("{count} times lie beyond what the file can hold and were left out."),
        UNREPORTED: _("The report could not be sent to {address}."),
    }.get(code, code)
    return text.format_map({"usual": "", "count": "", "address": "", "name": "", **warning})
