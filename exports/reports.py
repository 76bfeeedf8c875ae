"""The report of a run by mail."""

from __future__ import annotations

from django.conf import settings
from django.core.mail import EmailMessage
from django.utils.translation import gettext as _

from console.formats import filesize, number
from exports.errors import error_shown
from exports.models import ExportRun, ReportWhen
from exports.states import RunState


def report_send(run: ExportRun, *, stopped: bool = False) -> None:
    """Mails the end of a run to the recipients of its definition, and to its owner when that stopped the export.

    Raises what the mail server's refusal raises: OSError, SMTPException.
    """
    went_wrong = run.state != RunState.SUCCEEDED or bool(run.warnings)
    wanted = run.definition.get("report_when") != ReportWhen.PROBLEMS or went_wrong
    recipients = list(run.definition.get("recipients") or []) if wanted else []
    owner = run.export.created_by if run.export else None
    if stopped and owner and owner.email not in recipients:
        recipients.append(owner.email)
    if recipients:
        # One mail each: recipients need not know of each other.
        for recipient in recipients:
            EmailMessage(subject_of(run, stopped=stopped), text_of(run, stopped=stopped), to=[recipient]).send()


def subject_of(run: ExportRun, *, stopped: bool) -> str:
    state = RunState(run.state).label
    subject = _("%(name)s: stopped after five failures") if stopped else _("%(name)s: %(state)s")
    return " ".join((subject % {"name": run.name, "state": str(state).lower()}).split())


def text_of(run: ExportRun, *, stopped: bool) -> str:
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
        lines.append(f"SHA-256: {run.file.sha256}")
    if job and job.started_at and job.completed_at:
        lines.append(_("Started: %(at)s UTC") % {"at": f"{job.started_at:%Y-%m-%d %H:%M:%S}"})
        lines.append(_("Ended: %(at)s UTC") % {"at": f"{job.completed_at:%Y-%m-%d %H:%M:%S}"})
    lines += [str(text) for text in warnings_of(run)]
    if stopped:
        lines += ["", _("The export was unscheduled after five failures in a row. Schedule it again when it works.")]
    return "\n".join([*lines, "", f"{settings.BASE_URL}/exports/runs/{run.pk}/", ""])


def warnings_of(run: ExportRun) -> list[str]:
    """What is worth a look, as sentences."""
    texts = []
    for warning in run.warnings:
        text = {
            "NO_ROWS": _("The file has no rows."),
            "NOT_SENT": _("There was nothing to send, so nothing was delivered."),
            "UNUSUAL_ROWS": _("The runs before had about {usual} rows."),
            "RESTORED": _("The database was restored since the last run, so this one holds everything."),
            "CHARACTERS_REPLACED": _("{count} characters do not exist in the file's encoding and were written as ?."),
            "TEXTS_CUT": _("{count} texts are longer than a cell can be and were cut."),
            "TIMES_LEFT_OUT": _("{count} times lie beyond what the file can hold and were left out."),
        }.get(str(warning.get("code")), str(warning.get("code")))
        texts.append(text.format_map({"usual": "", "count": "", **warning}))
    return texts
