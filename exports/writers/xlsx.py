"""XLSX: a workbook with a bold header that stays in sight; after 1,048,576 lines goes on with another sheet.

Numbers, dates and booleans are such. A spreadsheet keeps 15 digits of a number: longer ones are texts, and so are dates
before March 1900, on which spreadsheets differ. Times have milliseconds. Texts are never formulas or links; one of more
than 32,767 characters (an emoji is two) is cut, which is counted. U+FFFE and U+FFFF, which XML does not know, are left
out. NULL and a blank text are an empty cell.
The library writes to a temporary file, which is gone with the run.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import tempfile
import traceback
from collections.abc import Callable, Iterator
from typing import IO, Any

from exports.rows import ColumnType
from exports.writers.base import Reading
from exports.writers.values import plain_text

LINES_MAX = 1_048_576
TEXT_MAX = 32_767
DIGITS_MAX = 15
BLOCK = 256 * 1024
NO_CHARACTERS = dict.fromkeys((0xFFFE, 0xFFFF))
FIRST_DAY = dt.datetime(1900, 3, 1)  # noqa: DTZ001  a spreadsheet knows no zones


def blocks(reading: Reading) -> Iterator[bytes]:
    with (
        tempfile.TemporaryDirectory(prefix="batchdesk-xlsx-") as folder,
        open(f"{folder}/export.xlsx", "w+b") as made,  # noqa: PTH123  a text path of ours
    ):
        sheets = _Sheets(reading, made, folder)
        # The module's own limit is for the whole process; cells are cut in the database.
        csv.field_size_limit(max(csv.field_size_limit(), 2 * TEXT_MAX))
        try:
            for block in reading.copy(_statement(reading)):
                # Blocks hold whole rows, so each is a CSV of its own. A row of one NULL is an empty line.
                for row in csv.reader(io.StringIO(block.decode(), newline="")):
                    sheets.add(row or [""])
            sheets.pack()
        except BaseException:
            sheets.discard()
            raise
        made.seek(0)
        for block in iter(lambda: made.read(BLOCK), b""):
            yield block
            reading.alive()


def _statement(reading: Reading) -> str:
    cells = []
    for at, column in enumerate(reading.selection.columns):
        # Times without their Z: a spreadsheet knows no zones.
        text = plain_text(f"c{at}", column.type)
        if column.type is ColumnType.DATETIME:
            text = f"(c{at} AT TIME ZONE 'UTC')::text"
        elif column.type in (ColumnType.TEXT, ColumnType.JSON):
            text = f"left({text}, {TEXT_MAX + 1})"
        cells.append(text)
    return f"COPY (SELECT {', '.join(cells)} FROM ({reading.selection.select}) q) TO STDOUT (FORMAT csv)"  # noqa: S608


class _Watched:
    """A file in the hands of the library, which packs for long without coming back: `look` is called at each step."""

    def __init__(self, file: IO[Any], look: Callable[[], None]) -> None:
        self._file = file
        self._look = look

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read(self, size: int) -> Any:
        self._look()
        return self._file.read(size)

    def write(self, data: Any) -> int:
        self._look()
        return self._file.write(data)


class _Sheets:
    """A workbook that grows line by line, sheet by sheet."""

    def __init__(self, reading: Reading, made: IO[bytes], folder: str) -> None:
        import xlsxwriter

        self.reading = reading
        self.is_stopped = False
        self.book = xlsxwriter.Workbook(
            _Watched(made, self._look),
            {
                "constant_memory": True,
                "tmpdir": folder,
                "strings_to_formulas": False,
                "strings_to_urls": False,
                "strings_to_numbers": False,
            },
        )
        # No time of its own: equal content gives equal bytes.
        self.book.set_properties({"created": dt.datetime(1980, 1, 1, tzinfo=dt.UTC).replace(tzinfo=None)})
        self.bold = self.book.add_format({"bold": True})
        formats = {
            ColumnType.DATE: self.book.add_format({"num_format": "yyyy-mm-dd"}),
            ColumnType.DATETIME: self.book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"}),
        }
        self.columns = [(column.type, formats.get(column.type)) for column in reading.selection.columns]
        self.sheet: Any = None
        self.line = LINES_MAX
        self._next()

    def _next(self) -> None:
        self.sheet = self.book.add_worksheet()
        self.line = 0
        if self.reading.options.header:
            for at, column in enumerate(self.reading.selection.columns):
                self.sheet.write_string(0, at, column.header.translate(NO_CHARACTERS), self.bold)
            self.sheet.freeze_panes(1, 0)
            self.line = 1

    def pack(self) -> None:
        """Makes the workbook. Raises OSError, and what `alive` raises."""
        from xlsxwriter.exceptions import FileCreateError

        for sheet in self.book.worksheets():
            sheet.row_data_fh = _Watched(sheet.row_data_fh, self._look)
        try:
            self.book.close()
        except BaseException as error:
            cause = error.args[0] if isinstance(error, FileCreateError) else error
            # The archive in there writes its end when it goes: now, while its file is open.
            traceback.clear_frames(cause.__traceback__)
            raise cause from None

    def _look(self) -> None:
        """Once `alive` has raised it is not asked again: the archive still writes its end."""
        if not self.is_stopped:
            self.is_stopped = True
            self.reading.alive()
            self.is_stopped = False

    def discard(self) -> None:
        """Closes its files without making a workbook of them."""
        for sheet in self.book.worksheets():
            sheet.fh.close()
            sheet.row_data_fh.close()

    def add(self, row: list[str]) -> None:
        if self.line >= LINES_MAX:
            self._next()
        for at, ((kind, style), text) in enumerate(zip(self.columns, row, strict=True)):
            if text:
                self._write(at, kind, style, text)
        self.line += 1

    def _write(self, at: int, kind: ColumnType, style: Any, text: str) -> None:
        if kind is ColumnType.NUMBER:
            if (number := _number(text)) is not None:
                self.sheet.write_number(self.line, at, number)
                return
        elif kind is ColumnType.BOOLEAN:
            self.sheet.write_boolean(self.line, at, text == "true")
            return
        elif kind in (ColumnType.DATE, ColumnType.DATETIME) and (moment := _moment(text)) is not None:
            self.sheet.write_datetime(self.line, at, moment, style)
            return
        text, is_cut = _fitting(text.translate(NO_CHARACTERS))
        if is_cut:
            _count(self.reading.warnings, "TEXTS_CUT")
        self.sheet.write_string(self.line, at, text)


def _fitting(text: str) -> tuple[str, bool]:
    """What a cell holds of a text, and whether that is not all."""
    if len(text) <= TEXT_MAX // 2:
        return text, False
    units = text.encode("utf-16-le")
    if len(units) <= TEXT_MAX * 2:
        return text, False
    return units[: TEXT_MAX * 2].decode("utf-16-le", "ignore"), True


def _count(warnings: list[dict[str, Any]], code: str) -> None:
    for warning in warnings:
        if warning["code"] == code:
            warning["count"] += 1
            return
    warnings.append({"code": code, "count": 1})


def _number(text: str) -> float | None:
    """The number of a text, if a spreadsheet keeps it as it is."""
    digits = text.partition("e")[0].lstrip("-")
    if "." in digits:
        digits = digits.rstrip("0")
    if len(digits.replace(".", "").lstrip("0")) > DIGITS_MAX:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if number - number == 0 else None  # neither NaN nor infinite


def _moment(text: str) -> dt.datetime | None:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:  # infinity, before Christ, beyond 9999
        return None
    # Never rounded up: the last moment of 9999 would become a day that there is not.
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    return moment if moment >= FIRST_DAY else None
