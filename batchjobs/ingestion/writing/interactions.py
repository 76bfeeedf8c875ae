"""Interactions: events and purchases, by way of the stage."""

from __future__ import annotations

from batchjobs.ingestion.writing import people
from batchjobs.ingestion.writing.ledger import Merged, Session
from batchjobs.ingestion.writing.people import BY_EMAIL, BY_PARTNER, write_people
from batchjobs.ingestion.writing.stage import StageConflictError, StagedWriter, taken_off

_INTO_INTERACTIONS = """
    INSERT INTO audience_interaction
        (database_id, profile_id, kind, occurred_at, external_id, properties, created_by_job, row_no)
    SELECT %(database)s, s.profile_id, s.kind, s.occurred_at, s.external_id, s.properties, %(job)s, s.row_no
"""
_ONCE = "ON CONFLICT (database_id, external_id) WHERE external_id IS NOT NULL DO NOTHING"
INTERACTIONS = f"""
    {_INTO_INTERACTIONS}
    FROM (SELECT s.*, {BY_EMAIL.format("")} AS profile_id FROM stage s WHERE s.email IS NOT NULL OFFSET 0) s
    WHERE s.profile_id IS NOT NULL {_ONCE}
"""  # noqa: S608  no outside text
INTERACTIONS_BY_PARTNER = f"""
    {_INTO_INTERACTIONS}
    FROM (SELECT s.*, {BY_PARTNER.format("")} AS profile_id FROM stage s WHERE s.email IS NULL OFFSET 0) s
    WHERE s.profile_id IS NOT NULL {_ONCE}
"""  # noqa: S608  no outside text
# Rows that are already there leave the stage, so that they change nothing.
DROP_KNOWN = """
    DELETE FROM stage s WHERE (
        SELECT i.id FROM audience_interaction i
        WHERE i.database_id = %(database)s AND i.external_id = s.external_id) IS NOT NULL
    RETURNING s.row_no
"""


class InteractionWriter(StagedWriter):
    fields = {
        **people.FIELDS,
        "kind": "text",
        "occurred_at": "timestamptz",
        "external_id": 'text COLLATE "C"',
        "properties": "jsonb",
        "attributes": "jsonb",
    }

    def write(self, session: Session, merged: Merged) -> None:
        write_people(session, self.plan, merged)
        inserted = session.execute(INTERACTIONS, self.plan.ids).rowcount
        if self.plan.has_partner_ids:
            inserted += session.execute(INTERACTIONS_BY_PARTNER, self.plan.ids).rowcount
        if inserted != merged.valid:
            raise StageConflictError

    def drop_known(self, session: Session) -> list[int]:
        return taken_off(session, DROP_KNOWN, self.plan.ids)
