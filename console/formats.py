"""How numbers, sizes, spans of time and moments are written on screen."""

from __future__ import annotations

import datetime as dt

from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

RECENT_DAYS = 180  # within them a day is clear without its year


def number(value: float | None) -> str:
    """43902 -> “43,902”; None -> “–”."""
    if value is None:
        return "–"
    return formats.number_format(round(value), use_l10n=True, force_grouping=True)


def filesize(size: int | None) -> str:
    """Bytes in decimal units, as file managers and sellers of disks count: 2_400_000 -> “2.4 MB”."""
    if size is None:
        return "–"
    if size < 1000:
        return ngettext("%(n)s byte", "%(n)s bytes", size).replace(" ", "\u00a0") % {"n": size}
    amount = float(size)
    units = iter(("KB", "MB", "GB", "TB"))
    unit = ""
    while unit != "TB" and (amount >= 999.5 or not unit):
        amount /= 1000
        unit = next(units)
    digits = 1 if amount < 99.95 and unit != "KB" else 0
    return f"{formats.number_format(round(amount, digits), digits, use_l10n=True, force_grouping=True)}\u00a0{unit}"


def share(part: int, whole: int) -> str:
    """“98.3%”. Never 0% for something and never 100% for less than all."""
    if not whole:
        return "0%"
    percent = 100 * part / whole
    if part and percent < 0.1:
        return _("under 0.1%")
    if part < whole and percent > 99.9:
        return _("over 99.9%")
    digits = 0 if part in (0, whole) else 1
    # Django cuts digits off; a share is rounded.
    return f"{formats.number_format(round(percent, digits), digits, use_l10n=True)}%"


def clock(seconds: float) -> str:
    """A span that can be compared: 109 -> “1:49”, 3723 -> “1:02:03”."""
    whole = max(int(seconds), 0)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def span(seconds: float) -> str:
    """A span in words: “under 1 s”, “9 s”, “1 min 4 s”, “2 h 5 min”."""
    whole = max(int(seconds), 0)
    if whole < 1:
        return _("under 1 s")
    if whole < 60:
        return _("%(s)s s") % {"s": whole}
    minutes, second = divmod(whole, 60)
    if minutes < 60:
        return (_("%(m)s min %(s)s s") if second else _("%(m)s min")) % {"m": minutes, "s": second}
    hours, minute = divmod(minutes, 60)
    return (_("%(h)s h %(m)s min") if minute else _("%(h)s h")) % {"h": hours, "m": minute}


def time_left(seconds: float | None) -> str:
    """“1 min 4 s left”; empty when there is no estimate."""
    if seconds is None:
        return ""
    if seconds < 10:
        return _("a few seconds left")
    if seconds < 60:
        return _("less than a minute left")
    if seconds >= 600:  # seconds are noise in a guess this long
        seconds = seconds // 60 * 60
    return _("%(span)s left") % {"span": span(seconds)}


def moment(value: dt.datetime | None, now: dt.datetime | None = None) -> str:
    """“14:30” today, “Yesterday 17:36”, “18 Aug 2026” before, in the person's zone."""
    return _recent(value, now, "H:i") or formats.date_format(timezone.localtime(value), "j M Y")


def second(value: dt.datetime | None, now: dt.datetime | None = None) -> str:
    """As `moment`, to the second, for what comes in quick succession: “14:30:05”, “18 Aug, 14:30:05”."""
    if short := _recent(value, now, "H:i:s"):
        return short
    local = timezone.localtime(value)
    is_clear = abs(_days_ago(local, now)) < RECENT_DAYS
    return formats.date_format(local, "j M, H:i:s" if is_clear else "j M Y, H:i:s")


def upcoming(value: dt.datetime | None, zone: dt.tzinfo | None = None, now: dt.datetime | None = None) -> str:
    """What is to come: “Today 18:00”, “Tomorrow 06:30”, “Monday 05:00”, “18 Aug 2027, 06:30”, by the zone's clock."""
    if value is None:
        return "–"
    local = timezone.localtime(value, zone)
    days = (local.date() - timezone.localdate(now or timezone.now(), zone)).days
    words = {"time": formats.date_format(local, "H:i"), "day": formats.date_format(local, "l")}
    if days in (0, 1):
        return (_("Tomorrow %(time)s") if days else _("Today %(time)s")) % words
    if 1 < days < 7:
        return _("%(day)s %(time)s") % words
    return formats.date_format(local, "j M Y, H:i")


def _recent(value: dt.datetime | None, now: dt.datetime | None, form: str) -> str:
    """Of today and yesterday; “–” of nothing, and "" of what is longer ago."""
    if value is None:
        return "–"
    local = timezone.localtime(value)
    time = formats.date_format(local, form)
    return {0: time, 1: _("Yesterday %(time)s") % {"time": time}}.get(_days_ago(local, now), "")


def _days_ago(local: dt.datetime, now: dt.datetime | None) -> int:
    return (timezone.localdate(now or timezone.now()) - local.date()).days


def millisecond(value: dt.datetime | None) -> str:
    """As `exact`, with milliseconds: “21 November 2026, 14:30:05.418 WET”."""
    if value is None:
        return "–"
    local = timezone.localtime(value)
    day_and_time = formats.date_format(local, "j F Y, H:i:s")
    return f"{day_and_time}.{local.microsecond // 1000:03} {formats.date_format(local, 'T')}"


def exact(value: dt.datetime | None) -> str:
    """With seconds and zone, for details: “21 November 2026, 14:30:05 WET”."""
    if value is None:
        return "–"
    return formats.date_format(timezone.localtime(value), "j F Y, H:i:s T")


def day(value: dt.datetime | None) -> str:
    return "–" if value is None else formats.date_format(timezone.localtime(value), "j F Y")
