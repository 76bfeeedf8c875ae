"""The same 10,000 changed rows as an incremental export, out of a large table and out of one of a tenth of its rows.

Each table is in a database of its own. A run changes 10,000 rows, and then an export of what has changed goes to the
transfer box: window, selection, writer, storage, delivery; timed from the claim of its job to the end. Of the rounds
the quickest counts. A ratio above 1 says, other than elsewhere, how much longer the large table takes.
Each step is a process with a database of its own: `python -m benchmarks.incremental fill|run KIND ROWS PEOPLE`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.memory import peak_rss_mb
from benchmarks.runs import ROOT, interleaved, result
from benchmarks.tables import psql

CHANGED = 10_000
TIMES = 10  # how many rows the large table has for each of the small one
NAME = "changes"

# Without the checks of foreign keys, which take as long as the rest.
FILL = {
    "profile": """
        SET session_replication_role = replica;
        INSERT INTO audience_profile (database_id, email, partner_user_id, attributes)
        SELECT %(database)d, format('person-%%s@example.com', lpad(n::text, 9, '0')), n::text,
               jsonb_build_object('first_name', 'Rosa', 'last_name', 'Name ' || n %% 977, 'city', 'Lisboa',
                                  'birthday', date '1950-01-01' + n %% 20000, 'points', n %% 100000 / 100.0)
        FROM generate_series(1, %(people)d) n
    """,
    "interaction": """
        INSERT INTO audience_interaction (
            database_id, profile_id, kind, occurred_at, external_id, properties, created_by_job, row_no)
        SELECT %(database)d, n::bigint * 7919 %% %(people)d + 1, 'purchase',
               timestamptz '2026-01-01' + n * interval '1 second', 'ev-' || n,
               jsonb_build_object('value', n %% 100000 / 100.0, 'currency', 'EUR', 'sku', 'sku-' || n %% 977,
                                  'channel', 'web', 'note', 'a note of a few words'), 1, n
        FROM generate_series(%(before)d + 1, %(before)d + %(rows)d) n
    """,
}
# What files of customers change is all over the table.
CHANGE_PEOPLE = """
    UPDATE audience_profile SET attributes = attributes || jsonb_build_object('points', random()), updated_at = now()
    WHERE id IN (SELECT id FROM (SELECT DISTINCT ceil(random() * %(people)d)::bigint FROM generate_series(1, %(twice)d)
                                ) s(id) ORDER BY random() LIMIT %(changed)d)
"""
COLUMNS = {
    "profile": ("email", "partner_user_id", "attributes.first_name", "attributes.city", "updated_at"),
    "interaction": ("kind", "occurred_at", "external_id", "profile.email", "properties.value", "properties.sku"),
}


def incremental_10k(folder: Path, *, rows: int, rounds: int, with_peers: bool) -> dict[str, Any]:
    """New interactions: they are where the table ends. There are ten times the people beside the large one too."""
    return _incremental("interaction", rows, rounds, lambda size: max(size // 5, 1))


def incremental_10k_same_people(folder: Path, *, rows: int, rounds: int, with_peers: bool) -> dict[str, Any]:
    """New interactions, with a longer history of the same people in the large table: what its size alone costs."""
    return _incremental("interaction", rows, rounds, lambda size: max(rows // 5, 1))


def incremental_10k_profiles(folder: Path, *, rows: int, rounds: int, with_peers: bool) -> dict[str, Any]:
    """Profiles that were changed: they are all over the table."""
    return _incremental("profile", rows, rounds, lambda size: size)


def _incremental(kind: str, rows: int, rounds: int, people: Callable[[int], int]) -> dict[str, Any]:
    sizes = {"ours": rows * TIMES, "reference": rows}
    try:
        for size in sizes.values():
            psql(f"CREATE DATABASE {_database(size)}")
            _step("fill", kind, size, people(size))
        times, peaks = interleaved(
            {name: partial(_run, kind, size, people(size)) for name, size in sizes.items()}, rounds, unit="ms", pick=min
        )
    finally:
        for size in sizes.values():
            psql(f"DROP DATABASE IF EXISTS {_database(size)} WITH (FORCE)")
    return result(times, peaks, rows=CHANGED, unit="ms")


def _database(size: int) -> str:
    return f"incremental_{size}"


def _run(kind: str, size: int, people: int) -> tuple[float, float]:
    seconds, peak = json.loads(_step("run", kind, size, people))
    return seconds * 1000, peak


def _step(what: str, kind: str, size: int, people: int) -> str:
    url = os.environ["DATABASE_URL"].replace("/postgres?", f"/{_database(size)}?")
    command = [sys.executable, "-m", "benchmarks.incremental", what, kind, str(size), str(people)]
    return subprocess.run(
        command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, "DATABASE_URL": url}
    ).stdout


# Within such a process.


def fill(kind: str, size: int, people: int) -> None:
    """A database with so many rows of the kind, and its export."""
    from django.core.management import call_command

    from accounts.actors import system_actor
    from audience.models import Database
    from benchmarks.export_jobs import BENCH, account_bench
    from exports import services

    call_command("migrate", verbosity=0)
    account = account_bench()
    database = Database.objects.create(account=account, slug=BENCH["slug"], name="Bench")
    psql(FILL["profile"] % {"database": database.pk, "people": people})
    if kind == "interaction":
        psql(FILL[kind] % {"database": database.pk, "people": people, "before": 0, "rows": size})
    psql("VACUUM (ANALYZE)", "CHECKPOINT")
    definition = {
        **{"name": kind, "data_type": kind, "database": database.slug, "type": "incremental", "start_with": "changes"},
        "columns": [{"field": field} for field in COLUMNS[kind]],
        "destination": "transfer_box",
        "schedule": {"cadence": "daily", "at": "06:30", "timezone": "UTC"},
    }
    by = system_actor(account)
    services.export_schedule(export=services.export_create(by=by, definition=definition), by=by)


def run(kind: str, people: int) -> tuple[float, float]:
    """Changes some rows; seconds and peak memory of the job that exports them."""
    from benchmarks.export_jobs import run_export, take
    from exports.models import Export

    export = Export.objects.get(name=kind)
    if kind == "profile":
        psql(CHANGE_PEOPLE % {"people": people, "twice": CHANGED * 2, "changed": CHANGED})
    else:
        before = int(psql("SELECT row_no FROM audience_interaction ORDER BY id DESC LIMIT 1"))
        values = {"database": export.database_id, "people": people, "before": before, "rows": CHANGED}
        psql(FILL[kind] % values)
    psql("CHECKPOINT")
    _settled()
    seconds, made = run_export(export)
    assert made.rows == CHANGED, f"{made.rows} rows of {CHANGED}"
    peak = peak_rss_mb("self")
    take(made)
    return seconds, peak


def _settled() -> None:
    """Waits until no transaction of now holds a window back."""
    now = int(psql("SELECT pg_current_xact_id()"))
    while int(psql("SELECT pg_snapshot_xmin(pg_current_snapshot())")) <= now:
        time.sleep(0.1)


def main() -> None:
    import django

    django.setup()
    what, kind, size, people = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    if what == "fill":
        fill(kind, size, people)
    else:
        print(json.dumps(run(kind, people)))


if __name__ == "__main__":
    main()
