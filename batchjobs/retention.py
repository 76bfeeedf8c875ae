"""How long personal data is kept: the policy as a table, each line with the code that carries it out.

A line is a Policy (removed after a time), Kept (until somebody removes it) or Impersonal. Every model of the product
stands in one; a test fails for a new one that does not, and keeps docs/retention.md equal to the table. Apps above
this one bring lines of their own by config.registry.RETENTION. `batchjobs/expiry.py` runs it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.sessions.models import Session
from django.core.files.storage import default_storage
from django.db import connection
from django.db.models import Exists, OuterRef, Q, QuerySet

from accounts.models import Account
from audience.models import ProfileBeforeImage, Tombstone
from batchjobs.files import StorageFailedError, list_stored, remove_bytes, remove_stored
from batchjobs.ingestion.rejects import account_folder, job_folder
from batchjobs.models import BatchJob, Chunk, IdempotencyKey, JobCrash, SourceFile
from batchjobs.states import ACTIVE, ENDED, Status, sources_of
from console.registry import registered

# Jobs that only keep house: what they did is told by what they did it to, and by the audit log.
HOUSEKEEPING_KINDS = frozenset({"expiry", "erasure"})

# What a failure's sentence was told of the file's content. Of a file without a header these are people.
FAILURE_VALUES = ("preview", "header", "found")

Check = Callable[[], None]  # called between steps: Lease.check


def _nothing(key: Any, check: Check) -> None:
    """There are no bytes to remove first."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Something that is removed when its time is over.

    `due` gives what is past its time: a QuerySet, or names in storage. A step takes some of it: `empty` removes the
    bytes of each, and only then `remove` the rows, in one transaction; it returns how many. Both may be repeated
    after a kill at any point. `everywhere`: belongs to no account, `due` gets None.
    """

    name: str  # of the figure in the job
    models: tuple[str, ...]
    what: str
    since: str
    kept: str  # a setting; the end of its name is the unit
    removed: str
    stays: str
    due: Callable[[Any, dt.datetime], Any]
    remove: Callable[[Any, list[Any], dt.datetime], int]
    empty: Callable[[Any, Check], None] = _nothing
    look: Callable[[Any, dt.datetime], Any] | None = None  # a cheaper `due`, to decide whether a run is worth it
    step: int = 1000
    everywhere: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """Personal data that no clock removes."""

    models: tuple[str, ...]
    until: str
    why: str


@dataclass(frozen=True, slots=True)
class Impersonal:
    """No personal data, and why one can say so."""

    models: tuple[str, ...]
    why: str


Line = Policy | Kept | Impersonal


def kept(setting: str) -> dt.timedelta:
    unit = {"DAYS": "days", "HOURS": "hours", "AGE": "seconds"}[setting.rpartition("_")[2]]
    return dt.timedelta(**{unit: getattr(settings, setting)})


def lines() -> list[Line]:
    """The tables of all apps as one."""
    tables: dict[str, Any] = dict(registered("RETENTION"))
    return [line for table in tables.values() for line in table]


def policies() -> list[Policy]:
    return [line for line in lines() if isinstance(line, Policy)]


# What is due.


def needed(now: dt.datetime) -> Exists:
    """Of a file: whether a job reads it, or was started with it so lately that what it says is still kept."""
    jobs = BatchJob.objects.filter(file=OuterRef("pk"))
    return Exists(jobs.filter(Q(status__in=ACTIVE) | Q(created_at__gt=now - kept("FILES_KEPT_DAYS"))))


def files_due(account: Account, now: dt.datetime) -> QuerySet[SourceFile]:
    """Files whose time is over and that no job still needs; also those whose bytes went earlier by another way."""
    jobs = BatchJob.objects.filter(file=OuterRef("pk"))
    due: QuerySet[SourceFile] = SourceFile.objects.for_account(account).filter(
        Q(removed_at__isnull=True) | Exists(jobs.filter(status__in=ENDED)),
        ~needed(now),
        created_at__lte=now - kept("FILES_KEPT_DAYS"),
    )
    return due


def before_images_due(account: Account, now: dt.datetime) -> QuerySet[ProfileBeforeImage]:
    jobs = BatchJob.objects.for_account(account).values("pk")
    return ProfileBeforeImage.objects.filter(job__in=jobs, created_at__lte=now - kept("BEFORE_IMAGES_KEPT_DAYS"))


def idempotency_keys_due(account: Account, now: dt.datetime) -> QuerySet[IdempotencyKey]:
    since = now - kept("IDEMPOTENCY_KEPT_DAYS")
    due: QuerySet[IdempotencyKey] = IdempotencyKey.objects.for_account(account).filter(created_at__lte=since)
    return due


def tombstones_due(account: Account, now: dt.datetime) -> QuerySet[Tombstone]:
    old = now - kept("TOMBSTONES_KEPT_DAYS")
    due: QuerySet[Tombstone] = Tombstone.objects.for_account(account).filter(deleted_at__lte=old)
    return due


def crashes_due(account: Account, now: dt.datetime) -> QuerySet[JobCrash]:
    return JobCrash.objects.filter(job__account=account, created_at__lte=now - kept("CRASHES_KEPT_DAYS"))


def housekeeping_due(account: Account, now: dt.datetime) -> QuerySet[BatchJob]:
    since = now - kept("HOUSEKEEPING_KEPT_DAYS")
    due: QuerySet[BatchJob] = BatchJob.objects.for_account(account).filter(
        kind__in=HOUSEKEEPING_KINDS, status__in=ENDED, completed_at__lte=since
    )
    return due


def sessions_due(account: None, now: dt.datetime) -> QuerySet[Session]:
    return Session.objects.filter(expire_date__lte=now)


def orphans_due(account: Account, now: dt.datetime) -> Iterator[str]:
    """Parts of rejected rows that no ledger row names: a run stored them and ended before its commit."""
    folders, _files = list_stored(account_folder(account.pk))
    return _orphans(account, (int(name) for name in folders if name.isdecimal()), now)


def orphans_of_late(account: Account, now: dt.datetime) -> Iterator[str]:
    """The same, only of jobs that ended lately: those of earlier ones were found by an earlier look."""
    until = now - kept("ORPHANS_KEPT_HOURS")
    since = until - 3 * dt.timedelta(seconds=settings.EXPIRY_EVERY_SECONDS)
    jobs = BatchJob.objects.for_account(account).filter(completed_at__gt=since, completed_at__lte=until)
    return _orphans(account, jobs.values_list("pk", flat=True), now)


def _orphans(account: Account, jobs: Iterable[int], now: dt.datetime) -> Iterator[str]:
    for job in jobs:
        folder = job_folder(account.pk, job)
        _folders, files = list_stored(folder)
        if not files or BatchJob.objects.filter(pk=job, status__in=ACTIVE).exists():
            continue
        named = set(Chunk.objects.filter(job=job).exclude(part="").values_list("part", flat=True))
        for name in (f"{folder}/{file}" for file in files):
            if name not in named and _stored_at(name) <= now - kept("ORPHANS_KEPT_HOURS"):
                yield name


def _stored_at(name: str) -> dt.datetime:
    try:
        return default_storage.get_modified_time(name)
    except Exception as error:
        raise StorageFailedError(name) from error


# How it is removed.


def rows_delete(due: QuerySet[Any], keys: list[int], now: dt.datetime) -> int:
    found = due.filter(pk__in=keys)
    count = found.count()
    found.delete()
    return count


def names_counted(due: Any, keys: list[str], now: dt.datetime) -> int:
    """Where there were only bytes."""
    return len(keys)


def name_empty(name: str, check: Check) -> None:
    remove_stored(name)


def file_empty(key: int, check: Check) -> None:
    """Removes the bytes of a file and of the rows of it that were rejected."""
    file = SourceFile.objects.get(pk=key)
    remove_bytes(file, each=check)
    for job in file.jobs.all():
        folder = job_folder(job.account_id, job.pk)
        _folders, stored = list_stored(folder)
        names = {f"{folder}/{name}" for name in stored}
        # By the ledger too: what stands there is gone for certain, wherever it was stored.
        names.update(job.chunks.exclude(part="").values_list("part", flat=True))
        for name in sorted(names):
            check()
            remove_stored(name)
        if stored:
            remove_stored(folder)  # on a disk, the empty folder


CLEAR_CHUNKS = """
    UPDATE batchjobs_chunk
    SET part = '', samples = '[]', groups = coalesce((
        SELECT jsonb_agg(g - 'examples' ORDER BY n) FROM jsonb_array_elements(groups) WITH ORDINALITY AS t(g, n)), '[]')
    WHERE job_id = ANY(%s)
