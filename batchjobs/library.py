"""Files of the account's library as the source of another job: those that a job has read, as long as they are kept."""

from __future__ import annotations

from typing import Any

from django.db.models import Exists, F, OuterRef, Subquery
from django.db.models.functions import Lower
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import Account
from audience.models import Database
from batchjobs.models import IMPORT, BatchJob, Source, SourceFile
from batchjobs.origins import OFFERED, JobSource, Origin, number_of
from batchjobs.search import holding
from console.formats import day, filesize


class ExistingFiles(JobSource):
    """Keys are numbers of files."""

    question = gettext_lazy("Which file?")
    hint = gettext_lazy("Part of a file name")
    nothing = gettext_lazy("No file is kept yet. What jobs bring in can be used again here for 90 days.")
    gone = gettext_lazy("This file is not kept any more. Choose another one.")

    def choices(self, database: Database, search: str = "") -> list[Origin]:
        files = holding(_kept(database.account), Lower("name"), search).order_by("-pk")
        return [_origin(file) for file in files[:OFFERED]]

    def find(self, database: Database, key: str) -> Origin | None:
        file = _kept(database.account).filter(pk=number_of(key)).first()
        return _origin(file) if file else None

    def words(self, job: BatchJob) -> str:
        return _("existing file")


def _kept(account: Account) -> Any:
    jobs = BatchJob.objects.filter(file=OuterRef("pk"), kind=IMPORT)
    files = SourceFile.objects.for_account(account)
    newest = Subquery(jobs.order_by("-pk").values("name")[:1])
    return files.filter(Exists(jobs), removed_at__isnull=True, received=F("size")).annotate(used_by=newest)


def _origin(file: SourceFile) -> Origin:
    words = {"size": filesize(file.size), "day": day(file.created_at), "job": getattr(file, "used_by", "")}
    return Origin(
        source=Source.EXISTING_FILE,
        key=str(file.pk),
        name=file.name,
        file_name=file.name,
        size=file.size,
        file=file,
        about=_("%(size)s, %(day)s, read by “%(job)s”") % words,
    )


EXISTING_FILES = ExistingFiles()
