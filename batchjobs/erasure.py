"""Erasure of people: a job that removes whoever `audience.models.Erasure` names, wherever they stand.

The table is the queue: a request may come from anywhere, and only what stands there counts. A run first completes the
keys of the new requests (`known_at`), then removes the people, and then what is stored of them: rejected rows and whole
files. A request whose turn it is not, because something that began before it is still under way, loses its person
now and is looked at again later: it is only done when nobody is left who could bring the person back.

Every step may be killed and repeated.
"""

from __future__ import annotations

import datetime as dt
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import structlog
from django.core.files.base import File
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from accounts.actors import system_actor
from accounts.models import Account
from accounts.services import audit
from audience.models import Database, Erasure, Profile
from batchjobs.erased_people import LOT, people_remove, requests_complete
from batchjobs.failures import FileFailureError
from batchjobs.files import (
    FileGoneError,
    StorageFailedError,
    open_file,
    open_stored,
    remove_bytes,
    remove_stored,
    stored_blocks,
)
from batchjobs.housekeeping import STORAGE_TRIES, Notes, schedule
from batchjobs.ingestion.rejects import SPOOL_BYTES, job_folder
from batchjobs.ingestion.rows import ERASED
from batchjobs.ingestion.source import content_blocks, content_open
from batchjobs.kernel import Lease
from batchjobs.models import BatchJob, Chunk, JobCrash, SourceFile
from batchjobs.retention import HOUSEKEEPING_KINDS, kept, orphans_due
from batchjobs.sessions import owned_by
from batchjobs.states import ACTIVE
from batchjobs.traces import Traces

log = structlog.get_logger(__name__)

KIND = "erasure"
ROUND = 500  # requests whose keys are searched for together
# What exports write and nobody here reads again: packed inside, so who stands in it cannot be seen. Rather a file too
# many goes than one too few.
UNSEARCHED = (".xlsx", ".parquet")
FRESH = dt.timedelta(minutes=5)  # a file is stored a moment before the job that reads it is made


def erasure_schedule(account: Account | None = None, *, now: dt.datetime | None = None) -> int:
    """Makes a job for the account, or for each, in which a request can be carried out; returns how many."""
    now = now or timezone.now()
    accounts = Account.objects.filter(
        pk__in=Erasure.objects.filter(erased_at__isnull=True).values("database__account")
    ).order_by("pk")
    if account is not None:
        accounts = accounts.filter(pk=account.pk)
    due = (found for found in accounts if requests_due(found, now).exists())
    return sum(schedule(found, kind=KIND, title="Erasure", now=now) for found in due)


def requests_due(account: Account, now: dt.datetime) -> QuerySet[Erasure]:
    """Pending requests that are new, or that nothing which began before them keeps waiting any more."""
    known = OuterRef("known_at")
    jobs = BatchJob.objects.for_account(account).filter(status__in=ACTIVE).exclude(kind__in=HOUSEKEEPING_KINDS)
    # A run may bring the person back if it loaded whom to refuse before the request was known. And nobody takes a file
    # away from a job.
    before = jobs.filter(Q(started_at__lte=known) | Q(file__created_at__lte=known))
    unsettled = _unsettled(account, now).filter(created_at__lte=known)
    pending: QuerySet[Erasure] = Erasure.objects.for_account(account).filter(erased_at__isnull=True)
    return pending.filter(Q(known_at__isnull=True) | (~Exists(before) & ~Exists(unsettled)))


def _unsettled(account: Account, now: dt.datetime) -> QuerySet[SourceFile]:
    """Files that are still arriving, or that a job is just being made for."""
    files: QuerySet[SourceFile] = SourceFile.objects.for_account(account).filter(removed_at__isnull=True)
    jobs = BatchJob.objects.filter(file=OuterRef("pk"))
    return files.filter(
        Q(received__lt=F("size")) | (Q(upload_id__isnull=True, created_at__gt=now - FRESH) & ~Exists(jobs))
    )


def erasure_run(job: BatchJob, lease: Lease, *, now: dt.datetime | None = None) -> None:
    """Erases whom the account's requests name. What storage does not give up makes it a FileFailureError."""
    erasing = _Erasing(job.account, lease, Notes(job, lease), now or timezone.now())
    with owned_by(lease.owner):
        erasing.run()
    if erasing.failed:
        raise FileFailureError("STORAGE_FAILED", count=erasing.failed)


