"""A beat of exports as a process of its own, with a clock of its own: `python -m tests.ticking START STEP COUNT`.

START is a moment, STEP seconds; the clock runs COUNT steps and the process ends.
"""

from __future__ import annotations

import datetime as dt
import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    import django

    django.setup()
    from exports import dispatch

    now, step = dt.datetime.fromisoformat(sys.argv[1]), dt.timedelta(seconds=float(sys.argv[2]))
    for _ in range(int(sys.argv[3])):
        dispatch.tick(now=now)
        now += step


if __name__ == "__main__":
    main()
