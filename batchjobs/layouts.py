"""How a file is read, in words: “CSV, UTF-8, separated by semicolons”."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from batchjobs.ingestion.checks import date_parser

DELIMITERS = {
    ",": gettext_lazy("separated by commas"),
    ";": gettext_lazy("separated by semicolons"),
    "\t": gettext_lazy("separated by tabs"),
    "|": gettext_lazy("separated by |"),
    " ": gettext_lazy("separated by blanks"),
}
ENCODINGS = {
    "utf-8": "UTF-8",
    "cp1252": "Windows-1252",
    "latin-1": "ISO-8859-1",
    "iso8859-1": "ISO-8859-1",
    "utf-16-le": "UTF-16",
    "utf-16-be": "UTF-16",
}

LABELS = {
    "json": gettext_lazy("JSON"),
    "ndjson": gettext_lazy("JSON lines"),
    "emails": gettext_lazy("List of addresses"),
}


def layout_words(state: Mapping[str, Any]) -> str:
    """Of what is stored with the job (ingestion.formats.layout_to_state); empty before the file was looked at."""
    encoding = str(state.get("encoding") or "")
    if not encoding:
        return ""
    delimiter = str(state.get("delimiter") or "")
    label = LABELS.get(str(state.get("format"))) or {"|": "PSV", "\t": "TSV"}.get(delimiter, "CSV")
    parts = [str(label), ENCODINGS.get(encoding.lower(), encoding.upper())]
    if delimiter in DELIMITERS:
        parts.append(str(DELIMITERS[delimiter]))
    if state.get("array"):
        parts.append(_("the list %(name)s") % {"name": state["array"]})
    return ", ".join(parts)


def date_readings(value: str) -> list[tuple[str, str]]:
    """Both readings of a date such as 03/04/2024, as `day_first` says them in forms; empty for any other value."""
    try:
        times = [date_parser(ZoneInfo("UTC"), day_first=day_first)(value.strip()) for day_first in (True, False)]
    except (ValueError, OverflowError):
        return []
    days = [date_format(dt.datetime.fromisoformat(time), "j F Y") for time in times]
    return list(zip(("true", "false"), days, strict=True))
