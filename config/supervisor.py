"""One process that runs all of Batchdesk on one machine: stores, web, workers, beat.

It starts them in order, starts web, workers and beat again when they end, and stops everything in the
opposite order. Whatever it dies of, the kernel ends its children with it (config/lifeline.py).
`manage.py up` is its face.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TextIO

from config import embedded
from config.env import BASE_DIR, env
from config.lifeline import MARK, die_with_parent, end_leftovers, signal_quietly

RESTART_FIRST, RESTART_MOST = 0.5, 30.0  # seconds between an end and the next start; doubles each time
STEADY = 60.0  # whoever ran this long starts anew without a wait
LISTEN_EVERY = 5.0  # seconds between two looks for silent services
LOG_KEPT = 20 * 1024 * 1024  # a longer log is put aside at start


class StartError(Exception):
    """Batchdesk cannot start or go on; the message is a sentence for the person at the terminal."""


class StopRequested(BaseException):
    """Ctrl-C or SIGTERM: raised by the signal handler, once. Not an error, so that nothing swallows it."""


@dataclass
class Service:
    """A child process. `grace` is how long it may take to stop; a `store` is one that nothing works without.

    Higher stages stop first, each when the one above it has stopped.
    """

    name: str
    command: list[str]
    stage: int
    grace: float
    stop: signal.Signals = signal.SIGTERM
    at_parents_death: signal.Signals = signal.SIGKILL
    store: bool = False
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    delay: float = RESTART_FIRST
    restart_at: float | None = None


class Supervisor:
    """Everything of one DATA_DIR. Use as a context manager: leaving it stops what was started."""

    def __init__(self, *, host: str, port: int, out: TextIO = sys.stdout) -> None:
        self.host, self.port = host, port
        self.data_dir = env.data_dir
        self.out = out
        self.began = time.monotonic()
        self.services: list[Service] = []
        self.stopping = self.hurried = False
        self._lock: TextIO | None = None

    @property
    def url(self) -> str:
        shown = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host  # noqa: S104  for a browser here
        return f"http://{f'[{shown}]' if ':' in shown else shown}:{self.port}"

    def say(self, text: str) -> None:
        """A line with the seconds since the start. Nobody reading it any more is no reason to stop."""
        self.print(f"[{time.monotonic() - self.began:5.1f} s] {text}")

    def print(self, text: str) -> None:
        try:
            self.out.write(text + "\n")
            self.out.flush()
        except (OSError, ValueError):
            self.out = Path(os.devnull).open("w")  # noqa: SIM115

    # Starting

    def __enter__(self) -> Supervisor:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # `nohup` means to stay
            signal.signal(signal.SIGHUP, self._on_signal)
        self._take_data_dir()
        return self

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.stopping:
            self.hurried = True
            return
        self.stopping = True
        raise StopRequested

    def _take_data_dir(self) -> None:
        """One supervisor a data folder, a free port, and nothing left of an earlier one."""
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = (self.data_dir / "up.lock").open("a")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartError(
                f"Batchdesk is already running with the data folder {self.data_dir}. "
                "Stop it first, or choose another one: make run PORT=8001 DATA_DIR=./var2"
            ) from None
        self._require_port()
        os.environ[MARK] = str(self.data_dir)  # what this process starts is known by it
        if end_leftovers(self.data_dir):
            raise StartError(f"Processes of an earlier run still use {self.data_dir} and cannot be ended.")
        run = embedded.socket_dir(self.data_dir)
        for pattern in ("*.pid", "redis.sock", ".s.PGSQL.*", "beat-schedule*"):
            for stale in run.glob(pattern):
                stale.unlink()
        # Nobody works in the folder (see above): the process id in there is of some other process by now.
        (self.data_dir / "pg" / "postmaster.pid").unlink(missing_ok=True)
        (self.data_dir / "log").mkdir(exist_ok=True)

    def _require_port(self) -> None:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.host, self.port))
            except (OSError, OverflowError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                raise StartError(
                    f"Port {self.port} on {self.host} cannot be used ({reason}). "
                    f"Choose another one: make run PORT={min(self.port + 1, 65535)}"
                ) from None

    def start(self, *services: Service) -> None:
        for service in services:
            self.services.append(service)
            self._spawn(service)

    def _spawn(self, service: Service) -> None:
        path = self.data_dir / "log" / f"{service.name}.log"
        if path.exists() and path.stat().st_size > LOG_KEPT:
            path.replace(path.with_suffix(".log.1"))
        with path.open("ab") as log:
            service.process = subprocess.Popen(
                service.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=BASE_DIR,
                env={**os.environ, **service.environment},
                start_new_session=True,  # Ctrl-C reaches the supervisor alone, which stops them in order
                preexec_fn=partial(die_with_parent, service.at_parents_death, parent=os.getpid()),  # noqa: PLW1509  one thread
            )
        service.started_at, service.restart_at = time.monotonic(), None
        (self.data_dir / "run" / f"{service.name}.pid").write_text(f"{service.process.pid}\n")

    def wait_until(self, ready: Callable[[], bool], *, what: str, seconds: float) -> None:
        """Polls until `ready()`. Raises StartError when it takes too long, or a child ends meanwhile."""
        deadline = time.monotonic() + seconds
        while not ready():
            for service in self.services:
                if service.process and service.process.poll() is not None:
                    raise StartError(self._last_words(service))
            if time.monotonic() > deadline:
                said = getattr(ready, "error", "")
                raise StartError(
                    f"{what} did not come up within {seconds:.0f} s{f' ({said})' if said else ''}. "
                    f"The logs are in {self.data_dir / 'log'}."
                )
            time.sleep(0.05)

    def _last_words(self, service: Service) -> str:
        log = self.data_dir / "log" / f"{service.name}.log"
        code = service.process.returncode if service.process else "?"
        words = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-6:]
        return f"{service.name} ended ({ended(code)}). The end of {log}:\n" + "\n".join(f"    {w}" for w in words)

    # Running

    def watch(self, silent: Callable[[], set[str]] = set) -> None:
        """Runs until asked to stop. Raises StartError when a store is gone.

        `silent` names services that are there but have not been heard of for too long: frozen, or hanging. They are
        ended, and so start again; their jobs go on from their checkpoints.
        """
        asked_at = time.monotonic()
        while True:
            for service in self.services:
                self._look_after(service)
            if time.monotonic() - asked_at > LISTEN_EVERY:
                for service in self._unheard(silent()):
                    self.say(f"{service.name} has not been heard of for too long; it is ended.")
                    signal_quietly(service.process.pid, signal.SIGKILL, group=True)  # type: ignore[union-attr]
                asked_at = time.monotonic()
            time.sleep(0.2)

    def _unheard(self, names: set[str]) -> list[Service]:
        """Of `names`, those that have run long enough to have been heard of."""
        latest = time.monotonic() - env.SILENT_SECONDS
        return [s for s in self.services if s.name in names and s.restart_at is None and s.started_at < latest]

    def _look_after(self, service: Service) -> None:
        now = time.monotonic()
        if service.restart_at is not None:
            if now >= service.restart_at:
                self._spawn(service)
            return
        if service.process is None or service.process.poll() is None:
            return
        if service.store:
            raise StartError(self._last_words(service) + "\nNothing works without it, so Batchdesk stops.")
        signal_quietly(service.process.pid, signal.SIGKILL, group=True)  # what it left of its own children
        if now - service.started_at > STEADY:
            service.delay = RESTART_FIRST
        service.restart_at = now + service.delay
        how = ended(service.process.returncode)
        self.say(f"{service.name} ended ({how}); it starts again in {service.delay:g} s.")
        service.delay = min(service.delay * 2, RESTART_MOST)

    # Stopping

    def __exit__(self, *exc: object) -> None:
        self.stopping = True
        if any(s.process and s.process.poll() is None for s in self.services):
            self.say("Stopping.")
        stages = sorted({service.stage for service in self.services}, reverse=True)
        for stage in stages:
            together = [service for service in self.services if service.stage == stage]
            for service in together:
                if service.process and service.process.poll() is None:
                    signal_quietly(service.process.pid, service.stop)
            for service in together:
                self._await_end(service)
        if self._lock:
            self._lock.close()

    def _await_end(self, service: Service) -> None:
        process = service.process
        if process is None:
            return
        deadline = time.monotonic() + service.grace
        while process.poll() is None and time.monotonic() < deadline and not self.hurried:
            time.sleep(0.02)
        signal_quietly(process.pid, signal.SIGKILL, group=True)
        process.wait()
        (self.data_dir / "run" / f"{service.name}.pid").unlink(missing_ok=True)


def ended(code: int | str) -> str:
    """How a process ended, in words."""
    if isinstance(code, int) and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"


def store_services() -> list[Service]:
    """Those that are not replaced by an operator's own. PostgreSQL is the last to stop."""
    services = []
    if not env.DATABASE_URL:
        embedded.postgres_prepare(env.data_dir)
        # SIGINT: PostgreSQL's fast stop with a checkpoint. SIGQUIT: at once, and the next start recovers.
        services.append(
            Service(
                "postgres",
                embedded.postgres_command(env.data_dir),
                stage=0,
                grace=8,
                stop=signal.SIGINT,
                at_parents_death=signal.SIGQUIT,
                store=True,
            )
        )
    if not env.REDIS_URL:
        services.append(Service("redis", embedded.valkey_command(env.data_dir), stage=1, grace=3, store=True))
    return services


