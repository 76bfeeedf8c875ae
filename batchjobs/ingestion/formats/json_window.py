"""A window on the text of a JSON file, which moves on over it; nothing else of the file is in memory."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from batchjobs.ingestion.formats.json_records import STRING
from batchjobs.ingestion.sniff import TextForm
from batchjobs.ingestion.source import OBJECTS_BLOCK, Content

# Strings, brackets and marks, and runs of anything else.
_TOKEN = re.compile(STRING + r'|[{}\[\],:]|[^ \t\n\r"{}\[\],:]+', re.DOTALL)


@dataclass(slots=True)
class Window:
    """A window on the text of the content, with the offset and line of its beginning."""

    block_bytes: ClassVar[int] = OBJECTS_BLOCK

    content: Content
    form: TextForm
    offset: int
    line: int
    buffer: str = field(default="", repr=False)
    ended: bool = False
    _decoder: codecs.IncrementalDecoder | None = None

    def __post_init__(self) -> None:
        self.content.seek(self.offset)
        self._decoder = codecs.getincrementaldecoder(self.form.encoding)(self.form.lenient)

    def fill(self) -> None:
        """Adds a block."""
        assert self._decoder is not None  # noqa: S101  __post_init__
        data = self.content.read(self.block_bytes)
        self.ended = not data
        if self.ended:  # the decoder may still hold a part of a character
            self.buffer += self.form.decode(self._decoder.getstate()[0])[0]
            self._decoder.reset()
        else:
            self.buffer += self._decoder.decode(data)

    def drop(self, upto: int) -> None:
        """Moves the window's beginning on."""
        passed = self.buffer[:upto]
        self.offset += len(self.form.encode(passed))
        self.line += passed.count("\n")
        self.buffer = self.buffer[upto:]

    def place(self, at: int) -> tuple[int, int]:
        """Offset and line of a place in the window."""
        passed = self.buffer[:at]
        return self.offset + len(self.form.encode(passed)), self.line + passed.count("\n")

    def tokens(self, size_max: int) -> Iterator[tuple[str, int]]:
        """Strings, brackets, commas, colons and other runs, with where each ends in the window.

        Of a string that is longer than `size_max` only the end is given out.
        """
        while not self.ended:
            self.fill()
            at = 0
            for match in _TOKEN.finditer(self.buffer):
                if match.end() == len(self.buffer) and not self.ended and match[0] not in "{}[],:":
                    break  # it may go on
                at = match.end()
                yield match[0], at
            self.drop(at)
            if len(self.buffer) > size_max:
                self._shorten()

    def _shorten(self) -> None:
        """Of a string or another run that is longer than anything that matters only the end counts."""
        inside = self.buffer.lstrip(" \t\n\r").startswith('"')
        escaped = (len(self.buffer) - len(self.buffer.rstrip("\\"))) % 2
        self.drop(len(self.buffer) - escaped)
        if inside:
            self.buffer = '"' + self.buffer
            self.offset -= len(self.form.encode('"'))
