"""Filters of exports: checked, made into one condition for every use, said as a sentence, and explained.

A filter is {"and" | "or": [rule or filter, …]}, or None for all rows. A rule is {"field", "op", "value"}. A group
without rules says nothing.

Operators by the type of the field:

| type | operators |
|---|---|
| text | is, is_not, one_of (exactly; addresses in lower case), contains, starts_with, ends_with (in any case) |
| number | eq, ne, lt, lte, gt, gte, between |
| date, datetime | on, before, after, between, in_last_days |
| boolean | is_true, is_false |
| any | is_empty, is_not_empty |

A free field (a key of JSON) may be asked as any type: what is no number is neither below nor above one. `is_not` and
`ne` are true of rows without a value: "is not Gold" includes who has no tier. Days are those of UTC: `on` is the
whole day, `after` begins behind it, `between` includes both ends, and `in_last_days` ends now.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db.models import (
    BooleanField,
    Case,
    DateField,
    DateTimeField,
    DecimalField,
    Func,
    Q,
    TextField,
    Value,
    When,
)
from django.db.models.expressions import Combinable
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from exports.rows import ColumnType
from exports.sources.base import Field, Fields, Rows, SourceError, is_storable
from exports.sources.expressions import Compared, Like, like_literal

DEPTH_MAX = 3
RULES_MAX = 50
LIST_MAX = 1_000
TEXT_MAX = 1_000
DAYS_MAX = 36_500

TEXT, NUMBER, BOOLEAN = ColumnType.TEXT, ColumnType.NUMBER, ColumnType.BOOLEAN
DATE, DATETIME = ColumnType.DATE, ColumnType.DATETIME
ANY_OPS = ("is_empty", "is_not_empty")
DAY_OPS = ("on", "before", "after", "between", "in_last_days")
OPERATORS: dict[ColumnType, tuple[str, ...]] = {
    TEXT: ("is", "is_not", "contains", "starts_with", "ends_with", "one_of", *ANY_OPS),
    NUMBER: ("eq", "ne", "lt", "lte", "gt", "gte", "between", *ANY_OPS),
    DATE: (*DAY_OPS, *ANY_OPS),
    DATETIME: (*DAY_OPS, *ANY_OPS),
    BOOLEAN: ("is_true", "is_false", *ANY_OPS),
    ColumnType.JSON: ANY_OPS,
}
ALL_OPS = tuple(dict.fromkeys(op for ops in OPERATORS.values() for op in ops))
ASKED_OPS = ("one_of", "is", "is_not", *ANY_OPS)  # of fields that are no value of the row
WITHOUT_VALUE = (*ANY_OPS, "is_true", "is_false")
COMPARISONS = {"eq": "=", "ne": "IS DISTINCT FROM", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}

SENTENCES = {
    "is": gettext_lazy("%(field)s is %(value)s"),
    "is_not": gettext_lazy("%(field)s is not %(value)s"),
    "one_of": gettext_lazy("%(field)s is %(value)s"),
    "contains": gettext_lazy("%(field)s contains %(value)s"),
    "starts_with": gettext_lazy("%(field)s starts with %(value)s"),
    "ends_with": gettext_lazy("%(field)s ends with %(value)s"),
    "is_empty": gettext_lazy("%(field)s is empty"),
    "is_not_empty": gettext_lazy("%(field)s is not empty"),
    "eq": gettext_lazy("%(field)s = %(value)s"),
    "ne": gettext_lazy("%(field)s ≠ %(value)s"),
    "lt": gettext_lazy("%(field)s < %(value)s"),
    "lte": gettext_lazy("%(field)s ≤ %(value)s"),
    "gt": gettext_lazy("%(field)s > %(value)s"),
    "gte": gettext_lazy("%(field)s ≥ %(value)s"),
    "between": gettext_lazy("%(field)s is between %(first)s and %(last)s"),
    "on": gettext_lazy("%(field)s is on %(value)s"),
    "before": gettext_lazy("%(field)s is before %(value)s"),
    "after": gettext_lazy("%(field)s is after %(value)s"),
    "in_last_days": gettext_lazy("%(field)s is within the last %(value)s days"),
    "is_true": gettext_lazy("%(field)s: yes"),
    "is_false": gettext_lazy("%(field)s: no"),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that was checked: `values` are texts, Decimals, dates or datetimes, or one number of days."""

    field: Field
    op: str
    values: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    word: str  # and, or
    members: tuple[Rule | Group, ...]


def condition(filter_: Any, fields: Fields) -> Q:
    """The filter for `rows.filter(…)`. Raises SourceError FILTER_INVALID."""
    return _group_q(checked(filter_, fields))


