"""The wizard that makes and edits a draft. Who may is accounts/routes.py.

A step is a page of its own, the list with the drawer open; HTMX gets the drawer. "Continue" saves the step and leads
to the next one, "Save as draft" to the list. Buttons named `do` change the form and save nothing.
"""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from console.htmx import go_to, vary_on_htmx, wants_fragment
from exports import definitions, services, sources
from exports.conditions import condition
from exports.definitions import ExportRefusedError
from exports.models import Export
from exports.pages.listing import list_context
from exports.sources import SourceError
from exports.states import Action, ExportType, TransitionRefusedError
from exports.summary import definition_words
from exports.wizard import LAST, STEPS, Step, step_of, step_wanted
from exports.wizard.columns import ColumnsForm
from exports.wizard.forms import StepForm, stamp_of
from exports.wizard.when import WhenForm

# Any: `actor` and `htmx` are set by middleware.
Request = Any
PARTS = ("export-questions", "export-file-name")  # what of the form HTMX asks for again while somebody chooses


@require_http_methods(["GET", "POST"])
def export_new(request: Request) -> HttpResponse:
    """The first step of an export that is not there yet."""
    step, export = STEPS[0], definitions.blank(request.actor.account)
    if request.method == "GET":
        return _page(request, export, step, step.form(export=export, by=request.actor))
    form = step.form(request.POST, export=export, by=request.actor)
    if "do" in request.POST:
        return _changed(request, export, step, form)
    if not form.is_valid():
        return _page(request, export, step, form, status=422)
    saves = request.POST.get("go") == "save"
    try:
        export = services.export_create(by=request.actor, definition=form.changes, step=1 if saves else 2)
    except ExportRefusedError as refused:
        form.refuse(refused)
        return _page(request, export, step, form, status=422)
    return _saved(request, export) if saves else _go_on(request, export, STEPS[1])


@require_http_methods(["GET", "POST"])
def export_edit(request: Request, export_id: int) -> HttpResponse:
    export = _export(request, export_id)
    step = step_wanted(request.GET.get("step", ""), export)
    if Action.EDIT not in services.actions_allowed(export, by=request.actor):
        return _refused(request, _("Only a draft can be edited. “%(name)s” is none now.") % {"name": export.name})
    if request.method == "GET":
        return _page(request, export, step, step.form(export=export, by=request.actor))
    form = step.form(request.POST, export=export, by=request.actor)
    if "do" in request.POST:
        return _changed(request, export, step, form)
    return (_finish if step.number == LAST else _submit)(request, export, step, form)


def _submit(request: Request, export: Export, step: Step, form: StepForm) -> HttpResponse:
    """Saves a step, if it is good, and goes where the button says."""
    if not form.is_valid():
        return _page(request, export, step, form, status=422)
    if form.stamp != request.POST.get("stamp", form.stamp):
        return _page(request, export, step, form, overtaken=True, status=422)
    saves = request.POST.get("go") == "save"
    following = step if saves else STEPS[step.number]
    try:
        export = _save(request, export, form, step=following.number)
    except ExportRefusedError as refused:
        form.refuse(refused)
        return _page(request, export, step, form, status=422)
    except TransitionRefusedError as refused:
        return _refused(request, str(refused))
    return _saved(request, export) if saves else _go_on(request, export, following)


@require_POST  # changes nothing, but a filter is too long for a URL
def export_columns(request: Request, export_id: int) -> HttpResponse:
    """Columns and rules after one of the form's buttons, or after a choice on which others depend."""
    export = _export(request, export_id)
    form = _columns_form(request, export)
    form.looked_at()
    form.act(request.POST.get("do", ""))
    response = render(request, "exports/wizard/_columns.html", _context(request, export, STEPS[1], form))
    response["HX-Trigger-After-Swap"] = "look"
    return response


@require_POST
def export_count(request: Request, export_id: int) -> HttpResponse:
    """How many rows the filter of the form matches."""
    form = _columns_form(request, _export(request, export_id))
    return render(request, "exports/wizard/_count.html", {"count": _count(form)})


@require_POST
def export_preview(request: Request, export_id: int) -> HttpResponse:
    """The first rows of the file as the form has it."""
    form = _columns_form(request, _export(request, export_id))
    return render(request, "exports/wizard/_preview.html", {"preview": _preview(form)})


@require_POST
def export_next_runs(request: Request, export_id: int) -> HttpResponse:
    export = _export(request, export_id)
    form = WhenForm(request.POST, export=export, by=request.actor)
    return render(request, "exports/wizard/_next_runs.html", {"form": form})


def _export(request: Request, export_id: int) -> Export:
    exports = Export.objects.for_account(request.actor.account).select_related("account", "database", "destination")
    export: Export = get_object_or_404(exports, pk=export_id)
    return export


def _columns_form(request: Request, export: Export) -> ColumnsForm:
    return ColumnsForm(request.POST, export=export, by=request.actor)


def _save(request: Request, export: Export, form: StepForm, *, step: int) -> Export:
    """Saves what the step changed. Other data have other columns: those that no longer fit begin anew.

    Raises ExportRefusedError, TransitionRefusedError.
    """
    before = definitions.to_json(export)
    changes = {key: value for key, value in form.changes.items() if before[key] != value}
    try:
        return services.export_update(export=export, by=request.actor, changes=changes, step=step)
    except ExportRefusedError as refused:
        if refused.field not in ("columns", "filter") or refused.field in changes:
            raise
    saved = services.export_update(
        export=export, by=request.actor, changes={**changes, "columns": None, "filter": None}, step=step
    )
    text = _("Columns and filter did not fit any more. Choose them anew.")
    messages.warning(request, text)
    return saved


