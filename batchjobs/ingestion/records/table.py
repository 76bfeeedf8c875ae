"""A block of records as columns: checks run down a column, and a record collects all that is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable, Sequence
from itertools import compress, repeat
from types import NoneType
from typing import Any, TypeVar

import orjson

from batchjobs.ingestion import checks
from batchjobs.ingestion.copytext import Part, copy_objects
from batchjobs.ingestion.formats.json_records import as_text, encode
from batchjobs.ingestion.formulas import undo_safe
from batchjobs.ingestion.records.columns import Column, Kind, Matched
from batchjobs.ingestion.rows import CellBlock, ObjectBlock, Rejected, RowError

T = TypeVar("T")
TEXT_MAX = 255
TIMES_AT_ONCE = 128


class Table:
    """What both kinds of blocks have. A column that the file does not have is None.

    After all checks `keep` picks the records without errors.
    """

    def __init__(self, block: CellBlock | ObjectBlock, matched: Matched, header: Sequence[str]) -> None:
        self.block = block
        self.header = header
        self.matched = matched
        self.count = block.count
        self.errors: dict[int, list[RowError]] = {}  # by the record's place in the block
        self._mask: list[bool] | None = None

    def add(self, at: int, column: str, code: str, value: str = "") -> None:
        """Notes an error of the record at `at`, in one of our columns or in the record as a whole."""
        name = self.matched.names.get(column, column)
        self.errors.setdefault(at, []).append(RowError(name, code, value))

    def texts(self, name: str) -> list[str] | None:
        """A known column as texts, as they stand in the file. It is asked for once: objects give their values away."""
        raise NotImplementedError

    def seen(self, name: str) -> list[str]:
        """The texts of a known column, without taking them."""
        raise NotImplementedError

    def objects(self, extra: Sequence[Part] = (), *, blank_is_null: bool = False) -> list[str]:
        """For COPY: a JSON object for each record that is kept, of what is not known and of `extra`, which are of the
        kept ones already. Blank values are left out, as if the column were not there, or are null.
        """
        raise NotImplementedError

    def cells(self, place: int) -> list[str] | None:
        """A record for people."""
        raise NotImplementedError

    # Checks. Each gives a clean value for each record; what could not be read stays as it is and is noted.

    def checked(  # noqa: PLR0911  a case a kind
        self, column: Column, parse_time: Callable[[str], str], known_emails: Container[str] = ()
    ) -> list[str] | None:
        """A known column, checked as its kind says. Addresses among `known_emails` were checked before."""
        values = self.texts(column.name)
        if values is None:
            return None
        match column.kind:
            case Kind.EMAIL:
                if known_emails:
                    return self._emails(column, values, known_emails)
                return self._mapped(column, _lowered(values), checks.email, "EMAIL_INVALID")
            case Kind.EMAIL_OR_HASH:
                return self._mapped(column, _lowered(values), checks.email_or_hash, "EMAIL_OR_HASH_INVALID")
            case Kind.MD5:
                return self._mapped(column, _lowered(values), checks.md5, "HASH_INVALID")
            case Kind.SHA256:
                return self._mapped(column, _lowered(values), checks.sha256, "HASH_INVALID")
            case Kind.NUMBER:
                return self._mapped(column, list(map(str.strip, values)), checks.number, "NUMBER_INVALID")
            case Kind.CHOICE:
                choices = column.choices or {}
                return self._mapped(column, _lowered(values), lambda value: choices.get(value, ""), "CHOICE_INVALID")
            case Kind.TIME:
                return self.times(column.name, list(map(str.strip, values)), parse_time)
            case Kind.DATE:
                return [time[:10] for time in self.times(column.name, list(map(str.strip, values)), parse_time)]
            case Kind.LONG_TEXT:
                return list(map(str.strip, values))
            case _:
                return self._short(column.name, list(map(str.strip, values)))

    def times(self, name: str, values: list[str], parse: Callable[[str], str]) -> list[str]:
        """ISO times; blank stays blank."""
        if checks.are_plain_times(values):
            return values
        if odd := [at for at, value in enumerate(values) if len(value) != checks.PLAIN_TIME]:
            # Those of another length alone; mostly the others are all plain then.
            clean = list(values)
            for at in odd:
                clean[at] = self._time(at, name, values[at], parse)
            rest = [value for value in values if len(value) == checks.PLAIN_TIME]
            if not rest or checks.are_plain_times(rest):
                return clean
            for at, value in enumerate(values):
                if len(value) == checks.PLAIN_TIME:
                    clean[at] = self._time(at, name, value, parse)
            return clean
        clean = []
        while len(clean) < len(values):
            piece = values[len(clean) : len(clean) + TIMES_AT_ONCE]
            if checks.are_plain_times(piece):
                clean.extend(piece)
                continue
            for value in piece:
                clean.append(self._time(len(clean), name, value, parse))
        return clean

    def _time(self, at: int, name: str, value: str, parse: Callable[[str], str]) -> str:
        try:
            return parse(value)
        except (ValueError, OverflowError) as error:
            if value:
                self.add(at, name, _date_problem(error), value)
            return ""

    def _emails(self, column: Column, values: list[str], known: Container[str]) -> list[str]:
        seen = list(map(known.__contains__, values))
        if all(seen):
            return values
        fresh = [at for at, is_known in enumerate(seen) if not is_known]
        clean = list(values)
        for at in fresh:
            value = values[at].strip().lower()
            clean[at] = checks.email(value)
            if value and not clean[at]:
                self.add(at, column.name, "EMAIL_INVALID", value)
                clean[at] = value  # told once: it is not missing too
        return clean

    def _mapped(self, column: Column, values: list[str], check: Callable[[str], str], code: str) -> list[str]:
        clean = list(map(check, values))
        if "" in clean:
            for at, value in enumerate(values):
                if value and not clean[at]:
                    self.add(at, column.name, code, value)
                    clean[at] = value  # told once: it is not missing too
        return clean

    def _short(self, name: str, values: list[str]) -> list[str]:
        if max(map(len, values), default=0) > TEXT_MAX:
            for at, value in enumerate(values):
                if len(value) > TEXT_MAX:
                    self.add(at, name, "VALUE_TOO_LONG", value[:TEXT_MAX])
        return values

    # What is left in the end.

    def keep(self, column: list[T]) -> list[T]:
        """Of a column, the records without errors that were not left out."""
        if self._mask is None:
            if not self.errors:
                return column
            self._mask = [place not in self.errors for place in range(self.count)]
        return list(compress(column, self._mask))

    def leave_out(self, wanted: Iterable[bool]) -> None:
        """Of the records that are kept so far, keeps only those marked in `wanted`."""
        marks = iter(wanted)
        before = self._mask if self._mask is not None else [place not in self.errors for place in range(self.count)]
        self._mask = [kept and next(marks) for kept in before]

    def lines(self) -> list[int]:
        return list(self.block.lines)

    def rejected(self) -> list[Rejected]:
        """What could not be read as a record, and the records with errors, as they stand in the file."""
        block = self.block
        order = {name.strip(): at for at, name in enumerate(self.header)}
        told = []
        for place, errors in self.errors.items():
            errors.sort(key=lambda error: order.get(error.column, -1))
            told.append(Rejected(block.lines[place], errors, block.raw(place), self.cells(place)).as_kept())
        return block.rejected + told


class CellTable(Table):
    """Of a file with a header."""

    block: CellBlock

    def __init__(self, block: CellBlock, matched: Matched, header: Sequence[str]) -> None:
        super().__init__(block, matched, header)
        self._columns = block.columns
        if block.dirty:
            self._check_text()
        if matched.formula_safe:
            self._columns = [list(map(undo_safe, column)) for column in block.columns]

    def texts(self, name: str) -> list[str] | None:
        index = self.matched.known.get(name)
        return None if index is None else self._columns[index]

    def seen(self, name: str) -> list[str]:
        return self.texts(name) or []

    def objects(self, extra: Sequence[Part] = (), *, blank_is_null: bool = False) -> list[str]:
        others = [Part(name, self.keep(self._columns[index])) for name, index in self.matched.others.items()]
        parts = [*others, *extra]
        if blank_is_null:
            parts = [part.with_nulls() for part in parts]
        return copy_objects(parts, len(self.keep(self.lines())))

    def cells(self, place: int) -> list[str] | None:
        return [column[place] for column in self.block.columns]

    def _check_text(self) -> None:
        """Only for blocks that hold bytes which are not text."""
        for name, column in zip(self.header, self.block.columns, strict=True):
            for at, cell in enumerate(column):
                if "\x00" in cell:
                    self.errors.setdefault(at, []).append(RowError(name, "NUL_CHARACTER", cell))
                if not cell.isascii() and not _encodable(cell):
                    self.errors.setdefault(at, []).append(RowError(name, "ENCODING_INVALID", cell))


class ObjectTable(Table):
    """Of JSON objects: each has keys of its own. A value keeps its type, except in the columns that are known."""

    block: ObjectBlock

    def __init__(self, block: ObjectBlock, keys: dict[str, str], matched: Matched, header: Sequence[str]) -> None:
        """`keys` says what each key of the block is: a column of ours, a name to keep it under, or "" to leave out."""
        super().__init__(block, matched, header)
        self.errors = {place: list(errors) for place, errors in block.errors.items()}
        self._keys = keys
        self._of: dict[str, list[str]] = {}
        self._taken: dict[str, list[Any]] = {}  # by key, out of all records
        for key, ours in keys.items():
            self._of.setdefault(ours, []).append(key)

    def _values(self, name: str) -> list[Any] | None:
        """A known column with JSON's types; None where a record does not have it."""
        keys = self._of.get(name)
        if not keys:
            return None
        objects = self.block.objects
        if len(keys) == 1:
            taken = self._taken[keys[0]] = list(map(dict.pop, objects, repeat(keys[0]), repeat(None)))
            return taken
        values = [record.get(keys[0]) for record in objects]
        for key in keys[1:]:
            values = [
                record.get(key) if value is None else value for value, record in zip(values, objects, strict=True)
            ]
        return values

    def texts(self, name: str) -> list[str] | None:
        values = self._values(name)
        if values is None:
            return None
        types = set(map(type, values))
        if types == {str}:
            return values
        if types == {str, NoneType}:
            return [value or "" for value in values]
        clean: list[str] = []
        for at, value in enumerate(values):
            text = as_text(value)
            if text is None:
                self.add(at, name, "VALUE_NOT_TEXT", for_people(value)[:TEXT_MAX])
                text = ""
            clean.append(text)
        return clean

    def seen(self, name: str) -> list[str]:
        keys = self._of.get(name, ())
        return [as_text(record[key]) or "" for record in self.block.objects for key in keys if key in record]

    def _rests(self) -> list[dict[str, Any]]:
        """What is not known of the records that are kept, under the names it is to have."""
        rests = self.keep(self.block.objects)
        known = self.matched.known
        for name in known:
            if len(keys := self._of[name]) > 1:  # only one of them is the column; the others stay
                for rest in rests:
                    if found := next((key for key in keys if key in rest), ""):
                        del rest[found]
        taken = [key for key, name in self._keys.items() if not name]
        renamed = [(key, name) for key, name in self._keys.items() if name not in ("", key) and name not in known]
        for key in taken:
            for rest in rests:
                rest.pop(key, None)
        for key, name in renamed:
            for rest in rests:
                if key in rest:
                    rest[name] = rest.pop(key)
        return rests

    def objects(self, extra: Sequence[Part] = (), *, blank_is_null: bool = False) -> list[str]:
        rests = self._rests()
        for name, values, is_json in extra:
            for rest, value in zip(rests, values, strict=True):
                if value or blank_is_null:
                    rest[name] = orjson.Fragment(value) if value and is_json else value
        if blank_is_null:
            rests = [{key: None if _is_blank(value) else value for key, value in rest.items()} for rest in rests]
        written = list(map(encode if self.block.has_numbers or extra else orjson.dumps, rests))
        # JSON has no line breaks of its own: all are looked at, and decoded, at once.
        joined = b"\n".join(written)
        if not blank_is_null and (b':""' in joined or b":null" in joined):  # perhaps a blank value
            for at, text in enumerate(written):
                if b':""' in text or b":null" in text:
                    written[at] = encode(_without_blanks(rests[at]))
            joined = b"\n".join(written)
        return joined.replace(b"\\", b"\\\\").decode().split("\n") if rests else []

    def cells(self, place: int) -> list[str] | None:
        record, taken = self.block.objects[place], self._taken
        return [for_people(taken[name][place] if name in taken else record.get(name)) for name in self.header]


def _is_blank(value: Any) -> bool:
    return value is None or (type(value) is str and not value)


def _without_blanks(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if not _is_blank(value)}


def for_people(value: Any) -> str:
    text = as_text(value)
    if text is not None:
        return text
    try:
        return encode(value).decode()
    except TypeError:  # texts in it are no text
        return json.dumps(value)


def _lowered(values: Iterable[str]) -> list[str]:
    return [value.strip().lower() for value in values]


def _date_problem(error: Exception) -> str:
    if isinstance(error, checks.DateAmbiguousError):
        return "DATE_AMBIGUOUS"
    return "DATE_OUT_OF_RANGE" if isinstance(error, OverflowError) else "EVENT_TIME_INVALID"


def _encodable(cell: str) -> bool:
    try:
        cell.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
