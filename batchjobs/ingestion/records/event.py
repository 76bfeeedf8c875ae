"""Events: something a person did. Every column that is not declared here becomes a property of the event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import compress
from json.encoder import encode_basestring  # type: ignore[attr-defined]  # C code; keeps what is not ASCII

from batchjobs.failures import FileFailureError
from batchjobs.ingestion import checks
from batchjobs.ingestion.formulas import undo_safe
from batchjobs.ingestion.records.columns import Column, Matched
from batchjobs.ingestion.rows import CheckedBlock, RawBlock, Rejected, RowError

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
STAGE_COLUMNS = (
    "row_no",
    "email",
    "partner_user_id",
    "kind",
    "occurred_at",
    "external_id",
    "properties",
    "attributes",
)
TEXT_MAX = 255
NULL = "\\N"


@dataclass(slots=True)
class EventChecker:
    """Turns raw blocks into COPY text. `seen` holds the chunk's dedupe keys: a chunk begins with `new_chunk`."""

    matched: Matched
    header: list[str]
    event_name: str  # for rows that don't say
    default_time: str  # ISO, for rows that don't say
    parse_time: Callable[[str], str]
    seen: set[str] = field(default_factory=set)
    names_found: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        known = self.matched.known
        if "email" not in known and "partner_user_id" not in known:
            header = [name for name in self.header if name]
            if len(header) <= 1:
                raise FileFailureError("NO_DELIMITER", header="".join(header)[:80])
            raise FileFailureError(
                "COLUMN_MISSING",
                column="email",
                hint="Batchdesk cannot tell whose events these are, so it stopped before changing anything.",
                found=_listed(header),
            )
        if "event_name" not in known and not self.event_name:
            raise FileFailureError(
                "COLUMN_MISSING",
                column="event_name",
                hint="No event name was given for the whole file either, so nothing was changed.",
                found=_listed(self.header),
            )

    @property
    def has_attributes(self) -> bool:
        return "first_name" in self.matched.known or "last_name" in self.matched.known

    @property
    def has_partner_ids(self) -> bool:
        return "partner_user_id" in self.matched.known

    def new_chunk(self) -> None:
        self.seen.clear()

    def check(self, block: RawBlock) -> CheckedBlock:
        """Checks a block column by column; a row is rejected with all its errors."""
        rows, lines, errors = block.rows, block.lines, _Errors()
        width = self.matched.width
        if set(map(len, rows)) - {width}:
            for index, row in enumerate(rows):
                if len(row) != width:
                    errors.add(index, RowError("", "ROW_TOO_SHORT" if len(row) < width else "ROW_TOO_LONG"))
            even = [r if len(r) == width else (r + [""] * width)[:width] for r in rows]
        else:
            even = rows
        ragged = set(errors.by_row)
        if block.dirty:
            self._check_text(rows, errors)
        if self.matched.formula_safe:
            even = [[undo_safe(cell) for cell in row] for row in even]
        columns = list(zip(*even, strict=True)) if even else [()] * width
        emails = self._identities(columns, errors, ragged)
        partners = self._texts("partner_user_id", columns, errors, ragged)
        kinds = self._kinds(columns, errors, ragged)
        times = self._times(columns, errors, ragged)
        externals = self._texts("partner_event_id", columns, errors, ragged)
        attributes = self._objects({n: n for n in ("first_name", "last_name")}, columns, errors, ragged)
        properties = self._properties(columns)
        if errors.by_row:
            good = [index not in errors.by_row for index in range(len(rows))]
        else:
            good = []
        fields = [lines, emails, partners, kinds, times, externals, properties, attributes]
        return self._finish(block, fields, good, errors)

    # Columns.

    def _column(self, name: str, columns: list[tuple[str, ...]]) -> list[str] | None:
        index = self.matched.known.get(name)
        return None if index is None else list(map(str.strip, columns[index]))

    def _identities(self, columns: list[tuple[str, ...]], errors: _Errors, ragged: set[int]) -> list[str]:
        values = self._column("email", columns)
        count = len(columns[0]) if columns else 0
        if values is None:
            clean = [""] * count
        else:
            values = list(map(str.lower, values))
            clean = [checks.email(v) or "" for v in values]
            if "" in clean:
                for index, value in enumerate(clean):
                    if not value and values[index] and index not in ragged:
                        errors.add(index, RowError("email", "EMAIL_INVALID", values[index]))
        if "" in clean:
            partners = self._column("partner_user_id", columns)
            for index, value in enumerate(clean):
                if not value and not (values and values[index]) and index not in ragged:
                    if partners is None or not partners[index]:
                        errors.add(index, RowError("email", "IDENTITY_MISSING"))
        return clean

    def _texts(
        self, name: str, columns: list[tuple[str, ...]], errors: _Errors, ragged: set[int]
    ) -> list[str]:
        values = self._column(name, columns)
        if values is None:
            return [""] * (len(columns[0]) if columns else 0)
        if max(map(len, values), default=0) > TEXT_MAX:
            for index, value in enumerate(values):
                if len(value) > TEXT_MAX and index not in ragged:
                    errors.add(index, RowError(name, "VALUE_TOO_LONG", value[:TEXT_MAX] + "…"))
        return values

    def _kinds(self, columns: list[tuple[str, ...]], errors: _Errors, ragged: set[int]) -> list[str]:
        if "event_name" not in self.matched.known:
            return [self.event_name] * (len(columns[0]) if columns else 0)
        values = self._texts("event_name", columns, errors, ragged)
        if "" in values:
            if self.event_name:
                return [value or self.event_name for value in values]
            for index, value in enumerate(values):
                if not value and index not in ragged:
                    errors.add(index, RowError("event_name", "EVENT_NAME_MISSING"))
        return values

    def _times(self, columns: list[tuple[str, ...]], errors: _Errors, ragged: set[int]) -> list[str]:
        values = self._column("event_time", columns)
        if values is None:
            return [self.default_time] * (len(columns[0]) if columns else 0)
        parse = self.parse_time
        try:
            return [parse(v) if v else self.default_time for v in values]
        except (ValueError, OverflowError):
            pass  # at least one is bad: the slow way finds which
        clean = []
        for index, value in enumerate(values):
            code = ""
            try:
                clean.append(parse(value) if value else self.default_time)
            except checks.DateAmbiguousError:
                code = "DATE_AMBIGUOUS"
            except OverflowError:
                code = "DATE_OUT_OF_RANGE"
            except (ValueError, TypeError):
                code = "EVENT_TIME_INVALID"
            if code:
                clean.append("")
                if index not in ragged:
                    errors.add(index, RowError("event_time", code, value))
        return clean

    def _objects(
        self, names: dict[str, str], columns: list[tuple[str, ...]], errors: _Errors, ragged: set[int]
    ) -> list[str] | None:
        known = [(key, self._texts(name, columns, errors, ragged)) for name, key in names.items() if name in self.matched.known]
        return _json_objects(known) if known else None

    def _properties(self, columns: list[tuple[str, ...]]) -> list[str] | None:
        parts = [(name, list(columns[index])) for name, index in self.matched.others.items()]
        if (coupons := self._column("coupon_code", columns)) is not None:
            parts.append(("coupon_code", coupons))
        return _json_objects(parts) if parts else None

    def _check_text(self, rows: list[list[str]], errors: _Errors) -> None:
        """Only for blocks that hold bytes which are not text."""
        for index, row in enumerate(rows):
            for at, cell in enumerate(row):
                name = self.header[at] if at < len(self.header) else ""
                if "\x00" in cell:
                    errors.add(index, RowError(name, "NUL_CHARACTER", cell))
                if not _encodable(cell):
                    errors.add(index, RowError(name, "ENCODING_INVALID", cell))

    # Rows again.

    def _finish(self, block: RawBlock, fields: list[list[str] | list[int] | None], good: list[bool], errors: _Errors) -> CheckedBlock:
        lines, emails, partners, kinds, times, externals, properties, attributes = (
            list(compress(f, good)) if good and f is not None else f for f in fields
        )
        assert lines is not None and externals is not None and kinds is not None  # noqa: S101  narrows the types
        rejected = [
            Rejected(
                block.lines[index],
                found,
                block.raws.of(block.lines[index], block.ends[index]),
                block.rows[index],
            )
            for index, found in errors.by_row.items()
        ]
        skipped: list[int] = []
        if "partner_event_id" in self.matched.known:
            keep = self._first_of_each(externals)  # type: ignore[arg-type]
            if keep is not None:
                skipped = [int(line) for line, kept in zip(lines, keep, strict=True) if not kept]
                lines, emails, partners, kinds, times, externals, properties, attributes = (
                    list(compress(f, keep)) if f is not None else None
                    for f in (lines, emails, partners, kinds, times, externals, properties, attributes)
                )
        if len(self.names_found) < 50:
            self.names_found.update(kinds)  # type: ignore[arg-type]
        count = len(lines)  # type: ignore[arg-type]
        table = [
            map(str, lines),  # type: ignore[arg-type]
            _copy_texts(emails),  # type: ignore[arg-type]
            _copy_texts(partners),  # type: ignore[arg-type]
            _copy_texts(kinds),  # type: ignore[arg-type]
            times,
            _copy_texts(externals),  # type: ignore[arg-type]
            _copy_json(properties, count),  # type: ignore[arg-type]
            _copy_json(attributes, count),  # type: ignore[arg-type]
        ]
        text = "\n".join(map("\t".join, zip(*table, strict=True)))  # type: ignore[arg-type]
        return CheckedBlock(text + "\n" if count else "", count, block.rejected + rejected, skipped)

    def _first_of_each(self, keys: list[str]) -> list[bool] | None:
        """Which rows are the first of the chunk with their dedupe key; None if all are."""
        fresh = set(keys)
        fresh.discard("")
        if len(fresh) == len(keys) and self.seen.isdisjoint(fresh):
            self.seen |= fresh
            return None
        keep = []
        for key in keys:
            keep.append(not key or key not in self.seen)
            if key:
                self.seen.add(key)
        return None if all(keep) else keep


