"""What the pages say of files and rows: how a file is read, and what became of its rows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from batchjobs.ingestion.checks import date_parser
from batchjobs.models import RecordType

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


def _plural(one: str, many: str) -> tuple[str, str]:
    """Marks both for translation."""
    return one, many


# What valid rows become, by record type: one, many.
WRITTEN = {
    RecordType.EVENT: _plural("%(n)s event", "%(n)s events"),
    RecordType.PURCHASE: _plural("%(n)s purchase", "%(n)s purchases"),
    RecordType.PROFILE: _plural("%(n)s row of people", "%(n)s rows of people"),
    RecordType.LIST: _plural("%(n)s row of members", "%(n)s rows of members"),
    RecordType.OPTOUT: _plural("%(n)s opt-out", "%(n)s opt-outs"),
    RecordType.APPROVE: _plural("%(n)s decision", "%(n)s decisions"),
    RecordType.RECORD: _plural("%(n)s row", "%(n)s rows"),
}
FIGURES = {
    "new_members": _plural("%(n)s person is new on the list.", "%(n)s people are new on the list."),
    "new_optouts": _plural("%(n)s opt-out is new.", "%(n)s opt-outs are new."),
    "new_records": _plural("%(n)s row of the table is new.", "%(n)s rows of the table are new."),
    "changed_records": _plural("%(n)s row of the table was changed.", "%(n)s rows of the table were changed."),
}
WHY_SKIPPED = {
    RecordType.EVENT: gettext_lazy("Rows whose partner_event_id is known are not counted twice."),
    RecordType.PURCHASE: gettext_lazy("Purchases whose number is known are not counted twice."),
    RecordType.OPTOUT: gettext_lazy("These people were opted out already."),
    RecordType.APPROVE: gettext_lazy("These decisions were made already."),
}
