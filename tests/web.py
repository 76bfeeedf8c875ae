"""The real web process, gunicorn, on the test's database and files: started, ended and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection

from tests.chaos import ROOT, environment, until


class Web:
    """`url` stays the same over restarts. `kill` is SIGKILL to all its processes; `end` is as a deployment does it."""

    def __init__(self, **more: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = environment(
            WEB_BIND=f"127.0.0.1:{self.port}",
            WEB_WORKERS="1",
            WEB_GRACEFUL_SECONDS="3",
            BASE_URL=self.url,
            DJANGO_SETTINGS_MODULE="config.settings",
            **more,
        )
        self.name = f"web-{self.port}"  # of its database sessions
        self.environment["DATABASE_URL"] += f"&application_name={self.name}"
        self.process: Any = None

    def start(self) -> None:
        command = [sys.executable, "-m", "gunicorn", "-c", "config/gunicorn.py", "config.wsgi"]
        with (Path(settings.DATA_DIR) / "web.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                with urllib.request.urlopen(f"{self.url}/healthz", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise AssertionError("the web process does not answer")

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        self.process.terminate()
        self.process.wait()

    def peak_kilobytes(self) -> int:
        """The most memory that any of its processes has held."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return max(int(_status(pid, "VmHWM").split()[0]) for pid in (str(self.process.pid), *children))


def _status(pid: str, key: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{key}:"))


def _sessions(name: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", [name])
        (count,) = cursor.fetchone()
    return int(count)


@contextmanager
def web(**more: str) -> Iterator[Web]:
    server = Web(**more)
    static = Path(settings.DATA_DIR) / "static"
    if not (static / "staticfiles.json").exists():
        command = [sys.executable, "manage.py", "collectstatic", "--noinput", "--verbosity", "0"]
        subprocess.run(command, cwd=ROOT, env=server.environment, check=True)
    server.start()
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.kill()
        # The tests' database is removed after them: nobody may be in it.
        until(lambda: not _sessions(server.name))
