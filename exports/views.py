"""The Exports page: the list, and drawers and dialogs over it. Who may is accounts/routes.py.

A drawer's URL is a page of its own, as on the Batch jobs page (batchjobs/views.py). So is that of a dialog: GET asks,
POST does it. What is refused is said where it was asked for, and nothing was changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.urls import Resolver404, resolve, reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST, require_safe

from batchjobs import states as job_states
from batchjobs.downloads import FilesGoneError
from console.htmx import go_to, poll_answer, vary_on_htmx, wants_fragment
from console.tables import url_with
from exports import services
from exports.definitions import NAME_MAX, ExportRefusedError
from exports.downloads import artifact_response
from exports.filters import DRAFT, list_params
from exports.forms import CopyForm, WhyForm
from exports.models import Export, ExportRun
from exports.pages.asks import export_url, run_url
from exports.pages.drawers import drawer_context, export_view, list_of, run_view
from exports.pages.listing import list_context, live_tokens, tabs_now
from exports.pages.rows import ExportRow, active_count, export_rows, exports_of, run_rows, runs_of
from exports.states import Action, ExportType, RunAction, TransitionRefusedError
from exports.summary import moment_words
from exports.why import NotAnAddressError, why

# Any: `actor` and `htmx` are set by middleware.
Request = Any
SEARCH_FORM = ("export-filter", "export-search")  # ids of what asks for the list while its URL is replaced
DRAWERS = ("export_detail", "export_run_detail", "export_run_definition")
REFUSED = (TransitionRefusedError, ExportRefusedError, job_states.TransitionRefusedError)


@require_GET
def export_list(request: Request) -> HttpResponse:
    fragment = wants_fragment(request, "results")
    context = {**list_context(request), "fragment": fragment}
    template = "exports/list.html#results" if fragment else "exports/list.html"
    response = vary_on_htmx(render(request, template, context))
    if fragment and request.htmx.trigger in SEARCH_FORM:
        response["HX-Replace-Url"] = context["list_url"]
    return response


@require_GET
def export_live(request: Request) -> HttpResponseBase:
    """One poll for all that is active on the page: the rows `row`, the drawer `open`. Swapped out of band."""
    export_ids, run_ids, opened = live_tokens(request.GET)
    by, now = request.actor, timezone.now()
    params = list_params(QueryDict((request.GET.get("query") or "").removeprefix("?")))
    rows = run_rows(runs_of(by.account).filter(pk__in=run_ids), by, now, params)
    exports = export_rows(exports_of(by.account).filter(pk__in=export_ids), by, now, params)
    view = _opened(request, opened, params)
    count = active_count(by.account)
    versions = [*(row.version for row in rows), *(row.version for row in exports), view.version if view else ""]
    state = "|".join([*versions, str(count), str(timezone.localdate()), str(by)])
    context = {
        "run_rows": rows,
        "export_rows": exports,
        "view": view,
        "tab": params.get("tab", ""),
        "tabs": lambda: tabs_now(by.account, params),  # counted only when something changed
        "nav_active": count,
        "polling": any(row.is_active for row in [*rows, *exports, *([view] if view else [])]),
        "list_query": params.urlencode(),
    }
    return poll_answer(request, "exports/live.html", context, state)


def _opened(request: Request, opened: tuple[str, int] | None, params: QueryDict) -> Any:
    """The drawer that is open, if it is one of a run: that of an export does not move."""
    if opened is None or opened[0] != "run":
        return None
    run = runs_of(request.actor.account).filter(pk=opened[1]).first()
    return run_view(run, request.actor, timezone.now(), params) if run else None


# Drawers.


@require_GET
def export_detail(request: Request, export_id: int) -> HttpResponse:
    return _export_page(request, _export(request, export_id))


@require_GET
def export_run_detail(request: Request, run_id: int) -> HttpResponse:
    return _run_page(request, _run(request, run_id))


@require_GET
def export_run_definition(request: Request, run_id: int) -> HttpResponse:
    """The definition as it was when the run began."""
    run = _run(request, run_id)
    if RunAction.VIEW not in services.run_actions_allowed(run, by=request.actor):
        return _run_page(request, run, refused=_("Support staff look after this export."), status=409)
    return _run_page(request, run, template="exports/definition.html")


@require_POST  # changes nothing, but an address has no place in a URL
def export_run_why(request: Request, run_id: int) -> HttpResponse:
    """Why a person is not in the file."""
    run = _run(request, run_id)
    form = WhyForm(request.POST)
    answer = None
    if form.is_valid():
        try:
            answer = why(run, form.cleaned_data["email"])
        except NotAnAddressError as refused:
            form.add_error("email", str(refused))
    status = 200 if answer else 422
    if wants_fragment(request, "run-why"):
        view = run_view(run, request.actor, timezone.now(), list_of(request, run))
        context = {"view": view, "why_form": form, "answer": answer}
        return vary_on_htmx(render(request, "exports/run.html#why", context, status=status))
    return _run_page(request, run, why_form=form, answer=answer, status=status)


@require_safe
def export_run_download(request: Request, run_id: int) -> HttpResponseBase:
    run = _run(request, run_id)
    try:
        return artifact_response(request, run)
    except FilesGoneError as gone:
        return render(request, "exports/gone.html", {"run": run, "gone": str(gone)}, status=404)
    except TransitionRefusedError as refused:
        return _run_page(request, run, refused=str(refused), status=409)


# What is asked of an export.


@require_http_methods(["GET", "POST"])
def export_copy(request: Request, export_id: int) -> HttpResponse:
    export = _export(request, export_id)
    if Action.COPY not in services.actions_allowed(export, by=request.actor):
        return _export_page(request, export, refused=_("Support staff look after this export."), status=409)

    def copy(name: str) -> Export:
        return services.export_copy(export=export, by=request.actor, name=name)

    return _copy(request, export, copy)


@require_http_methods(["GET", "POST"])
def export_run_copy(request: Request, run_id: int) -> HttpResponse:
    run = _run(request, run_id)
    if RunAction.COPY not in services.run_actions_allowed(run, by=request.actor):
        return _run_page(request, run, refused=_("This run cannot be copied now."), status=409)

    def copy(name: str) -> Export:
        return services.run_copy(run=run, by=request.actor, name=name)

    return _copy(request, run, copy)


def _copy(request: Request, of: Any, copy: Callable[[str], Export]) -> HttpResponse:
    """Asks for a new name, and leads to where the copy can be changed."""
    if request.method == "GET":
        name = _("Copy of %(name)s") % {"name": of.name}
        return _dialog(request, of, "copy", form=CopyForm(initial={"name": name[:NAME_MAX]}))
    form = CopyForm(request.POST)
    if not form.is_valid():
        return _dialog(request, of, "copy", form=form, status=422)
    try:
        made = copy(form.cleaned_data["name"])
    except REFUSED as refused:
        form.add_error("name", str(refused))
        return _dialog(request, of, "copy", form=form, status=422)
    messages.success(request, _("“%(name)s” is a draft now. Nothing runs until you schedule it.") % {"name": made.name})
    return go_to(request, reverse("export_edit", args=[made.pk]))


@require_http_methods(["GET", "POST"])
def export_delete(request: Request, export_id: int) -> HttpResponse:
    export = _export(request, export_id)
    if request.method == "GET":
        return _ask(request, export, Action.DELETE)
    try:
        services.export_delete(export=export, by=request.actor)
    except REFUSED as refused:
        return _export_page(request, _export(request, export_id), refused=str(refused), status=409)
    messages.success(request, _("“%(name)s” is deleted. The reports of its runs stay.") % {"name": export.name})
    return go_to(request, _list_url(request, tab=DRAFT))


@require_POST
def export_schedule(request: Request, export_id: int) -> HttpResponse:
    export = _export(request, export_id)
    try:
        export = services.export_schedule(export=export, by=request.actor)
    except REFUSED as refused:
        return _export_page(request, _export(request, export_id), refused=str(refused), status=409)
    if export.next_run_at is None:
        run = export.runs.order_by("-pk").first()
        messages.success(request, _("“%(name)s” is being made.") % {"name": export.name})
        assert run is not None  # noqa: S101  it was just started
        return go_to(request, run_url(QueryDict(), run))
    row = ExportRow(request.actor, timezone.now(), QueryDict(), export)
    words = {"name": export.name, "when": row.next_run}
    messages.success(request, _("“%(name)s” is scheduled. It runs next: %(when)s.") % words)
    return go_to(request, export_url(QueryDict(), export))


@require_http_methods(["GET", "POST"])
def export_unschedule(request: Request, export_id: int) -> HttpResponse:
    """What support staff set up becomes a standard export for good: that takes a box to be ticked."""
    export = _export(request, export_id)
    if request.method == "GET":
        return _ask(request, export, Action.UNSCHEDULE)
    try:
        services.export_unschedule(export=export, by=request.actor, for_good=request.POST.get("for_good") == "on")
    except ExportRefusedError as refused:
        return _dialog(request, export, "unschedule", refused=str(refused), status=422)
    except REFUSED as refused:
        return _export_page(request, _export(request, export_id), refused=str(refused), status=409)
    messages.success(request, _("“%(name)s” is unscheduled. You can edit it now.") % {"name": export.name})
    return go_to(request, _list_url(request, tab=DRAFT))


@require_POST
def export_run_now(request: Request, export_id: int) -> HttpResponse:
    export = _export(request, export_id)
    try:
        run = services.export_run_now(export=export, by=request.actor)
    except REFUSED as refused:
        return _export_page(request, _export(request, export_id), refused=str(refused), status=409)
    messages.success(request, _("“%(name)s” is being made, beside its schedule.") % {"name": export.name})
    return go_to(request, run_url(QueryDict(), run))


@require_http_methods(["GET", "POST"])
def export_resync(request: Request, export_id: int) -> HttpResponse:
    export = _export(request, export_id)
    if request.method == "GET":
        return _ask(request, export, Action.RESYNC)
    try:
        services.export_resync(export=export, by=request.actor)
    except REFUSED as refused:
        return _export_page(request, _export(request, export_id), refused=str(refused), status=409)
    messages.success(request, _("The next run of “%(name)s” sends everything.") % {"name": export.name})
    return go_to(request, export_url(list_params(request.GET), export))


# What is asked of a run.


@require_POST
def export_run_relaunch(request: Request, run_id: int) -> HttpResponse:
    return _run_action(
        request,
        run_id,
        lambda run: services.run_relaunch(run=run, by=request.actor),
        _("“%(name)s” is tried again."),
    )


@require_POST
def export_run_window_again(request: Request, run_id: int) -> HttpResponse:
    return _run_action(
        request,
        run_id,
        lambda run: services.run_window_again(run=run, by=request.actor),
        _("“%(name)s” is made again for the window of that run."),
    )


@require_http_methods(["GET", "POST"])
def export_run_cancel(request: Request, run_id: int) -> HttpResponse:
    if request.method == "GET":
        run = _run(request, run_id)
        if RunAction.CANCEL not in services.run_actions_allowed(run, by=request.actor):
            return _run_page(request, run, refused=_("This run has ended in the meantime."), status=409)
        return _dialog(request, run, "cancel")

    def cancel(run: ExportRun) -> ExportRun:
        services.run_cancel(run=run, by=request.actor)
        return run

    return _run_action(request, run_id, cancel, _("“%(name)s” stops. Nothing is delivered."))


def _run_action(request: Request, run_id: int, act: Callable[[ExportRun], ExportRun], said: str) -> HttpResponse:
    run = _run(request, run_id)
    try:
        made = act(run)
    except REFUSED as refused:
        return _run_page(request, _run(request, run_id), refused=str(refused), status=409)
    messages.success(request, said % {"name": run.name})
    return go_to(request, run_url(QueryDict(), made))


# Pages.


def _export(request: Request, export_id: int) -> Any:
    return get_object_or_404(exports_of(request.actor.account), pk=export_id)


def _run(request: Request, run_id: int) -> Any:
    return get_object_or_404(runs_of(request.actor.account), pk=run_id)


def _list_url(request: Request, **changes: str) -> str:
    params = list_params(request.GET)
    for name in ("sort", "after", "before"):  # of the tab before
        params.pop(name, None)
    return url_with(reverse("export_list"), params, **changes)


def _export_page(request: Request, export: Any, *, refused: str = "", status: int = 200) -> HttpResponse:
    view = export_view(export, request.actor, timezone.now(), list_of(request, export))
    return _drawer(request, view, "exports/detail.html", {"refused": refused}, status=status)


def _run_page(
    request: Request, run: Any, *, template: str = "exports/run.html", status: int = 200, **more: Any
) -> HttpResponse:
    view = run_view(run, request.actor, timezone.now(), list_of(request, run))
    return _drawer(request, view, template, {"why_form": WhyForm(), **more}, status=status)


def _drawer(request: Request, view: Any, template: str, more: dict[str, Any], *, status: int) -> HttpResponse:
    fragment = wants_fragment(request, "drawer")
    context = {**drawer_context(request, view, whole_page=not fragment), **more, "oob": False}
    name = f"{template}#fragment" if fragment else template
    return vary_on_htmx(render(request, name, context, status=status))


def _ask(request: Request, export: Any, action: Action) -> HttpResponse:
    """A question about an export, if what it is about may be asked now."""
    if action not in services.actions_allowed(export, by=request.actor):
        state = export.get_state_display()
        refused = _("This cannot be done with an export that is “%(state)s”.") % {"state": state}
        return _export_page(request, export, refused=refused, status=409)
    return _dialog(request, export, str(action))


def _dialog(request: Request, of: Any, kind: str, *, status: int = 200, **more: Any) -> HttpResponse:
    """A dialog over the list, `kind`: copy, delete, unschedule, resync, cancel."""
    params = list_of(request, of)
    is_run = isinstance(of, ExportRun)
    context: dict[str, Any] = {
        "kind": kind,
        "of": of,
        "action": request.get_full_path(),
        "back": url_with(reverse("export_list"), params),
        # Over a drawer, closing the dialog brings that one back.
        "over": _drawer_under(request),
        "list_query": params.urlencode(),
        "next_run": "" if is_run else _next_words(request, of),
        "by_support": not is_run and of.type == ExportType.INCREMENTAL_CUSTOM,
        "view": None,
        **more,
    }
    if wants_fragment(request, "drawer"):
        return vary_on_htmx(render(request, "exports/dialog.html#dialog", context, status=status))
    context = {**list_context(request, params), **context}
    return vary_on_htmx(render(request, "exports/dialog.html", context, status=status))


def _next_words(request: Request, export: Export) -> str:
    """The next run with day and zone, within a sentence."""
    schedule = ExportRow(request.actor, timezone.now(), QueryDict(), export).schedule
    return moment_words(export.next_run_at, schedule.zone if schedule else None) if export.next_run_at else ""


def _drawer_under(request: Request) -> str:
    """The URL of the drawer that is open where a dialog is asked for; empty over the list alone."""
    path = request.htmx.current_url_abs_path if request.htmx else None
    if path is None:
        return ""
    try:
        found = resolve(path.partition("?")[0])
    except Resolver404:
        return ""
    return path if found.url_name in DRAWERS else ""
