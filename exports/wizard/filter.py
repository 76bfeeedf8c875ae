"""The filter as the wizard shows it: rules, and one level of groups of them.

What a program defined deeper than that is shown as a sentence, and kept until somebody replaces it with rules.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_lazy as _

from exports import conditions
from exports.conditions import ALL_OPS, ANY_OPS, DAY_OPS, OPERATORS, WITHOUT_VALUE, operators_of
from exports.rows import ColumnType
from exports.sources import Field, Fields, SourceError
from exports.sources.base import is_storable

GROUPS_MAX = 10
RULES_MAX = conditions.RULES_MAX

OPERATOR_WORDS: dict[str, Any] = {
    "is": _("is"),
    "is_not": _("is not"),
    "contains": _("contains"),
    "starts_with": _("starts with"),
    "ends_with": _("ends with"),
    "one_of": _("is one of"),
    "eq": _("equals"),
    "ne": _("does not equal"),
    "lt": _("is less than"),
    "lte": _("is at most"),
    "gt": _("is more than"),
    "gte": _("is at least"),
    "between": _("is between"),
    "on": _("is on"),
    "before": _("is before"),
    "after": _("is after"),
    "in_last_days": _("is within the last days"),
    "is_true": _("is yes"),
    "is_false": _("is no"),
    "is_empty": _("is empty"),
    "is_not_empty": _("is not empty"),
}
AS_TYPES: dict[ColumnType, Any] = {
    ColumnType.TEXT: _("As a text"),
    ColumnType.NUMBER: _("As a number"),
    ColumnType.DATETIME: _("As a date"),
    ColumnType.BOOLEAN: _("As yes or no"),
}
NUMBER_OPS = frozenset(OPERATORS[ColumnType.NUMBER]) - {*ANY_OPS, "between"}

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_WHOLE = re.compile(r"-?[0-9]{1,15}")


@dataclass(slots=True)
class RuleRow:
    """A rule as it stands in the form: `field` may be empty, the values are what was typed."""

    field: str = ""
    op: str = ""
    value: str = ""
    second: str = ""
    error: str = ""
    # For the page, set by `FilterRows.dress`.
    operators: list[tuple[Any, list[tuple[str, Any]]]] = dataclasses.field(default_factory=list)
    ask: str = "text"  # what is asked: none, text, number, day, lines
    is_pair: bool = False
    label: Any = ""
    number: int = 0  # its place in the form, from 0


@dataclass(slots=True)
class GroupRow:
    word: str = "and"
    rules: list[RuleRow] = dataclasses.field(default_factory=list)
    number: int = 0


@dataclass(slots=True)
class FilterRows:
    """`groups[0]` is the filter itself, the others stand in it."""

    groups: list[GroupRow] = dataclasses.field(default_factory=lambda: [GroupRow()])

    @property
    def top(self) -> GroupRow:
        return self.groups[0]

    def rules(self) -> Iterator[RuleRow]:
        for group in self.groups:
            yield from group.rules

    def to_json(self) -> dict[str, Any] | None:
        """None for all rows. Rules without a field and groups without a rule say nothing."""
        members: list[Any] = [_rule_json(rule) for rule in self.top.rules if rule.field]
        for group in self.groups[1:]:
            if inner := [_rule_json(rule) for rule in group.rules if rule.field]:
                members.append({group.word: inner})
        return {self.top.word: members} if members else None

    def check(self, fields: Fields) -> bool:
        """Whether all rules are good; those at fault say why."""
        good = True
        for rule in self.rules():
            rule.error = ""
            if not rule.field:
                continue
            try:
                conditions.checked({"and": [_rule_json(rule)]}, fields)
            except SourceError as error:
                rule.error, good = error.sentence, False
        return good

    def dress(self, fields: Fields) -> FilterRows:
        """Fills in what the page shows beside each rule. An operator that the field does not have becomes its first."""
        for number, group in enumerate(self.groups):
            group.number = number
        for number, rule in enumerate(self.rules()):
            rule.number = number
            found = fields.find(rule.field) if rule.field else None
            operators = operators_of(found) if found else ALL_OPS
            if rule.op not in operators:
                rule.op = operators[0]
            rule.label = found.label if found else rule.field
            rule.operators = _operator_groups(found)
            rule.ask, rule.is_pair = _asked(found, rule)
        return self


def as_option(name: str) -> str:
    """A field as the value of an option: as JSON where a browser would change its line breaks."""
    return json.dumps(name) if "\n" in name or "\r" in name else name


def of_option(value: str) -> str:
    """The field that was sent. No name of a field begins with a quote."""
    try:
        return str(json.loads(value)) if value.startswith('"') else value
    except ValueError:
        return value


def rows_of(filter_: Any) -> FilterRows | None:
    """None for what has more levels than the form."""
    if not filter_:
        return FilterRows()
    try:
        ((word, members),) = filter_.items()
        rows = FilterRows([GroupRow(word)])
        for member in members:
            if "field" in member:
                rows.top.rules.append(_rule_row(member))
                continue
            ((inner, nodes),) = member.items()
            if any("field" not in node for node in nodes):
                return None
            rows.groups.append(GroupRow(inner, [_rule_row(node) for node in nodes]))
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return rows


def rows_from(data: Any) -> FilterRows:
    """What was sent: `rule_field`, `rule_op`, `rule_value`, `rule_second`, `rule_group` in step, `match` by group."""
    words = [word if word in ("and", "or") else "and" for word in data.getlist("match")] or ["and"]
    rows = FilterRows([GroupRow(word) for word in words[: GROUPS_MAX + 1]])
    lists = [data.getlist(f"rule_{name}") for name in ("field", "op", "value", "second", "group")]
    for option, op, value, second, group in zip(*lists, strict=False):
        name = of_option(option)
        if not all(map(is_storable, (name, op, value, second))):
            continue
        at = int(group) if group.isascii() and group.isdecimal() and len(group) < 3 else 0
        into = rows.groups[at] if at < len(rows.groups) else rows.top
        into.rules.append(RuleRow(name, op, value, second))
    return rows


def _rule_row(node: dict[str, Any]) -> RuleRow:
    value = node.get("value")
    row = RuleRow(str(node["field"]), str(node["op"]))
    if row.op == "between" and isinstance(value, list) and len(value) == 2:
        row.value, row.second = map(str, value)
    elif isinstance(value, list):
        row.value = "\n".join(map(str, value))
    elif value is not None:
        row.value = str(value)
    return row


def _rule_json(rule: RuleRow) -> dict[str, Any]:
    node: dict[str, Any] = {"field": rule.field, "op": rule.op}
    if rule.op == "between":
        node["value"] = [_typed(rule.value), _typed(rule.second)]
    elif rule.op == "one_of":
        node["value"] = [line.strip() for line in rule.value.splitlines() if line.strip()]
    elif rule.op in NUMBER_OPS or rule.op == "in_last_days":
        node["value"] = _typed(rule.value)
    elif rule.op not in WITHOUT_VALUE:
        node["value"] = rule.value.strip() if rule.op in DAY_OPS else rule.value
    return node


def _typed(text: str) -> Any:
    """A whole number as one; anything else as it was typed, so that no decimal place is lost."""
    text = text.strip()
    return int(text) if _WHOLE.fullmatch(text) else text


def _operator_groups(found: Field | None) -> list[tuple[Any, list[tuple[str, Any]]]]:
    """Operators with their words, by the type that a free field is asked as."""

    def said(ops: Any) -> list[tuple[str, Any]]:
        return [(op, OPERATOR_WORDS[op]) for op in ops]

    if found is None or found.is_free:
        own = found.type if found and found.type in AS_TYPES else ColumnType.TEXT
        types = [own, *(kind for kind in AS_TYPES if kind is not own)]
        seen: set[str] = set(ANY_OPS)
        groups = []
        for kind in types:
            ops = [op for op in OPERATORS[kind] if op not in seen]
            seen |= set(ops)
            groups.append((AS_TYPES[kind], said(ops)))
        return [*groups, ("", said(ANY_OPS))]
    return [("", said(operators_of(found)))]


def _asked(found: Field | None, rule: RuleRow) -> tuple[str, bool]:  # noqa: PLR0911  a case a kind
    if rule.op in WITHOUT_VALUE:
        return "none", False
    if rule.op == "one_of":
        return "lines", False
    if rule.op in NUMBER_OPS or rule.op == "in_last_days":
        return "number", False
    if rule.op not in DAY_OPS:
        return "text", False
    pair = rule.op == "between"
    if pair and found and found.type is ColumnType.NUMBER:
        return "number", True
    if pair and found and found.is_free:
        return "text", True
    # A time of day that a program asked for does not fit into a field for days.
    values = [rule.value, rule.second] if pair else [rule.value]
    return ("day" if all(not value or _DAY.fullmatch(value) for value in values) else "text"), pair
