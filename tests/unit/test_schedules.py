"""Schedules against every change of clocks that there is."""

from __future__ import annotations

import datetime as dt
import math
import os
import time
import zoneinfo
from collections.abc import Iterator
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exports.schedules import (
    MISSED_LISTED,
    Cadence,
    Schedule,
    ScheduleError,
    in_words,
    latest_before,
    missed,
    next_after,
    occurrences,
    zone_names,
)

LONG = os.environ.get("CHAOS") == "1"
YEARS = (1970, 2038) if LONG else (2024, 2031)
DAY = dt.timedelta(days=1)
QUARTER = 900  # seconds
# Each a multiple of a quarter of an hour.
TIMES = ("00:00", "00:15", "00:30", "01:00", "01:30", "01:45", "02:00", "02:30", "03:00", "12:00", "23:00", "23:30")


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def daily(zone: str, *times: str, first_on: dt.date | None = None) -> Schedule:
    return Schedule(Cadence.DAILY, times, zone, first_on=first_on)


# Every zone, every change. The oracle looks at the clock on the wall alone: which local time is it at this second.


def clock(zone: ZoneInfo, second: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(second, zone).replace(tzinfo=None)


def offset(zone: ZoneInfo, second: int) -> int:
    found = dt.datetime.fromtimestamp(second, zone).utcoffset()
    assert found is not None
    return round(found.total_seconds())


def changes(zone: ZoneInfo) -> Iterator[int]:
    """The seconds at which the zone's clocks are changed, found by looking every twelve hours."""
    start, end = (round(dt.datetime(year, 1, 1, tzinfo=dt.UTC).timestamp()) for year in YEARS)
    step = 12 * 3600
    before = offset(zone, start)
    for second in range(start + step, end, step):
        after = offset(zone, second)
        if after != before:
            low, high = second - step, second
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if offset(zone, middle) == before else (low, middle)
            yield high
            before = after


def runs_by_the_clock(zone: ZoneInfo, change: int, others: list[int]) -> tuple[dict[str, set[int]], dt.date, int]:
    """For each of TIMES the seconds of its runs on the days around a change; the first of these days, and their number.

    A walk along the clock: a run is when it first shows the time. If it never does, since it jumps over it, the run
    is when it would have shown it without the jump.
    """
    nearby = [change, *(other for other in others if abs(other - change) < 6 * 86_400)]
    step = math.gcd(QUARTER, *nearby, *(offset(zone, second - back) for second in nearby for back in (0, 1)))
    first_seen: dict[dt.datetime, int] = {}
    jumps: list[tuple[dt.datetime, dt.datetime, int]] = []
    last = clock(zone, change - 5 * 86_400)
    for second in range(change - 5 * 86_400, change + 5 * 86_400, step):
        now = clock(zone, second)
        first_seen.setdefault(now, second)
        if now - last > dt.timedelta(seconds=step):
            jumps.append((last, now, second - step))
        last = now
    begin, end = clock(zone, change - 1).date() - 2 * DAY, clock(zone, change).date() + 2 * DAY
    begin, end = min(begin, end - 4 * DAY), max(end, begin + 4 * DAY)  # clocks can go back to the day before
    days = [begin + n * DAY for n in range((end - begin).days + 1)]
    runs: dict[str, set[int]] = {}
    for at in TIMES:
        runs[at] = set()
        for day in days:
            wanted = dt.datetime.combine(day, dt.time.fromisoformat(at))
            if wanted in first_seen:
                runs[at].add(first_seen[wanted])
            else:
                ((before, _after, second),) = [jump for jump in jumps if jump[0] < wanted < jump[1]]
                runs[at].add(second + round((wanted - before).total_seconds()))
    seen = {moment.date() for moment in first_seen}
    return runs, begin, sum(day in seen for day in days)


@pytest.mark.chaos
def test_every_change_of_every_zones_clocks():
    began, checked = time.perf_counter(), 0
    for name in sorted(zone_names()):
        zone = ZoneInfo(name)
        found = list(changes(zone))
        for change in found:
            runs, first_on, days = runs_by_the_clock(zone, change, found)
            start = dt.datetime.fromtimestamp(change, dt.UTC) - 9 * DAY
            for at, seconds in runs.items():
                case = f"{name} {at} around {start + 9 * DAY}"
                assert len(seconds) == days, case  # one for each day that there is
                ours = occurrences(daily(name, at, first_on=first_on), start, days)
                assert [run.at.timestamp() for run in ours] == sorted(seconds), case
            together = daily(name, *TIMES, first_on=first_on)
            expected = sorted(set().union(*runs.values()))
            ours = occurrences(together, start, len(expected))
            assert [run.at.timestamp() for run in ours] == expected, f"{name} around {start + 9 * DAY}"
            for earlier, later in list(pairwise(ours))[::5]:
                assert latest_before(together, later.at) == earlier.at, f"{name} before {later.at}"
            assert latest_before(together, ours[0].at) is None
            checked += 1
    print(f"{checked} changes of {len(zone_names())} zones in {time.perf_counter() - began:.1f} s")
    assert checked > 1_000


# Named ones.


@pytest.mark.parametrize(
    ("zone", "at", "after", "expected", "note"),
    [
        # zone, wall time, from when, when in UTC, what is said
        ("Europe/Lisbon", "01:30", "2026-03-28T12:00", "2026-03-29T01:30", "forward: 01:30 does not exist|02:30"),
        ("Europe/Lisbon", "00:59", "2026-03-28T12:00", "2026-03-29T00:59", ""),
        ("Europe/Lisbon", "02:00", "2026-03-28T12:00", "2026-03-29T01:00", ""),
        ("Europe/Lisbon", "01:30", "2026-10-24T12:00", "2026-10-25T00:30", "back: 01:30 comes twice"),
        ("Europe/Lisbon", "01:30", "2026-10-25T00:30", "2026-10-26T01:30", ""),
        ("Europe/Lisbon", "02:00", "2026-10-24T12:00", "2026-10-25T02:00", ""),
        # Winter time is the exception there, by law: still the clocks go forward in March.
        ("Europe/Dublin", "01:30", "2026-03-28T12:00", "2026-03-29T01:30", "forward: 01:30 does not exist|02:30"),
        ("Europe/Dublin", "01:30", "2026-10-24T12:00", "2026-10-25T00:30", "back: 01:30 comes twice"),
        # Back for Ramadan.
        ("Africa/Casablanca", "02:30", "2024-03-09T12:00", "2024-03-10T01:30", "back: 02:30 comes twice"),
        ("Africa/Casablanca", "02:30", "2024-04-13T12:00", "2024-04-14T02:30", "forward: 02:30 does not exist|03:30"),
        # Half an hour.
        ("Australia/Lord_Howe", "02:15", "2025-10-04T00:00", "2025-10-04T15:45", "forward: 02:15 does not exist|02:45"),
        ("Australia/Lord_Howe", "01:45", "2026-04-04T00:00", "2026-04-04T14:45", "back: 01:45 comes twice"),
        # Two hours.
        ("Antarctica/Troll", "01:30", "2026-03-28T12:00", "2026-03-29T01:30", "forward: 01:30 does not exist|03:30"),
        ("Antarctica/Troll", "02:59", "2026-03-28T12:00", "2026-03-29T02:59", "forward: 02:59 does not exist|04:59"),
        ("Antarctica/Troll", "01:30", "2026-10-24T12:00", "2026-10-24T23:30", "back: 01:30 comes twice"),
        # At midnight: the hour that does not exist is the day's first, or the last of the day before.
        ("Asia/Gaza", "00:30", "2015-03-27T12:00", "2015-03-27T22:30", "forward: 00:30 does not exist|01:30"),
        ("Asia/Gaza", "00:00", "2015-03-27T12:00", "2015-03-27T22:00", "forward: 00:00 does not exist|01:00"),
        ("Asia/Gaza", "00:30", "2015-10-22T12:00", "2015-10-22T21:30", "back: 00:30 comes twice"),
        (
            "America/Nuuk",
            "23:30",
            "2024-03-30T12:00",
            "2024-03-31T01:30",
            "forward: 2024-03-30 23:30 does not exist|2024-03-31 00:30",
        ),
        # To the other side of the date line: 30 December never was.
        ("Pacific/Apia", "06:30", "2011-12-29T12:00", "2011-12-29T16:30", ""),
        (
            "Pacific/Apia",
            "06:30",
            "2011-12-29T16:30",
            "2011-12-30T16:30",
            "forward: 2011-12-30 06:30 does not exist|2011-12-31 06:30",
        ),
        ("Pacific/Apia", "06:30", "2011-12-30T16:30", "2011-12-31T16:30", ""),
        (
            "Pacific/Kwajalein",
            "12:00",
            "1993-08-21T00:00",
            "1993-08-22T00:00",
            "forward: 1993-08-21 12:00 does not exist|1993-08-22 12:00",
        ),
        ("UTC", "12:00", "2026-03-28T12:00", "2026-03-29T12:00", ""),
    ],
)
def test_a_change_of_clocks(zone: str, at: str, after: str, expected: str, note: str):
    schedule = daily(zone, at)
    (run,) = occurrences(schedule, utc(after), 1)
    assert run.at == utc(expected) == next_after(schedule, utc(after))
    assert run.local.astimezone(dt.UTC) == run.at
    assert run.local.tzinfo == ZoneInfo(zone)
    wanted, _bar, actual = note.partition("|")
    ending = f", so it runs at {actual}" if actual else ", it runs the first time"
    assert run.note == (f"Clocks go {wanted}{ending}" if note else "")


def test_times_that_meet_are_one_run():
    runs = occurrences(daily("Europe/Lisbon", "01:30", "02:30", "02:45"), utc("2026-03-28T12:00"), 3)
    assert [run.at for run in runs] == [utc("2026-03-29T01:30"), utc("2026-03-29T01:45"), utc("2026-03-30T00:30")]
    assert [bool(run.note) for run in runs] == [True, False, False]


def test_a_time_put_off_may_come_after_a_later_one():
    runs = occurrences(daily("Europe/Lisbon", "01:45", "02:30"), utc("2026-03-28T12:00"), 2)
    assert [f"{run.local:%H:%M}" for run in runs] == ["02:30", "02:45"]


def test_a_day_that_never_was_runs_with_the_next_one():
    at = utc("2011-12-30T16:30")
    friday = Schedule(Cadence.WEEKLY, ("06:30",), "Pacific/Apia", weekday=4)
    assert occurrences(friday, utc("2011-12-24T00:00"), 2)[0].at == at
    assert occurrences(friday, utc("2011-12-24T00:00"), 2)[1].local.date() == dt.date(2012, 1, 6)
    month = Schedule(Cadence.MONTHLY, ("06:30",), "Pacific/Apia", day=30)
    assert next_after(month, utc("2011-12-24T00:00")) == at
    # The times of the lost day, all behind those of the next one in the calendar, are its runs.
    hours = tuple(f"{hour:02}:00" for hour in range(24))
    runs = occurrences(daily("Pacific/Apia", *hours), utc("2011-12-29T10:00"), 48)
    assert {later.at - earlier.at for earlier, later in pairwise(runs)} == {dt.timedelta(hours=1)}


# Cadences.


def local_days(schedule: Schedule, after: str, count: int) -> list[str]:
    return [run.local.date().isoformat() for run in occurrences(schedule, utc(after), count)]


def test_day_31_is_the_last_day_of_shorter_months():
    schedule = Schedule(Cadence.MONTHLY, ("06:00",), "Asia/Tokyo", day=31)
    assert local_days(schedule, "2027-12-31T12:00", 4) == ["2028-01-31", "2028-02-29", "2028-03-31", "2028-04-30"]
    assert local_days(schedule, "2027-01-31T12:00", 1) == ["2027-02-28"]
    assert local_days(schedule, "2100-02-01T00:00", 1) == ["2100-02-28"]
    assert latest_before(schedule, utc("2028-03-30T21:00")) == utc("2028-02-28T21:00")
    thirtieth = Schedule(Cadence.MONTHLY, ("06:00",), "UTC", day=30)
    assert local_days(thirtieth, "2027-01-30T06:00", 3) == ["2027-02-28", "2027-03-30", "2027-04-30"]


def test_weekdays_are_those_of_the_zone():
    schedule = Schedule(Cadence.WEEKDAYS, ("08:00",), "Pacific/Auckland")
    # Monday there begins on Sunday in UTC.
    assert next_after(schedule, utc("2026-03-06T12:00")) == utc("2026-03-08T19:00")
    assert local_days(schedule, "2026-03-04T12:00", 3) == ["2026-03-05", "2026-03-06", "2026-03-09"]


def test_every_week():
    schedule = Schedule(Cadence.WEEKLY, ("17:00", "08:00"), "UTC", weekday=6)
    runs = [run.at for run in occurrences(schedule, utc("2026-03-01T08:00"), 3)]
    assert runs == [utc("2026-03-01T17:00"), utc("2026-03-08T08:00"), utc("2026-03-08T17:00")]


def test_nothing_runs_before_its_first_day():
    schedule = daily("Pacific/Kiritimati", "00:30", first_on=dt.date(2026, 3, 1))
    first = utc("2026-02-28T10:30")
    assert next_after(schedule, utc("2020-01-01T00:00")) == first
    assert next_after(schedule, first) == first + DAY
    assert latest_before(schedule, first) is None
    assert latest_before(schedule, first + dt.timedelta(seconds=1)) == first
    monthly = Schedule(Cadence.MONTHLY, ("09:00",), "UTC", day=1, first_on=dt.date(2026, 3, 2))
    assert next_after(monthly, utc("2020-01-01T00:00")) == utc("2026-04-01T09:00")


# What was missed.


def test_what_was_missed():
    schedule = daily("Europe/Lisbon", "06:30", "18:30")
    since, until = utc("2026-01-01T06:30"), utc("2026-01-03T06:30")
    count, latest = missed(schedule, since, until)
    assert (count, latest) == (4, [since + n * DAY / 2 for n in range(1, 5)])
    assert missed(schedule, until, until) == (0, [])
    assert missed(schedule, until, since) == (0, [])


def test_of_many_missed_the_latest_are_listed():
    hours = tuple(f"{hour:02}:00" for hour in range(24))
    until = utc("2027-01-01T00:00")
    count, latest = missed(daily("UTC", *hours), utc("2026-01-01T00:00"), until)
    assert count == 365 * 24
    assert latest == [until - n * dt.timedelta(hours=1) for n in reversed(range(MISSED_LISTED))]


# Made-up ones.

cadences = st.one_of(
    st.fixed_dictionaries({"cadence": st.sampled_from([Cadence.DAILY, Cadence.WEEKDAYS])}),
    st.fixed_dictionaries({"cadence": st.just(Cadence.WEEKLY), "weekday": st.integers(0, 6)}),
    st.fixed_dictionaries({"cadence": st.just(Cadence.MONTHLY), "day": st.integers(1, 31)}),
)
wall_times = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59))
schedules = st.builds(
    lambda cadence, times, zone, first_on: Schedule(times=tuple(times), timezone=zone, first_on=first_on, **cadence),
    cadences,
    st.lists(wall_times, min_size=1, max_size=24),
    st.sampled_from(sorted(zone_names())),
    st.none() | st.dates(dt.date(1970, 1, 1), dt.date(2037, 12, 31)),
)
moments = st.integers(0, 67 * 366 * 86_400).map(lambda second: dt.datetime.fromtimestamp(second, dt.UTC))


