"""Made-up event files: the same on every machine."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

HEADER = "email,event_name,event_time,partner_event_id,value,currency,sku,channel,campaign,note"
KINDS = ("purchase", "open", "click", "signup", "refund")
CHANNELS = ("web", "store", "app", "phone")


@dataclass(frozen=True)
class EventFile:
    """`dirty` is what a customer sends; `clean` the same good rows as interaction rows for COPY in text form."""

    dirty: Path
    clean: Path
    rows: int
    bad_lines: list[int]


def write_events(folder: Path, rows: int, *, seed: int = 1, names: bool = False) -> EventFile:
    """`rows` events of about 115 bytes by rows/5 people; 0.85 % are bad, 1 % of the good hold a quoted newline.

    With `names` each row also tells the person's partner number and a first name that changes now and then.
    """
    rnd = random.Random(seed)
    people = max(1, rows // 5)
    stem = f"events-{rows}{'-names' if names else ''}"
    dirty, clean = folder / f"{stem}.csv", folder / f"{stem}.copy"
    bad_lines: list[int] = []
    line = 2
    with dirty.open("w", newline="") as out, clean.open("w") as copy:
        out.write(HEADER + (",partner_user_id,first_name\n" if names else "\n"))
        for number in range(rows):
            person = rnd.randrange(people)
            email = f"person-{person:07d}@example.com"
            kind = rnd.choice(KINDS)
            day, hour = f"{rnd.randrange(1, 13):02d}-{rnd.randrange(1, 29):02d}", rnd.randrange(24)
            time = f"2026-{day}T{hour:02d}:00:{rnd.randrange(60):02d}Z"
            event = f"ev-{number:08d}"
            value = f"{rnd.randrange(100, 30000) / 100:.2f}"
            sku, channel = f"SKU-{rnd.randrange(9999):04d}", rnd.choice(CHANNELS)
            note, physical = "", 1
            bad = rnd.random() < 0.0085
            if bad:
                which = rnd.randrange(4)
                if which == 0:
                    email = email.replace("@", "(at)")
                elif which == 1:
                    time = "2026-02-31"
                elif which == 2:
                    email = ""
                else:
                    note = "left,over"  # one cell too many
                bad_lines.append(line)
            elif rnd.random() < 0.01:
                note, physical = '"first line\nsecond line"', 2
            else:
                note = "ok"
            more = f",{person if email else ''},Name {number * 4 // rows}" if names else ""
            out.write(f"{email},{kind},{time},{event},{value},EUR,{sku},{channel},autumn,{note}{more}\n")
            if not bad:
                properties = json.dumps(
                    {
                        "value": value,
                        "currency": "EUR",
                        "sku": sku,
                        "channel": channel,
                        "campaign": "autumn",
                        "note": note.strip('"'),
                    }
                ).replace("\\", "\\\\")
                copy.write(f"1\t{person + 1}\t{kind}\t{time}\t{event}\t{properties}\t1\t{line}\n")
            line += physical
    return EventFile(dirty, clean, rows, bad_lines)
