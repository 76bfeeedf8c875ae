"""The forms of the wizard, one a step; those of columns and of schedules have modules of their own.

What they ask is part of a definition; exports/definitions.py is what checks it.

A form shows the draft as it is, or what was sent. A button that changes the form itself (`do`) saves nothing: `act`
does it, and the form is shown again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from django import forms
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.actors import Actor
from audience.models import CHANNELS, ContactList, Database, DataTable
from exports import definitions, sources, words
from exports.definitions import DATA_TYPES, DOWNLOAD, WITH_TABLE, ExportRefusedError
from exports.destinations import DESTINATIONS
from exports.models import DataType, Destination, Export, ReportWhen
from exports.names import PatternError, file_name, pattern_check
from exports.sources.base import HEADER_MAX, within
from exports.states import RECURRING, STANDARD, ExportType
from exports.writers import FORMATS, FileOptions, OptionError, suffix_of
from exports.writers.options import COMPRESSIONS, DELIMITERS, ENCODINGS, QUOTING

KINDS_LOOKED_AT = 20_000  # newest rows in which event names are looked for
KINDS_SHOWN = 200
KINDS_MILLISECONDS = 2_000
WITH_KIND = frozenset({DataType.INTERACTION, DataType.FORM_PARTICIPATION, DataType.SUBSCRIPTION})


@dataclass(frozen=True, slots=True)
class Card:
    """A choice with a sentence; `reason` is why it cannot be taken."""

    value: str
    label: Any
    about: Any = ""
    reason: str = ""


class StepForm(forms.Form):
    """`changes` are keys of the API, those that the step owns; `at` leads from a key at fault to its field."""

    keys: ClassVar[tuple[str, ...]] = ()
    at: ClassVar[Mapping[str, str]] = {}
    template: ClassVar[str] = ""

    def __init__(self, data: Any = None, *, export: Export, by: Actor) -> None:
        self.export, self.by = export, by
        super().__init__(data, initial=self.initial_of(export), auto_id="export-%s")

    def initial_of(self, export: Export) -> dict[str, Any]:
        return {}

    @property
    def changes(self) -> dict[str, Any]:
        """After validation."""
        return {}

    def act(self, action: str) -> None:
        """What a button of the form does to it: a word and, behind a colon, to what."""

    def refuse(self, error: ExportRefusedError) -> None:
        """Puts an error at the field it is about."""
        key = error.field
        name = self.at.get(key) or self.at.get(key.partition(".")[0]) or key
        self.add_error(name if name in self.fields else None, error.message)

    def looked_at(self) -> None:
        """Makes of what was sent a form to go on with: what is still missing is no error yet."""
        self.is_valid()
        self.errors.clear()

    def chosen(self, name: str) -> str:
        """A field as it stands in the form."""
        return str(self[name].value() or "")

    @cached_property
    def first_bad(self) -> str:
        """The field that gets the focus."""
        return next((name for name in self.fields if name in self.errors), "")

    @property
    def stamp(self) -> str:
        """What the step's part of the draft is now: two windows must not overwrite each other unseen."""
        return stamp_of(self.export, self.keys)