@settings(max_examples=400, deadline=None)
@given(schedules, moments, moments)
def test_the_next_run_is_later_and_never_goes_back(schedule: Schedule, one: dt.datetime, two: dt.datetime):
    one, two = sorted([one, two])
    assert one < next_after(schedule, one) <= next_after(schedule, two) > two


@settings(max_examples=400, deadline=None)
@given(schedules, moments)
def test_all_ways_to_ask_agree(schedule: Schedule, moment: dt.datetime):
    runs, at = [], moment
    for _n in range(30):
        at = next_after(schedule, at)
        runs.append(at)
    assert [run.at for run in occurrences(schedule, moment, 30)] == runs
    assert missed(schedule, moment, runs[-1]) == (30, runs)
    assert missed(schedule, moment, runs[-1] - dt.timedelta(microseconds=1)) == (29, runs[:-1])
    for earlier, later in pairwise(runs):
        assert latest_before(schedule, later) == earlier
    latest = latest_before(schedule, runs[0])
    if latest is None:
        assert schedule.first_on is not None
    else:
        assert latest <= moment
        assert next_after(schedule, latest) == runs[0]


@settings(max_examples=400, deadline=None)
@given(schedules, moments)
def test_it_runs_at_the_times_asked_for(schedule: Schedule, moment: dt.datetime):
    for run in occurrences(schedule, moment, 10):
        assert run.at.tzinfo == dt.UTC
        if "forward" not in run.note:
            assert f"{run.local:%H:%M}" in schedule.times
            assert run.local.second == run.local.microsecond == run.local.fold == 0
            if schedule.cadence == Cadence.WEEKDAYS:
                assert run.local.weekday() < 5
            if schedule.weekday is not None:
                assert run.local.weekday() == schedule.weekday
            if schedule.day is not None:
                assert run.local.day == schedule.day or (run.local + DAY).day == 1


