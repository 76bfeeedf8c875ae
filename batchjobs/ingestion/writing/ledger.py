"""The end of a chunk's transaction: the ledger's line and the fence, together with whatever the chunk wrote."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import psycopg
from psycopg.types.json import Jsonb

from batchjobs.kernel import LeaseLostError, StopRequestedError

Session = psycopg.Connection[tuple[Any, ...]]

REQUESTED = "SELECT FROM batchjobs_jobrequest WHERE job_id = %(job)s AND handled_at IS NULL LIMIT 1"
LEDGER = """
    WITH fence AS (
        UPDATE batchjobs_batchjob
        SET next_chunk = next_chunk + 1, next_offset = %(end_offset)s, next_line = %(end_line)s, crashes = 0,
            reader_state = reader_state || %(reader_state)s::jsonb,
            lease_until = clock_timestamp() + %(lease)s::interval
        WHERE id = %(job)s AND lease_token = %(token)s AND next_chunk = %(n)s AND status = 'in_progress'
        RETURNING id
    )
    INSERT INTO batchjobs_chunk (job_id, n, lease_token, end_offset, end_line, valid, skipped, invalid, new_profiles,
        changed_profiles, figures, skipped_lines, part, groups, samples, event_names)
    SELECT id, %(n)s, %(token)s, %(end_offset)s, %(end_line)s, %(valid)s, %(skipped)s, %(invalid)s, %(new_profiles)s,
        %(changed_profiles)s, %(figures)s::jsonb,
        coalesce((SELECT range_agg(int8range(l, l + 1))::text FROM unnest(%(skipped_lines)s::bigint[]) l), ''),
        %(part)s, %(groups)s::jsonb, %(samples)s::jsonb, %(event_names)s::jsonb
    FROM fence
"""


@dataclass(slots=True)
class ChunkRecord:
    """What the parser knows of a chunk when it has ended."""

    n: int
    good: int = 0
    end_offset: int = 0
    end_line: int = 0
    invalid: int = 0
    skipped_lines: list[int] = field(default_factory=list)
    part: str = ""
    people: str = ""  # for Direct: the persons of the chunk as COPY text
    groups: list[dict[str, Any]] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)
    event_names: list[str] = field(default_factory=list)
    reader_state: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What is the same for all chunks of a run."""

    job: int
    token: int
    database: int
    lease: str
    has_attributes: bool
    has_partner_ids: bool
    dry_run: bool
    blank_erases: bool = False

    @property
    def ids(self) -> dict[str, int]:
        return {"job": self.job, "database": self.database}


@dataclass(slots=True)
class Merged:
    """What became of a chunk's good rows."""

    valid: int
    known_lines: list[int] = field(default_factory=list)  # already there
    new_profiles: int = 0
    changed_profiles: int = 0
    figures: dict[str, int] = field(default_factory=dict)  # further counts of the record type


class Writer(Protocol):
    """A way of writing chunks: a subclass of stage.StagedWriter, or direct.py.

    Its COPY may run beside another chunk's; `merge` never does.
    """

    @property
    def copy(self) -> str: ...

    @property
    def plan(self) -> RunPlan: ...

    def prepare(self, session: Session) -> None:
        """Once, on a new session."""

    def stage(self, session: Session, chunk: ChunkRecord) -> None:
        """After the COPY, before the chunk's turn."""

    def merge(self, session: Session, chunk: ChunkRecord) -> Merged:
        """In turn: short statements only."""


def commit_chunk(session: Session, writer: Writer, chunk: ChunkRecord) -> None:
    """Merges a chunk in `session`'s open transaction and writes the ledger; the caller commits.

    Raises StopRequestedError when a person asked for an end, LeaseLostError when the token is no longer valid.
    """
    plan = writer.plan
    if session.execute(REQUESTED, plan.ids).fetchone() is not None:
        raise StopRequestedError
    merged = writer.merge(session, chunk) if chunk.good and not plan.dry_run else Merged(chunk.good)
    skipped = chunk.skipped_lines + merged.known_lines
    written = session.execute(
        LEDGER,
        {
            **plan.ids,
            "token": plan.token,
            "lease": plan.lease,
            "n": chunk.n,
            "end_offset": chunk.end_offset,
            "end_line": chunk.end_line,
            "valid": merged.valid,
            "skipped": len(skipped),
            "invalid": chunk.invalid,
            "new_profiles": merged.new_profiles,
            "changed_profiles": merged.changed_profiles,
            "figures": Jsonb(merged.figures),
            "skipped_lines": skipped,
            "part": chunk.part,
            "groups": Jsonb(chunk.groups),
            "samples": Jsonb(chunk.samples),
            "event_names": Jsonb(chunk.event_names),
            "reader_state": Jsonb(chunk.reader_state),
        },
    )
    if written.rowcount != 1:
        raise LeaseLostError
