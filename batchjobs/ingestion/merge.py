"""The one short transaction that puts a staged chunk into the audience, and its line into the ledger."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from batchjobs.kernel import LeaseLostError, StopRequestedError

# A chunk stays in memory while it is staged.
SETTINGS = "SET temp_buffers = '64MB'"
STAGE = """
    CREATE TEMP TABLE stage (
        row_no bigint, email text COLLATE "C", partner_user_id text COLLATE "C", kind text, occurred_at timestamptz,
        external_id text COLLATE "C", properties jsonb, attributes jsonb
    ) ON COMMIT DELETE ROWS
"""
REQUESTED = "SELECT FROM batchjobs_jobrequest WHERE job_id = %(job)s AND handled_at IS NULL LIMIT 1"

# Identity: the e-mail address decides. A partner's number finds a person without one, and is learned from rows that
# have both; it never moves from one person to another.
# Looked up one by one through the indexes: a fresh audience has no statistics, and a join planned without them
# compares everybody with everybody.
_PAIRS = """
    SELECT DISTINCT ON (partner_user_id) partner_user_id, email FROM (
        SELECT DISTINCT ON (email) email, partner_user_id, row_no FROM stage
        WHERE email IS NOT NULL AND partner_user_id IS NOT NULL ORDER BY email, row_no) once
    ORDER BY partner_user_id, row_no
"""
_BY_EMAIL = "(SELECT p.id FROM audience_profile p WHERE p.database_id = %(database)s AND p.email = s.email{})"
_BY_PARTNER = """(SELECT p.id FROM audience_profile p
    WHERE p.database_id = %(database)s AND p.partner_user_id = s.partner_user_id{})"""
LEARN_EMAILS = f"""
    UPDATE audience_profile p SET email = found.email, updated_at = clock_timestamp()
    FROM (SELECT s.email, {_BY_PARTNER.format(" AND p.email IS NULL")} AS id, {_BY_EMAIL.format("")} AS taken
          FROM ({_PAIRS}) s) found
    WHERE p.id = found.id AND found.taken IS NULL
"""  # noqa: S608  no outside text
LEARN_PARTNERS = f"""
    UPDATE audience_profile p SET partner_user_id = found.partner_user_id, updated_at = clock_timestamp()
    FROM (SELECT s.partner_user_id, {_BY_EMAIL.format(" AND p.partner_user_id IS NULL")} AS id,
                 {_BY_PARTNER.format("")} AS taken
          FROM ({_PAIRS}) s) found
    WHERE p.id = found.id AND found.taken IS NULL
"""  # noqa: S608  no outside text
# What a profile held before this job changed it. Profiles that the job made itself need no image.
BEFORE_LEARNING = f"""
    INSERT INTO audience_profilebeforeimage (job, profile_id, email, partner_user_id, attributes)
    SELECT %(job)s, p.id, p.email, p.partner_user_id, p.attributes
    FROM (SELECT {_BY_EMAIL.format(" AND p.partner_user_id IS NULL")} AS id FROM ({_PAIRS}) s
          UNION SELECT {_BY_PARTNER.format(" AND p.email IS NULL")} FROM ({_PAIRS}) s) found
    JOIN audience_profile p ON p.id = found.id
    WHERE p.created_by_job IS DISTINCT FROM %(job)s
    ON CONFLICT (job, profile_id) DO NOTHING
