"""Export, what is to leave and when; ExportRun, one execution of it; Destination, where it goes."""

from __future__ import annotations

from typing import Any, Self

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex, OpClass
from django.db import models
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Coalesce, Lower, Now
from django.utils.translation import gettext_lazy as _

from accounts.models import Account, ApiKey, User
from accounts.tenancy import TenantManager, TenantQuerySet
from audience.models import Database
from audience.windows import Window
from batchjobs.models import BatchJob, SourceFile
from batchjobs.states import ACTIVE, Status
from exports.states import ExportType as Type
from exports.states import RunState, State


class DataType(models.TextChoices):
    PROFILE = "profile", _("Profile")
    INTERACTION = "interaction", _("Interaction")
    SUBSCRIPTION = "subscription", _("Subscriptions")
    FORM_PARTICIPATION = "form_participation", _("Form participation")
    LIST_MEMBER = "list_member", _("Contact list")
    LINKED_DATA = "linked_data", _("Linked data")
    REPOSITORY = "repository", _("Repository")


class Destination(models.Model):
    """Where files go. `kind` is a key of exports.destinations.DESTINATIONS, `options` are that kind's own."""

    account = models.ForeignKey(Account, models.CASCADE, related_name="destinations", db_index=False)
    name = models.CharField(_("name"), max_length=120)
    kind = models.CharField(_("kind"), max_length=20)
    options = models.JSONField(_("options"), default=dict, blank=True)
    created_at = models.DateTimeField(_("created at"), db_default=Now())

    objects = TenantManager["Destination"]()

    class Meta:
        verbose_name = _("destination")
        verbose_name_plural = _("destinations")
        constraints = [models.UniqueConstraint("account", Lower("name"), name="destination_name_once")]

    def __str__(self) -> str:
        return self.name


class ReportWhen(models.TextChoices):
    ALWAYS = "always", _("After every run")
    PROBLEMS = "problems", _("Only when something went wrong")