def product_services(*, host: str, port: int, base_url: str) -> list[Service]:
    """Workers, web and beat, in the order of starting.

    Short jobs have processes of their own, so that they never wait behind a long one; and two of them, so
    that a frozen one does not hold up the sweep that finds it.
    """
    common = {
        "DATA_DIR": str(env.data_dir),
        "PORT": str(port),
        "BASE_URL": os.environ.get("BASE_URL") or base_url,
    }
    celery = [sys.executable, "-m", "celery", "-A", "config"]
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "INFO")
    worker = {**common, "REMAP_SIGTERM": "SIGQUIT"}  # TERM is the soft shutdown
    bind = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return [
        Service(
            name,
            [*celery, "worker", "-Q", queue, "-c", str(processes), "-n", worker_node(queue, port), *quiet],
            stage=2,
            grace=4,
            environment=worker,
        )
        for name, queue, processes in (("worker-long", "long", 1), ("worker", "short", 2))
    ] + [
        Service(
            "web",
            [sys.executable, "-m", "gunicorn", "-c", str(BASE_DIR / "config" / "gunicorn.py"), "config.wsgi"],
            stage=3,
            grace=4,
            environment={**common, "WEB_BIND": bind, "WEB_GRACEFUL_SECONDS": "3"},
        ),
        Service("beat", [*celery, "beat", "--pidfile=", "-l", "INFO"], stage=4, grace=2, environment=common),
    ]


def worker_node(queue: str, port: int) -> str:
    """A worker's name in Celery: several supervisors may share a Redis."""
    return f"{queue}@{socket.gethostname()}-{port}"
