"""How a table of the account's own declares its columns: [{"name": "sku", "type": "text"}, …]."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

COLUMN_TYPES = ("text", "number", "boolean", "date", "datetime")
COLUMNS_MAX = 500
COLUMN_NAME_MAX = 120


def columns_check(columns: Any) -> None:
    """Raises ValidationError for what is no list of columns with different names."""
    if not isinstance(columns, list) or len(columns) > COLUMNS_MAX:
        raise ValidationError(_("It is a list of %(count)d columns at most.") % {"count": COLUMNS_MAX})
    seen: set[str] = set()
    for column in columns:
        name = column.get("name") if isinstance(column, dict) else None
        if not isinstance(name, str) or not name.strip() or len(name) > COLUMN_NAME_MAX or not name.isprintable():
            raise ValidationError(_('Each column needs a name: {"name": "sku", "type": "text"}.'))
        if column.get("type") not in COLUMN_TYPES:
            raise ValidationError(
                _("The type of “%(name)s” is one of %(types)s.") % {"name": name, "types": ", ".join(COLUMN_TYPES)}
            )
        if name.lower() in seen:
            raise ValidationError(_("There are two columns “%(name)s”.") % {"name": name})
        seen.add(name.lower())
