"""The file of a run, on its way to whoever asked: whole, or the part of it that a broken download still wants.

RFC 9110: a strong ETag (the checksum), single ranges, If-Range, If-None-Match. Used by the page and by the API.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import IO

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response
from django.utils.translation import gettext as _

from batchjobs.downloads import BLOCK, FilesGoneError, as_attachment
from batchjobs.files import FileGoneError, open_file
from exports.models import ExportRun
from exports.states import RUN_ACTIONS, RunAction, RunState, TransitionRefusedError
from exports.writers import FORMATS

PACKED = {"gzip": "application/gzip", "zip": "application/zip"}
RANGE = re.compile(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*", re.ASCII | re.IGNORECASE)


def artifact_response(request: HttpRequest, run: ExportRun) -> HttpResponseBase:
    """The file, a part of it (206), or that it is known already (304). `run` is of `with_state()`.

    Raises TransitionRefusedError for a run whose file is not to be downloaded, FilesGoneError for one that is gone.
    """
    allowed = RUN_ACTIONS[RunAction.DOWNLOAD]
    if run.type not in allowed.types:
        raise TransitionRefusedError(_("Only one-shot exports can be downloaded: this one goes to its destination."))
    if run.state not in allowed.states:
        raise TransitionRefusedError(
            _("There is no file to download: this run is “%(state)s”.") % {"state": RunState(run.state).label}
        )
    file = run.file
    gone = FilesGoneError(_("The file of this run is no longer kept"))
    if file is None:
        raise gone
    try:
        content = open_file(file)
    except FileGoneError as error:
        raise gone from error
    etag = f'"{file.sha256}"'
    response = _response(request, content, file.size, etag)
    response["ETag"] = etag
    response["Accept-Ranges"] = "bytes"
    # Another person at the same browser may not have it: it is asked for each time, and 304 is the answer.
    response["Cache-Control"] = "private, no-cache"
    if response.status_code in (200, 206):
        response["Content-Type"] = _content_type(run)
        as_attachment(response, file.name)
    return response


def _response(request: HttpRequest, content: IO[bytes], size: int, etag: str) -> HttpResponseBase:
    known = get_conditional_response(request, etag=etag)
    if known is not None:
        content.close()
        return known
    # A range is a thing of GET alone (RFC 9110, 14.2).
    part = (_part(request, size, etag) if request.method == "GET" else None) or Part(0, size)
    if part.asked and not part.length:
        content.close()
        return HttpResponse(status=416, headers={"Content-Range": f"bytes */{size}"})
    if request.method == "HEAD":
        content.close()
        response: HttpResponseBase = HttpResponse()
    else:
        response = StreamingHttpResponse(_Blocks(content, part))
    response["Content-Length"] = str(part.length)
    if part.asked:
        response.status_code = 206
        response["Content-Range"] = f"bytes {part.start}-{part.start + part.length - 1}/{size}"
    return response


@dataclass(frozen=True, slots=True)
class Part:
    """`length` is 0 for what lies outside of the file. `asked`: by a header, even if it is the whole."""

    start: int
    length: int
    asked: bool = False


def _part(request: HttpRequest, size: int, etag: str) -> Part | None:
    """The one range that is asked for; None for none, several, or one that is not to be minded."""
    found = RANGE.fullmatch(request.headers.get("Range", ""))
    if not found or request.headers.get("If-Range", etag) != etag:
        return None
    first, last = found.groups()
    if first:
        start, end = int(first), int(last) if last else size - 1
        if end < start and last:
            return None  # no range at all
        return Part(start, max(min(end, size - 1) - start + 1, 0), asked=True)
    if not last:
        return None
    length = min(int(last), size)
    return Part(size - length, length, asked=True)


class _Blocks:
    """A part of a file in blocks. Closed with the response, also if nobody reads it."""

    def __init__(self, content: IO[bytes], part: Part) -> None:
        self._content = content
        self._content.seek(part.start)
        self._left = part.length

    def __iter__(self) -> _Blocks:
        return self

    def __next__(self) -> bytes:
        block = self._content.read(min(BLOCK, self._left)) if self._left else b""
        if not block:
            raise StopIteration
        self._left -= len(block)
        return block

    def close(self) -> None:
        self._content.close()


def _content_type(run: ExportRun) -> str:
    file = run.definition.get("file") or {}
    if packed := PACKED.get(str(file.get("compression"))):
        return packed
    about = FORMATS.get(str(file.get("format")))
    return about.content_type if about else "application/octet-stream"
