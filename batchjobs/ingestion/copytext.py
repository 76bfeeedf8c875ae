"""Columns in the text form of COPY: tabs between, backslash escapes, \\N for NULL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from json.encoder import encode_basestring  # C code, and it keeps what is not ASCII
from typing import NamedTuple

NULL = "\\N"
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


class Part(NamedTuple):
    """A key of JSON objects, with a value for each; "" leaves it out. `is_json`: values are JSON, not texts."""

    name: str
    values: Sequence[str]
    is_json: bool = False

    def with_nulls(self) -> Part:
        """Blank values as null."""
        encode = str if self.is_json else encode_basestring
        return Part(self.name, [encode(value) if value else "null" for value in self.values], True)


def copy_text(columns: Sequence[Iterable[str]]) -> str:
    """The lines of a COPY; empty without rows."""
    text = "\n".join(map("\t".join, zip(*columns, strict=True)))
    return text + "\n" if text else ""


def copy_texts(values: list[str]) -> list[str]:
    """Texts; blank is NULL."""
    joined = "".join(values)
    if "\\" in joined or "\t" in joined or "\n" in joined or "\r" in joined:
        values = [value.translate(_ESCAPES) for value in values]
    return [value or NULL for value in values] if "" in values else values


def copy_json(texts: list[str]) -> list[str]:
    """JSON without line breaks, which never holds a tab: only backslashes are to be escaped."""
    return [text.replace("\\", "\\\\") for text in texts] if "\\" in "".join(texts) else texts


def copy_objects(parts: Sequence[Part], count: int) -> list[str]:
    """A JSON object a row. Blank cells are left out, so that they never erase."""
    if not parts:
        return ["{}"] * count
    blank = [part for part in parts if "" in part.values]
    if not blank:
        return copy_json(_whole(parts))
    # Rows in which nothing is blank go the quick way.
    gaps = [not all(row) for row in zip(*(part.values for part in blank), strict=True)]
    if sum(gaps) * 2 > count:
        return copy_json(_with_gaps(parts))
    whole = iter(_whole([Part(p.name, _without(p.values, gaps), p.is_json) for p in parts]))
    marked = [not gap for gap in gaps]
    rest = iter(_with_gaps([Part(p.name, _without(p.values, marked), p.is_json) for p in parts]))
    return copy_json([next(rest) if gap else next(whole) for gap in gaps])


def _without(values: Sequence[str], gaps: list[bool]) -> list[str]:
    return [value for value, gap in zip(values, gaps, strict=True) if not gap]


def _whole(parts: Sequence[Part]) -> list[str]:
    pieces, columns = [], []
    for name, values, is_json in parts:
        quoted = not is_json and not _needs_escapes(values)
        pieces.append(encode_basestring(name).replace("%", "%%") + (': "%s"' if quoted else ": %s"))
        columns.append(values if quoted or is_json else list(map(encode_basestring, values)))
    form = "{" + ", ".join(pieces) + "}"
    return [form % row for row in zip(*columns, strict=True)]


def _with_gaps(parts: Sequence[Part]) -> list[str]:
    columns = []
    for name, values, is_json in parts:
        head = encode_basestring(name) + ": "
        if is_json:
            columns.append([head + value if value else "" for value in values])
        else:
            columns.append([head + encode_basestring(value) if value else "" for value in values])
    return ["{" + ", ".join(filter(None, row)) + "}" for row in zip(*columns, strict=True)]


def _needs_escapes(values: Sequence[str]) -> bool:
    joined = "".join(values)
    return len(encode_basestring(joined)) != len(joined) + 2
