"""Exports for support staff: all accounts' are seen; custom and incremental custom ones are set up here.

A new one is made in two steps, as people are: first whose it is and of what, then all that depends on that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from accounts.actors import system_actor
from accounts.admin import ReadOnlyAdmin, ReadOnlyInline, StaffMayLook, support_actor
from accounts.params import json_storable
from audience.models import Database
from exports import support
from exports.definitions import ExportRefusedError
from exports.destinations import DESTINATIONS
from exports.models import Destination, Export, ExportRun
from exports.states import RunState, TransitionRefusedError

RUNS_SHOWN = 20
BOX = "transfer_box"
REFUSED = (ExportRefusedError, TransitionRefusedError)
TYPE_CHOICES = [(type_.value, type_.label) for type_ in support.TYPES]
# Read as JSON, and kept as the API has them.
JSON_FIELDS = ("columns", "filter", "file", "schedule")
# The keys of a definition that the form has, in its order.
KEYS = (
    *("name", "database", "data_type", "table", "kind", "columns", "filter", "file", "destination", "schedule"),
    *("start_with", "deletions", "send_empty", "recipients", "report_when"),
)


class RunsFound:
    """Search by name, or by the account's name or slug; runs also by their number."""

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip().replace("\x00", "")
        if not term:
            return queryset, False
        wanted = Q(name__icontains=term) | Q(account__name__icontains=term) | Q(account__slug=term)
        if term.isascii() and term.isdecimal() and len(term) < 19:
            wanted |= Q(pk=int(term))
        return queryset.filter(wanted), False


class NewExportForm(forms.ModelForm):
    """The first step."""

    type = forms.ChoiceField(label=_("Export type"), choices=TYPE_CHOICES)

    class Meta:
        model = Export
        fields = ("account", "name", "type", "data_type")

    def clean_name(self) -> str:
        return str(self.cleaned_data["name"]).strip()

    def clean(self) -> dict[str, Any]:
        data = self.cleaned_data
        if data.get("account") and data.get("name"):
            _refuse_taken_name(self, data["account"], data["name"])
        return data


