"""Exports against `psql \\copy (…) to file` of rows in the same form as CSV, whatever the kind of file.

Ours is the job, from its claim to its end: reading, SHA-256, storage with its flush, what is noted of the run. psql's
file is not flushed. Each run is a process of its own, so that its peak memory is that of a worker:
`python -m benchmarks.export NAME ROWS PATH`. The peers write the same rows as CSV, as one would with Django or pandas.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.memory import peak_rss_mb
from benchmarks.runs import ROOT, Run, empty_audience, interleaved, result
from benchmarks.tables import psql

# Each column as it is called in a definition, and in SQL as cheaply as it can be had.
COLUMNS = {
    "email": "email",
    "partner_user_id": "partner_user_id",
    **{
        f"attributes.{key}": f"attributes->>'{key}'"
        for key in ("first_name", "last_name", "city", "birthday", "points")
    },
    "updated_at": "replace((updated_at AT TIME ZONE 'UTC')::text, ' ', 'T') || 'Z'",
}
HEADERS = [name.removeprefix("attributes.") for name in COLUMNS]
CELLS = ", ".join(f"{sql} AS {header}" for header, sql in zip(HEADERS, COLUMNS.values(), strict=True))
PEOPLE = """
    INSERT INTO audience_profile (database_id, email, partner_user_id, attributes, updated_at)
    SELECT %(database)d, format('person-%%s@example.com', lpad(n::text, 7, '0')), n::text,
           jsonb_build_object(
               'first_name', (ARRAY['Rosa', 'Zoë', 'Juan "Nito"', 'O''Neil', 'Ann & Bob'])[n %% 5 + 1],
               'last_name', 'Name ' || n %% 977, 'city', (ARRAY['Lisboa', 'Köln', 'Gent'])[n %% 3 + 1],
               'birthday', date '1950-01-01' + n %% 20000, 'points', (n %% 100000) / 100.0, 'language', 'pt'),
           timestamptz '2026-01-01 00:00:00.5+00' + n * interval '1 second'
    FROM generate_series(1, %(rows)d) n