@settings(max_examples=200, deadline=None)
@given(schedules)
def test_a_schedule_comes_back_as_it_was(schedule: Schedule):
    assert Schedule.from_json(schedule.to_json()) == schedule
    assert schedule.timezone in in_words(schedule)


# As people and programs say it.

GOOD = {"cadence": "daily", "at": "06:30", "timezone": "Europe/Lisbon"}


def test_a_schedule_is_read():
    assert Schedule.from_json(GOOD) == Schedule(Cadence.DAILY, ("06:30",), "Europe/Lisbon")
    assert Schedule.from_json(GOOD).to_json() == GOOD
    whole = {"cadence": "monthly", "at": ["17:00", "08:00", "17:00"], "timezone": "UTC", "day": 31, "weekday": None}
    schedule = Schedule.from_json(whole | {"first_on": "2026-03-01"})
    assert schedule == Schedule(Cadence.MONTHLY, ("08:00", "17:00"), "UTC", None, 31, dt.date(2026, 3, 1))
    assert schedule.to_json() == {
        "cadence": "monthly",
        "at": ["08:00", "17:00"],
        "timezone": "UTC",
        "day": 31,
        "first_on": "2026-03-01",
    }


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"cadence": None}, "cadence"),
        ({"cadence": "hourly"}, "cadence"),
        ({"cadence": ["daily"]}, "cadence"),
        ({"at": None}, "at"),
        ({"at": ""}, "at"),
        ({"at": "6:30"}, "at"),
        ({"at": "24:00"}, "at"),
        ({"at": "12:60"}, "at"),
        ({"at": "06:30:00"}, "at"),
        ({"at": "06:30\n"}, "at"),
        ({"at": "٠٦:٣٠"}, "at"),
        ({"at": 630}, "at"),
        ({"at": {"06:30": 1}}, "at"),
        ({"at": []}, "at"),
        ({"at": ["06:30", None]}, "at"),
        ({"at": [["06:30"]]}, "at"),
        ({"at": [f"00:{minute:02}" for minute in range(25)]}, "at"),
        ({"timezone": None}, "timezone"),
        ({"timezone": ""}, "timezone"),
        ({"timezone": ["UTC"]}, "timezone"),
        ({"timezone": "Europe/Atlantis"}, "timezone"),
        ({"timezone": "europe/lisbon"}, "timezone"),
        ({"timezone": "Europe"}, "timezone"),
        ({"timezone": "../../etc/passwd"}, "timezone"),
        ({"timezone": "right/Europe/Lisbon"}, "timezone"),
        ({"timezone": "localtime"}, "timezone"),
        ({"timezone": "Factory"}, "timezone"),
        ({"timezone": "UTC\x00"}, "timezone"),
        ({"weekday": 1}, "weekday"),
        ({"day": 1}, "day"),
        ({"cadence": "weekly"}, "weekday"),
        ({"cadence": "weekly", "weekday": 7}, "weekday"),
        ({"cadence": "weekly", "weekday": -1}, "weekday"),
        ({"cadence": "weekly", "weekday": True}, "weekday"),
        ({"cadence": "weekly", "weekday": "1"}, "weekday"),
        ({"cadence": "weekly", "weekday": 1, "day": 1}, "day"),
        ({"cadence": "monthly"}, "day"),
        ({"cadence": "monthly", "day": 0}, "day"),
        ({"cadence": "monthly", "day": 32}, "day"),
        ({"cadence": "monthly", "day": 1.0}, "day"),
        ({"first_on": ""}, "first_on"),
        ({"first_on": "2026-02-29"}, "first_on"),
        ({"first_on": "20260301"}, "first_on"),
        ({"first_on": "1969-12-31"}, "first_on"),
        ({"first_on": "2200-01-01"}, "first_on"),
        ({"first_on": 20260301}, "first_on"),
        ({"every": "day"}, "every"),
    ],
)
def test_what_is_no_schedule_is_refused(change: dict[str, object], field: str):
    with pytest.raises(ScheduleError) as refused:
        Schedule.from_json(GOOD | change)
    assert refused.value.field == field
    assert refused.value.sentence.endswith(".")


