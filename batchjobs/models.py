"""BatchJob, the one record of everything that runs in the background, and what hangs off it."""

from __future__ import annotations

from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex, OpClass
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Coalesce, Lower, Now
from django.utils.translation import gettext_lazy as _

from accounts.models import Account, ApiKey, User
from accounts.tenancy import TenantManager, TenantQuerySet
from audience.models import Database
from batchjobs.states import ACTIVE, ENDED, Status


class RecordType(models.TextChoices):
    """What is in a file. The modules are in batchjobs/ingestion/records/."""

    EVENT = "event", _("Event")
    OPTOUT = "optout", _("Optout")
    APPROVE = "approve", _("Approve")
    PROFILE = "profile", _("Profile")
    LIST = "list", _("List")
    PURCHASE = "purchase", _("Purchase")
    RECORD = "record", _("Linked data or repository")


class Source(models.TextChoices):
    """Where the data of a job comes from. All but new files: batchjobs/origins.py."""

    NEW_FILE = "new_file", _("New file")
    EXISTING_FILE = "existing_file", _("Existing file")
    AUDIENCE = "audience", _("Audience")
    REPORT = "report", _("Report")


class Queue(models.TextChoices):
    SHORT = "short", _("Short")
    LONG = "long", _("Long")


class SourceFile(models.Model):
    """A file in the account's library: its bytes are its parts, one after the other (batchjobs/files.py).

    A file that is still arriving has `received` < `size`. `removed_at` is set when its bytes are gone:
    it expired, or somebody in it was erased.
    """

    account = models.ForeignKey(Account, models.CASCADE, related_name="files", db_index=False)
    name = models.CharField(_("file name"), max_length=255)
    size = models.BigIntegerField(_("bytes"))  # as declared when the upload began
    received = models.BigIntegerField(_("bytes received"), db_default=0)
    sha256 = models.CharField(_("SHA-256"), max_length=64, blank=True)
    # What a browser needs to go on with an upload that was cut off: its address, and which file it was.
    upload_id = models.UUIDField(null=True, unique=True, editable=False)
    client_mark = models.CharField(max_length=120, blank=True, editable=False)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+", db_index=False)
    created_at = models.DateTimeField(_("uploaded at"), db_default=Now())
    touched_at = models.DateTimeField(_("last heard of"), db_default=Now())
    removed_at = models.DateTimeField(_("removed at"), null=True, blank=True)

    objects = TenantManager["SourceFile"]()

    class Meta:
        verbose_name = _("file")
        verbose_name_plural = _("files")
        constraints = [
            models.CheckConstraint(condition=Q(received__gte=0, received__lte=F("size")), name="file_received_fits")
        ]
        indexes = [
            GinIndex(
                F("account"), OpClass(Lower("name"), name="gin_trgm_ops"), name="file_name_trigrams", fastupdate=False
            ),
            models.Index(fields=["account", "sha256"], name="file_content"),
            models.Index(fields=["created_at"], condition=Q(removed_at__isnull=True), name="file_kept"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_complete(self) -> bool:
        return self.received == self.size


class FilePart(models.Model):
    """Bytes of a file, an object of its own in storage: [start, start + size)."""

    file = models.ForeignKey(SourceFile, models.CASCADE, related_name="parts", db_index=False)
    start = models.BigIntegerField()
    size = models.BigIntegerField()
    stored_as = models.CharField(max_length=200, unique=True)

    objects: models.Manager[FilePart] = models.Manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["file", "start"], name="file_part_once")]

    def __str__(self) -> str:
        return self.stored_as


# The kind of job that brings in a file: the one people start, search and see.
IMPORT = "import"

# Who made a job as one number: a person's id, an API key's id below zero, 0 for Batchdesk itself.
MAKER = Coalesce(F("created_by"), -F("created_by_key"), 0)


def words_of(*texts: str) -> models.Func:
    """The texts of an array in lower case, one a line: what a part of a tag or event name is looked for in.

    The function is the database's own (migration 0003), because an index takes none that is not immutable. Two columns
    are an array and one more text.
    """
    array = models.Func(*texts, function="array_append") if len(texts) > 1 else F(*texts)
    return models.Func(array, function="batchjobs_words", output_field=models.TextField())


