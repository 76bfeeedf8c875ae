"""Errors of the APIs. Each family of addresses has a way of its own to send a key and to say what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

CONTENT_TYPE = "application/problem+json"


def problem_response(status: int, detail: str, *, headers: dict[str, str] | None = None, **extra: Any) -> JsonResponse:
    """RFC 9457 problem details without a type of its own: `type` is about:blank, `title` the status' name (4.2.1).

    `extra` are further members, for example `errors`: [{"field", "message"}].
    """
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        **extra,
    }
    if status == HTTPStatus.UNAUTHORIZED:
        headers = {"WWW-Authenticate": "Bearer", **(headers or {})}
    return JsonResponse(body, status=status, content_type=CONTENT_TYPE, headers=headers)


def batch_error_response(
    status: int, detail: str, *, headers: dict[str, str] | None = None, code: int = 0, hint: str = ""
) -> JsonResponse:
    """The form of the batch API (contract: Sitecore-compatible). `code` says more than `status` where it is given."""
    body = {
        "status": status,
        "code": code or status,
        "message": detail,
        "developerMessage": hint or detail,
        "moreInfo": "docs/batch-uploads.md",
    }
    if status == HTTPStatus.UNAUTHORIZED:
        headers = {"WWW-Authenticate": 'Basic realm="Batchdesk batches", charset="UTF-8"', **(headers or {})}
    return JsonResponse(body, status=status, headers=headers)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How programs are spoken with at the addresses under `prefix`."""

    prefix: str
    scheme: str  # of the Authorization header
    content_type: str  # of errors
    how: str | _StrPromise  # to send a key
    respond: Callable[..., HttpResponse]
    is_rated: bool = False  # each key may make so many requests a minute


DIALECTS = (
    Dialect(
        "/api/", "bearer", CONTENT_TYPE, _("Send an API key as “Authorization: Bearer bd_live_…”."), problem_response
    ),
    Dialect(
        "/v2/",
        "basic",
        "application/json",
        _("Send the client key as user name and the API token as password, as HTTP Basic does."),
        batch_error_response,
        is_rated=True,
    ),
)


def dialect_of(request: HttpRequest) -> Dialect | None:
    """How the request's address is spoken to; None for pages."""
    return next((dialect for dialect in DIALECTS if request.path_info.startswith(dialect.prefix)), None)


def is_api(request: HttpRequest) -> bool:
    """Whether a program is asking, so that also errors are JSON."""
    return dialect_of(request) is not None
