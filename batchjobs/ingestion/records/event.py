"""Events: something a person did. Every column that is not declared here becomes a property of the event."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import repeat

from batchjobs.failures import FileFailureError
from batchjobs.ingestion.copytext import copy_objects, copy_text, copy_texts
from batchjobs.ingestion.direct import People
from batchjobs.ingestion.records.columns import Column, Matched
from batchjobs.ingestion.records.table import Table
from batchjobs.ingestion.rows import CheckedBlock, RawBlock, RowError

COLUMNS = (
    Column("email", "E-mail address of the person.", "ines.prata@example.com", ("e_mail", "email_address", "mail")),
    Column("partner_user_id", "Your own number for the person, if there is no e-mail address.", "00112"),
    Column("event_name", "What happened.", "purchase", ("event", "event_type")),
    Column("event_time", "When it happened. Left out: when the file is run.", "2026-11-21T14:30:00Z", ("event_date",)),
    Column("partner_event_id", "Your own number for the event: the same one is never counted twice.", "A-88121"),
    Column("first_name", "First name of the person.", "Inês"),
    Column("last_name", "Last name of the person.", "Prata"),
    Column("coupon_code", "Code that was used.", "AUTUMN-10"),
)
ATTRIBUTES = ("first_name", "last_name")  # of the person; all others are of the event
CHUNKS_REMEMBERED = 4  # dedupe keys of chunks that may not be committed yet


@dataclass(slots=True)
class EventChecker:
    """Turns raw blocks into COPY text for the stage. A chunk begins with `new_chunk`.

    Raises FileFailureError NO_DELIMITER or COLUMN_MISSING for a file that cannot be events.
    """

    matched: Matched
    header: list[str]
    event_name: str  # for rows that don't say
    default_time: str  # ISO, for rows that don't say
    parse_time: Callable[[str], str]
    names_found: set[str] = field(default_factory=set)
    _seen: deque[set[str]] = field(default_factory=lambda: deque(maxlen=CHUNKS_REMEMBERED))

    def __post_init__(self) -> None:
        known = self.matched.known
        found = [name[:40] for name in self.header if name]
        listed = ", ".join(found[:12]) + (f" and {len(found) - 12} more" if len(found) > 12 else "")
        if not known.keys() & {"email", "partner_user_id"}:
            if len(found) <= 1:
                raise FileFailureError("NO_DELIMITER", header=listed)
            hint = "Batchdesk cannot tell whose events these are, so it stopped before changing anything."
            raise FileFailureError("COLUMN_MISSING", column="email", hint=hint, found=listed)
        if "event_name" not in known and not self.event_name:
            hint = "No event name was given for the whole file either, so nothing was changed."
            raise FileFailureError("COLUMN_MISSING", column="event_name", hint=hint, found=listed)

    @property
    def has_attributes(self) -> bool:
        return not self.matched.known.keys().isdisjoint(ATTRIBUTES)

    @property
    def has_partner_ids(self) -> bool:
        return "partner_user_id" in self.matched.known

    def new_chunk(self) -> None:
        self._seen.append(set())

    def check(self, block: RawBlock, into: Staging | Copying) -> CheckedBlock:
        """Checks a block column by column. Of rows with the same partner_event_id the first counts."""
        table = Table(block, self.matched, self.header)
        blank = [""] * table.count
        emails = table.emails("email") or blank
        partners = table.texts("partner_user_id") or blank
        if "" in emails:
            for at, (email, partner) in enumerate(zip(emails, partners, strict=True)):
                if not email and not partner:
                    table.add(at, RowError("email", "IDENTITY_MISSING"))
        kinds = self._kinds(table)
        times = table.times("event_time", self.parse_time, self.default_time)
        externals = table.texts("partner_event_id")
        attributes = [(name, values) for name in ATTRIBUTES if (values := table.texts(name)) is not None]
        properties: list[tuple[str, list[str]]] = [
            (name, list(table.cells(index))) for name, index in self.matched.others.items()
        ]
        if (coupons := table.texts("coupon_code")) is not None:
            properties.append(("coupon_code", coupons))

        keep, skipped = table.kept, list[int]()
        first = self._first_of_each(keep(externals)) if externals is not None else None
        if first is not None:
            skipped = [line for line, is_first in zip(keep(table.lines()), first, strict=True) if not is_first]
            table.leave_out(first)
        lines = keep(table.lines())
        kinds = keep(kinds)
        if len(self.names_found) < 50:  # the page names twenty
            self.names_found.update(kinds)
        good = EventColumns(
            lines=lines,
            emails=keep(emails),
            partners=keep(partners),
            kinds=kinds,
            times=keep(times),
            externals=keep(externals if externals is not None else blank),
            properties=[(name, keep(values)) for name, values in properties],
            attributes=[(name, keep(values)) for name, values in attributes],
        )
        return CheckedBlock(into.text(good), len(lines), table.rejected(), skipped)

    def _kinds(self, table: Table) -> list[str]:
        kinds = table.texts("event_name")
        if kinds is None:
            return [self.event_name] * table.count
        if "" in kinds:
            if self.event_name:
                return [kind or self.event_name for kind in kinds]
            for at, kind in enumerate(kinds):
                if not kind:
                    table.add(at, RowError("event_name", "EVENT_NAME_MISSING"))
        return kinds

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


@dataclass(frozen=True, slots=True)
class EventColumns:
    """The good rows of a block, column by column."""

    lines: list[int]
    emails: list[str]
    partners: list[str]
    kinds: list[str]
    times: list[str]
    externals: list[str]
    properties: list[tuple[str, list[str]]]
    attributes: list[tuple[str, list[str]]]


class Staging:
    """Good rows for the stage (batchjobs/ingestion/staged.py)."""

    def text(self, rows: EventColumns) -> str:
        count = len(rows.lines)
        return copy_text(
            [
                map(str, rows.lines),
                copy_texts(rows.emails),
                copy_texts(rows.partners),
                copy_texts(rows.kinds),
                rows.times,
                copy_texts(rows.externals),
                copy_objects(rows.properties, count),
                copy_objects(rows.attributes, count),
            ]
        )


@dataclass(frozen=True, slots=True)
class Copying:
    """Good rows for the audience itself (batchjobs/ingestion/direct.py)."""

    people: People
    job: int

    def text(self, rows: EventColumns) -> str:
        return copy_text(
            [
                repeat(str(self.people.database), len(rows.lines)),
                self.people.identify(rows.emails, rows.attributes),
                copy_texts(rows.kinds),
                rows.times,
                copy_texts(rows.externals),
                copy_objects(rows.properties, len(rows.lines)),
                repeat(str(self.job), len(rows.lines)),
                map(str, rows.lines),
            ]
        )
