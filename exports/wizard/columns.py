"""The second step: columns and rows."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django import forms
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.actors import Actor
from audience.models import Segment
from exports import conditions, sources
from exports.definitions import ExportRefusedError, definition_of
from exports.models import Export
from exports.services import segment_create
from exports.sources import Field, Fields, SourceError
from exports.sources.base import COLUMNS_MAX, header_of, header_text, is_storable
from exports.wizard.filter import (
    GROUPS_MAX,
    RULES_MAX,
    FilterRows,
    GroupRow,
    RuleRow,
    as_option,
    of_option,
    rows_from,
    rows_of,
)
from exports.wizard.forms import StepForm
from exports.writers.values import distinct


@dataclass(slots=True)
class ColumnRow:
    field: str
    header: str
    label: Any
    example: str
    is_gone: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """A field as an option."""

    name: str
    label: Any
    value: str  # what is sent


class ColumnsForm(StepForm):
    """Columns are sent as `column_fields`, a JSON list, and a `column_header` each, in the same order."""

    keys = ("columns", "filter")
    template = "exports/wizard/_step2.html"

    columns = forms.Field(required=False)
    filter = forms.Field(required=False)
    segment = forms.CharField(required=False)  # the name to save the filter under

    def __init__(self, data: Any = None, *, export: Export, by: Actor) -> None:
        super().__init__(data, export=export, by=by)
        self.note = ""  # what a button did
        self.trouble = ""  # why there is nothing to choose from
        try:
            self.known: Fields = definition_of(export).fields()
        except SourceError as error:
            self.known, self.trouble = Fields(()), error.sentence
        # Both parts are always on the page; a program that leaves one out means what is there.
        if data is None or "which" not in data:
            self.wants_all = export.columns is None
            self.pairs = self._default() if export.columns is None else [dict(one) for one in export.columns]
        else:
            self.wants_all = data.get("which") != "chosen"
            self.pairs = self._default() if self.wants_all else self._sent(data)
        if data is None or "match" not in data:
            rows = rows_of(export.filter)
        else:
            rows = None if data.get("filter_kept") else rows_from(data)
        # None: more levels than the form has; it stays as it is.
        self.is_kept = rows is None
        self.rows = rows or FilterRows()

    def _default(self) -> list[dict[str, str]]:
        return sources.default_columns(self.known)

    def _sent(self, data: Any) -> list[dict[str, str]]:
        try:
            names = json.loads(data.get("column_fields") or "null")
        except (ValueError, RecursionError):
            names = None
        if names is None:  # all columns were shown before
            return self._default()
        headers = data.getlist("column_header")
        if not isinstance(names, list) or len(names) != len(headers) or not is_storable("".join(map(str, names))):
            return self._default()
        return [{"field": str(name), "header": header} for name, header in zip(names, headers, strict=True)]

    def clean(self) -> None:
        if not self.wants_all and not self.pairs:
            self.add_error("columns", _("Choose at least one column, or take all of them."))
        if not self.is_kept and not self.rows.check(self.known):
            self.add_error("filter", _("A rule cannot be used as it is."))

    @property
    def changes(self) -> dict[str, Any]:
        return {"columns": None if self.wants_all else self.pairs, "filter": self.filter_now}

    def looked_at(self) -> None:
        super().looked_at()
        for rule in self.rows.rules():
            rule.error = ""

    @property
    def filter_now(self) -> dict[str, Any] | None:
        return self.export.filter if self.is_kept else self.rows.to_json()

    def act(self, action: str) -> None:
        word, _colon, rest = action.partition(":")
        at = int(rest) if rest.isascii() and rest.isdecimal() and len(rest) < 5 else -1
        acts = {
            "add": self._add,
            "up": self._up,
            "down": self._down,
            "remove": self._remove,
            "rule": self._rule,
            "drop": self._drop,
            "group": self._group,
            "replace": self._replace,
            "segment": self._segment,
            "keep": self._keep,
        }
        if word in acts:
            acts[word](at)

    def _add(self, at: int) -> None:
        self.wants_all = False
        taken = [pair["header"] for pair in self.pairs]
        for value in self.data.getlist("add"):  # type: ignore[attr-defined]  # of a request: a QueryDict
            found = self.known.find(of_option(value))
            if found is None or not found.is_column or len(self.pairs) >= COLUMNS_MAX:
                continue
            header = header_of(found)
            header = header if header not in taken else header_text(found.name)
            header = distinct([*taken, header])[-1]
            taken.append(header)
            self.pairs.append({"field": found.name, "header": header})

    def _up(self, at: int) -> None:
        if 0 < at < len(self.pairs):
            self.pairs[at - 1], self.pairs[at] = self.pairs[at], self.pairs[at - 1]

    def _down(self, at: int) -> None:
        self._up(at + 1)

    def _remove(self, at: int) -> None:
        if 0 <= at < len(self.pairs):
            del self.pairs[at]

    def _rule(self, at: int) -> None:
        if 0 <= at < len(self.rows.groups) and sum(1 for _rule in self.rows.rules()) < RULES_MAX:
            self.rows.groups[at].rules.append(RuleRow())

    def _drop(self, at: int) -> None:
        for group in list(self.rows.groups):
            if 0 <= at < len(group.rules):
                del group.rules[at]
                if not group.rules and group is not self.rows.top:
                    self.rows.groups.remove(group)
                return
            at -= len(group.rules)

    def _group(self, at: int) -> None:
        if len(self.rows.groups) <= GROUPS_MAX:
            word = "or" if self.rows.top.word == "and" else "and"
            self.rows.groups.append(GroupRow(word, [RuleRow()]))

    def _replace(self, at: int) -> None:
        self.is_kept, self.rows = False, FilterRows()

    def _segment(self, at: int) -> None:
        """Starts from a saved filter."""
        found = next((one for one in self.segments if str(one.pk) == self.data.get("from_segment")), None)
        if found is None:
            self.add_error("filter", _("Choose a segment to start from."))
            return
        try:
            conditions.checked(found.filter, self.known)
        except SourceError as error:
            self.add_error("filter", error.sentence)
            return
        rows = rows_of(found.filter)
        if rows is None:
            self.add_error("filter", _("This segment has groups within groups, which can only be used by a program."))
            return
        self.is_kept, self.rows = False, rows
        self.note = _("These are the rules of “%(name)s”. Changing them here does not change the segment.") % {
            "name": found.name
        }

    def _keep(self, at: int) -> None:
        """Saves the rules as a segment."""
        if not self.is_kept and not self.rows.check(self.known):
            self.add_error("filter", _("A rule cannot be used as it is."))
            return
        name = str(self.data.get("segment") or "")
        try:
            segment_create(by=self.by, export=self.export, name=name, rules=self.filter_now)
        except ExportRefusedError as error:
            self.refuse(error)
            return
        self.__dict__.pop("segments", None)
        self.note = _("The segment “%(name)s” is saved.") % {"name": name.strip()}

    @cached_property
    def segments(self) -> list[Segment]:
        found = Segment.objects.for_account(self.by.account).filter(
            database=self.export.database, data_type=self.export.data_type
        )
        return list(found.order_by("name"))

    # For the page.

    @property
    def column_rows(self) -> list[ColumnRow]:
        rows = []
        for pair in self.pairs:
            found = self.known.find(pair["field"])
            if found is None:
                rows.append(ColumnRow(pair["field"], pair["header"], pair["field"], "", is_gone=True))
            else:
                rows.append(ColumnRow(found.name, pair["header"], found.label, found.example))
        return rows

    @property
    def column_fields(self) -> str:
        return json.dumps([pair["field"] for pair in self.pairs])

    @property
    def addable(self) -> list[tuple[str, list[Choice]]]:
        """Fields that are no column yet, by what they are of."""
        chosen = {pair["field"] for pair in self.pairs}
        return grouped(one for one in self.known if one.is_column and one.name not in chosen)

    @property
    def askable(self) -> list[tuple[str, list[Choice]]]:
        """Fields that a rule can be about, those that rules are about among them."""
        extra = [self.known.find(rule.field) for rule in self.rows.rules() if rule.field]
        known = list(self.known)
        names = {one.name for one in known}
        return grouped([*known, *(one for one in extra if one and one.name not in names)])

    @property
    def filter_rows(self) -> FilterRows:
        return self.rows.dress(self.known)

    @property
    def sentence(self) -> str:
        """Of a filter that the form cannot show as rules."""
        try:
            return conditions.sentence_of(self.export.filter, self.known)
        except SourceError as error:
            return error.sentence


_GROUPS = {
    "": "",
    "attributes": gettext_lazy("Attributes"),
    "profile": gettext_lazy("Person"),
    "profile.attributes": gettext_lazy("Attributes of the person"),
    "properties": gettext_lazy("Properties of the event"),
    "values": gettext_lazy("Columns of the table"),
}


def grouped(fields: Iterable[Field]) -> list[tuple[str, list[Choice]]]:
    """Fields by what stands before their names, in the order in which that first comes."""
    groups: dict[str, list[Choice]] = {}
    for one in fields:
        prefix = next((word for word in sorted(_GROUPS, key=len, reverse=True) if one.name.startswith(f"{word}.")), "")
        groups.setdefault(prefix, []).append(Choice(one.name, one.label, as_option(one.name)))
    return [(str(_GROUPS[prefix]), found) for prefix, found in groups.items()]
