"""What the formats that go by lines share: the head of a file, and lines that are too long to be read."""

from __future__ import annotations

import codecs

from batchjobs.ingestion.rejects import readable
from batchjobs.ingestion.rows import Rejected, RowError
from batchjobs.ingestion.sniff import HEAD_BYTES, TextForm, text_form
from batchjobs.ingestion.source import BLOCK, Content

RAW_KEPT = 2_000  # characters kept of a line that is too long to read


def read_head(content: Content, encoding: str, record_max: int) -> tuple[TextForm, str]:
    """The form of the text, and its beginning: whole lines, as many as a record may be long.

    Raises FileFailureError FILE_EMPTY or BINARY_FILE. Bytes that are not in the encoding are lone surrogates.
    """
    content.seek(0)
    head = content.read(max(HEAD_BYTES, record_max + 1024))
    form = text_form(head, encoding)
    body = head[form.bom :]
    if len(head) < record_max:  # the whole file
        return form, form.decode(body)[0]
    if cut := last_newline(body, form):
        return form, form.decode(body[:cut])[0]
    # In the middle of a line, and perhaps of a character.
    return form, codecs.getincrementaldecoder(form.encoding)(form.lenient).decode(body)


def is_text(value: str) -> bool:
    """Whether the database can hold it: no NUL, and no lone surrogates, which stand for bytes that are no text."""
    if "\x00" in value:
        return False
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def last_newline(data: bytes, form: TextForm, start: int = 0) -> int:
    """The offset behind the last line end in `data`, or 0."""
    width = len(form.newline)
    lone = b"\r" in form.newline  # then a \r\n may stand in a cell, and must not be torn apart
    at = data.rfind(form.newline, start)
    while at != -1 and (at % width or (lone and data[at + width : at + 2 * width] in (b"", _feed(form)))):
        at = data.rfind(form.newline, start, at + width - 1)  # UTF-16: only whole units
    return at + width if at != -1 else 0


def _feed(form: TextForm) -> bytes:
    return form.newline.replace(b"\r", b"\n")


def too_long(line: int, text: str) -> Rejected:
    """The rejection of a line that is longer than a record may be; its beginning is kept."""
    return Rejected(line, [RowError("", "RECORD_TOO_LARGE")], readable(text[:RAW_KEPT]) + "…", None)


def skip_line(content: Content, data: bytes, form: TextForm, line: int) -> tuple[int, bytes, Rejected]:
    """Passes over a line that is longer than a record may be, without storing it; its beginning is kept.

    `data` is what was read of it. Returns how many bytes it has, what was read behind it, and the rejection.
    """
    rejected = too_long(line, form.decode(data[: RAW_KEPT * 4])[0])
    width = len(form.newline)
    passed = len(data)
    if data.endswith(form.newline) and passed % width == 0:
        return passed, b"", rejected
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
