"""A list without a header: one e-mail address (or hash of one) a line."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import Any

from batchjobs.ingestion import checks
from batchjobs.ingestion.formats.lines import LineReader, read_head, too_long
from batchjobs.ingestion.rows import CellBlock, Rejected
from batchjobs.ingestion.sniff import TextForm
from batchjobs.ingestion.source import Content

_DIGEST = re.compile(r"[0-9a-f]{32}|[0-9a-f]{64}", re.IGNORECASE).fullmatch
_AROUND = " \t\r\n,;<>\"'"  # what people's lists have around an address


@dataclass(slots=True)
class EmailListLayout:
    encoding: str
    newline: str
    header: list[str]
    data_offset: int
    data_line: int

    @property
    def form(self) -> TextForm:
        return TextForm(self.encoding, 0, self.newline.encode(self.encoding))


def is_email_list(text: str) -> bool:
    """Whether a text begins with a line that is an address, or the hash of one, and nothing else."""
    first = next((line.strip(_AROUND) for line in io.StringIO(text, newline=None) if line.strip()), "")
    return bool(checks.email(first.lower()) or _DIGEST(first))


def layout_of(content: Content, *, extension: str, options: dict[str, Any], record_max: int) -> EmailListLayout:
    """Raises FileFailureError for what is not text."""
    form, _text = read_head(content, str(options.get("encoding") or ""), record_max)
    return EmailListLayout(form.encoding, form.newline.decode(form.encoding), ["email"], form.bom, 1)


class EmailListReader(LineReader[CellBlock]):
    """Blank lines are no rows."""

    def nothing_but(self, rejected: Rejected) -> CellBlock:
        return CellBlock([], str, [rejected], self.offset, self.line, [[]], dirty=False)

    def whole(self, data: bytes) -> CellBlock:
        form = self.layout.form
        text, dirty = form.decode(data)
        lines = list(io.StringIO(text, newline=""))
        first = self.line
        self.line += len(lines)
        cells, numbers, rejected = [], [], []
        for number, line in enumerate(lines, first):
            if len(line) * 4 > self.record_max < len(form.encode(line.rstrip("\r\n"))):
                rejected.append(too_long(number, line))
            elif cell := line.strip(_AROUND):
                cells.append(cell)
                numbers.append(number)

        def raw(place: int) -> str:
            return lines[numbers[place] - first].rstrip("\r\n")

        return CellBlock(numbers, raw, rejected, self.offset, self.line, [cells], dirty or "\x00" in text)
