"""Programs that tests need and that are no packages: without one its tests are left out, and under CI they fail."""

from __future__ import annotations

import os
import shutil

import pytest


def needs(*names: str) -> None:
    """Ends the test that calls it if one of the programs is not there."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        absent(f"There is no {', '.join(missing)}. Install it, for example with apt-get.")


def absent(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
