"""`manage.py up` with real processes: start, stop, being killed, and what stands in its way."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from config.lifeline import leftovers

ROOT = Path(__file__).parents[2]
PROCESSES = ("postgres", "redis", "web", "worker", "worker-long", "beat")


def poll(found: Callable[[], Any], *, seconds: float, what: str) -> Any:
    deadline = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)
    return result


class Desk:
    """A data folder with its port, and the supervisor that runs there now."""

    def __init__(self, folder: Path) -> None:
        self.data_dir = folder.resolve()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None
        self.log = folder.parent / f"{folder.name}.out"

    def launch(self, **environment: str) -> subprocess.Popen[bytes]:
        # As an operator has it: without what the tests' own stores and short leases need.
        ours = {k: v for k, v in os.environ.items() if not k.startswith(("DATABASE_", "REDIS_", "BASE_", "JOB_"))}
        with self.log.open("wb") as out:
            return subprocess.Popen(
                [sys.executable, "manage.py", "up", "--port", str(self.port)],
                cwd=ROOT,
                env={**ours, "DATA_DIR": str(self.data_dir), **environment},
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def up(self, *, seconds: float, **environment: str) -> float:
        """Starts and waits until it is ready; how long that took."""
        began = time.monotonic()
        process = self.process = self.launch(**environment)
        ready = f"Batchdesk is ready: http://127.0.0.1:{self.port}/"
        poll(
            lambda: ready in self.said().splitlines() or process.poll() is not None,
            seconds=seconds,
            what=f"readiness\n{self.said()}",
        )
        assert process.poll() is None, self.said()
        return time.monotonic() - began

    def refused(self, **environment: str) -> str:
        """Starts and expects it to end by itself with exit code 1; what it said."""
        assert self.launch(**environment).wait(30) == 1, self.said()
        assert "Traceback" not in self.said()
        return self.said()

    def down(self, how: signal.Signals) -> int:
        assert self.process
        self.process.send_signal(how)
        return self.process.wait(12)

    def said(self) -> str:
        return self.log.read_text()

    def pid(self, name: str) -> int:
        return int((self.data_dir / "run" / f"{name}.pid").read_text())

    def ask(self, path: str, token: str = "") -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}")
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)

    def credentials(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.data_dir / "demo-credentials.json").read_text())
        return content

    def jobs(self) -> dict[str, dict[str, Any]]:
        found = self.ask("/api/v1/batch-jobs", self.credentials()["api_key"])["items"]
        return {job["name"]: job for job in found}

    def is_gone(self) -> bool:
        return not list(leftovers(self.data_dir))


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A desk that has been started once: the tests below go on from where the one before left it."""
    desk = Desk(tmp_path_factory.mktemp("up"))
    desk.up(seconds=90)
    yield desk
    if desk.process and desk.process.poll() is None:
        desk.down(signal.SIGTERM)


def test_long_path_gets_a_short_way_to_its_sockets(tmp_path: Path) -> None:
    from config.embedded import socket_dir

    folder = tmp_path / ("long" * 25)
    assert len(str(socket_dir(folder))) < 80
    assert (folder / "run").is_symlink()
    assert socket_dir(folder) == (folder / "run").resolve()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to be somebody else")
