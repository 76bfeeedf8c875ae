"""`manage.py retention_table`: writes docs/retention.md from the table in batchjobs/retention.py."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from batchjobs.retention import Impersonal, Kept, Policy, kept, lines

PAGE = """# What is kept, and for how long

Made by `manage.py retention_table` from the table in `batchjobs/retention.py`; do not edit. Times are the defaults; the
settings are in [deploy.md](deploy.md).

## Removed when its time is over

An hourly look makes a job of kind `expiry` for each account in which something is due. Bytes go first and records
after, so nothing is called removed that is still there. Uploads that no job took go by themselves, bytes and record,
48 hours after their last byte (`UPLOAD_KEPT_HOURS`).

| what | from | kept | removed | stays |
|---|---|---|---|---|
{policies}

## Kept until somebody removes it

| model | until | why |
|---|---|---|
{kept}

## No personal data

| model | why |
|---|---|
{impersonal}
"""


def page() -> str:
    table = lines()
    return PAGE.format(
        policies=_rows(
            (line.what, line.since, f"{_span(kept(line.kept))} (`{line.kept}`)", line.removed, line.stays)
            for line in table
            if isinstance(line, Policy)
        ),
        kept=_rows((_names(line.models), line.until, line.why) for line in table if isinstance(line, Kept)),
        impersonal=_rows((_names(line.models), line.why) for line in table if isinstance(line, Impersonal)),
    )


def _rows(rows: Any) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _names(models: tuple[str, ...]) -> str:
    return ", ".join(f"`{model}`" for model in models)


def _span(time: dt.timedelta) -> str:
    return f"{time.days} days" if time.days > 1 else f"{int(time.total_seconds() // 3600)} hours"


class Command(BaseCommand):
    help = "Writes the table of what is kept, and for how long, into docs/retention.md."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--check", action="store_true", help="only say whether the page is up to date")

    def handle(self, *args: Any, **options: Any) -> None:
        path = Path(settings.BASE_DIR) / "docs" / "retention.md"
        if not options["check"]:
            path.write_text(page())
        elif not path.exists() or path.read_text() != page():
            raise CommandError("docs/retention.md is not up to date: run manage.py retention_table.")