class BatchJobQuerySet(TenantQuerySet["BatchJob"]):
    def imports(self) -> BatchJobQuerySet:
        """The jobs that people see: not what the product runs for itself, such as its housekeeping."""
        return self.filter(kind=IMPORT)

    def with_progress(self) -> BatchJobQuerySet:
        """Adds sums over the ledger: `live_valid`, `live_skipped`, `live_invalid` (None before the first chunk)."""
        chunks = Chunk.objects.filter(job=models.OuterRef("pk")).order_by().values("job")
        return self.annotate(
            **{
                f"live_{what}": models.Subquery(chunks.annotate(n=models.Sum(what)).values("n"))
                for what in ("valid", "skipped", "invalid")
            }
        )


class BatchJobManager(TenantManager["BatchJob"]):
    def get_queryset(self) -> BatchJobQuerySet:
        return BatchJobQuerySet(self.model, using=self._db)


class BatchJob(models.Model):
    """One run in the background. The lease columns are written by `kernel.py` alone."""

    account = models.ForeignKey(Account, models.PROTECT, related_name="batch_jobs", db_index=False)
    name = models.CharField(_("name"), max_length=200)
    kind = models.CharField(max_length=30, default=IMPORT, editable=False)  # a key of config.registry.JOB_KINDS
    record_type = models.CharField(_("type"), max_length=20, choices=RecordType.choices, default=RecordType.EVENT)
    source = models.CharField(_("source"), max_length=20, choices=Source.choices, default=Source.NEW_FILE)
    # Of what is no new file: which one, in the words of its source, and what it was called then.
    source_key = models.CharField(max_length=140, blank=True, default="", db_default="", editable=False)
    source_name = models.CharField(max_length=255, blank=True, default="", db_default="", editable=False)
    # None until the job has written it: of an audience.
    file = models.ForeignKey(SourceFile, models.PROTECT, null=True, related_name="jobs")
    database = models.ForeignKey(Database, models.PROTECT, null=True, related_name="+", db_index=False)
    event_name = models.CharField(_("event name"), max_length=120, blank=True)
    event_names = ArrayField(models.CharField(max_length=200), default=list, blank=True)  # as found, 20 at most
    tags = ArrayField(models.CharField(max_length=40), default=list, blank=True)
    options = models.JSONField(_("options"), default=dict, blank=True)
    dry_run = models.BooleanField(_("check only"), default=False)

    status = models.CharField(_("status"), max_length=12, choices=Status.choices, default=Status.PENDING)
    outcome = models.CharField(max_length=12, blank=True, editable=False)  # done, failed, canceled; survives expiry
    failure_code = models.CharField(_("failure"), max_length=40, blank=True)
    failure_params = models.JSONField(default=dict, blank=True)
    duplicate_of = models.ForeignKey("self", models.SET_NULL, null=True, blank=True, related_name="+")
    rerun_of = models.ForeignKey("self", models.SET_NULL, null=True, blank=True, related_name="reruns")

    created_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    created_by_key = models.ForeignKey(ApiKey, models.SET_NULL, null=True, blank=True, related_name="+")
    canceled_by = models.CharField(max_length=254, blank=True)
    created_at = models.DateTimeField(_("created at"), db_default=Now())
    started_at = models.DateTimeField(_("started at"), null=True, blank=True)
    completed_at = models.DateTimeField(_("completed at"), null=True, blank=True)
    expired_at = models.DateTimeField(_("files removed at"), null=True, blank=True)

    # Final sums over the ledger, written once when the job ends.
    valid_rows = models.BigIntegerField(_("valid"), null=True, blank=True)
    skipped_rows = models.BigIntegerField(_("skipped"), null=True, blank=True)
    invalid_rows = models.BigIntegerField(_("invalid"), null=True, blank=True)

    # Claim and lease.
    queue = models.CharField(max_length=10, choices=Queue.choices, default=Queue.LONG)
    lease_token = models.BigIntegerField(default=0, editable=False)
    lease_owner = models.CharField(max_length=60, blank=True, editable=False)  # application_name of its sessions
    lease_until = models.DateTimeField(null=True, editable=False)
    crashes = models.PositiveSmallIntegerField(default=0, editable=False)  # in a row, without a new chunk
    # Checkpoint: the contiguous end of the ledger.
    next_chunk = models.IntegerField(default=0, editable=False)
    next_offset = models.BigIntegerField(default=0, editable=False)
    next_line = models.BigIntegerField(default=1, editable=False)
    reader_state = models.JSONField(default=dict, editable=False)

    objects = BatchJobManager()

    class Meta:
        verbose_name = _("batch job")
        verbose_name_plural = _("batch jobs")
        constraints = [
            models.UniqueConstraint("account", Lower("name"), name="job_name_once"),
            models.CheckConstraint(condition=Q(status__in=Status.values), name="job_status_known"),
            models.CheckConstraint(
                condition=Q(status=Status.PENDING, started_at__isnull=True) | ~Q(status=Status.PENDING),
                name="job_pending_not_started",
            ),
            models.CheckConstraint(
                condition=Q(status__in=ACTIVE, outcome="", completed_at__isnull=True)
                | Q(status__in=ENDED, outcome=F("status"), completed_at__isnull=False)
                | Q(status=Status.EXPIRED, outcome__in=ENDED, expired_at__isnull=False),
                name="job_ends_once",
            ),
            models.CheckConstraint(
                condition=~Q(outcome=Status.FAILED) | ~Q(failure_code=""), name="job_failure_has_code"
            ),
            models.CheckConstraint(
                condition=Q(lease_until__isnull=True) | Q(status=Status.IN_PROGRESS), name="job_lease_while_running"
            ),
        ]
        indexes = [
            models.Index(fields=["account", "-id"], name="job_newest"),
            models.Index(fields=["account", "-created_at", "-id"], name="job_created"),
            models.Index(fields=["queue", "id"], condition=Q(status__in=ACTIVE), name="job_unfinished"),
            GinIndex(
                F("account"), OpClass(Lower("name"), name="gin_trgm_ops"), name="job_name_trigrams", fastupdate=False
            ),
            # Of what people see, in the order of the list: a page is read from its first row, a count from the index.
            models.Index(
                fields=["account", "status", "-created_at", "-id"], condition=Q(kind=IMPORT), name="job_by_status"
            ),
            models.Index(
                fields=["account", "record_type", "-created_at", "-id"],
                include=["status"],
                condition=Q(kind=IMPORT),
                name="job_by_type",
            ),
            models.Index(
                F("account"),
                MAKER,
                F("created_at").desc(),
                F("id").desc(),
                include=["status", "created_by", "created_by_key"],
                condition=Q(kind=IMPORT),
                name="job_by_maker",
            ),
            GinIndex(fields=["account", "tags"], name="job_tags", fastupdate=False),
            GinIndex(fields=["account", "event_names"], name="job_event_names", fastupdate=False),
            GinIndex(
                F("account"), OpClass(words_of("tags"), name="gin_trgm_ops"), name="job_tag_words", fastupdate=False
            ),
            GinIndex(
                F("account"),
                OpClass(words_of("event_names", "event_name"), name="gin_trgm_ops"),
                name="job_event_words",
                fastupdate=False,
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_active(self) -> bool:
        return self.status in ACTIVE

    @property
    def content_size(self) -> int:
        """Bytes of what is read: of what is in the archive, once that was looked at."""
        return int(self.reader_state.get("size") or (self.file.size if self.file else 0))

    def counted(self, what: str) -> int | None:
        """`valid`, `skipped` or `invalid`: the final figure, else the live one of `with_progress`."""
        final: int | None = getattr(self, f"{what}_rows")
        if final is not None:
            return final
        live: int | None = getattr(self, f"live_{what}", None)
        return live


class Chunk(models.Model):
    """The ledger: a row a committed chunk, written in the transaction that wrote its data."""

    job = models.ForeignKey(BatchJob, models.CASCADE, related_name="chunks", db_index=False)
    n = models.IntegerField()
    lease_token = models.BigIntegerField()
    end_offset = models.BigIntegerField()
    end_line = models.BigIntegerField()
    valid = models.IntegerField()
    skipped = models.IntegerField()
    invalid = models.IntegerField()
    new_profiles = models.IntegerField(default=0)
    changed_profiles = models.IntegerField(default=0)
    figures = models.JSONField(default=dict)  # further counts of the record type: {"new_members": 12}
    skipped_lines = models.TextField(blank=True)  # an int8multirange as text
    part = models.CharField(max_length=200, blank=True)  # rejected rows as NDJSON, stored before the commit
    groups = models.JSONField(default=list)  # [{code, column, count, examples: [{line, value}]}]
    samples = models.JSONField(default=list)  # the first rejected rows: [{line, cells, errors}]
    event_names = models.JSONField(default=list)
    committed_at = models.DateTimeField(db_default=Now())

    objects: models.Manager[Chunk] = models.Manager()

    class Meta:
        verbose_name = _("chunk")
        verbose_name_plural = _("chunks")
        constraints = [models.UniqueConstraint(fields=["job", "n"], name="chunk_once")]

    def __str__(self) -> str:
        return f"chunk {self.n} of job {self.job_id}"

    @property
    def rows(self) -> int:
        return self.valid + self.skipped + self.invalid


class JobCrash(models.Model):
    """That a run ended without saying so: what is known of it, for support staff."""

    job = models.ForeignKey(BatchJob, models.CASCADE, related_name="crash_reports")
    lease_token = models.BigIntegerField()
    at_chunk = models.IntegerField()
    reason = models.CharField(_("reason"), max_length=60)
    report = models.TextField(_("report"), blank=True)
    created_at = models.DateTimeField(_("when"), db_default=Now())

    class Meta:
        verbose_name = _("crash")
        verbose_name_plural = _("crashes")

    def __str__(self) -> str:
        return f"{self.reason} at chunk {self.at_chunk}"


class JobRequest(models.Model):
    """Something asked of a running job: seen between chunks."""

    class Kind(models.TextChoices):
        CANCEL = "cancel", _("Cancel")
        FAIL = "fail", _("Give up")

    job = models.ForeignKey(BatchJob, models.CASCADE, related_name="requests")
    kind = models.CharField(_("request"), max_length=10, choices=Kind.choices)
    by = models.CharField(_("who"), max_length=254)
    created_at = models.DateTimeField(_("asked at"), db_default=Now())
    handled_at = models.DateTimeField(_("handled at"), null=True, blank=True)

    class Meta:
        verbose_name = _("request")
        verbose_name_plural = _("requests")

    def __str__(self) -> str:
        return f"{self.kind} by {self.by}"


class IdempotencyKey(models.Model):
    """That an API call was answered: the same key again gets the same job (kept 24 hours at least)."""

    account = models.ForeignKey(Account, models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    job = models.ForeignKey(BatchJob, models.CASCADE, related_name="+")
    created_at = models.DateTimeField(db_default=Now())

    objects = TenantManager["IdempotencyKey"]()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "key"], name="idempotency_key_once")]

    def __str__(self) -> str:
        return self.key


class SavedView(models.Model):
    """A search of the Batch jobs page that a person keeps: the page's query string under a name."""

    account = models.ForeignKey(Account, models.CASCADE, related_name="+", db_index=False)
    user = models.ForeignKey(User, models.CASCADE, related_name="+")
    name = models.CharField(_("name"), max_length=60)
    query = models.CharField(max_length=2000)
    created_at = models.DateTimeField(db_default=Now())

    objects = TenantManager["SavedView"]()

    class Meta:
        verbose_name = _("saved view")
        verbose_name_plural = _("saved views")
        constraints = [models.UniqueConstraint("account", "user", Lower("name"), name="saved_view_once")]

    def __str__(self) -> str:
        return self.name


class Beat(models.Model):
    """When each kind of process was last seen: /readyz and support staff look here."""

    name = models.CharField(max_length=40, unique=True)
    seen_at = models.DateTimeField(db_default=Now())
    detail: models.JSONField[Any, Any] = models.JSONField(default=dict)

    def __str__(self) -> str:
        return self.name
