"""The people of a chunk: found by e-mail address or by the partner's number, made where they are new."""

from __future__ import annotations

from batchjobs.ingestion.writing.ledger import Merged, RunPlan, Session

FIELDS = {"row_no": "bigint", "email": 'text COLLATE "C"', "partner_user_id": 'text COLLATE "C"'}
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
BY_EMAIL = "(SELECT p.id FROM audience_profile p WHERE p.database_id = %(database)s AND p.email = s.email{})"
BY_PARTNER = """(SELECT p.id FROM audience_profile p
    WHERE p.database_id = %(database)s AND p.partner_user_id = s.partner_user_id{})"""
LEARN_EMAILS = f"""
    UPDATE audience_profile p SET email = found.email, updated_at = clock_timestamp()
    FROM (SELECT s.email, {BY_PARTNER.format(" AND p.email IS NULL")} AS id, {BY_EMAIL.format("")} AS taken
          FROM ({_PAIRS}) s OFFSET 0) found
    WHERE p.id = found.id AND found.taken IS NULL
"""  # noqa: S608  no outside text
LEARN_PARTNERS = f"""
    UPDATE audience_profile p SET partner_user_id = found.partner_user_id, updated_at = clock_timestamp()
    FROM (SELECT s.partner_user_id, {BY_EMAIL.format(" AND p.partner_user_id IS NULL")} AS id,
                 {BY_PARTNER.format("")} AS taken
          FROM ({_PAIRS}) s OFFSET 0) found
    WHERE p.id = found.id AND found.taken IS NULL
"""  # noqa: S608  no outside text


def before_images(changing: str) -> str:
    """A statement that keeps what profiles held before this job changed them; of several, the first image stays.

    `changing` goes on behind FROM, and calls the profiles p. Those that the job made itself need no image.
    """
    return f"""
        INSERT INTO audience_profilebeforeimage (job, profile_id, email, partner_user_id, attributes)
        SELECT %(job)s, id, email, partner_user_id, attributes FROM (
            SELECT p.id, p.email, p.partner_user_id, p.attributes FROM {changing}
              AND p.created_by_job IS DISTINCT FROM %(job)s
            ORDER BY p.email, p.partner_user_id FOR UPDATE OF p) changing
        ON CONFLICT (job, profile_id) DO NOTHING
    """  # noqa: S608  no outside text


BEFORE_LEARNING = before_images(f"""
    (SELECT {BY_EMAIL.format(" AND p.partner_user_id IS NULL")} AS id FROM ({_PAIRS}) s
     UNION SELECT {BY_PARTNER.format(" AND p.email IS NULL")} FROM ({_PAIRS}) s) found
    JOIN audience_profile p ON p.id = found.id WHERE true
""")  # noqa: S608  no outside text


def _profiles(key: str, condition: str, conflict: str) -> tuple[str, str, str]:
    """Statements that write the profiles of a chunk found by `key`: without attributes, with them, and with blank ones
    (null) that erase.
    """
    find = f"(SELECT p.id FROM audience_profile p WHERE p.database_id = %(database)s AND p.{key} = w.{key})"  # noqa: S608
    without = f"""
        WITH written AS (
            INSERT INTO audience_profile (database_id, {key}, created_by_job)
            SELECT %(database)s, w.{key}, %(job)s FROM (SELECT DISTINCT {key} FROM stage WHERE {condition}) w
            WHERE {find} IS NULL ORDER BY w.{key} ON CONFLICT {conflict} DO NOTHING RETURNING 1
        ) SELECT count(*), 0 FROM written
    """  # noqa: S608
    return (
        without,
        _with_attributes(key, condition, conflict, find, ""),
        _with_attributes(key, condition, conflict, find, "jsonb_strip_nulls"),
    )


def _with_attributes(key: str, condition: str, conflict: str, find: str, clean: str) -> str:
    """Only what differs is written: an unchanged profile must not look changed. The last row of a person counts."""
    changing = f"""
        (SELECT w.attributes, {find} AS id FROM wanted w OFFSET 0) w JOIN audience_profile p ON p.id = w.id
        WHERE {clean}(p.attributes || w.attributes) IS DISTINCT FROM p.attributes
    """  # noqa: S608
    return f"""
        WITH wanted AS MATERIALIZED (
            SELECT {key}, batchdesk_jsonb_merge(attributes ORDER BY row_no) AS attributes
            FROM stage WHERE {condition} GROUP BY {key}
        ), before AS (
            {before_images(changing)} RETURNING 1
        ), written AS (
            INSERT INTO audience_profile AS p (database_id, {key}, attributes, created_by_job)
            SELECT %(database)s, {key}, attributes, %(job)s FROM wanted
            WHERE (SELECT count(*) FROM before) >= 0  -- the images come first
            ORDER BY {key}
            ON CONFLICT {conflict} DO UPDATE
            SET attributes = {clean}(p.attributes || excluded.attributes), updated_at = clock_timestamp()
            WHERE {clean}(p.attributes || excluded.attributes) IS DISTINCT FROM p.attributes
            RETURNING xmax = 0 AS new
        )
        SELECT count(*) FILTER (WHERE new), count(*) FILTER (WHERE NOT new) FROM written
    """  # noqa: S608  no outside text


_WRITE_BY_EMAIL = _profiles("email", "email IS NOT NULL", "(database_id, email)")
_WRITE_BY_PARTNER = _profiles(
    "partner_user_id", "email IS NULL", "(database_id, partner_user_id) WHERE partner_user_id IS NOT NULL"
)
# Where blank erases, null is a value until the end: new people came in with it.
_STRIP_NEW = """
    UPDATE audience_profile p SET attributes = jsonb_strip_nulls(p.attributes)
    FROM (SELECT DISTINCT email, partner_user_id FROM stage) s
    WHERE p.database_id = %(database)s AND p.created_by_job = %(job)s
      AND p.id = coalesce((SELECT e.id FROM audience_profile e
                           WHERE e.database_id = %(database)s AND e.email = s.email),
                          (SELECT e.id FROM audience_profile e WHERE e.database_id = %(database)s AND s.email IS NULL
                           AND e.partner_user_id = s.partner_user_id))
      AND jsonb_strip_nulls(p.attributes) IS DISTINCT FROM p.attributes
"""


def write_people(session: Session, plan: RunPlan, merged: Merged) -> None:
    """Makes and changes the people of the stage, and counts them in `merged`."""
    ids = plan.ids
    which = (2 if plan.blank_erases else 1) if plan.has_attributes else 0
    if plan.has_partner_ids:
        session.execute(BEFORE_LEARNING, ids)
        session.execute(LEARN_EMAILS, ids)
    new, changed = session.execute(_WRITE_BY_EMAIL[which], ids).fetchone() or (0, 0)
    if plan.has_partner_ids:
        session.execute(LEARN_PARTNERS, ids)
        more, others = session.execute(_WRITE_BY_PARTNER[which], ids).fetchone() or (0, 0)
        new, changed = new + more, changed + others
    if plan.blank_erases:
        session.execute(_STRIP_NEW, ids)
    merged.new_profiles, merged.changed_profiles = new, changed