def stamp_of(export: Export, keys: Iterable[str]) -> str:
    if export.pk is None:
        return ""
    definition = definitions.to_json(export)
    text = json.dumps({key: definition[key] for key in keys}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# 1: the data.


class DataForm(StepForm):
    keys = ("name", "database", "data_type", "table", "kind", "type")
    template = "exports/wizard/_data.html"

    name = forms.CharField(
        label=gettext_lazy("Name"),
        max_length=definitions.NAME_MAX,
        help_text=gettext_lazy("Each name can be used once. It can be a part of the file's name."),
        error_messages={"required": gettext_lazy("Give the export a name.")},
    )
    database = forms.ChoiceField(label=gettext_lazy("Database"))
    data_type = forms.ChoiceField(
        label=gettext_lazy("What should leave?"), choices=[(key, said.label) for key, said in words.DATA.items()]
    )
    table = forms.CharField(required=False, max_length=definitions.NAME_MAX)
    kind = forms.CharField(label=gettext_lazy("Event name"), required=False, max_length=HEADER_MAX)
    type = forms.ChoiceField(
        label=gettext_lazy("How often, and how much?"),
        choices=[(key, said.label) for key, said in words.TYPES.items() if key in STANDARD],
    )

    def __init__(self, data: Any = None, *, export: Export, by: Actor) -> None:
        super().__init__(data, export=export, by=by)
        self.databases = list(Database.objects.for_account(by.account).order_by("name", "pk")) or [export.database]
        self.fields["database"].choices = [(one.slug, one.name) for one in self.databases]  # type: ignore[attr-defined]

    def initial_of(self, export: Export) -> dict[str, Any]:
        return {key: definitions.to_json(export)[key] for key in self.keys}

    def clean(self) -> None:
        data = self.cleaned_data
        data_type = data.get("data_type")
        if data_type in WITH_TABLE and not data.get("table") and "table" not in self.errors:
            self.add_error("table", self.table_missing)
        if data_type and data.get("type") and data_type not in DATA_TYPES[data["type"]]:
            self.add_error("type", self.reason_against(data["type"]))

    @property
    def changes(self) -> dict[str, Any]:
        data = self.cleaned_data
        return {
            **{key: data[key] for key in ("name", "database", "data_type", "type")},
            "table": data["table"] if data["data_type"] in WITH_TABLE else "",
            "kind": data["kind"] if data["data_type"] in WITH_KIND else "",
        }

    @property
    def data_type_now(self) -> str:
        value = self.chosen("data_type")
        return value if value in words.DATA else str(DataType.PROFILE)

    @property
    def database_now(self) -> Database:
        slug = self.chosen("database")
        return next((one for one in self.databases if one.slug == slug), self.databases[0])

    @property
    def data_cards(self) -> list[Card]:
        return [Card(key, said.label, said.about) for key, said in words.DATA.items()]

    @property
    def type_cards(self) -> list[Card]:
        return [
            Card(key, said.label, said.about, self.reason_against(key))
            for key, said in words.TYPES.items()
            if key in STANDARD
        ]

    def reason_against(self, type_: str) -> str:
        """Why an export type does not go with the data that is chosen; empty if it does."""
        if type_ not in DATA_TYPES or self.data_type_now in DATA_TYPES[type_]:
            return ""
        data = str(words.DATA[self.data_type_now].label)
        if type_ == ExportType.INCREMENTAL:
            return _("Not of “%(data)s”: its rows do not tell what is new.") % {"data": data}
        return _("Not of “%(data)s”: what happens is added, so send what is new.") % {"data": data}

    @property
    def has_table(self) -> bool:
        return self.data_type_now in WITH_TABLE

    @property
    def has_kind(self) -> bool:
        return self.data_type_now in WITH_KIND

    @property
    def table_label(self) -> str:
        return _("List") if self.data_type_now == DataType.LIST_MEMBER else _("Table")

    @property
    def table_missing(self) -> str:
        if self.data_type_now == DataType.LIST_MEMBER:
            return _("Choose which list is to leave.")
        return _("Choose which table is to leave.")

    @cached_property
    def tables(self) -> list[tuple[str, str]]:
        """What there is to choose from, and what is chosen even if it is gone."""
        account, database = self.by.account, self.database_now
        if self.data_type_now == DataType.LIST_MEMBER:
            lists = ContactList.objects.for_account(account).filter(database=database).order_by("name")
            found = [(one.name, one.name) for one in lists]
        else:
            linked = self.data_type_now == DataType.LINKED_DATA
            kind = DataTable.Kind.LINKED if linked else DataTable.Kind.REPOSITORY
            tables = DataTable.objects.for_account(account).filter(database=database, kind=kind).order_by("name")
            found = [(one.slug, one.name) for one in tables]
        return found

    @property
    def kind_label(self) -> str:
        return _("Channel") if self.data_type_now == DataType.SUBSCRIPTION else _("Event name")

    @property
    def kind_all(self) -> str:
        return _("All channels") if self.data_type_now == DataType.SUBSCRIPTION else _("All events")

    @cached_property
    def kinds(self) -> list[str]:
        """Event names of the newest rows, or the channels; with the one that is chosen."""
        if self.data_type_now == DataType.SUBSCRIPTION:
            found = set(CHANNELS)
        else:
            rows = sources.SOURCES[self.data_type_now].rows(self.database_now).order_by("-pk")
            found = set()
            with within(KINDS_MILLISECONDS):
                found = set(rows.values_list("kind", flat=True)[:KINDS_LOOKED_AT])
        chosen = {self.chosen("kind")} - {""}
        return sorted({*sorted(found)[:KINDS_SHOWN], *chosen})


# 3: the file.


class FileForm(StepForm):
    keys = ("file",)
    at = {"file.name_pattern": "name_pattern", "file": "format"}
    template = "exports/wizard/_file.html"

    format = forms.ChoiceField(
        label=gettext_lazy("File format"),
        choices=[(key, one.label) for key, one in FORMATS.items()],
    )
    delimiter = forms.ChoiceField(
        label=gettext_lazy("Separator"),
        required=False,
        choices=list(DELIMITERS.items()),
    )
    quoting = forms.ChoiceField(label=gettext_lazy("Quotes"), required=False, choices=list(QUOTING.items()))
    encoding = forms.ChoiceField(
        label=gettext_lazy("Encoding"),
        required=False,
        choices=list(ENCODINGS.items()),
    )
    compression = forms.ChoiceField(label=gettext_lazy("Compression"), choices=list(COMPRESSIONS.items()))
    name_pattern = forms.CharField(
        label=gettext_lazy("File name"),
        max_length=200,
        error_messages={"required": gettext_lazy("Give the file a name.")},
    )
    header = forms.BooleanField(label=gettext_lazy("The first line holds the column names"), required=False)
    formula_safe = forms.BooleanField(label=gettext_lazy("Make formulas harmless"), required=False)

    def initial_of(self, export: Export) -> dict[str, Any]:
        options = FileOptions.from_json(export.file)
        initial = {name: getattr(options, name) for name in self.base_fields}
        if export.step <= 3 and export.file == definitions.blank(self.by.account).file:
            # Nobody chose yet. What is downloaded is opened by people.
            initial["formula_safe"] = export.type == ExportType.ONE_SHOT
        return initial

    @property
    def has(self) -> frozenset[str]:
        """The options that the chosen format has."""
        found = FORMATS.get(self.chosen("format"))
        return found.asks if found else frozenset()

    @property
    def asked(self) -> str:
        return " ".join(sorted(self.has))

    def clean(self) -> None:
        if "format" not in self.errors and "name_pattern" not in self.errors:
            try:
                FileOptions.from_json(self.changes["file"])
            except OptionError as error:
                self.add_error(error.field if error.field in self.fields else None, str(error))

    @property
    def changes(self) -> dict[str, Any]:
        data = self.cleaned_data
        # An unticked box sends nothing: only what was shown was answered.
        shown = set(str(self.data.get("asked") or "").split())
        before = self.initial
        file = {key: data.get(key) for key in ("format", "compression", "name_pattern")}
        file |= {key: (data.get(key) if key in shown else before[key]) for key in self.has}
        return {"file": file}

    def act(self, action: str) -> None:
        """Options that come with another format begin as they are usual."""
        shown = set(str(self.data.get("asked") or "").split())
        if fresh := self.has - shown:
            data: Any = self.data.copy()  # type: ignore[attr-defined]  # of a request: a QueryDict
            for key in fresh:
                value = self.initial[key]
                if isinstance(value, bool):
                    data.pop(key, None)
                    value = "on" if value else ""
                data[key] = value
            self.data = data

    @property
    def cards(self) -> list[Card]:
        return [Card(key, one.label, one.use) for key, one in FORMATS.items()]

    @property
    def today(self) -> str:
        """What a run now would call its file; empty while the pattern is at fault."""
        return self._today()[0]

    @property
    def today_trouble(self) -> str:
        return self._today()[1]

    def _today(self) -> tuple[str, str]:
        compression, format_ = self.chosen("compression"), self.chosen("format")
        own = self.by.user.time_zone if self.by.user else "UTC"
        zone = ZoneInfo((self.export.schedule or {}).get("timezone") or own)
        try:
            suffix = suffix_of(FileOptions.from_json({"format": format_, "compression": compression}))
            pattern_check(self.chosen("name_pattern"), name=self.export.name, suffix=suffix)
            name = file_name(
                self.chosen("name_pattern"),
                moment=timezone.now(),
                zone=zone,
                name=self.export.name,
                run=(self.export.pk or 0) + 1,
                suffix=suffix,
            )
        except (PatternError, OptionError) as error:
            return "", str(error)
        return name, ""


# 4: where to.


class DestinationForm(StepForm):
    keys = ("destination",)
    template = "exports/wizard/_destination.html"

    destination = forms.CharField(
        label=gettext_lazy("Where should the file go?"),
        error_messages={"required": gettext_lazy("Choose where the file goes.")},
    )

    def initial_of(self, export: Export) -> dict[str, Any]:
        if export.destination_id:
            return {"destination": str(export.destination_id)}
        return {"destination": "" if export.type in RECURRING else DOWNLOAD}

    def clean_destination(self) -> str:
        value = str(self.cleaned_data["destination"])
        card = next((card for card in self.cards if card.value == value), None)
        if card is None:
            raise forms.ValidationError(_("There is no such destination."))
        if card.reason:
            raise forms.ValidationError(card.reason)
        return value

    @property
    def changes(self) -> dict[str, Any]:
        return {"destination": self.cleaned_data["destination"]}

    @cached_property
    def cards(self) -> list[Card]:
        recurs = self.export.type in RECURRING
        reason = _("An export that recurs goes to a destination, not to a download.") if recurs else ""
        cards = [Card(DOWNLOAD, _("Download"), _("The file is kept here, and you get it from the report."), reason)]
        found = list(Destination.objects.for_account(self.by.account).order_by("name", "pk"))
        box = _("Your own folder here, from which partners fetch files")
        for one in found:
            kind = DESTINATIONS.get(one.kind)
            about = box if one.kind == "transfer_box" else str(kind.label if kind else one.kind)
            cards.append(Card(str(one.pk), one.name, about))
        if all(one.kind != "transfer_box" for one in found):  # made when it is first chosen
            cards.append(Card("transfer_box", DESTINATIONS["transfer_box"].label, box))
        return cards


# 6: who hears of it.


class ReportForm(StepForm):
    keys = ("recipients", "report_when", "send_empty")
    template = "exports/wizard/_report.html"

    recipients = forms.CharField(
        label=gettext_lazy("Send a report to"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text=gettext_lazy("One e-mail address a line. Without any, the report is only kept here."),
    )
    report_when = forms.ChoiceField(label=gettext_lazy("When?"), choices=ReportWhen.choices)
    send_empty = forms.BooleanField(label=gettext_lazy("An empty file is fine, send it too"), required=False)

    def initial_of(self, export: Export) -> dict[str, Any]:
        return {
            "recipients": "\n".join(export.recipients),
            "report_when": export.report_when,
            "send_empty": export.send_empty,
        }

    @property
    def changes(self) -> dict[str, Any]:
        data = self.cleaned_data
        lines = [line.strip().rstrip(",;") for line in data["recipients"].replace(",", "\n").splitlines()]
        return {
            "recipients": [line for line in lines if line],
            "report_when": data["report_when"],
            "send_empty": data["send_empty"],
        }

    @property
    def when_cards(self) -> list[Card]:
        about = {ReportWhen.PROBLEMS: _("Also after five failures, when Batchdesk stops the export.")}
        return [Card(one.value, one.label, about.get(one, "")) for one in ReportWhen]


# 7: all of it.


class SummaryForm(StepForm):
    template = "exports/wizard/_summary.html"
