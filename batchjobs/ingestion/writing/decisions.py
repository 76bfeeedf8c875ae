"""Decisions on interactions. The same decision again changes nothing, an older one never replaces a newer one."""

from __future__ import annotations

from batchjobs.ingestion.writing.ledger import Merged, Session
from batchjobs.ingestion.writing.stage import OutdatedError, StagedWriter, taken_off

DROP_KNOWN = """
    DELETE FROM stage WHERE row_no IN (
        SELECT row_no FROM (
            SELECT s.row_no, s.decision, s.decided_at, s.note, i.decided_at AS was_at, i.decision AS was,
                   i.decision_note AS was_note,
                   lag(s.decision) OVER same AS before, lag(s.note) OVER same AS before_note
            FROM stage s JOIN audience_interaction i ON i.id = s.interaction_id
            WINDOW same AS (PARTITION BY s.interaction_id ORDER BY s.row_no)
        ) s
        WHERE was_at > decided_at
           OR coalesce(before, was) = decision AND (note IS NULL OR note = coalesce(before_note, was_note)))
    RETURNING row_no
"""
DECIDE = """
    UPDATE audience_interaction i
    SET decision = s.decision,
        decision_note = coalesce(s.note, CASE WHEN i.decision = s.decision THEN i.decision_note END),
        decided_at = s.decided_at
    FROM (SELECT DISTINCT ON (interaction_id) * FROM stage ORDER BY interaction_id, row_no DESC) s
    WHERE i.id = s.interaction_id AND i.database_id = %(database)s
"""
WANTED = "SELECT count(DISTINCT interaction_id) FROM stage"


class InteractionGoneError(OutdatedError):
    """An interaction was removed after it was looked up."""


class DecisionWriter(StagedWriter):
    fields = {
        "row_no": "bigint",
        "interaction_id": "bigint",
        "decision": "text",
        "note": "text",
        "decided_at": "timestamptz",
    }

    def write(self, session: Session, merged: Merged) -> None:
        ids = self.plan.ids
        merged.known_lines = taken_off(session, DROP_KNOWN, ids)
        merged.valid -= len(merged.known_lines)
        (wanted,) = session.execute(WANTED).fetchone() or (0,)
        if session.execute(DECIDE, ids).rowcount != wanted:
            raise InteractionGoneError


def known_event_ids(session: Session, database: int, numbers: list[int]) -> dict[str, str]:
    """Which interactions of the database there are, by their own numbers."""
    if not numbers:
        return {}
    found = session.execute(
        "SELECT id::text, id::text FROM audience_interaction WHERE database_id = %s AND id = ANY(%s)",
        [database, numbers],
    )
    return dict(found.fetchall())


def known_external_ids(session: Session, database: int, keys: list[str]) -> dict[str, str]:
    """The same by the partner's numbers."""
    if not keys:
        return {}
    found = session.execute(
        "SELECT external_id, id::text FROM audience_interaction WHERE database_id = %s AND external_id = ANY(%s)",
        [database, keys],
    )
    return dict(found.fetchall())
