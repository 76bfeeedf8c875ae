"""What the sources share: fields, the SELECT of their rows, and the errors.

A source is one kind of data that an export can hold (`SOURCES`). Its fixed fields are columns of a model; its free ones
are the keys that the JSON of its rows happens to have.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import psycopg
from django.db import connection, models, transaction
from django.db.models import F, QuerySet
from django.db.models.expressions import Combinable
from django.db.utils import OperationalError
from django.utils.translation import gettext as _

from audience.models import Database
from audience.windows import Window
from exports.rows import ColumnType, OutColumn, Selection
from exports.sources.expressions import AsText, JsonText, JsonValue, typed

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

Rows = QuerySet[Any]
Ask = Callable[[str], "list[int] | None"]  # a query of one row of whole numbers; None: that took too long

LOOKED_AT = 2_000  # newest rows in which free keys are looked for
KEYS_MAX = 200
KEY_LENGTH_MAX = 255
FIELDS_MILLISECONDS = 5_000
COUNT_MILLISECONDS = 3_000
TYPES_MILLISECONDS = 60_000
PREVIEW_ROWS = 20
PREVIEW_CHARACTERS = 200


class SourceError(Exception):
    """What an export asks for is not there or cannot be: a code, and a sentence for people.

    Codes: SOURCE_TABLE_MISSING, COLUMN_MISSING, FILTER_INVALID.
    """

    def __init__(self, code: str, sentence: str, **params: Any) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.params = params


@dataclass(frozen=True, slots=True)
class Field:
    """Something of a row that can be a column, or be asked about.

    `value` is its SQL. `raw` is there for what is kept as text (JSON): the text, which `typed` reads as any type.
    """

    name: str
    label: str | _StrPromise
    type: ColumnType
    example: str = ""
    value: Combinable = field(default_factory=lambda: F("pk"), repr=False, compare=False)
    raw: Combinable | None = field(default=None, repr=False, compare=False)
    is_free: bool = False  # a key of JSON: its type is only what was seen
    is_default: bool = True  # a column where an export names none
    is_lowered: bool = False  # stored in lower case: a text to compare with is made so
    is_column: bool = True  # else it can only be asked about
    # For what is no value of the row: a condition from an operator and its texts.
    asks: Callable[[str, list[str]], Any] | None = field(default=None, repr=False, compare=False)
    sentences: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)  # operator -> its own words

    def as_type(self, kind: ColumnType) -> Combinable:
        """The value as one of another type. Only what is kept as text can be read so."""
        if kind is self.type or self.raw is None:
            return self.value
        return typed(self.raw, kind)


@dataclass(frozen=True, slots=True)
class Free:
    """A JSON column whose keys are fields: `prefix` + key. `path` leads to it from the source's model."""

    prefix: str
    path: str
    is_default: bool = True

    def field(self, key: str, kind: ColumnType = ColumnType.TEXT, example: str = "") -> Field:
        text = JsonText(self.path, key)
        return Field(
            self.prefix + key, key, kind, example, typed(text, kind), text, is_free=True, is_default=self.is_default
        )


@dataclass(frozen=True, slots=True)
class Fields(Sequence[Field]):
    """The fields of a source: those that are listed, and any other key of its free columns."""

    listed: tuple[Field, ...]
    free: tuple[Free, ...] = ()

    def __len__(self) -> int:
        return len(self.listed)

    def __getitem__(self, at: Any) -> Any:
        return self.listed[at]

    def __iter__(self) -> Iterator[Field]:
        return iter(self.listed)

    def find(self, name: str) -> Field | None:
        """A field by its name. A free key need not be among those that were seen: it is a text then."""
        for known in self.listed:
            if known.name == name:
                return known
        for free in self.free:
            key = name.removeprefix(free.prefix)
            if key != name and key and len(key) <= KEY_LENGTH_MAX and is_storable(key):
                return free.field(key)
        return None

    def get(self, name: str) -> Field:
        """Raises SourceError COLUMN_MISSING."""
        if found := self.find(name):
            return found
        raise SourceError("COLUMN_MISSING", _("There is no column “%(name)s” any more.") % {"name": name}, column=name)


def is_storable(text: str) -> bool:
    """Whether PostgreSQL takes the text."""
    try:
        return b"\x00" not in text.encode()
    except UnicodeEncodeError:
        return False


