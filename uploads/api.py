"""`/v2/batches`: the batch API, compatible with Sitecore's (contract: docs/batch-uploads.md).

Keys come as HTTP Basic, errors are those of accounts.problems.batch_error_response. Locations and logs are signed
links that need no key.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
from collections.abc import Callable
from functools import wraps
from typing import Any
from uuid import UUID

from django.core.exceptions import RequestDataTooBig
from django.http import HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.cache import patch_cache_control
from django.utils.dateparse import parse_datetime
from django.utils.timezone import is_naive
from django.views.decorators.csrf import csrf_exempt

from accounts.problems import batch_error_response
from batchjobs.bodies import patience
from batchjobs.downloads import FilesGoneError
from batchjobs.states import ENDED, Status
from uploads import services
from uploads.log import has_log, log_response
from uploads.models import BatchUpload
from uploads.services import BatchRefusedError, BodyBrokenError, Declaration
from uploads.states import State

Request = Any  # `actor` is set by middleware
View = Callable[..., HttpResponseBase]

ITEMS_MAX = 1_000
PUBLIC_STATES = {State.FILE_UPLOADED: State.PROCESSING}  # only `inspect` tells the difference
OFFSET_MAX = 2**31


def batch_view(view: View) -> View:
    """Turns what is refused into answers. Exempt: only a key or a signed link counts, never a cookie."""

    @wraps(view)
    def answered(request: Request, **where: Any) -> HttpResponseBase:
        try:
            response = view(request, **where)
        except BatchRefusedError as error:
            response = batch_error_response(error.status, str(error), code=error.code)
        except FilesGoneError as error:
            response = batch_error_response(404, f"{error}.", code=40403)
        patch_cache_control(response, no_store=True)
        return response

    return csrf_exempt(answered)


@batch_view
def batch(request: Request, ref: str) -> HttpResponseBase:
    """PUT allocates a location for a file, GET tells what became of it."""
    uuid = _uuid(ref)
    if request.method == "PUT":
        declaration = Declaration.of(_json(request))
        upload = services.batch_allocate(by=request.actor, ref=uuid, declaration=declaration)
    else:
        upload = services.batch_get(account=request.actor.account, ref=uuid)
    return JsonResponse(batch_to_json(request, upload))


@batch_view
def batch_inspect(request: Request, ref: str) -> HttpResponseBase:
    upload = services.batch_get(account=request.actor.account, ref=_uuid(ref))
    return JsonResponse(batch_to_json(request, upload, inspect=True))


@batch_view
def batch_inspect_list(request: Request) -> HttpResponseBase:
    """Batches of the last 30 days, newest first."""
    found = BatchUpload.objects.for_account(request.actor.account).listed().with_state()
    if statuses := _statuses(request.GET.getlist("status")):
        found = found.filter(state__in=statuses)
    if text := request.GET.get("createdBefore"):
        found = found.filter(created_at__lt=_moment_of("createdBefore", text))
    limit = min(_whole(request, "limit", 100, least=1), ITEMS_MAX)
    offset = _whole(request, "offset", 0, least=0)
    page = found.order_by("-created_at", "-pk")[offset : offset + limit]
    return JsonResponse(
        {
            "totalCount": found.count(),
            "offset": offset,
            "limit": limit,
            "items": [_item(request, upload) for upload in page],
        }
    )


@batch_view
def batch_location(request: Request, token: str) -> HttpResponseBase:
    """PUT of the gzipped file. 200 without a body once bytes and state are durable."""
    text = request.META.get("CONTENT_LENGTH") or ""
    if not text:
        raise BatchRefusedError(411, "Say in Content-Length how many bytes you send: chunks have none.", code=41101)
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise BatchRefusedError(400, "Content-Length must be a number of bytes.", code=40006)
    if request.headers.get("Content-Encoding", "identity").lower() not in ("identity", "gzip", ""):
        raise BatchRefusedError(415, "Send the gzipped file as it is.", code=41501)
    digest = _content_md5(request.headers.get("Content-Md5", ""))
    upload = services.upload_of_location(token)
    try:
        with patience(request):
            services.batch_receive(upload=upload, body=request, length=int(text), content_md5=digest)
    except BodyBrokenError:
        raise BatchRefusedError(
            400, "The connection broke off before all bytes had come. Send the file again.", code=40007
        ) from None
    return HttpResponse(status=200)


@batch_view
def batch_log(request: Request, token: str) -> HttpResponseBase:
    """The error log, gzipped."""
    return log_response(services.upload_of_log(token))


@batch_view
def batch_not_found(request: Request) -> HttpResponseBase:
    return batch_error_response(404, "There is nothing at this address.")


def batch_to_json(request: Request, upload: BatchUpload, *, inspect: bool = False) -> dict[str, Any]:
    """The upload, which is one of `with_state`, as programs see it."""
    state = State(upload.state)
    status: dict[str, Any] = {"code": (state if inspect else PUBLIC_STATES.get(state, state)).value}
    if log := _log(request, upload):
        status["log"] = log
    found = {
        "href": request.build_absolute_uri(reverse("batch", args=[upload.ref])),
        "ref": str(upload.ref),
        "checksum": upload.checksum,
        "size": upload.size,
        "location": {
            "href": request.build_absolute_uri(reverse("batch_location", args=[services.location_token(upload)])),
            "expiry": iso(upload.location_expires_at),
        },
        "status": status,
        "createdAt": iso(upload.created_at),
        "modifiedAt": iso(upload.modified_at),
    }
    if stats := batch_stats(upload):
        found["stats"] = stats
    return found


def batch_stats(upload: BatchUpload) -> dict[str, int] | None:
    """Counts and the time to process in milliseconds, once it was processed."""
    job = upload.job
    if job is None or job.status not in (*ENDED, Status.EXPIRED) or job.started_at is None or job.completed_at is None:
        return None
    succeeded, failed = (job.valid_rows or 0) + (job.skipped_rows or 0), job.invalid_rows or 0
    return {
        "timeToProcess": round((job.completed_at - job.started_at).total_seconds() * 1000),
        "totalCount": succeeded + failed,
        "succeededCount": succeeded,
        "failedCount": failed,
    }


def iso(moment: dt.datetime) -> str:
    """ISO 8601 in UTC with milliseconds and Z."""
    return moment.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _item(request: Request, upload: BatchUpload) -> dict[str, Any]:
    return {
        "href": request.build_absolute_uri(reverse("batch", args=[upload.ref])),
        "ref": str(upload.ref),
        "status": upload.state,
        "log": _log(request, upload),
        "createdAt": iso(upload.created_at),
        "modifiedAt": iso(upload.modified_at),
    }


def _log(request: Request, upload: BatchUpload) -> str | None:
    if not has_log(upload):
        return None
    return str(request.build_absolute_uri(reverse("batch_log", args=[services.log_token(upload)])))


def _uuid(text: str) -> UUID:
    try:
        found = UUID(text)
    except ValueError:
        found = None
    if found is None or str(found) != text.lower():  # UUID also takes braces, URNs and hyphens anywhere
        raise BatchRefusedError(400, "The reference of a batch must be a UUID.", code=40008)
    return found


def _json(request: Request) -> Any:
    """The body as JSON, whatever its Content-Type says: curl's own is that of a form."""
    try:
        return json.loads(request.body)
    except RequestDataTooBig:
        raise BatchRefusedError(413, "The declaration of a file is a small JSON object.", code=41302) from None
    except (ValueError, RecursionError):
        raise BatchRefusedError(400, "The body cannot be read as JSON.", code=40009) from None