def checked(filter_: Any, fields: Fields) -> Group:
    """The filter as rules of these fields. Raises SourceError FILTER_INVALID."""
    if filter_ is None:
        return Group("and", ())
    group = _Check(fields).group(filter_, 1)
    return group or Group("and", ())


def sentence_of(filter_: Any, fields: Fields) -> str:
    """The filter for people; empty if it lets all rows through. Raises SourceError FILTER_INVALID."""
    return _group_sentence(checked(filter_, fields))


def explain(rows: Rows, filter_: Any, fields: Fields, key: int) -> list[str]:
    """What keeps the row with this primary key out, as sentences; none if nothing does. The row is one of `rows`.

    Raises SourceError FILTER_INVALID, or the model's DoesNotExist.
    """
    group = checked(filter_, fields)
    rules = list(_rules(group))
    answers = {
        f"a{at}": Case(When(_rule_q(rule), then=True), default=False, output_field=BooleanField())
        for at, rule in enumerate(rules)
    }
    row = rows.filter(pk=key).annotate(**answers).values_list("pk", *answers).get()
    return _reasons(group, dict(zip(map(id, rules), row[1:], strict=True)))


def operators_of(field: Field) -> tuple[str, ...]:
    """What can be asked of a field: the operators of its type first."""
    if field.asks is not None:
        return ASKED_OPS
    own = OPERATORS[field.type]
    return tuple(dict.fromkeys((*own, *ALL_OPS))) if field.is_free else own


# Checks.


def _invalid(sentence: str, **params: Any) -> SourceError:
    return SourceError("FILTER_INVALID", sentence, **params)


class _Check:
    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        self.count = 0

    def group(self, node: Any, depth: int) -> Group | None:
        """None for a group that says nothing."""
        if depth > DEPTH_MAX:
            raise _invalid(_("The filter's groups stand %(depth)d deep at most.") % {"depth": DEPTH_MAX})
        if not isinstance(node, dict) or len(node) != 1 or next(iter(node)) not in ("and", "or"):
            raise _invalid(_("A filter is an object with “and” or “or”, and a list of rules."))
        ((word, nodes),) = node.items()
        if not isinstance(nodes, list):
            raise _invalid(_("Behind “%(word)s” stands a list of rules.") % {"word": word})
        members: list[Rule | Group] = []
        for member in nodes:
            if isinstance(member, dict) and "field" not in member and ("and" in member or "or" in member):
                if group := self.group(member, depth + 1):
                    members.append(group)
            else:
                members.append(self.rule(member))
        return Group(word, tuple(members)) if members else None

    def rule(self, node: Any) -> Rule:
        self.count += 1
        if self.count > RULES_MAX:
            raise _invalid(_("A filter has %(count)d rules at most.") % {"count": RULES_MAX})
        if not isinstance(node, dict) or not {"field", "op"} <= node.keys() <= {"field", "op", "value"}:
            raise _invalid(_("A rule is an object with “field”, “op” and “value”."))
        name, op, value = node["field"], node["op"], node.get("value")
        field = self.fields.find(name) if isinstance(name, str) else None
        if field is None:
            raise _invalid(_("There is no field “%(name)s”.") % {"name": str(name)[:80]}, field=str(name)[:80])
        if not isinstance(op, str) or op not in operators_of(field):
            raise _invalid(
                _("“%(field)s” cannot be asked with “%(op)s”. Known are %(list)s.")
                % {"field": field.name, "op": str(op)[:40], "list": ", ".join(operators_of(field))},
                field=field.name,
            )
        try:
            return Rule(field, op, _values(field, op, value))
        except ValueError as error:
            raise _invalid(
                _("The value of “%(field)s” with “%(op)s” will not do. %(reason)s")
                % {"field": field.name, "op": op, "reason": error},
                field=field.name,
            ) from error


def _values(field: Field, op: str, value: Any) -> tuple[Any, ...]:  # noqa: PLR0911  a case an operator
    """Raises ValueError with a sentence."""
    if op in WITHOUT_VALUE:
        return ()
    if op == "one_of":
        if not isinstance(value, list) or not 1 <= len(value) <= LIST_MAX:
            raise ValueError(_("It is a list of 1 to %(count)d texts.") % {"count": LIST_MAX})
        return tuple(_text(field, one) for one in value)
    if op in OPERATORS[TEXT]:
        return (_text(field, value),)
    if op in COMPARISONS:
        return (_number(value),)
    if op == "in_last_days":
        return (_days(value),)
    if op == "between":
        if not isinstance(value, list) or len(value) != 2:
            raise ValueError(_("It is a list of two values: the first and the last."))
        if field.type is NUMBER or (field.is_free and all(map(_is_number, value))):
            return tuple(map(_number, value))
        return tuple(map(_moment, value))
    return (_moment(value),)


