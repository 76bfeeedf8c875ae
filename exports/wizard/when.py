"""The fifth step: when it runs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.utils import formats, timezone
from django.utils.dates import WEEKDAYS
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.actors import Actor
from accounts.forms import zone_names
from exports import schedules
from exports.models import Export
from exports.schedules import Cadence, Occurrence, Schedule, ScheduleError, occurrences
from exports.sources.base import TOLD
from exports.states import RECURRING, WINDOWED
from exports.wizard.forms import Card, StepForm

NEXT_RUNS = 5


def zones_for(by: Actor, current: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """Zones for a select: the person's own first."""
    own = by.user.time_zone if by.user else "UTC"
    first = dict.fromkeys(zone for zone in (own, current) if zone in schedules.zone_names())
    others = [zone for zone in zone_names() if zone in schedules.zone_names()]

    def pairs(zones: Iterable[str]) -> list[tuple[str, str]]:
        return [(zone, zone.replace("_", " ")) for zone in zones]

    return [(_("Yours"), pairs(first)), (_("All"), pairs(zone for zone in others if zone not in first))]


@dataclass(frozen=True, slots=True)
class RunShown:
    """A run to come, as the page says it."""

    local_words: str
    utc_words: str
    note: str

    @classmethod
    def of(cls, one: Occurrence) -> RunShown:
        utc = one.at.astimezone(dt.UTC)
        return cls(formats.date_format(one.local, "D j F Y, H:i"), formats.date_format(utc, "D H:i"), one.note)


