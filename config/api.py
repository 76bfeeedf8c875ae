"""The JSON API: routers, errors and the page that documents it. Who may is accounts/routes.py."""

from __future__ import annotations

import logging
from typing import Any

from django.core.exceptions import BadRequest, RequestDataTooBig, SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.shortcuts import render
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError
from ninja.security import HttpBearer

from accounts.problems import problem_response
from audience.api import router as audience_router
from batchjobs.api import router as batchjobs_router
from batchjobs.api_types import router as record_types_router
from batchjobs.downloads import FilesGoneError
from batchjobs.services import IdempotencyConflictError, JobRefusedError
from batchjobs.states import TransitionRefusedError
from console.cursors import CursorError
from exports.api import router as exports_router
from exports.api_runs import router as export_runs_router
from exports.api_types import router as export_types_router
from exports.definitions import ExportRefusedError
from exports.states import TransitionRefusedError as ExportTransitionRefusedError

log = logging.getLogger("django.request")

DESCRIPTION = gettext_lazy(
    "Send files in and follow them, and let exports take data out. "
    "Every call needs an API key as `Authorization: Bearer bd_live_…`. "
    "Large files go to `/api/v1/uploads` first, with any client of tus 1.0 and `filename` in its metadata: a "
    "connection that breaks costs what had not arrived. The job then takes the last part of the upload's address as "
    "`upload`. "
    "Errors are RFC 9457 problem details. Lists answer `{items, next}`; send `next` back as `cursor`."
)


class ApiKeyBearer(HttpBearer):
    """Documents the scheme. The key itself was checked by accounts.middleware before the view was reached."""

    def authenticate(self, request: HttpRequest, token: str) -> Any:
        return getattr(request, "actor", None)


api = NinjaAPI(
    title="Batchdesk",
    version="1",
    description=str(DESCRIPTION),
    urls_namespace="api",
    docs_url=None,
    auth=ApiKeyBearer(),
)
api.add_router("/batch-jobs", batchjobs_router)
api.add_router("", record_types_router)
api.add_router("", audience_router)
api.add_router("", exports_router)
api.add_router("", export_runs_router)
api.add_router("", export_types_router)


@api.exception_handler(ValidationError)
def _invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    errors = [
        {
            "field": str(_last_name(e.get("loc", ()))),
            "message": str(e.get("msg", "")).removeprefix("Value error, "),
        }
        for e in error.errors
    ]
    detail = "; ".join(f"{e['field']}: {e['message']}" for e in errors)
    return problem_response(422, detail, errors=errors)


def _last_name(loc: Any) -> Any:
    names = [part for part in loc if isinstance(part, str)]
    return names[-1] if names else ""


@api.exception_handler(JobRefusedError)
@api.exception_handler(ExportRefusedError)
def _refused(request: HttpRequest, error: JobRefusedError | ExportRefusedError) -> HttpResponse:
    return problem_response(422, error.message, errors=[{"field": error.field, "message": error.message}])


@api.exception_handler(IdempotencyConflictError)
@api.exception_handler(TransitionRefusedError)
@api.exception_handler(ExportTransitionRefusedError)
def _conflict(request: HttpRequest, error: Exception) -> HttpResponse:
    return problem_response(409, str(error))


@api.exception_handler(CursorError)
def _bad_cursor(request: HttpRequest, error: CursorError) -> HttpResponse:
    return problem_response(400, _("The cursor does not belong to this list and sort. Start without one."))


@api.exception_handler(Http404)
def _not_found(request: HttpRequest, error: Http404) -> HttpResponse:
    gone = isinstance(error, FilesGoneError)
    return problem_response(404, f"{error}." if gone else _("There is nothing at this address."))


@api.exception_handler(HttpError)
def _http_error(request: HttpRequest, error: HttpError) -> HttpResponse:
    return problem_response(error.status_code, str(error))


@api.exception_handler(BadRequest)
@api.exception_handler(SuspiciousOperation)
@api.exception_handler(MultiPartParserError)
@api.exception_handler(UnreadablePostError)
def _unreadable(request: HttpRequest, error: Exception) -> HttpResponse:
    if isinstance(error, RequestDataTooBig):
        return problem_response(413, _("The request is too large."))
    return problem_response(400, _("The request cannot be read: its form data is malformed or breaks off."))


@api.exception_handler(Exception)
def _crashed(request: HttpRequest, error: Exception) -> HttpResponse:
    log.error("api_error %s", request.path, exc_info=error)
    return problem_response(500, _("Batchdesk made a mistake. It has been logged; try again, or tell support staff."))


def not_found(request: HttpRequest) -> HttpResponse:
    """Any other address under /api/."""
    return problem_response(404, _("There is nothing at this address."))


def docs(request: HttpRequest) -> HttpResponse:
    """The reference for people, drawn from the OpenAPI document without any script."""
    schema = api.get_openapi_schema()
    components = schema["components"]["schemas"]
    operations = [
        {
            "method": method.upper(),
            "path": path,
            "summary": operation.get("summary", ""),
            "description": _marked(operation.get("description", "")),
            "id": operation["operationId"],
            "parameters": [_parameter(p) for p in operation.get("parameters", [])] + _body(operation, components),
            "answers": [(code, _schema_name(answer)) for code, answer in operation["responses"].items()],
        }
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]
    models = [
        {
            "name": name,
            "description": _marked(model.get("description", "")),
            "fields": [
                {"name": field, "type": _type(about), "description": _marked(about.get("description", ""))}
                for field, about in model.get("properties", {}).items()
            ],
        }
        for name, model in components.items()
        if name.endswith(("Out", "In")) or name == "Problem"
    ]
    return render(
        request,
        "accounts/api_docs.html",
        {"description": _marked(str(DESCRIPTION)), "operations": operations, "models": models},
    )


def _marked(text: str) -> SafeString:
    """Escaped, with what stands between backticks as code."""
    parts = enumerate(text.split("`"))
    return format_html_join("", "{}", ((format_html("<code>{}</code>", p) if n % 2 else p,) for n, p in parts))


def _parameter(parameter: dict[str, Any]) -> dict[str, Any]:
    about = parameter["schema"]
    return {
        "name": parameter["name"],
        "where": parameter["in"],
        "type": _type(about),
        "required": parameter.get("required", False),
        "description": _marked(about.get("description", "") or parameter.get("description", "")),
    }


def _body(operation: dict[str, Any], components: dict[str, Any]) -> list[dict[str, Any]]:
    content = operation.get("requestBody", {}).get("content", {})
    found = []
    for media, body in content.items():
        model = body["schema"]
        if "$ref" in model:
            model = components[model["$ref"].rpartition("/")[2]]
        for field, about in model.get("properties", {}).items():
            found.append(
                {
                    "name": field,
                    "where": "form" if "form" in media else "body",
                    "type": _type(about),
                    "required": field in model.get("required", []),
                    "description": _marked(about.get("description", "")),
                }
            )
    return found


def _type(about: dict[str, Any]) -> str:
    if "$ref" in about:
        return str(about["$ref"].rpartition("/")[2])
    if "anyOf" in about:
        return " | ".join(_type(one) for one in about["anyOf"])
    if about.get("type") == "array":
        return f"[{_type(about.get('items', {}))}]"
    return str(about.get("format") or about.get("type") or "any")


def _schema_name(answer: dict[str, Any]) -> str:
    for body in answer.get("content", {}).values():
        return _type(body["schema"])
    return ""
