"""What the sources share: fields, the SELECT of their rows, and the errors.

A source is one kind of data that an export can hold (`SOURCES`). Its fixed fields are columns of a model; its free ones
are the keys that the JSON of its rows happens to have.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import psycopg
from django.db import connection, models, transaction
from django.db.models import F, QuerySet, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce
from django.db.models.lookups import IsNull
from django.db.utils import OperationalError
from django.utils.translation import gettext as _

from audience.models import Database, Tombstone
from audience.windows import Window
from exports.rows import ColumnType, OutColumn, Selection
from exports.sources.expressions import AsNumber, AsText, JsonText, JsonValue, UtcText, typed
from exports.writers.values import distinct

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

Rows = QuerySet[Any]
Ask = Callable[[str], Any]  # what the JSON says that a query gives as its one value; None: that took too long

LOOKED_AT = 2_000  # newest rows in which free keys are looked for
KEYS_MAX = 200
KEY_LENGTH_MAX = 255
FIELD_NAME_MAX = len("profile.attributes.") + KEY_LENGTH_MAX  # the longest prefix
HEADER_MAX = 200
COLUMNS_MAX = 1000  # of a file; a row of PostgreSQL has 1664 at most
FIELDS_MILLISECONDS = 5_000
COUNT_MILLISECONDS = 3_000
TYPES_MILLISECONDS = 60_000
PREVIEW_ROWS = 20
PREVIEW_CHARACTERS = 200

# What a file has beside its columns, if it tells deletions: number of the row, hash of its key, whether it is gone.
TOLD = ("_id", "_key_sha256", "_deleted")


class SourceError(Exception):
    """What an export asks for is not there or cannot be: a code, and a sentence for people.

    Codes: SOURCE_TABLE_MISSING, COLUMN_MISSING, FILTER_INVALID, DEFINITION_INVALID.
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
    may_be: tuple[ColumnType, ...] = ()  # of a free text: types that it has if all rows agree
    is_default: bool = True  # a column where an export names none
    is_lowered: bool = False  # stored in lower case: a text to compare with is made so
    is_column: bool = True  # else it can only be asked about
    # For what is no value of the row: a condition from an operator and its texts.
    asks: Callable[[str, list[str]], Any] | None = field(default=None, repr=False, compare=False)
    sentences: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)  # operator -> its own words

    @property
    def guesses(self) -> tuple[ColumnType, ...]:
        """The types to try of what is kept as text."""
        if self.raw is None:
            return ()
        return self.may_be if self.type is ColumnType.TEXT else (self.type,)

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

    def field(
        self,
        key: str,
        kind: ColumnType = ColumnType.TEXT,
        example: str = "",
        *,
        may_be: tuple[ColumnType, ...] = (),
    ) -> Field:
        text = JsonText(self.path, key)
        return Field(
            self.prefix + key,
            key,
            kind,
            example,
            typed(text, kind),
            text,
            is_free=True,
            may_be=may_be,
            is_default=self.is_default,
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
    """One kind of data. `table` names a list or table where `needs_table`; `kind` narrows some to a part.

    Whoever passes a `database` has found it among those of an account. To ask rows for their account as well would be
    a join for each of them.
    """

    data_type: ClassVar[str]
    title: ClassVar[Any]
    needs_table: ClassVar[bool] = False
    has_kind: ClassVar[bool] = False
    free: ClassVar[tuple[Free, ...]] = ()

    @abstractmethod
    def fixed(self, database: Database, table: str) -> list[Field]:
        """The fields that do not depend on the rows. Raises SourceError SOURCE_TABLE_MISSING."""

    model: ClassVar[type[models.Model]]  # of `rows`
    # What a row is known by, as Tombstone.key_sha256 has it.
    key_sha256: ClassVar[Combinable]
    buried_as: ClassVar[Tombstone.Kind]

    @abstractmethod
    def rows(self, database: Database, table: str = "", kind: str = "") -> Rows:
        """All rows, of models that have `change_xid`. Raises SourceError SOURCE_TABLE_MISSING."""

    def tombstones(self, database: Database, table: str = "", kind: str = "") -> QuerySet[Tombstone]:
        """Those of rows that were deleted. Raises SourceError SOURCE_TABLE_MISSING."""
        mine = Tombstone.objects.filter(database=database, kind=self.buried_as)
        return self.buried_in(mine, database, table, kind)

    def buried_in(
        self, tombstones: QuerySet[Tombstone], database: Database, table: str, kind: str
    ) -> QuerySet[Tombstone]:
        """Those of the part that `table` or `kind` name."""
        return tombstones.filter(part=kind) if kind and self.has_kind else tombstones

    def frees(self, database: Database, table: str) -> tuple[Free, ...]:
        return self.free

    def fields(self, database: Database, table: str = "", kind: str = "", *, seen: bool = True) -> Fields:
        """All fields. Free keys are those of the newest rows, in the order of their names, unless not `seen`.

        For people who choose: looking at the rows is given up after a few seconds, and then only the fixed fields are
        listed. A file of all columns has `fields_of` its rows. Raises SourceError SOURCE_TABLE_MISSING.
        """
        listed = self.fixed(database, table)
        frees = self.frees(database, table)
        if seen:
            rows = self.rows(database, table, kind)
            for free in frees:
                listed += _keys_seen(rows, free)
        return Fields(tuple(listed), frees)

    def fields_of(self, rows: Rows, database: Database, table: str, *, ask: Ask) -> Fields:
        """The fields of a file of all columns: nothing that one of these rows has may be left out.

        So all of them are looked at, in the snapshot in which `ask` asks, and as long as its session may take. Raises
        SourceError SOURCE_TABLE_MISSING, or DEFINITION_INVALID if a file cannot have so many columns.
        """
        frees = self.frees(database, table)
        listed = self.fixed(database, table)
        count = sum(one.is_default and one.is_column for one in listed)
        for free in frees:
            if free.is_default:
                inner = composed(rows.order_by().values_list(free.path))
                keys_count, keys = ask(_ALL_KEYS.format(rows=inner, longest=KEY_LENGTH_MAX, limit=COLUMNS_MAX))
                count += keys_count
                listed += [free.field(key, may_be=_OF_JSON) for key in sorted(keys)]
        if count > COLUMNS_MAX:
            raise SourceError(
                "DEFINITION_INVALID",
                _("All columns are %(n)s, and a file can have %(max)s at most. Choose columns.")
                % {"n": count, "max": COLUMNS_MAX},
            )
        return Fields(tuple(listed), frees)

    def selection(
        self,
        rows: Rows,
        columns: Iterable[Mapping[str, str]] | None,
        fields: Fields,
        *,
        typed: bool = True,
        ask: Ask | None = None,
        tombstones: QuerySet[Tombstone] | None = None,
    ) -> Selection:
        """The SELECT of these columns ({"field", "header"}), in the order of `rows`; without any, of the default ones.

        With `typed`, what is kept as text (JSON) has the type that `fields` saw or that is declared if all of `rows`
        agree with it, which costs a pass over them; else it is text. So nothing is lost for a value that is not like
        the others. Files without types (CSV) need no `typed`. `ask` asks in the snapshot in which the rows are read: in
        another one they may agree where these do not. With `tombstones` the columns of TOLD come last, and those rows
        first, with nothing else in them: who applies the file line by line deletes what was there before a row came
        back. Raises SourceError COLUMN_MISSING.
        """
        chosen = list(columns or ()) or default_columns(fields)
        found = [fields.get(column["field"]) for column in chosen]
        if any(not one.is_column for one in found):
            name = next(one.name for one in found if not one.is_column)
            raise SourceError("COLUMN_MISSING", _("“%(name)s” cannot be a column.") % {"name": name}, column=name)
        found = _settled(rows, found, ask or ask_now) if typed else [_as_text(one) for one in found]
        headers = [column.get("header") or header_of(one) for column, one in zip(chosen, found, strict=True)]
        if tombstones is not None:
            told = self.told()
            found, headers = [*found, *told], [*headers, *TOLD]
        select = composed(_selected(rows, found))
        if tombstones is not None:
            nothing = ", ".join(f"NULL AS c{at}" for at in range(len(found) - len(TOLD)))
            deleted = composed(tombstones.order_by("pk").values_list("row_id", "key_sha256", "pk"))
            # One after the other: sessions that read have no parallel plans.
            select = f"""
                SELECT {nothing}, id AS c{len(found) - 3}, key AS c{len(found) - 2}, true AS c{len(found) - 1}, k
                FROM ({deleted}) t (id, key, k) UNION ALL ({select})
            """  # noqa: S608  composed by psycopg
        return Selection(select, tuple(OutColumn(h, one.type) for h, one in zip(headers, found, strict=True)))

    def told(self) -> list[Field]:
        """The columns of TOLD, of a row that is there."""
        return [
            Field(TOLD[0], TOLD[0], ColumnType.NUMBER, value=F("pk")),
            Field(TOLD[1], TOLD[1], ColumnType.TEXT, value=self.key_sha256),
            Field(TOLD[2], TOLD[2], ColumnType.BOOLEAN, value=Value(False)),
        ]


def default_columns(fields: Fields) -> list[dict[str, str]]:
    """Where an export names no columns: all that a row itself has, and whom it is about. Headers are different."""
    chosen = [one for one in fields if one.is_default and one.is_column]
    headers = [header_of(one) for one in chosen]
    times = Counter(headers)
    headers = [
        header if times[header] == 1 else header_text(one.name) for one, header in zip(chosen, headers, strict=True)
    ]
    return [{"field": one.name, "header": header} for one, header in zip(chosen, distinct(headers), strict=True)]


def header_of(one: Field) -> str:
    """The name of a field without what it is of."""
    name = str(one.label) if one.raw is not None else one.name.rpartition(".")[2]
    return header_text(name) or header_text(one.name)


def header_text(name: str) -> str:
    """A name as the header of a column, as somebody could have written it: any text can be a key, but no header."""
    text = "".join(letter if ord(letter) >= 32 else " " for letter in name).strip()
    # With room for the number of a second one.
    return text if len(text) <= HEADER_MAX else text[: HEADER_MAX - 8].strip()


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
    select = composed(_selected(rows.order_by("-pk")[:limit], chosen))
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


def composed(rows: Rows) -> str:
    """The statement of a QuerySet with all values in it, also of one that can have no rows."""
    sql, params = rows.query.get_compiler(connection.alias, elide_empty=False).as_sql()
    connection.ensure_connection()
    return psycopg.ClientCursor(connection.connection).mogrify(sql, params)


def _as_text(one: Field) -> Field:
    """What is kept as text as that text, whatever its type; but times that can be read are told in UTC."""
    if one.raw is None or one.type is ColumnType.TEXT:
        return one
    value = one.raw
    if one.type is ColumnType.DATETIME:
        value = Coalesce(UtcText(one.value, models.TextField()), one.raw)
    return replace(one, type=ColumnType.TEXT, value=value)


_OF_JSON = (ColumnType.NUMBER, ColumnType.BOOLEAN)  # types of JSON beside text, called as jsonb_typeof does

# [how many, the keys], no more of these than `limit`. Nulls go first, as that is three times as quick as to look at
# each key with its value (docs/performance.md).
_ALL_KEYS = """
    WITH keys AS MATERIALIZED (
        SELECT key FROM (
            SELECT DISTINCT jsonb_object_keys(
                jsonb_strip_nulls(CASE WHEN jsonb_typeof(o) = 'object' THEN o ELSE '{{}}' END)
            ) AS key FROM ({rows}) r(o)
        ) k WHERE length(key) BETWEEN 1 AND {longest}
    )
    SELECT jsonb_build_array(
        (SELECT count(*) FROM keys),
        (SELECT coalesce(jsonb_agg(key), '[]') FROM (SELECT key FROM keys LIMIT {limit}) k)
    )
"""

_KEYS = """
    SELECT key, bool_and(jsonb_typeof(value) = 'number'), bool_and(jsonb_typeof(value) = 'boolean'),
           max(left(value #>> '{{}}', 60) COLLATE "C"), count(*)
    FROM (SELECT CASE WHEN jsonb_typeof(o) = 'object' THEN o ELSE '{{}}' END AS o FROM ({rows}) r(o)) r, jsonb_each(o)
    WHERE value <> 'null' GROUP BY key ORDER BY count(*) DESC, key COLLATE "C" LIMIT {limit}
"""


def _keys_seen(rows: Rows, free: Free) -> list[Field]:
    """The keys of the newest rows, the most frequent ones if there are many."""
    newest = composed(rows.order_by("-pk").values_list(free.path)[:LOOKED_AT])
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
    """The fields, each of the first type guessed that every one of the rows agrees with; texts if there is none."""
    asked = [(at, kind) for at, one in enumerate(found) for kind in one.guesses]
    if not asked:
        return found
    types = {f"t{at}": _type_of(found[at]) for at, _kind in asked}
    inner = composed(rows.order_by().annotate(**types).values_list(*types))
    agree = ", ".join(f"coalesce(bool_and(t{at} IS NULL OR t{at} IN ('{kind}', 'null')), true)" for at, kind in asked)
    # As one value: a row has no room for so many.
    answers = ask(f"SELECT to_json(ARRAY[{agree}]) FROM ({inner}) s")  # noqa: S608  composed by psycopg
    settled = [_as_text(one) if one.guesses else one for one in found]
    agreed = [pair for pair, answer in zip(asked, answers or [False] * len(asked), strict=True) if answer]
    for at, kind in reversed(agreed):  # the first guess is the last word
        settled[at] = replace(found[at], type=kind, value=_agreed(found[at], kind))
    return settled


def _agreed(one: Field, kind: ColumnType) -> Combinable:
    """The value as one of the type that all rows agree with."""
    if one.is_free and kind is ColumnType.NUMBER and one.raw is not None:
        return AsNumber(one.raw, models.DecimalField())
    return one.as_type(kind)


def ask_now(query: str) -> Any:
    """What the JSON says that a query gives, in a snapshot of its own; None if it takes too long."""
    with within(TYPES_MILLISECONDS) as outcome, connection.cursor() as cursor:
        cursor.execute(f"SELECT ({query})::text")
        answer = json.loads(cursor.fetchone()[0])
    return None if outcome.gave_up else answer


def _type_of(one: Field) -> Combinable:
    """The type of a value: of a free field what JSON says, of a declared one its own if it can be read so."""
    if not one.is_free:
        return models.Case(
            models.When(IsNull(one.value, False), then=models.Value(str(one.type))),
            models.When(IsNull(one.raw, False), then=models.Value(str(ColumnType.TEXT))),
            output_field=models.TextField(),
        )
    column, key = one.raw.source_expressions  # type: ignore[union-attr]  # JsonText
    return models.Func(JsonValue(column, key.value), function="jsonb_typeof", output_field=models.TextField())


def text_of(path: str) -> AsText:
    """A varchar column as text."""
    return AsText(F(path), models.TextField())
