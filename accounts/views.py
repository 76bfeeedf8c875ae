"""Settings pages of people and accounts. Who may is accounts/routes.py."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db.models import F
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts import services
from accounts.forms import ApiKeyForm, ProfileForm
from accounts.models import Account, ApiKey


@require_GET
def home(request: HttpRequest) -> HttpResponse:
    return redirect("batchjob_list")


@require_GET
def api_key_list(request: Any) -> HttpResponse:
    return _keys_page(request)


@never_cache
@sensitive_variables("token")
@require_http_methods(["GET", "POST"])
def api_key_new(request: Any) -> HttpResponse:
    form = ApiKeyForm(_posted(request), by=request.actor)
    if not form.is_valid():
        return _keys_page(request, form=form, status=422 if form.is_bound else 200)
    key, token = services.api_key_create(by=request.actor, **form.cleaned_data)
    # Shown in the answer itself, this once: a redirect would have to keep the token somewhere.
    return _keys_page(request, created=key, token=token, status=201)


@require_http_methods(["GET", "POST"])
def api_key_revoke(request: Any, key_id: int) -> HttpResponse:
    key = get_object_or_404(ApiKey.objects.for_account(request.actor.account), pk=key_id)
    if request.method == "GET":
        return _keys_page(request, revoking=key)
    services.api_key_revoke(by=request.actor, key=key)
    messages.success(
        request, _("The key “%(name)s” is revoked. Programs that use it are refused.") % {"name": key.name}
    )
    return redirect("api_key_list")


@require_POST
def account_switch(request: Any) -> HttpResponse:
    try:
        account = services.account_switch(user=request.user, account_id=int(request.POST.get("account", "")))
    except (ValueError, Account.DoesNotExist) as error:
        raise Http404 from error
    request.session["account_id"] = account.pk
    return redirect("home")


@require_http_methods(["GET", "POST"])
def profile(request: Any) -> HttpResponse:
    form = ProfileForm(_posted(request), user=request.user)
    if form.is_valid():
        services.profile_update(user=request.user, **form.cleaned_data)
        messages.success(request, _("Your profile is saved."))
        return redirect("profile")
    return render(request, "accounts/profile.html", {"form": form}, status=422 if form.is_bound else 200)


def _posted(request: Any) -> QueryDict | None:
    return request.POST if request.method == "POST" else None


def _keys_page(request: Any, *, status: int = 200, **dialog: Any) -> HttpResponse:
    """The list, with one dialog over it: `form`, `created` and its `token`, or `revoking`."""
    keys = (
        ApiKey.objects.for_account(request.actor.account)
        .select_related("created_by")
        .order_by(F("revoked_at").desc(nulls_first=True), "-pk")
    )
    return render(request, "accounts/api_keys.html", {"keys": keys, **dialog}, status=status)
