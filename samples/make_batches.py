"""Makes batches of guests and orders out of samples/cdnow-events.csv (see samples/README.md for whose data it is).

    python samples/make_batches.py FOLDER [--guests 100000] [--orders 50000]

Writes guests.json and orders.json, a record a line. There are 23,570 customers; further guests are the same customers
once more under another address. Every 5,000th guest has no identity and every 5,000th order a mode that does not
exist, so that there is an error log to look at.
"""

from __future__ import annotations

import argparse
import csv
import json
from itertools import count, islice
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

SOURCE = Path(__file__).parent / "cdnow-events.csv"
BAD_EVERY = 5_000


def ref_of(kind: str, name: str) -> str:
    """The same reference at each run."""
    return str(uuid5(NAMESPACE_URL, f"https://example.com/cdnow/{kind}/{name}"))


def guests(wanted: int) -> list[dict[str, Any]]:
    with SOURCE.open(newline="") as source:
        customers = list(dict.fromkeys(row["partner_user_id"] for row in csv.DictReader(source)))
    names = (f"{customer}-{turn}" if turn else customer for turn in count() for customer in customers)
    return [_guest(number, name) for number, name in enumerate(islice(names, wanted), start=1)]


def _guest(number: int, name: str) -> dict[str, Any]:
    value: dict[str, Any] = {
        "guestType": "customer",
        "extensions": [{"name": "ext", "key": "default", "cohort": "1997"}],
    }
    if number % BAD_EVERY:
        value["email"] = f"customer-{name}@example.com"
        value["identifiers"] = [{"provider": "CDNOW", "id": name}]
    return {"ref": ref_of("guest", name), "schema": "guest", "mode": "upsert", "value": value}


def orders(wanted: int) -> list[dict[str, Any]]:
    with SOURCE.open(newline="") as source:
        return [_order(number, row) for number, row in enumerate(islice(csv.DictReader(source), wanted), start=1)]


def _order(number: int, row: dict[str, str]) -> dict[str, Any]:
    return {
        "ref": ref_of("order", row["partner_event_id"]),
        "schema": "order",
        "mode": "upsert" if number % BAD_EVERY else "replace",
        "value": {
            "guestRef": ref_of("guest", row["partner_user_id"]),
            "referenceId": row["partner_event_id"],
            "orderedAt": f"{row['event_time']}T12:00:00.000Z",
            "status": "PURCHASED",
            "currencyCode": "USD",
            "price": float(row["value"]),
            "orderItems": [{"type": "CD", "quantity": int(row["cds"])}],
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--guests", type=int, default=100_000)
    parser.add_argument("--orders", type=int, default=50_000)
    chosen = parser.parse_args()
    for name, records in (("guests", guests(chosen.guests)), ("orders", orders(chosen.orders))):
        with (chosen.folder / f"{name}.json").open("w") as out:
            out.writelines(json.dumps(record, separators=(",", ":")) + "\n" for record in records)


if __name__ == "__main__":
    main()
