"""Profiles alone."""

from __future__ import annotations

from batchjobs.ingestion.writing import people
from batchjobs.ingestion.writing.ledger import Merged, Session
from batchjobs.ingestion.writing.stage import StagedWriter


class ProfileWriter(StagedWriter):
    fields = {**people.FIELDS, "attributes": "jsonb"}

    def write(self, session: Session, merged: Merged) -> None:
        people.write_people(session, self.plan, merged)
