"""Files that leave: the source as it came, the error log, and rejected rows to be corrected. All are streamed."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.core.files.storage import default_storage
from django.http import FileResponse, Http404, HttpResponseBase, StreamingHttpResponse
from django.utils.translation import gettext as _

from batchjobs.files import FileGoneError, open_file
from batchjobs.ingestion.formats import layout_from_state, reader_of
from batchjobs.ingestion.formats.json_records import RecordError, decode, encode
from batchjobs.ingestion.formulas import make_safe
from batchjobs.ingestion.records.columns import ERROR_COLUMNS
from batchjobs.ingestion.rejects import readable
from batchjobs.ingestion.source import content_open
from batchjobs.models import BatchJob, Chunk
from batchjobs.states import Status

BLOCK = 64 * 1024


class FilesGoneError(Http404):
    """What was asked for is no longer kept. The message is a sentence without its stop."""


def source_response(job: BatchJob) -> HttpResponseBase:
    """The file as it was uploaded, byte for byte. Raises FilesGoneError."""
    gone = FilesGoneError(_("The file of this job is no longer kept"))
    if job.file is None:
        raise gone
    try:
        response = FileResponse(open_file(job.file), content_type="application/octet-stream")
    except FileGoneError:
        raise gone from None
    response["Content-Length"] = str(job.file.size)
    return as_attachment(response, job.file.name)


def error_log_response(job: BatchJob) -> HttpResponseBase:
    """NDJSON, a line for each rejected row: line, column, code, message (of the first error), raw, errors (all).

    Raises FilesGoneError.
    """
    _refuse_expired(job)
    response = StreamingHttpResponse(joined(_log_lines(job)), content_type="application/x-ndjson")
    return as_attachment(response, f"{_stem(job)}-errors.ndjson")


def rejected_rows_response(job: BatchJob, *, formula_safe: bool) -> HttpResponseBase:
    """The rejected rows in the file's own format, with four columns that say what is wrong.

    `formula_safe` puts a ' before cells that a spreadsheet would run; an upload of the file takes it away again.
    Raises FilesGoneError.
    """
    _refuse_expired(job)
    kind = str(job.reader_state.get("format") or "delimited")
    lines, content_type, suffix = {
        "json": (_rejected_array, "application/json", ".json"),
        "ndjson": (_rejected_records, "application/x-ndjson", ".ndjson"),
    }.get(kind, (partial(_rejected_lines, formula_safe=formula_safe), "text/csv; charset=utf-8", _csv_suffix(job)))
    response = StreamingHttpResponse(joined(lines(job)), content_type=content_type)
    return as_attachment(response, f"{_stem(job)}-rejected{suffix}")


def skipped_rows_response(job: BatchJob) -> HttpResponseBase:
    """The rows that were there already, as they stand in the file and in its format.

    Raises FilesGoneError.
    """
    _refuse_expired(job)
    if job.file is None or job.file.removed_at:
        raise FilesGoneError(_("The file of this job is no longer kept"))
    kind = str(job.reader_state.get("format") or "delimited")
    content_type, suffix = {
        "json": ("application/x-ndjson", ".ndjson"),
        "ndjson": ("application/x-ndjson", ".ndjson"),
    }.get(kind, ("text/csv; charset=utf-8", _csv_suffix(job)))
    response = StreamingHttpResponse(joined(_skipped_lines(job)), content_type=content_type)
    return as_attachment(response, f"{_stem(job)}-skipped{suffix}")


def _skipped_lines(job: BatchJob) -> Iterator[bytes]:
    """Only the chunks that skipped something are read again."""
    assert job.file is not None  # noqa: S101  skipped_rows_response
    if not job.next_chunk:  # nothing was read
        return
    layout = layout_from_state(job.reader_state)
    if job.reader_state.get("format") == "delimited":
        buffer = io.StringIO(newline="")
        csv.writer(buffer, delimiter=layout.delimiter, lineterminator="\n").writerow(layout.header)
        yield _taken(buffer)
    with open_file(job.file) as stored:
        reader = reader_of(
            str(job.reader_state.get("format") or "delimited"),
            content_open(stored, job.file.name).content,  # type: ignore[arg-type]  # IO[bytes]
            layout,
            settings.RECORD_MAX_BYTES,
        )
        offset, line = layout.data_offset, layout.data_line
        for chunk in Chunk.objects.filter(job=job).order_by("n").only("end_offset", "end_line", "skipped_lines"):
            if chunk.skipped_lines:
                skipped = _numbers(chunk.skipped_lines)
                reader.seek(offset, line)
                for block in reader.blocks():
                    places = (place for place, number in enumerate(block.lines) if number in skipped)
                    yield from (_one_line(block.raw(place), job) for place in places)
                    if reader.offset >= chunk.end_offset:
                        break
            offset, line = chunk.end_offset, chunk.end_line


def _one_line(raw: str, job: BatchJob) -> bytes:
    """A JSON record may stand on several lines of its file."""
    text = " ".join(raw.split("\n")) if job.reader_state.get("format") == "json" else raw
    return text.encode("utf-8", "surrogateescape") + b"\n"


def _numbers(multirange: str) -> set[int]:
    """The line numbers of an int8multirange, such as {[5,6),[8,10)}."""
    pairs = re.findall(r"\[(\d+),(\d+)\)", multirange)
    return {number for first, end in pairs for number in range(int(first), int(end))}


def _csv_suffix(job: BatchJob) -> str:
    inner = PurePath(job.file.name.lower().removesuffix(".gz")).suffix if job.file else ""
    return inner if inner in (".psv", ".tsv", ".txt") else ".csv"


def _rejected_records(job: BatchJob) -> Iterator[bytes]:
    """NDJSON: the records as they stand in the file, with what is wrong; what is no record as text in `_raw`."""
    for entry in rejects(job):
        yield encode(_with_errors(entry)) + b"\n"


def _rejected_array(job: BatchJob) -> Iterator[bytes]:
    """The same as a JSON array."""
    before = b"[\n"
    for entry in rejects(job):
        yield before + encode(_with_errors(entry))
        before = b",\n"
    yield b"[]\n" if before == b"[\n" else b"\n]\n"


def _with_errors(entry: dict[str, Any]) -> dict[str, Any]:
    try:
        record, errors = decode(entry["raw"])
    except RecordError:
        record, errors = {}, []
    if errors or not record:  # no record, or one that cannot be told as it stands
        record = {"_raw": readable(entry["raw"])}
    return {**record, **dict(zip(ERROR_COLUMNS, _why(entry), strict=True))}


def _why(entry: dict[str, Any]) -> list[str]:
    """The values of ERROR_COLUMNS."""
    errors = entry["errors"]
    found = ("; ".join(dict.fromkeys(e[key] for e in errors if e[key])) for key in ("code", "column", "message"))
    return [str(entry["line"]), *found]


def _refuse_expired(job: BatchJob) -> None:
    if job.status == Status.EXPIRED:
        raise FilesGoneError(_("The rejected rows of this job are no longer kept"))


def rejects(job: BatchJob) -> Iterator[dict[str, Any]]:
    """The rejected rows of all committed chunks, in the order of the file: {line, errors, raw, cells}."""
    for chunk in Chunk.objects.filter(job=job).exclude(part="").order_by("n").only("part").iterator():
        with default_storage.open(chunk.part) as part:
            for line in part:
                yield json.loads(line)


def _log_lines(job: BatchJob) -> Iterator[bytes]:
    for entry in rejects(job):
        first = entry["errors"][0]
        yield (
            json.dumps(
                {
                    "line": entry["line"],
                    "column": first["column"] or None,
                    "code": first["code"],
                    "message": first["message"],
                    "raw": readable(entry["raw"]),
                    "errors": entry["errors"],
                },
                ensure_ascii=False,
            ).encode()
            + b"\n"
        )


def _rejected_lines(job: BatchJob, *, formula_safe: bool) -> Iterator[bytes]:
    header: list[str] = job.reader_state.get("header") or []
    kept = [i for i, name in enumerate(header) if name.strip().lower() not in ERROR_COLUMNS]
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=job.reader_state.get("delimiter") or ",", lineterminator="\r\n")
    writer.writerow([*(header[i] for i in kept), *ERROR_COLUMNS])
    yield _taken(buffer)
    for entry in rejects(job):
        cells: list[str] = entry["cells"] if entry["cells"] is not None else [entry["raw"]]
        named = [cells[i] if i < len(cells) else "" for i in kept]
        # Cells beyond the header stand behind, so that nothing of the row is lost.
        row = [*named, *_why(entry), *cells[len(header) :]]
        writer.writerow([make_safe(cell) for cell in row] if formula_safe else row)
        yield _taken(buffer)


def _taken(buffer: io.StringIO) -> bytes:
    # Bytes that were no text in the file leave as the same bytes.
    data = buffer.getvalue().encode("utf-8", "surrogateescape" if _escaped(buffer.getvalue()) else "replace")
    buffer.seek(0)
    buffer.truncate()
    return data


def _escaped(text: str) -> bool:
    """Whether every lone surrogate in `text` stands for a byte."""
    return not re.search("[\ud800-\udc7f\udd00-\udfff]", text)


def joined(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Blocks of a useful size: a response sends each of its parts by itself."""
    block = bytearray()
    for line in lines:
        block += line
        if len(block) >= BLOCK:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)


def _stem(job: BatchJob) -> str:
    return PurePath(PurePath(job.file.name).stem).stem if job.file else f"job-{job.pk}"


def as_attachment(response: Any, name: str) -> HttpResponseBase:
    """RFC 6266: a plain name for old clients, the full one for the others."""
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", name)
    response["Content-Disposition"] = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name)}"
    response["X-Content-Type-Options"] = "nosniff"
    result: HttpResponseBase = response
    return result
