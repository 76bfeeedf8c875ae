"""`manage.py work QUEUE`: a worker without Celery, in the foreground."""

from __future__ import annotations

import signal
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from batchjobs import kernel
from batchjobs.doorbell import DRAINING
from batchjobs.models import Queue


class Command(BaseCommand):
    help = "Runs the jobs that wait in a queue, without Celery, and stops."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("queue", choices=Queue.values)
        parser.add_argument("--poll", type=float, metavar="SECONDS", help="go on, and look again this often")

    def handle(self, *args: Any, **options: Any) -> None:
        signal.signal(signal.SIGTERM, lambda *_: DRAINING.set())
        kernel.queue_work(options["queue"])
        while options["poll"] and not DRAINING.wait(options["poll"]):
            kernel.queue_work(options["queue"])
