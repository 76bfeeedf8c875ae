"""Purchases: strict JSON as the Sailthru-compatible job API takes it, or a flat file with a purchase a row.

Source of the JSON's rules: contracts of the job API, `purchase_import` (date and extid are required, keys that only
apply in real time are refused). Prices of JSON items are whole cents, as there; those of flat files are as written.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.utils.translation import gettext_lazy as _

from batchjobs.ingestion.copytext import Part
from batchjobs.ingestion.formats.json_records import Number
from batchjobs.ingestion.records.base import EMAIL, PARTNER_USER_ID, RecordType, Values
from batchjobs.ingestion.records.columns import Column, Kind
from batchjobs.ingestion.records.event import InteractionChecker
from batchjobs.ingestion.records.table import ObjectTable, Table
from batchjobs.ingestion.writing.interactions import InteractionWriter

KIND = "purchase"
REALTIME_ONLY = ("message_id", "incomplete", "reminder_template", "send_template", "send_tempate", "reminder_time")
NUMBERS = ("price", "qty")
LISTS = ("items", "adjustments", "tenders")


class PurchaseChecker(InteractionChecker):
    columns = (
        EMAIL,
        PARTNER_USER_ID,
        Column(
            "date",
            _("When it was bought."),
            "2026-11-21",
            ("purchase_date", "order_date", "invoice_date", "purchased_at", "ordered_at", "event_time"),
            Kind.TIME,
            required=True,
            wrong="21/21/2026",
        ),
        Column(
            "extid",
            _("Your own number of the purchase: the same one is never counted twice. Required in JSON."),
            "purchase101",
            ("purchase_id", "order_id", "invoice_id", "partner_event_id", "id"),
        ),
        Column(
            "price",
            _("What was paid in all."),
            "39.90",
            ("amount", "total", "order_total", "value"),
            Kind.NUMBER,
            wrong="39,90 EUR",
        ),
        Column("qty", _("How many pieces."), "2", ("quantity",), Kind.NUMBER, wrong="two"),
        Column(
            "items",
            _("JSON only: what was bought, a list of objects."),
            '[{"id":"2005","title":"T-shirt","qty":1,"price":4000,"url":"https://example.com/t"}]',
            (),
            Kind.JSON,
        ),
        Column("adjustments", _("JSON only: discounts and charges."), '[{"title":"Sale","price":-500}]', (), Kind.JSON),
        Column("tenders", _("JSON only: how it was paid."), '[{"title":"Card","price":3500}]', (), Kind.JSON),
        Column("vars", _("JSON only: values of your own."), '{"store":"Porto"}', (), Kind.JSON),
        Column("purchase_keys", _("JSON only: holds extid."), '{"extid":"purchase101"}', (), Kind.JSON),
    )
    dedupe: ClassVar[str] = "extid"
    time_column = "date"

    def judge(self, table: Table, values: Values) -> None:
        if isinstance(table, ObjectTable):
            self._judge_objects(table, values)

    def kinds(self, kept: Values, count: int) -> list[str]:
        self.names_found.add(KIND)
        return [KIND] * count

    def properties(self, table: Table, kept: Values) -> list[str]:
        parts = [Part(name, kept[name], is_json=True) for name in NUMBERS if name in kept]
        return table.objects(parts)

    def _judge_objects(self, table: ObjectTable, values: Values) -> None:
        """The rules for JSON, of the whole record."""
        extids = values.setdefault("extid", [""] * table.count)
        for at, record in enumerate(table.block.objects):
            for key in REALTIME_ONLY:
                if key in record:
                    table.add(at, key, "REALTIME_ONLY")
            keys = record.get("purchase_keys")
            if keys is not None:
                extid = keys.get("extid") if isinstance(keys, dict) else None
                if isinstance(extid, str | int) and not isinstance(extid, bool) and str(extid).strip():
                    extids[at] = str(extid).strip()
                else:
                    table.add(at, "purchase_keys", "VALUE_NOT_JSON")
            if not extids[at] and keys is None:
                table.add(at, "extid", "VALUE_MISSING")
            for name, problem in _form_problems(record):
                table.add(at, name, problem)


def _form_problems(record: dict[str, Any]) -> list[tuple[str, str]]:
    problems = []
    for name in LISTS:
        if (value := record.get(name)) is not None and not (
            isinstance(value, list) and all(isinstance(item, dict) for item in value)
        ):
            problems.append((name, "VALUE_NOT_JSON"))
            continue
        for item in value or ():
            if any(key in item and not _is_number(item[key]) for key in NUMBERS):
                problems.append((name, "NUMBER_INVALID"))
                break
    if (own := record.get("vars")) is not None and not isinstance(own, dict):
        problems.append(("vars", "VALUE_NOT_JSON"))
    return problems


def _is_number(value: Any) -> bool:
    """A number, or one as text, as some callers send it."""
    if isinstance(value, bool):
        return False
    if isinstance(value, int | float | Number):
        return True
    return isinstance(value, str) and value.lstrip("-").replace(".", "", 1).isdecimal()


PURCHASE = RecordType(
    PurchaseChecker,
    InteractionWriter,
    title=_("Purchases"),
    help=_("One purchase in each row or record: who, when and for how much."),
    others=_("Every other column is kept as a property of the purchase."),
)
