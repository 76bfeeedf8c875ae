"""When an export runs: wall times of a zone, computed safely across every change of its clocks.

A run belongs to a day of the zone's calendar and a wall time of it. Where clocks go forward over that time it runs
later by as much (01:30 becomes 02:30); where they go back over it, it runs once, the first time. Two that fall on one
instant are one run, so occurrences are strictly increasing.

Own code on zoneinfo rather than a library for cron: its reading of a time with fold=0 is this very rule (PEP 495), and
a cron expression knows no zone and cannot say "day 30, or the last one".
"""

from __future__ import annotations

import calendar
import datetime as dt
import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from django.db.models import TextChoices
from django.utils.dates import WEEKDAYS
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

TIMES_MAX = 24
MISSED_LISTED = 100
FIRST_ON_RANGE = (dt.date(1970, 1, 1), dt.date(2199, 12, 31))
FIELDS = ("cadence", "at", "timezone", "weekday", "day", "first_on")
EVERYWHERE = 28  # the last day that every month has

_DAY = dt.timedelta(days=1)
_TIME = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NO_ZONES = {"localtime", "Factory"}  # whatever the machine has, and none at all
# How far back an occurrence must be, if there is one: a week or a month, and two days since offsets are less than one.
_BACK, _BACK_MONTHLY = dt.timedelta(days=10), dt.timedelta(days=40)


class Cadence(TextChoices):
    DAILY = "daily", gettext_lazy("Every day")
    WEEKDAYS = "weekdays", gettext_lazy("Weekdays")
    WEEKLY = "weekly", gettext_lazy("Every week")
    MONTHLY = "monthly", gettext_lazy("Every month")


class ScheduleError(ValueError):
    """What was asked for is no schedule. `field` is a name of FIELDS or the unknown one, `sentence` is for people."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field
        self.sentence = sentence


@cache
def zone_names() -> frozenset[str]:
    """The IANA names that schedules take: those of the system and of the tzdata package."""
    return frozenset(available_timezones() - _NO_ZONES)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Always a valid one: making another raises ScheduleError. `times` come out sorted, each once.

    `weekday` is 0 (Monday) to 6 and only of a weekly schedule, `day` 1 to 31 and only of a monthly one; in a shorter
    month it is the last day. No run belongs to a day before `first_on`.
    """

    cadence: Cadence
    times: tuple[str, ...]  # "HH:MM"
    timezone: str
    weekday: int | None = None
    day: int | None = None
    first_on: dt.date | None = None

    def __post_init__(self) -> None:
        if self.cadence not in Cadence.values:
            raise ScheduleError("cadence", _("It is one of %(list)s.") % {"list": ", ".join(Cadence.values)})
        object.__setattr__(self, "cadence", Cadence(self.cadence))
        for at in self.times:
            if not isinstance(at, str) or not _TIME.fullmatch(at):
                raise ScheduleError("at", _("A time is written HH:MM, from 00:00 to 23:59."))
        object.__setattr__(self, "times", tuple(sorted(set(self.times))))
        if not 1 <= len(self.times) <= TIMES_MAX:
            raise ScheduleError("at", _("It is one time of day, or up to %(max)d.") % {"max": TIMES_MAX})
        if not isinstance(self.timezone, str) or self.timezone not in zone_names():
            raise ScheduleError("timezone", _("It is an IANA name, such as Europe/Lisbon."))
        self._check_only_of(Cadence.WEEKLY, "weekday", _("It is a number from 0 (Monday) to 6 (Sunday)."), 0, 6)
        self._check_only_of(Cadence.MONTHLY, "day", _("It is a number from 1 to 31."), 1, 31)
        first, last = FIRST_ON_RANGE
        if self.first_on is not None and not first <= self.first_on <= last:
            raise ScheduleError(
                "first_on", _("It is a day from %(first)s to %(last)s.") % {"first": first, "last": last}
            )

    def _check_only_of(self, cadence: Cadence, field: str, wanted: str, low: int, high: int) -> None:
        value = getattr(self, field)
        if self.cadence == cadence:
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise ScheduleError(field, wanted)
        elif value is not None:
            raise ScheduleError(field, _("It belongs to the cadence %(cadence)s only.") % {"cadence": cadence.value})

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    @classmethod
    def from_json(cls, value: Any) -> Schedule:
        """Reads the API's form: {"cadence", "at": "HH:MM" or a list of them, "timezone", "weekday", "day", "first_on"}.

        What a cadence does not need may be left out or null. Raises ScheduleError.
        """
        if not isinstance(value, Mapping):
            raise ScheduleError("cadence", _("A schedule is an object with cadence, at and timezone."))
        for key in value:
            if key not in FIELDS:
                raise ScheduleError(str(key), _("A schedule has only %(list)s.") % {"list": ", ".join(FIELDS)})
        at = value.get("at")
        times = (at,) if isinstance(at, str) else at
        if not isinstance(times, list | tuple):
            raise ScheduleError("at", _("A time is written HH:MM, from 00:00 to 23:59."))
        return cls(
            cadence=_cadence_of(value.get("cadence")),
            times=tuple(times),
            timezone=value.get("timezone"),  # type: ignore[arg-type]  # checked there
            weekday=value.get("weekday"),
            day=value.get("day"),
            first_on=_date_of(value.get("first_on")),
        )

    def to_json(self) -> dict[str, Any]:
        """The API's form, `at` a text if it is one time; what does not apply is left out."""
        value: dict[str, Any] = {
            "cadence": self.cadence.value,
            "at": self.times[0] if len(self.times) == 1 else list(self.times),
            "timezone": self.timezone,
        }
        for field in ("weekday", "day"):
            if getattr(self, field) is not None:
                value[field] = getattr(self, field)
        if self.first_on is not None:
            value["first_on"] = self.first_on.isoformat()
        return value


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A run to come. `at` is in UTC, `local` the same instant in the schedule's zone (to show: Python holds a time that
    comes twice for unequal to any other zone's), `note` a sentence or empty."""

    at: dt.datetime
    local: dt.datetime
    note: str