def _text(field: Field, value: Any) -> str:
    if not isinstance(value, str) or not value or len(value) > TEXT_MAX or not is_storable(value):
        raise ValueError(_("It is a text of 1 to %(count)d characters.") % {"count": TEXT_MAX})
    return value.strip().lower() or value if field.is_lowered else value


_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?", re.ASCII)


def _is_number(value: Any) -> bool:
    try:
        _number(value)
    except ValueError:
        return False
    return True


def _number(value: Any) -> Decimal:
    text = value.strip() if isinstance(value, str) else ""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**100:
        text = str(value)
    elif isinstance(value, float) and math.isfinite(value):
        text = repr(value)
    if len(text) > 110 or not _NUMBER.fullmatch(text):
        raise ValueError(_("It is a number."))
    return Decimal(text)


def _days(value: Any) -> int:
    number = _number(value)
    if number != number.to_integral_value() or not 1 <= number <= DAYS_MAX:
        raise ValueError(_("It is a whole number of days, %(count)d at most.") % {"count": DAYS_MAX})
    return int(number)


_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)


def _moment(value: Any) -> dt.date | dt.datetime:
    """A day, or a time with its zone; UTC if it says none."""
    wanted = _("It is a date such as 2026-11-21, or a time such as 2026-11-21T14:30:00Z.")
    if not isinstance(value, str) or not _MOMENT.fullmatch(value):
        raise ValueError(wanted)
    try:
        moment = dt.datetime.fromisoformat(value)
    except ValueError as error:
        raise ValueError(wanted) from error
    if not 1 < moment.year < 9999:  # in any time zone, and with a day more
        raise ValueError(wanted)
    if len(value) == len("2026-11-21"):
        return moment.date()
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


# SQL.

_NOW = "statement_timestamp()"
_TODAY = f"({_NOW} AT TIME ZONE 'UTC')::date"


def _group_q(group: Group) -> Q:
    found = Q()
    for member in group.members:
        q = _group_q(member) if isinstance(member, Group) else _rule_q(member)
        found = (found & q) if group.word == "and" else (found | q)
    return found


def _rule_q(rule: Rule) -> Q:  # noqa: PLR0911  likewise
    field, op, values = rule.field, rule.op, rule.values
    if field.asks is not None:
        return Q(field.asks(op, list(values)))
    if op in ANY_OPS:
        return Q(_emptiness(field, op))
    if op in ("is_true", "is_false"):
        word = "IS TRUE" if op == "is_true" else "IS FALSE"
        return Q(Func(field.as_type(BOOLEAN), template=f"((%(expressions)s) {word})", output_field=BooleanField()))
    if op in OPERATORS[TEXT]:
        return Q(_text_condition(field, op, [str(value) for value in values]))
    if values and isinstance(values[0], Decimal):
        number = field.as_type(NUMBER)
        numbers = [Value(value, DecimalField()) for value in values]
        if op == "between":
            return Q(Compared(number, ">=", numbers[0])) & Q(Compared(number, "<=", numbers[1]))
        return Q(Compared(number, COMPARISONS[op], numbers[0]))
    return _date_q(field, op, values)


def _emptiness(field: Field, op: str) -> Func:
    value = field.raw if field.raw is not None else field.value
    template = "((%(expressions)s) IS NULL)"
    if field.raw is not None or field.type is TEXT:
        template = "(coalesce(%(expressions)s, '') = '')"
    if op == "is_not_empty":
        template = f"(NOT {template})"
    return Func(value, template=template, output_field=BooleanField())


def _text_condition(field: Field, op: str, texts: list[str]) -> Func:
    text = field.as_type(TEXT) if field.raw is None else field.raw
    if op in ("is", "is_not"):
        return Compared(text, "=" if op == "is" else "IS DISTINCT FROM", Value(texts[0], TextField()))
    if op == "one_of":
        found = Func(*(Value(one, TextField()) for one in texts), template="(%(expressions)s)")
        return Compared(text, "IN", found)
    literal = like_literal(texts[0])
    pattern = {"contains": f"%{literal}%", "starts_with": f"{literal}%", "ends_with": f"%{literal}"}[op]
    return Like(text, pattern, ignore_case=True)


def _date_q(field: Field, op: str, values: Sequence[Any]) -> Q:
    if field.type is DATE:
        return _day_q(field.value, op, values)
    return _time_q(field.as_type(DATETIME), op, values)


