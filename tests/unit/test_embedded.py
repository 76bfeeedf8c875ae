"""What the embedded server is given."""

from __future__ import annotations

import pytest

from config.embedded import memory_bytes, shared_buffers_mb


@pytest.mark.parametrize(
    ("memory_mb", "buffers_mb"), [(256, 128), (512, 128), (2048, 512), (4096, 1024), (65536, 1024)]
)
def test_buffers_are_a_quarter_of_the_memory_within_bounds(memory_mb: int, buffers_mb: int) -> None:
    assert shared_buffers_mb(memory_mb * 2**20) == buffers_mb


def test_this_machine_has_memory() -> None:
    assert memory_bytes() > 2**20
