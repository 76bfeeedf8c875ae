"""Processes that end with their parent, and finding what a killed parent left behind (Linux)."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

MARK = "BATCHDESK_UP"  # in the environment of everything that a supervisor starts: its data folder

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(how: signal.Signals = signal.SIGKILL, *, parent: int | None = None) -> None:
    """The kernel sends this process `how` when its parent dies, whatever the parent died of.

    `parent` is the process id the caller expects: it may have died before this call.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, int(how), 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


def leftovers(data_dir: Path) -> Iterator[tuple[int, str]]:
    """(process id, name) of what an earlier supervisor of this data folder started and is still there.

    The stores overwrite their environment with their title, so they are known by where they work; a PostgreSQL of
    another user, whom root in a container may not ask that, by its command.
    """
    mark = f"{MARK}={data_dir}".encode()
    stores = {str(data_dir / "pg"), str(data_dir / "valkey")}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            name = (entry / "comm").read_text().strip()
            zombie = (entry / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
            command = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it has gone
            continue
        ours = name == "postgres" and command[1:3] == [b"-D", str(data_dir / "pg").encode()]
        with suppress(OSError):  # it belongs to someone else
            ours = ours or mark in (entry / "environ").read_bytes().split(b"\0")
            ours = ours or (name.startswith(("postgres", "valkey")) and str((entry / "cwd").readlink()) in stores)
        if ours and not zombie:
            yield int(entry.name), name


def end_leftovers(data_dir: Path, *, patience: float = 3.0) -> int:
    """Waits for leftovers to go, then ends them; how many still stand in the way after that (0 is good)."""
    for how in (None, signal.SIGQUIT, signal.SIGKILL):
        found = list(leftovers(data_dir))
        if how:
            for pid, _name in found:
                signal_quietly(pid, how)
        deadline = time.monotonic() + patience
        while found and time.monotonic() < deadline:
            time.sleep(0.05)
            found = list(leftovers(data_dir))
        if not found:
            return 0
    return len(found)


def signal_quietly(pid: int, how: signal.Signals, *, group: bool = False) -> None:
    """Sends a signal to a process, or to its group, that may have gone already."""
    with suppress(ProcessLookupError, PermissionError):
        (os.killpg if group else os.kill)(pid, how)
