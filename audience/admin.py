"""The marketing data for support staff: looking only, searched by what an index serves."""

from __future__ import annotations

import hashlib
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts.admin import ReadOnlyAdmin, StaffMayLook
from audience.erasures import key_hash
from audience.models import (
    ContactList,
    Database,
    DataTable,
    Erasure,
    Interaction,
    ListMember,
    Profile,
    Record,
    Segment,
    Suppression,
)


class LookingAdmin(ReadOnlyAdmin):
    """Nothing is listed until something is searched for: these tables hold millions of rows."""

    show_full_result_count = False
    ordering = ("-pk",)

    def exactly(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        raise NotImplementedError

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip().replace("\x00", "")
        return (self.exactly(queryset, term) if term else queryset.none()), False


@admin.register(Database)
class DatabaseAdmin(StaffMayLook, admin.ModelAdmin):
    list_display = ("name", "slug", "account", "created_at")
    list_select_related = ("account",)
    search_fields = ("name", "slug", "account__name")
    autocomplete_fields = ("account",)
    readonly_fields = ("created_at",)

    def has_delete_permission(self, request: HttpRequest, obj: Database | None = None) -> bool:
        return False


@admin.register(Profile)
class ProfileAdmin(LookingAdmin):
    list_display = ("email", "partner_user_id", "database", "created_by_job", "updated_at")
    list_select_related = ("database",)
    search_fields = ("email",)
    search_help_text = _("The whole e-mail address.")

    def exactly(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        # With the databases named, the unique index (database, email) serves it.
        return rows.filter(database__in=Database.objects.values("pk"), email=term.lower())


@admin.register(Interaction)
class InteractionAdmin(LookingAdmin):
    list_display = (
        "kind",
        "external_id",
        "occurred_at",
        "profile_id",
        "database",
        "created_by_job",
        "row_no",
    )
    list_select_related = ("database",)
    raw_id_fields = ("profile",)
    search_fields = ("external_id",)
    search_help_text = _("The whole partner event id.")

    def exactly(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        return rows.filter(database__in=Database.objects.values("pk"), external_id=term)


@admin.register(ContactList)
class ContactListAdmin(LookingAdmin):
    list_display = ("name", "database", "created_by_job", "created_at")
    list_select_related = ("database",)
    search_fields = ("name",)
    search_help_text = _("The whole name.")

    def exactly(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        return rows.filter(database__in=Database.objects.values("pk"), name=term)


@admin.register(ListMember)
class ListMemberAdmin(LookingAdmin):
    list_display = ("profile", "contact_list", "joined_at", "created_by_job")
    list_select_related = ("profile", "contact_list")
    raw_id_fields = ("profile", "contact_list")
    search_fields = ("profile__email",)
    search_help_text = _("The whole e-mail address.")

    def exactly(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        people = Profile.objects.filter(database__in=Database.objects.values("pk"), email=term.lower())
        return rows.filter(profile__in=people)


@admin.register(Suppression)
class SuppressionAdmin(LookingAdmin):
    list_display = ("channel", "email_sha256", "reason", "opted_out_at", "database")
    list_select_related = ("database",)
    search_fields = ("email_sha256",)
    search_help_text = _("The whole e-mail address, or its SHA-256.")

    def exactly(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        digest = hashlib.sha256(term.lower().encode()).hexdigest() if "@" in term else term.lower()
        return rows.filter(
            database__in=Database.objects.values("pk"),
            channel__in=("email", "sms", "push"),
            email_sha256=digest,
        )


class StaffMayDeclare(StaffMayLook, admin.ModelAdmin):
    """All support staff make and change these: what an account cannot set up itself."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return True

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True


@admin.register(DataTable)
class DataTableAdmin(StaffMayDeclare):
    list_display = ("name", "slug", "kind", "database", "created_at")
    list_select_related = ("database",)
    list_filter = ("kind",)
    search_fields = ("name", "slug", "database__name", "database__account__name")
    autocomplete_fields = ("database",)
    prepopulated_fields = {"slug": ("name",)}
    fields = ("database", "name", "slug", "kind", "columns", "key")

    def get_readonly_fields(self, request: HttpRequest, obj: DataTable | None = None) -> tuple[str, ...]:
        # Rows that are there were found by the key, and belong to people or to nobody.
        return ("database", "kind", "key") if obj and obj.records.exists() else ()

    def has_delete_permission(self, request: HttpRequest, obj: DataTable | None = None) -> bool:
        return obj is not None and not obj.records.exists()


@admin.register(Record)
class RecordAdmin(LookingAdmin):
    list_display = ("key", "table", "profile_id", "created_by_job", "updated_at")
    list_select_related = ("table",)
    raw_id_fields = ("profile",)
    search_fields = ("key",)
    search_help_text = _("The whole key.")

    def exactly(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        return rows.filter(table__in=DataTable.objects.values("pk"), key=term)


@admin.register(Segment)
class SegmentAdmin(StaffMayDeclare):
    list_display = ("name", "database", "data_type", "created_by", "created_at")
    list_select_related = ("database",)
    list_filter = ("data_type",)
    search_fields = ("name", "database__name", "database__account__name")
    autocomplete_fields = ("database",)
    fields = ("database", "name", "data_type", "filter", "created_by", "created_at")
    readonly_fields = ("created_by", "created_at")

    def save_model(self, request: HttpRequest, obj: Segment, form: Any, change: bool) -> None:
        if not change:
            obj.created_by = str(request.user)[:254]
        super().save_model(request, obj, form, change)


@admin.register(Erasure)
class ErasureAdmin(ReadOnlyAdmin):
    """The address and the number of a pending request are shown to nobody: hashes say enough."""

    list_display = ("address", "number", "database", "requested_by", "requested_at", "erased_at")
    list_display_links = None
    list_select_related = ("database",)
    list_filter = (("erased_at", admin.EmptyFieldListFilter),)
    search_fields = ("email_sha256",)
    search_help_text = _("The whole e-mail address, or its SHA-256.")
    fields = ("email_sha256", "partner_sha256", "database", "requested_by", "requested_at", "erased_at")
    ordering = ("-pk",)
    show_full_result_count = False

    @admin.display(description=_("SHA-256 of the address"))
    def address(self, erasure: Erasure) -> str:
        return (erasure.email_sha256 or "")[:12]

    @admin.display(description=_("SHA-256 of the partner user id"))
    def number(self, erasure: Erasure) -> str:
        return (erasure.partner_sha256 or "")[:12]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip().replace("\x00", "").lower()
        digest = key_hash(term) if "@" in term else term
        return (queryset.filter(email_sha256=digest) if term else queryset), False
