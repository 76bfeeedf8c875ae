"""What an export does, in words: the wizard's last step and "View definition" (templates/exports/_definition.html)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils import formats, timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from audience.models import Database, DataTable
from console.formats import exact, number
from exports import conditions, definitions, sources, words
from exports.definitions import Definition
from exports.models import DataType, Destination, Export, ExportRun, ReportWhen
from exports.schedules import Schedule, ScheduleError, in_words
from exports.sources import SourceError
from exports.states import RECURRING, WINDOWED
from exports.writers import FileOptions, OptionError, suffix_of
from exports.writers.options import COMPRESSIONS, ENCODINGS

COLUMNS_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Fact:
    """A line: `codes` are names as they stand in the file, `text` comes after them."""

    label: str
    text: str = ""
    codes: tuple[str, ...] = ()
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    id: str
    title: str
    facts: list[Fact]


def definition_words(of: Export | ExportRun, *, counted: bool = False) -> list[Section]:
    """The definition of an export as it is, or of a run as it was. `counted` asks how many rows match now.

    Nothing here raises for what is no longer there: the line says so.
    """
    export = isinstance(of, Export)
    definition = definitions.to_json(of) if isinstance(of, Export) else of.definition
    words_of = _Words(definition, of.database, of.destination)
    next_run = of.next_run_at if isinstance(of, Export) else None
    goes_on_from = of.watermark_at if isinstance(of, Export) and not of.resync else None
    return [
        Section("data", _("Data"), words_of.data(counted=counted)),
        Section("file", _("File"), words_of.file()),
        Section("delivery", _("Delivery"), words_of.delivery(next_run, goes_on_from, planned=export)),
    ]


def goes_to(definition: Mapping[str, Any], destination: Destination | None) -> str:
    """What people call the place where the files of a definition go."""
    if destination is not None:
        return destination.name
    if definition.get("destination") not in (None, definitions.DOWNLOAD):
        return _("A destination that was removed")
    if definition["type"] in RECURRING:
        return _("Not chosen yet")
    return _("Download")


def table_name(database: Database, data_type: str, table: str) -> str:
    """What people call a table; a list's name is its key. The key itself if it is no longer there."""
    if data_type == DataType.LIST_MEMBER:
        return table
    found = DataTable.objects.for_account(database.account).filter(database=database, slug=table).first()
    return found.name if found else table


