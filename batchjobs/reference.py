"""The reference of the record types: columns, templates and examples, all from the declarations of the ingestion."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from typing import Any

from batchjobs.ingestion.problems import PROBLEMS
from batchjobs.ingestion.records import RECORD_TYPES
from batchjobs.ingestion.records.base import RecordType
from batchjobs.ingestion.records.columns import Column, Kind
from batchjobs.models import RecordType as Word
from batchjobs.options import OPTIONS

# The problem that a refused example of a kind of column leads to.
WRONG_CODES = {
    Kind.EMAIL: "EMAIL_INVALID",
    Kind.EMAIL_OR_HASH: "EMAIL_OR_HASH_INVALID",
    Kind.MD5: "HASH_INVALID",
    Kind.SHA256: "HASH_INVALID",
    Kind.TIME: "EVENT_TIME_INVALID",
    Kind.DATE: "EVENT_TIME_INVALID",
    Kind.NUMBER: "NUMBER_INVALID",
    Kind.CHOICE: "CHOICE_INVALID",
}


@dataclass(frozen=True, slots=True)
class ColumnEntry:
    """A column as people are told of it. `needed` is "always", "one of these" or ""."""

    column: Column
    needed: str
    wrong: str
    why: str

    @property
    def kind(self) -> str:
        return self.column.kind.value


@dataclass(frozen=True, slots=True)
class TypeEntry:
    """A record type as people are told of it."""

    word: str
    label: str
    record_type: RecordType
    columns: list[ColumnEntry]

    @property
    def options(self) -> list[tuple[str, str]]:
        return [(name, OPTIONS[name].help) for name in self.record_type.options if name in OPTIONS]

    @property
    def csv_template(self) -> str:
        """A header with an example row."""
        single = [column for column in self.record_type.columns if column.kind is not Kind.JSON]
        return _csv([[column.name for column in single], [column.example for column in single]])

    @property
    def json_template(self) -> str:
        """An example record."""
        record: dict[str, Any] = {}
        for column in self.record_type.columns:
            is_json = column.kind in (Kind.JSON, Kind.NUMBER)
            record[column.name] = json.loads(column.example) if is_json else column.example
        return json.dumps(record, ensure_ascii=False) + "\n"

    @property
    def failing_example(self) -> str:
        """A file in which each row is rejected for another reason."""
        single = [column for column in self.record_type.columns if column.kind is not Kind.JSON]
        rows = [[column.name for column in single]]
        for bad in single:
            if bad.wrong:
                rows.append([column.wrong if column is bad else column.example for column in single])
        return _csv(rows)


def type_entries() -> list[TypeEntry]:
    """All record types, in the order in which people choose."""
    return [type_entry(word) for word in Word.values]


def type_entry(word: str) -> TypeEntry:
    """Raises KeyError for a word that is no type."""
    record_type = RECORD_TYPES[word]
    return TypeEntry(
        word, str(Word(word).label), record_type, [_entry(column, record_type) for column in record_type.columns]
    )


def _entry(column: Column, record_type: RecordType) -> ColumnEntry:
    needed = "always" if column.required else "one" if column.name in record_type.checker.identity else ""
    code = WRONG_CODES.get(column.kind, "")
    return ColumnEntry(column, needed, column.wrong, str(PROBLEMS[code].message) if column.wrong and code else "")


def _csv(rows: list[list[str]]) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()
