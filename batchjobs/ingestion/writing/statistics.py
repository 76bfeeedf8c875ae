"""What the planner knows of the tables that chunks are merged into."""

from __future__ import annotations

from batchjobs.ingestion.writing.ledger import Session

FEW_ROWS = 100
FEW_PAGES = 10
TABLES = (
    "audience_profile",
    "audience_interaction",
    "audience_listmember",
    "audience_suppression",
    "audience_reference",
    "audience_record",
)
# As the planner reckons: rows a page when the table was last looked at, times its pages of now.
EMPTIED = f"""
    SELECT oid::regclass::text FROM pg_class
    WHERE oid = ANY(%s::regclass[])
      AND pg_relation_size(oid) > {FEW_PAGES} * current_setting('block_size')::int
      AND reltuples / nullif(relpages, 0) * (pg_relation_size(oid) / current_setting('block_size')::int) < {FEW_ROWS}
"""  # noqa: S608  no outside text


def renew(session: Session) -> None:
    """Looks again at tables of many pages that are believed to have hardly a row.

    A table that was analyzed after all its rows were deleted is believed empty however much comes in, until the next
    autovacuum. A statement that finds rows by their ids then compares everybody with everybody.
    """
    for (table,) in session.execute(EMPTIED, [list(TABLES)]).fetchall():
        session.execute(f"ANALYZE (SKIP_LOCKED) {table}")
