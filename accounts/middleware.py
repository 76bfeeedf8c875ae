"""Finds out who is acting, and whether they may: one place for pages and the API (accounts/routes.py)."""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.shortcuts import render, resolve_url
from django.utils import timezone
from django.utils.translation import gettext as _
from django_htmx.http import HttpResponseClientRedirect

from accounts.actors import Actor
from accounts.models import Membership
from accounts.permissions import Permission, Role
from accounts.problems import Dialect, dialect_of
from accounts.routes import Access, RouteUnknownError, Rule, rule_entry, rule_of
from accounts.services import api_key_authenticate, api_key_wait, memberships_of

# What a form may hold beside the file.
FORM_BYTES = 1024 * 1024


class ActorMiddleware:
    """Sets `request.actor` (None for public routes and strangers) and `request.memberships`."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> HttpResponseBase:
        request.actor = None
        request.memberships = []
        try:
            response = self.get_response(request)
        finally:
            timezone.deactivate()
        dialect = dialect_of(request)
        if dialect and response.status_code >= HTTPStatus.BAD_REQUEST:
            return _as_error(dialect, response)
        return response

    def process_view(
        self, request: Any, view: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> HttpResponseBase | None:
        name = request.resolver_match.view_name
        if not name:
            raise RouteUnknownError(f"{request.path} has no view name, so it can have no rule.")
        rule = rule_of(name, request.method)
        if rule is None:
            entry = rule_entry(name)
            return HttpResponseNotAllowed(entry if isinstance(entry, dict) else ["GET"])
        if rule is Access.PUBLIC:
            return None
        dialect = dialect_of(request)
        return self._program(request, rule, dialect) if dialect else self._person(request, rule)

    def _program(self, request: Any, rule: Rule, dialect: Dialect) -> HttpResponseBase | None:
        # Keys only: a session's cookie is not looked at, so there is nothing to forge a request with.
        if _length(request) > settings.UPLOAD_MAX_BYTES + FORM_BYTES:
            return dialect.respond(413, _("The request is too large."))
        scheme, _space, credentials = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != dialect.scheme or not credentials:
            return dialect.respond(401, str(dialect.how))
        key_id, token = _basic(credentials) if dialect.scheme == "basic" else ("", credentials.strip())
        key = api_key_authenticate(token=token, key_id=key_id)
        if key is None:
            return dialect.respond(401, _("The API key is unknown or has been revoked."))
        if dialect.is_rated and (wait := api_key_wait(key=key)):
            return dialect.respond(429, _("Too many requests with this key."), headers={"Retry-After": str(wait)})
        request.actor = Actor(account=key.account, role=Role(key.role), api_key=key)
        structlog.contextvars.bind_contextvars(api_key=key.key_id, account=key.account_id)
        if not (isinstance(rule, Permission) and request.actor.can(rule)):
            return dialect.respond(
                403, _("The API key has the role “%(role)s”, which does not allow this.") % {"role": key.role}
            )
        return None

    def _person(self, request: Any, rule: Rule) -> HttpResponseBase | None:
        user = request.user
        if not user.is_authenticated:
            return _sign_in(request)
        _activate_zone(user.time_zone)
        request.memberships = memberships = memberships_of(user=user)
        current = _current(memberships, request.session.get("account_id"))
        if current:
            request.actor = Actor(account=current.account, role=Role(current.role), user=user)
            structlog.contextvars.bind_contextvars(account=current.account_id)
        if rule is Access.SIGNED_IN or (rule is Access.STAFF and user.is_staff):
            return None
        if isinstance(rule, Permission):
            if request.actor is None:
                return render(request, "accounts/no_account.html", status=403)
            if request.actor.can(rule):
                return None
        return render(request, "403.html", status=403)


def _current(memberships: list[Membership], account_id: object) -> Membership | None:
    """The account chosen last, as long as the person is still in it; else the first one."""
    chosen = (m for m in memberships if m.account_id == account_id)
    return next(chosen, memberships[0] if memberships else None)


def _sign_in(request: Any) -> HttpResponse:
    if request.htmx:
        back = request.htmx.current_url_abs_path or ""
    else:
        back = request.get_full_path() if request.method in ("GET", "HEAD") else ""
    login = redirect_to_login(back) if back else redirect_to_login(resolve_url("home"))
    return HttpResponseClientRedirect(login["Location"]) if request.htmx else login


def _basic(credentials: str) -> tuple[str, str]:
    """User name and password of HTTP Basic (RFC 7617); a name that no key has for what is malformed."""
    try:
        name, _colon, password = base64.b64decode(credentials.strip(), validate=True).decode().partition(":")
    except ValueError:
        return "?", ""
    return name or "?", password


def _length(request: Any) -> int:
    text = request.META.get("CONTENT_LENGTH") or "0"
    return int(text) if text.isdecimal() and len(text) < 19 else 0


def _activate_zone(name: str) -> None:
    # A zone that this machine does not know must not keep the person out: they see UTC.
    with suppress(KeyError, ValueError, OSError):
        timezone.activate(ZoneInfo(name))


def _as_error(dialect: Dialect, response: HttpResponseBase) -> HttpResponseBase:
    """What Django itself refuses (405, bad host, too large) in the API's form."""
    if response.headers.get("Content-Type", "").startswith(dialect.content_type):
        return response
    names = ("Allow", "Retry-After", "Content-Range")
    kept = {name: response.headers[name] for name in names if name in response.headers}
    details = {
        400: _("The request cannot be read."),
        404: _("There is nothing at this address."),
        405: _("This address does not take this method."),
        413: _("The request is too large."),
        416: _("The file has no such range."),
    }
    return dialect.respond(
        response.status_code, details.get(response.status_code, _("The request failed.")), headers=kept
    )
