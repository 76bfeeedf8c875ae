"""How values are written."""

from __future__ import annotations

import datetime as dt

import pytest
from django.utils import timezone

from console import formats

NOW = dt.datetime(2026, 11, 21, 14, 30, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0, "0"), (43_902, "43,902"), (1_284_000, "1,284,000"), (401.6, "402")]
)
def test_number(value: float | None, text: str) -> None:
    assert formats.number(value) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (84_000, "84 KB"), (2_400_000, "2.4 MB"), (999_700, "1.0 MB"),
     (58_200_000, "58.2 MB"), (5_368_709_120, "5.4 GB"), (3 * 10**12, "3.0 TB")],
)  # fmt: skip
def test_filesize(size: int, text: str) -> None:
    assert formats.filesize(size).replace("\u00a0", " ") == text


def test_share_never_rounds_to_nothing_or_to_all() -> None:
    assert formats.share(0, 10) == "0%"
    assert formats.share(10, 10) == "100%"
    assert formats.share(17_892, 18_204) == "98.3%"
    assert formats.share(1, 100_000) == "under 0.1%"
    assert formats.share(99_999, 100_000) == "over 99.9%"
    assert formats.share(0, 0) == "0%"


def test_spans() -> None:
    assert formats.clock(109) == "1:49"
    assert formats.clock(3723) == "1:02:03"
    assert formats.span(0.4) == "under 1 s"
    assert formats.span(64) == "1 min 4 s"
    assert formats.span(7500) == "2 h 5 min"
    assert formats.time_left(None) == ""
    assert formats.time_left(3) == "a few seconds left"
    assert formats.time_left(40) == "less than a minute left"
    assert formats.time_left(64) == "1 min 4 s left"
    assert formats.time_left(700) == "11 min left"


def test_moment_is_in_the_persons_zone() -> None:
    just_before_midnight = dt.datetime(2026, 11, 20, 23, 30, tzinfo=dt.UTC)
    with timezone.override("UTC"):
        assert formats.moment(NOW, NOW) == "14:30"
        assert formats.moment(just_before_midnight, NOW) == "Yesterday 23:30"
        assert formats.moment(dt.datetime(2026, 8, 18, tzinfo=dt.UTC), NOW) == "18 Aug 2026"
        assert formats.exact(NOW) == "21 November 2026, 14:30:00 UTC"
    with timezone.override("Europe/Berlin"):
        assert formats.moment(just_before_midnight, NOW) == "00:30"


def test_to_the_second_and_to_the_millisecond() -> None:
    now = dt.datetime(2026, 11, 25, 12, tzinfo=dt.UTC)
    at = dt.datetime(2026, 11, 25, 9, 3, 30, 902_400, dt.UTC)
    assert formats.second(at, now) == "09:03:30"
    assert formats.second(at - dt.timedelta(days=1), now) == "Yesterday 09:03:30"
    assert formats.second(at - dt.timedelta(days=20), now) == "5 Nov, 09:03:30"
    assert formats.second(at - dt.timedelta(days=365), now) == "25 Nov 2025, 09:03:30"
    assert formats.millisecond(at) == "25 November 2026, 09:03:30.902 UTC"
    assert formats.second(None) == formats.millisecond(None) == "–"
