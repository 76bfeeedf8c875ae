"""Other ways of loading events from Python, as one would write them.

Each is a function of a CSV file that gets ready (imports, models) and returns what is timed: from opening the file to
the last commit. Each runs in a process of its own: `python -m benchmarks.peers NAME FILE CLEAN`.

They are spared much of the product's work. The file has good rows only and names each row's profile; there is no
error log, no ledger and no going on after a crash. E-mail address, date and lengths are checked, by those that have a
place for it.
"""

from __future__ import annotations

import csv
import datetime as dt
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.memory import peak_rss_mb
from benchmarks.tables import COLUMNS, count_if_same, fresh_copy

ROOT = Path(__file__).parent.parent
TABLE = "peer"
DATABASE, JOB = 1, 1
LENGTH_MAX = 255
EMAIL = r"[a-z0-9_%+.-]+@(?:[a-z0-9-]+\.)+[a-z]{2,63}"
PROPERTIES = ("value", "currency", "sku", "channel", "campaign", "note")

Load = Callable[[], None]
is_email = re.compile(EMAIL).fullmatch


@dataclass(frozen=True)
class Files:
    """The same rows twice: as a customer's CSV, and ready for COPY."""

    csv: Path
    copy: Path


@dataclass(frozen=True)
class Peer:
    get_ready: Callable[[Files], Load]
    rows: int  # at most: what is slow gets the first ones only
    binary: str = ""  # left out where this is not on PATH


def csv_psycopg_copy(files: Files) -> Load:
    """The csv module, checks in Python, and COPY of one row after the other."""
    import psycopg

    def load() -> None:
        with (
            psycopg.connect(os.environ["DATABASE_URL"]) as connection,
            connection.cursor() as cursor,
            cursor.copy(f"COPY {TABLE} ({COLUMNS}) FROM STDIN") as copy,
        ):
            for profile, kind, time_, external, properties, row_no in checked_rows(files.csv):
                copy.write_row((DATABASE, profile, kind, time_, external, json.dumps(properties), JOB, row_no))

    return load


def django_bulk_create(files: Files, *, batch: int) -> Load:
    """The csv module, checks in Python, and a list of model instances at a time."""
    model = django_model()

    def load() -> None:
        instances = (
            model(
                database_id=DATABASE,
                profile_id=profile,
                kind=kind,
                occurred_at=dt.datetime.fromisoformat(time_),
                external_id=external,
                properties=properties,
                created_by_job=JOB,
                row_no=row_no,
            )
            for profile, kind, time_, external, properties, row_no in checked_rows(files.csv)
        )
        while some := list(islice(instances, batch)):
            model.objects.bulk_create(some, batch_size=batch, ignore_conflicts=True)

    return load


def django_import_export(files: Files, *, bulk: bool) -> Load:
    """A ModelResource: row by row as it comes, or in its bulk mode with all that makes it faster (and no dedupe)."""
    event = django_model()
    from django.core.exceptions import ValidationError
    from import_export.fields import Field
    from import_export.resources import ModelResource
    from import_export.widgets import DateTimeWidget, Widget
    from tablib import Dataset

    class EventResource(ModelResource):
        kind = Field(attribute="kind", column_name="event_name")
        occurred_at = Field(
            attribute="occurred_at", column_name="event_time", widget=DateTimeWidget(format="%Y-%m-%dT%H:%M:%S%z")
        )
        external_id = Field(attribute="external_id", column_name="partner_event_id")
        properties = Field(attribute="properties", widget=Widget())

        class Meta:
            model = event
            fields = tuple(COLUMNS.split(", "))
            import_id_fields = ("external_id",)
            use_bulk = skip_diff = skip_html_diff = force_init_instance = bulk

        def before_import_row(self, row: dict[str, Any], **kwargs: Any) -> None:
            if not is_email(row["email"]) or len(row["event_name"]) > LENGTH_MAX:
                raise ValidationError(row["email"])
            row["properties"] = {name: row[name] for name in PROPERTIES}
            row["database_id"], row["created_by_job"] = DATABASE, JOB

    def load() -> None:
        with files.csv.open(newline="") as file:
            rows = Dataset().load(file, format="csv")
        EventResource().import_data(rows, raise_errors=True)

    return load