@dataclass(frozen=True, slots=True)
class _Words:
    definition: Mapping[str, Any]
    database: Database
    destination: Destination | None

    def data(self, *, counted: bool) -> list[Fact]:
        facts = [
            Fact(_("Database"), self.database.name),
            Fact(_("Data"), self._data()),
            Fact(_("Export type"), _type_words(self.definition["type"])),
            self._columns(),
            self._filter(),
        ]
        return [*facts, self._count()] if counted else facts

    def _data(self) -> str:
        data_type = self.definition["data_type"]
        text = str(words.DATA[data_type].label) if data_type in words.DATA else str(data_type)
        if table := self.definition.get("table"):
            text = f"{text}: {table_name(self.database, data_type, table)}"
        if kind := self.definition.get("kind"):
            text = f"{text}: {kind}"
        elif data_type == DataType.INTERACTION:
            text = _("%(data)s, all events") % {"data": text}
        if data_type == DataType.PROFILE and self.definition["type"] in WINDOWED:
            text = _("%(data)s, created or updated") % {"data": text}
        return text

    def _columns(self) -> Fact:
        columns = self.definition.get("columns")
        if columns is None:
            return Fact(_("Columns"), _("All columns"))
        headers = tuple(column.get("header") or column["field"] for column in columns)
        more = len(headers) - COLUMNS_SHOWN
        text = ngettext("and %(n)s more", "and %(n)s more", more) % {"n": more} if more > 0 else ""
        return Fact(_("Columns"), text, headers[:COLUMNS_SHOWN])

    def _filter(self) -> Fact:
        label = _("Only rows where")
        if not self.definition.get("filter"):
            return Fact(_("Rows"), _("All rows"))
        try:
            fields = self._query().fields(seen=False)
            sentence = conditions.sentence_of(self.definition["filter"], fields)
        except (SourceError, OptionError) as error:
            return Fact(label, str(error), tone="bad")
        return Fact(label, sentence) if sentence else Fact(_("Rows"), _("All rows"))

    def _count(self) -> Fact:
        try:
            found = sources.count(self._query().rows())
        except (SourceError, OptionError) as error:
            return Fact(_("Rows now"), str(error), tone="bad")
        return Fact(_("Rows now"), number(found) if found is not None else _("Counting them takes too long"))

    def _query(self) -> Definition:
        return definitions.from_json({**self.definition, "file": {"format": "csv"}}, database=self.database)

    def file(self) -> list[Fact]:
        try:
            options = FileOptions.from_json(self.definition.get("file") or {})
        except OptionError as error:
            return [Fact(_("Format"), str(error), tone="bad")]
        has = options.about.asks
        said = [str(options.about.label)]
        if "encoding" in has:
            said.append(str(ENCODINGS[options.encoding]))
        if "delimiter" in has:
            said.append(str(words.SEPARATED[options.delimiter]))
        if "quoting" in has and options.quoting == "all":
            said.append(_("every value in quotes"))
        if "header" in has:
            said.append(_("header row") if options.header else _("no header row"))
        facts = [
            Fact(_("Format"), ", ".join(said)),
            Fact(_("Compression"), str(COMPRESSIONS[options.compression])),
            Fact(_("Name"), codes=(options.name_pattern + suffix_of(options),)),
        ]
        if "formula_safe" in has:
            text = (
                _("Made harmless, for a spreadsheet") if options.formula_safe else _("Left as they are, for a program")
            )
            facts.append(Fact(_("Formulas"), text))
        return facts

    def delivery(self, next_run: dt.datetime | None, goes_on_from: dt.datetime | None, *, planned: bool) -> list[Fact]:
        facts = [Fact(_("Goes to"), goes_to(self.definition, self.destination)), Fact(_("When"), self._when())]
        if next_run:
            facts.append(Fact(_("Next run"), moment_words(next_run, self._zone())))
        if planned and self.definition["type"] in WINDOWED:
            everything = self.definition.get("start_with") == "everything"
            text = _("Everything there is") if everything else _("What changes from the scheduling on")
            if goes_on_from:
                text = _("Where it ended: what changed after %(moment)s") % {"moment": exact(goes_on_from)}
            facts.append(Fact(_("Begins with"), text))
        if self.definition["type"] in WINDOWED:
            told = bool(self.definition.get("deletions"))
            facts.append(Fact(_("Deletions"), _("Told, in columns of their own") if told else _("Not told")))
        facts.append(Fact(_("Report"), self._report()))
        facts.append(
            Fact(
                _("Without rows"), _("An empty file is sent") if self.definition["send_empty"] else _("Nothing is sent")
            )
        )
        return facts

    def _when(self) -> str:
        if self.definition["type"] not in RECURRING:
            moment = parse_datetime(self.definition.get("run_at") or "")
            return moment_words(moment, self._zone()) if moment else _("As soon as it is started")
        if not self.definition.get("schedule"):
            return _("Not chosen yet")
        try:
            schedule = Schedule.from_json(self.definition["schedule"])
        except ScheduleError as error:
            return str(error)
        text = in_words(schedule)
        if schedule.first_on:
            day = formats.date_format(schedule.first_on, "j F Y")
            text = _("%(when)s, from %(day)s on") % {"when": text, "day": day}
        return text

    def _zone(self) -> dt.tzinfo | None:
        """The schedule's zone; None is that of the person who looks."""
        try:
            return Schedule.from_json(self.definition.get("schedule")).zone
        except ScheduleError:
            return None

    def _report(self) -> str:
        recipients = self.definition.get("recipients") or []
        if not recipients:
            return _("To nobody; it is kept here")
        said = ", ".join(recipients)
        if self.definition.get("report_when") == ReportWhen.PROBLEMS:
            return _("%(people)s, only when something went wrong") % {"people": said}
        return _("%(people)s, after every run") % {"people": said}


def _type_words(type_: str) -> str:
    if type_ not in words.TYPES:
        return str(type_)
    return f"{words.TYPES[type_].label}: {words.MEANINGS[type_]}"


def moment_words(moment: dt.datetime, zone: dt.tzinfo | None = None) -> str:
    """With day and zone: Sunday 22 November 2026, 06:30, Europe/Lisbon."""
    local = timezone.localtime(moment, zone)
    return _("%(moment)s, %(zone)s") % {"moment": formats.date_format(local, "l j F Y, H:i"), "zone": local.tzinfo}
