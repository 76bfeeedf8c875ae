"""What the formats that go by lines share: the head of a file, and lines that are too long to be read."""

from __future__ import annotations

from batchjobs.failures import FileFailureError
from batchjobs.ingestion.rows import Rejected, RowError
from batchjobs.ingestion.sniff import HEAD_BYTES, TextForm, text_form
from batchjobs.ingestion.source import BLOCK, Content

RAW_KEPT = 2_000  # characters kept of a line that is too long to read


def read_head(content: Content, encoding: str, record_max: int) -> tuple[TextForm, str]:
    """The form of the text, and its beginning: whole lines, as many as a record may be long.

    Raises FileFailureError FILE_EMPTY, BINARY_FILE or, if the first line is not in the encoding, ENCODING_UNKNOWN.
    """
    content.seek(0)
    head = content.read(max(HEAD_BYTES, record_max + 1024))
    form = text_form(head, encoding)
    body = head[form.bom :]
    cut = len(body)
    if len(head) >= record_max:  # not the whole file: cut at a line's end
        cut = last_newline(body, form) or len(body)
    try:
        return form, body[:cut].decode(form.encoding)
    except UnicodeDecodeError as error:
        first = body.find(form.newline)
        if first == -1 or error.start <= first:
            raise FileFailureError("ENCODING_UNKNOWN") from error
        return form, body[:cut].decode(form.encoding, form.lenient)


def last_newline(data: bytes, form: TextForm, start: int = 0) -> int:
    """The offset behind the last line end in `data`, or 0."""
    width = len(form.newline)
    at = data.rfind(form.newline, start)
    while at != -1 and at % width:  # UTF-16: only whole units
        at = data.rfind(form.newline, start, at + width - 1)
    return at + width if at != -1 else 0


def skip_line(content: Content, data: bytes, form: TextForm, line: int) -> tuple[int, bytes, Rejected]:
    """Passes over a line that is longer than a record may be, without storing it; its beginning is kept.

    `data` is what was read of it. Returns how many bytes it has, what was read behind it, and the rejection.
    """
    kept = data[: RAW_KEPT * 4].decode(form.encoding, "replace")[:RAW_KEPT] + "…"
    rejected = Rejected(line, [RowError("", "RECORD_TOO_LARGE")], kept.replace("\x00", "�"), None)
    width = len(form.newline)
    passed = len(data)
    while fresh := content.read(BLOCK):
        shift = passed % width
        aligned = fresh[shift:] if shift else fresh
        at = aligned.find(form.newline)
        while at != -1 and at % width:
            at = aligned.find(form.newline, at + 1)
        if at == -1:
            passed += len(fresh)
            continue
        upto = at + width + shift
        return passed + upto, fresh[upto:], rejected
    return passed, b"", rejected
