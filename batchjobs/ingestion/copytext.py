"""Columns in the text form of COPY: tabs between, backslash escapes, \\N for NULL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from json.encoder import encode_basestring  # C code, and it keeps what is not ASCII

NULL = "\\N"
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


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


def copy_objects(parts: Sequence[tuple[str, Sequence[str]]], count: int) -> list[str]:
    """A JSON object a row, of texts. Blank cells are left out, so that they never erase."""
    if not parts:
        return ["{}"] * count
    if any("" in values for _, values in parts):
        pieces = []
        for name, values in parts:
            head = encode_basestring(name) + ": "
            pieces.append([head + encode_basestring(value) if value else "" for value in values])
        objects = ["{" + ", ".join(filter(None, row)) + "}" for row in zip(*pieces, strict=True)]
    else:
        form = "{" + ", ".join(encode_basestring(name).replace("%", "%%") + ": %s" for name, _ in parts) + "}"
        encoded = [map(encode_basestring, values) for _, values in parts]
        objects = [form % row for row in zip(*encoded, strict=True)]
    if any("\\" in text for text in objects):
        objects = [text.replace("\\", "\\\\") for text in objects]
    return objects