def next_after(schedule: Schedule, moment: dt.datetime) -> dt.datetime:
    """The first occurrence later than `moment`, in UTC."""
    return next(_after(schedule, moment))[0]


def latest_before(schedule: Schedule, moment: dt.datetime) -> dt.datetime | None:
    """The last occurrence earlier than `moment`, in UTC; None if there is none since `first_on`."""
    moment = _utc(moment)
    latest = None
    back = _BACK_MONTHLY if schedule.cadence == Cadence.MONTHLY else _BACK
    for at, _wall in _walk(schedule, moment.date() - back):
        if at >= moment:
            break
        latest = at
    return latest


def occurrences(schedule: Schedule, after: dt.datetime, count: int) -> list[Occurrence]:
    """The first `count` occurrences later than `after`."""
    zone = schedule.zone
    return [
        Occurrence(at, at.astimezone(zone), _note(wall, at.astimezone(zone)))
        for at, wall in islice(_after(schedule, after), count)
    ]


def missed(schedule: Schedule, since: dt.datetime, until: dt.datetime) -> tuple[int, list[dt.datetime]]:
    """How many occurrences are later than `since` and not later than `until`, and the latest of them (at most
    MISSED_LISTED) in UTC, in order. `since` is the last one that was seen to."""
    until = _utc(until)
    count, latest = 0, deque[dt.datetime](maxlen=MISSED_LISTED)
    for at, _wall in _after(schedule, since):
        if at > until:
            break
        count += 1
        latest.append(at)
    return count, list(latest)


def in_words(schedule: Schedule) -> str:
    """Such as: Weekdays at 08:00 and 17:00, Europe/Lisbon."""
    *others, last = schedule.times
    at = _("%(times)s and %(last)s") % {"times": ", ".join(others), "last": last} if others else last
    words = {"at": at, "zone": schedule.timezone, "day": schedule.day, "weekday": WEEKDAYS.get(schedule.weekday or 0)}
    match schedule.cadence:
        case Cadence.DAILY:
            sentence = _("Every day at %(at)s, %(zone)s")
        case Cadence.WEEKDAYS:
            sentence = _("Weekdays at %(at)s, %(zone)s")
        case Cadence.WEEKLY:
            sentence = _("Every %(weekday)s at %(at)s, %(zone)s")
        case Cadence.MONTHLY if (schedule.day or 0) > EVERYWHERE:
            sentence = _("On day %(day)d of every month (or its last day) at %(at)s, %(zone)s")
        case Cadence.MONTHLY:
            sentence = _("On day %(day)d of every month at %(at)s, %(zone)s")
    return sentence % words


