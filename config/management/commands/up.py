"""`manage.py up`: all of Batchdesk on this machine, in the foreground. `make run` calls it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from argparse import ArgumentParser
from typing import Any

import psycopg
from django.core.management.base import BaseCommand
from django.db import DatabaseError, connections

from config import startup, supervisor
from config.embedded import StoreError
from config.supervisor import StartError, StopRequested, Supervisor

SAMPLES_WAIT = 60.0  # seconds for which the first start waits for the sample data to be in


class Command(BaseCommand):
    help = "Runs stores, web, workers and beat in the foreground; Ctrl-C stops them."
    requires_system_checks: list[str] = []  # quicker; `make check` runs them

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=os.environ.get("PORT") or 8000, help="default: PORT, or 8000")
        parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
        parser.add_argument("--no-demo", action="store_true", help="make no demo accounts and load no sample data")

    def handle(self, *, host: str, port: int, no_demo: bool, **options: Any) -> None:
        logging.getLogger().setLevel(logging.WARNING)  # people read this terminal; the children log to files
        try:
            with Supervisor(host=host, port=port) as desk:
                self._start(desk, demo=not no_demo)
                desk.watch(startup.silent_services)
        except StopRequested:
            return
        except (StartError, StoreError) as error:
            sentence = str(error)
        except (DatabaseError, psycopg.Error) as error:
            sentence = f"The database does not do what is needed: {str(error).strip()}"
        except subprocess.SubprocessError as error:
            sentence = f"A program that Batchdesk needs cannot be run: {error}"
        except OSError as error:
            sentence = f"{error.filename or 'A file'} cannot be used: {error.strerror or error}."
        print(sentence, file=sys.stderr)
        sys.exit(1)

    def _start(self, desk: Supervisor, *, demo: bool) -> None:
        desk.say(f"Starting Batchdesk in {desk.data_dir}")
        if not (desk.data_dir / "pg" / "PG_VERSION").exists() and not supervisor.env.DATABASE_URL:
            desk.say("Making a PostgreSQL data folder")
        stores = supervisor.store_services()
        if stores:
            desk.say(f"Starting {' and '.join(s.name for s in stores)}")
        desk.start(*stores)
        desk.wait_until(startup.DatabaseAnswers(), what="PostgreSQL", seconds=60)
        desk.wait_until(startup.redis_is_up, what="Redis", seconds=60)
        if startup.database_create():
            desk.say("Made the database")
        if applied := startup.migrate():
            desk.say(f"Brought the tables up to date: {applied} migrations")
        if startup.collectstatic():
            desk.say("Collected the static files")
        people, jobs = self._demo(desk) if demo else ([], [])
        connections.close_all()
        services = supervisor.product_services(host=desk.host, port=desk.port, base_url=desk.url)
        desk.say(f"Starting {', '.join(s.name for s in services)}")
        desk.start(*services)
        local = "127.0.0.1" if desk.host == "0.0.0.0" else desk.host  # noqa: S104
        desk.wait_until(startup.web_answers(local, desk.port), what="The web process", seconds=60)
        nodes = [supervisor.worker_node(queue, desk.port) for queue in ("long", "short")]
        desk.wait_until(startup.workers_answer(nodes), what="The workers", seconds=60)
        schedule = (desk.data_dir / "run").glob
        desk.wait_until(lambda: any(schedule("beat-schedule*")), what="Beat", seconds=60)
        desk.wait_until(startup.readiness_settles(local, desk.port), what="/readyz", seconds=60)
        if jobs:
            from config.demo import has_ended

            desk.say(f"The workers load the sample data: {', '.join(job.name for job in jobs)}")
            if not startup.wait_quietly(lambda: has_ended(jobs), seconds=SAMPLES_WAIT):
                desk.say("The sample data is still being loaded; the Batch jobs page shows how far it is")
            connections.close_all()
        desk.say("Everything runs")
        desk.print(f"Batchdesk is ready: {desk.url}/")
        for person in people:
            desk.print(f"  Sign in as {person['role']:<9} {person['email']:<28} password {person['password']}")
        if people:
            file = desk.data_dir / "demo-credentials.json"
            desk.print(f"  These and the API keys are in {file}. Ctrl-C stops everything.")

    def _demo(self, desk: Supervisor) -> tuple[list[dict[str, str]], list[Any]]:
        from config import demo

        file = desk.data_dir / "demo-credentials.json"
        if not file.exists():
            desk.say("Making the demo accounts")
        known = demo.demo_ensure(file, url=desk.url)
        return known["users"], demo.samples_load()