"""  # noqa: S608  no outside text


def _profiles(key: str, condition: str, conflict: str) -> tuple[str, str]:
    """Statements that write the profiles of a chunk found by `key`: with attributes, and without."""
    with_attributes = f"""
        WITH wanted AS MATERIALIZED (
            SELECT {key}, batchdesk_jsonb_merge(attributes ORDER BY row_no) AS attributes
            FROM stage WHERE {condition} GROUP BY {key}
        ), before AS (
            INSERT INTO audience_profilebeforeimage (job, profile_id, email, partner_user_id, attributes)
            SELECT %(job)s, id, email, partner_user_id, attributes FROM (
                SELECT p.id, p.email, p.partner_user_id, p.attributes
                FROM wanted w JOIN audience_profile p ON p.database_id = %(database)s AND p.{key} = w.{key}
                WHERE NOT p.attributes @> w.attributes AND p.created_by_job IS DISTINCT FROM %(job)s
                ORDER BY p.{key} FOR UPDATE OF p) changing
            ON CONFLICT (job, profile_id) DO NOTHING RETURNING 1
        ), written AS (
            INSERT INTO audience_profile AS p (database_id, {key}, attributes, created_by_job)
            SELECT %(database)s, {key}, attributes, %(job)s FROM wanted
            WHERE (SELECT count(*) FROM before) >= 0  -- the images come first
            ORDER BY {key}
            ON CONFLICT {conflict} DO UPDATE
            SET attributes = p.attributes || excluded.attributes, updated_at = clock_timestamp()
            WHERE NOT p.attributes @> excluded.attributes
            RETURNING xmax = 0 AS new
        )
        SELECT count(*) FILTER (WHERE new), count(*) FILTER (WHERE NOT new) FROM written
    """  # noqa: S608  no outside text
    without = f"""
        WITH written AS (
            INSERT INTO audience_profile (database_id, {key}, created_by_job)
            SELECT %(database)s, s.{key}, %(job)s FROM (SELECT DISTINCT {key} FROM stage WHERE {condition}) s
            WHERE NOT EXISTS (SELECT FROM audience_profile p WHERE p.database_id = %(database)s AND p.{key} = s.{key})
            ORDER BY s.{key} ON CONFLICT {conflict} DO NOTHING RETURNING 1
        ) SELECT count(*), 0 FROM written
    """  # noqa: S608
    return with_attributes, without


BY_EMAIL = _profiles("email", "email IS NOT NULL", "(database_id, email)")
BY_PARTNER = _profiles(
    "partner_user_id", "email IS NULL", "(database_id, partner_user_id) WHERE partner_user_id IS NOT NULL"
)
_INTO_INTERACTIONS = """
    INSERT INTO audience_interaction
        (database_id, profile_id, kind, occurred_at, external_id, properties, created_by_job, row_no)
    SELECT %(database)s, p.id, s.kind, s.occurred_at, s.external_id, s.properties, %(job)s, s.row_no
"""
_ONCE = "ON CONFLICT (database_id, external_id) WHERE external_id IS NOT NULL DO NOTHING"
INTERACTIONS = f"""
    {_INTO_INTERACTIONS}
    FROM stage s JOIN audience_profile p ON p.database_id = %(database)s AND p.email = s.email {_ONCE}
"""
INTERACTIONS_BY_PARTNER = f"""
    {_INTO_INTERACTIONS}
    FROM stage s JOIN audience_profile p ON p.database_id = %(database)s AND p.partner_user_id = s.partner_user_id
    WHERE s.email IS NULL {_ONCE}
"""
# The most frequent file tells nothing of its people but their addresses: then each is looked up once, for both tables.
PLAIN = """
    WITH known AS MATERIALIZED (
        SELECT s.email, p.id FROM (SELECT DISTINCT email FROM stage) s
        LEFT JOIN audience_profile p ON p.database_id = %(database)s AND p.email = s.email
    ), made AS (
        INSERT INTO audience_profile (database_id, email, created_by_job)
        SELECT %(database)s, email, %(job)s FROM known WHERE id IS NULL ORDER BY email
        ON CONFLICT (database_id, email) DO NOTHING RETURNING email, id
    ), written AS (
        INSERT INTO audience_interaction
            (database_id, profile_id, kind, occurred_at, external_id, properties, created_by_job, row_no)
        SELECT %(database)s, p.id, s.kind, s.occurred_at, s.external_id, s.properties, %(job)s, s.row_no
        FROM stage s JOIN (SELECT email, id FROM known WHERE id IS NOT NULL UNION ALL SELECT email, id FROM made) p
          ON p.email = s.email
        ON CONFLICT (database_id, external_id) WHERE external_id IS NOT NULL DO NOTHING RETURNING 1
    )
    SELECT (SELECT count(*) FROM made), (SELECT count(*) FROM written)
