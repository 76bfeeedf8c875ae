"""Errors of the APIs as RFC 9457 problem details."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, JsonResponse

API_PREFIX = "/api/"
CONTENT_TYPE = "application/problem+json"


def is_api(request: HttpRequest) -> bool:
    """Whether a program is asking, so that also errors are JSON."""
    return request.path_info.startswith(API_PREFIX)


def problem_response(status: int, detail: str, *, headers: dict[str, str] | None = None, **extra: Any) -> JsonResponse:
    """A problem without a type of its own: `type` is about:blank, `title` the status' name (RFC 9457, 4.2.1).

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
