"""Writing by way of a stage: for every file. A chunk is staged in a table of the session, then merged by statements.

This is what decides about identity, repetition and order. One writer a kind of data: interactions.py, profiles.py,
list_members.py, suppressions.py, decisions.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import psycopg

from batchjobs.ingestion.writing.ledger import ChunkRecord, Merged, RunPlan, Session

# A chunk stays in memory while it is staged.
SETTINGS = "SET temp_buffers = '64MB'"
# Another job wrote the same people at the same time: PostgreSQL lets one of the two try again.
RETRIED = (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected, psycopg.errors.UniqueViolation)
TRIES = 6


class StageConflictError(Exception):
    """Some rows are already there: the merge starts again without them."""


class OutdatedError(Exception):
    """What was looked up when the chunk was checked is no longer so: the run goes on from its checkpoint."""


@dataclass(frozen=True, slots=True)
class StagedWriter:
    """A subclass says how its stage looks (`fields`: column -> type) and how it is merged (`write`)."""

    plan: RunPlan
    fields: ClassVar[dict[str, str]]

    @property
    def copy(self) -> str:
        return f"COPY stage ({', '.join(self.fields)}) FROM STDIN"

    def prepare(self, session: Session) -> None:
        columns = ", ".join(f"{name} {kind}" for name, kind in self.fields.items())
        session.execute(SETTINGS)
        session.execute(f"CREATE TEMP TABLE stage ({columns}) ON COMMIT DELETE ROWS")

    def stage(self, session: Session, chunk: ChunkRecord) -> None:
        """The COPY has done it."""

    def merge(self, session: Session, chunk: ChunkRecord) -> Merged:
        merged = Merged(chunk.good)
        for attempt in range(TRIES):
            try:
                with session.transaction():  # a savepoint
                    found = Merged(merged.valid)
                    if merged.valid:
                        self.write(session, found)
                found.known_lines += merged.known_lines
                return found
            except StageConflictError:
                known = self.drop_known(session)
                merged.known_lines += known
                merged.valid -= len(known)
            except RETRIED:
                if attempt == TRIES - 1:
                    raise
        raise RuntimeError("The same rows conflict again and again.")

    def write(self, session: Session, merged: Merged) -> None:
        """Merges what is staged, which are `merged.valid` rows, and says what became of them."""
        raise NotImplementedError

    def drop_known(self, session: Session) -> list[int]:
        """Takes rows that are already there off the stage, after a StageConflictError; their lines."""
        raise NotImplementedError


def taken_off(session: Session, statement: str, ids: dict[str, int]) -> list[int]:
    """The lines of the rows that a DELETE … RETURNING row_no took off the stage."""
    return [row[0] for row in session.execute(statement, ids)]
