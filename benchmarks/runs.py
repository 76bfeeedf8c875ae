"""What the benchmarks share: interleaved runs, their result, a fresh audience, and a worker that runs all jobs."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from django.db import connection

from benchmarks.memory import peak_rss_mb

ROOT = Path(__file__).parent.parent

Run = Callable[[], tuple[float, float]]  # returns a rate and the peak memory in MB


def interleaved(
    runs: Mapping[str, Run],
    rounds: int,
    *,
    unit: str = "rows/s",
    pick: Callable[[Iterable[float]], float] = statistics.median,
) -> tuple[dict[str, float], dict[str, float]]:
    """The median of each one's rates (or what `pick` says), and the highest of its memory peaks."""
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for number in range(rounds):
        for name, run in runs.items():
            os.sync()  # a flush waits for what others wrote before, too
            measured[name].append(run())
            print(f"round {number + 1}: {name} {measured[name][-1][0]:,.0f} {unit}", file=sys.stderr)
    return (
        {name: pick(rate for rate, _ in all_) for name, all_ in measured.items()},
        {name: max(peak for _, peak in all_) for name, all_ in measured.items()},
    )


def result(
    rates: Mapping[str, float],
    peaks: Mapping[str, float],
    *,
    rows: int,
    unit: str = "rows/s",
    rows_of: Callable[[str], int] | None = None,
) -> dict[str, Any]:
    """An entry of results.json out of runs named "ours", "reference" and as the peers. `rows_of`: a peer's rows."""
    others = [name for name in rates if name not in ("ours", "reference")]
    return {
        "ratio": round(rates["ours"] / rates["reference"], 3),
        "ours": round(rates["ours"]),
        "reference": round(rates["reference"]),
        "unit": unit,
        "rows": rows,
        "peak_rss_mb": round(peaks["ours"]),
        "peers": {name: round(rates[name] / rates["reference"], 3) for name in others},
        "peer_runs": {
            name: {
                "rate": round(rates[name]),
                "rows": rows_of(name) if rows_of else rows,
                "peak_rss_mb": round(peaks[name]),
            }
            for name in others
        },
    }


def empty_audience() -> None:
    """Nobody, no events and no jobs: as before the first run."""
    with connection.cursor() as cursor:
        cursor.execute(
            "TRUNCATE audience_interaction, audience_profile, audience_profilebeforeimage, batchjobs_batchjob CASCADE"
        )
        cursor.execute("CHECKPOINT")


def work_long() -> float:
    """Runs the jobs of the long queue in a worker process; the most memory that it held, in MB."""
    process = subprocess.Popen([sys.executable, "manage.py", "work", "long"], cwd=ROOT)
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, peak_rss_mb(process.pid))
        time.sleep(0.05)
    return peak
