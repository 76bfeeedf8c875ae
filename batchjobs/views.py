"""The Batch jobs page: the list, and drawers over it. Who may is accounts/routes.py.

A drawer's URL is a page of its own: HTMX gets the drawer, everybody else the list with the drawer open in it.
Its query string is the list's, so that closing leads back to the same rows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django.contrib import messages
from django.http import HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from audience.models import Database, DataTable
from batchjobs import downloads, resumable, services
from batchjobs.filters import list_params
from batchjobs.forms import BatchJobForm, SavedViewForm
from batchjobs.looking import file_look
from batchjobs.models import BatchJob
from batchjobs.pages import (
    DETAIL_RELATIONS,
    ROW_RELATIONS,
    detail_context,
    job_url,
    list_context,
    live_job_ids,
)
from batchjobs.progress import JobRow, JobView
from batchjobs.reference import type_entry
from batchjobs.refusals import JobRefusedError
from batchjobs.saved_views import (
    ViewExistsError,
    ViewRefusedError,
    savedview_delete,
    savedview_save,
    savedviews_of,
)
from batchjobs.states import TransitionRefusedError
from console.htmx import go_to, poll_answer, vary_on_htmx, wants_fragment
from console.tables import url_with

# Any: `actor` and `htmx` are set by middleware.
Request = Any
SEARCH_FORM = ("job-filter", "job-search", "job-by")  # ids of what asks for the list while its URL is replaced


@require_GET
def batchjob_list(request: Request) -> HttpResponse:
    fragment = wants_fragment(request, "results")
    template = "batchjobs/list.html#results" if fragment else "batchjobs/list.html"
    # Another “Search by” takes another field; while somebody types in it, it is left alone.
    context = {**list_context(request), "fragment": fragment, "new_field": request.htmx.trigger_name == "by"}
    response = vary_on_htmx(render(request, template, context))
    if fragment and request.htmx.trigger in SEARCH_FORM:
        response["HX-Replace-Url"] = context["list_url"]  # without what the form sends but the list ignores
    return response


@require_http_methods(["GET", "POST"])
def batchjob_new(request: Request) -> HttpResponse:
    return _job_form(request)


@require_http_methods(["GET", "POST"])
def batchjob_again(request: Request, job_id: int) -> HttpResponse:
    """The same form about the file of a job that ended without taking it in."""
    job = _job(request, job_id)
    if not JobView.of(job, by=request.actor).can_rerun:
        return _detail_page(request, job, refused=_("The file of this job cannot be run again."), status=409)
    return _job_form(request, again=job)


def _job_form(request: Request, *, again: BatchJob | None = None) -> HttpResponse:
    about: dict[str, Any] = {**_who_asks(request), "again": again}
    if request.method == "GET":
        return _new_page(request, BatchJobForm(**about, asked=request.GET))
    form = BatchJobForm(request.POST, request.FILES, **about)
    if not form.is_valid():
        return _new_page(request, form, status=422)
    data = form.cleaned_data
    origin = form.origin
    uploaded = None if again or origin else data["upload"]
    sent = None if again or origin or uploaded else data["file"]
    try:
        job = services.batchjob_create(
            by=request.actor,
            content=sent,
            file_name=sent.name if sent else "",
            upload=uploaded,
            again=again,
            origin=origin,
            name=data["name"],
            record_type=data["record_type"],
            event_name=data["event_name"],
            tags=data["tags"],
            options=form.options,
            dry_run=data["dry_run"],
        )
    except JobRefusedError as refused:
        form.add_error(refused.field if refused.field in form.fields else None, refused.message)
        return _new_page(request, form, status=422)
    messages.success(request, _("“%(name)s” is in the queue.") % {"name": job.name})
    return go_to(request, reverse("batchjob_detail", args=[job.pk]))


@require_POST  # changes nothing, but names of columns are too long for a URL
def batchjob_look(request: Request) -> HttpResponse:
    """The parts of the form that depend on where the data is and on what is chosen: as it stands in the form."""
    number = request.GET.get("again", "")
    again = _job(request, int(number)) if number.isascii() and number.isdecimal() and len(number) < 19 else None
    form = BatchJobForm(request.POST, **_who_asks(request), again=again)
    form.is_valid()  # what is missing so far does not matter
    form.errors.clear()
    if wants_fragment(request, "job-choices"):
        return render(request, "batchjobs/new.html#choices", {"form": form})
    elsewhere = wants_fragment(request, "job-origin")
    # A new file names its job as soon as it is chosen (static/upload.js).
    renamed = bool(elsewhere or form.origin) and form.suggest()
    part = "from_elsewhere" if elsewhere else "questions"
    return render(request, f"batchjobs/new.html#{part}", {**_about(form), "renamed": renamed, "oob": True})


def _who_asks(request: Request) -> dict[str, Any]:
    by = request.actor
    first = Database.objects.for_account(by.account).order_by("pk").first()
    return {
        "user": by.user,
        "database": first,
        "uploads": resumable.uploads(by=by),
        "uploads_open": resumable.uploads_open(by=by),
        "tables": DataTable.objects.for_account(by.account).filter(database=first).order_by("name", "pk"),
    }


def _about(form: BatchJobForm) -> dict[str, Any]:
    """What the form says of the file, as far as that is here."""
    file = form.looked_at
    word = form.chosen_type
    look = None
    if file:
        event_name = str(form["event_name"].value() or "")
        look = file_look(file, record_type=word, options=form.options, event_name=event_name)
    return {"form": form, "look": look, "entry": type_entry(word)}


@require_POST
def batchjob_answer(request: Request, job_id: int) -> HttpResponse:
    """Runs a file again that stopped with a question: `day_first`, or the `array` of a JSON file."""
    job = _job(request, job_id)
    day_first = {"true": True, "false": False}.get(request.POST.get("day_first", ""))
    array = request.POST.get("array", "")
    try:
        again = services.batchjob_answer(job=job, by=request.actor, day_first=day_first, array=array)
    except (TransitionRefusedError, JobRefusedError) as refused:
        return _detail_page(request, job, refused=str(refused), status=409)
    messages.success(request, _("“%(name)s” is in the queue.") % {"name": again.name})
    return go_to(request, reverse("batchjob_detail", args=[again.pk]))


@require_GET
def batchjob_detail(request: Request, job_id: int) -> HttpResponse:
    return _detail_page(request, _job(request, job_id))


@require_POST
def batchjob_cancel(request: Request, job_id: int) -> HttpResponse:
    job = _job(request, job_id)
    try:
        services.batchjob_cancel(job=job, by=request.actor)
    except TransitionRefusedError as refused:
        return _detail_page(request, _job(request, job_id), refused=str(refused), status=409)
    if job.is_active:
        messages.success(request, _("“%(name)s” stops after the rows it is working on.") % {"name": job.name})
    else:
        messages.success(request, _("“%(name)s” is canceled. Nothing was changed.") % {"name": job.name})
    return go_to(request, job_url(list_params(request.GET), job))


@require_POST
def batchjob_run_anyway(request: Request, job_id: int) -> HttpResponse:
    job = _job(request, job_id)
    try:
        again = services.batchjob_run_anyway(job=job, by=request.actor)
    except TransitionRefusedError as refused:
        return _detail_page(request, job, refused=str(refused), status=409)
    messages.success(request, _("“%(name)s” is in the queue.") % {"name": again.name})
    return go_to(request, reverse("batchjob_detail", args=[again.pk]))


@require_GET
def batchjob_live(request: Request) -> HttpResponseBase:
    """One poll for all that is active on the page: the rows `job`, the drawer `open`. Swapped out of band."""
    row_ids, open_id = live_job_ids(request.GET)
    mine = BatchJob.objects.for_account(request.actor.account).imports()
    now = timezone.now()
    jobs = list(mine.filter(pk__in=row_ids).with_progress().select_related(*ROW_RELATIONS))
    opened = mine.filter(pk=open_id).select_related(*DETAIL_RELATIONS).first() if open_id else None
    view = JobView.of(opened, by=request.actor, now=now) if opened else None
    count = services.active_count(request.actor.account)
    seen = [f"{job.pk}:{job.status}:{job.next_chunk}" for job in jobs]
    state = "|".join([*seen, view.version if view else "", str(count), str(timezone.localdate()), str(request.actor)])
    context = {
        "rows": [JobRow(job, now) for job in jobs],
        "view": view,
        "nav_active": count,
        "polling": any(job.is_active for job in [*jobs, *([opened] if opened else [])]),
        "list_query": list_params(QueryDict((request.GET.get("query") or "").removeprefix("?"))).urlencode(),
    }
    return poll_answer(request, "batchjobs/live.html", context, state)


@require_http_methods(["GET", "POST"])
def batchjob_view_new(request: Request) -> HttpResponse:
    """Keeps the search of the query string under a name."""
    params = list_params(request.GET)
    form = SavedViewForm(request.POST if request.method == "POST" else None)
    if not form.is_valid():
        return _view_dialog(request, {"form": form}, status=422 if form.is_bound else 200)
    name = form.cleaned_data["name"]
    try:
        view = savedview_save(by=request.actor, name=name, params=params, replace=form.agreed)
    except ViewRefusedError as refused:
        form.add_error(None, str(refused))
        return _view_dialog(request, {"form": form}, status=422)
    except ViewExistsError:
        return _view_dialog(request, {"form": form, "exists": name}, status=422)
    messages.success(request, _("The view “%(name)s” is saved.") % {"name": view.name})
    return go_to(request, f"{reverse('batchjob_list')}?{view.query}")


@require_http_methods(["GET", "POST"])
def batchjob_view_delete(request: Request, view_id: int) -> HttpResponse:
    view = get_object_or_404(savedviews_of(request.actor), pk=view_id)
    if request.method == "GET":
        return _view_dialog(request, {"deleting": view})
    savedview_delete(view=view)
    messages.success(request, _("The view “%(name)s” is deleted. No job was changed.") % {"name": view.name})
    return go_to(request, url_with(reverse("batchjob_list"), list_params(request.GET)))


@require_GET
def batchjob_source(request: Request, job_id: int) -> HttpResponseBase:
    return _download(request, job_id, downloads.source_response)


@require_GET
def batchjob_error_log(request: Request, job_id: int) -> HttpResponseBase:
    return _download(request, job_id, downloads.error_log_response)


@require_GET
def batchjob_rejected_rows(request: Request, job_id: int) -> HttpResponseBase:
    return _download(request, job_id, partial(downloads.rejected_rows_response, formula_safe=True))


def _download(request: Request, job_id: int, made: Callable[[BatchJob], HttpResponseBase]) -> HttpResponseBase:
    job = _job(request, job_id)
    try:
        return made(job)
    except downloads.FilesGoneError as gone:
        return render(request, "batchjobs/gone.html", {"job": job, "gone": str(gone)}, status=404)


@require_GET
def batchjob_skipped_rows(request: Request, job_id: int) -> HttpResponseBase:
    return downloads.skipped_rows_response(_job(request, job_id))


def _job(request: Request, job_id: int) -> BatchJob:
    jobs = BatchJob.objects.for_account(request.actor.account).imports().select_related(*DETAIL_RELATIONS)
    job: BatchJob = get_object_or_404(jobs, pk=job_id)
    return job


def _detail_page(request: Request, job: BatchJob, *, refused: str = "", status: int = 200) -> HttpResponse:
    fragment = wants_fragment(request, "drawer")
    template = "batchjobs/detail.html#fragment" if fragment else "batchjobs/detail.html"
    context = detail_context(request, job, whole_page=not fragment)
    return vary_on_htmx(render(request, template, {**context, "refused": refused, "oob": False}, status=status))


def _new_page(request: Request, form: BatchJobForm, *, status: int = 200) -> HttpResponse:
    back = url_with(reverse("batchjob_list"), list_params(request.GET))
    context: dict[str, Any] = {**_about(form), "back": back, "action": request.path}
    if wants_fragment(request, "job-form"):
        return vary_on_htmx(render(request, "batchjobs/new.html#form", context, status=status))
    if wants_fragment(request, "drawer"):
        return vary_on_htmx(render(request, "batchjobs/new.html#drawer", context, status=status))
    return vary_on_htmx(render(request, "batchjobs/new.html", {**list_context(request), **context}, status=status))


def _view_dialog(request: Request, context: dict[str, Any], *, status: int = 200) -> HttpResponse:
    """A question about saved views over the list: `form` (and `exists`, a name that is taken), or `deleting`."""
    params = list_params(request.GET)
    context |= {"back": url_with(reverse("batchjob_list"), params), "list_query": params.urlencode()}
    if wants_fragment(request, "drawer"):
        return vary_on_htmx(render(request, "batchjobs/view.html#dialog", context, status=status))
    return vary_on_htmx(render(request, "batchjobs/view.html", {**list_context(request), **context}, status=status))
