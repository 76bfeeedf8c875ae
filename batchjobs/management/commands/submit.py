"""`manage.py submit FILE --type TYPE`: a batch job from a file of this machine."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.files.base import File
from django.core.management.base import BaseCommand, CommandError

from accounts.actors import system_actor
from audience.models import Database
from batchjobs import services
from batchjobs.api import job_to_json
from batchjobs.commands import account_named, job_wait
from batchjobs.models import BatchJob, RecordType
from batchjobs.refusals import JobRefusedError
from batchjobs.states import Status

BAR_WIDTH = 32


class Command(BaseCommand):
    help = "Creates a batch job from a file and prints it as JSON. Exit 0: done or accepted, 1: failed."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--type", required=True, choices=RecordType.values)
        parser.add_argument("--account", default="", metavar="SLUG", help="Left out: the first account.")
        parser.add_argument("--database", default="", metavar="SLUG", help="Left out: the account's first one.")
        parser.add_argument("--name", default="", help="Left out: file name and time.")
        parser.add_argument("--event-name", default="", help="For files without a column event_name.")
        parser.add_argument("--tag", action="append", default=[], dest="tags")
        parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", dest="options")
        parser.add_argument("--dry-run", action="store_true", help="Validate and report, write nothing.")
        parser.add_argument("--wait", action="store_true", help="Until the job has ended.")

    def handle(self, *args: Any, **given: Any) -> None:
        job = self._create(given)
        if given["wait"]:
            job = job_wait(job.pk, self.stderr, _line)
        self.stdout.write(json.dumps(job_to_json(job), indent=2, ensure_ascii=False))
        if given["wait"] and Status.DONE not in (job.status, job.outcome):
            sys.exit(1)

    def _create(self, given: dict[str, Any]) -> BatchJob:
        account = account_named(given["account"])
        path: Path = given["file"]
        database = None
        if given["database"]:
            database = Database.objects.for_account(account).filter(slug=given["database"]).first()
            if database is None:
                raise CommandError(f"The account {account.slug} has no database “{given['database']}”.")
        try:
            with path.open("rb") as content:
                return services.batchjob_create(
                    by=system_actor(account),
                    content=File(content, name=path.name),
                    file_name=path.name,
                    record_type=given["type"],
                    name=given["name"],
                    event_name=given["event_name"],
                    database=database,
                    tags=given["tags"],
                    options=_options(given["options"]),
                    dry_run=given["dry_run"],
                )
        except OSError as error:
            raise CommandError(f"{path} cannot be read: {error.strerror}.") from error
        except JobRefusedError as error:
            raise CommandError(error.message) from error


def _line(job: BatchJob) -> str:
    seen = job_to_json(job)
    full = round(seen["progress"] * BAR_WIDTH)
    speed = f"{seen['rows_per_second']:,.0f} rows/s" if seen["rows_per_second"] else ""
    bar = "#" * full + "." * (BAR_WIDTH - full)
    return f"[{bar}] {seen['progress']:4.0%}  {seen['total_rows']:,} rows  {speed}"


def _options(pairs: list[str]) -> dict[str, Any]:
    """`key=value`; a value that is JSON is taken as JSON, anything else as text."""
    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise CommandError(f"--option wants KEY=VALUE, not “{pair}”.")
        try:
            options[key] = json.loads(value)
        except ValueError:
            options[key] = value
    return options
