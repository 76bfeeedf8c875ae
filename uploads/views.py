"""The Batch uploads page: the list, and a drawer over it. Who may is accounts/routes.py.

A drawer's URL is a page of its own, as on the Batch jobs page (batchjobs/views.py).
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.views.decorators.http import require_GET

from batchjobs.downloads import FilesGoneError
from console.htmx import poll_answer, vary_on_htmx, wants_fragment
from uploads.filters import list_params
from uploads.log import log_response
from uploads.models import BatchUpload
from uploads.pages import active_count, detail_context, list_context, live_refs, rows_of, view_of

# Any: `actor` and `htmx` are set by middleware.
Request = Any
SEARCH_FORM = ("upload-filter", "upload-search")  # ids of what asks for the list while its URL is replaced


@require_GET
def batch_upload_list(request: Request) -> HttpResponse:
    fragment = wants_fragment(request, "results")
    context = {**list_context(request), "fragment": fragment}
    template = "uploads/list.html#results" if fragment else "uploads/list.html"
    response = vary_on_htmx(render(request, template, context))
    if fragment and request.htmx.trigger in SEARCH_FORM:
        response["HX-Replace-Url"] = context["list_url"]
    return response


@require_GET
def batch_upload_detail(request: Request, ref: UUID) -> HttpResponse:
    fragment = wants_fragment(request, "drawer")
    template = "uploads/detail.html#fragment" if fragment else "uploads/detail.html"
    context = detail_context(request, _upload(request, ref), whole_page=not fragment)
    return vary_on_htmx(render(request, template, {**context, "oob": False}))


@require_GET
def batch_upload_live(request: Request) -> HttpResponseBase:
    """One poll for all that is active on the page: the rows `ref`, the drawer `open`. Swapped out of band."""
    refs, open_ref = live_refs(request.GET)
    account = request.actor.account
    mine = BatchUpload.objects.for_account(account).with_state()
    now = timezone.now()
    rows = rows_of(mine.filter(ref__in=refs), account, now)
    opened = mine.filter(ref=open_ref).first() if open_ref else None
    view = view_of(opened, account, now) if opened else None
    count = active_count(account)
    shown = [row.version for row in rows]
    state = "|".join([*shown, view.version if view else "", str(count), str(timezone.localdate()), str(request.actor)])
    context = {
        "rows": rows,
        "view": view,
        "nav_active": count,
        "polling": any(row.is_active for row in [*rows, *([view] if view else [])]),
        "list_query": list_params(QueryDict((request.GET.get("query") or "").removeprefix("?"))).urlencode(),
    }
    return poll_answer(request, "uploads/live.html", context, state)


@require_GET
def batch_upload_log(request: Request, ref: UUID) -> HttpResponseBase:
    upload = _upload(request, ref)
    try:
        return log_response(upload)
    except FilesGoneError as gone:
        return render(request, "uploads/gone.html", {"upload": upload, "gone": str(gone)}, status=404)


def _upload(request: Request, ref: UUID) -> BatchUpload:
    """Also one that the list no longer shows: links to it stay good."""
    uploads = BatchUpload.objects.for_account(request.actor.account).with_state()
    upload: BatchUpload = get_object_or_404(uploads, ref=ref)
    return upload
