"""`manage.py submit FILE --type TYPE`: a batch job from a file of this machine."""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.files.base import File
from django.core.management.base import BaseCommand, CommandError

from accounts.actors import system_actor
from accounts.models import Account
from audience.models import Database
from batchjobs import services
from batchjobs.api import job_to_json
from batchjobs.models import BatchJob, RecordType
from batchjobs.refusals import JobRefusedError
from batchjobs.states import Status

POLL_SECONDS = 0.25
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
            job = self._wait(job.pk)
        self.stdout.write(json.dumps(job_to_json(job), indent=2, ensure_ascii=False))
        if given["wait"] and Status.DONE not in (job.status, job.outcome):
            sys.exit(1)

    def _create(self, given: dict[str, Any]) -> BatchJob:
        account = _account(given["account"])
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

    def _wait(self, job_id: int) -> BatchJob:
        while True:
            job = BatchJob.objects.get_queryset().with_progress().select_related("file", "database").get(pk=job_id)
            self._bar(job)
            if not job.is_active:
                return job
            time.sleep(POLL_SECONDS)

    def _bar(self, job: BatchJob) -> None:
        if not self.stderr.isatty():
            return
        seen = job_to_json(job)
        full = round(seen["progress"] * BAR_WIDTH)
        speed = f"{seen['rows_per_second']:,.0f} rows/s" if seen["rows_per_second"] else ""
        bar = "#" * full + "." * (BAR_WIDTH - full)
        line = f"[{bar}] {seen['progress']:4.0%}  {seen['total_rows']:,} rows  {speed}"
        self.stderr.write(f"\r{line:<78}", ending="" if job.is_active else "\n")
        self.stderr.flush()


def _account(slug: str) -> Account:
    accounts = Account.objects.order_by("pk")
    found = accounts.filter(slug=slug).first() if slug else accounts.first()
    if found is None:
        known = ", ".join(accounts.values_list("slug", flat=True)[:20])
        if slug and known:
            raise CommandError(f"There is no account “{slug}”. There are: {known}.")
        raise CommandError("There is no account yet. `manage.py up` makes the demo accounts.")
    return found


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