def _finish(request: Request, export: Export, step: Step, form: StepForm) -> HttpResponse:
    if request.POST.get("go") == "save":
        return _saved(request, export)
    if request.POST.get("stamp", "") not in ("", _whole_stamp(export)):
        return _page(request, export, step, form, overtaken=True, status=422)
    try:
        export = services.export_schedule(export=export, by=request.actor)
    except ExportRefusedError:
        return _page(request, export, step, form, status=422)  # the page says all of them
    except TransitionRefusedError as refused:
        return _refused(request, str(refused))
    if export.next_run_at:
        messages.success(request, _("“%(name)s” is scheduled.") % {"name": export.name})
    else:
        messages.success(request, _("“%(name)s” is being made.") % {"name": export.name})
    return go_to(request, _back())


def _saved(request: Request, export: Export) -> HttpResponse:
    messages.success(request, _("“%(name)s” is kept as a draft.") % {"name": export.name})
    return go_to(request, _back())


def _refused(request: Request, sentence: str) -> HttpResponse:
    messages.error(request, sentence)
    return go_to(request, _back())


def _go_on(request: Request, export: Export, step: Step) -> HttpResponse:
    url = step_url(export, step)
    if not wants_fragment(request, "drawer"):
        return go_to(request, url)
    export = _export(request, export.pk)
    response = _page(request, export, step, step.form(export=export, by=request.actor))
    response["HX-Push-Url"] = url
    return response


def step_url(export: Export, step: Step) -> str:
    if export.pk is None:
        return reverse("export_new")
    return f"{reverse('export_edit', args=[export.pk])}?step={step.number}"


def _back() -> str:
    return reverse("export_list")


def _changed(request: Request, export: Export, step: Step, form: StepForm) -> HttpResponse:
    """The form after one of its own buttons; nothing is saved."""
    form.looked_at()
    action = request.POST.get("do", "")
    form.act(action)
    return _page(request, export, step, form, look=action == "look")


def _page(
    request: Request,
    export: Export,
    step: Step,
    form: StepForm,
    *,
    overtaken: bool = False,
    look: bool = False,
    status: int = 200,
) -> HttpResponse:
    context = {**_context(request, export, step, form), "overtaken": overtaken}
    if look and isinstance(form, ColumnsForm):
        context |= {"count": _count(form), "preview": _preview(form)}
    if any(wants_fragment(request, part) for part in PARTS):
        return vary_on_htmx(render(request, "exports/wizard/step.html#form", context, status=status))
    if wants_fragment(request, "drawer"):
        return vary_on_htmx(render(request, "exports/wizard/step.html#drawer", context, status=status))
    return vary_on_htmx(render(request, "exports/wizard/step.html", {**_behind(request), **context}, status=status))


def _behind(request: Request) -> dict[str, Any]:
    """What the page over which the drawer stands shows."""
    return {"over": "exports/list.html", **list_context(request)}


def _context(request: Request, export: Export, step: Step, form: StepForm) -> dict[str, Any]:
    context: dict[str, Any] = {
        "export": export,
        "step": step,
        "steps": [(one, step_url(export, one) if one.number <= export.step else "") for one in STEPS],
        "form": form,
        "action": step_url(export, step),
        "before": step_url(export, STEPS[step.number - 2]) if step.number > 1 else "",
        "back": _back(),
        "is_last": step.number == LAST,
        "stamp": form.stamp,
    }
    if step.number == LAST:
        context |= {
            "stamp": _whole_stamp(export),
            "sections": definition_words(export, counted=True),
            "problems": [
                (problem.message, at, step_url(export, at))
                for problem in definitions.problems_of(export)
                for at in [step_of(problem.field)]
            ],
            "runs_now": export.type == ExportType.ONE_SHOT and not export.run_at,
        }
    return context


def _whole_stamp(export: Export) -> str:
    return stamp_of(export, definitions.to_json(export))


def _count(form: ColumnsForm) -> dict[str, Any]:
    """{"match", "whole"}: numbers, None for what takes too long; {"trouble"}: why there are none."""
    definition = definitions.definition_of(form.export)
    try:
        rows = definition.rows(filtered=False)
        whole = sources.count(rows)
        if not form.filter_now:
            return {"match": whole, "whole": whole}
        matching = rows.filter(condition(form.filter_now, form.known))
        return {"match": sources.count(matching), "whole": whole}
    except SourceError as error:
        return {"trouble": error.sentence}


def _preview(form: ColumnsForm) -> dict[str, Any]:
    """{"headers", "rows"}; rows are None if that takes too long; {"trouble"}: why there are none."""
    definition = definitions.definition_of(form.export)
    pairs = form.pairs
    try:
        rows = definition.rows(filtered=False)
        if form.filter_now:
            rows = rows.filter(condition(form.filter_now, form.known))
        found = sources.preview(rows, pairs, form.known) if pairs else []
    except SourceError as error:
        return {"trouble": error.sentence}
    return {"headers": [pair["header"] for pair in pairs], "rows": found}