@dataclass(slots=True)
class _Errors:
    by_row: dict[int, list[RowError]] = field(default_factory=dict)

    def add(self, index: int, error: RowError) -> None:
        self.by_row.setdefault(index, []).append(error)


def _json_objects(parts: list[tuple[str, list[str]]]) -> list[str]:
    """A JSON object a row; blank cells are left out, so that they never erase."""
    encoded = []
    for name, values in parts:
        head = encode_basestring(name) + ": "
        encoded.append([head + encode_basestring(v) if v else "" for v in values])
    if len(encoded) == 1:
        return [f"{{{only}}}" for only in encoded[0]]
    if any("" in column for column in encoded):
        return ["{" + ", ".join(filter(None, row)) + "}" for row in zip(*encoded, strict=True)]
    return ["{" + ", ".join(row) + "}" for row in zip(*encoded, strict=True)]


def _copy_texts(values: list[str]) -> list[str]:
    """Texts as COPY wants them: blank is NULL, backslash and white space escaped."""
    joined = "".join(values)
    if "\\" in joined or "\t" in joined or "\n" in joined or "\r" in joined:
        values = [v.translate(_COPY_ESCAPES) for v in values]
    return [v or NULL for v in values] if "" in values else values


_COPY_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def _copy_json(values: list[str] | None, count: int) -> list[str]:
    if values is None:
        return ["{}"] * count
    if any("\\" in v for v in values):
        return [v.replace("\\", "\\\\") for v in values]
    return values


def _encodable(cell: str) -> bool:
    try:
        cell.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _listed(header: list[str]) -> str:
    names = [name[:40] for name in header if name]
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
