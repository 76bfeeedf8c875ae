"""What of batch uploads is kept (batchjobs/retention.py). Files and rejected records go with those of all jobs."""

from __future__ import annotations

from batchjobs.retention import Kept

TABLE = (
    Kept(
        ("uploads.BatchUpload", "uploads.UploadEvent"),
        until="the account is removed",
        why="The history: which program pushed which batch, and what became of it. The page lists the last 30 days; a "
        "program that has the reference may ask longer.",
    ),
)
