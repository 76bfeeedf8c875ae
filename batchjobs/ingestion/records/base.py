"""What the record types share: a declaration, and a checker that turns blocks into COPY text for a writer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from django.conf import settings

from audience.erasures import key_hash
from batchjobs.failures import FileFailureError
from batchjobs.ingestion import checks
from batchjobs.ingestion.copytext import copy_text
from batchjobs.ingestion.records.columns import Column, Kind, Matched, match_columns, match_keys
from batchjobs.ingestion.records.table import CellTable, ObjectTable, Table
from batchjobs.ingestion.rows import PERSON_ERASED, CellBlock, CheckedBlock, ObjectBlock

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

    from batchjobs.ingestion.writing.direct import People
    from batchjobs.ingestion.writing.ledger import Session

CHUNKS_REMEMBERED = 4  # dedupe keys of chunks that may not be committed yet
NAMES_REMEMBERED = 50  # the page names twenty

EMAIL = Column(
    "email",
    "E-mail address of the person.",
    "ines.prata@example.com",
    ("e_mail", "email_address", "mail", "e_mail_address", "emailaddress"),
    Kind.EMAIL,
    wrong="ines.prata@example",
)
PARTNER_USER_ID = Column(
    "partner_user_id",
    "Your own number for the person, if there is no e-mail address.",
    "00112",
    ("customer_id", "user_id", "member_id", "contact_id", "client_id"),
)
FIRST_NAME = Column("first_name", "First name of the person.", "Inês", ("firstname", "given_name", "merge_fname"))
LAST_NAME = Column(
    "last_name", "Last name of the person.", "Prata", ("lastname", "surname", "family_name", "merge_lname")
)


@dataclass(frozen=True, slots=True)
class Context:
    """What a checker needs to know of the job and its file."""

    header: Sequence[str]  # of a file with one; the keys at the beginning of a JSON file
    has_header: bool
    columns: Mapping[str, str]  # how a person matched columns (columns.match_columns)
    parse_time: Callable[[str], str]
    default_time: str  # ISO, for rows that don't say
    database: int
    look_up: Session  # for what only the database knows
    event_name: str = ""  # for rows that don't say
    event_in_file_name: str = ""  # of the `$EVENT-rest.csv` form, for files without a column of that kind
    list_name: str = ""  # likewise
    blank_erases: bool = False
    formula_safe: bool = False  # a ' stands before what a spreadsheet would run: it is taken away
    erased: frozenset[str] = frozenset()  # SHA-256 of addresses and partner's numbers that are refused
    job: int = 0


Values = dict[str, list[str]]


class BlockChecker(ABC):
    """What a run needs of a checker: it turns raw blocks into COPY text. A chunk begins with `new_chunk`.

    Checker goes column by column; a record type whose records are no rows has one of its own.
    """

    __slots__ = ()
    columns: ClassVar[tuple[Column, ...]] = ()  # as people are told of them
    identity: ClassVar[tuple[str, ...]] = ()  # at least one of these columns in each row

    context: Context
    names_found: set[str]  # of events

    @abstractmethod
    def __init__(self, context: Context) -> None: ...

    @abstractmethod
    def new_chunk(self) -> None: ...

    @abstractmethod
    def check(self, block: CellBlock | ObjectBlock, people: People | None = None) -> CheckedBlock:
        """Checks a block. With `people` the text is for the audience itself, else for the stage."""

    @property
    @abstractmethod
    def has_attributes(self) -> bool:
        """Whether rows tell something of the person."""

    @abstractmethod
    def has(self, name: str) -> bool:
        """Whether the file has, or (JSON) may have, this column."""

    @property
    def is_unsettled(self) -> bool:
        """Whether what the chunk does must be seen in the database before the next one is checked."""
        return False


@dataclass(slots=True)
class Checker(BlockChecker):
    """Checks rows column by column.

    Raises FileFailureError NO_DELIMITER, HEADER_MISSING or COLUMN_MISSING for a file that cannot be of the type.
    """

    context: Context
    # The declaration of a record type.
    identity: ClassVar[tuple[str, ...]] = ("email", "partner_user_id")
    identity_code: ClassVar[str] = "IDENTITY_MISSING"
    personal: ClassVar[tuple[str, ...]] = ("email", "partner_user_id")  # must not name somebody who was erased
    dedupe: ClassVar[str] = ""  # of rows with the same value the first counts

    names_found: set[str] = field(default_factory=set)  # of events
    matched: Matched = field(init=False)
    _seen: deque[set[str]] = field(default_factory=lambda: deque(maxlen=CHUNKS_REMEMBERED))
    _keys: dict[frozenset[str], tuple[Matched, dict[str, str]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        context = self.context
        self.matched = self._match(context.header)
        if context.header or context.has_header:
            self._require(self.matched)

    def _match(self, header: Iterable[str]) -> Matched:
        if not self.context.has_header:  # the keys of several records: each may spell a column in its own way
            return match_keys(header, self._values(), self.context.columns)[0]
        return match_columns(
            header,
            self._values(),
            limit=settings.COLUMNS_MAX,
            chosen=self.context.columns,
            formula_safe=self.context.formula_safe,
        )

    def _values(self) -> list[Column]:
        """The columns that hold single values. What is JSON stays in the record as it is."""
        return [column for column in self.columns if column.kind is not Kind.JSON]

    def _require(self, matched: Matched) -> None:
        """Stops a file that lacks a column without which no row can be good."""
        found = [name[:40] for name in self.context.header if name]
        listed = ", ".join(found[:12]) + (f" and {len(found) - 12} more" if len(found) > 12 else "")
        missing = self.missing(matched)
        if not missing:
            return
        column, hint = missing
        if self.context.has_header:
            if any(checks.email(name.strip().lower()) for name in found):
                raise FileFailureError("HEADER_MISSING", header=listed[:120])
            if len(found) <= 1 and column in self.identity:
                raise FileFailureError("NO_DELIMITER", header=listed)
        raise FileFailureError("COLUMN_MISSING", column=column, hint=hint, found=listed)

    def missing(self, matched: Matched) -> tuple[str, str] | None:
        """The column whose absence stops the file, and why."""
        if not matched.known.keys() & set(self.identity):
            return (
                self.identity[0],
                "Batchdesk cannot tell whom the rows are about, so it stopped before changing anything.",
            )
        for column in self.columns:
            if column.required and column.name not in matched.known:
                return column.name, "Each row needs one, so Batchdesk stopped before changing anything."
        return None

    def has(self, name: str) -> bool:
        return not self.context.has_header or name in self.matched.known

    @property
    def has_attributes(self) -> bool:
        return any(map(self.has, ("first_name", "last_name")))

    def new_chunk(self) -> None:
        self._seen.append(set())

    def check(self, block: CellBlock | ObjectBlock, people: People | None = None) -> CheckedBlock:
        table = self._table(block)
        parse = self.context.parse_time
        known = people.ids if people else ()
        values: Values = {}
        for column in self._values():
            if (found := table.checked(column, parse, known)) is not None:
                values[column.name] = found
        self._check_identity(table, values)
        if self.context.erased:
            self._refuse_erased(table, values, known)
        for column in self.columns:
            if column.required:
                self.fill(table, values, column.name, "", "VALUE_MISSING")
        self.judge(table, values)
        skipped: list[int] = []
        if self.dedupe in values:
            skipped = self._leave_out_repeated(table, values[self.dedupe])
        lines = table.keep(table.lines())
        kept = {name: table.keep(column) for name, column in values.items()}
        text = self.copy_text(table, kept, lines, people) if lines else ""
        return CheckedBlock(text, len(lines), table.rejected(), skipped)

    def orders_shown(self, block: CellBlock | ObjectBlock) -> set[str]:
        """Whether the dates of a block that can be read one way only put the "day" or the "month" first."""
        table = self._table(block)
        dates = [column.name for column in self.columns if column.kind in (Kind.TIME, Kind.DATE)]
        return set().union(*(checks.orders_shown(table.seen(name)) for name in dates))

    def judge(self, table: Table, values: Values) -> None:
        """Rules of the record type's own; may add columns."""

    def stage(self, table: Table, kept: Values, lines: list[int]) -> list[Iterable[str]]:
        """The columns of the writer's stage."""
        raise NotImplementedError

    def copy_text(self, table: Table, kept: Values, lines: list[int], people: People | None) -> str:
        return copy_text(self.stage(table, kept, lines))

    def fill(self, table: Table, values: Values, name: str, default: str, code: str) -> None:
        """Gives rows without a value the default; where there is none, that is an error of the row."""
        column = values.setdefault(name, [""] * table.count)
        if "" not in column:
            return
        if default:
            values[name] = [value or default for value in column]
            return
        for at, value in enumerate(column):
            if not value and not self._is_told(table, at, name):
                table.add(at, name, code)

    def _is_told(self, table: Table, at: int, name: str) -> bool:
        """Whether something is noted about this value: then it is not missing too."""
        theirs = table.matched.names.get(name, name)
        return any(error.column == theirs for error in table.errors.get(at, ()))

    def _check_identity(self, table: Table, values: Values) -> None:
        known = [values[name] for name in self.identity if name in values]
        blank: Iterable[int] = range(table.count)
        for column in known:
            blank = [at for at in blank if not column[at]] if "" in column else []
        for at in blank:
            if not any(self._is_told(table, at, name) for name in self.identity):
                table.add(at, self.identity[0], self.identity_code)

    def _refuse_erased(self, table: Table, values: Values, known: Container[str]) -> None:
        """`known` addresses were looked at when they came first."""
        erased = self.context.erased
        for name in self.personal:
            column = values.get(name, [])
            refused = {value for value in set(column) if value and value not in known and key_hash(value) in erased}
            if refused:
                for at, value in enumerate(column):
                    if value in refused:
                        table.add(at, name, PERSON_ERASED)

    def _leave_out_repeated(self, table: Table, column: list[str]) -> list[int]:
        keys = table.keep(column)
        first = self._first_of_each(keys)
        if first is None:
            return []
        skipped = [line for line, is_first in zip(table.keep(table.lines()), first, strict=True) if not is_first]
        table.leave_out(first)
        return skipped

    def _first_of_each(self, keys: list[str]) -> list[bool] | None:
        """Which rows are the first with their key; rows without one always are. None if all are."""
        current, fresh = self._seen[-1], set(keys)
        if len(fresh) == len(keys) and "" not in fresh and all(map(fresh.isdisjoint, self._seen)):
            current |= fresh
            return None
        first = []
        for key in keys:
            first.append(not key or not any(key in seen for seen in self._seen))
            if key:
                current.add(key)
        return None if all(first) else first

    def _table(self, block: CellBlock | ObjectBlock) -> Table:
        if isinstance(block, CellBlock):
            return CellTable(block, self.matched, self.context.header)
        keys: set[str] = set().union(*block.objects)
        matched, names = self._keys.get(frozenset(keys)) or self._match_keys(keys)
        return ObjectTable(block, names, matched, self.context.header)

    def _match_keys(self, keys: set[str]) -> tuple[Matched, dict[str, str]]:
        found = match_keys(keys, self._values(), self.context.columns)
        if len(self._keys) < NAMES_REMEMBERED:
            self._keys[frozenset(keys)] = found
        return found


@dataclass(frozen=True, slots=True)
class RecordType:
    """An entry of the registry: how rows of a type are checked and written, and what people are told of it."""

    checker: type[BlockChecker]
    writer: Callable[..., Any]
    title: str | _StrPromise
    help: str | _StrPromise
    others: str | _StrPromise  # what becomes of columns that are not declared
    keeps_others: bool = True
    options: tuple[str, ...] = ()  # settings of the job that only this type has
    # Where a job's options say which columns there are: (database, options) -> the type as that job has it.
    declared: Callable[[int, Mapping[str, Any]], RecordType] | None = None

    @property
    def columns(self) -> tuple[Column, ...]:
        return self.checker.columns
