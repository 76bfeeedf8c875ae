"""`make bench`: runs the benchmarks on stores of their own, prints a table of ratios, writes results.json.

`python -m benchmarks [--rows N] [--rounds N] [--no-peers] [NAME …]`. A ratio above 1 means faster than the reference;
that of `incremental_10k…` says how many times as long a table of ten times the rows takes.
Memory with a larger file: `--rows 5000000 --rounds 1 --no-peers`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results.json"


@contextmanager
def stores(folder: Path) -> Iterator[None]:
    """PostgreSQL as `make run` starts it, with its own data; Valkey likewise."""
    from config import embedded

    embedded.postgres_prepare(folder)
    started = []
    with (folder / "stores.log").open("ab") as log:
        for command in (embedded.postgres_command(folder), embedded.valkey_command(folder)):
            started.append(subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True))
    try:
        ready = [str(embedded.postgres_binary("pg_isready")), "-q", "-h", str(embedded.socket_dir(folder))]
        end = time.monotonic() + 30
        while subprocess.run(ready, check=False).returncode:
            if time.monotonic() > end:
                raise SystemExit((folder / "stores.log").read_text())
            time.sleep(0.1)
        yield
    finally:
        for process in started:
            process.send_signal(2)
        for process in started:
            process.wait(30)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help="which; all by default")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3, help="interleaved; the medians count")
    parser.add_argument(
        "--peers", action=argparse.BooleanOptionalAction, default=True, help="other ways of loading the same rows too"
    )
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="batchdesk-bench-"))
    try:
        with stores(folder):
            from config import embedded

            os.environ.update(
                DATA_DIR=str(folder),
                DATABASE_URL=f"postgresql://postgres@/postgres?host={embedded.socket_dir(folder)}",
                REDIS_URL=f"unix://{embedded.socket_dir(folder) / 'redis.sock'}",
                DJANGO_SETTINGS_MODULE="config.settings",
                LOG_LEVEL="WARNING",
            )
            import django

            django.setup()
            from django.core.management import call_command

            call_command("migrate", verbosity=0)
            from batchjobs.services import JobRefusedError
            from benchmarks.batches import ingest_guests_gz, receive_upload
            from benchmarks.export import (
                export_csv_1m,
                export_csv_gz_1m,
                export_ndjson_1m,
                export_parquet_1m,
                export_xml_zip_1m,
            )
            from benchmarks.incremental import (
                incremental_10k,
                incremental_10k_profiles,
                incremental_10k_same_people,
            )
            from benchmarks.ingest import ingest_csv_1m, ingest_ndjson_gz_1m

            benchmarks: dict[str, Any] = {
                "ingest_csv_1m": ingest_csv_1m,
                "ingest_ndjson_gz_1m": ingest_ndjson_gz_1m,
                "receive_upload": receive_upload,
                "ingest_guests_gz": ingest_guests_gz,
                "export_csv_1m": export_csv_1m,
                "export_csv_gz_1m": export_csv_gz_1m,
                "export_ndjson_1m": export_ndjson_1m,
                "export_xml_zip_1m": export_xml_zip_1m,
                "export_parquet_1m": export_parquet_1m,
                "incremental_10k": incremental_10k,
                "incremental_10k_same_people": incremental_10k_same_people,
                "incremental_10k_profiles": incremental_10k_profiles,
            }
            results = {}
            for name, run in benchmarks.items():
                if chosen.names and name not in chosen.names:
                    continue
                try:
                    results[name] = run(folder, rows=chosen.rows, rounds=chosen.rounds, with_peers=chosen.peers)
                except JobRefusedError as refused:
                    if refused.field != "file":
                        raise
                    # The product does not read this kind of file.
                    print(f"{name} is left out: {refused.message}", file=sys.stderr)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(f"\n{os.cpu_count()} CPUs, Python {platform.python_version()}, {chosen.rows:,} rows, ", end="")
    print(f"medians of {chosen.rounds} rounds\n")
    print(f"{'benchmark':<28}{'ratio':>7}{'ours':>11}{'reference':>11}  {'unit':<8}{'peak RSS':>9}")
    for name, r in results.items():
        print(
            f"{name:<28}{r['ratio']:>7.3f}{r['ours']:>11,}{r['reference']:>11,}  {r['unit']:<8}{r['peak_rss_mb']:>6} MB"
        )
        for peer, ratio in r["peers"].items():
            theirs = r["peer_runs"][peer]
            print(
                f"  {peer:<26}{ratio:>7.3f}{theirs['rate']:>11,}{'':>11}  {r['unit']:<8}{theirs['peak_rss_mb']:>6} MB"
                f"  {theirs['rows']:,} rows"
            )


if __name__ == "__main__":
    main()
