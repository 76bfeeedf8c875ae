"""Answers to HTMX: fragments for it, whole pages for everybody else."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.cache import get_conditional_response
from django.utils.crypto import salted_hmac
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


def poll_answer(request: HttpRequest, template: str, context: dict[str, Any], state: str) -> HttpResponseBase:
    """The answer to a poll, swapped out of band; 304 as long as `state`, on which it depends, is the one asked with."""
    etag = f'"{salted_hmac(template, state).hexdigest()}"'
    unchanged = get_conditional_response(request, etag=etag)
    if unchanged is not None and unchanged.status_code == 304:
        return unchanged
    response = render(request, template, {**context, "etag": etag, "oob": True})
    response["ETag"] = etag
    response["Cache-Control"] = "no-store"
    return response
