"""Files that exports write, opened by others: each holds what the table holds, whatever the values are."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import itertools
import json
import math
import re
import subprocess
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from time import sleep
from typing import Any
from xml.etree import ElementTree

import duckdb
import openpyxl
import psycopg
import pytest
import xlsxwriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from batchjobs.ingestion.formulas import make_safe, undo_safe
from batchjobs.sessions import open_session
from exports.rows import ColumnType, OutColumn, Selection
from exports.writers import FORMATS, FileOptions, OptionError, suffix_of, write, xlsx
from exports.writers import parquet as parquet_writer
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
        opened.execute("SET statement_timeout = 0")  # a run has its own, longer than the lease of tests
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


def test_rows_that_arrive_in_many_pieces(session: psycopg.Connection[Any]) -> None:
    select = "SELECT repeat(n::text, 3000000) AS c0, n::bigint AS k FROM generate_series(1, 9) n"
    columns = (OutColumn("a", ColumnType.TEXT),)
    written = write(session, Selection(select, columns), FileOptions(format="csv", header=False))
    assert b"".join(written).splitlines() == [b"%d" % number * 3_000_000 for number in range(1, 10)]
    assert written.rows == 9


@pytest.mark.parametrize("format_", ["csv", "ndjson", "json", "xml", "xlsx", "parquet"])
def test_rows_are_counted_while_they_pass(session: psycopg.Connection[Any], format_: str) -> None:
    seen: list[int] = []
    written = write(session, many(60_000), FileOptions(format=format_), alive=lambda: seen.append(written.rows))
    assert b"".join(written)
    assert written.rows == 60_000
    assert seen == sorted(seen)
    assert len(set(seen)) > 3


def test_many_pieces_are_taken_at_once(session: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    naps: list[float] = []
    monkeypatch.setattr("exports.writers.reading.NAP_SECONDS", 0.002)
    monkeypatch.setattr("exports.writers.reading.time.sleep", lambda seconds: (naps.append(seconds), sleep(seconds)))
    content, pieces = b"".join(write(session, many(400_000), FileOptions(format="csv"))), 8_192
    assert 0 < len(naps) < len(content) / pieces / 2


def test_a_session_that_is_ended_meanwhile(session: psycopg.Connection[Any]) -> None:
    select = "SELECT pg_sleep(0.01)::text AS c0, n::bigint AS k FROM generate_series(1, 10000) n"

    def end() -> None:
        with open_session("another") as another:
            another.execute("SELECT pg_terminate_backend(%s)", [session.info.backend_pid])

    written = write(session, Selection(select, (OutColumn("a", ColumnType.TEXT),)), FileOptions(format="csv"))
    timer = threading.Timer(0.2, end)
    timer.start()
    with pytest.raises(psycopg.OperationalError):
        b"".join(written)
    timer.join()
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


# Columns of one kind, as they come from the database, with whatever it can hold.

NASTY = [
    "line\u2028separator",
    "next\x85line",
    "bell\x07, \x01, \x02, \x0b and \x1f",
    "\ufeffmark \ufffe \uffff",
    "right \u202eto left",
    "_x000D_",
    "\\.",
    " blank ",
    "x" * 40_000,
    "\U0001f600" * 20_000,
    "y" * 200_000,
]
FLOATS = ["NaN", "Infinity", "-Infinity", "1.2345678901234567", "1e+300", "5e-324"]
DAYS = ["0044-03-15 BC", "infinity", "-infinity", "9999-12-31", "12345-01-01", "0001-01-01", "1899-12-31", "1900-01-01"]
MOMENTS = [
    *("0044-03-15 12:00:00+00 BC", "infinity", "-infinity", "9999-12-31T23:59:59.999999Z", "12345-01-01T00:00:00Z"),
    *("0001-01-01T00:00:00Z", "1900-01-01T00:00:00Z", "1969-12-31T23:59:59.5Z"),
]
BIGINTS = ["9223372036854775807", "-9223372036854775808", "0"]
NUMERICS = ["9" * 60, "0." + "0" * 29 + "1", "-0.50", "0.12500000000000000000"]
SINGLE = {
    "text": (ColumnType.TEXT, [*TEXTS[:-1], *NASTY]),
    "float8": (ColumnType.NUMBER, FLOATS),
    "bigint": (ColumnType.NUMBER, BIGINTS),
    "numeric": (ColumnType.NUMBER, NUMERICS),
    "date": (ColumnType.DATE, DAYS),
    "timestamptz": (ColumnType.DATETIME, MOMENTS),
    "boolean": (ColumnType.BOOLEAN, ["true", "false"]),
    "jsonb": (ColumnType.JSON, ['{"a": "]]>", "b": [1, 2.50, null]}', '"line\\nbreak"', "null"]),
}
no_xml = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def single(session: psycopg.Connection[Any], kind: str, values: list[str | None]) -> Selection:
    """A column of one type."""
    cursor = psycopg.ClientCursor(session)
    lines = ", ".join(cursor.mogrify(f"(%s::{kind}, {at})", [value]) for at, value in enumerate(values))
    select = f"SELECT c0, k FROM (VALUES {lines}) t(c0, k)"
    return Selection(select, (OutColumn("only", SINGLE[kind][0]),))


def alone(session: psycopg.Connection[Any], kind: str, **options: Any) -> tuple[bytes, list[str | None], Any]:
    """A file of one column, its values, with NULL before, between and behind them, and what wrote it."""
    values = [None, *(cell for value in SINGLE[kind][1] for cell in (value, None))]
    written = write(session, single(session, kind, values), FileOptions(**options))
    content = b"".join(written)
    assert written.rows == len(values)
    return content, values, written


@pytest.mark.parametrize("kind", SINGLE)
@pytest.mark.parametrize("quoting", ["minimal", "all"])
def test_csv_of_one_column(session: psycopg.Connection[Any], kind: str, quoting: str) -> None:
    content, values, _written = alone(session, kind, format="csv", quoting=quoting)
    csv.field_size_limit(1_000_000)
    header, *rows = csv.reader(io.StringIO(content.decode(), newline=""), delimiter=";")
    assert (header, rows) == (["only"], [[value or ""] for value in values])


@pytest.mark.parametrize("kind", SINGLE)
def test_ndjson_of_one_column(session: psycopg.Connection[Any], kind: str) -> None:
    content, values, _written = alone(session, kind, format="ndjson")
    lines = content.split(b"\n")
    assert lines.pop() == b""
    found = [json.loads(line, parse_float=Decimal)["only"] for line in lines]
    wanted: list[Any] = list(values)
    if kind == "jsonb":
        wanted = [None if value is None else json.loads(value, parse_float=Decimal) for value in values]
    elif kind == "boolean":
        wanted = [None if value is None else value == "true" for value in values]
    elif SINGLE[kind][0] is ColumnType.NUMBER:
        wanted = [value if value is None or not math.isfinite(float(value)) else Decimal(value) for value in values]
    assert found == wanted


@pytest.mark.parametrize("kind", SINGLE)
def test_xml_of_one_column(session: psycopg.Connection[Any], kind: str, tmp_path: Path) -> None:
    needs("xmllint")
    content, values, _written = alone(session, kind, format="xml")
    (tmp_path / "made.xml").write_bytes(content)
    subprocess.run(["xmllint", "--noout", str(tmp_path / "made.xml")], check=True)
    found = [[field.text or "" for field in row] for row in ElementTree.fromstring(content)]
    assert found == [[] if value is None else [no_xml.sub("", value)] for value in values]


@pytest.mark.parametrize("kind", SINGLE)
def test_parquet_of_one_column(session: psycopg.Connection[Any], kind: str) -> None:
    content, values, written = alone(session, kind, format="parquet")
    column = parquet.read_table(io.BytesIO(content)).column("only")
    found, wanted = column.to_pylist(), list[Any](values)
    if kind == "float8":
        assert str(column.type) == "double"
        found, wanted = list(map(repr, found)), [repr(None if value is None else float(value)) for value in values]
    elif kind == "bigint":
        assert str(column.type) == "int64"
        wanted = [None if value is None else int(value) for value in values]
    elif kind == "boolean":
        wanted = [None if value is None else value == "true" for value in values]
    elif kind in ("date", "timestamptz"):
        within = [value if value and re.match(r"\d{4}-\d\d-\d\d(T|$)", value) else None for value in values]
        read = dt.date.fromisoformat if kind == "date" else dt.datetime.fromisoformat
        wanted = [None if value is None else read(value) for value in within]
        assert written.warnings == [{"code": "TIMES_LEFT_OUT", "count": 4}]
    assert found == wanted


@pytest.mark.parametrize("kind", SINGLE)
def test_xlsx_of_one_column(session: psycopg.Connection[Any], kind: str, tmp_path: Path) -> None:
    needs("xmllint")
    content, values, written = alone(session, kind, format="xlsx")
    zipfile.ZipFile(io.BytesIO(content)).extract("xl/worksheets/sheet1.xml", tmp_path)
    subprocess.run(["xmllint", "--huge", "--noout", str(tmp_path / "xl/worksheets/sheet1.xml")], check=True)
    sheet = openpyxl.load_workbook(io.BytesIO(content)).active
    found = [sheet.cell(at + 2, 1).value for at in range(len(values))]
    if kind == "text":
        found = [re.sub("_x([0-9A-F]{4})_", lambda sign: chr(int(sign[1], 16)), value or "") for value in found]
        cut = [(value or "").translate({0xFFFE: None, 0xFFFF: None}) for value in values]
        cut = [value.encode("utf-16-le")[: 2 * 32_767].decode("utf-16-le", "ignore") for value in cut]
        assert found == cut
        assert written.warnings == [{"code": "TEXTS_CUT", "count": 3}]
        return
    wanted: list[Any] = list(values)
    moment = dt.datetime.fromisoformat
    if kind == "boolean":
        wanted = [None if value is None else value == "true" for value in values]
    elif kind == "date":
        wanted = [moment(value) if value == "9999-12-31" else value for value in values]
    elif kind == "timestamptz":
        known = {
            "9999-12-31T23:59:59.999999Z": moment("9999-12-31T23:59:59.999"),
            "1969-12-31T23:59:59.5Z": moment("1969-12-31T23:59:59.500"),
        }
        plain = [value and value.replace("T", " ").removesuffix("Z").replace("+00", "") for value in values]
        wanted = [known.get(value or "", text) for value, text in zip(values, plain, strict=True)]
    elif SINGLE[kind][0] is ColumnType.NUMBER:
        as_text = ("NaN", "Infinity", "-Infinity", "1.2345678901234567", *BIGINTS[:2], NUMERICS[0])
        wanted = [value if value is None or value in as_text else float(value) for value in values]
    assert found == wanted
    assert written.warnings == []


HEADERS = ['a "b"', "a;b,c|d\te", "<&>' \"", "twice", "twice", "=1+1", "é" * 100, *(f"column {n}" for n in range(293))]


@pytest.mark.parametrize("format_", FORMATS)
def test_three_hundred_columns_of_any_name(session: psycopg.Connection[Any], format_: str) -> None:
    cells = ", ".join(f"CASE WHEN k = 1 THEN '{at}' END AS c{at}" for at in range(len(HEADERS)))
    select = f"SELECT {cells}, k FROM generate_series(1, 2) k"
    columns = tuple(OutColumn(header, ColumnType.TEXT) for header in HEADERS)
    content = b"".join(write(session, Selection(select, columns), FileOptions(format=format_)))
    there = [str(at) for at in range(len(HEADERS))]
    names = [name if at != 4 else "twice_2" for at, name in enumerate(HEADERS)]
    if format_ in ("csv", "psv"):
        delimiter = ";" if format_ == "csv" else "|"
        rows: list[Any] = list(csv.reader(io.StringIO(content.decode(), newline=""), delimiter=delimiter))
        assert rows == [HEADERS, there, [""] * len(HEADERS)]
    elif format_ == "xlsx":
        rows = list(openpyxl.load_workbook(io.BytesIO(content)).active.iter_rows(values_only=True))
        assert [list(row) for row in rows] == [HEADERS, there]
    elif format_ == "xml":
        first, second = ElementTree.fromstring(content)
        found = [(field.get("name"), field.text) for field in first]
        assert found == [(name.replace("\t", ""), cell) for name, cell in zip(HEADERS, there, strict=True)]
        assert len(second) == 0
    else:
        if format_ == "parquet":
            rows = parquet.read_table(io.BytesIO(content)).to_pylist()
        else:
            rows = [json.loads(line.rstrip(b",")) for line in content.splitlines() if line not in (b"[", b"]")]
        full = list(zip(names, there, strict=True))
        assert [list(row.items()) for row in rows] == [full, [(name, None) for name in names]]


@pytest.mark.parametrize("delimiter", [";", ",", "\t", "|"], ids=["semicolon", "comma", "tab", "bar"])
def test_a_header_is_quoted_like_a_cell(session: psycopg.Connection[Any], delimiter: str) -> None:
    names = ["a;b", "a,b", "a\tb", "a|b", 'a"b', "a\nb", "a\rb", " a", "ä"]
    cursor = psycopg.ClientCursor(session)
    cells = ", ".join(cursor.mogrify(f"%s::text AS c{at}", [name]) for at, name in enumerate(names))
    columns = tuple(OutColumn(name, ColumnType.TEXT) for name in names)
    for quoting in ("minimal", "all"):
        options = FileOptions(format="csv", delimiter=delimiter, quoting=quoting)
        content = b"".join(write(session, Selection(f"SELECT {cells}, 1 AS k", columns), options))
        assert content[: len(content) // 2] == content[len(content) // 2 :]


def many(rows: int) -> Selection:
    select = f"SELECT md5(n::text) AS c0, n::numeric / 8 AS c1, n::bigint AS k FROM generate_series(1, {rows}) n"
    return Selection(select, (OutColumn("hash", ColumnType.TEXT), OutColumn("n", ColumnType.NUMBER)))


def test_a_workbook_goes_on_with_another_sheet(
    session: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xlsx, "LINES_MAX", 101)
    content = b"".join(write(session, many(250), FileOptions(format="xlsx")))
    sheets = openpyxl.load_workbook(io.BytesIO(content)).worksheets
    assert [sheet.max_row for sheet in sheets] == [101, 101, 51]
    assert all(sheet.freeze_panes == "A2" and sheet["A1"].font.bold for sheet in sheets)
    found = [cell.value for sheet in sheets for (cell,) in sheet["B2" : f"B{sheet.max_row}"]]
    assert found == [number / 8 for number in range(1, 251)]


@pytest.mark.parametrize("most", ["rows", "bytes"])
def test_row_groups_are_bounded(session: psycopg.Connection[Any], most: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if most == "bytes":
        monkeypatch.setattr(parquet_writer, "HELD_BYTES", 1_000_000)
    content = b"".join(write(session, many(200_000), FileOptions(format="parquet")))
    found = parquet.ParquetFile(io.BytesIO(content))
    sizes = [found.metadata.row_group(at).num_rows for at in range(found.num_row_groups)]
    assert sum(sizes) == 200_000
    assert max(sizes) <= (65_536 if most == "rows" else 45_000)
    assert found.read().column("n").to_pylist() == [Decimal(number) / 8 for number in range(1, 200_001)]


@pytest.mark.parametrize("compression", ["none", "gzip", "zip"])
@pytest.mark.parametrize("format_", FORMATS)
def test_equal_content_gives_equal_bytes(session: psycopg.Connection[Any], format_: str, compression: str) -> None:
    first, _written = made(session, format=format_, compression=compression)
    second, _written = made(session, format=format_, compression=compression)
    assert first == second
    if compression == "gzip":
        assert first[4:8] == bytes(4)  # no time


@pytest.mark.parametrize("compression", ["none", "gzip", "zip"])
@pytest.mark.parametrize("format_", FORMATS)
def test_one_that_is_stopped_halfway_leaves_nothing(
    session: psycopg.Connection[Any], format_: str, compression: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    threads = threading.active_count()
    calls = 0

    def alive() -> None:
        nonlocal calls
        calls += 1
        if calls == 20:
            raise KeyError("stop")

    options = FileOptions(format=format_, compression=compression)
    written = write(session, many(400_000), options, alive=alive)
    with pytest.raises(KeyError):
        for _block in written:
            pass
    written.close()
    assert session.closed
    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == threads


@pytest.mark.parametrize("at", [1, 4, 12])
@pytest.mark.parametrize("error", [KeyError, OSError])
def test_a_workbook_whose_packing_is_stopped_leaves_nothing(
    session: psycopg.Connection[Any], error: type[Exception], at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    threads = threading.active_count()
    packed: list[xlsxwriter.Workbook] = []
    pack, calls = xlsxwriter.Workbook.close, 0

    def close(book: xlsxwriter.Workbook) -> None:
        packed.append(book)
        pack(book)

    def alive() -> None:
        nonlocal calls
        calls += bool(packed)
        if calls == at:
            raise error("stop")

    monkeypatch.setattr(xlsxwriter.Workbook, "close", close)
    written = write(session, many(6_000), FileOptions(format="xlsx"), alive=alive)
    with pytest.raises(error, match="stop"):
        b"".join(written)
    written.close()
    assert not packed[0].fileclosed
    assert calls == at
    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == threads


@pytest.mark.parametrize("format_", ["csv", "ndjson", "xml", "parquet"])
def test_one_that_nobody_reads_to_its_end_leaves_no_session(session: psycopg.Connection[Any], format_: str) -> None:
    written = write(session, many(400_000), FileOptions(format=format_))
    blocks = iter(written)
    for _number in range(2):
        next(blocks)
    written.close()
    assert session.closed


@pytest.mark.parametrize("encoding", ["utf-8", "windows-1252"])
def test_the_rule_for_formulas_is_that_of_imports(session: psycopg.Connection[Any], encoding: str) -> None:
    cells = ["=1", "+1", "-1", "-1,5", "+1.000", "-", "@", "\tx", "\rx", "''=x", "'x", "1-", "", "-1x", "+", "=?é"]
    selected = Selection(single(session, "text", list(cells)).select, (OutColumn("=only", ColumnType.TEXT),))
    options = FileOptions(format="csv", formula_safe=True, encoding=encoding)
    written = write(session, selected, options)
    rows = list(csv.reader(io.StringIO(b"".join(written).decode(encoding), newline=""), delimiter=";"))
    assert rows == [["'=only"], *([make_safe(cell)] for cell in cells)]
    assert written.warnings == []


@pytest.mark.parametrize(("encoding", "lost"), [("windows-1252", 4), ("iso-8859-1", 5)])
def test_characters_that_an_encoding_lacks_are_counted(
    session: psycopg.Connection[Any], encoding: str, lost: int
) -> None:
    columns = (OutColumn("日", ColumnType.TEXT),)
    selected = Selection(single(session, "text", ["why? é", "Ж, € and 你好?"]).select, columns)
    written = write(session, selected, FileOptions(format="csv", encoding=encoding))
    text = b"".join(written).decode(encoding)
    euro = "€" if encoding == "windows-1252" else "?"
    assert text == f"?\nwhy? é\n?, {euro} and ???\n"
    assert written.warnings == [{"code": "CHARACTERS_REPLACED", "count": lost}]


storable = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
made_rows = st.lists(
    st.tuples(
        st.none() | storable,
        st.none() | st.decimals(allow_nan=False, allow_infinity=False).map(lambda number: f"{number:f}"),
        st.none() | st.booleans(),
        st.none() | st.dates(),
        st.none() | st.datetimes(timezones=st.just(dt.UTC)),
        st.none() | st.dictionaries(storable, storable),
    ),
    max_size=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=made_rows)
def test_made_up_rows_come_back(session: psycopg.Connection[Any], rows: list[tuple[Any, ...]]) -> None:
    content, _written = made(session, rows, format="csv", delimiter=",")
    _header, *found = csv.reader(io.StringIO(content.decode(), newline=""))
    for cells, row in zip(found, rows, strict=True):
        text, number, yes, day, at, doc = row
        assert cells[0] == (text or "")
        assert (Decimal(cells[1]) if cells[1] else None) == (None if number is None else Decimal(number))
        assert cells[2:5] == as_cells((text, number, yes, day, at, None))[2:5]
        assert (json.loads(cells[5]) if cells[5] else None) == doc
    content, _written = made(session, rows, format="ndjson")
    for line, row in zip(content.split(b"\n")[:-1], rows, strict=True):
        text, number, yes, day, at, doc = row
        one = json.loads(line, parse_float=Decimal, parse_int=Decimal)
        assert (one["text"], one["yes"], one["doc"]) == (text, yes, doc)
        assert one["number"] == (None if number is None else Decimal(number))
        assert one["day"] == (None if day is None else day.isoformat())
        assert one['at "x"; y'] == (time_of(at) or None)


# Signs that mean something to COPY, to the templates of rows, to JSON or to XML.
SIGNS = ["\\", "N", "v", '"', ":", "\t", "\n", "\x0b", "\x01", "%", "b", "&", ">", "\r"]
SHORT = ["".join(signs) for length in (1, 2, 3) for signs in itertools.product(SIGNS, repeat=length)]
SIGN_HEADERS = ["%b", "\\N", 'a:"\\N"', "%", "\\\\v&<"]


def signs_selected(session: psycopg.Connection[Any]) -> Selection:
    """Each short text as a text, as a value of JSON and beside NULL."""
    texts = psycopg.ClientCursor(session).mogrify("%s::text[]", [SHORT])
    select = f"""
        SELECT t AS c0, jsonb_build_object('a', t) AS c1, NULL::text AS c2, to_jsonb(t) AS c3, t AS c4, k
        FROM unnest({texts}) WITH ORDINALITY u(t, k) ORDER BY k
    """
    kinds = (ColumnType.TEXT, ColumnType.JSON, ColumnType.TEXT, ColumnType.JSON, ColumnType.TEXT)
    return Selection(select, tuple(OutColumn(header, kind) for header, kind in zip(SIGN_HEADERS, kinds, strict=True)))


@pytest.mark.parametrize("format_", ["ndjson", "json"])
def test_signs_stay_what_they_are_in_json(session: psycopg.Connection[Any], format_: str) -> None:
    content = b"".join(write(session, signs_selected(session), FileOptions(format=format_)))
    found = json.loads(content) if format_ == "json" else [json.loads(line) for line in content.split(b"\n")[:-1]]
    assert found == [dict(zip(SIGN_HEADERS, (text, {"a": text}, None, text, text), strict=True)) for text in SHORT]


def test_signs_stay_what_they_are_in_xml(session: psycopg.Connection[Any]) -> None:
    content = b"".join(write(session, signs_selected(session), FileOptions(format="xml")))
    found = [[(field.get("name"), field.text) for field in row] for row in ElementTree.fromstring(content)]
    first, second, _missing, fourth, fifth = SIGN_HEADERS
    assert len(found) == len(SHORT)
    for row, text in zip(found, SHORT, strict=True):
        kept = no_xml.sub("", text) or None
        assert [name for name, _text in row] == [first, second, fourth, fifth]
        assert (row[0][1], row[3][1]) == (kept, kept)
        assert (json.loads(row[1][1] or ""), json.loads(row[2][1] or "")) == ({"a": text}, text)


@pytest.mark.parametrize("format_", FORMATS)
def test_options_come_back(format_: str) -> None:
    options = FileOptions(format=format_, delimiter="\t", quoting="all", header=False, compression="zip")
    assert FileOptions.from_json(json.loads(json.dumps(options.to_json()))) == options
    assert suffix_of(options) == ".zip"
    assert suffix_of(FileOptions(format=format_)) == f".{format_}"