@pytest.mark.parametrize("value", [None, [], "daily", 5])
def test_only_an_object_is_a_schedule(value: object):
    with pytest.raises(ScheduleError):
        Schedule.from_json(value)


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (daily("Europe/Lisbon", "06:30"), "Every day at 06:30, Europe/Lisbon"),
        (Schedule(Cadence.WEEKDAYS, ("17:00", "08:00"), "UTC"), "Weekdays at 08:00 and 17:00, UTC"),
        (daily("UTC", "08:00", "12:00", "17:00"), "Every day at 08:00, 12:00 and 17:00, UTC"),
        (Schedule(Cadence.WEEKLY, ("06:30",), "UTC", weekday=0), "Every Monday at 06:30, UTC"),
        (Schedule(Cadence.WEEKLY, ("06:30",), "UTC", weekday=6), "Every Sunday at 06:30, UTC"),
        (Schedule(Cadence.MONTHLY, ("06:30",), "UTC", day=28), "On day 28 of every month at 06:30, UTC"),
        (
            Schedule(Cadence.MONTHLY, ("06:30",), "UTC", day=31),
            "On day 31 of every month (or its last day) at 06:30, UTC",
        ),
    ],
    ids=["daily", "weekdays", "three-times", "monday", "sunday", "day-28", "day-31"],
)
def test_a_schedule_in_words(schedule: Schedule, words: str):
    assert in_words(schedule) == words


def test_a_moment_without_a_zone_is_refused():
    naive = dt.datetime(2026, 3, 1)  # noqa: DTZ001  that is the point
    for ask in (next_after, latest_before):
        with pytest.raises(ValueError):
            ask(daily("UTC", "06:30"), naive)


def test_zones_come_along_where_the_system_has_none():
    zoneinfo.reset_tzpath(to=())
    try:
        lisbon = ZoneInfo.no_cache("Europe/Lisbon")
        assert dt.datetime(2026, 7, 1, 12, tzinfo=lisbon).utcoffset() == dt.timedelta(hours=1)
        assert {"Europe/Lisbon", "Asia/Gaza", "UTC"} <= zoneinfo.available_timezones()
    finally:
        zoneinfo.reset_tzpath()
