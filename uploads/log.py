"""The error log of a batch: a line for each record that was not processed, or one for a file that was not read.

Gzipped JSON lines: {"ref", "code", "message", "line"}. `ref` and `line` are null where the whole file is at fault;
`code` is 400 (not valid), 402 (mode not supported) or 403 (not allowed): of the first of several errors. The message
tells them all.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django.http import HttpResponseBase, StreamingHttpResponse
from django.utils.translation import gettext as _

from batchjobs.downloads import FilesGoneError, as_attachment, joined, rejects
from batchjobs.failures import FAILURES, failure_of
from batchjobs.models import BatchJob
from batchjobs.states import ENDED, Status
from uploads.faults import fault_message
from uploads.models import BatchUpload
from uploads.records import log_code

CONTENT_TYPE = "application/gzip"
GZIP = 16 + zlib.MAX_WBITS  # zlib writes a gzip header


@dataclass(frozen=True, slots=True)
class LogLine:
    ref: str | None
    code: int
    message: str
    line: int | None

    def encoded(self) -> bytes:
        found = {"ref": self.ref, "code": self.code, "message": self.message, "line": self.line}
        return json.dumps(found, ensure_ascii=False).encode() + b"\n"


def has_log(upload: BatchUpload) -> bool:
    """Whether something is to be said: always of a batch that ended as `error` or `corrupted`."""
    job = upload.job
    if upload.fault or job is None:
        return bool(upload.fault)
    return job.status in ENDED and (job.outcome != Status.DONE or bool(job.invalid_rows))


def log_response(upload: BatchUpload) -> HttpResponseBase:
    """The log as a .gz file, without Content-Encoding: clients store it as it is. Raises FilesGoneError."""
    if not has_log(upload) or (upload.job and upload.job.status == Status.EXPIRED):
        raise FilesGoneError(_("There is no error log of this batch, or it is no longer kept"))
    lines = (line.encoded() for line in log_lines(upload))
    response = StreamingHttpResponse(_packed(joined(lines)), content_type=CONTENT_TYPE)
    return as_attachment(response, f"{upload.ref}-errors.json.gz")


def log_beginning(upload: BatchUpload, count: int) -> list[LogLine]:
    """The first lines."""
    if not has_log(upload) or (upload.job and upload.job.status == Status.EXPIRED):
        return []
    return list(islice(log_lines(upload), count))


def log_lines(upload: BatchUpload) -> Iterator[LogLine]:
    if upload.fault:
        yield LogLine(None, 400, fault_message(upload.fault, upload.fault_params), None)
        return
    job = upload.job
    assert job is not None  # noqa: S101  has_log
    if job.outcome != Status.DONE:
        yield LogLine(None, 400, _why(job), None)
    for entry in rejects(job):
        errors = entry["errors"]
        message = " ".join(dict.fromkeys(map(_message, errors)))
        yield LogLine(_ref(entry["raw"]), log_code(errors[0]["code"]), message, entry["line"])


def _why(job: BatchJob) -> str:
    if job.outcome == Status.CANCELED:
        return "The batch was stopped by a person."
    if job.failure_code not in FAILURES:  # a code of another version
        return job.failure_code
    failure = failure_of(job.failure_code, job.failure_params)
    return f"{failure.title}. {failure.advice}"


def _message(error: dict[str, Any]) -> str:
    column, message = error["column"], str(error["message"])
    return message if message.startswith(column) else f"{column}: {message}"


def _ref(raw: str) -> str | None:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    ref = found.get("ref") if isinstance(found, dict) else None
    return ref if isinstance(ref, str) else None


def _packed(blocks: Iterator[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(wbits=GZIP)
    for block in blocks:
        if data := packer.compress(block):
            yield data
    yield packer.flush()
