"""Resumable uploads, tus 1.0 (https://tus.io/protocols/resumable-upload): core, creation, termination, expiration.

The same views under two addresses: /batch-jobs/uploads/ for the page, /api/v1/uploads for programs. Errors are
problem details (accounts/problems.py) in both.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from functools import wraps
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.urls import reverse
from django.utils.cache import patch_cache_control
from django.utils.http import http_date
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from accounts.problems import is_api, problem_response
from batchjobs import resumable
from batchjobs.bodies import patience
from batchjobs.models import SourceFile
from batchjobs.services import JobRefusedError
from console.htmx import go_to

Request = Any  # `actor` is set by middleware
VERSION = "1.0.0"
EXTENSIONS = "creation,termination,expiration"
PATCH_TYPE = "application/offset+octet-stream"
DIGITS = 18  # of the numbers in headers


class ProtocolError(Exception):
    """A request that the protocol refuses. Its answer is a problem."""

    def __init__(self, status: int, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def tus(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Turns what is refused into problems, and names the protocol's version in every answer."""

    @wraps(view)
    def answered(request: Request, **where: Any) -> HttpResponse:
        try:
            response = view(request, **where)
        except ProtocolError as error:
            response = problem_response(error.status, error.detail, headers=error.headers)
        except JobRefusedError as error:
            errors = [{"field": error.field, "message": error.message}]
            response = problem_response(422, error.message, errors=errors)
        except resumable.UploadTooLargeError as error:
            response = problem_response(413, str(error))
        response["Tus-Resumable"] = VERSION
        patch_cache_control(response, no_store=True)
        return response

    return answered


@require_http_methods(["OPTIONS", "POST"])
@tus
def upload_list(request: Request) -> HttpResponse:
    """OPTIONS: what the server can do. POST: a new upload; its address is in Location."""
    if request.method == "OPTIONS":
        return _abilities()
    _check_version(request)
    if "Upload-Defer-Length" in request.headers:
        raise ProtocolError(400, _("Say the size of the file in Upload-Length: it cannot be told later."))
    about = _metadata(request.headers.get("Upload-Metadata", ""))
    name = about.get("filename") or about.get("name")
    if not name:
        raise ProtocolError(400, _("Say the name of the file in Upload-Metadata, as filename and its base64."))
    upload = resumable.upload_begin(
        by=request.actor, name=name, size=_number(request, "Upload-Length"), client_mark=about.get("mark", "")
    )
    response = HttpResponse(status=201)
    response["Location"] = reverse("api_upload" if is_api(request) else "upload", args=[upload.upload_id])
    return _with_state(response, upload)


@require_http_methods(["OPTIONS", "HEAD", "PATCH", "DELETE"])
@tus
def upload(request: Request, upload_id: UUID) -> HttpResponse:
    """HEAD: how much is here. PATCH: the bytes that follow. DELETE: removes it."""
    if request.method == "OPTIONS":
        return _abilities()
    found = _found(request, upload_id)
    _check_version(request)
    if request.method == "HEAD":
        response = _with_state(HttpResponse(), found)
        response["Upload-Length"] = str(found.size)
        return response
    if request.method == "DELETE":
        resumable.upload_discard(upload=found, by=request.actor)
        return HttpResponse(status=204)
    return _append(request, found)


@require_POST
def upload_discard(request: Request, upload_id: UUID) -> HttpResponse:
    """The button of the page where there is no script."""
    try:
        resumable.upload_discard(upload=_found(request, upload_id), by=request.actor)
        messages.success(request, _("The upload was discarded."))
    except ProtocolError as error:
        return problem_response(error.status, error.detail)
    except JobRefusedError as refused:
        messages.error(request, refused.message)
    return go_to(request, reverse("batchjob_new"))


def _append(request: Request, found: SourceFile) -> HttpResponse:
    if request.content_type != PATCH_TYPE:
        raise ProtocolError(415, _("Send the bytes as %(type)s.") % {"type": PATCH_TYPE})
    if not request.headers.get("Content-Length"):  # the body would be taken for empty
        raise ProtocolError(411, _("Say in Content-Length how many bytes you send."))
    offset, length = _number(request, "Upload-Offset"), _number(request, "Content-Length")
    try:
        with patience(request):
            end = resumable.upload_append(upload=found, offset=offset, body=request, length=length)
    except resumable.OffsetError:
        raise ProtocolError(409, _("The file does not end there: ask with HEAD where it does.")) from None
    if end < offset + length:
        raise ProtocolError(408, _("The connection broke off. What arrived is kept."), Upload_Offset=str(end))
    return _with_state(HttpResponse(status=204), found)


def _abilities() -> HttpResponse:
    response = HttpResponse(status=204)
    response["Tus-Version"] = VERSION
    response["Tus-Extension"] = EXTENSIONS
    response["Tus-Max-Size"] = str(settings.UPLOAD_MAX_BYTES)
    return response


def _check_version(request: Request) -> None:
    if request.headers.get("Tus-Resumable") != VERSION:
        raise ProtocolError(412, _("Send Tus-Resumable: %(version)s.") % {"version": VERSION}, Tus_Version=VERSION)


def _found(request: Request, upload_id: UUID) -> SourceFile:
    try:
        found = resumable.upload_of(by=request.actor, upload_id=upload_id)
    except JobRefusedError as error:
        raise ProtocolError(404, error.message) from error
    if found.jobs.exists():
        raise ProtocolError(410, _("A job has this file: it is an upload no longer."))
    return found


def _with_state(response: HttpResponse, found: SourceFile) -> HttpResponse:
    response["Upload-Offset"] = str(found.received)
    response["Upload-Expires"] = http_date(resumable.expires_at(found).timestamp())
    return response


def _number(request: Request, header: str) -> int:
    text = request.headers.get(header, "")
    if not (text.isascii() and text.isdecimal() and len(text) <= DIGITS):
        raise ProtocolError(400, _("%(header)s must be a number of bytes.") % {"header": header})
    return int(text)


def _metadata(header: str) -> dict[str, str]:
    """`filename ZXZlbnRzLmNzdg==,mark MTc=` -> texts by key."""
    found = {}
    for pair in filter(None, (part.strip() for part in header.split(","))):
        key, _space, value = pair.partition(" ")
        try:
            found[key] = base64.b64decode(value.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise ProtocolError(400, _("Upload-Metadata must be keys with base64 texts.")) from None
    return found
