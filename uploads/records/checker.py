"""Judges records against what is stored and what stands before them in the file, in its order."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from audience.erasures import key_hash
from batchjobs.ingestion.copytext import NULL, copy_json, copy_text, copy_texts
from batchjobs.ingestion.formats.json_records import encode
from batchjobs.ingestion.records.base import CHUNKS_REMEMBERED, NAMES_REMEMBERED, BlockChecker, Context
from batchjobs.ingestion.rows import PERSON_ERASED, CellBlock, CheckedBlock, ObjectBlock, Rejected, RowError
from batchjobs.ingestion.writing.decisions import known_external_ids
from batchjobs.ingestion.writing.direct import KNOWN as KNOWN_EMAILS
from batchjobs.ingestion.writing.direct import People
from uploads.records.envelope import CREATE, DELETE, GUEST, INSERT, ORDER, TRACKING, Record, record_read

FIND = """
    SELECT r.schema, r.ref::text, r.job, r.profile_id,
           (SELECT p.email FROM audience_profile p WHERE p.id = r.profile_id),
           (SELECT p.partner_user_id FROM audience_profile p WHERE p.id = r.profile_id)
    FROM audience_reference r WHERE r.database_id = %s AND r.schema = ANY(%s) AND r.ref = ANY(%s::uuid[])