def test_root_without_namespaces_runs_postgresql_as_nobody(tmp_path: Path) -> None:
    """As in a container: `unshare` is refused, and the folders above are root's alone."""
    refusing = tmp_path / "bin" / "unshare"
    refusing.parent.mkdir()
    refusing.write_text("#!/bin/sh\necho not permitted >&2\nexit 1\n")
    refusing.chmod(0o755)
    tmp_path.chmod(0o700)
    starts = (
        "import os, subprocess, sys, time\n"
        "from functools import partial\n"
        "from pathlib import Path\n"
        "from config import embedded\n"
        "from config.lifeline import die_with_parent\n"
        "folder = Path(sys.argv[1])\n"
        "embedded.postgres_prepare(folder)\n"
        "server = subprocess.Popen(embedded.postgres_command(folder), start_new_session=True,\n"
        "                          preexec_fn=partial(die_with_parent, parent=os.getpid()))\n"
        "ready = [embedded.postgres_binary('pg_isready'), '-q', '-h', folder / 'run']\n"
        "while subprocess.run(ready).returncode: time.sleep(0.05)\n"
        "psql = [embedded.postgres_binary('psql'), '-h', folder / 'run', '-U', 'postgres', '-c', 'CHECKPOINT']\n"
        "print(server.pid, subprocess.run(psql, check=True, capture_output=True).returncode, flush=True)\n"
        "time.sleep(60)\n"
    )
    folder = tmp_path / "data"
    for path in (f"{refusing.parent}:{os.environ['PATH']}", os.environ["PATH"]):
        process = subprocess.Popen(
            [sys.executable, "-c", starts, str(folder)],
            cwd=ROOT,
            env={**os.environ, "PATH": path},
            stdout=subprocess.PIPE,
        )
        assert process.stdout
        try:
            server = int(process.stdout.readline().split()[0])
            # Once the folder is nobody's, the server is too, also where namespaces are allowed.
            assert {Path(f"/proc/{server}").stat().st_uid, (folder / "pg").stat().st_uid} == {65534}
            assert (server, "postgres") in list(leftovers(folder))
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        poll(lambda: not list(leftovers(folder)), seconds=8, what="an end of PostgreSQL with its parent")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to be somebody else")
def test_nobody_reaches_what_is_closed_to_all_but_root(tmp_path: Path) -> None:
    """A checkout in /root: PostgreSQL must find its own programs. All other rights of root are gone."""
    from config.embedded import NOBODY, _as_user

    closed = tmp_path / "closed" / "file"
    closed.parent.mkdir(mode=0o700)
    closed.touch(mode=0o600)
    asks = (
        "import os, pathlib, sys; print(os.geteuid(), os.access(sys.argv[1], os.R_OK),"
        " *(line.split()[1] for line in pathlib.Path('/proc/self/status').read_text().splitlines()"
        " if line.startswith(('CapPrm', 'CapEff'))))"
    )
    said = subprocess.run(
        [*_as_user(NOBODY), sys.executable, "-c", asks, str(closed)], capture_output=True, text=True, check=True
    )
    assert said.stdout.split() == ["65534", "True", *["0000000000000002"] * 2]  # CAP_DAC_OVERRIDE


