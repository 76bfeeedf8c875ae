"""Where the data of a job comes from, other than from a new file.

A source is an object of config.registry.JOB_SOURCES: it offers what there is to choose, says what was chosen, and
writes that as a file where it is none yet. Audiences and reports live in `exports`, above this app.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from django.db import transaction
from django.utils.translation import gettext as _

from audience.models import Database
from batchjobs.files import record_file, remove_stored
from batchjobs.kernel import Lease, LeaseLostError
from batchjobs.models import BatchJob, SourceFile
from batchjobs.refusals import JobRefusedError
from batchjobs.states import Status
from console.registry import registered

OFFERED = 8  # at once; the others are found by searching


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Something to choose: a file of the library, or what a job writes as one (then `file` is None)."""

    source: str  # of models.Source
    key: str
    name: str
    file_name: str
    size: int | None  # bytes, of what is still to be written about; None if nobody knows
    file: SourceFile | None = None
    options: Mapping[str, Any] = field(default_factory=dict)  # how the file is read, as far as that is known
    about: str = ""  # a line for people
    unfit: str = ""  # a sentence: why it cannot be chosen


class JobSource(ABC):
    """One kind of origins. Keys are those of a job's `source_key`; what is another account's does not exist."""

    question: Any
    hint: Any  # what the field says in which one searches
    nothing: Any  # what is said where there is nothing to choose
    gone: Any  # and of what is not there, or not any more

    @abstractmethod
    def choices(self, database: Database, search: str = "") -> list[Origin]:
        """What can be chosen into the database: the newest whose name holds `search`, OFFERED at most."""

    @abstractmethod
    def find(self, database: Database, key: str) -> Origin | None:
        """One of what could be chosen, whatever its age."""

    @abstractmethod
    def words(self, job: BatchJob) -> str:
        """Of a job: what its data is, as in “report of Daily feed, run 12”."""

    def url(self, job: BatchJob) -> str:
        """A page about what the job's data is from, or ""."""
        return ""

    def get(self, database: Database, key: str) -> Origin:
        """What was chosen. Raises JobRefusedError for what is not there or unfit."""
        found = self.find(database, key)
        if found is None:
            raise JobRefusedError("choice", str(self.gone))
        if found.unfit:
            raise JobRefusedError("choice", found.unfit)
        return found

    def sample(self, database: Database, key: str) -> bytes:
        """The beginning of the file that a job would write. Only of origins without a file."""
        raise NotImplementedError

    def write(self, job: BatchJob, lease: Lease) -> SourceFile:
        """Writes the job's file. Raises FileFailureError. Only of origins without a file."""
        raise NotImplementedError


def job_source(word: str) -> JobSource | None:
    """The source of that name; None for new files, and for what is none."""
    return cast("JobSource | None", registered("JOB_SOURCES").get(word))


def origin_of(database: Database | None, source: str, key: str) -> Origin:
    """What was chosen of a source. Raises JobRefusedError."""
    found = job_source(source)
    if found is None:
        raise JobRefusedError("source", _("There is no source “%(name)s”.") % {"name": source})
    if database is None or not key or "\x00" in key:
        raise JobRefusedError("choice", str(found.gone))
    return found.get(database, key)


def number_of(key: str) -> int:
    """A key that is a number; 0 for one that is none."""
    return int(key) if key.isascii() and key.isdecimal() and len(key) < 19 else 0


def file_keep(job: BatchJob, lease: Lease, *, name: str, size: int, stored_as: str, sha256: str) -> SourceFile:
    """Records what is in storage as the file of the job, if that is still ours. Raises LeaseLostError."""
    try:
        with transaction.atomic():
            file = record_file(account=job.account, name=name, size=size, stored_as=stored_as, sha256=sha256)
            mine = BatchJob.objects.filter(
                pk=job.pk, lease_token=lease.token, status=Status.IN_PROGRESS, file__isnull=True
            )
            if not mine.update(file=file, crashes=0):
                raise LeaseLostError
    except LeaseLostError:
        remove_stored(stored_as)
        raise
    # After any other error the bytes stay: the commit may have been one whose answer was lost. The sweep decides.
    return file
