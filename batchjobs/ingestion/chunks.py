"""Cuts a file into chunks, and hands their rows to the loaders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.conf import settings

from batchjobs.failures import FileFailureError
from batchjobs.ingestion.formats import Reader
from batchjobs.ingestion.records.base import BlockChecker
from batchjobs.ingestion.records.event import ATTRIBUTES
from batchjobs.ingestion.rejects import RejectsPart, job_folder
from batchjobs.ingestion.rows import CellBlock, ObjectBlock
from batchjobs.ingestion.writing.direct import People
from batchjobs.ingestion.writing.ledger import ChunkRecord
from batchjobs.ingestion.writing.loader import LoaderPool
from batchjobs.kernel import Lease
from batchjobs.models import BatchJob

CHUNK_BYTES = 32 * 1024 * 1024
REJECTS_IN_A_ROW = 200_000


@dataclass(slots=True)
class Chunks:
    """Cuts the file into chunks. Each begins with a fresh read, so a resumed run cuts it at the same places."""

    job: BatchJob
    lease: Lease
    reader: Reader
    checker: BlockChecker
    pool: LoaderPool
    people: People | None  # for writing straight into the audience
    n: int
    bad_in_a_row: int = 0
    broken: FileFailureError | None = None  # where the file cannot be read on; what was read before is kept

    def __post_init__(self) -> None:
        self.reader.seek(self.job.next_offset, self.job.next_line)

    def read(self) -> ChunkRecord | None:
        """Feeds the next chunk's rows to the pool and stores its rejected rows; None at the end of the file."""
        reader, chunk, part = self.reader, ChunkRecord(self.n), RejectsPart()
        begun, size = reader.offset, 0
        if self.bad_in_a_row > REJECTS_IN_A_ROW or self.broken:
            return None
        reader.seek(reader.offset, reader.line)
        if self.checker.is_unsettled:
            self.pool.settle()
        self.checker.new_chunk()
        try:
            for block in self._blocks():
                self.lease.check()
                checked = self.checker.check(block, self.people)
                if checked.copy_text and not self.pool.writer.plan.dry_run:
                    self.pool.write(checked.copy_text)
                chunk.good += checked.good
                chunk.skipped_lines += checked.skipped_lines
                part.add(checked.rejected)
                self.bad_in_a_row = 0 if checked.good else self.bad_in_a_row + len(checked.rejected)
                size += len(checked.copy_text)
                rows = chunk.good + len(chunk.skipped_lines) + part.count
                full = rows >= settings.JOB_CHUNK_ROWS or size >= CHUNK_BYTES
                if full or self.bad_in_a_row > REJECTS_IN_A_ROW:
                    break
            if reader.offset == begun and not part.count:
                return None
            folder = job_folder(self.job.account_id, self.job.pk)
            name = f"{folder}/{self.n:06d}-{self.lease.token}.ndjson"
            chunk.part = part.store(name)
        finally:
            part.discard()
        self.n += 1
        chunk.end_offset, chunk.end_line = reader.offset, reader.line
        chunk.invalid, chunk.groups, chunk.samples = part.count, list(part.groups.values()), part.samples
        chunk.event_names = sorted(self.checker.names_found)[:20]
        chunk.reader_state = {"runaways": getattr(reader.layout, "runaways", 0), "staged": self.people is None}
        if self.people:
            chunk.people = self.people.end_chunk(list(ATTRIBUTES) if self.checker.has_attributes else [])
        return chunk

    def _blocks(self) -> Iterator[CellBlock | ObjectBlock]:
        try:
            yield from self.reader.blocks()
        except FileFailureError as failure:
            self.broken = failure
