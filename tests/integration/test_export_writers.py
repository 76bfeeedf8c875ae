"""Files that exports write, opened by others: each holds what the table holds, whatever the values are."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import json
import re
import subprocess
import zipfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import duckdb
import openpyxl
import psycopg
import pytest
from pyarrow import parquet

from batchjobs.ingestion.formulas import undo_safe
from batchjobs.sessions import open_session
from exports.rows import ColumnType, OutColumn, Selection
from exports.writers import FileOptions, OptionError, suffix_of, write
from tests.programs import needs

pytestmark = pytest.mark.django_db(transaction=True)

TEXTS = [
    "plain",
    'a "quoted" one',
    "line\nbreak",
    "carriage\r\nreturn",
    "tab\tbed",
    "semi;colon, comma|bar",
    "]]> & <tag>",
    "Zoë 😀 שלום",
    "007",
    "NULL",
    "\\N \\. \\\\",
    "=1+1",
    "-5",
    "@home",
    "'=quoted",
    "",
    None,
]
NUMBERS = ["1", "-2.50", "0", "123456789012345678901234567890.5", None]
COLUMNS = (
    OutColumn("text", ColumnType.TEXT),
    OutColumn("number", ColumnType.NUMBER),
    OutColumn("yes", ColumnType.BOOLEAN),
    OutColumn("day", ColumnType.DATE),
    OutColumn('at "x"; y', ColumnType.DATETIME),
    OutColumn("doc", ColumnType.JSON),
)
ROWS = [
    (
        text,
        NUMBERS[at % len(NUMBERS)],
        (True, False, None)[at % 3],
        (dt.date(2026, 11, 21), None)[at % 2],
        (dt.datetime(2026, 11, 21, 14, 32, 0, 120_000, tzinfo=dt.UTC), dt.datetime(1999, 1, 1, tzinfo=dt.UTC), None)[
            at % 3
        ],
        ({"a": [1, "x\n"]}, None)[at % 2],
    )
    for at, text in enumerate(TEXTS)
]


@pytest.fixture
def session() -> Iterator[psycopg.Connection[Any]]:
    with open_session("writers") as opened:
        opened.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield opened
        opened.close()


def selection(session: psycopg.Connection[Any], rows: list[tuple[Any, ...]]) -> Selection:
    cursor = psycopg.ClientCursor(session)
    types = ("text", "numeric", "boolean", "date", "timestamptz", "jsonb")
    lines = [
        cursor.mogrify(
            f"({', '.join(f'%s::{kind}' for kind in types)}, {at})",
            [*row[:5], json.dumps(row[5]) if row[5] is not None else None],
        )
        for at, row in enumerate(rows)
    ]
    values = ", ".join(lines) or f"({', '.join(f'NULL::{kind}' for kind in types)}, 0)"
    select = f"SELECT c0, c1, c2, c3, c4, c5, k FROM (VALUES {values}) t(c0, c1, c2, c3, c4, c5, k)"
    return Selection(select + ("" if rows else " WHERE false"), COLUMNS)


def made(session: psycopg.Connection[Any], rows: list[tuple[Any, ...]] = ROWS, **options: Any) -> tuple[bytes, Any]:
    written = write(session, selection(session, rows), FileOptions(**options), inner_name="inner")
    content = b"".join(written)
    assert written.rows == len(rows)
    return content, written


def time_of(moment: dt.datetime | None) -> str:
    if moment is None:
        return ""
    text = moment.isoformat().removesuffix("+00:00")
    return re.sub(r"(\.\d*?)0+$", r"\1", text) + "Z"


def as_cells(row: tuple[Any, ...]) -> list[str]:
    text, number, yes, day, at, doc = row
    return [
        text or "",
        number or "",
        {True: "true", False: "false", None: ""}[yes],
        day.isoformat() if day else "",
        time_of(at),
        json.dumps(doc) if doc else "",
    ]


@pytest.mark.parametrize("delimiter", [";", ",", "\t", "|"], ids=["semicolon", "comma", "tab", "bar"])
@pytest.mark.parametrize("quoting", ["minimal", "all"])
def test_csv(session: psycopg.Connection[Any], delimiter: str, quoting: str) -> None:
    content, _written = made(session, format="csv", delimiter=delimiter, quoting=quoting)
    header, *rows = csv.reader(io.StringIO(content.decode(), newline=""), delimiter=delimiter)
    assert header == [column.header for column in COLUMNS]
    assert rows == [as_cells(row) for row in ROWS]


def test_formulas_are_made_harmless_and_nothing_is_lost(session: psycopg.Connection[Any]) -> None:
    content, _written = made(session, format="csv", formula_safe=True)
    _header, *rows = csv.reader(io.StringIO(content.decode(), newline=""), delimiter=";")
    cells = [row[0] for row in rows]
    assert [cell for cell in cells if cell.startswith("'")] == ["'=1+1", "'@home", "''=quoted"]
    assert [undo_safe(cell) for cell in cells] == [text or "" for text in TEXTS]


@pytest.mark.parametrize(
    ("encoding", "bom", "replaced"),
    [("utf-8", b"", 0), ("utf-8-sig", b"\xef\xbb\xbf", 0), ("windows-1252", b"", 5), ("iso-8859-1", b"", 5)],
)
def test_encodings(session: psycopg.Connection[Any], encoding: str, bom: bytes, replaced: int) -> None:
    content, written = made(session, format="psv", encoding=encoding)
    assert content.startswith(bom + b"text|number|")
    text = content.decode(encoding)
    assert "Zoë" in text
    assert text.count("?") == replaced
    assert written.warnings == ([{"code": "CHARACTERS_REPLACED", "count": replaced}] if replaced else [])


@pytest.mark.parametrize("format_", ["ndjson", "json"])
def test_json_keeps_types(session: psycopg.Connection[Any], format_: str) -> None:
    content, _written = made(session, format=format_)
    whole = content if format_ == "json" else b"[" + b",".join(content.splitlines()) + b"]"
    objects = json.loads(whole, parse_float=Decimal)
    for found, row in zip(objects, ROWS, strict=True):
        text, number, yes, day, at, doc = row
        assert (found["text"], found["yes"], found["doc"]) == (text, yes, doc)
        assert found["number"] == (Decimal(number) if number else None)
        assert found["day"] == (day.isoformat() if day else None)
        moment = found['at "x"; y']
        assert (dt.datetime.fromisoformat(moment) if moment else None) == at


def test_xml(session: psycopg.Connection[Any], tmp_path: Path) -> None:
    needs("xmllint")
    rows = [*ROWS, ("bell\x07 and \x0b \ufffe", None, None, None, None, None)]
    content, _written = made(session, rows, format="xml")
    path = tmp_path / "made.xml"
    path.write_bytes(content)
    subprocess.run(["xmllint", "--noout", str(path)], check=True)
    for element, row in zip(ElementTree.fromstring(content), rows, strict=True):
        found = {field.get("name"): field.text or "" for field in element}
        names = [column.header for column in COLUMNS]
        kept = dict(zip(names, as_cells(row), strict=True))
        if row[0] and "bell" in row[0]:
            kept["text"] = "bell and  "
        assert found == {name: kept[name] for name, value in zip(names, row, strict=True) if value is not None}


def test_xlsx(session: psycopg.Connection[Any]) -> None:
    content, _written = made(session, format="xlsx")
    book = openpyxl.load_workbook(io.BytesIO(content))
    header, *rows = book.active.iter_rows(values_only=True)
    assert list(header) == [column.header for column in COLUMNS]
    for found, row in zip(rows, ROWS, strict=True):
        text, number, yes, day, at, _doc = row
        assert (found[0] or "").replace("_x000D_", "\r") == (text or "")
        if number and len(number) > 16:
            assert found[1] == number  # more digits than a spreadsheet keeps
        else:
            assert found[1] == (float(number) if number else None)
        assert found[2] == yes
        assert (found[3].date() if found[3] else None) == day
        assert (found[4].replace(tzinfo=dt.UTC) if found[4] else None) == at
    assert all(cell.data_type != "f" for line in book.active.iter_rows() for cell in line)


def test_parquet(session: psycopg.Connection[Any], tmp_path: Path) -> None:
    content, _written = made(session, format="parquet")
    path = tmp_path / "made.parquet"
    path.write_bytes(content)
    rows = parquet.read_table(path).to_pylist()
    for found, row in zip(rows, ROWS, strict=True):
        text, number, yes, day, at, doc = row
        assert (found["text"], found["yes"], found["day"]) == (text, yes, day)
        assert found["number"] == (Decimal(number) if number else None)
        assert found['at "x"; y'] == at
        assert (json.loads(found["doc"]) if found["doc"] else None) == doc
    assert duckdb.sql(f"SELECT count(*), count(text) FROM '{path}'").fetchall() == [(len(ROWS), len(ROWS) - 1)]


@pytest.mark.parametrize("format_", ["csv", "psv", "ndjson", "json", "xml", "xlsx", "parquet"])
def test_packed_and_empty(session: psycopg.Connection[Any], format_: str, tmp_path: Path) -> None:
    needs("unzip")
    needs("gzip")
    for rows in ([], ROWS):
        plain, _written = made(session, rows, format=format_)
        packed, written = made(session, rows, format=format_, compression="gzip")
        (tmp_path / "made.gz").write_bytes(packed)
        subprocess.run(["gzip", "-t", str(tmp_path / "made.gz")], check=True)
        assert gzip.decompress(packed) == plain
        assert written.content_bytes == len(plain)
        packed, _written = made(session, rows, format=format_, compression="zip")
        (tmp_path / "made.zip").write_bytes(packed)
        subprocess.run(["unzip", "-tq", str(tmp_path / "made.zip")], check=True, stdout=subprocess.DEVNULL)
        assert zipfile.ZipFile(io.BytesIO(packed)).read("inner") == plain
    assert suffix_of(FileOptions(format=format_, compression="gzip")) == f".{format_}.gz"


def test_one_that_is_told_to_stop_leaves_no_session(session: psycopg.Connection[Any]) -> None:
    def stop() -> None:
        raise KeyError("stop")

    select = "SELECT md5(n::text) AS c0, n::bigint AS k FROM generate_series(1, 200000) n"
    written = write(
        session, Selection(select, (OutColumn("a", ColumnType.TEXT),)), FileOptions(format="csv"), alive=stop
    )
    with pytest.raises(KeyError):
        for _block in written:
            pass
    written.close()
    assert session.closed


def test_an_error_of_the_database_is_raised(session: psycopg.Connection[Any]) -> None:
    select = "SELECT (1 / (n - 5000))::text AS c0, n::bigint AS k FROM generate_series(1, 10000) n"
    written = write(session, Selection(select, (OutColumn("a", ColumnType.TEXT),)), FileOptions(format="csv"))
    with pytest.raises(psycopg.errors.DivisionByZero):
        b"".join(written)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"format": "wav"}, "format"),
        ({"delimiter": ""}, "delimiter"),
        ({"encoding": "utf-7"}, "encoding"),
        ({"compression": "rar"}, "compression"),
        ({"header": "yes"}, "header"),
        ({"colour": 1}, "colour"),
        ({"format": ["csv"]}, "format"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_way_to_write(options: dict[str, Any], field: str) -> None:
    with pytest.raises(OptionError) as refused:
        FileOptions.from_json(options)
    assert refused.value.field == field