"""


class Found(NamedTuple):
    """A reference that is stored."""

    job: int  # that wrote it last
    profile: int | None  # of a guest that was removed: None
    email: str | None
    partner: str | None


@dataclass(slots=True)
class Stored:
    """What is stored of the records of a block."""

    references: dict[tuple[str, str], Found]
    interactions: dict[str, str]
    emails: dict[str, str]  # of addresses that known guests are to have: the profile that has it

    def guest(self, ref: str) -> Found | None:
        found = self.references.get((GUEST, ref))
        return found if found and found.profile is not None else None


@dataclass(slots=True)
class Sight:
    """What the records of a chunk say, for those that come after them."""

    keys: set[str] = field(default_factory=set)
    guests: set[str] = field(default_factory=set)  # references of those it writes
    emails: set[str] = field(default_factory=set)
    removed: set[int] = field(default_factory=set)  # profiles


@dataclass(slots=True)
class BatchChecker(BlockChecker):
    """What chunks in flight do is remembered: their references may not be in the database yet. A chunk that removes
    guests or changes addresses is unsettled: the next one waits until it is committed.
    """

    context: Context
    names_found: set[str] = field(default_factory=set)
    _sights: deque[Sight] = field(default_factory=lambda: deque(maxlen=CHUNKS_REMEMBERED))
    _unsettled: bool = False

    @property
    def has_attributes(self) -> bool:
        return True

    @property
    def is_unsettled(self) -> bool:
        return self._unsettled

    def has(self, name: str) -> bool:
        return True

    def new_chunk(self) -> None:
        self._sights.append(Sight())
        self._unsettled = False

    def check(self, block: CellBlock | ObjectBlock, people: People | None = None) -> CheckedBlock:
        assert isinstance(block, ObjectBlock)  # noqa: S101  a batch is NDJSON
        wrong: dict[int, list[RowError]] = dict(block.errors)
        records: list[Record] = []
        for place, envelope in enumerate(block.objects):
            if place in wrong:
                continue
            read = record_read(place, envelope)
            if isinstance(read, Record):
                records.append(read)
            else:
                wrong[place] = read
        good: list[Record] = []
        if records:
            stored = self._look_up(records)
            for record in records:
                if error := self._judge(record, stored):
                    wrong[record.place] = [error]
                else:
                    self._remember(record, stored)
                    good.append(record)
        rejected = [
            Rejected(block.lines[place], errors, block.raw(place), None).as_kept() for place, errors in wrong.items()
        ]
        lines = [block.lines[record.place] for record in good]
        return CheckedBlock(self._copy_text(good, lines), len(good), block.rejected + rejected)

    def _look_up(self, records: list[Record]) -> Stored:
        session, database = self.context.look_up, self.context.database
        refs: dict[str, set[str]] = {}
        for record in records:
            refs.setdefault(record.schema, set()).add(record.ref)
            if record.given.guest:
                refs.setdefault(GUEST, set()).add(record.given.guest)
        schemas = [GUEST] if GUEST in refs else []
        interactions = refs.get(ORDER, set()) | refs.get(TRACKING, set())
        if interactions:
            schemas += [ORDER, TRACKING]
        rows = session.execute(FIND, [database, schemas, list(interactions.union(*refs.values()))])
        references = {(schema, ref): Found(*rest) for schema, ref, *rest in rows}
        stored = Stored(references, known_external_ids(session, database, list(interactions)), {})
        changed = [
            record.given.email
            for record in records
            if record.schema == GUEST
            and record.given.email
            and (found := stored.guest(record.ref))
            and found.email != record.given.email
        ]
        if changed:
            stored.emails = dict(session.execute(KNOWN_EMAILS, [database, changed]).fetchall())
        return stored

    def _judge(self, record: Record, stored: Stored) -> RowError | None:
        found = stored.references.get((record.schema, record.ref))
        other = None
        if record.schema != GUEST:
            other = stored.references.get((TRACKING if record.schema == ORDER else ORDER, record.ref))
        in_file = any(entry.job == self.context.job for entry in (found, other) if entry)
        if in_file or any(record.key in sight.keys for sight in self._sights):
            return RowError("ref", "REF_TWICE", record.ref)
        if record.schema == GUEST:
            return self._judge_guest(record, stored)
        if other and other.profile is not None:
            return RowError("ref", "REF_OF_OTHER_SCHEMA", record.ref)
        return self._judge_interaction(record, stored)

    def _judge_guest(self, record: Record, stored: Stored) -> RowError | None:
        found, given = stored.guest(record.ref), record.given
        record.known = found is not None
        if not record.writes:
            return None
        if found and found.profile in self._sights[-1].removed:
            found = None
        if record.mode == CREATE and found:
            return RowError("ref", "REF_EXISTS", record.ref)
        if not (given.email or given.partners):
            is_left = found and ("email" not in given.removed or found.partner)
            if record.mode in (CREATE, INSERT) or not is_left:
                return RowError("", "GUEST_UNIDENTIFIED")
        elif "email" in given.removed and found and not found.partner:
            return RowError("email", "GUEST_UNIDENTIFIED")
        if found and given.email and given.email != found.email:
            owner = stored.emails.get(given.email)
            named = given.email in self._sights[-1].emails
            if named or (owner is not None and owner != str(found.profile)):
                return RowError("email", "EMAIL_OF_ANOTHER", given.email)
        return self._judge_erased(given.email, given.partners)

    def _judge_interaction(self, record: Record, stored: Stored) -> RowError | None:
        given = record.given
        record.known = record.ref in stored.interactions
        if not record.writes:
            return None
        if record.mode == CREATE and record.known:
            return RowError("ref", "REF_EXISTS", record.ref)
        is_whole = record.mode in (CREATE, INSERT) or not record.known
        if is_whole and not given.time:
            return RowError("orderedAt" if record.schema == ORDER else "createdAt", "VALUE_MISSING")
        return self._judge_owner(record, stored, is_whole=is_whole)

    def _judge_owner(self, record: Record, stored: Stored, *, is_whole: bool) -> RowError | None:
        given = record.given
        if given.guest:
            is_known = self._is_guest(given.guest, stored)
            return None if is_known else RowError("guestRef", "GUEST_UNKNOWN", given.guest)
        if is_whole and not (given.email or given.partners):
            return RowError("guestRef", "VALUE_MISSING")
        return self._judge_erased(given.email, given.partners)

    def _is_guest(self, ref: str, stored: Stored) -> bool:
        if any(ref in sight.guests for sight in self._sights):
            return True
        found = stored.guest(ref)
        return found is not None and found.profile not in self._sights[-1].removed

    def _judge_erased(self, email: str, partners: list[str]) -> RowError | None:
        """Nobody who was erased comes back."""
        if not (erased := self.context.erased):
            return None
        names = [("email", email)] if email else []
        names += [("identifiers", partner) for partner in partners]
        return next((RowError(name, PERSON_ERASED) for name, key in names if key_hash(key) in erased), None)

    def _remember(self, record: Record, stored: Stored) -> None:
        sight, given = self._sights[-1], record.given
        sight.keys.add(record.key)
        if given.email:
            sight.emails.add(given.email)
        if record.schema != GUEST:
            if record.writes and len(self.names_found) < NAMES_REMEMBERED:
                self.names_found.add(given.kind or record.schema)
            return
        found = stored.guest(record.ref)
        if record.writes:
            sight.guests.add(record.ref)
            if found and (("email" in given.removed) or (given.email and given.email != found.email)):
                self._unsettled = True
        elif record.mode == DELETE and found and found.profile is not None:
            sight.removed.add(found.profile)
            self._unsettled = True

    def _copy_text(self, records: list[Record], lines: list[int]) -> str:
        """The columns of writing.RecordWriter."""
        given = [record.given for record in records]
        return copy_text(
            [
                map(str, lines),
                [record.schema for record in records],
                [record.ref for record in records],
                [record.mode for record in records],
                ["t" if record.known else "f" for record in records],
                copy_texts([entry.guest for entry in given]),
                copy_texts([entry.email for entry in given]),
                copy_texts([entry.partners[0] if entry.partners else "" for entry in given]),
                copy_texts([_array(entry.partners) if len(entry.partners) > 1 else "" for entry in given]),
                copy_json([encode(entry.kept).decode() for entry in given]),
                copy_texts([_array(entry.removed) for entry in given]),
                copy_texts([_kind(record) for record in records]),
                [entry.time or NULL for entry in given],
                copy_texts([_optouts(entry.optouts, self.context.default_time) for entry in given]),
            ]
        )


def _kind(record: Record) -> str:
    """Of an interaction; blank keeps what is stored."""
    if record.schema == GUEST or not record.writes:
        return ""
    is_whole = record.mode in (CREATE, INSERT) or not record.known
    return record.given.kind or (record.schema if is_whole else "")


def _array(values: list[str]) -> str:
    """PostgreSQL's form of an array of texts."""
    if not values:
        return "{}"
    return "{" + ",".join('"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values) + "}"


def _optouts(optouts: list[Any], default_time: str) -> str:
    if not optouts:
        return ""
    return json.dumps(
        [
            {
                "channel": optout.channel,
                "reason": optout.reason,
                "opted_out_at": optout.time or default_time,
                "dated": bool(optout.time),
            }
            for optout in optouts
        ]
    )
