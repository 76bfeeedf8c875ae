"""Approvals: a decision on an event that was brought in before."""

from __future__ import annotations

from collections.abc import Iterable

from django.utils.translation import gettext_lazy as _

from batchjobs.ingestion.copytext import copy_texts
from batchjobs.ingestion.records.base import Checker, RecordType, Values
from batchjobs.ingestion.records.columns import Column, Kind
from batchjobs.ingestion.records.table import Table
from batchjobs.ingestion.writing.decisions import DecisionWriter, known_event_ids, known_external_ids

DECISIONS = {
    "approved": "approved",
    "approve": "approved",
    "accepted": "approved",
    "yes": "approved",
    "declined": "declined",
    "decline": "declined",
    "denied": "declined",
    "rejected": "declined",
    "no": "declined",
}
EVENT_ID_MAX = 2**63


class ApproveChecker(Checker):
    columns = (
        Column("partner_event_id", _("Your own number for the event."), "A-88121", ("extid", "order_id")),
        Column("event_id", _("Batchdesk's number for the event, if you have none."), "4711"),
        Column(
            "decision",
            _("approved (if left out) or declined."),
            "approved",
            ("status", "approval"),
            Kind.CHOICE,
            choices=DECISIONS,
            wrong="maybe",
        ),
        Column("note", _("A remark that is kept with the decision."), "Checked by phone", ("comment", "reason")),
        Column("decided_at", _("When. Left out: when the file is run."), "2026-11-21", ("date",), Kind.TIME),
    )
    identity = ("partner_event_id", "event_id")
    identity_code = "EVENT_MISSING"

    def judge(self, table: Table, values: Values) -> None:
        blank = [""] * table.count
        externals, events = values.get("partner_event_id", blank), values.get("event_id", blank)
        database, session = self.context.database, self.context.look_up
        numbers = [int(n) for n in set(events) if n.isascii() and n.isdecimal() and int(n) < EVENT_ID_MAX]
        by_id = known_event_ids(session, database, numbers)
        by_external = known_external_ids(session, database, [key for key in set(externals) if key])
        found = []
        for at, (external, event) in enumerate(zip(externals, events, strict=True)):
            key = by_external.get(external, "") if external else by_id.get(event, "")
            if not key and (external or event):
                name, value = ("partner_event_id", external) if external else ("event_id", event)
                table.add(at, name, "EVENT_UNKNOWN", value)
            found.append(key)
        values["interaction"] = found

    def stage(self, table: Table, kept: Values, lines: list[int]) -> list[Iterable[str]]:
        blank = [""] * len(lines)
        times = kept.get("decided_at", blank)
        return [
            map(str, lines),
            kept["interaction"],
            [decision or "approved" for decision in kept.get("decision", blank)],
            copy_texts(kept.get("note", blank)),
            [time or self.context.default_time for time in times],
        ]


APPROVE = RecordType(
    ApproveChecker,
    DecisionWriter,
    title=_("Approvals"),
    help=_("A decision in each row, approved or declined, on an event that is there already."),
    others=_("Other columns are not kept."),
    keeps_others=False,
)
