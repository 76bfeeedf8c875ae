"""Looking for reference cycles when it suits, in loops over many rows."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collecting_by_hand() -> Iterator[None]:
    """Objects of a block of rows set the collector off again and again, which costs up to a third of the time.

    Whoever is inside calls `gc.collect()` now and then. What is there at the beginning is not looked at.
    """
    was_on = gc.isenabled()
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_on:
            gc.enable()