"""


def export_csv_1m(folder: Path, *, rows: int, rounds: int, with_peers: bool) -> dict[str, Any]:
    return _export("csv", folder, rows, rounds, PEERS if with_peers else {})


def export_csv_gz_1m(folder: Path, *, rows: int, rounds: int, with_peers: bool) -> dict[str, Any]:
    return _export("csv.gz", folder, rows, rounds)


def export_ndjson_1m(folder: Path, *, rows: int, rounds: int, with_peers: bool) -> dict[str, Any]:
    return _export("ndjson", folder, rows, rounds)


def export_xml_zip_1m(folder: Path, *, rows: int, rounds: int, with_peers: bool) -> dict[str, Any]:
    return _export("xml.zip", folder, rows, rounds)


def export_parquet_1m(folder: Path, *, rows: int, rounds: int, with_peers: bool) -> dict[str, Any]:
    return _export("parquet", folder, rows, rounds)


FILES = {
    "csv": {"format": "csv"},
    "csv.gz": {"format": "csv", "compression": "gzip"},
    "ndjson": {"format": "ndjson"},
    "xml.zip": {"format": "xml", "compression": "zip"},
    "parquet": {"format": "parquet"},
}


def _export(name: str, folder: Path, rows: int, rounds: int, peers: dict[str, Peer] | None = None) -> dict[str, Any]:
    _fill(rows)
    runs: dict[str, Run] = {
        "ours": partial(_process, name, rows, folder / "ours"),
        "reference": partial(_reference, rows, folder / "reference"),
    }
    limits = {peer: min(about.rows, rows) for peer, about in (peers or {}).items()}
    for peer, limit in limits.items():
        runs[peer] = partial(_process, peer, limit, folder / "peer")
    rates, peaks = interleaved(runs, rounds)
    if name == "csv":
        assert _sorted(folder / "ours") == _sorted(folder / "reference")
    return result(rates, peaks, rows=rows, rows_of=limits.__getitem__)


def _sorted(path: Path) -> list[bytes]:
    return sorted(path.read_bytes().splitlines())


def _fill(rows: int) -> None:
    """So many people, if they are not there yet."""
    if int(psql("SELECT count(*) FROM audience_profile")) == rows:
        return
    from audience.models import Database
    from benchmarks.export_jobs import BENCH, account_bench

    empty_audience()
    database, _made = Database.objects.get_or_create(account=account_bench(), **BENCH)
    psql(PEOPLE % {"database": database.pk, "rows": rows}, "VACUUM (ANALYZE) audience_profile", "CHECKPOINT")


def _select(rows: int) -> str:
    return f"SELECT {CELLS} FROM audience_profile WHERE partner_user_id::bigint <= {rows}"


def _reference(rows: int, path: Path) -> tuple[float, float]:
    path.unlink(missing_ok=True)
    begun = time.monotonic()
    psql(f"\\copy (SELECT {CELLS} FROM audience_profile) TO '{path}' (FORMAT csv, HEADER, DELIMITER ';')")
    return rows / (time.monotonic() - begun), 0.0


def _process(name: str, rows: int, path: Path) -> tuple[float, float]:
    path.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.export", name, str(rows), str(path)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    seconds, peak, written = json.loads(done.stdout)
    assert written == rows, f"{name} wrote {written} rows of {rows}"
    return rows / seconds, peak


# Within such a process: what gets ready and returns what is timed, which returns the number of rows.

Work = Callable[[], int]


def ours(name: str, path: Path) -> tuple[float, float, int]:
    """Seconds, peak memory, rows."""
    from accounts.actors import system_actor
    from benchmarks.export_jobs import BENCH, account_bench, run_export, take
    from exports.services import export_create

    columns = [{"field": name, "header": header} for name, header in zip(COLUMNS, HEADERS, strict=True)]
    definition = {"name": uuid4().hex, "type": "one_shot", "data_type": "profile", "database": BENCH["slug"]}
    export = export_create(
        by=system_actor(account_bench()), definition={**definition, "columns": columns, "file": FILES[name]}
    )
    seconds, made = run_export(export)
    peak = peak_rss_mb("self")
    take(made, path)
    return seconds, peak, made.rows or 0


def peer(name: str, rows: int, path: Path) -> tuple[float, float, int]:
    work = PEERS[name].get_ready(rows, path)
    begun = time.monotonic()
    written = work()
    return time.monotonic() - begun, peak_rss_mb("self"), written


def django_iterator(rows: int, path: Path) -> Work:
    """Model instances and the csv module."""
    from audience.models import Profile

    def lines() -> Iterator[list[Any]]:
        for one in Profile.objects.filter(pk__in=_first(rows)).iterator(chunk_size=5_000):
            of = one.attributes
            yield [
                *(one.email, one.partner_user_id, of["first_name"], of["last_name"], of["city"]),
                *(of["birthday"], of["points"], one.updated_at.isoformat()),
            ]

    return partial(_write_csv, lines, path)


def django_values_list(rows: int, path: Path) -> Work:
    """Tuples of values, and the csv module."""
    from django.db.models.fields.json import KT

    from audience.models import Profile

    names = ("first_name", "last_name", "city", "birthday", "points")
    people = Profile.objects.filter(pk__in=_first(rows)).values_list(
        "email", "partner_user_id", *(KT(f"attributes__{name}") for name in names), "updated_at"
    )
    return partial(_write_csv, lambda: people.iterator(chunk_size=5_000), path)


def django_import_export(rows: int, path: Path) -> Work:
    """A ModelResource."""
    from import_export.fields import Field
    from import_export.resources import ModelResource

    from audience.models import Profile

    class Attribute(Field):
        def get_value(self, instance: Any, **kwargs: Any) -> Any:
            return instance.attributes[self.column_name]

    class ProfileResource(ModelResource):
        first_name = Attribute(column_name="first_name")
        last_name = Attribute(column_name="last_name")
        city = Attribute(column_name="city")
        birthday = Attribute(column_name="birthday")
        points = Attribute(column_name="points")

        class Meta:
            model = Profile
            fields = tuple(HEADERS)
            export_order = tuple(HEADERS)

    def work() -> int:
        found = ProfileResource().export(Profile.objects.filter(pk__in=_first(rows)))
        path.write_text(found.csv)
        return len(found)

    return work


def pandas_to_csv(rows: int, path: Path) -> Work:
    """A data frame of 50,000 rows after the other."""
    import pandas
    import psycopg
    import sqlalchemy

    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(os.environ["DATABASE_URL"])
    )

    def work() -> int:
        written = 0
        with engine.connect().execution_options(stream_results=True) as connection:
            frames = pandas.read_sql_query(
                sqlalchemy.text(_select(rows).replace("::", r"\:\:")), connection, chunksize=50_000
            )
            for frame in frames:
                frame.to_csv(path, mode="a", index=False, header=not written)
                written += len(frame)
        return written

    return work


def _first(rows: int) -> Any:
    """The ids of the first people, as a part of a query."""
    from django.db.models import BigIntegerField
    from django.db.models.functions import Cast

    from audience.models import Profile

    number = Cast("partner_user_id", BigIntegerField())
    return Profile.objects.annotate(number=number).filter(number__lte=rows).values("pk")


def _write_csv(lines: Callable[[], Iterator[Any]], path: Path) -> int:
    written = 0
    with path.open("w", newline="") as out:
        writer = csv.writer(out, delimiter=";")
        writer.writerow(HEADERS)
        for line in lines():
            writer.writerow(line)
            written += 1
    return written


@dataclass(frozen=True)
class Peer:
    get_ready: Callable[[int, Path], Work]
    rows: int  # at most: what is slow gets the first ones only


PEERS: dict[str, Peer] = {
    "django_iterator": Peer(django_iterator, 200_000),
    "django_values_list": Peer(django_values_list, 200_000),
    "django_import_export": Peer(django_import_export, 20_000),
    "pandas_to_csv": Peer(pandas_to_csv, 200_000),
}


def main() -> None:
    import django

    django.setup()
    name, rows, path = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    print(json.dumps(peer(name, rows, path) if name in PEERS else ours(name, path)))


if __name__ == "__main__":
    main()