class Export(models.Model):
    """A definition. A draft may have gaps; `services.problems_of` says what is missing before it can be scheduled.

    `columns` is [{"field", "header"}] in the file's order, None for all; `filter`, `file` and `schedule` are as in the
    API. `watermark` is the end of the last delivered window, `server` which history of which server it belongs to.
    """

    account = models.ForeignKey(Account, models.PROTECT, related_name="exports", db_index=False)
    name = models.CharField(_("name"), max_length=120)
    database = models.ForeignKey(Database, models.PROTECT, related_name="+", db_index=False)
    type = models.CharField(_("export type"), max_length=20, choices=Type.choices, default=Type.ONE_SHOT)
    data_type = models.CharField(_("data"), max_length=20, choices=DataType.choices, default=DataType.PROFILE)
    table = models.CharField(_("table"), max_length=120, blank=True)  # a DataTable's slug, a list's name
    kind = models.CharField(_("event name"), max_length=200, blank=True)  # of interactions; blank is all
    columns = models.JSONField(_("columns"), null=True, blank=True)
    filter = models.JSONField(_("filter"), null=True, blank=True)
    file = models.JSONField(_("file"), default=dict, blank=True)
    destination = models.ForeignKey(Destination, models.PROTECT, null=True, blank=True, related_name="exports")
    schedule = models.JSONField(_("schedule"), null=True, blank=True)
    run_at = models.DateTimeField(_("run at"), null=True, blank=True)  # one shot at a set moment
    start_with = models.CharField(
        max_length=10,
        choices=[("changes", _("What changes from now on")), ("everything", _("Everything there is"))],
        default="everything",
    )
    deletions = models.BooleanField(_("tell deletions"), default=False)
    send_empty = models.BooleanField(_("send empty files"), default=True)
    recipients = ArrayField(models.EmailField(), default=list, blank=True)
    report_when = models.CharField(max_length=10, choices=ReportWhen.choices, default=ReportWhen.ALWAYS)
    step = models.PositiveSmallIntegerField(default=1)  # of the wizard: how far the draft is

    state = models.CharField(_("status"), max_length=10, choices=State.choices, default=State.DRAFT)
    next_run_at = models.DateTimeField(_("next run"), null=True, blank=True)
    scheduled_at = models.DateTimeField(_("scheduled at"), null=True, blank=True, editable=False)
    stopped_because = models.CharField(max_length=40, blank=True)  # why Batchdesk itself unscheduled it
    watermark = models.BigIntegerField(null=True, blank=True, editable=False)
    watermark_at = models.DateTimeField(null=True, blank=True, editable=False)  # the moment that it stands for
    server = models.CharField(max_length=60, blank=True, editable=False)
    # Since then it is wanted that everything is sent: by the next run that begins after it.
    resync_at = models.DateTimeField(_("everything asked for"), null=True, blank=True, editable=False)
    support_note = models.TextField(_("what the definition does not show"), blank=True)

    created_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+", db_index=False)
    created_by_key = models.ForeignKey(ApiKey, models.SET_NULL, null=True, blank=True, related_name="+", db_index=False)
    created_at = models.DateTimeField(_("created at"), db_default=Now())
    edited_at = models.DateTimeField(_("edited at"), db_default=Now())

    objects = TenantManager["Export"]()

    class Meta:
        verbose_name = _("export")
        verbose_name_plural = _("exports")
        constraints = [
            models.UniqueConstraint("account", Lower("name"), name="export_name_once"),
            models.CheckConstraint(condition=Q(state__in=State.values), name="export_state_known"),
            models.CheckConstraint(condition=Q(type__in=Type.values), name="export_type_known"),
            models.CheckConstraint(
                condition=Q(next_run_at__isnull=True) | Q(state=State.SCHEDULED), name="export_runs_while_scheduled"
            ),
        ]
        indexes = [
            models.Index(fields=["next_run_at"], condition=Q(state=State.SCHEDULED), name="export_due"),
            GinIndex(
                F("account"), OpClass(Lower("name"), name="gin_trgm_ops"), name="export_name_trigrams", fastupdate=False
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def resync(self) -> bool:
        """Whether the next run sends everything."""
        return self.resync_at is not None


class ExportRunQuerySet(TenantQuerySet["ExportRun"]):
    def with_state(self) -> Self:
        """Adds `state`, which follows from the job; without one nothing ran (`fault` says why)."""
        return self.annotate(
            state=Case(
                When(~Q(fault=""), then=Value(RunState.FAILED.value)),
                When(job__status__in=ACTIVE, then=Value(RunState.IN_PROGRESS.value)),
                When(job__outcome=Status.DONE, then=Value(RunState.SUCCEEDED.value)),
                When(job__outcome=Status.CANCELED, then=Value(RunState.CANCELED.value)),
                default=Value(RunState.FAILED.value),
                output_field=models.CharField(),
            ),
            begun_at=Coalesce(F("job__started_at"), F("created_at")),
        ).select_related("job", "file", "export", "database")


class ExportRunManager(TenantManager["ExportRun"]):
    def get_queryset(self) -> ExportRunQuerySet:
        return ExportRunQuerySet(self.model, using=self._db)

    def with_state(self) -> ExportRunQuerySet:
        return self.get_queryset().with_state()


class Trigger(models.TextChoices):
    SCHEDULE = "schedule", _("On schedule")
    PERSON = "person", _("By hand")
    WINDOW = "window", _("A window again")


class ExportRun(models.Model):
    """One execution, with the definition as it was. It outlives the export.

    The artifact is `file`, built once; `delivered_at` is when it arrived. A window is `window_lo <= change_xid <
    window_hi`; a whole table has only `window_hi`. `claimed_name` is the name at the destination under which
    no other run's file may lie (exports/claims.py). `steps` is what happened: [{"what", "ms", "ok", …}].
    """

    account = models.ForeignKey(Account, models.CASCADE, related_name="export_runs", db_index=False)
    export = models.ForeignKey(Export, models.SET_NULL, null=True, related_name="runs", db_index=False)
    database = models.ForeignKey(Database, models.PROTECT, related_name="+", db_index=False)
    name = models.CharField(_("name"), max_length=120)
    type = models.CharField(_("export type"), max_length=20, choices=Type.choices)
    data_type = models.CharField(_("data"), max_length=20, choices=DataType.choices)
    definition = models.JSONField(_("definition"))
    destination = models.ForeignKey(Destination, models.SET_NULL, null=True, related_name="+", db_index=False)
    trigger = models.CharField(_("started"), max_length=10, choices=Trigger.choices)
    started_by = models.CharField(_("started by"), max_length=254, blank=True)
    scheduled_for = models.DateTimeField(_("scheduled for"), null=True)
    job = models.OneToOneField(BatchJob, models.PROTECT, null=True, related_name="export_run")  # the last one
    fault = models.CharField(_("not run because"), max_length=40, blank=True)  # a code of exports.errors: nothing ran

    file = models.OneToOneField(SourceFile, models.PROTECT, null=True, related_name="export_run")
    rows = models.BigIntegerField(_("rows"), null=True)
    deletions = models.BigIntegerField(_("deleted rows among them"), null=True)
    content_bytes = models.BigIntegerField(_("bytes unpacked"), null=True)
    built_at = models.DateTimeField(_("written at"), null=True)
    window_lo = models.BigIntegerField(null=True, editable=False)
    window_hi = models.BigIntegerField(null=True, editable=False)
    window_from = models.DateTimeField(_("changes after"), null=True)
    window_until = models.DateTimeField(_("changes until"), null=True)
    server = models.CharField(max_length=60, blank=True, editable=False)
    warnings = models.JSONField(_("warnings"), default=list, blank=True)
    steps = models.JSONField(_("steps"), default=list, blank=True)
    delivered_at = models.DateTimeField(_("delivered at"), null=True)
    claimed_name = models.CharField(max_length=150, blank=True, editable=False)
    delivered_as = models.CharField(_("delivered as"), max_length=400, blank=True)
    settled_at = models.DateTimeField(null=True, editable=False)  # its end was counted, and who is told was decided
    stopped_export = models.BooleanField(default=False, editable=False)  # by its failure, the fifth in a row
    # Who is still to be told, and when that is tried next; while a beat is at it, when others may take over.
    report_to = ArrayField(models.EmailField(), default=list, blank=True, editable=False)
    report_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(_("created at"), db_default=Now())

    state: str  # of `with_state`
    begun_at: Any  # likewise

    objects = ExportRunManager()

    class Meta:
        verbose_name = _("export run")
        verbose_name_plural = _("export runs")
        constraints = [
            models.UniqueConstraint(fields=["export", "scheduled_for"], name="export_run_once"),
            models.CheckConstraint(condition=Q(job__isnull=True) ^ Q(fault=""), name="export_run_has_job_or_fault"),
            models.UniqueConstraint(
                fields=["destination", "claimed_name"], condition=~Q(claimed_name=""), name="export_run_claimed_name"
            ),
            models.CheckConstraint(
                condition=Q(delivered_at__isnull=True) | Q(built_at__isnull=False), name="export_run_built_first"
            ),
        ]
        indexes = [
            models.Index(fields=["account", "-created_at", "-id"], name="export_run_newest"),
            models.Index(fields=["export", "-id"], name="export_run_of_export"),
            models.Index(fields=["id"], condition=Q(settled_at__isnull=True), name="export_run_unsettled"),
            models.Index(fields=["report_at"], condition=Q(report_at__isnull=False), name="export_run_report_due"),
            GinIndex(
                F("account"), OpClass(Lower("name"), name="gin_trgm_ops"), name="export_run_names", fastupdate=False
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.pk}"

    @property
    def window(self) -> Window | None:
        """What of the table it covers; None for all of it."""
        if self.window_lo is None or self.window_hi is None:
            return None
        return Window(self.window_lo, self.window_hi)
