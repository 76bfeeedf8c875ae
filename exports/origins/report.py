"""Files that exports have written as the data of a batch job."""

from __future__ import annotations

from typing import Any

from django.db.models.functions import Lower
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from accounts.models import Account
from audience.models import Database
from batchjobs.models import BatchJob, Source
from batchjobs.origins import OFFERED, JobSource, Origin, number_of
from batchjobs.search import holding
from console.formats import filesize, moment, number
from exports.models import ExportRun
from exports.states import READ_BY_JOBS
from exports.writers import FORMATS, FileOptions, OptionError

READABLE = ("csv", "psv", "ndjson", "json")  # of the writers' formats
DELIMITED = ("csv", "psv")
ENCODINGS = {"windows-1252": "cp1252", "iso-8859-1": "latin-1"}  # others say themselves what they are


class Reports(JobSource):
    """Keys are numbers of runs."""

    question = gettext_lazy("Which export?")
    hint = gettext_lazy("Part of the name of an export")
    nothing = gettext_lazy("No file of a finished export is kept. Run an export, and its file can be chosen here.")
    gone = gettext_lazy("The file of this run is not kept any more. Choose another one, or run the export again.")

    def choices(self, database: Database, search: str = "") -> list[Origin]:
        runs = holding(_runs(database.account), Lower("name"), search).order_by("-created_at", "-pk")
        return [_origin(run) for run in runs[:OFFERED]]

    def find(self, database: Database, key: str) -> Origin | None:
        run = _runs(database.account).filter(pk=number_of(key)).first()
        return _origin(run) if run else None

    def words(self, job: BatchJob) -> str:
        return _("report of %(name)s") % {"name": job.source_name}

    def url(self, job: BatchJob) -> str:
        is_there = ExportRun.objects.for_account(job.account).filter(pk=number_of(job.source_key)).exists()
        return reverse("export_run_detail", args=[number_of(job.source_key)]) if is_there else ""


def _runs(account: Account) -> Any:
    runs: Any = ExportRun.objects.with_state().for_account(account)
    allowed = runs.filter(state__in=READ_BY_JOBS.states, type__in=READ_BY_JOBS.types)
    return allowed.filter(file__isnull=False, file__removed_at__isnull=True)


def _origin(run: ExportRun) -> Origin:
    assert run.file is not None  # noqa: S101  _runs
    try:
        file = FileOptions.from_json(run.definition.get("file") or {})
        unfit, label = _unfit(run, file), str(FORMATS[file.format].label)
    except OptionError as error:  # of another version
        file, unfit, label = FileOptions(), str(error), "–"
    rows = ngettext("%(n)s row", "%(n)s rows", run.rows or 0) % {"n": number(run.rows)}
    words = {"when": moment(run.built_at), "format": label, "rows": rows, "size": filesize(run.file.size)}
    return Origin(
        source=Source.REPORT,
        key=str(run.pk),
        name=_("%(name)s, run %(n)s") % {"name": run.name, "n": run.pk},
        file_name=run.file.name,
        size=run.file.size,
        file=run.file,
        options=_options(file),
        about=_("%(when)s, %(format)s, %(rows)s, %(size)s") % words,
        unfit=unfit,
    )


def _unfit(run: ExportRun, file: FileOptions) -> str:
    """Why a batch job cannot read the file, if so."""
    if file.format not in READABLE:
        return _("Batch jobs cannot read %(format)s.") % {"format": FORMATS[file.format].label}
    if file.format in DELIMITED and not file.header:
        return _("The file does not say what its columns are called.")
    if run.definition.get("deletions"):
        return _("The file also tells what was deleted, which a batch job cannot carry out.")
    return "" if run.rows else _("The file has no rows.")


def _options(file: FileOptions) -> dict[str, Any]:
    """How the file is read: as it was written."""
    if file.format not in DELIMITED:
        return {}
    options: dict[str, Any] = {"delimiter": file.delimiter if file.format == "csv" else "|"}
    if encoding := ENCODINGS.get(file.encoding):
        options["encoding"] = encoding
    if file.formula_safe:
        options["formula_safe"] = True
    return options


REPORTS = Reports()
