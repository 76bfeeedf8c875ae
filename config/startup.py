"""What happens before the web answers: checks, database, tables, static files."""

from __future__ import annotations

import datetime as dt
import hashlib
import http.client
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from config import embedded
from config.lifeline import die_with_parent


def check_environment() -> None:
    """Exits with a sentence when settings or data folder cannot be used, before Django reads either."""
    from pydantic import ValidationError

    if os.environ.get("BATCHDESK_WITH_PARENT"):  # `make run` that is killed takes the supervisor along
        die_with_parent(signal.SIGTERM)
    try:
        from config.env import env
    except ValidationError as error:
        sys.exit(
            "\n".join(
                f"The setting {problem['loc'][0]} cannot be {problem['input']!r}: {problem['msg']}."
                for problem in error.errors()
            )
        )
    try:
        env.database()
    except psycopg.ProgrammingError as error:
        sys.exit(f"DATABASE_URL is not the address of a database: {str(error).strip()}")
    try:
        env.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=env.data_dir) as probe:
            probe.write(b"\0" * 1024 * 1024)
        env.secret_key()
        embedded.socket_dir(env.data_dir)  # the settings hold its true path
    except OSError as error:
        sys.exit(
            f"The data folder {env.data_dir} cannot be written to: {error.strerror}. Set DATA_DIR to another folder."
        )


@dataclass
class DatabaseAnswers:
    """A check that the server takes connections; `error` is what it said last when it does not."""

    error: str = ""

    def __call__(self) -> bool:
        try:
            with _server():
                return True
        except psycopg.OperationalError as error:
            self.error = str(error).strip()
            if any(word in self.error for word in ("authentication", "pg_hba.conf", "role ")):
                raise  # no waiting helps
            return False


def database_create() -> bool:
    """Makes the database when the server does not have it. True when it was made."""
    from django.db import connection
    from psycopg import sql

    name = connection.settings_dict["NAME"]
    with _server() as server:
        if server.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
            return False
        server.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'").format(sql.Identifier(name)))
        return True


def _server() -> psycopg.Connection[tuple[Any, ...]]:
    """A connection to the server's own database, or to ours where that one is closed to us."""
    from django.db import connection

    parameters = connection.get_connection_params()
    for unused in ("cursor_factory", "context", "prepare_threshold", "server_side_binding"):
        parameters.pop(unused, None)
    try:
        return psycopg.connect(**{**parameters, "dbname": "postgres"}, autocommit=True)
    except psycopg.OperationalError as error:
        if "does not exist" not in str(error) and "permission denied" not in str(error):
            raise
        return psycopg.connect(**parameters, autocommit=True)


def redis_is_up() -> bool:
    import redis
    from django.conf import settings

    try:
        url, seconds = str(settings.CACHES["default"]["LOCATION"]), settings.REDIS_CONNECT_SECONDS
        with redis.Redis.from_url(url, socket_connect_timeout=seconds, socket_timeout=seconds, retry=None) as client:
            return bool(client.ping())
    except (redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError):
        return False


def migrate() -> int:
    """Brings the tables up to date; how many migrations were applied. Costs nothing when there are none."""
    from django.core.management import call_command
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if plan:
        call_command("migrate", verbosity=0, interactive=False)
    return len(plan)


def collectstatic() -> bool:
    """Collects and compresses the static files, unless that was done for exactly these. True: it was done."""
    from django.conf import settings
    from django.contrib.staticfiles.finders import get_finders
    from django.core.management import call_command

    found: list[tuple[str, int, int]] = []
    for finder in get_finders():
        for name, storage in finder.list(None):
            stat = Path(storage.path(name)).stat()
            found.append((name, stat.st_size, stat.st_mtime_ns))
    stamp = hashlib.sha256(json.dumps([str(settings.STATICFILES_DIRS), sorted(found)]).encode()).hexdigest()
    file = settings.DATA_DIR / "static.stamp"
    if file.exists() and file.read_text() == stamp and settings.STATIC_ROOT.exists():
        return False
    file.unlink(missing_ok=True)
    call_command("collectstatic", verbosity=0, interactive=False, clear=True)
    file.write_text(stamp)
    return True


def web_answers(host: str, port: int, path: str = "/healthz") -> Callable[[], bool]:
    """A check that the page at `path` answers 200."""

    def ask() -> bool:
        connection = http.client.HTTPConnection(host, port, timeout=2)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return ask


def workers_answer(nodes: list[str]) -> Callable[[], bool]:
    """A check that each of these Celery workers takes messages."""
    from config.celery import app

    def ask() -> bool:
        replies = app.control.ping(destination=nodes, timeout=1.0, limit=len(nodes)) or []
        return {node for reply in replies for node in reply} >= set(nodes)

    return ask


def wait_quietly(done: Callable[[], bool], *, seconds: float) -> bool:
    """Polls until `done()`; False when the time is over first."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def readiness_settles(host: str, port: int) -> Callable[[], bool]:
    """A check that /readyz is 200: database, Redis, storage, and beat and worker seen lately.

    Beat's first tick comes one interval after its start. The sweep that it would send is sent now.
    """
    from batchjobs.tasks import jobs_sweep

    jobs_sweep.apply_async(ignore_result=True)
    return web_answers(host, port, "/readyz")


def silent_services() -> set[str]:
    """Names of services that the database has not heard of for SILENT_SECONDS (batchjobs.models.Beat)."""
    from django.db import DatabaseError, connections
    from django.db.models.functions import Now

    from batchjobs.models import Beat
    from config.env import env

    names = {"worker:short": "worker", "worker:long": "worker-long", "beat": "beat"}
    late = Now() - dt.timedelta(seconds=env.SILENT_SECONDS)
    try:
        silent = Beat.objects.filter(name__in=names, seen_at__lt=late)
        return {names[name] for name in silent.values_list("name", flat=True)}
    except DatabaseError:
        return set()  # whoever cannot ask does not judge
    finally:
        connections.close_all()
