"""Made-up event files: the same on every machine."""

from __future__ import annotations

import gzip
import io
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Literal

HEADER = "email,event_name,event_time,partner_event_id,value,currency,sku,channel,campaign,note"
KINDS = ("purchase", "open", "click", "signup", "refund")
CHANNELS = ("web", "store", "app", "phone")
FAULTS = ("email", "time", "identity", "shape")
GZIP_LEVEL = 6  # what gzip does when nobody says otherwise


@dataclass(frozen=True)
class EventFile:
    """`dirty` is what a customer sends; `clean` the same good rows as interaction rows for COPY in text form."""

    dirty: Path
    clean: Path
    rows: int
    bad_lines: list[int]

    @property
    def good(self) -> int:
        return self.rows - len(self.bad_lines)


@dataclass(slots=True)
class Event:
    number: int
    person: int
    kind: str
    time: str
    hundredths: int
    sku: str
    channel: str
    fault: Literal["", "email", "time", "identity", "shape"]
    note: str

    @property
    def email(self) -> str:
        if self.fault == "identity":
            return ""
        return f"person-{self.person:07d}{'(at)' if self.fault == 'email' else '@'}example.com"

    @property
    def external_id(self) -> str:
        return f"ev-{self.number:08d}"

    @property
    def value(self) -> str:
        return f"{self.hundredths / 100:.2f}"


def write_events(folder: Path, rows: int, *, seed: int = 1, names: bool = False) -> EventFile:
    """`rows` events of about 115 bytes by rows/5 people; 0.85 % are bad, 1 % of the good hold a quoted newline.

    With `names` each row also tells the person's partner number and a first name that changes now and then.
    """
    stem = f"events-{rows}{'-names' if names else ''}"
    dirty, clean = folder / f"{stem}.csv", folder / f"{stem}.copy"
    bad_lines: list[int] = []
    line = 2
    with dirty.open("w", newline="") as out, clean.open("w") as copy:
        out.write(HEADER + (",partner_user_id,first_name\n" if names else "\n"))
        for event in _events(rows, seed):
            more = (
                f",{'' if event.fault == 'identity' else event.person},Name {event.number * 4 // rows}" if names else ""
            )
            out.write(f"{_csv(event)}{more}\n")
            if event.fault:
                bad_lines.append(line)
            else:
                copy.write(_copy(event, event.value, line))
            line += 1 + event.note.count("\n")
    return EventFile(dirty, clean, rows, bad_lines)


def write_events_ndjson_gz(folder: Path, rows: int, *, seed: int = 1) -> EventFile:
    """The events of `write_events` as JSON objects, a line each, gzipped. `value` is a number.

    The same rows are bad. Where the CSV file has a cell too many, a line breaks off and is no JSON.
    """
    dirty, clean = folder / "events.ndjson.gz", folder / "events.ndjson.copy"
    bad_lines: list[int] = []
    with _gzipped(dirty) as out, clean.open("w") as copy:
        for line, event in enumerate(_events(rows, seed), start=1):
            value = event.hundredths / 100
            record = {
                "email": event.email,
                "event_name": event.kind,
                "event_time": event.time,
                "partner_event_id": event.external_id,
                **_properties(event, value),
            }
            if event.fault == "identity":
                del record["email"]
            text = json.dumps(record)
            if event.fault == "shape":
                text = text[: len(text) // 2]
            out.write(text.encode() + b"\n")
            if event.fault:
                bad_lines.append(line)
            else:
                copy.write(_copy(event, value, line))
    return EventFile(dirty, clean, rows, bad_lines)


def write_good_events(path: Path, rows: int, *, of: int, seed: int = 1) -> None:
    """The first `rows` good rows of `write_events(…, of)` as CSV, with two more columns that others are thus
    spared to find out: `profile_id`, and `row_no`, the line in that file.
    """
    with path.open("w", newline="") as out:
        out.write(f"{HEADER},profile_id,row_no\n")
        for event, line in islice(_good(of, seed), rows):
            out.write(f"{_csv(event)},{event.person + 1},{line}\n")


def _good(rows: int, seed: int) -> Iterator[tuple[Event, int]]:
    line = 2
    for event in _events(rows, seed):
        if not event.fault:
            yield event, line
        line += 1 + event.note.count("\n")


def _events(rows: int, seed: int) -> Iterator[Event]:
    rnd = random.Random(seed)
    people = max(1, rows // 5)
    for number in range(rows):
        event = Event(
            number=number,
            person=rnd.randrange(people),
            kind=rnd.choice(KINDS),
            time=f"2026-{rnd.randrange(1, 13):02d}-{rnd.randrange(1, 29):02d}"
            f"T{rnd.randrange(24):02d}:00:{rnd.randrange(60):02d}Z",
            hundredths=rnd.randrange(100, 30000),
            sku=f"SKU-{rnd.randrange(9999):04d}",
            channel=rnd.choice(CHANNELS),
            fault="",
            note="ok",
        )
        if rnd.random() < 0.0085:
            event.fault = FAULTS[rnd.randrange(4)]  # type: ignore[assignment]
            event.note = ""
            if event.fault == "time":
                event.time = "2026-02-31"
        elif rnd.random() < 0.01:
            event.note = "first line\nsecond line"
        yield event


def _csv(event: Event) -> str:
    note = f'"{event.note}"' if "\n" in event.note else event.note
    if event.fault == "shape":
        note = "left,over"  # one cell too many
    return (
        f"{event.email},{event.kind},{event.time},{event.external_id},{event.value},EUR,"
        f"{event.sku},{event.channel},autumn,{note}"
    )


def _properties(event: Event, value: str | float) -> dict[str, str | float]:
    return {
        "value": value,
        "currency": "EUR",
        "sku": event.sku,
        "channel": event.channel,
        "campaign": "autumn",
        "note": event.note,
    }


def _copy(event: Event, value: str | float, line: int) -> str:
    properties = json.dumps(_properties(event, value)).replace("\\", "\\\\")
    return f"1\t{event.person + 1}\t{event.kind}\t{event.time}\t{event.external_id}\t{properties}\t1\t{line}\n"


@contextmanager
def _gzipped(path: Path) -> Iterator[BinaryIO]:
    """For many small writes. Without a time of its own, so that the bytes are the same each time."""
    with (
        path.open("wb") as file,
        gzip.GzipFile(filename=path.name, mode="wb", compresslevel=GZIP_LEVEL, fileobj=file, mtime=0) as zipped,
        io.BufferedWriter(zipped, 1024 * 1024) as out,
    ):
        yield out
