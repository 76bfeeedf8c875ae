"""Batch uploads for support staff: finding one by its reference, seeing what happened to it, processing it again."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import CharField, Q, QuerySet
from django.db.models.expressions import Value
from django.db.models.functions import Cast, Replace
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from accounts.admin import ReadOnlyAdmin, ReadOnlyInline, support_actor
from uploads import services
from uploads.faults import FAULTS
from uploads.filters import UUID_DIGITS, ref_digits, refs_from
from uploads.models import BatchUpload, UploadEvent
from uploads.states import State


class EventInline(ReadOnlyInline):
    model = UploadEvent
    fields = ("at", "what", "detail")
    ordering = ("-pk",)


class FaultFilter(admin.SimpleListFilter):
    title = _("fault")
    parameter_name = "fault"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("none", _("None")), *((code, fault.title) for code, fault in FAULTS.items())]

    def queryset(self, request: HttpRequest, queryset: QuerySet[BatchUpload]) -> QuerySet[BatchUpload]:
        value = self.value()
        return queryset.filter(fault="" if value == "none" else value) if value else queryset


@admin.register(BatchUpload)
class BatchUploadAdmin(ReadOnlyAdmin):
    list_display = ("ref", "account", "shown_state", "client_name", "size", "created_at", "modified")
    list_filter = (FaultFilter, ("account", admin.RelatedOnlyFieldListFilter))
    search_fields = ("ref",)
    search_help_text = _("The UUID or a part of it, of any account; or the account's name.")
    ordering = ("-pk",)
    show_full_result_count = False
    inlines = (EventInline,)
    actions = ("process_again",)
    fields = (
        *("ref", "account", "shown_state", "client_name", "client"),
        *("checksum", "size", "location_expires_at", "fault", "fault_params"),
        *("file", "job_link", "created_at", "touched_at", "modified"),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[BatchUpload]:
        rows: Any = super().get_queryset(request)
        uploads: QuerySet[BatchUpload] = rows.with_state().select_related("account", "job", "file", "client")
        return uploads

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip().replace("\x00", "")
        if not term:
            return queryset, False
        wanted = Q(account__name__icontains=term) | Q(account__slug=term)
        if digits := ref_digits(term):
            if len(digits) == UUID_DIGITS:
                return queryset.filter(refs_from(digits)), False  # by the index
            bare = Replace(Cast("ref", CharField()), Value("-"), Value(""))
            queryset = queryset.annotate(digits=bare)
            wanted |= Q(digits__contains=digits)
        return queryset.filter(wanted), False

    @admin.display(description=_("status"))
    def shown_state(self, upload: Any) -> str:
        late = upload.state == State.UPLOADING and upload.is_late
        return _t("Location expired") if late else str(State(upload.state).label)

    @admin.display(description=_("modified at"))
    def modified(self, upload: Any) -> Any:
        return upload.modified_at

    @admin.display(description=_("job"))
    def job_link(self, upload: BatchUpload) -> str:
        if upload.job is None:
            return "–"
        return format_html(
            '<a href="{}">{}</a> ({})',
            reverse("admin:batchjobs_batchjob_change", args=[upload.job.pk]),
            upload.job,
            upload.job.get_status_display(),
        )

    @admin.action(description=_("Process again: read the file once more"))
    def process_again(self, request: HttpRequest, uploads: QuerySet[BatchUpload]) -> None:
        good = 0
        for upload in uploads:
            try:
                services.batch_process_again(upload=upload, by=support_actor(request, upload.account))
                good += 1
            except services.BatchRefusedError as error:
                messages.error(request, f"{upload.ref}: {error}")
        if good:
            messages.success(request, _t("%(n)s: the file is in the queue again.") % {"n": good})
