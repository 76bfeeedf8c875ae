"""JSON: an array of objects, in bounded memory. The array may lie inside of an object, under a name.

The elements are decoded one by one by the standard library's decoder, which says where each ends. So a record has a
line, a limit and an error of its own; a streaming parser would know neither, and stop at the first fault
(docs/decisions/0010).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice
from typing import Any

from batchjobs.failures import FileFailureError
from batchjobs.ingestion.formats.json_records import DECODER, STRING, RecordError, judged, too_deep
from batchjobs.ingestion.formats.json_window import Window
from batchjobs.ingestion.formats.lines import read_head
from batchjobs.ingestion.rejects import readable, shown
from batchjobs.ingestion.rows import ObjectBlock, Rejected, RowError
from batchjobs.ingestion.sniff import TextForm
from batchjobs.ingestion.source import Content

RAW_KEPT = 2_000
LISTS_NAMED = 12
LISTS_MAX = 10_000
PATH_MAX = 4  # names on the way to an array
DEPTH_MAX = 10_000  # where looking for arrays ends
_SPACE = re.compile(r"[ \t\n\r]*")


@dataclass(slots=True)
class JsonLayout:
    """How the file is read. `header` is the keys at its beginning, for people: each record has its own."""

    encoding: str
    array: str  # names on the way to the array, joined by dots; "" for the file itself
    single: bool  # the file is one record
    header: list[str]
    data_offset: int  # behind the array's [
    data_line: int

    @property
    def form(self) -> TextForm:
        return TextForm(self.encoding, 0, "\n".encode(self.encoding))


def layout_of(content: Content, *, extension: str, options: dict[str, Any], record_max: int) -> JsonLayout:
    """Finds the array. Raises FileFailureError for what is not text, not JSON, or has several arrays to choose from."""
    form, text = read_head(content, str(options.get("encoding") or ""), record_max)
    begun = _SPACE.match(text)
    at = begun.end() if begun else 0
    if at == len(text):
        raise FileFailureError("FILE_EMPTY")
    wanted = str(options.get("array") or "")
    if text[at] == "[" and not wanted:
        offset = form.bom + len(text[: at + 1].encode(form.encoding, form.lenient))
        return JsonLayout(form.encoding, "", False, [], offset, 1 + text.count("\n", 0, at))
    single = JsonLayout(form.encoding, "", True, [], form.bom, 1)
    if text[at] != "{":
        if wanted:
            raise FileFailureError("LIST_NOT_FOUND", name=wanted, found="none")
        return single
    found = list(islice(_arrays(content, form, wanted, record_max), LISTS_MAX))
    chosen = [array for array in found if array.name == wanted] if wanted else found
    more = f" and {len(found) - LISTS_NAMED} more" if len(found) > LISTS_NAMED else ""
    listed = ", ".join(shown(array.name) for array in found[:LISTS_NAMED]) + more
    if wanted and not chosen:
        raise FileFailureError("LIST_NOT_FOUND", name=wanted, found=listed or "none")
    if len(chosen) > 1:
        raise FileFailureError("LIST_NOT_CHOSEN", lists=[array.name for array in found[:LISTS_NAMED]], found=listed)
    if not chosen:
        return single
    return JsonLayout(form.encoding, chosen[0].name, False, [], chosen[0].offset, chosen[0].line)


@dataclass(frozen=True, slots=True)
class _Array:
    name: str
    offset: int  # behind its [
    line: int


def _arrays(content: Content, form: TextForm, wanted: str, record_max: int) -> Iterator[_Array]:
    """The arrays of objects that the top object holds, at most PATH_MAX names deep; up to the `wanted` one."""
    text = Window(content, form, form.bom, 1)
    path: list[str] = []  # the key of each open object but the outermost, or "[" for an array
    key = name = ""
    opened: _Array | None = None
    for mark, end in text.tokens(record_max):
        if opened is not None and (mark == "{" or opened.name == wanted):
            yield opened
            if opened.name == wanted:
                return
        opened = None
        match mark:
            case "{" | "[":
                named = all(step != "[" for step in path) and len(path) <= PATH_MAX
                name = ".".join([*path[1:], key]) if path else ""
                if mark == "[" and named and path:
                    opened = _Array(name, *text.place(end))
                path.append("[" if mark == "[" else key)
                key = ""
                if len(path) > DEPTH_MAX:
                    return
            case "}" | "]":
                if path:
                    path.pop()
                if not path:
                    return
            case "," | ":":
                pass
            case _ if mark[0] == '"':
                key = _plain(mark)


def _plain(token: str) -> str:
    try:
        return readable(str(DECODER.decode(token)))
    except ValueError:
        return readable(token.strip('"'))


_MORE = "more of the text is needed"
_CUT = "It ends in the middle."
_NO_COMMA = "There is no comma between two entries of the list."
_NO_VALUE = "There is a comma and no entry behind it."
_BLANKS = "Nothing but blanks follows, more than a record may be long."
_BEHIND = "Something stands behind its end."
_MARK = re.compile(r'"|[\[{]+|[\]},]')
_TO_QUOTE = re.compile(r'[^"\\]*+(?:\\.[^"\\]*+)*+(")?', re.DOTALL)
_MARK_OR_STRING = re.compile(STRING + r"|[\[{]+|[\]},]", re.DOTALL)


@dataclass(slots=True)
class JsonReader:
    """Reads the elements of the array from `layout` on, or from a checkpoint (behind an element)."""

    content: Content
    layout: JsonLayout
    record_max: int
    offset: int = 0
    line: int = 1
    _first: bool = True  # no element has been read: no comma is due
    _text: Window = field(init=False)

    def seek(self, offset: int, line: int) -> None:
        self.offset, self.line = offset, line
        self._first = offset == self.layout.data_offset
        self._text = Window(self.content, self.layout.form, offset, line)

    def blocks(self) -> Iterator[ObjectBlock]:
        """Blocks up to the end of the array.

        Raises FileFailureError JSON_BROKEN where the array itself is not JSON: elements before that were given out.
        """
        text = self._text
        stop = _Stop.WINDOW
        while True:
            if stop is _Stop.WINDOW or len(text.buffer) <= self.record_max:
                text.fill()
            block, used, stop = self._elements(text)
            text.drop(used)
            yield from self._given(block)
            at = self._next_element(text.buffer)
            if at is None:
                self._check_behind(text)
                return
            if stop is _Stop.UNREADABLE and isinstance(at, int):
                text.drop(at)
                block = ObjectBlock([], str, [self._pass_over(text)], 0, 0, [], {})
                self._first = False
                yield from self._given(block)
            elif at == _MORE and len(text.buffer) > self.record_max and not text.ended:
                raise FileFailureError("JSON_BROKEN", line=f"{text.line:,}", reason=_BLANKS)
            elif text.ended or (isinstance(at, str) and at != _MORE):
                raise FileFailureError(
                    "JSON_BROKEN", line=f"{text.line:,}", reason=_CUT if at == _MORE or isinstance(at, int) else at
                )

    def _given(self, block: ObjectBlock) -> Iterator[ObjectBlock]:
        block.end_offset, block.end_line = self.offset, self.line = self._text.offset, self._text.line
        if block.count or block.rejected:
            yield block

    def _elements(self, text: Window) -> tuple[ObjectBlock, int, _Stop]:
        """Whole elements of the window, how much of the window they cover, and why there are no more."""
        buffer, line = text.buffer, text.line
        spans: list[tuple[int, int]] = []
        numbers: list[int] = []
        block = ObjectBlock(numbers, lambda place: buffer[slice(*spans[place])], [], 0, 0, [], {})
        used = counted = 0
        while isinstance(start := self._next_element(buffer, used), int):
            try:
                value, end = DECODER.raw_decode(buffer, start)
            except (ValueError, RecursionError):
                end = _end_of(buffer, start)
                if end == -1:
                    return block, used, _Stop.UNREADABLE if self._must_end(text, start) else _Stop.WINDOW
                line += buffer.count("\n", counted, start)
                counted, used, self._first = start, end, False
                block.rejected.append(self._unreadable(line, buffer[start:end], end - start))
                continue
            if not text.ended and len(buffer) - end < 3 and not buffer[end:].strip("+-.eE"):  # a number may go on
                return block, used, _Stop.UNREADABLE if self._must_end(text, start) else _Stop.WINDOW
            line += buffer.count("\n", counted, start)
            counted, used, self._first = start, end, False
            if end - start > self.record_max:
                block.rejected.append(_rejection(line, "RECORD_TOO_LARGE", buffer[start : start + RAW_KEPT] + "…"))
                continue
            try:
                if too_deep(buffer[start:end]):
                    raise RecordError("JSON_TOO_DEEP")
                found, errors = judged(value)
            except RecordError as error:
                block.rejected.append(_rejection(line, error.code, buffer[start:end]))
                continue
            if errors:
                block.errors[len(spans)] = errors
            block.objects.append(found)
            spans.append((start, end))
            numbers.append(line)
        return block, used, _Stop.WINDOW

    def _must_end(self, text: Window, start: int) -> bool:
        """Whether an element that cannot be read so far will not become readable with more of the text."""
        return text.ended or len(text.buffer) - start > self.record_max

    def _next_element(self, buffer: str, at: int = 0) -> int | str | None:  # noqa: PLR0911  a case a line
        """Where the next element begins; None at the array's end; or what is wrong."""
        at = _space(buffer, at)
        if self.layout.single and not self._first:
            return None
        if at == len(buffer):
            return _MORE
        if self.layout.single:
            return at
        if buffer[at] == "]":
            return None
        if self._first:
            return at if buffer[at] != "," else _NO_VALUE
        if buffer[at] != ",":
            return _NO_COMMA
        at = _space(buffer, at + 1)
        if at == len(buffer):
            return _MORE
        return at if buffer[at] not in ",]" else _NO_VALUE

    def _pass_over(self, text: Window) -> Rejected:
        """Passes over the element at the window's beginning, which cannot be read, to where its brackets close.

        Its size does not matter. Raises FileFailureError JSON_BROKEN where they don't close.
        """
        line, kept, size = text.line, "", 0
        depth = at = 0
        inside = False  # of a string
        while True:
            buffer = text.buffer
            match = _TO_QUOTE.match(buffer, at) if inside else _MARK.search(buffer, at)
            if match is None or (inside and not match[1]):
                at = match.end() if match else len(buffer)
                kept += buffer[: min(at, max(0, self.record_max - len(kept)))]
                size += at
                text.drop(at)
                at = 0
                if text.ended:
                    raise FileFailureError("JSON_BROKEN", line=f"{line:,}", reason=_CUT)
                text.fill()
                continue
            at = match.end()
            if inside:
                inside = False
                continue
            mark = match[0][0]
            inside = mark == '"'
            if depth == 0 and mark in ",]}":
                at -= 1
                break
            depth += len(match[0]) if mark in "[{" else -(mark in "}]")
            if depth == 0 and mark in "}]":
                break
        kept += buffer[: min(at, max(0, self.record_max - len(kept)))]
        size += at
        text.drop(at)
        return self._unreadable(line, kept, size)

    def _unreadable(self, line: int, text: str, size: int) -> Rejected:
        if size > self.record_max:
            return _rejection(line, "RECORD_TOO_LARGE", text[:RAW_KEPT] + "…")
        return _rejection(line, "JSON_TOO_DEEP" if too_deep(text) else "JSON_INVALID", text)

    def _check_behind(self, text: Window) -> None:
        """Behind the end of a whole file nothing may stand."""
        if self.layout.array:
            return
        closed = self.layout.single
        while True:
            rest = text.buffer.lstrip(" \t\n\r")
            if not closed and rest:
                rest, closed = rest[1:].lstrip(" \t\n\r"), True
            if rest:
                raise FileFailureError("JSON_BROKEN", line=f"{text.line:,}", reason=_BEHIND)
            text.drop(len(text.buffer))
            if text.ended:
                return
            text.fill()


class _Stop(Enum):
    WINDOW = "the window ends"
    UNREADABLE = "the next element cannot be read"


def _end_of(buffer: str, start: int) -> int:
    """Where an element ends that cannot be read: where its brackets close, or before the next comma; -1 if that is
    not in the window."""
    depth = 0
    for match in _MARK_OR_STRING.finditer(buffer, start):
        mark = buffer[match.start()]
        if mark in "[{":
            depth += match.end() - match.start()
        elif mark != '"' and depth == 0:
            return match.start()
        elif mark in "]}":
            depth -= 1
            if depth == 0:
                return match.end()
    return -1


def _rejection(line: int, code: str, raw: str) -> Rejected:
    return Rejected(line, [RowError("", code)], raw, None)


def _space(buffer: str, at: int) -> int:
    match = _SPACE.match(buffer, at)
    return match.end() if match else at