class ExportForm(forms.ModelForm):
    """A definition: what is wrong is said at its field, by the rules of the API."""

    type = forms.ChoiceField(label=_("Export type"), choices=TYPE_CHOICES)
    destination = forms.ChoiceField(label=_("Destination"))
    changes: dict[str, Any]  # the definition as the API has it

    class Meta:
        model = Export
        fields = (*KEYS, "support_note")
        help_texts = {
            "table": _("Of linked data and repositories the slug, of lists the name."),
            "columns": _("[{“field”, “header”}, …] in the order of the file; null for all."),
            "filter": _("{“and” or “or”: [{“field”, “op”, “value”}, …]}, or null."),
            "file": _("format, delimiter, quoting, header, encoding, compression, name_pattern, formula_safe."),
            "schedule": _("cadence, at, timezone, and weekday or day."),
            "recipients": _("E-mail addresses, separated by commas."),
            "support_note": _("Told to the account's people together with the definition."),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        account = self.instance.account
        if "database" not in self.fields:  # only looked at
            return
        self.fields["database"].queryset = Database.objects.for_account(account).order_by("name")  # type: ignore[attr-defined]
        others = Destination.objects.for_account(account).exclude(kind=BOX).order_by("name")
        self.fields["destination"].choices = [  # type: ignore[attr-defined]
            ("", "---------"),
            (BOX, DESTINATIONS[BOX].label),
            *((str(one.pk), one.name) for one in others),
        ]
        chosen = self.instance.destination
        self.initial["destination"] = "" if chosen is None else BOX if chosen.kind == BOX else str(chosen.pk)

    def clean(self) -> dict[str, Any]:
        data = self.cleaned_data
        for key in JSON_FIELDS:
            try:
                json_storable(data.get(key))
            except ValueError as error:
                self.add_error(key, str(error))
        if self.errors:
            return data
        account = self.instance.account
        _refuse_taken_name(self, account, data["name"], self.instance)
        if self.errors:
            return data
        self.changes = {key: data[key] for key in KEYS} | {"database": data["database"].slug}
        checked = Export(account=account, database=data["database"])
        try:
            support.apply(checked, self.changes, by=system_actor(account), type_=data["type"])
        except ExportRefusedError as refused:
            field, _dot, option = refused.field.partition(".")
            self.add_error(field, f"{option}: {refused.message}" if option else refused.message)
        return data

    def _post_clean(self) -> None:
        """The instance stays what it is: the service writes, and has checked."""


def _refuse_taken_name(form: forms.ModelForm, account: Any, name: str, but: Export | None = None) -> None:
    others = Export.objects.for_account(account).filter(name__iexact=name.strip())
    if others.exclude(pk=but.pk if but else None).exists():
        form.add_error("name", _t("Another export of this account has this name."))


class RunInline(ReadOnlyInline):
    model = ExportRun
    verbose_name_plural = _("newest runs")
    fields = readonly_fields = ("run_link", "shown_state", "trigger", "scheduled_for", "rows", "delivered_as")
    ordering = ("-pk",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ExportRun]:
        export = request.resolver_match.kwargs.get("object_id") if request.resolver_match else None
        if export is None or not str(export).isdecimal():
            return ExportRun.objects.none()
        newest = ExportRun.objects.filter(export=int(export)).order_by("-pk").values("pk")[:RUNS_SHOWN]
        rows: Any = super().get_queryset(request)
        runs: QuerySet[ExportRun] = rows.with_state().filter(pk__in=newest)
        return runs

    @admin.display(description=_("run"))
    def run_link(self, run: ExportRun) -> str:
        return format_html('<a href="{}">{}</a>', reverse("admin:exports_exportrun_change", args=[run.pk]), run.pk)

    @admin.display(description=_("status"))
    def shown_state(self, run: ExportRun) -> str:
        return _state_words(run)


def _state_words(run: ExportRun) -> str:
    code = run.fault or (run.job.failure_code if run.job and run.state == RunState.FAILED else "")
    return f"{RunState(run.state).label}: {code}" if code else str(RunState(run.state).label)


@admin.register(Export)
class ExportAdmin(RunsFound, StaffMayLook, admin.ModelAdmin):
    list_display = ("name", "account", "type", "data_type", "state", "next_run_at")
    list_filter = ("type", "state", "data_type", ("account", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("account",)
    search_fields = ("name",)
    search_help_text = _("Number, name, or account.")
    ordering = ("-pk",)
    show_full_result_count = False
    inlines = (RunInline,)
    actions = ("schedule", "unschedule")
    autocomplete_fields = ("account",)
    readonly_fields = (
        *("account", "state", "next_run_at", "run_at", "scheduled_at", "stopped_because", "watermark", "server"),
        *("resync_at", "created_by", "created_by_key", "created_at", "edited_at"),
    )

    # Which form.

    def get_form(self, request: HttpRequest, obj: Export | None = None, change: bool = False, **kwargs: Any) -> Any:
        if obj is None:
            return super().get_form(request, obj, change, form=NewExportForm, **kwargs)
        return super().get_form(request, obj, change, form=ExportForm, **kwargs)

    def get_fields(self, request: HttpRequest, obj: Export | None = None) -> Any:
        if obj is None:
            return ("account", "name", "type", "data_type")
        return ("account", "type", *KEYS, "support_note", *self.readonly_fields[1:])

    def get_readonly_fields(self, request: HttpRequest, obj: Export | None = None) -> Any:
        return () if obj is None else self.readonly_fields

    def get_inlines(self, request: HttpRequest, obj: Export | None) -> Any:
        return self.inlines if obj else ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Export]:
        related = ("account", "database", "destination", "created_by", "created_by_key")
        rows: QuerySet[Export] = super().get_queryset(request)
        return rows.select_related(*related)

    # Who may.

    def has_add_permission(self, request: HttpRequest) -> bool:
        return True

    def has_change_permission(self, request: HttpRequest, obj: Export | None = None) -> bool:
        """Only drafts of ours: what is scheduled is unscheduled first, and what is standard is its account's."""
        return obj is None or support.can_edit(obj)

    def has_delete_permission(self, request: HttpRequest, obj: Export | None = None) -> bool:
        """One by one, and only drafts of ours."""
        return obj is not None and support.can_edit(obj)

    # What is done.

    def delete_model(self, request: Any, obj: Export) -> None:
        support.custom_delete(export=obj, by=support_actor(request, obj.account))

    def save_model(self, request: Any, obj: Export, form: Any, change: bool) -> None:
        by = support_actor(request, obj.account)
        data = form.cleaned_data
        if change:
            support.custom_update(
                export=obj, by=by, changes=form.changes, support_note=data["support_note"], type_=data["type"]
            )
            return
        made = support.custom_create(by=by, name=data["name"], type_=data["type"], data_type=data["data_type"])
        obj.pk, obj._state.adding = made.pk, False

    # Somebody may be quicker: then nothing was done.

    def changeform_view(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().changeform_view(request, *args, **kwargs)
        except REFUSED as refused:
            messages.error(request, str(refused))
            return HttpResponseRedirect(request.get_full_path())

    def delete_view(self, request: Any, object_id: str, extra_context: dict[str, Any] | None = None) -> Any:
        try:
            return super().delete_view(request, object_id, extra_context)
        except REFUSED as refused:
            messages.error(request, str(refused))
            return HttpResponseRedirect(reverse("admin:exports_export_change", args=[object_id]))

    def response_add(self, request: Any, obj: Export, post_url_continue: str | None = None) -> HttpResponse:
        """On to the second step."""
        if "_addanother" not in request.POST:
            request.POST = request.POST.copy()
            request.POST["_continue"] = "1"
        return super().response_add(request, obj, post_url_continue)

    @admin.action(description=_("Schedule"))
    def schedule(self, request: HttpRequest, exports: QuerySet[Export]) -> None:
        self._each(request, exports, support.custom_schedule, _t("The export is scheduled."))

    @admin.action(description=_("Unschedule: back to a draft"))
    def unschedule(self, request: HttpRequest, exports: QuerySet[Export]) -> None:
        self._each(request, exports, support.custom_unschedule, _t("The export is a draft again."))

    def _each(self, request: HttpRequest, exports: QuerySet[Export], act: Callable[..., Any], done: str) -> None:
        for export in exports.select_related("account"):
            try:
                act(export=export, by=support_actor(request, export.account))
                messages.success(request, f"{export.name}: {done}")
            except REFUSED as refused:
                messages.error(request, f"{export.name}: {refused}")


@admin.register(ExportRun)
class ExportRunAdmin(RunsFound, ReadOnlyAdmin):
    list_display = ("id", "name", "account", "type", "shown_state", "trigger", "rows", "created_at")
    list_display_links = ("id", "name")
    list_filter = ("type", "trigger", ("account", admin.RelatedOnlyFieldListFilter))
    search_fields = ("name",)
    search_help_text = _("Number, name, or account.")
    ordering = ("-pk",)
    show_full_result_count = False
    actions = ("run_again",)
    fields = (
        *("name", "account", "export", "type", "data_type", "shown_state", "fault", "trigger", "started_by"),
        *("scheduled_for", "created_at", "job_link", "definition", "destination", "file", "rows", "deletions"),
        *(
            "content_bytes",
            "built_at",
            "window_lo",
            "window_hi",
            "window_from",
            "window_until",
            "server",
            "warnings",
            "steps",
        ),
        *("delivered_at", "delivered_as", "settled_at", "report_to", "report_at"),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[ExportRun]:
        rows: Any = super().get_queryset(request)
        runs: QuerySet[ExportRun] = rows.with_state().select_related(
            "account", "job", "file", "export", "database", "destination"
        )
        return runs

    @admin.display(description=_("status"))
    def shown_state(self, run: ExportRun) -> str:
        return _state_words(run)

    @admin.display(description=_("job"))
    def job_link(self, run: ExportRun) -> str:
        if run.job is None:
            return "–"
        return format_html(
            '<a href="{}">{}</a> ({})',
            reverse("admin:batchjobs_batchjob_change", args=[run.job.pk]),
            run.job,
            run.job.get_status_display(),
        )

    @admin.action(description=_("Run again: try a failed run once more"))
    def run_again(self, request: HttpRequest, runs: QuerySet[ExportRun]) -> None:
        for run in runs:
            try:
                support.run_again(run=run, by=support_actor(request, run.account))
                messages.success(request, _t("%(name)s: it is in the queue again.") % {"name": run})
            except TransitionRefusedError as refused:
                messages.error(request, f"{run}: {refused}")
