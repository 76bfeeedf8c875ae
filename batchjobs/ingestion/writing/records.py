"""Rows of tables of the account's own. A row with a key changes the one that has it; without, each is a new one."""

from __future__ import annotations

from batchjobs.ingestion.writing import people
from batchjobs.ingestion.writing.ledger import Merged, Session
from batchjobs.ingestion.writing.people import BY_EMAIL, BY_PARTNER
from batchjobs.ingestion.writing.stage import StagedWriter

_FOUND = f"""
    (SELECT s.*, coalesce({BY_EMAIL.format("")}, {BY_PARTNER.format("")}) AS profile_id FROM stage s OFFSET 0) s
"""  # noqa: S608  no outside text
NEW_RECORDS = f"""
    INSERT INTO audience_record (table_id, profile_id, "values", created_by_job)
    SELECT s.table_id, s.profile_id, s.data, %(job)s FROM {_FOUND} WHERE s.key IS NULL ORDER BY s.row_no
"""  # noqa: S608  no outside text
# What a row does not say stays as it is. Only what differs is written: an unchanged row must not look changed.
KEYED_RECORDS = f"""
    WITH wanted AS MATERIALIZED (
        SELECT s.table_id, s.key, batchdesk_jsonb_merge(s.data ORDER BY s.row_no) AS data,
               (array_agg(s.profile_id ORDER BY s.row_no DESC) FILTER (WHERE s.profile_id IS NOT NULL))[1] AS profile_id
        FROM {_FOUND} WHERE s.key IS NOT NULL GROUP BY s.table_id, s.key
    ), written AS (
        INSERT INTO audience_record AS r (table_id, key, profile_id, "values", created_by_job)
        SELECT table_id, key, profile_id, data, %(job)s FROM wanted ORDER BY table_id, key
        ON CONFLICT (table_id, key) WHERE key IS NOT NULL DO UPDATE
        SET "values" = r."values" || excluded."values", profile_id = coalesce(excluded.profile_id, r.profile_id),
            updated_at = clock_timestamp()
        WHERE (r."values" || excluded."values", coalesce(excluded.profile_id, r.profile_id))
              IS DISTINCT FROM (r."values", r.profile_id)
        RETURNING xmax = 0 AS new
    )
    SELECT count(*) FILTER (WHERE new), count(*) FILTER (WHERE NOT new) FROM written
"""  # noqa: S608  no outside text


class RecordWriter(StagedWriter):
    fields = {**people.FIELDS, "table_id": "bigint", "key": 'text COLLATE "C"', "data": "jsonb"}

    def write(self, session: Session, merged: Merged) -> None:
        people.write_people(session, self.plan, merged)
        unkeyed = session.execute(NEW_RECORDS, self.plan.ids).rowcount
        new, changed = session.execute(KEYED_RECORDS, self.plan.ids).fetchone() or (0, 0)
        merged.figures |= {"new_records": unkeyed + new, "changed_records": changed}