class Source(ABC):
    """One kind of data. `table` names a list or table where `needs_table`; `kind` narrows some to a part."""

    data_type: ClassVar[str]
    title: ClassVar[Any]
    needs_table: ClassVar[bool] = False
    has_kind: ClassVar[bool] = False
    free: ClassVar[tuple[Free, ...]] = ()

    @abstractmethod
    def fixed(self, database: Database, table: str) -> list[Field]:
        """The fields that do not depend on the rows. Raises SourceError SOURCE_TABLE_MISSING."""

    @abstractmethod
    def rows(self, database: Database, table: str = "", kind: str = "") -> Rows:
        """All rows, of models that have `change_xid`. Raises SourceError SOURCE_TABLE_MISSING."""

    def frees(self, database: Database, table: str) -> tuple[Free, ...]:
        return self.free

    def fields(self, database: Database, table: str = "", kind: str = "", *, seen: bool = True) -> Fields:
        """All fields. Free keys are those of the newest rows, in the order of their names, unless not `seen`.

        Looking at the rows is given up after a few seconds: then only the fixed fields are listed.
        """
        listed = self.fixed(database, table)
        frees = self.frees(database, table)
        if seen:
            rows = self.rows(database, table, kind)
            for free in frees:
                listed += _keys_seen(rows, free)
        return Fields(tuple(listed), frees)

    def selection(
        self,
        rows: Rows,
        columns: Iterable[Mapping[str, str]] | None,
        fields: Fields,
        *,
        typed: bool = True,
        ask: Ask | None = None,
    ) -> Selection:
        """The SELECT of these columns ({"field", "header"}), in the order of `rows`; without any, of the default ones.

        With `typed`, free columns have the type that `fields` saw if all of `rows` agree with it, which costs a pass
        over them; else they are texts. So nothing is lost for a value that is not like the others. Files without types
        (CSV) need no `typed`. `ask` asks in the snapshot in which the rows are read: in another one they may agree
        where these do not. Raises SourceError COLUMN_MISSING.
        """
        chosen = list(columns or ()) or default_columns(fields)
        found = [fields.get(column["field"]) for column in chosen]
        if any(not one.is_column for one in found):
            name = next(one.name for one in found if not one.is_column)
            raise SourceError("COLUMN_MISSING", _("“%(name)s” cannot be a column.") % {"name": name}, column=name)
        found = _settled(rows, found, ask or ask_now) if typed else [_as_text(one) for one in found]
        headers = [column.get("header") or header_of(one) for column, one in zip(chosen, found, strict=True)]
        select = _composed(_selected(rows, found))
        return Selection(select, tuple(OutColumn(h, one.type) for h, one in zip(headers, found, strict=True)))


def default_columns(fields: Fields) -> list[dict[str, str]]:
    """Where an export names no columns: all that a row itself has, and whom it is about. Headers are different."""
    chosen = [one for one in fields if one.is_default and one.is_column]
    headers = [header_of(one) for one in chosen]
    return [
        {"field": one.name, "header": header if headers.count(header) == 1 else one.name}
        for one, header in zip(chosen, headers, strict=True)
    ]


def header_of(one: Field) -> str:
    """The name of a field without what it is of."""
    return str(one.label) if one.raw is not None else one.name.rpartition(".")[2]


def changed(rows: Rows, window: Window) -> Rows:
    """The rows that were last written in the window."""
    return window.rows(rows)


def count(rows: Rows, *, limit: int | None = None, milliseconds: int = COUNT_MILLISECONDS) -> int | None:
    """How many, `limit` at most; None if that takes too long."""
    with within(milliseconds) as outcome:
        found = (rows.order_by()[:limit] if limit else rows).count()
    return None if outcome.gave_up else found


def preview(
    rows: Rows,
    columns: Iterable[Mapping[str, str]] | None,
    fields: Fields,
    *,
    limit: int = PREVIEW_ROWS,
    milliseconds: int = COUNT_MILLISECONDS,
) -> list[list[str]] | None:
    """The newest rows as texts, long ones cut; None if that takes too long. Raises SourceError COLUMN_MISSING."""
    chosen = [_as_text(fields.get(column["field"])) for column in columns or default_columns(fields)]
    if not chosen:
        return []
    texts = ", ".join(_shown(f"c{at}", one.type) for at, one in enumerate(chosen))
    select = _composed(_selected(rows.order_by("-pk")[:limit], chosen))
    with within(milliseconds) as outcome, connection.cursor() as cursor:
        # A second ORDER BY: what a subquery's rows are in is not promised outside.
        cursor.execute(f"SELECT {texts} FROM ({select}) s ORDER BY k DESC")  # noqa: S608  composed by psycopg
        found = [list(row) for row in cursor.fetchall()]
    return None if outcome.gave_up else found


def _shown(column: str, kind: ColumnType) -> str:
    text = f"{column}::text"
    if kind is ColumnType.DATETIME:
        text = f"""to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')"""
    return f"coalesce(left({text}, {PREVIEW_CHARACTERS}), '')"


