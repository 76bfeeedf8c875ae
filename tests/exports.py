"""What tests of exports share: an audience, definitions, and runs to their end."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.db import connection

from accounts.actors import Actor
from audience.models import Database
from audience.services import database_default
from batchjobs import kernel
from batchjobs.files import open_file
from exports import dispatch, services
from exports.models import Export, ExportRun
from tests.chaos import until

DAILY = {"cadence": "daily", "at": "06:30", "timezone": "Europe/Lisbon"}
COLUMNS = [{"field": "email", "header": "email"}, {"field": "attributes.tier", "header": "tier"}]


# Keys that can be stored, and so come along, be named, chosen and asked about.
ODD_KEYS = {
    "k" * 255: "long",
    "line\nbreak": "break",
    "line\r\nbreak": "other break",
    " sp ": "blanks",
    "tab\tand\x1f": "control",
    'quote " ; , | &amp; <b>': "signs",
    "漢字 é": "letters",
    " ": "blank",
}


PEOPLE = """
    INSERT INTO audience_profile (database_id, email, attributes)
    SELECT %s, 'person-' || lpad(n::text, greatest(5, length(n::text)), '0') || '@example.com',
           jsonb_build_object('tier', (ARRAY['Gold', 'Silver', 'Bronze'])[n %% 3 + 1], 'first_name', 'Name ' || n)
    FROM generate_series(%s, %s) n
"""


def make_people(by: Actor, count: int = 3, *, first: int = 0) -> Database:
    """Profiles of the account's first database, which is returned."""
    database = database_default(account=by.account)
    with connection.cursor() as cursor:
        cursor.execute(PEOPLE, [database.pk, first, first + count - 1])
    return database


def make_export(by: Actor, **definition: Any) -> Export:
    """A draft; by default a one-shot CSV of everybody."""
    return services.export_create(
        by=by,
        definition={
            "name": "Everybody",
            "type": "one_shot",
            "data_type": "profile",
            "columns": COLUMNS,
            "file": {"format": "csv", "delimiter": ",", "name_pattern": "people"},
            **definition,
        },
    )


def make_recurring(by: Actor, *, now: dt.datetime | None = None, **definition: Any) -> Export:
    """An incremental export to the transfer box, scheduled every day."""
    export = make_export(
        by,
        **{
            "name": "Feed",
            "type": "incremental",
            "destination": "transfer_box",
            "schedule": DAILY,
            "file": {"format": "csv", "delimiter": ",", "name_pattern": "feed_$run"},
            **definition,
        },
    )
    return services.export_schedule(export=export, by=by, now=now)


def settled_window() -> None:
    """Waits until nothing that other databases of the server run holds the next window back."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id()::text::bigint")
        (now,) = cursor.fetchone()

    def is_past() -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
            return bool(cursor.fetchone()[0] > now)

    until(is_past)


def work(now: dt.datetime | None = None) -> None:
    """Runs all jobs, with windows past all that was written, then settles what has ended."""
    settled_window()
    kernel.queue_work("long")
    dispatch.tick(now=now)


def last_run(export: Export) -> ExportRun:
    found = ExportRun.objects.with_state().filter(export=export).order_by("-pk").first()
    assert found is not None
    return found


def bytes_of(run: ExportRun) -> bytes:
    assert run.file is not None
    with open_file(run.file) as stored:
        return stored.read()


def lines_of(run: ExportRun) -> list[str]:
    return bytes_of(run).decode().splitlines()
