"""What a file may hold: the reference of columns, and templates to start from."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET

from batchjobs.models import RecordType
from batchjobs.reference import TypeEntry, type_entries, type_entry

Request = Any


@require_GET
def columns_index(request: Request) -> HttpResponse:
    return redirect("columns_reference", RecordType.EVENT)


@require_GET
def columns_reference(request: Request, record_type: str) -> HttpResponse:
    """A page a record type."""
    context = {"entry": _entry(record_type), "entries": type_entries()}
    return render(request, "batchjobs/columns.html", context)


@require_GET
def columns_template(request: Request, record_type: str, form: str) -> HttpResponse:
    """A file to start from: `csv` or `ndjson`."""
    entry = _entry(record_type)
    templates = {
        "csv": (entry.csv_template, "text/csv; charset=utf-8"),
        "ndjson": (entry.json_template, "application/x-ndjson"),
    }
    if form not in templates:
        raise Http404
    text, content_type = templates[form]
    response = HttpResponse(text, content_type=content_type)
    response["Content-Disposition"] = f'attachment; filename="batchdesk-{record_type}.{form}"'
    response["X-Content-Type-Options"] = "nosniff"
    return response


def _entry(word: str) -> TypeEntry:
    try:
        return type_entry(word)
    except KeyError:
        raise Http404 from None
