"""Accounts, people and keys for support staff. Secrets are nowhere shown."""

from __future__ import annotations

from typing import Any

from allauth.account.models import EmailAddress
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm, UserChangeForm
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from accounts import services
from accounts.actors import Actor
from accounts.models import Account, ApiKey, AuditEvent, Membership, User
from accounts.permissions import Role

admin.site.site_header = admin.site.site_title = "Batchdesk"
admin.site.index_title = _("Support")
admin.site.unregister(Group)  # permissions come from roles
admin.site.unregister(EmailAddress)  # allauth's; here a person's one address is in User


def support_actor(request: Any, account: Account) -> Actor:
    """A support person at work in somebody's account: the audit log names them."""
    return Actor(account=account, role=Role.MANAGER, user=request.user)


class StaffMayLook:
    """All support staff see everything; changing people and accounts is for superusers."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return True  # the admin site itself lets in support staff only

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True


class ReadOnlyAdmin(StaffMayLook, admin.ModelAdmin):
    """Looking only: what is shown here is made and changed by the product."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnlyInline(StaffMayLook, admin.TabularInline):
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class MembershipInline(StaffMayLook, admin.TabularInline):
    model = Membership
    extra = 0
    autocomplete_fields = ("user", "account")
    readonly_fields = ("created_at",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        return super().get_queryset(request).select_related("user", "account")


@admin.register(Account)
class AccountAdmin(StaffMayLook, admin.ModelAdmin):
    list_display = ("name", "slug", "running_cap", "created_at")
    search_fields = ("name", "slug")
    readonly_fields = ("created_at",)
    inlines = (MembershipInline,)

    def has_delete_permission(self, request: HttpRequest, obj: Account | None = None) -> bool:
        return False  # an account with data is not removed by a click


class UserForm(UserChangeForm):
    def clean_email(self) -> str:
        return str(self.cleaned_data["email"]).lower()


class UserAddForm(AdminUserCreationForm):
    class Meta:
        model = User
        fields = ("email", "name")

    def clean_email(self) -> str:
        return str(self.cleaned_data["email"]).lower()


@admin.register(User)
class UserAdmin(StaffMayLook, DjangoUserAdmin):
    form = UserForm
    add_form = UserAddForm
    list_display = ("email", "name", "is_active", "is_staff", "last_login")
    list_filter = ("is_active", "is_staff")
    search_fields = ("email", "name")
    ordering = ("email",)
    filter_horizontal = ()
    fieldsets = (
        (
            None,
            {"fields": ("email", "password", "name", "time_zone", "is_active", "is_staff", "is_superuser")},
        ),
        (None, {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = ((None, {"fields": ("email", "name", "usable_password", "password1", "password2")}),)
    inlines = (MembershipInline,)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        # Only those who may do everything can make others so.
        fixed = () if request.user.is_superuser else ("is_staff", "is_superuser")
        return ("last_login", "date_joined", *fixed) if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False  # deactivated instead: what they did keeps its name


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin):
    list_display = (
        "name",
        "account",
        "key_id",
        "role",
        "created_by",
        "created_at",
        "last_used_at",
        "revoked_at",
    )
    list_filter = ("role", ("revoked_at", admin.EmptyFieldListFilter))
    list_select_related = ("account", "created_by")
    search_fields = ("name", "key_id", "account__name")
    # Everything but the hash of the secret.
    fields = (
        *("name", "account", "key_id", "hint", "role"),
        *("created_by", "created_at", "last_used_at", "revoked_at"),
    )
    actions = ("revoke",)

    @admin.action(description=_("Revoke the chosen keys"))
    def revoke(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> None:
        for key in keys.select_related("account"):
            services.api_key_revoke(by=support_actor(request, key.account), key=key)
        messages.success(request, _t("The keys are revoked."))


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "account", "actor", "action", "target")
    list_filter = (("account", admin.RelatedOnlyFieldListFilter),)
    list_select_related = ("account",)
    search_fields = ("actor", "action", "target")
    show_full_result_count = False
