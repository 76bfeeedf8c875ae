"""Writing by way of a stage: for every file. A chunk is staged in a table of the session, then merged by statements.

This is what decides about identity, repetition and order; direct.py must give the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from batchjobs.ingestion.ledger import ChunkRecord, Merged, RunPlan, Session

STAGE_COLUMNS = "row_no, email, partner_user_id, kind, occurred_at, external_id, properties, attributes"
# A chunk stays in memory while it is staged.
SETTINGS = "SET temp_buffers = '64MB'"
STAGE = """
    CREATE TEMP TABLE stage (
        row_no bigint, email text COLLATE "C", partner_user_id text COLLATE "C", kind text, occurred_at timestamptz,
        external_id text COLLATE "C", properties jsonb, attributes jsonb
    ) ON COMMIT DELETE ROWS
"""
# People and interactions are looked up one by one through their indexes, in subqueries (OFFSET 0 keeps the planner from
# turning them into joins): the stage has no statistics, a fresh audience has none either, and joins planned without
# them compared everybody with everybody.
#
# Identity: the e-mail address decides. A partner's number finds a person without one, and is learned from rows that
# have both; it never moves from one person to another.
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
          FROM ({_PAIRS}) s OFFSET 0) found
    WHERE p.id = found.id AND found.taken IS NULL
"""  # noqa: S608  no outside text
LEARN_PARTNERS = f"""
    UPDATE audience_profile p SET partner_user_id = found.partner_user_id, updated_at = clock_timestamp()
    FROM (SELECT s.partner_user_id, {_BY_EMAIL.format(" AND p.partner_user_id IS NULL")} AS id,
                 {_BY_PARTNER.format("")} AS taken
          FROM ({_PAIRS}) s OFFSET 0) found
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
    find = f"(SELECT p.id FROM audience_profile p WHERE p.database_id = %(database)s AND p.{key} = w.{key})"  # noqa: S608
    with_attributes = f"""
        WITH wanted AS MATERIALIZED (
            SELECT {key}, batchdesk_jsonb_merge(attributes ORDER BY row_no) AS attributes
            FROM stage WHERE {condition} GROUP BY {key}
        ), before AS (
            INSERT INTO audience_profilebeforeimage (job, profile_id, email, partner_user_id, attributes)
            SELECT %(job)s, id, email, partner_user_id, attributes FROM (
                SELECT p.id, p.email, p.partner_user_id, p.attributes
                FROM (SELECT w.attributes, {find} AS id FROM wanted w OFFSET 0) w JOIN audience_profile p ON p.id = w.id
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
            SELECT %(database)s, w.{key}, %(job)s FROM (SELECT DISTINCT {key} FROM stage WHERE {condition}) w
            WHERE {find} IS NULL ORDER BY w.{key} ON CONFLICT {conflict} DO NOTHING RETURNING 1
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
    SELECT %(database)s, s.profile_id, s.kind, s.occurred_at, s.external_id, s.properties, %(job)s, s.row_no
"""
_ONCE = "ON CONFLICT (database_id, external_id) WHERE external_id IS NOT NULL DO NOTHING"
INTERACTIONS = f"""
    {_INTO_INTERACTIONS}
    FROM (SELECT s.*, {_BY_EMAIL.format("")} AS profile_id FROM stage s WHERE s.email IS NOT NULL OFFSET 0) s
    WHERE s.profile_id IS NOT NULL {_ONCE}
"""  # noqa: S608  no outside text
INTERACTIONS_BY_PARTNER = f"""
    {_INTO_INTERACTIONS}
    FROM (SELECT s.*, {_BY_PARTNER.format("")} AS profile_id FROM stage s WHERE s.email IS NULL OFFSET 0) s
    WHERE s.profile_id IS NOT NULL {_ONCE}
"""  # noqa: S608  no outside text
# Rows that are already there leave the stage, so that they change nothing.
DROP_KNOWN = """
    DELETE FROM stage s WHERE (
        SELECT i.id FROM audience_interaction i
        WHERE i.database_id = %(database)s AND i.external_id = s.external_id) IS NOT NULL
    RETURNING s.row_no
"""


class _ConflictError(Exception):
    """Some rows are already there: the merge starts again without them."""


# Another job wrote the same people at the same time: PostgreSQL lets one of the two try again.
RETRIED = (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected, psycopg.errors.UniqueViolation)
TRIES = 6


@dataclass(frozen=True, slots=True)
class Staged:
    plan: RunPlan
    copy: str = f"COPY stage ({STAGE_COLUMNS}) FROM STDIN"

    def prepare(self, session: Session) -> None:
        session.execute(SETTINGS)
        session.execute(STAGE)

    def stage(self, session: Session, chunk: ChunkRecord) -> None:
        """The COPY has done it."""

    def merge(self, session: Session, chunk: ChunkRecord) -> Merged:
        merged = Merged(chunk.good)
        for attempt in range(TRIES):
            try:
                with session.transaction():  # a savepoint
                    merged.new_profiles, merged.changed_profiles = self._write(session, merged.valid)
                return merged
            except _ConflictError:
                known = [row[0] for row in session.execute(DROP_KNOWN, self.plan.ids)]
                merged.known_lines += known
                merged.valid -= len(known)
            except RETRIED:
                if attempt == TRIES - 1:
                    raise
        raise RuntimeError("The same rows conflict again and again.")

    def _write(self, session: Session, staged: int) -> tuple[int, int]:
        """Returns how many profiles are new and how many were changed."""
        if not staged:
            return 0, 0
        plan, ids = self.plan, self.plan.ids
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
