import base64
import json

import pytest

from console.cursors import CursorError, cursor_decode, cursor_encode, time_of


def test_a_cursor_comes_back_as_it_was():
    assert cursor_decode(cursor_encode("-name", "café –", 7)) == ("-name", "café –", 7)


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "%%%",
        "é",
        "bm90IGpzb24",
        *(
            base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()
            for parts in (
                {},
                5,
                [1, 2, 3],
                ["name", "a"],
                ["name", "a", True],
                ["name", "a", -1],
                ["name", "a", 2**63],
                ["name", "a\x00", 1],
                ["name", "a", "1"],
            )
        ),
        base64.urlsafe_b64encode(b"[" * 100_000).decode(),
        base64.urlsafe_b64encode(b'["name","a",' + b"9" * 5000 + b"]").decode(),
    ],
)
def test_a_made_up_cursor_is_refused(cursor: str):
    with pytest.raises(CursorError):
        cursor_decode(cursor)


@pytest.mark.parametrize("value", ["", "yesterday", "2026-01-01", "2026-01-01T00:00:00", "9" * 400])
def test_a_made_up_moment_is_refused(value: str):
    with pytest.raises(CursorError):
        time_of(value)