def _cadence_of(value: Any) -> Cadence:
    if not isinstance(value, str) or value not in Cadence.values:
        raise ScheduleError("cadence", _("It is one of %(list)s.") % {"list": ", ".join(Cadence.values)})
    return Cadence(value)


def _date_of(value: Any) -> dt.date | None:
    if value is None:
        return None
    try:
        if isinstance(value, str) and _DATE.fullmatch(value):
            return dt.date.fromisoformat(value)
    except ValueError:
        pass
    raise ScheduleError("first_on", _("It is a day, written YYYY-MM-DD."))


def _utc(moment: dt.datetime) -> dt.datetime:
    if moment.tzinfo is None:
        raise ValueError("A moment needs a time zone.")
    return moment.astimezone(dt.UTC)


def _days(schedule: Schedule, start: dt.date) -> Iterator[dt.date]:
    """The calendar days of the schedule from `start` on, without end."""
    day = max(start, schedule.first_on or start)
    if schedule.cadence == Cadence.MONTHLY:
        year, month = day.year, day.month
        while True:
            wanted = dt.date(year, month, min(schedule.day or 1, calendar.monthrange(year, month)[1]))
            if wanted >= day:
                yield wanted
            year, month = (year, month + 1) if month < 12 else (year + 1, 1)
    weekdays = {Cadence.DAILY: range(7), Cadence.WEEKDAYS: range(5)}.get(schedule.cadence, (schedule.weekday,))
    while True:
        if day.weekday() in weekdays:
            yield day
        day += _DAY


def _walk(schedule: Schedule, start: dt.date) -> Iterator[tuple[dt.datetime, dt.datetime]]:
    """The instants (UTC) of the runs of `start` and the days after it, in order, with the wall times (naive) wanted.

    Clocks that go forward can put a run behind those of the next day, by a whole day where a zone changed sides of the
    date line. So an instant is given out once no later day can come before it: offsets are less than a day.
    """
    zone, times = schedule.zone, [dt.time.fromisoformat(at) for at in schedule.times]
    waiting: list[tuple[dt.datetime, dt.datetime]] = []
    for day in _days(schedule, start):
        certain = dt.datetime.combine(day, dt.time(), dt.UTC) - _DAY
        while waiting and waiting[0][0] < certain:
            yield waiting.pop(0)
        for time in times:
            wall = dt.datetime.combine(day, time)
            waiting.append((wall.replace(tzinfo=zone).astimezone(dt.UTC), wall))
        waiting = _distinct(waiting)


def _distinct(instants: list[tuple[dt.datetime, dt.datetime]]) -> list[tuple[dt.datetime, dt.datetime]]:
    """Sorted, each instant once; of two wall times the earlier one stays, since that is the one that was put off."""
    first: dict[dt.datetime, dt.datetime] = {}
    for at, wall in sorted(instants):
        first.setdefault(at, wall)
    return list(first.items())


def _after(schedule: Schedule, moment: dt.datetime) -> Iterator[tuple[dt.datetime, dt.datetime]]:
    moment = _utc(moment)
    # No day before this one has an instant later than the moment.
    return (pair for pair in _walk(schedule, moment.date() - _DAY) if pair[0] > moment)


def _note(wall: dt.datetime, local: dt.datetime) -> str:
    """What clocks do at a wall time. Read both ways (PEP 495), a time in a gap gives the later instant first, and a
    time that comes twice the earlier one."""
    once, again = (wall.replace(tzinfo=local.tzinfo, fold=fold).astimezone(dt.UTC) for fold in (0, 1))
    if once > again:
        shape = "%H:%M" if wall.date() == local.date() else "%Y-%m-%d %H:%M"
        return _("Clocks go forward: %(wanted)s does not exist, so it runs at %(actual)s") % {
            "wanted": wall.strftime(shape),
            "actual": local.strftime(shape),
        }
    if once < again:
        return _("Clocks go back: %(wanted)s comes twice, it runs the first time") % {"wanted": wall.strftime("%H:%M")}
    return ""