def _content_md5(header: str) -> bytes:
    if not header.strip():
        return b""
    try:
        digest = base64.b64decode(header.strip(), validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != 16:
        raise BatchRefusedError(400, "Content-Md5 must be the MD5 of the body in base64.", code=40010)
    return digest


def _statuses(given: list[str]) -> list[str]:
    words = [word.strip().lower() for text in given for word in text.split(",") if word.strip()]
    if unknown := [word for word in words if word not in State.values]:
        known = ", ".join(State.values)
        raise BatchRefusedError(400, f"There is no status “{unknown[0][:40]}”; there are {known}.", code=40011)
    return words


def _whole(request: Request, name: str, default: int, *, least: int) -> int:
    text = request.GET.get(name) or str(default)
    if not (text.isascii() and text.isdecimal() and least <= int(text[:11]) < OFFSET_MAX):
        raise BatchRefusedError(400, f"“{name}” must be a whole number from {least} on.", code=40012)
    return int(text)


def _moment_of(name: str, text: str) -> dt.datetime:
    try:
        moment = parse_datetime(text.strip().replace(" ", "+")) or dt.datetime.combine(
            dt.date.fromisoformat(text.strip()), dt.time()
        )
    except (ValueError, OverflowError):
        raise BatchRefusedError(400, f"“{name}” must be a time such as 2026-11-21T14:30:00.000Z.", code=40013) from None
    return moment.replace(tzinfo=dt.UTC) if is_naive(moment) else moment