"""
# Rows that are already there leave the stage, so that they change nothing; the first statement also names them.
DROP_KNOWN = """
    WITH known AS (
        DELETE FROM stage s USING audience_interaction i
        WHERE i.database_id = %(database)s AND i.external_id = s.external_id RETURNING s.row_no
    ) SELECT row_no FROM known
"""
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
        changed_profiles, skipped_lines, part, groups, samples, event_names)
    SELECT id, %(n)s, %(token)s, %(end_offset)s, %(end_line)s, %(valid)s, %(skipped)s, %(invalid)s, %(new_profiles)s,
        %(changed_profiles)s,
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
    groups: list[dict[str, Any]] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)
    event_names: list[str] = field(default_factory=list)
    reader_state: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MergePlan:
    """What is the same for all chunks of a run."""

    job: int
    token: int
    database: int
    lease: str
    has_attributes: bool
    has_partner_ids: bool
    dry_run: bool


class _ConflictError(Exception):
    """Some rows are already there: the merge starts again without them."""


# Another job wrote the same people at the same time: PostgreSQL lets one of the two try again.
RETRIED = (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected, psycopg.errors.UniqueViolation)
TRIES = 6


def merge_chunk(session: psycopg.Connection[tuple[Any, ...]], plan: MergePlan, chunk: ChunkRecord) -> None:
    """Merges what is staged in `session`'s open transaction and writes the ledger; the caller commits.

    Raises StopRequestedError when a person asked for an end, LeaseLostError when the token is no longer valid.
    """
    ids = {"job": plan.job, "database": plan.database}
    if session.execute(REQUESTED, ids).fetchone() is not None:
        raise StopRequestedError
    skipped = list(chunk.skipped_lines)
    new = changed = 0
    staged = chunk.good
    if staged and not plan.dry_run:
        for attempt in range(TRIES):
            try:
                with session.transaction():  # a savepoint
                    new, changed = _merge(session, plan, ids, staged)
                break
            except _ConflictError:
                known = [row[0] for row in session.execute(DROP_KNOWN, ids)]
                skipped += known
                staged -= len(known)
            except RETRIED:
                if attempt == TRIES - 1:
                    raise
        else:
            raise RuntimeError("The same rows conflict again and again.")
    written = session.execute(
        LEDGER,
        {
            **ids,
            "token": plan.token,
            "lease": plan.lease,
            "n": chunk.n,
            "end_offset": chunk.end_offset,
            "end_line": chunk.end_line,
            "valid": staged,
            "skipped": len(skipped),
            "invalid": chunk.invalid,
            "new_profiles": new,
            "changed_profiles": changed,
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


def _merge(
    session: psycopg.Connection[tuple[Any, ...]], plan: MergePlan, ids: dict[str, int], staged: int
) -> tuple[int, int]:
    """Returns how many profiles are new and how many were changed."""
    if not staged:
        return 0, 0
    if not plan.has_attributes and not plan.has_partner_ids:
        new, inserted = session.execute(PLAIN, ids).fetchone() or (0, 0)
        if inserted != staged:
            raise _ConflictError
        return new, 0
    which = 0 if plan.has_attributes else 1
    if plan.has_partner_ids:
        session.execute(BEFORE_LEARNING, ids)
        session.execute(LEARN_EMAILS, ids)
    new, changed = session.execute(BY_EMAIL[which], ids).fetchone() or (0, 0)
    if plan.has_partner_ids:
        session.execute(LEARN_PARTNERS, ids)
        more, others = session.execute(BY_PARTNER[which], ids).fetchone() or (0, 0)
        new, changed = new + more, changed + others
    inserted = session.execute(INTERACTIONS, ids).rowcount
    if plan.has_partner_ids:
        inserted += session.execute(INTERACTIONS_BY_PARTNER, ids).rowcount
    if inserted != staged:
        raise _ConflictError
    return new, changed
