"""SQL for single values: JSON as text, casts that never raise, comparisons.

A cast gives NULL for what is no value of its type. All times are UTC: sessions that read exports have that time zone.
"""

from __future__ import annotations

from typing import Any

from django.db.models import BooleanField, DateField, DateTimeField, DecimalField, Func, JSONField, TextField, Value
from django.db.models.expressions import Combinable

from exports.rows import ColumnType

# A plain decimal number. NaN, infinities, hexadecimal and 1_000 are numbers to PostgreSQL, and to nobody else.
_NUMBER = r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?\s*$"
# Years that stay within 0001 to 9999 in any time zone; no `infinity`, `today` or BC.
_DATE = r"^(?!0000|0001|9999)[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9:.]+ ?(Z|[+-][0-9:]+)?)?$"


class JsonText(Func):
    """A key of a JSON object as text: a text without its quotes, NULL for null."""

    template = "(%(expressions)s)"
    arg_joiner = " ->> "

    def __init__(self, column: Combinable | str, key: str) -> None:
        # Not Django's KeyTextTransform, which takes the key "2024" for a place in a list.
        super().__init__(column, Value(key, TextField()), output_field=TextField())


class JsonValue(Func):
    """A key of a JSON object as JSON."""

    template = "(%(expressions)s)"
    arg_joiner = " -> "

    def __init__(self, column: Combinable | str, key: str) -> None:
        super().__init__(column, Value(key, TextField()), output_field=JSONField())


class _Cast(Func):
    """Of one expression, which stands in the SQL several times."""

    arity = 1

    def __init__(self, text: Combinable, output_field: Any) -> None:
        super().__init__(text, output_field=output_field)

    def as_sql(self, compiler: Any, connection: Any, *_args: Any, **_extra: Any) -> tuple[str, tuple[str | int, ...]]:
        sql, params = compiler.compile(self.source_expressions[0])
        times = self.template.count("%(expressions)s")
        return self.template.replace("%(expressions)s", sql), tuple(params) * times


class SafeNumber(_Cast):
    template = (
        f"(CASE WHEN %(expressions)s ~ '{_NUMBER}' AND pg_input_is_valid(%(expressions)s, 'numeric') "
        "THEN (%(expressions)s)::numeric END)"
    )


class SafeBoolean(_Cast):
    template = (
        "(CASE lower(btrim(%(expressions)s)) WHEN 'true' THEN true WHEN 't' THEN true WHEN 'yes' THEN true "
        "WHEN '1' THEN true WHEN 'false' THEN false WHEN 'f' THEN false WHEN 'no' THEN false WHEN '0' THEN false END)"
    )


class SafeDate(_Cast):
    """Of a time, the date as it is written."""

    template = (
        f"(CASE WHEN %(expressions)s ~ '{_DATE}' AND pg_input_is_valid(left(%(expressions)s, 10), 'date') "
        "THEN left(%(expressions)s, 10)::date END)"
    )


class SafeTime(_Cast):
    """Of a date, its first moment."""

    template = (
        f"(CASE WHEN %(expressions)s ~ '{_DATE}' AND pg_input_is_valid(%(expressions)s, 'timestamptz') "
        "THEN (%(expressions)s)::timestamptz END)"
    )


class AsText(_Cast):
    template = "((%(expressions)s)::text)"


class AsNumber(_Cast):
    """Of a text that is known to be one, without the pattern of SafeNumber: it raises otherwise."""

    template = "((%(expressions)s)::numeric)"


class UtcText(_Cast):
    """A time of SafeTime as it stands in files."""

    template = "(replace((%(expressions)s AT TIME ZONE 'UTC')::text, ' ', 'T') || 'Z')"


def typed(text: Combinable, kind: ColumnType) -> Combinable:
    """A text as a value of the type, NULL where it is none."""
    match kind:
        case ColumnType.NUMBER:
            return SafeNumber(text, DecimalField())
        case ColumnType.BOOLEAN:
            return SafeBoolean(text, BooleanField())
        case ColumnType.DATE:
            return SafeDate(text, DateField())
        case ColumnType.DATETIME:
            return SafeTime(text, DateTimeField())
        case _:
            return text


class Compared(Func):
    """Two expressions with an operator between them."""

    template = "(%(expressions)s)"

    def __init__(self, left: Combinable, operator: str, right: Combinable) -> None:
        super().__init__(left, right, arg_joiner=f" {operator} ", output_field=BooleanField())


class Like(Func):
    """A text against a pattern. `ignore_case` folds letters as the database's locale does."""

    def __init__(self, text: Combinable, pattern: str, *, ignore_case: bool) -> None:
        operator = "ILIKE" if ignore_case else "LIKE"
        super().__init__(
            text,
            Value(pattern, TextField()),
            # Some columns have the collation "C", in which only ASCII letters have a case.
            template='(%(expressions)s COLLATE "default")',
            arg_joiner=f' COLLATE "default" {operator} ',
            output_field=BooleanField(),
        )


def like_literal(text: str) -> str:
    """A text for a pattern of LIKE in which nothing stands for anything else."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
