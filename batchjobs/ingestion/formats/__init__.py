"""How files are read: one module a format, all of one shape, listed in FORMATS.

A module has `layout_of(content, extension=, options=, record_max=)`, which finds out how a file is to be read, its
layout (a dataclass, stored with the job) and a reader, which gives out blocks of records from an offset on.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import PurePath
from typing import Any, Protocol

from batchjobs.failures import FileFailureError
from batchjobs.ingestion.formats import delimited, email_list, json_array, ndjson
from batchjobs.ingestion.formats.json_records import NAME_MAX
from batchjobs.ingestion.formats.lines import is_text, read_head
from batchjobs.ingestion.rows import CellBlock, ObjectBlock
from batchjobs.ingestion.source import Content, Opened


class Reader(Protocol):
    """Gives out blocks. `offset` and `line` are where the next one begins."""

    layout: Any
    offset: int
    line: int

    def seek(self, offset: int, line: int) -> None: ...

    def blocks(self) -> Iterator[Any]: ...


@dataclass(frozen=True, slots=True)
class Format:
    module: Any
    layout: type[Any]
    reader: type[Any]
    extensions: tuple[str, ...]


FORMATS: dict[str, Format] = {
    "delimited": Format(
        delimited, delimited.DelimitedLayout, delimited.DelimitedReader, (".csv", ".psv", ".tsv", ".txt")
    ),
    "emails": Format(email_list, email_list.EmailListLayout, email_list.EmailListReader, ()),
    "json": Format(json_array, json_array.JsonLayout, json_array.JsonReader, (".json",)),
    "ndjson": Format(ndjson, ndjson.NdjsonLayout, ndjson.NdjsonReader, (".ndjson", ".jsonl")),
}
EXTENSIONS = tuple(extension for entry in FORMATS.values() for extension in entry.extensions)
OBJECT_FORMATS = ("json", "ndjson")  # each record has names of its own
HEADER_KEYS = 40  # of their first records, for people, and those that fill columns of ours
# Ends of file names that are taken in: each kind, each packed, and an archive with one file.
ACCEPTED = (*EXTENSIONS, *(f"{extension}.gz" for extension in EXTENSIONS), ".zip")


def format_of(content: Content, name: str, options: dict[str, Any], record_max: int) -> str:
    """The key of the format of a file called `name` (of what is inside an archive).

    The extension says which family it is; the beginning decides between kinds that people call the same.
    Raises FileFailureError.
    """
    if chosen := options.get("format"):
        return str(chosen)
    extension = PurePath(name.lower()).suffix
    found = next((key for key, entry in FORMATS.items() if extension in entry.extensions), "")
    if not found:
        raise FileFailureError("NAME_UNKNOWN", name=name[:80], list=", ".join(EXTENSIONS))
    _form, text = read_head(content, str(options.get("encoding") or ""), record_max)
    if found == "delimited":
        plain = not (options.get("delimiter") or options.get("header")) and extension in (".csv", ".txt")
        return "emails" if plain and email_list.is_email_list(text) else found
    return _json_kind(text, found)


def _json_kind(text: str, found: str) -> str:
    """An array that is called .ndjson, and lines of objects that are called .json."""
    stripped = text.lstrip()
    if stripped.startswith("["):
        return "json"
    if found == "json" and stripped.startswith("{"):
        lines = [line for line in io.StringIO(stripped, newline=None) if line.strip()][:2]
        if len(lines) == 2 and all(line.startswith("{") and line.rstrip().endswith("}") for line in lines):
            return "ndjson"
    return found


@dataclass(frozen=True, slots=True)
class Found:
    """How a file is to be read, and its first records."""

    key: str  # of FORMATS
    layout: Any
    first: CellBlock | ObjectBlock | None

    @property
    def has_header(self) -> bool:
        return self.key not in OBJECT_FORMATS


def layout_find(opened: Opened, options: dict[str, Any], record_max: int) -> Found:
    """Looks at the beginning of a file. Raises FileFailureError for what cannot be read."""
    content = opened.content
    key = format_of(content, opened.name, options, record_max)
    layout = FORMATS[key].module.layout_of(
        content, extension=PurePath(opened.name.lower()).suffix, options=options, record_max=record_max
    )
    reader = reader_of(key, content, replace(layout), record_max)
    reader.seek(layout.data_offset, layout.data_line)
    first = next(iter(reader.blocks()), None)
    if isinstance(first, ObjectBlock):
        keys = dict.fromkeys(key for record in first.objects for key in record)
        layout.header = [key for key in keys if len(key) <= NAME_MAX and is_text(key)]
    return Found(key, layout, first)


def layout_to_state(key: str, layout: Any) -> dict[str, Any]:
    """What is stored with the job."""
    return {"format": key, **asdict(layout)}


def layout_from_state(state: dict[str, Any]) -> Any:
    known = FORMATS[state.get("format", "delimited")].layout
    return known(**{name: state[name] for name in known.__dataclass_fields__ if name in state})


def reader_of(state_format: str, content: Content, layout: Any, record_max: int) -> Reader:
    reader: Reader = FORMATS[state_format].reader(content, layout, record_max)
    return reader
