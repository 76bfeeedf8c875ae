"""Real stores for the tests, a pytest plugin that is loaded before Django reads its settings.

One PostgreSQL and one Valkey a run, a database and a data folder for each xdist worker, everything on sockets.
They end with the run, also with one that is killed.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

_started: list[subprocess.Popen[bytes]] = []
_folder: Path | None = None
_owner = os.getpid()


def _start_stores() -> None:
    """Starts the stores once, before Django reads its settings; the xdist workers find them in the environment."""
    global _folder  # noqa: PLW0603
    if "BATCHDESK_TEST_DIR" in os.environ:
        return
    atexit.register(_stop_stores)
    _folder = Path(tempfile.mkdtemp(prefix="batchdesk-test-"))
    os.environ["BATCHDESK_TEST_DIR"] = str(_folder)
    if "DATABASE_URL" in os.environ and "REDIS_URL" in os.environ:
        return
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from config import embedded
    from config.lifeline import die_with_parent

    embedded.postgres_prepare(_folder)
    for command, at_parents_death in (
        # The tests' data may go with the power: no waiting for the disk.
        (embedded.postgres_command(_folder, fsync=os.environ.get("TEST_FSYNC", "off")), signal.SIGQUIT),
        (embedded.valkey_command(_folder), signal.SIGKILL),
    ):
        with (_folder / "stores.log").open("ab") as log:
            _started.append(
                subprocess.Popen(
                    command,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    preexec_fn=partial(die_with_parent, at_parents_death, parent=_owner),  # noqa: PLW1509  one thread
                )
            )
    sockets = embedded.socket_dir(_folder)
    os.environ["DATABASE_URL"] = f"postgresql://postgres@/postgres?host={sockets}"
    os.environ["REDIS_URL"] = f"unix://{sockets / 'redis.sock'}"
    ready = [str(embedded.postgres_binary("pg_isready")), "-q", "-h", str(sockets)]
    for _ in range(300):
        if subprocess.run(ready, check=False).returncode == 0 and (sockets / "redis.sock").exists():
            return
        time.sleep(0.1)
    raise RuntimeError((_folder / "stores.log").read_text())


def _stop_stores() -> None:
    if os.getpid() != _owner:
        return  # a fork of the process that started them
    for process in _started:
        process.send_signal(signal.SIGINT)
    for process in _started:
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
    if _folder:
        shutil.rmtree((_folder / "run").resolve(), ignore_errors=True)  # elsewhere where the path is long
        shutil.rmtree(_folder, ignore_errors=True)


_start_stores()
# A data folder for each xdist worker: files, sockets of what a test starts, secret key.
_own = Path(os.environ["BATCHDESK_TEST_DIR"]) / os.environ.get("PYTEST_XDIST_WORKER", "main")
_own.mkdir(exist_ok=True)
os.environ["DATA_DIR"] = str(_own)
os.environ.setdefault("JOB_LEASE_SECONDS", "3")
os.environ.setdefault("JOB_SWEEP_SECONDS", "1")
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "1")  # Playwright's loop runs in the tests' thread
