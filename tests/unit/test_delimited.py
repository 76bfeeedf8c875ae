"""The reader of delimited files: the same records whatever the size of its blocks."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batchjobs.failures import FileFailureError
from batchjobs.ingestion.formats.delimited import DelimitedReader, layout_of

CELL = st.text(alphabet='ab,;"\r\n \t|é€😀', max_size=8)
ROWS = st.lists(st.lists(CELL, min_size=2, max_size=2), max_size=30)


def read(data: bytes, *, block: int = 1 << 19, encoding: str = "", record_max: int = 1_000_000, resume: bool = False):
    """Every record with its line, and what was rejected; with `resume`, a new reader takes over after each block."""
    before, DelimitedReader.block_bytes = DelimitedReader.block_bytes, block
    try:
        file = io.BytesIO(data)
        layout = layout_of(
            file, extension=".csv", options={"encoding": encoding, "delimiter": ","}, record_max=record_max
        )
        rows, rejected = [], []
        offset, line = layout.data_offset, layout.data_line
        while True:
            reader = DelimitedReader(file, layout, record_max)
            reader.seek(offset, line)
            blocks = 0
            for part in reader.blocks():
                blocks += 1
                rows += [
                    (part.lines[at], [column[at] for column in part.columns], part.raw(at)) for at in range(part.count)
                ]
                # Those with too few or too many cells are read all the same.
                rows += [(r.line, r.cells, r.raw) for r in part.rejected if r.cells is not None]
                rejected += [(r.line, r.errors[0].code) for r in part.rejected if r.cells is None]
                if resume:
                    break
            offset, line = reader.offset, reader.line
            if not blocks or not resume:
                return sorted(rows), sorted(rejected), offset, line
    finally:
        DelimitedReader.block_bytes = before


def written(rows: list[list[str]], newline: str) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator=newline, quoting=csv.QUOTE_MINIMAL)
    writer.writerow(["email", "note"])
    writer.writerows(rows)
    return out.getvalue()


@settings(max_examples=400, deadline=None)
@given(
    rows=ROWS,
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
    block=st.integers(1, 60),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be"]),
    resume=st.booleans(),
    last=st.booleans(),
    plain=st.sampled_from([0, 400]),
)
def test_records_are_those_of_the_csv_module(rows, newline, block, encoding, resume, last, plain):
    """Also where quotes are few (`plain` lines around), which are read in another way."""
    padding = [[f"p{n}", "x y"] for n in range(plain)]
    text = written(padding + rows + padding, newline)
    block *= 1 + plain
    if not last:
        text = text.removesuffix(newline)
    data = b"\xfe\xff" + text.encode(encoding) if encoding == "utf-16-be" else text.encode(encoding)
    expected = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row][1:]
    found, rejected, offset, _ = read(data, block=block * 2, resume=resume)
    assert [row for _, row, _ in found] == expected
    assert not rejected
    assert offset == len(data)
    physical = list(io.StringIO(text, newline=""))
    for line, row, raw in found:
        assert next(csv.reader(io.StringIO(raw, newline=""))) == row
        assert physical[line - 1].startswith(raw.splitlines(keepends=True)[0].rstrip("\r\n")[:1])


@settings(max_examples=400, deadline=None)
@given(
    data=st.text(alphabet='a,"\n\r', max_size=120),
    block=st.integers(1, 40),
    resume=st.booleans(),
    plain=st.sampled_from([0, 300]),
)
def test_every_line_of_any_text_is_accounted_for(data, block, resume, plain):
    """Each line that is not blank belongs to exactly one record, read or rejected, wherever blocks end."""
    block *= 1 + plain
    whole = "email,note\n" + "a,b\n" * plain + data + "\n" * bool(plain) + "a,b\n" * plain
    rows, rejected, offset, line = read(whole.encode(), block=block, record_max=60, resume=resume)
    at_once = read(whole.encode(), record_max=60)
    physical = list(io.StringIO(whole, newline=""))
    assert offset == len(whole)
    assert line == len(physical) + 1
    covered = [number for number, _ in rejected]
    for number, _, raw in rows:
        covered += range(number, number + len(list(io.StringIO(raw, newline=""))) or 1)
    assert len(covered) == len(set(covered))
    for number, text in enumerate(physical[1:], 2):
        if text.strip("\r\n"):
            assert number in covered, (number, rows, rejected)
    assert (rows, rejected) == at_once[:2]


def test_a_line_longer_than_a_record_is_passed_over():
    data = b"email,note\na,1\n" + b"x" * 5000 + b"\nb,2\n"
    rows, rejected, offset, _ = read(data, block=64, record_max=1000)
    assert [(n, r) for n, r, _ in rows] == [(2, ["a", "1"]), (4, ["b", "2"])]
    assert rejected == [(3, "RECORD_TOO_LARGE")]
    assert offset == len(data)


def test_an_unclosed_quote_costs_its_line_only():
    data = b'email,note\na,"open\n' + b"".join(b"p%d,x\n" % n for n in range(2000))
    rows, rejected, _, _ = read(data, block=256, record_max=3000)
    assert rejected == [(2, "QUOTE_UNCLOSED")]
    assert len(rows) == 2000


def test_many_unclosed_quotes_do_not_cost_the_square():
    data = b"email,note\n" + b'a,"open\n' * 30_000
    rows, rejected, _, _ = read(data, record_max=100_000)
    assert len(rows) * 2 + len(rejected) >= 30_000  # pairs may close each other


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_nothing_in_it(data):
    with pytest.raises(FileFailureError, match="FILE_EMPTY"):
        read(data)


@settings(max_examples=500, deadline=None)
@given(
    cells=st.lists(
        st.lists(
            st.text(alphabet="a1", max_size=3)
            | st.sampled_from(["x" * 50, "é" * 30, "line\nbreak", "\n" * 40, 'say "x"', "", '"'])
            | st.text(alphabet='a",\n', max_size=50),
            min_size=2,
            max_size=2,
        ),
        max_size=8,
    ),
    raw=st.text(alphabet='a,"\n', max_size=30),
    newline=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-16", "cp1252"]),
    block=st.integers(1, 60),
    resume=st.booleans(),
    plain=st.sampled_from([0, 40]),
)
@example(  # exactly as long as a record may be, and a block ends within its line end
    cells=[["", ""], ["11", 'aaaaaaaa"""\n']],
    raw="",
    newline="\r\n",
    encoding="utf-16",
    block=2,
    resume=False,
    plain=0,
)
def test_long_records_are_refused_alike_wherever_blocks_end(cells, raw, newline, encoding, block, resume, plain):
    """Whether a record is too long must not hang on what else is in the same block."""
    rows = [["p", "q"]] * plain + cells + [["p", "q"]] * plain
    data = (written(rows, newline) + raw).encode(encoding)
    declared = "" if encoding == "utf-16" else encoding
    at_once = read(data, record_max=40, encoding=declared)
    assert read(data, record_max=40, encoding=declared, block=block * 2, resume=resume) == at_once


@pytest.mark.parametrize("name", ["x" * 256, '"nothing that is read\n\x00"', '"a\n\xff"'])
def test_names_of_columns_that_cannot_be_kept(name):
    with pytest.raises(FileFailureError, match=r"HEADER_UNREADABLE|ENCODING_UNKNOWN"):
        read(f"email,{name}\na,b\n".encode("latin-1"))


def test_half_a_unit_at_the_end():
    rows, rejected, _, _ = read("email,note\na,b\n".encode("utf-16") + b"c")
    assert [row for _, row, _ in rows] == [["a", "b"], [chr(0xDC00 + ord("c"))]]
    assert not rejected
