"""How a record type declares its columns: checks, texts, templates, the reference page and the API come from it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from batchjobs.failures import FileFailureError

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

_HUMPS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SEPARATORS = re.compile(r"[\s\-./]+")
# Columns that Batchdesk itself adds to rejected rows: a corrected file may still have them.
ERROR_COLUMNS = ("_error_line", "_error_code", "_error_column", "_error_message")
LEAVE_OUT = ""  # where a person sends a column that is not wanted


class Kind(Enum):
    """What values of a column are; `table.Table` has the check of each."""

    TEXT = "text"
    LONG_TEXT = "text of any length"
    EMAIL = "e-mail address"
    EMAIL_OR_HASH = "e-mail address, or its MD5 or SHA-256"
    MD5 = "MD5 in hexadecimal"
    SHA256 = "SHA-256 in hexadecimal"
    TIME = "date or time"
    DATE = "date"
    NUMBER = "number"
    CHOICE = "one of a few words"
    JSON = "JSON"


@dataclass(frozen=True, slots=True)
class Column:
    """A column that a record type knows. `aliases` are other names it is found by, the likelier first."""

    name: str
    help: str | _StrPromise
    example: str
    aliases: tuple[str, ...] = ()
    kind: Kind = Kind.TEXT
    required: bool = False
    choices: Mapping[str, str] | None = None  # Kind.CHOICE: spelling -> what is stored
    wrong: str = ""  # an example of a value that is refused, for the reference page


@dataclass(frozen=True, slots=True)
class Matched:
    """Which columns of a file fill which of ours. `others` are kept: file's column -> name to keep it under."""

    known: dict[str, int]  # our column -> place
    others: dict[str, int]  # name to keep -> place
    names: dict[str, str]  # our column -> the file's name for it
    formula_safe: bool  # the file came from us with `'` before formulas


def canonical(name: str) -> str:
    """`E-Mail `, `e_mail` and `eMail` are one name."""
    return _SEPARATORS.sub("_", _HUMPS.sub("_", name.strip()).lower())


def match_columns(
    header: Iterable[str],
    columns: Iterable[Column],
    *,
    limit: int,
    chosen: Mapping[str, str] | None = None,
    formula_safe: bool = False,
) -> Matched:
    """Finds our columns among a file's: as `chosen` says (file's name -> ours, another name, or LEAVE_OUT), else by
    name, else by alias. Raises FileFailureError COLUMNS_TOO_MANY or COLUMN_TWICE.
    """
    header = list(header)
    if len(header) > limit:
        raise FileFailureError("COLUMNS_TOO_MANY", count=len(header), limit=limit)
    columns = list(columns)
    ours = {column.name for column in columns}
    choice = {canonical(name): target for name, target in (chosen or {}).items()}
    places: dict[str, int] = {}
    wanted: dict[str, int] = {}  # by choice: our column or a name to keep -> place
    left: list[tuple[str, str, int]] = []
    for index, raw in enumerate(header):
        name = raw.strip().replace("\x00", "") or f"column_{index + 1}"
        key = canonical(name)
        if raw.strip().lower() in ERROR_COLUMNS:
            formula_safe = True
            continue
        if key in places or name in wanted:
            raise FileFailureError("COLUMN_TWICE", column=name)
        places[key] = index
        target = choice.get(key)
        if target is None:
            left.append((key, name, index))
        elif target != LEAVE_OUT:
            if target in wanted:
                raise FileFailureError("COLUMN_TWICE", column=target)
            wanted[target] = index
    known = {target: index for target, index in wanted.items() if target in ours}
    others = {target: index for target, index in wanted.items() if target not in ours}
    free = {key: (name, index) for key, name, index in left}
    for spelling in _spellings(columns):
        for column, key in spelling:
            if column.name not in known and key in free:
                known[column.name] = free.pop(key)[1]
    others |= dict(free.values())
    names = {ours: header[index].strip() for ours, index in known.items()}
    return Matched(known, others, names, formula_safe)


def _spellings(columns: list[Column]) -> Iterable[list[tuple[Column, str]]]:
    """First all names, then all first aliases, and so on: what fits best is taken first."""
    depth = max((len(column.aliases) for column in columns), default=0)
    yield [(column, column.name) for column in columns]
    for at in range(depth):
        yield [(column, column.aliases[at]) for column in columns if at < len(column.aliases)]


def match_keys(
    keys: Iterable[str], columns: Iterable[Column], chosen: Mapping[str, str] | None = None
) -> tuple[Matched, dict[str, str]]:
    """The same for the keys of JSON objects, each of which has its own: for each key one of our columns, a name to keep
    it under, or LEAVE_OUT. Several keys may be one column: in each object the first of them that it has.
    """
    columns = list(columns)
    ours = {column.name for column in columns}
    choice = {canonical(name): target for name, target in (chosen or {}).items()}
    ranks = {
        key: (rank, column.name)
        for rank, pairs in reversed(list(enumerate(_spellings(columns), 1)))
        for column, key in pairs
    }
    names: dict[str, str] = {}
    found: dict[str, list[tuple[int, str]]] = {}
    for key in sorted(keys):
        name = canonical(key)
        names[key] = LEAVE_OUT if name in ERROR_COLUMNS else choice.get(name, key)
        if name in choice:
            if names[key] in ours:
                found.setdefault(names[key], []).append((0, key))
        elif name in ranks:
            rank, column_name = ranks[name]
            found.setdefault(column_name, []).append((rank, key))
    known: dict[str, str] = {}
    for column_name, spellings in found.items():
        for _rank, key in sorted(spellings):
            del names[key]
            names[key] = column_name  # what fits best comes first
            known.setdefault(column_name, key)
    return Matched(dict.fromkeys(known, 0), {}, known, formula_safe=False), names
