"""Lists and who is on them, with the people themselves."""

from __future__ import annotations

from batchjobs.ingestion.writing import people
from batchjobs.ingestion.writing.ledger import Merged, Session
from batchjobs.ingestion.writing.people import BY_EMAIL, BY_PARTNER
from batchjobs.ingestion.writing.stage import StagedWriter

MAKE_LISTS = """
    INSERT INTO audience_contactlist (database_id, name, created_by_job)
    SELECT %(database)s, list, %(job)s FROM (SELECT DISTINCT list FROM stage) s
    WHERE NOT EXISTS (SELECT FROM audience_contactlist l WHERE l.database_id = %(database)s AND l.name = s.list)
    ORDER BY list ON CONFLICT DO NOTHING
"""
MAKE_MEMBERS = f"""
    INSERT INTO audience_listmember (contact_list_id, profile_id, joined_at, created_by_job)
    SELECT l.id, s.profile_id, min(s.joined_at), %(job)s
    FROM (SELECT s.list, s.joined_at, coalesce({BY_EMAIL.format("")}, {BY_PARTNER.format("")}) AS profile_id
          FROM stage s OFFSET 0) s
    JOIN audience_contactlist l ON l.database_id = %(database)s AND l.name = s.list
    WHERE s.profile_id IS NOT NULL
    GROUP BY l.id, s.profile_id ORDER BY l.id, s.profile_id
    ON CONFLICT (contact_list_id, profile_id) DO NOTHING
"""  # noqa: S608  no outside text


class ListWriter(StagedWriter):
    fields = {**people.FIELDS, "attributes": "jsonb", "list": "text", "joined_at": "timestamptz"}

    def write(self, session: Session, merged: Merged) -> None:
        people.write_people(session, self.plan, merged)
        session.execute(MAKE_LISTS, self.plan.ids)
        merged.figures["new_members"] = session.execute(MAKE_MEMBERS, self.plan.ids).rowcount
