"""Copies of the product's event table with all its indexes, for the reference and the peers."""

from __future__ import annotations

import os
import subprocess

from config import embedded

COLUMNS = "database_id, profile_id, kind, occurred_at, external_id, properties, created_by_job, row_no"

# The same rows in whatever order have the same sum.
COUNT_IF_SAME = f"""
    WITH its AS (SELECT count(*), sum(hashtextextended(ROW({COLUMNS})::text, 0)::numeric) FROM %(table)s),
    others AS (SELECT count(*), sum(hashtextextended(ROW({COLUMNS})::text, 0)::numeric) FROM %(other)s
               WHERE row_no <= (SELECT max(row_no) FROM %(table)s))
    SELECT CASE WHEN its = others THEN its.count ELSE -1 END FROM its, others
"""


def psql(*commands: str) -> str:
    """Runs each command in a transaction of its own; returns what they print, without decoration."""
    done = subprocess.run(
        [
            *(
                str(embedded.postgres_binary("psql")),
                "-qXAt",
                "-v",
                "ON_ERROR_STOP=1",
                "-d",
                os.environ["DATABASE_URL"],
            ),
            *(part for command in commands for part in ("-c", command)),
        ],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PGOPTIONS": "-c client_min_messages=warning"},
    )
    return done.stdout.strip()


def fresh_copy(table: str) -> None:
    psql(
        f"DROP TABLE IF EXISTS {table}",
        f"CREATE TABLE {table} (LIKE audience_interaction INCLUDING ALL)",
        "CHECKPOINT",
    )


def count_if_same(table: str, other: str) -> int:
    """How many rows `table` has if they are the first ones of `other`, otherwise -1."""
    return int(psql(COUNT_IF_SAME % {"table": table, "other": other}))