def _day_q(day: Combinable, op: str, values: Sequence[Any]) -> Q:
    if op == "in_last_days":
        first = Func(template=f"({_TODAY} - {int(values[0])})", output_field=DateField())
        last = Func(template=_TODAY, output_field=DateField())
        return Q(Compared(day, ">", first)) & Q(Compared(day, "<=", last))
    days = [Value(_day_of(value), DateField()) for value in values]
    if op == "between":
        return Q(Compared(day, ">=", days[0])) & Q(Compared(day, "<=", days[1]))
    return Q(Compared(day, {"on": "=", "before": "<", "after": ">"}[op], days[0]))


def _time_q(time: Combinable, op: str, values: Sequence[Any]) -> Q:
    if op == "in_last_days":
        first = Func(template=f"({_NOW} - interval '{int(values[0])} days')", output_field=DateTimeField())
        last = Func(template=_NOW, output_field=DateTimeField())
        return Q(Compared(time, ">", first)) & Q(Compared(time, "<=", last))
    first_of, behind = _bounds(values[0])
    if op == "before":
        return Q(Compared(time, "<", first_of))
    if op == "after":
        return Q(Compared(time, ">=" if type(values[0]) is dt.date else ">", behind))
    if op == "on":
        first_of, behind = _bounds(_day_of(values[0]))
        return Q(Compared(time, ">=", first_of)) & Q(Compared(time, "<", behind))
    _first, last_behind = _bounds(values[1])
    until = "<" if type(values[1]) is dt.date else "<="
    return Q(Compared(time, ">=", first_of)) & Q(Compared(time, until, last_behind))


def _day_of(moment: dt.date | dt.datetime) -> dt.date:
    return moment.astimezone(dt.UTC).date() if isinstance(moment, dt.datetime) else moment


def _bounds(moment: dt.date | dt.datetime) -> tuple[Value, Value]:
    """The first moment of a day, and the first one behind it; of a time, itself twice."""
    if isinstance(moment, dt.datetime):
        return Value(moment, DateTimeField()), Value(moment, DateTimeField())
    first = dt.datetime.combine(moment, dt.time(), dt.UTC)
    return Value(first, DateTimeField()), Value(first + dt.timedelta(days=1), DateTimeField())


# Sentences.


def _rules(group: Group) -> Iterator[Rule]:
    for member in group.members:
        if isinstance(member, Group):
            yield from _rules(member)
        else:
            yield member


def _rule_sentence(rule: Rule) -> str:
    values = [_said(value) for value in rule.values]
    params = {"field": str(rule.field.label), "value": _joined("or", values)}
    if len(values) == 2:
        params |= {"first": values[0], "last": values[1]}
    sentence = rule.field.sentences.get(rule.op) or SENTENCES[rule.op]
    return str(sentence) % params


def _said(value: Any) -> str:
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
    if isinstance(value, str):
        return value if len(value) <= 80 else f"{value[:80]}…"
    return str(value)


def _joined(word: str, parts: list[str]) -> str:
    """Silver, Gold or Platinum."""
    if len(parts) < 2:
        return "".join(parts)
    form = _("%(parts)s and %(last)s") if word == "and" else _("%(parts)s or %(last)s")
    return form % {"parts": ", ".join(parts[:-1]), "last": parts[-1]}


def _group_sentence(group: Group, *, inner: bool = False) -> str:
    parts = [
        _group_sentence(member, inner=True) if isinstance(member, Group) else _rule_sentence(member)
        for member in group.members
    ]
    sentence = parts[0] if parts else ""
    form = _("%(before)s, and %(rule)s") if group.word == "and" else _("%(before)s, or %(rule)s")
    for part in parts[1:]:
        sentence = form % {"before": sentence, "rule": part}
    return f"({sentence})" if inner and len(parts) > 1 else sentence


def _holds(member: Rule | Group, answers: dict[int, bool]) -> bool:
    if isinstance(member, Rule):
        return answers[id(member)]
    if not member.members:
        return True
    held = [_holds(one, answers) for one in member.members]
    return all(held) if member.word == "and" else any(held)


def _reasons(group: Group, answers: dict[int, bool]) -> list[str]:
    if _holds(group, answers):
        return []
    if group.word == "or" and len(group.members) > 1:
        return [_group_sentence(group)]  # none of them is so
    failed = [member for member in group.members if not _holds(member, answers)]
    return [
        sentence
        for member in failed
        for sentence in (_reasons(member, answers) if isinstance(member, Group) else [_rule_sentence(member)])
    ]