def test_tests_that_are_killed_leave_no_stores(tmp_path_factory: pytest.TempPathFactory) -> None:
    starts = "import os, time, tests.stores; print(os.environ['BATCHDESK_TEST_DIR'], flush=True); time.sleep(60)"
    mine = ("DATABASE_URL", "REDIS_URL", "DATA_DIR", "BATCHDESK_TEST_DIR")
    process = subprocess.Popen(
        [sys.executable, "-c", starts],
        cwd=ROOT,
        env={**{k: v for k, v in os.environ.items() if k not in mine}, "TMPDIR": str(tmp_path_factory.mktemp("t"))},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    folder = Path(process.stdout.readline().strip())
    assert {name.split("-")[0] for _, name in leftovers(folder)} == {"postgres", "valkey"}
    process.kill()
    process.wait()
    process.stdout.close()
    poll(lambda: not list(leftovers(folder)), seconds=8, what="an end of the stores")


@pytest.fixture
def other(tmp_path: Path) -> Desk:
    """A desk that has never been started."""
    return Desk(tmp_path / "other")


def test_first_start_makes_everything(desk: Desk) -> None:
    assert {name for name in PROCESSES if Path(f"/proc/{desk.pid(name)}").exists()} == set(PROCESSES)
    assert {file.stem for file in (desk.data_dir / "log").glob("*.log")} == set(PROCESSES)
    assert desk.ask("/readyz")["ready"] is True
    cdnow = desk.jobs()["CDNOW purchases, 1997 to mid 1998"]
    assert cdnow["failure"] is None
    assert (cdnow["status"], cdnow["total_rows"], cdnow["valid_rows"]) == ("done", 69_659, 69_659)
    messy = desk.jobs()["Spring newsletter, as it came"]
    assert (messy["valid_rows"], messy["skipped_rows"], messy["invalid_rows"]) == (51, 2, 23)


def test_credentials_are_for_the_owner_alone(desk: Desk) -> None:
    file = desk.data_dir / "demo-credentials.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    content = desk.credentials()
    assert content["url"] == f"http://127.0.0.1:{desk.port}"
    assert [user["role"] for user in content["users"]] == ["manager", "marketer", "viewer", "support"]
    assert all(len(user["password"]) >= 16 and "@example.com" in user["email"] for user in content["users"])
    assert [account["slug"] for account in content["accounts"]] == ["harbour-records", "pier-nine-vinyl"]
    assert content["api_key"] == content["accounts"][0]["api_key"] != content["accounts"][1]["api_key"]
    assert desk.ask("/api/v1/batch-jobs", content["accounts"][1]["api_key"])["items"] == []
    assert all(user["email"] in desk.said() for user in content["users"])


def test_second_supervisor_of_the_folder_is_refused(desk: Desk, other: Desk) -> None:
    other.data_dir = desk.data_dir
    assert "is already running with the data folder" in other.refused()


def test_port_in_use_is_refused(desk: Desk, other: Desk) -> None:
    other.port = desk.port
    assert f"Port {desk.port} on 127.0.0.1 cannot be used (Address already in use)" in other.refused()


def test_what_ends_is_started_again(desk: Desk) -> None:
    before = {name: desk.pid(name) for name in ("web", "worker", "beat")}
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    poll(lambda: all(desk.pid(name) != pid for name, pid in before.items()), seconds=10, what="new processes")

    def answers() -> bool:
        try:
            return bool(desk.ask("/readyz")["ready"])
        except OSError:
            return False

    poll(answers, seconds=15, what="an answer of the new web process")


def test_killed_supervisor_leaves_nothing(desk: Desk) -> None:
    desk.down(signal.SIGKILL)
    poll(desk.is_gone, seconds=8, what=f"an end of {list(leftovers(desk.data_dir))}")


def test_next_start_is_quick_and_keeps_the_data(desk: Desk) -> None:
    before = desk.credentials()
    (desk.data_dir / "run" / "web.pid").write_text("1\n")  # as a machine leaves it that lost its power
    assert desk.up(seconds=60, SILENT_SECONDS="5", JOB_SWEEP_SECONDS="1") < 15
    assert desk.credentials() == before
    assert len(desk.jobs()) == 2


def test_frozen_workers_are_started_again(desk: Desk) -> None:
    """Also when the one that sweeps is frozen: nobody else would find the job of the other."""
    before = {name: desk.pid(name) for name in ("worker", "worker-long")}
    for pid in before.values():
        os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    poll(lambda: all(desk.pid(name) != pid for name, pid in before.items()), seconds=40, what="new workers")
    assert time.monotonic() - began > 2  # they were given time
    poll(lambda: all(not Path(f"/proc/{pid}").exists() for pid in before.values()), seconds=5, what="their end")


def test_sigterm_stops_everything_in_a_few_seconds(desk: Desk) -> None:
    began = time.monotonic()
    assert desk.down(signal.SIGTERM) == 0
    assert time.monotonic() - began < 10
    assert desk.is_gone()
    assert not list((desk.data_dir / "run").glob("*.pid"))


def test_lost_credentials_are_made_anew(desk: Desk) -> None:
    before = desk.credentials()
    (desk.data_dir / "demo-credentials.json").unlink()
    desk.up(seconds=60)
    after = desk.credentials()
    assert after["users"][0]["password"] != before["users"][0]["password"]
    assert len(desk.jobs()) == 2
    desk.down(signal.SIGINT)


def test_data_of_another_postgresql_is_refused(other: Desk) -> None:
    (other.data_dir / "pg").mkdir(parents=True)
    (other.data_dir / "pg" / "PG_VERSION").write_text("14\n")
    said = other.refused()
    assert "was made by PostgreSQL 14" in said
    assert "pg_upgrade" in said


def test_unusable_settings_and_folders_get_a_sentence(other: Desk, tmp_path: Path) -> None:
    assert "The setting JOB_CHUNK_ROWS cannot be 'many'" in other.refused(JOB_CHUNK_ROWS="many")
    assert "DATABASE_URL is not the address of a database" in other.refused(DATABASE_URL="nonsense")
    (tmp_path / "file").write_text("")
    assert "cannot be written to" in other.refused(DATA_DIR=str(tmp_path / "file" / "below"))
