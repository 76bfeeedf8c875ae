"""What the page says of a job: view models made from a job and its ledger, with a fixed number of queries."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.actors import Actor
from batchjobs import services
from batchjobs.failures import FAILURES, FILE_AT_FAULT, Failure, failure_of
from batchjobs.models import BatchJob, Chunk, JobRequest, RecordType
from batchjobs.origins import job_source
from batchjobs.rejections import (
    SAMPLE_COLUMNS,
    SAMPLE_ROWS,
    ErrorGroup,
    SampleRow,
    merge_groups,
    sample_rows,
)
from batchjobs.states import ACTIVE, Action, Status
from batchjobs.words import FIGURES, WHY_SKIPPED, WRITTEN, date_readings, layout_words
from console import formats
from console.templatetags.console import Bar

GUESS_FROM_PERCENT = 5  # before that a guess of the time left says nothing
BARS = 16
BAR_SECONDS = 0.5  # commits of the two loaders come in pairs: a bar spans at least this


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is. `percent` is by bytes: how many rows there are is known only at the end."""

    percent: int | None
    seconds_left: float | None
    rows_per_second: float | None


def progress_of(job: BatchJob, rows: int, now: dt.datetime) -> Progress:
    size = job.content_size
    percent = min(100 * job.next_offset // size, 100) if size and job.started_at else None
    if not job.started_at:
        return Progress(percent, None, None)
    seconds = ((job.completed_at or now) - job.started_at).total_seconds()
    speed = rows / seconds if rows and seconds > 0.05 else None
    left = None
    if job.status == Status.IN_PROGRESS and percent is not None and percent >= GUESS_FROM_PERCENT:
        left = max(seconds, 0) * (size - job.next_offset) / job.next_offset
    return Progress(percent, left, speed)


def failure_shown(job: BatchJob) -> Failure | None:
    """The sentences of a failure; a code that this version does not know is shown as it is."""
    if not job.failure_code:
        return None
    if job.failure_code not in FAILURES:
        return Failure(_("The job stopped"), "", job.failure_code)
    return failure_of(job.failure_code, job.failure_params)


def outcome_label(job: BatchJob) -> str:
    """How the job ended, also when it is expired."""
    return str(Status(job.outcome).label) if job.outcome else ""


def who_made(job: BatchJob) -> str:
    if job.created_by:
        return str(job.created_by)
    return _("API key %(name)s") % {"name": job.created_by_key.name} if job.created_by_key else "Batchdesk"


@dataclass(frozen=True)
class JobRow:
    """A job in the list; `job` comes from `with_progress()`, with file and maker loaded."""

    job: BatchJob
    now: dt.datetime

    @cached_property
    def progress(self) -> Progress:
        rows = sum(self.job.counted(what) or 0 for what in ("valid", "skipped", "invalid"))
        return progress_of(self.job, rows, self.now)

    @property
    def running(self) -> bool:
        return self.job.status == Status.IN_PROGRESS

    @property
    def valid(self) -> int | None:
        return self._count("valid")

    @property
    def invalid(self) -> int | None:
        return self._count("invalid")

    @property
    def who(self) -> str:
        return who_made(self.job)

    @property
    def note(self) -> str:
        """What stands beside the status."""
        job = self.job
        if self.running:
            return formats.time_left(self.progress.seconds_left)
        if job.status == Status.FAILED and (failure := failure_shown(job)):
            return str(failure.short)
        if job.status == Status.CANCELED and job.canceled_by:
            return _("by %(name)s") % {"name": job.canceled_by}
        if job.status == Status.EXPIRED:
            return _("ended as %(outcome)s") % {"outcome": outcome_label(job).lower()}
        return ""

    @property
    def time(self) -> dt.datetime:
        return self.job.started_at or self.job.created_at

    def _count(self, what: str) -> int | None:
        count = self.job.counted(what)
        return 0 if count is None and self.job.status != Status.PENDING else count


def speed_bars(started_at: dt.datetime | None, chunks: Sequence[Chunk]) -> list[Bar]:
    """Rows a second between commits, newest last."""
    bars: list[Bar] = []
    since = started_at
    rows = 0
    for chunk in chunks:
        rows += chunk.rows
        if since is None:
            since = chunk.committed_at
        seconds = (chunk.committed_at - since).total_seconds()
        if seconds < BAR_SECONDS:
            continue
        speed = rows / seconds
        time = timezone.localtime(chunk.committed_at).strftime("%H:%M:%S")
        readout = _("%(time)s: %(n)s rows a second") % {"time": time, "n": formats.number(speed)}
        bars.append(Bar(speed, readout))
        since, rows = chunk.committed_at, 0
    return bars[-BARS:]


@dataclass(frozen=True)
class JobView:
    """Everything the drawer shows."""

    job: BatchJob
    now: dt.datetime
    chunks: Sequence[Chunk]
    samples: Sequence[dict[str, Any]]
    allowed: frozenset[Action]
    stopping: bool  # someone asked to cancel and the worker has not seen it yet
    ahead: int  # jobs of the account that run before this one

    @classmethod
    def of(cls, job: BatchJob, *, by: Actor, now: dt.datetime | None = None) -> JobView:
        """At most five queries, whatever the number of chunks: ledger, samples, requests, queue."""
        chunks = list(
            job.chunks.order_by("n").only(
                "job",
                "n",
                "valid",
                "skipped",
                "invalid",
                "new_profiles",
                "changed_profiles",
                "figures",
                "groups",
                "committed_at",
            )
        )
        samples: list[dict[str, Any]] = []
        if any(chunk.invalid for chunk in chunks):
            parts = job.chunks.filter(invalid__gt=0).order_by("n").values_list("samples", flat=True)[:SAMPLE_ROWS]
            samples = [sample for part in parts for sample in part][:SAMPLE_ROWS]
        stopping = job.is_active and job.requests.filter(kind=JobRequest.Kind.CANCEL, handled_at=None).exists()
        ahead = 0
        if job.status == Status.PENDING:
            others = BatchJob.objects.for_account(job.account)
            ahead = others.filter(status__in=ACTIVE, queue=job.queue, pk__lt=job.pk).count()
        allowed = frozenset(services.actions_allowed(job, by=by))
        return cls(job, now or timezone.now(), chunks, samples, allowed, stopping, ahead)

    def _count(self, what: str) -> int:
        final: int | None = getattr(self.job, f"{what}_rows")
        return sum(getattr(chunk, what) for chunk in self.chunks) if final is None else final

    @cached_property
    def valid(self) -> int:
        return self._count("valid")

    @cached_property
    def skipped(self) -> int:
        return self._count("skipped")

    @cached_property
    def invalid(self) -> int:
        return self._count("invalid")

    @property
    def rows(self) -> int:
        return self.valid + self.skipped + self.invalid

    @cached_property
    def progress(self) -> Progress:
        return progress_of(self.job, self.rows, self.now)

    @property
    def seconds(self) -> float | None:
        if not self.job.started_at:
            return None
        return ((self.job.completed_at or self.now) - self.job.started_at).total_seconds()

    @property
    def kind(self) -> str:
        """Which part of the template speaks of the job."""
        job = self.job
        if job.status != Status.DONE:
            return "duplicate" if job.failure_code == "DUPLICATE_FILE" and job.status == Status.FAILED else job.status
        if job.dry_run:
            return "checked"
        if self.invalid:
            return "corrections"
        return "done" if self.valid else "nothing_new"

    @cached_property
    def failure(self) -> Failure | None:
        return failure_shown(self.job)

    @cached_property
    def groups(self) -> list[ErrorGroup]:
        return merge_groups(self.chunks)

    @property
    def header(self) -> list[str]:
        return [str(name) for name in self.job.reader_state.get("header", [])][:SAMPLE_COLUMNS]

    @cached_property
    def sample_rows(self) -> list[SampleRow]:
        return sample_rows(self.header, self.samples)

    @property
    def columns(self) -> list[str]:
        """Headings of the sample: the header, or numbers where it is shorter than the rows."""
        widest = max((len(row.cells) for row in self.sample_rows), default=0)
        names = self.header
        return names + [_("Column %(n)s") % {"n": n + 1} for n in range(len(names), widest)]

    @cached_property
    def speeds(self) -> list[Bar]:
        return speed_bars(self.job.started_at, self.chunks)

    @property
    def speed_now(self) -> float | None:
        if self.speeds:
            return sum(bar.value for bar in self.speeds[-3:]) / len(self.speeds[-3:])
        return self.progress.rows_per_second

    @property
    def speed_label(self) -> str:
        values = [bar.value for bar in self.speeds]
        return _("Rows a second, between %(low)s and %(high)s, now %(now)s") % {
            "low": formats.number(min(values)),
            "high": formats.number(max(values)),
            "now": formats.number(values[-1]),
        }

    @property
    def changed_nothing(self) -> bool:
        """Whether the rows that are counted as valid were only checked."""
        return self.job.dry_run or bool(self.job.reader_state.get("refused"))

    @property
    def written(self) -> str:
        """What the valid rows became: “17,892 events”."""
        one, many = WRITTEN[RecordType(self.job.record_type)]
        return ngettext(one, many, self.valid) % {"n": formats.number(self.valid)}

    @property
    def why_skipped(self) -> str:
        return str(WHY_SKIPPED.get(RecordType(self.job.record_type), ""))

    @property
    def figures(self) -> list[str]:
        """Further counts of the record type, as sentences."""
        sums = {name: sum(chunk.figures.get(name, 0) for chunk in self.chunks) for name in FIGURES}
        return [ngettext(*FIGURES[name], n) % {"n": formats.number(n)} for name, n in sums.items() if n]

    @property
    def new_profiles(self) -> int:
        return sum(chunk.new_profiles for chunk in self.chunks)

    @property
    def changed_profiles(self) -> int:
        return sum(chunk.changed_profiles for chunk in self.chunks)

    @property
    def who(self) -> str:
        return who_made(self.job)

    @property
    def when(self) -> str:
        """The line below the title."""
        job, now = self.job, self.now
        words = {"who": self.who, "time": formats.moment(job.started_at or job.created_at, now)}
        if job.status == Status.PENDING:
            return _("Sent in %(time)s by %(who)s") % words
        if job.status == Status.IN_PROGRESS or not job.completed_at:
            return _("Started %(time)s by %(who)s") % words
        if self.seconds is None:
            return _("%(time)s, by %(who)s") % words
        return _("%(time)s, took %(span)s, by %(who)s") % {**words, "span": formats.span(self.seconds)}

    @property
    def format(self) -> str:
        """“CSV, UTF-8, separated by semicolons”; empty before the file was looked at."""
        return layout_words(self.job.reader_state)

    @property
    def outcome_label(self) -> str:
        return outcome_label(self.job)

    @cached_property
    def kept_until(self) -> dt.datetime | None:
        file = self.job.file
        if file is None or file.removed_at:
            return None
        newest = file.jobs.order_by("-pk").values_list("created_at", flat=True).first()
        return max(file.created_at, newest or file.created_at) + dt.timedelta(days=settings.FILES_KEPT_DAYS)

    @cached_property
    def source(self) -> str:
        """Where the data is from: “report of Daily feed, run 12”."""
        source = job_source(self.job.source)
        if source is None:
            return _("existing file") if self.job.rerun_of else str(self.job.get_source_display()).lower()
        return source.words(self.job)

    @cached_property
    def source_url(self) -> str:
        source = job_source(self.job.source)
        return source.url(self.job) if source else ""

    @property
    def file_there(self) -> bool:
        return bool(self.job.file and not self.job.file.removed_at)

    @property
    def rejected_there(self) -> bool:
        """Whether error log and rejected rows can be downloaded."""
        return bool(self.invalid) and self.job.status != Status.EXPIRED and not self.job.is_active

    @property
    def can_cancel(self) -> bool:
        return Action.CANCEL in self.allowed

    @property
    def can_rerun(self) -> bool:
        return Action.RERUN in self.allowed

    @property
    def rerun_helps(self) -> bool:
        """Whether the same file may go in if it is read in another way."""
        return self.can_rerun and self.job.failure_code not in FILE_AT_FAULT

    @property
    def would_repeat(self) -> bool:
        """Whether rows that are in would come in a second time with the same file."""
        happenings = (RecordType.EVENT, RecordType.PURCHASE)
        return bool(self.valid) and not self.job.dry_run and self.job.record_type in happenings

    @property
    def asks(self) -> bool:
        """Whether the job stopped with a question that has a few answers."""
        return self.can_rerun and bool(self.date_readings or self.job.failure_params.get("lists"))

    @property
    def date_readings(self) -> list[tuple[str, str]]:
        """Of a job that stopped to ask: what its first unclear date can mean."""
        if self.job.failure_code != "DATE_ORDER_UNKNOWN":
            return []
        return date_readings(str(self.job.failure_params.get("example", "")))

    @property
    def can_run_anyway(self) -> bool:
        return Action.RUN_ANYWAY in self.allowed

    @property
    def version(self) -> str:
        """Changes when what the page shows changes, but for running clocks."""
        job = self.job
        return f"{job.pk}:{job.status}:{job.next_chunk}:{job.lease_token}:{self.stopping}:{self.ahead}"
