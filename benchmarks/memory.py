"""How much memory a process took."""

from __future__ import annotations

from pathlib import Path


def peak_rss_mb(pid: int | str) -> float:
    """The most it has had so far; 0 if it is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0.0
