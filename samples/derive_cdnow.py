"""Derives samples/cdnow-events.csv from the CDNOW purchases that the Python package `lifetimes` ships.

    python samples/derive_cdnow.py

Uses the package where it is installed, and otherwise lets pip download its wheel. Stops when the figures of
the source are not the expected ones. See samples/README.md for whose data it is.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
import zipfile
from decimal import Decimal
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

TARGET = Path(__file__).parent / "cdnow-events.csv"
PACKAGE = "lifetimes==0.11.3"
MEMBER = "lifetimes/datasets/CDNOW_master.txt"
COLUMNS = ["partner_event_id", "partner_user_id", "email", "event_name", "event_time", "value", "cds"]

ROWS, CUSTOMERS, TOTAL, REPEATED = 69_659, 23_570, Decimal("2500315.63"), 255


def source() -> str:
    """The text of CDNOW_master.txt: fixed width, one line of titles, a purchase a line."""
    spec = find_spec("lifetimes")
    if spec and spec.origin:
        return (Path(spec.origin).parent / "datasets" / "CDNOW_master.txt").read_text("ascii")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [
                sys.executable,
                "-m",
                "pip",
                "download",
                "-q",
                "--no-deps",
                "--only-binary=:all:",
                "-d",
                folder,
                PACKAGE,
            ],
            check=True,
        )
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            return wheel.read(MEMBER).decode("ascii")


def derive(text: str) -> str:
    """The event file. Lines repeat in the source, so a purchase is known by its line's number."""
    purchases = [line.split() for line in text.splitlines()[1:] if line.strip()]
    figures = (
        len(purchases),
        len({customer for customer, *_rest in purchases}),
        sum(Decimal(value) for *_rest, value in purchases),
        len(purchases) - len({tuple(p) for p in purchases}),
    )
    if figures != (ROWS, CUSTOMERS, TOTAL, REPEATED):
        raise SystemExit(f"The source holds {figures}, not {(ROWS, CUSTOMERS, TOTAL, REPEATED)}.")
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for number, (customer, day, cds, value) in enumerate(purchases, start=1):
        writer.writerow(
            [
                f"cdnow-{number:05}",
                customer,
                f"customer-{customer}@example.com",
                "purchase",
                f"{day[:4]}-{day[4:6]}-{day[6:]}",
                value,
                cds,
            ]
        )
    return out.getvalue()


if __name__ == "__main__":
    TARGET.write_text(derive(source()), "ascii")
    print(f"{TARGET}: {ROWS} purchases by {CUSTOMERS} customers, {TOTAL} in all")
