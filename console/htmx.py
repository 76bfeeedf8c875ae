"""Answers to HTMX: fragments for it, whole pages for everybody else."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django_htmx.http import HttpResponseClientRedirect


def wants_fragment(request: HttpRequest, target: str) -> bool:
    """Whether HTMX puts the answer into the element `target`. Going back in the history asks for a page."""
    htmx: Any = request.htmx  # type: ignore[attr-defined]
    return bool(htmx) and not htmx.history_restore_request and htmx.target == target


def go_to(request: HttpRequest, url: str) -> HttpResponse:
    """A redirect after a POST: 303, or HX-Redirect for HTMX, which would follow a 303 into a fragment."""
    if request.htmx:  # type: ignore[attr-defined]
        return HttpResponseClientRedirect(url)
    response = HttpResponseRedirect(url)
    response.status_code = 303
    return response


def vary_on_htmx(response: HttpResponse) -> HttpResponse:
    """One URL, several answers: caches must keep them apart, and the browser must ask again."""
    response.headers["Vary"] = ", ".join(filter(None, [response.headers.get("Vary"), "HX-Request", "HX-Target"]))
    response.headers.setdefault("Cache-Control", "no-cache, private")
    return response