"""
CLEAR_FAILURES = """
    UPDATE batchjobs_batchjob SET failure_params = failure_params - %s::text[] WHERE id = ANY(%s)
"""


def files_expire(due: QuerySet[SourceFile], keys: list[int], now: dt.datetime) -> int:
    """Marks files whose bytes are gone, and expires their jobs.

    A file that somebody holds is left for the next run, so that nobody waits; so is one that has a new job.
    """
    files = list(due.filter(pk__in=keys).select_for_update(skip_locked=True, of=("self",)))
    SourceFile.objects.filter(pk__in=[file.pk for file in files], removed_at__isnull=True).update(removed_at=now)
    ended = BatchJob.objects.filter(file__in=files, status__in=sources_of(Status.EXPIRED))
    jobs = list(ended.values_list("pk", flat=True))
    if jobs:
        ended.update(status=Status.EXPIRED, expired_at=now)
        with connection.cursor() as cursor:
            cursor.execute(CLEAR_CHUNKS, [jobs])
            cursor.execute(CLEAR_FAILURES, [list(FAILURE_VALUES), jobs])
    return len(files)


TABLE: tuple[Line, ...] = (
    Policy(
        name="files",
        models=("batchjobs.SourceFile", "batchjobs.FilePart", "batchjobs.Chunk", "batchjobs.BatchJob"),
        what="Uploaded files, and what was rejected of them",
        since="the upload, or the start of the last job that read the file; once all its jobs have ended",
        kept="FILES_KEPT_DAYS",
        removed="the bytes of the file, rejected rows, samples, example values, first lines of files that failed",
        stays="the job as Expired: name, who, when, how it ended, counts, reasons by code and column, header, "
        "checksum; and what came in",
        due=files_due,
        empty=file_empty,
        remove=files_expire,
        step=1,
    ),
    Policy(
        name="orphans",
        models=(),
        what="Stored rejected rows that no chunk names, of jobs that are not active",
        since="storing them",
        kept="ORPHANS_KEPT_HOURS",
        removed="the bytes",
        stays="nothing: the run that followed stored them again",
        due=orphans_due,
        look=orphans_of_late,
        empty=name_empty,
        remove=names_counted,
        step=100,
    ),
    Policy(
        name="before_images",
        models=("audience.ProfileBeforeImage",),
        what="What a profile held before a job changed it",
        since="the change",
        kept="BEFORE_IMAGES_KEPT_DAYS",
        removed="the row",
        stays="the profile as it is",
        due=before_images_due,
        remove=rows_delete,
        step=5000,
    ),
    Policy(
        name="tombstones",
        models=("audience.Tombstone",),
        what="That a row was deleted: its number, and the hash of what it was known by",
        since="the deletion",
        kept="TOMBSTONES_KEPT_DAYS",
        removed="the row",
        stays="nothing: an incremental export that tells deletions and did not run for so long sends everything",
        due=tombstones_due,
        remove=rows_delete,
        step=5000,
    ),
    Policy(
        name="idempotency_keys",
        models=("batchjobs.IdempotencyKey",),
        what="Keys by which a program repeats a request",
        since="the request",
        kept="IDEMPOTENCY_KEPT_DAYS",
        removed="the row",
        stays="the job",
        due=idempotency_keys_due,
        remove=rows_delete,
    ),
    Policy(
        name="crashes",
        models=("batchjobs.JobCrash",),
        what="Reports of crashes; a traceback may quote a row",
        since="the crash",
        kept="CRASHES_KEPT_DAYS",
        removed="the row, report included",
        stays="the job, and how it ended",
        due=crashes_due,
        remove=rows_delete,
    ),
    Policy(
        name="housekeeping",
        models=("batchjobs.BatchJob",),
        what="Jobs that only keep house: expiry and erasure",
        since="the end of the job",
        kept="HOUSEKEEPING_KEPT_DAYS",
        removed="the job",
        stays="what it did, in the audit log and in the jobs that expired",
        due=housekeeping_due,
        remove=rows_delete,
    ),
    Policy(
        name="sessions",
        models=("sessions.Session",),
        what="Sessions of the browser",
        since="the sign-in",
        kept="SESSION_COOKIE_AGE",
        removed="the row",
        stays="nothing",
        due=sessions_due,
        remove=rows_delete,
        everywhere=True,
    ),
    Kept(
        ("audience.Profile", "audience.Interaction", "audience.ListMember", "audience.Reference"),
        until="the person or the account is removed",
        why="They are what the account keeps Batchdesk for.",
    ),
    Kept(
        ("audience.Record",),
        until="the row, its table, the person it is about, or the account is removed",
        why="It is data of the account's own; rows of linked data are about a person.",
    ),
    Kept(
        ("audience.Segment",),
        until="the segment or the account is removed",
        why="What it compares with may be personal, such as an address.",
    ),
    Kept(
        ("audience.ContactList",),
        until="the list or the account is removed",
        why="Its name may be a person's.",
    ),
    Kept(
        ("audience.Suppression",),
        until="the account is removed",
        why="Whoever opted out must stay out, also when a file brings the address back. "
        "Kept by the hash of the address, or by the partner's number.",
    ),
    Kept(
        ("audience.Erasure",),
        until="the database or the account is removed",
        why="Whoever was erased must not come back with the next file. Kept by hashes; the address and the number "
        "themselves only until the erasure is done.",
    ),
    Kept(
        ("batchjobs.BatchJob", "batchjobs.JobRequest"),
        until="the account is removed",
        why="The history: who brought in what, when, and what became of it. Jobs that keep house stand above.",
    ),
    Kept(
        ("batchjobs.SavedView",),
        until="the person removes it, or is removed",
        why="It is theirs.",
    ),
    Kept(
        ("accounts.User", "accounts.Membership", "account.EmailAddress", "account.EmailConfirmation"),
        until="the person is removed",
        why="They sign in with it.",
    ),
    Kept(
        ("accounts.Account", "accounts.ApiKey"),
        until="the account is removed",
        why="A revoked key stays, so that the history can name it. Its secret is a hash.",
    ),
    Kept(
        ("accounts.AuditEvent",),
        until="for good",
        why="Proof of who did what; the database refuses to change it. It holds names of people, jobs and files, "
        "never a row of a file.",
    ),
    Kept(
        ("admin.LogEntry",),
        until="the support person is removed",
        why="What support staff did in the admin.",
    ),
    Impersonal(("audience.Database",), why="A name that the account gave to a set of profiles, and a counter."),
    Impersonal(("audience.DataTable",), why="Names of a table and its columns, and their types."),
    Impersonal(("batchjobs.Beat",), why="When processes of the product were last heard of."),
    Impersonal(("auth.Permission", "auth.Group", "contenttypes.ContentType"), why="Names of the product's own parts."),
)
