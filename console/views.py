"""Pages of the shell itself: errors."""

from __future__ import annotations

import structlog
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template import loader


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return render(request, "403.html", {"csrf": True}, status=403)


def server_error(request: HttpRequest) -> HttpResponse:
    """Without context processors: what failed may well be what they ask (the database, the session)."""
    number = structlog.contextvars.get_contextvars().get("request_id", "")
    theme = request.COOKIES.get("theme", "")
    context = {"request_id": number, "theme": theme if theme in ("light", "dark") else ""}
    return HttpResponse(loader.render_to_string("500.html", context), status=500)