class WhenForm(StepForm):
    """Of an export that recurs its schedule, of a one-shot one its moment. `at` is sent once a time of day."""

    keys = ("schedule", "run_at", "start_with", "deletions")
    at = {
        "schedule.cadence": "cadence",
        "schedule.at": "times",
        "schedule.timezone": "zone",
        "schedule.weekday": "weekday",
        "schedule.day": "day_of_month",
        "schedule.first_on": "first_on",
        "schedule": "cadence",
        "run_at": "day",
    }
    template = "exports/wizard/_when.html"
    times_max = schedules.TIMES_MAX

    cadence = forms.ChoiceField(label=gettext_lazy("How often?"), choices=Cadence.choices)
    times = forms.Field(required=False, label=gettext_lazy("At"))
    weekday = forms.ChoiceField(
        label=gettext_lazy("On"),
        required=False,
        choices=[("", gettext_lazy("Choose a day")), *((str(key), day) for key, day in WEEKDAYS.items())],
    )
    day_of_month = forms.IntegerField(
        label=gettext_lazy("On day"),
        required=False,
        min_value=1,
        max_value=31,
        help_text=gettext_lazy("In a shorter month it is the last day."),
    )
    first_on = forms.DateField(
        label=gettext_lazy("Not before"),
        required=False,
        widget=forms.DateInput(format="%Y-%m-%d", attrs={"type": "date"}),
        input_formats=["%Y-%m-%d"],
        help_text=gettext_lazy("The day of the first run, if it is not the next one."),
    )
    start_with = forms.ChoiceField(
        label=gettext_lazy("What does the first run send?"), choices=[("everything", ""), ("changes", "")]
    )
    deletions = forms.BooleanField(label=gettext_lazy("Tell what was deleted, too"), required=False)
    moment = forms.ChoiceField(label=gettext_lazy("When?"), choices=[("now", ""), ("at", "")])
    day = forms.DateField(
        label=gettext_lazy("Day"),
        required=False,
        widget=forms.DateInput(format="%Y-%m-%d", attrs={"type": "date"}),
        input_formats=["%Y-%m-%d"],
    )
    time = forms.TimeField(
        label=gettext_lazy("Time"),
        required=False,
        widget=forms.TimeInput(format="%H:%M", attrs={"type": "time"}),
        input_formats=["%H:%M"],
    )
    zone = forms.ChoiceField(label=gettext_lazy("Time zone"), required=False)

    def __init__(self, data: Any = None, *, export: Export, by: Actor) -> None:
        super().__init__(data, export=export, by=by)
        self.recurs = export.type in RECURRING
        self.is_windowed = export.type in WINDOWED
        gone = ("moment", "day", "time") if self.recurs else ("cadence", "times", "weekday", "day_of_month", "first_on")
        for name in gone if self.is_windowed else (*gone, "start_with", "deletions"):
            del self.fields[name]
        self.fields["zone"].choices = zones_for(by, self.chosen("zone"))  # type: ignore[attr-defined]
        # Each time once, and room for one at least.
        self.at_times = list(data.getlist("at")) if data is not None and "at" in data else self._times_of(export)

    def _times_of(self, export: Export) -> list[str]:
        at = (export.schedule or {}).get("at") or ["06:30"]
        return [at] if isinstance(at, str) else list(at)

    def initial_of(self, export: Export) -> dict[str, Any]:
        schedule = export.schedule or {}
        own = self.by.user.time_zone if self.by.user else "UTC"
        zone = schedule.get("timezone") or own
        local = export.run_at.astimezone(ZoneInfo(own)) if export.run_at else None
        return {
            "cadence": schedule.get("cadence") or Cadence.DAILY.value,
            "weekday": str(schedule.get("weekday", "")),
            "day_of_month": schedule.get("day"),
            "first_on": schedule.get("first_on"),
            "start_with": export.start_with,
            "deletions": export.deletions,
            "moment": "at" if local else "now",
            "day": local.date() if local else None,
            "time": local.time().replace(second=0, microsecond=0) if local else None,
            "zone": zone if export.type in RECURRING else own,
        }

    @property
    def is_weekly(self) -> bool:
        return self.recurs and self.chosen("cadence") == Cadence.WEEKLY

    @property
    def is_monthly(self) -> bool:
        return self.recurs and self.chosen("cadence") == Cadence.MONTHLY

    @property
    def is_later(self) -> bool:
        return not self.recurs and self.chosen("moment") == "at"

    def clean(self) -> None:
        data = self.cleaned_data
        if self.recurs:
            if data.get("cadence") == Cadence.WEEKLY and not data.get("weekday"):
                self.add_error("weekday", _("Choose the day of the week."))
            monthly = data.get("cadence") == Cadence.MONTHLY
            if monthly and data.get("day_of_month") is None and "day_of_month" not in self.errors:
                self.add_error("day_of_month", _("Choose the day of the month."))
            if not any(self.at_times):
                self.add_error("times", _("Say at what time of day the export runs."))
        elif data.get("moment") == "at":
            for name, message in (("day", _("Choose the day.")), ("time", _("Choose the time."))):
                if not data.get(name) and name not in self.errors:
                    self.add_error(name, message)
            if not self.errors and (self.run_at or timezone.now()) <= timezone.now():
                self.add_error("day", _("This moment is past. Choose a later one, or run the export now."))

    @property
    def run_at(self) -> dt.datetime | None:
        """The moment of a one-shot export; a time that clocks leave out is later by as much."""
        data = self.cleaned_data
        if self.recurs or data.get("moment") != "at" or not data.get("day") or not data.get("time"):
            return None
        zone = ZoneInfo(data.get("zone") or "UTC")
        try:
            wall = dt.datetime.combine(data["day"], data["time"], zone)
            return wall.astimezone(dt.UTC).astimezone(zone)
        except OverflowError:
            return None

    @property
    def schedule(self) -> dict[str, Any]:
        data = self.cleaned_data
        cadence = data.get("cadence") or ""
        value: dict[str, Any] = {
            "cadence": cadence,
            "at": [at for at in self.at_times if at],
            "timezone": data.get("zone") or "UTC",
        }
        if cadence == Cadence.WEEKLY and data.get("weekday"):
            value["weekday"] = int(data["weekday"])
        if cadence == Cadence.MONTHLY:
            value["day"] = data.get("day_of_month")
        if data.get("first_on"):
            value["first_on"] = data["first_on"].isoformat()
        return value

    @property
    def changes(self) -> dict[str, Any]:
        if not self.recurs:
            run_at = self.run_at
            return {"run_at": run_at.isoformat() if run_at else None, "schedule": None}
        changes: dict[str, Any] = {"schedule": self.schedule, "run_at": None}
        if self.is_windowed:
            changes["start_with"] = self.cleaned_data["start_with"]
            changes["deletions"] = self.cleaned_data["deletions"]
        return changes

    def act(self, action: str) -> None:
        word, _colon, rest = action.partition(":")
        if word == "time" and len(self.at_times) < self.times_max:
            self.at_times.append("")
        if word == "less" and rest.isdecimal() and len(rest) < 3 and int(rest) < len(self.at_times):
            del self.at_times[int(rest)]

    @property
    def cadence_cards(self) -> list[Card]:
        about = {
            Cadence.DAILY: _("Also at weekends"),
            Cadence.WEEKDAYS: _("Monday to Friday"),
            Cadence.WEEKLY: _("On one day"),
            Cadence.MONTHLY: _("On one date"),
        }
        return [Card(one.value, one.label, about[one]) for one in Cadence]

    @property
    def moment_cards(self) -> list[Card]:
        return [
            Card("now", _("As soon as it is started"), _("At the end of these steps")),
            Card("at", _("At a set moment"), _("You choose day and time")),
        ]

    @property
    def start_cards(self) -> list[Card]:
        return [
            Card("everything", _("Everything there is"), _("Then only what is new")),
            Card("changes", _("What changes from now on"), _("From the moment it is scheduled")),
        ]

    @property
    def next_runs(self) -> list[RunShown]:
        """The next runs as the form stands; none while something is missing."""
        return [RunShown.of(one) for one in self._next_runs()]

    def _next_runs(self) -> list[Occurrence]:
        self.is_valid()
        if not self.is_bound:
            value = self.export.schedule or {"cadence": "daily", "at": self.at_times, "timezone": self.chosen("zone")}
            return _next(value) if self.recurs else []
        if self.recurs:
            return _next(self.schedule)
        moment = self.run_at
        if moment is None:
            return []
        schedule = {"cadence": "daily", "at": f"{self.cleaned_data['time']:%H:%M}", "timezone": str(moment.tzinfo)}
        schedule["first_on"] = self.cleaned_data["day"].isoformat()
        return [one for one in _next(schedule, dt.datetime(1970, 1, 2, tzinfo=dt.UTC))[:1] if one.at > timezone.now()]

    @property
    def told(self) -> tuple[str, ...]:
        """The columns that tell deletions."""
        return TOLD

    @property
    def zone_now(self) -> str:
        return self.chosen("zone") or "UTC"


def _next(value: Any, after: dt.datetime | None = None) -> list[Occurrence]:
    try:
        return occurrences(Schedule.from_json(value), after or timezone.now(), NEXT_RUNS)
    except (ScheduleError, OverflowError, ValueError):
        return []