# Time limits.


@dataclass(slots=True)
class Outcome:
    gave_up: bool = False


@contextmanager
def within(milliseconds: int) -> Iterator[Outcome]:
    """Statements inside may each take so long; otherwise the block ends, and `gave_up` says so. Reads only."""
    outcome = Outcome()
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            # Until the transaction ends, or this savepoint is rolled back: so it is set back by hand too.
            cursor.execute(
                "SELECT current_setting('statement_timeout'), set_config('statement_timeout', %s, true)",
                [f"{milliseconds}ms"],
            )
            (before, _now) = cursor.fetchone()
            yield outcome
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [before])
    except OperationalError as error:
        if not isinstance(error.__cause__, psycopg.errors.QueryCanceled):
            raise
        outcome.gave_up = True


# SQL.


def _selected(rows: Rows, found: Sequence[Field]) -> Rows:
    columns = {f"c{at}": one.value for at, one in enumerate(found)}
    return rows.annotate(**columns, k=F("pk")).values_list(*columns, "k")


def _composed(rows: Rows) -> str:
    """The statement of a QuerySet with all values in it."""
    sql, params = rows.query.sql_with_params()
    connection.ensure_connection()
    return psycopg.ClientCursor(connection.connection).mogrify(sql, params)


def _as_text(one: Field) -> Field:
    if one.is_free and one.type is not ColumnType.TEXT and one.raw is not None:
        return replace(one, type=ColumnType.TEXT, value=one.raw)
    return one


_KEYS = """
    SELECT key, bool_and(jsonb_typeof(value) = 'number'), bool_and(jsonb_typeof(value) = 'boolean'),
           max(left(value #>> '{{}}', 60) COLLATE "C"), count(*)
    FROM (SELECT CASE WHEN jsonb_typeof(o) = 'object' THEN o ELSE '{{}}' END AS o FROM ({rows}) r(o)) r, jsonb_each(o)
    WHERE value <> 'null' GROUP BY key ORDER BY count(*) DESC, key COLLATE "C" LIMIT {limit}
"""


def _keys_seen(rows: Rows, free: Free) -> list[Field]:
    """The keys of the newest rows, the most frequent ones if there are many."""
    newest = _composed(rows.order_by("-pk").values_list(free.path)[:LOOKED_AT])
    with within(FIELDS_MILLISECONDS) as outcome, connection.cursor() as cursor:
        cursor.execute(_KEYS.format(rows=newest, limit=KEYS_MAX))
        found = cursor.fetchall()
    if outcome.gave_up:
        return []
    fields = []
    for key, is_number, is_boolean, example, _count in sorted(found):
        if key and len(key) <= KEY_LENGTH_MAX:
            kind = ColumnType.NUMBER if is_number else ColumnType.BOOLEAN if is_boolean else ColumnType.TEXT
            fields.append(free.field(key, kind, example))
    return fields


def _settled(rows: Rows, found: list[Field], ask: Ask) -> list[Field]:
    """The fields, free ones as texts unless every one of the rows has JSON of the type that was seen."""
    guessed = {f"t{at}": one for at, one in enumerate(found) if one.is_free and one.type is not ColumnType.TEXT}
    if not guessed:
        return found
    texts = {name: _type_of(one) for name, one in guessed.items()}
    inner = _composed(rows.order_by().annotate(**texts).values_list(*texts))
    agree = (
        f"coalesce(bool_and({name} IS NULL OR {name} IN ('{one.type}', 'null')), true)::int"
        for name, one in guessed.items()
    )
    answers = ask(f"SELECT {', '.join(agree)} FROM ({inner}) s")  # noqa: S608  composed by psycopg
    agreed = dict(zip(guessed, answers, strict=True)) if answers else dict.fromkeys(guessed, 0)
    return [_as_text(one) if agreed.get(f"t{at}") == 0 else one for at, one in enumerate(found)]


def ask_now(query: str) -> list[int] | None:
    """The whole numbers that a query of one row gives, in a snapshot of its own; None if it takes too long."""
    with within(TYPES_MILLISECONDS) as outcome, connection.cursor() as cursor:
        cursor.execute(query)
        answers = list(cursor.fetchone())
    return None if outcome.gave_up else answers


def _type_of(one: Field) -> models.Func:
    """jsonb_typeof of a free field's value."""
    column, key = one.raw.source_expressions  # type: ignore[union-attr]  # JsonText
    return models.Func(JsonValue(column, key.value), function="jsonb_typeof", output_field=models.TextField())


def text_of(path: str) -> AsText:
    """A varchar column as text."""
    return AsText(F(path), models.TextField())