def pandas_to_sql(files: Files) -> Load:
    """A data frame, checks of whole columns, and to_sql; with method="multi" it takes three times as long."""
    import pandas
    import psycopg
    import sqlalchemy
    from sqlalchemy.dialects.postgresql import JSONB

    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(os.environ["DATABASE_URL"])
    )

    def load() -> None:
        frame = pandas.read_csv(files.csv, dtype=str, keep_default_na=False)
        times = pandas.to_datetime(frame["event_time"], utc=True, format="ISO8601", errors="coerce")
        good = frame["email"].str.fullmatch(EMAIL) & times.notna() & (frame["event_name"].str.len() <= LENGTH_MAX)
        frame, times = frame[good], times[good]
        events = pandas.DataFrame(
            {
                "database_id": DATABASE,
                "profile_id": frame["profile_id"].astype("int64"),
                "kind": frame["event_name"],
                "occurred_at": times,
                "external_id": frame["partner_event_id"],
                "properties": frame[list(PROPERTIES)].to_dict("records"),
                "created_by_job": JOB,
                "row_no": frame["row_no"].astype("int64"),
            }
        )
        events.to_sql(TABLE, engine, if_exists="append", index=False, chunksize=1_000, dtype={"properties": JSONB})

    return load


def pgloader(files: Files) -> Load:
    """Its COPY reader and retrying writer, on rows that are ready: it could not make the properties."""
    command = files.copy.with_suffix(".load")
    database = re.fullmatch(r"postgresql://(\w+)@/(\w+)\?host=(.+)", os.environ["DATABASE_URL"])
    assert database
    user, name, socket = database.groups()
    command.write_text(
        f"LOAD COPY FROM '{files.copy}' ({COLUMNS})\n"
        f"INTO postgresql://{user}@unix:{socket}:5432/{name}\n"
        f"TARGET TABLE public.{TABLE} ({COLUMNS});\n"
    )

    def load() -> None:
        subprocess.run(
            ["pgloader", "--quiet", "--on-error-stop", "--root-dir", str(command.with_suffix(".root")), str(command)],
            check=True,
            stdout=sys.stderr,
        )

    return load


PEERS: dict[str, Peer] = {
    "csv_psycopg_copy": Peer(csv_psycopg_copy, 1_000_000),
    "django_bulk_create_1000": Peer(partial(django_bulk_create, batch=1_000), 100_000),
    "django_bulk_create_5000": Peer(partial(django_bulk_create, batch=5_000), 100_000),
    "django_import_export": Peer(partial(django_import_export, bulk=False), 5_000),
    "django_import_export_bulk": Peer(partial(django_import_export, bulk=True), 20_000),
    "pandas_to_sql": Peer(pandas_to_sql, 200_000),
    "pgloader": Peer(pgloader, 1_000_000, binary="pgloader"),
}


def available() -> list[str]:
    """The names of those that can run here; says which cannot."""
    there = []
    for name, peer in PEERS.items():
        if peer.binary and not shutil.which(peer.binary):
            print(f"{name} is left out: no {peer.binary} on PATH", file=sys.stderr)
        else:
            there.append(name)
    return there


def rows_of(name: str, there: int) -> int:
    """How many of the rows that are there it gets."""
    return min(PEERS[name].rows, there)


def peer_run(name: str, files: Files, rows: int, *, same_as: str) -> tuple[float, float]:
    """Rows a second and peak memory of one run. Its rows must be the first ones of the table `same_as`."""
    fresh_copy(TABLE)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.peers", name, str(files.csv), str(files.copy)],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
    )
    seconds, peak = json.loads(done.stdout)
    loaded = count_if_same(TABLE, same_as)
    assert loaded == rows, f"{name} loaded {loaded} rows of {rows} as they should be"
    return rows / seconds, peak


def checked_rows(path: Path) -> Iterator[tuple[str, str, str, str, dict[str, str], str]]:
    with path.open(newline="") as file:
        rows = csv.reader(file, strict=True)
        header = next(rows)
        for row in rows:
            if len(row) != len(header):
                continue
            email, kind, time_, external, *others, profile, row_no = row
            if is_email(email) and is_date(time_) and lengths_fit((email, kind, external)):
                yield profile, kind, time_, external, dict(zip(PROPERTIES, others, strict=True)), row_no


def is_date(text: str) -> bool:
    try:
        dt.datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def lengths_fit(texts: Iterable[str]) -> bool:
    return all(len(text) <= LENGTH_MAX for text in texts)


def django_model() -> Any:
    """The table as a model that Django does not manage."""
    import django

    django.setup()
    from django.db import models

    class PeerEvent(models.Model):
        database_id = models.BigIntegerField()
        profile_id = models.BigIntegerField()
        kind = models.TextField()
        occurred_at = models.DateTimeField()
        external_id = models.TextField(null=True)  # noqa: DJ001
        properties = models.JSONField()
        created_by_job = models.BigIntegerField()
        row_no = models.BigIntegerField()

        class Meta:
            managed = False
            app_label = "audience"
            db_table = TABLE

    return PeerEvent


def main() -> None:
    name, rows, ready = sys.argv[1:]
    load = PEERS[name].get_ready(Files(Path(rows), Path(ready)))
    begun = time.monotonic()
    load()
    seconds = time.monotonic() - begun
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(json.dumps([seconds, max(peak_rss_mb("self"), children)]))


if __name__ == "__main__":
    main()
