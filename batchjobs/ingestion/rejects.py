"""The rejected rows of a chunk: a file part that is stored before the chunk is committed, and what the page shows.

Parts are named by job, chunk and token; one that no ledger row names is an orphan of a crash, swept later.
"""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import dataclass, field
from typing import Any

from django.core.files.base import File
from django.core.files.storage import default_storage

from batchjobs.ingestion.rows import Rejected

SPOOL_BYTES = 4 * 1024 * 1024
SAMPLES = 5  # rows shown on the page
EXAMPLES = 3  # values shown of each kind of error
SHOWN = 120  # characters of a value
_UNREADABLE = re.compile("[\x00\ud800-\udfff]")


def account_folder(account: int) -> str:
    """Where an account's parts are stored: a folder for each job."""
    return f"rejects/{account}"


def job_folder(account: int, job: int) -> str:
    return f"{account_folder(account)}/{job}"


@dataclass(slots=True)
class RejectsPart:
    """Collects what was rejected. Rows of a block are added together; a chunk's lines are in order."""

    count: int = 0
    groups: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    samples: list[dict[str, Any]] = field(default_factory=list)
    _spool: Any = None

    def add(self, rejected: list[Rejected]) -> None:
        if not rejected:
            return
        if self._spool is None:
            self._spool = tempfile.SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115  closed by store()
        for row in sorted(rejected, key=lambda r: r.line):
            self.count += 1
            errors = [error.as_json() for error in row.errors]
            entry = {"line": row.line, "errors": errors, "raw": row.raw, "cells": row.cells}
            self._spool.write(json.dumps(entry).encode() + b"\n")
            for error in row.errors:
                key = (error.code, error.column)
                group = self.groups.setdefault(
                    key, {"code": error.code, "column": error.column, "count": 0, "examples": []}
                )
                group["count"] += 1
                if len(group["examples"]) < EXAMPLES:
                    group["examples"].append({"line": row.line, "value": shown(error.value or row.raw)})
            if len(self.samples) < SAMPLES:
                cells = [shown(cell) for cell in (row.cells if row.cells is not None else [row.raw])[:60]]
                self.samples.append({"line": row.line, "cells": cells, "errors": errors})

    def store(self, name: str) -> str:
        """Stores the part durably; returns its name, or "" when nothing was rejected."""
        if self._spool is None:
            return ""
        self._spool.seek(0)
        with self._spool as content:
            return str(default_storage.save(name, File(content)))

    def discard(self) -> None:
        if self._spool is not None:
            self._spool.close()


def readable(text: str) -> str:
    """`text` without what JSON columns and pages cannot hold: NUL and bytes that are no text become �."""
    return _UNREADABLE.sub("�", text)


def shown(text: str) -> str:
    return readable(text if len(text) <= SHOWN else text[:SHOWN] + "…")
