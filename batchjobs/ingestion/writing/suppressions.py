"""Opt-outs. One that is there already keeps its date, unless a file gives a later one; nothing is ever taken away.

An opt-out by e-mail address has both hashes, one by hash only its own: when the address comes later, the two become
one. Whoever is known by the partner's number has a row of that key beside it. So files may come in any order.
"""

from __future__ import annotations

from batchjobs.ingestion.writing.ledger import Merged, RunPlan, Session
from batchjobs.ingestion.writing.stage import StagedWriter, taken_off

_FOUND = """(SELECT max(x.opted_out_at) FROM audience_suppression x
    WHERE x.database_id = %(database)s AND x.channel = s.channel AND x.{0} = s.{0})"""
# A row is known if each of its keys is there with no earlier date, in the database or in an earlier row of the chunk.
# Rows without a date of their own never move one.
_KEYED = f"""
    SELECT s.row_no, s.channel, 'hash' AS kind, coalesce(s.email_sha256, s.email_md5) AS key, s.opted_out_at, s.dated,
           greatest({_FOUND.format("email_sha256")}, {_FOUND.format("email_md5")}) AS there
    FROM stage s WHERE coalesce(s.email_sha256, s.email_md5) IS NOT NULL
    UNION ALL
    SELECT s.row_no, s.channel, 'partner', s.partner_user_id, s.opted_out_at, s.dated,
           {_FOUND.format("partner_user_id")}
    FROM stage s WHERE s.partner_user_id IS NOT NULL
"""  # noqa: S608  no outside text
DROP_KNOWN = f"""
    DELETE FROM stage WHERE row_no IN (
        SELECT row_no FROM (
            SELECT row_no, coalesce(there >= opted_out_at OR NOT dated AND there IS NOT NULL, false)
                           OR coalesce(earlier >= opted_out_at OR NOT dated AND earlier IS NOT NULL, false) AS known
            FROM (SELECT k.*, max(opted_out_at) OVER (PARTITION BY channel, kind, key ORDER BY row_no
                              ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS earlier FROM ({_KEYED}) k) k
        ) k GROUP BY row_no HAVING bool_and(known))
    RETURNING row_no
"""  # noqa: S608  no outside text
# An address that was opted out by its MD5 alone, and now by itself.
_PAIRS = "SELECT DISTINCT channel, email_sha256, email_md5 FROM stage WHERE num_nulls(email_sha256, email_md5) = 0"
JOIN_TWINS = f"""
    DELETE FROM audience_suppression x USING ({_PAIRS}) s
    WHERE x.database_id = %(database)s AND x.channel = s.channel AND x.email_md5 = s.email_md5
      AND x.email_sha256 IS NULL AND EXISTS (
          SELECT FROM audience_suppression o WHERE o.database_id = %(database)s AND o.channel = s.channel
          AND o.email_sha256 = s.email_sha256)
"""  # noqa: S608
LEARN_SHA256 = f"""
    UPDATE audience_suppression x SET email_sha256 = s.email_sha256 FROM ({_PAIRS}) s
    WHERE x.database_id = %(database)s AND x.channel = s.channel AND x.email_md5 = s.email_md5
      AND x.email_sha256 IS NULL
"""  # noqa: S608


def _add(key: str, columns: str, condition: str) -> str:
    """Adds what is new by `key` and moves dates on: the latest row of the chunk counts."""
    return f"""
        WITH written AS (
            INSERT INTO audience_suppression AS x
                (database_id, channel, {columns}, reason, opted_out_at, created_by_job)
            SELECT DISTINCT ON (channel, {key}) %(database)s, channel, {columns}, reason, opted_out_at, %(job)s
            FROM stage WHERE {condition} ORDER BY channel, {key}, dated DESC, opted_out_at DESC, row_no DESC
            ON CONFLICT (database_id, channel, {key}) WHERE {key} IS NOT NULL DO UPDATE
            SET opted_out_at = greatest(x.opted_out_at, excluded.opted_out_at),
                reason = coalesce(nullif(excluded.reason, ''), x.reason),
                email_md5 = coalesce(x.email_md5, excluded.email_md5)
            WHERE excluded.opted_out_at > x.opted_out_at OR (x.email_md5 IS NULL AND excluded.email_md5 IS NOT NULL)
            RETURNING xmax = 0 AS new
        ) SELECT count(*) FILTER (WHERE new) FROM written
    """  # noqa: S608  no outside text


ADD = (
    _add("email_sha256", "email_sha256, email_md5", "email_sha256 IS NOT NULL"),
    _add("email_md5", "email_md5", "email_sha256 IS NULL AND email_md5 IS NOT NULL"),
    _add("partner_user_id", "partner_user_id", "partner_user_id IS NOT NULL"),
)


class SuppressionWriter(StagedWriter):
    fields = {
        "row_no": "bigint",
        "email_sha256": "text",
        "email_md5": "text",
        "partner_user_id": 'text COLLATE "C"',
        "channel": "text",
        "reason": "text",
        "opted_out_at": "timestamptz",
        "dated": "boolean",  # the date is the file's own
    }

    def write(self, session: Session, merged: Merged) -> None:
        merged.known_lines = write_suppressions(session, self.plan, merged)
        merged.valid -= len(merged.known_lines)


def write_suppressions(session: Session, plan: RunPlan, merged: Merged) -> list[int]:
    """Adds the opt-outs of the stage, and counts them in `merged`; the lines of those that were there already."""
    ids = plan.ids
    known = taken_off(session, DROP_KNOWN, ids)
    session.execute(JOIN_TWINS, ids)
    session.execute(LEARN_SHA256, ids)
    new = [session.execute(statement, ids).fetchone() for statement in ADD]
    merged.figures["new_optouts"] = sum(row[0] for row in new if row)
    return known