@dataclass(slots=True)
class _Erasing:
    """A run: rounds of requests, as long as there are new ones.

    The requests of a round stand in the job's state, with how far it has come, so that a run which takes over goes on.
    """

    account: Account
    lease: Lease
    notes: Notes
    now: dt.datetime
    failed: int = 0  # things that storage did not give up
    _tried: set[int] = field(default_factory=set)

    def run(self) -> None:
        while not self.failed:
            requests_complete(self.account)
            # Before the people go: a run that ended by now has written all it will ever write.
            round_of = self.notes.state.get("requests") or self._due()
            self._remove_people()
            if not round_of:
                return
            self._tried |= set(round_of)
            if not self.notes.state.get("requests"):
                self.notes.write(requests=round_of, chunk=0, file=0)
            self._erase_stored()
            if not self.failed:
                self._end_round()

    def _due(self) -> list[int]:
        due = requests_due(self.account, self.now).filter(known_at__isnull=False)
        return list(due.exclude(pk__in=self._tried).order_by("pk").values_list("pk", flat=True)[:ROUND])

    # What is in the audience.

    def _remove_people(self) -> None:
        pending = Erasure.objects.for_account(self.account).filter(erased_at__isnull=True)
        for database in Database.objects.for_account(self.account).filter(pk__in=pending.values("database")):
            last = 0
            while lot := list(pending.filter(database=database, pk__gt=last).order_by("pk")[:LOT]):
                self.lease.check()
                last = lot[-1].pk
                with transaction.atomic():
                    for name, count in people_remove(database, [request.pk for request in lot]).items():
                        if count:
                            self.notes.add(name, count)

    # What is stored.

    def _erase_stored(self) -> None:
        requests = list(Erasure.objects.filter(pk__in=self.notes.state["requests"]))
        emails = {request.email for request in requests if request.email}
        numbers = {request.partner_user_id for request in requests if request.partner_user_id}
        self._erase_rows(Traces(emails, numbers), Traces(emails, numbers, every=True))
        self._erase_reports(Traces(emails, numbers))
        self._remove_files(Traces(emails, numbers))

    def _erase_rows(self, traces: Traces, glance: Traces) -> None:
        """Rejected rows of jobs that have ended: other jobs keep the request waiting, or refuse the person."""
        chunks = Chunk.objects.filter(job__account=self.account).exclude(job__status__in=ACTIVE)
        chunks = chunks.exclude(part="", groups=[], samples=[]).select_related("job").order_by("pk")
        while lot := list(chunks.filter(pk__gt=self.notes.state["chunk"])[:LOT]):
            for chunk in lot:
                self.lease.check()
                with self._tolerant("rows", chunk.pk):
                    self._erase_rows_of(chunk, traces, glance)
            self.notes.write(chunk=lot[-1].pk)
        # What an earlier run replaced and did not remove, and what imports left that were killed.
        with self._tolerant("orphans", self.account.pk):
            for name in orphans_due(self.account, self.now + kept("ORPHANS_KEPT_HOURS")):
                self.lease.check()
                remove_stored(name)

    def _erase_rows_of(self, chunk: Chunk, traces: Traces, glance: Traces) -> None:
        lines, part = self._rewritten(chunk, traces, glance) if chunk.part else (set(), "")
        samples, groups = traces.blanked(chunk.samples), traces.blanked_examples(chunk.groups)
        for sample in samples:
            if sample.get("line") in lines:
                sample["cells"] = [ERASED]
        for example in (example for group in groups for example in group.get("examples", ())):
            if example.get("line") in lines:
                example["value"] = ERASED
        if not part and (samples, groups) == (chunk.samples, chunk.groups):
            return
        with transaction.atomic():
            Chunk.objects.filter(pk=chunk.pk).update(part=part or chunk.part, samples=samples, groups=groups)
            self.notes.add("rejected_rows", len(lines))
        if part:
            remove_stored(chunk.part)

    def _rewritten(self, chunk: Chunk, traces: Traces, glance: Traces) -> tuple[set[int], str]:
        """The lines of rows that name somebody, and the name of a new part without what these rows hold."""
        try:
            with open_stored(chunk.part) as part:
                if not glance.in_blocks(self._attended(iter(lambda: part.read(SPOOL_BYTES // 8), b""))):
                    return set(), ""
            lines: set[int] = set()
            with open_stored(chunk.part) as part, tempfile.SpooledTemporaryFile(SPOOL_BYTES) as spool:
                for line in self._attended(part):
                    entry = json.loads(line)
                    if traces.in_row(entry["raw"], entry["cells"]):
                        lines.add(entry["line"])
                        entry |= {"raw": ERASED, "cells": [ERASED]}
                    spool.write(json.dumps(entry).encode() + b"\n")
                if not lines:
                    return lines, ""
                spool.seek(0)
                name = f"{job_folder(self.account.pk, chunk.job_id)}/{chunk.n:06d}-{uuid4().hex[:12]}.ndjson"
                return lines, default_storage.save(name, File(spool))
        except FileNotFoundError:
            log.warning("part_gone", chunk=chunk.pk)
            return set(), ""

    def _erase_reports(self, traces: Traces) -> None:
        """First lines of files that failed, and tracebacks: both may quote a row."""
        jobs = BatchJob.objects.for_account(self.account).exclude(status__in=ACTIVE).exclude(failure_params={})
        for job in jobs.only("failure_params").iterator():
            self.lease.check()
            blanked = traces.blanked(job.failure_params)
            if blanked != job.failure_params:
                BatchJob.objects.filter(pk=job.pk).update(failure_params=blanked)
        for crash in JobCrash.objects.filter(job__account=self.account).exclude(report="").iterator():
            self.lease.check()
            if traces.in_text(crash.report):
                JobCrash.objects.filter(pk=crash.pk).update(report=ERASED)

    def _remove_files(self, traces: Traces) -> None:
        files = SourceFile.objects.for_account(self.account).filter(removed_at__isnull=True).order_by("pk")
        while lot := list(files.filter(pk__gt=self.notes.state["file"])[:LOT]):
            for file in lot:
                self.lease.check()
                with self._tolerant("files", file.pk):
                    if self._is_free(file) and self._stands_in(file, traces):
                        self._remove_file(file)
            self.notes.write(file=lot[-1].pk)
            if not self.notes.state["requests"]:
                break
        # Of those above, and of those that an earlier run marked and then was killed.
        marked = SourceFile.objects.for_account(self.account).filter(removed_at__isnull=False, parts__isnull=False)
        for file in marked.distinct():
            with self._tolerant("files", file.pk):
                remove_bytes(file, each=self.lease.check)

    def _is_free(self, file: SourceFile) -> bool:
        """Whether the file may be taken. If not, those who were to be erased before it came wait for another round."""
        taken = file.jobs.filter(status__in=ACTIVE).exists()
        if not taken and not _unsettled(self.account, self.now).filter(pk=file.pk).exists():
            return True
        waiting = Erasure.objects.filter(pk__in=self.notes.state["requests"], known_at__gte=file.created_at)
        waiting_keys = set(waiting.values_list("pk", flat=True))
        self.notes.write(requests=[key for key in self.notes.state["requests"] if key not in waiting_keys])
        return False

    def _stands_in(self, file: SourceFile, traces: Traces) -> bool:
        try:
            with open_file(file) as stored:
                opened = content_open(stored, file.name, self.lease.check)  # type: ignore[arg-type]  # IO[bytes]
                if opened.name.lower().endswith(UNSEARCHED):
                    return True
                return traces.in_blocks(self._attended(content_blocks(opened, file.size)))
        except FileFailureError as failure:
            log.info("file_searched_as_it_is", file=file.pk, reason=failure.code)
        except FileGoneError:
            log.warning("file_gone", file=file.pk)
        return traces.in_blocks(self._attended(stored_blocks(file)))

    def _remove_file(self, file: SourceFile) -> None:
        """The mark first, here: without its bytes nobody could tell any more that the file was one of these."""
        with transaction.atomic():
            locked = SourceFile.objects.select_for_update().get(pk=file.pk)
            if not self._is_free(locked):
                return
            SourceFile.objects.filter(pk=file.pk).update(removed_at=Now())
            self.notes.add("files", 1)

    # The end.

    def _end_round(self) -> None:
        left = Profile.objects.filter(database=OuterRef("database")).filter(
            Q(pk=OuterRef("profile_id")) | Q(email=OuterRef("email")) | Q(partner_user_id=OuterRef("partner_user_id"))
        )
        wanted = Erasure.objects.filter(
            ~Exists(left), pk__in=self.notes.state["requests"], erased_at__isnull=True, known_at__isnull=False
        )
        with transaction.atomic():
            done = list(wanted.select_for_update())
            Erasure.objects.filter(pk__in=[request.pk for request in done]).update(
                erased_at=Now(), profile_id=None, email=None, partner_user_id=None
            )
            for request in done:
                data = {"erasure": request.pk, "requested_by": request.requested_by}
                audit(by=system_actor(self.account), action="person.erased", target=str(request), data=data)
            self.notes.state["requests"] = []
            self.notes.add("people", len(done))

    def _attended(self, pieces: Any) -> Iterator[bytes]:
        for piece in pieces:
            self.lease.check()
            yield piece

    @contextmanager
    def _tolerant(self, what: str, key: int) -> Iterator[None]:
        """Counts what storage does not give up, and goes on with the next thing unless storage is away."""
        try:
            yield
        except StorageFailedError as error:
            log.warning("storage_failed", policy=what, key=key, error=repr(error.__cause__))
            self.failed += 1
            if self.failed >= STORAGE_TRIES:
                raise FileFailureError("STORAGE_FAILED", count=self.failed) from error
