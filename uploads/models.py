"""BatchUpload: a file that a program has announced, and what became of it."""

from __future__ import annotations

import datetime as dt
from typing import Self

from django.db import models
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Greatest, Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models import Account, ApiKey
from accounts.tenancy import TenantManager, TenantQuerySet
from batchjobs.models import BatchJob, SourceFile
from batchjobs.states import Status
from uploads.states import State

LISTED = dt.timedelta(days=30)  # how far back the page and `inspect` look


class BatchUploadQuerySet(TenantQuerySet["BatchUpload"]):
    def with_state(self) -> Self:
        """Adds `state` and `modified_at` (when it last changed), which follow from the job too."""
        return self.annotate(
            state=Case(
                When(~Q(fault=""), then=Value(State.CORRUPTED.value)),
                When(job__isnull=True, then=Value(State.UPLOADING.value)),
                When(job__status=Status.PENDING, then=Value(State.FILE_UPLOADED.value)),
                When(job__status=Status.IN_PROGRESS, then=Value(State.PROCESSING.value)),
                When(job__outcome=Status.DONE, job__invalid_rows=0, then=Value(State.SUCCESS.value)),
                default=Value(State.ERROR.value),
                output_field=models.CharField(),
            ),
            modified_at=Greatest(F("touched_at"), F("job__started_at"), F("job__completed_at")),
        ).select_related("job", "file", "client")

    def listed(self, now: dt.datetime | None = None) -> Self:
        """Those of the last 30 days."""
        return self.filter(created_at__gte=(now or timezone.now()) - LISTED)


class BatchUploadManager(TenantManager["BatchUpload"]):
    def get_queryset(self) -> BatchUploadQuerySet:
        return BatchUploadQuerySet(self.model, using=self._db)

    def with_state(self) -> BatchUploadQuerySet:
        return self.get_queryset().with_state()


class BatchUpload(models.Model):
    """`ref` is the client's own UUID, good once in an account. `checksum` and `size` are as declared; the file of
    an upload that arrived is `file`, the job that reads it `job` (the last one, if support staff ran it again).
    """

    account = models.ForeignKey(Account, models.CASCADE, related_name="batch_uploads", db_index=False)
    ref = models.UUIDField(_("reference"))
    client = models.ForeignKey(ApiKey, models.SET_NULL, null=True, related_name="+", db_index=False)
    client_name = models.CharField(_("client"), max_length=120)  # outlives the key
    checksum = models.CharField(_("MD5"), max_length=32)
    size = models.BigIntegerField(_("bytes"))
    location_expires_at = models.DateTimeField(_("location expires at"))
    file = models.OneToOneField(SourceFile, models.PROTECT, null=True, related_name="batch_upload")
    job = models.OneToOneField(BatchJob, models.PROTECT, null=True, related_name="batch_upload")
    fault = models.CharField(_("fault"), max_length=40, blank=True)  # a key of uploads.faults.FAULTS: it is corrupted
    fault_params = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(_("created at"), db_default=Now())
    touched_at = models.DateTimeField(_("changed at"), db_default=Now())  # the job's changes are the job's

    state: str  # of `with_state`
    modified_at: dt.datetime  # likewise

    objects = BatchUploadManager()

    class Meta:
        verbose_name = _("batch upload")
        verbose_name_plural = _("batch uploads")
        constraints = [
            models.UniqueConstraint(fields=["account", "ref"], name="batch_upload_ref_once"),
            models.CheckConstraint(condition=Q(size__gt=0), name="batch_upload_has_size"),
            models.CheckConstraint(
                condition=Q(job__isnull=True) | Q(file__isnull=False, fault=""), name="batch_upload_job_has_file"
            ),
        ]
        indexes = [
            models.Index(fields=["account", "-created_at", "-id"], name="batch_upload_newest"),
            models.Index(fields=["ref"], name="batch_upload_ref"),  # support staff look across accounts
        ]

    def __str__(self) -> str:
        return str(self.ref)

    @property
    def is_late(self) -> bool:
        """Whether its location ran out before the file came."""
        return self.job_id is None and not self.fault and self.location_expires_at <= timezone.now()


class UploadEvent(models.Model):
    """Something that happened to an upload, for support staff. It only grows."""

    upload = models.ForeignKey(BatchUpload, models.CASCADE, related_name="events")
    what = models.CharField(_("what"), max_length=40)
    detail = models.CharField(_("detail"), max_length=254, blank=True)
    at = models.DateTimeField(_("when"), db_default=Now())

    objects: models.Manager[UploadEvent] = models.Manager()

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")

    def __str__(self) -> str:
        return f"{self.what} {self.detail}"
