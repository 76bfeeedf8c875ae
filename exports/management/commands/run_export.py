"""`manage.py run_export NAME`: runs an export now."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models import Value
from django.db.models.functions import Lower

from accounts.actors import system_actor
from accounts.models import Account
from batchjobs.commands import account_named, job_wait
from batchjobs.models import BatchJob
from batchjobs.states import Status
from exports import services
from exports.api_runs import run_to_json
from exports.definitions import ExportRefusedError
from exports.models import Export
from exports.sources.base import is_storable
from exports.states import RunState, TransitionRefusedError


class Command(BaseCommand):
    help = "Runs an export now and prints the run as JSON. Exit 0: succeeded or accepted, 1: failed."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", metavar="NAME", help="Of the export, in any case.")
        parser.add_argument("--account", default="", metavar="SLUG", help="Left out: the first account.")
        parser.add_argument("--wait", action="store_true", help="Until the run has ended.")

    def handle(self, *args: Any, **given: Any) -> None:
        account = account_named(given["account"])
        by = system_actor(account)
        try:
            run = services.export_run(export=_export(account, given["name"]), by=by)
        except (ExportRefusedError, TransitionRefusedError) as error:
            raise CommandError(str(error)) from error
        if given["wait"] and run.job_id:
            job_wait(run.job_id, self.stderr, _line)
            run = services.run_get(run)
        self.stdout.write(json.dumps(run_to_json(run, by=by), indent=2, ensure_ascii=False))
        if given["wait"] and run.state != RunState.SUCCEEDED:
            sys.exit(1)


def _export(account: Account, name: str) -> Export:
    exports = Export.objects.for_account(account)
    found: Export | None = None
    if is_storable(name):
        found = exports.alias(lowered=Lower("name")).filter(lowered=Lower(Value(name.strip()))).first()
    if found is None:
        names = ", ".join(f"“{one}”" for one in exports.order_by("name").values_list("name", flat=True)[:20])
        known = f"There are: {names}." if names else "It has none."
        raise CommandError(f"The account {account.slug} has no export “{name}”. {known}")
    return found


def _line(job: BatchJob) -> str:
    rows = job.reader_state.get("rows")
    if job.status == Status.PENDING:
        return "Waiting to start"
    if not job.is_active:
        return "Ended"
    return f"Writing: {rows:,} rows" if rows else "Writing"
