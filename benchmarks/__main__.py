"""`make bench`: runs the benchmarks on stores of their own, prints a table of ratios, writes results.json.

`python -m benchmarks [--rows N] [--rounds N] [NAME …]`. A ratio above 1 means faster than the reference.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
            from benchmarks.ingest import ingest_csv_1m

            benchmarks = {"ingest_csv_1m": ingest_csv_1m}
            results = {
                name: run(folder, rows=chosen.rows, rounds=chosen.rounds)
                for name, run in benchmarks.items()
                if not chosen.names or name in chosen.names
            }
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(f"\n{os.cpu_count()} CPUs, Python {platform.python_version()}, medians of {chosen.rounds} rounds\n")
    print(f"{'benchmark':<20}{'ratio':>7}{'ours':>11}{'reference':>11}  {'unit':<8}{'peak RSS':>9}")
    for name, r in results.items():
        print(
            f"{name:<20}{r['ratio']:>7.2f}{r['ours']:>11,.0f}{r['reference']:>11,.0f}  {r['unit']:<8}"
            f"{r['peak_rss_mb']:>6.0f} MB"
        )
        for peer, ratio in r["peers"].items():
            print(f"  {peer:<18}{ratio:>7.2f}")


if __name__ == "__main__":
    main()
