"""Batch jobs for support staff: finding one, seeing why it hangs, ringing, canceling or giving it up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from accounts.admin import ReadOnlyAdmin, ReadOnlyInline, support_actor
from batchjobs import services
from batchjobs.models import BatchJob, Chunk, JobCrash, JobRequest, SourceFile
from batchjobs.states import TransitionRefusedError

CHUNKS_SHOWN = 20


class ChunkInline(ReadOnlyInline):
    model = Chunk
    verbose_name_plural = _("newest chunks")
    fields = ("n", "lease_token", "end_offset", "end_line", "valid", "skipped", "invalid", "committed_at")
    ordering = ("-n",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Chunk]:
        # The ledger of a large file has hundreds of rows: its newest ones say where the job stands.
        job = request.resolver_match.kwargs["object_id"] if request.resolver_match else None
        if job is None or not str(job).isdecimal():
            return Chunk.objects.none()
        newest = Chunk.objects.filter(job=int(job)).order_by("-n").values("pk")[:CHUNKS_SHOWN]
        return super().get_queryset(request).filter(pk__in=newest)


class CrashInline(ReadOnlyInline):
    model = JobCrash
    fields = ("created_at", "reason", "at_chunk", "lease_token", "report")
    ordering = ("-pk",)


class RequestInline(ReadOnlyInline):
    model = JobRequest
    fields = ("kind", "by", "created_at", "handled_at")
    ordering = ("-pk",)


@admin.register(BatchJob)
class BatchJobAdmin(ReadOnlyAdmin):
    list_display = (
        "id",
        "name",
        "account",
        "record_type",
        "status",
        "queue",
        "crashes",
        "created_at",
        "completed_at",
    )
    list_display_links = ("id", "name")
    list_filter = ("status", "queue", "record_type", ("account", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("account",)
    search_fields = ("name",)
    search_help_text = _("Id, name, file name, SHA-256 or account.")
    ordering = ("-pk",)
    show_full_result_count = False
    inlines = (ChunkInline, CrashInline, RequestInline)
    actions = ("ring_again", "cancel", "give_up")
    # Not editable ones included: they say why a job hangs.
    fields = (
        *(
            "name",
            "account",
            "record_type",
            "source",
            "source_name",
            "source_key",
            "file",
            "database",
            "event_name",
            "event_names",
            "tags",
        ),
        *(
            "options",
            "dry_run",
            "status",
            "outcome",
            "failure_code",
            "failure_params",
            "duplicate_of",
            "rerun_of",
        ),
        *(
            "created_by",
            "created_by_key",
            "canceled_by",
            "created_at",
            "started_at",
            "completed_at",
            "expired_at",
        ),
        *("valid_rows", "skipped_rows", "invalid_rows", "queue", "crashes"),
        *(
            "lease_token",
            "lease_owner",
            "lease_until",
            "next_chunk",
            "next_offset",
            "next_line",
            "reader_state",
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[BatchJob]:
        related = ("account", "file", "database", "created_by", "created_by_key", "duplicate_of", "rerun_of")
        rows: QuerySet[BatchJob] = super().get_queryset(request)
        opened = request.resolver_match and request.resolver_match.kwargs.get("object_id")
        return rows.select_related(*related) if opened else rows

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip().replace("\x00", "")
        if not term:
            return queryset, False
        wanted = (
            Q(name__icontains=term)
            | Q(file__name__icontains=term)
            | Q(file__sha256=term.lower())
            | Q(account__name__icontains=term)
            | Q(account__slug=term)
        )
        if term.isascii() and term.isdecimal() and len(term) < 19:
            wanted |= Q(pk=int(term))
        return queryset.filter(wanted), False

    @admin.action(description=_("Ring again: tell the workers to look"))
    def ring_again(self, request: HttpRequest, jobs: QuerySet[BatchJob]) -> None:
        self._each(request, jobs, services.batchjob_ring, _t("The workers are told to look."))

    @admin.action(description=_("Cancel"))
    def cancel(self, request: HttpRequest, jobs: QuerySet[BatchJob]) -> None:
        self._each(request, jobs, services.batchjob_cancel, _t("Canceling is asked for."))

    @admin.action(description=_("Give up: end as failed"))
    def give_up(self, request: HttpRequest, jobs: QuerySet[BatchJob]) -> None:
        self._each(request, jobs, services.batchjob_give_up, _t("Giving up is asked for."))

    def _each(self, request: HttpRequest, jobs: QuerySet[BatchJob], act: Callable[..., Any], done: str) -> None:
        good = 0
        for job in jobs.select_related("account"):
            try:
                act(job=job, by=support_actor(request, job.account))
                good += 1
            except TransitionRefusedError as error:
                messages.error(request, f"{job.name}: {error}")
        if good:
            messages.success(request, f"{good}: {done}")


@admin.register(SourceFile)
class SourceFileAdmin(ReadOnlyAdmin):
    list_display = ("name", "account", "size", "sha256", "created_at", "removed_at")
    list_filter = (("removed_at", admin.EmptyFieldListFilter),)
    list_select_related = ("account",)
    search_fields = ("name", "sha256", "account__name")
    ordering = ("-pk",)
    show_full_result_count = False
