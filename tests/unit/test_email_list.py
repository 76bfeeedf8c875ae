"""Lists of addresses without a header: a line is a record, whatever the size of blocks."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchjobs.failures import FileFailureError
from batchjobs.ingestion.formats import format_of
from tests.unit.readers import read

LINES = st.lists(
    st.sampled_from(["a@example.com", " <b@example.com>, ", '"c@example.com"', "", "  ", ";", "0cc175b9c0f1b6a8" * 2])
    | st.text(alphabet='aé@,;<>" \t\U0001f600', max_size=12),
    max_size=12,
)


@settings(max_examples=400, deadline=None)
@given(
    lines=LINES,
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
    block=st.integers(1, 40),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be"]),
    resume=st.booleans(),
    last=st.booleans(),
)
def test_a_line_is_a_record(lines, newline, block, encoding, resume, last):
    text = newline.join(["first@example.com", *lines]) + newline * last
    data = b"\xfe\xff" + text.encode(encoding) if encoding == "utf-16-be" else text.encode(encoding)
    found = read("emails", data, block=block * 2, resume=resume)
    cells = [(number, line.strip(" \t,;<>\"'"), line) for number, line in enumerate(["first@example.com", *lines], 1)]
    assert [(line, record[0], raw) for line, record, raw, _ in found.records] == [cell for cell in cells if cell[1]]
    assert not found.rejected
    assert found.offset == len(data)


@settings(max_examples=200, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 90), max_size=8),
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
    letter=st.sampled_from(["x", "é"]),
    encoding=st.sampled_from(["utf-8", "utf-16", "latin-1"]),
    block=st.integers(1, 60),
    resume=st.booleans(),
)
def test_long_lines_are_refused_wherever_blocks_end(lengths, newline, letter, encoding, block, resume):
    lines = ["a@b.cc", *(letter * length for length in lengths)]
    data = newline.join(lines).encode(encoding)
    found = read("emails", data, block=block * 2, resume=resume, record_max=40, encoding=encoding)
    width = len((letter * 2).encode(encoding)) - len(letter.encode(encoding))
    refused = [number for number, line in enumerate(lines[1:], 2) if len(line) * width > 40]
    assert [(line, code) for line, code, _ in found.rejected] == [(number, "RECORD_TOO_LARGE") for number in refused]
    assert [line for line, *_ in found.records] == [
        number for number, line in enumerate(lines, 1) if line and number not in refused
    ]


def test_bytes_that_are_no_text_are_kept():
    found = read("emails", b"a@example.com\nb\xff@example.com\nc@\x00\n")
    assert [record[0] for _, record, _, _ in found.records] == ["a@example.com", "b\udcff@example.com", "c@\x00"]
    half = read("emails", b"\xff\xfea\0@\0b\0\n\0c")
    assert [record[0] for _, record, _, _ in half.records] == ["a@b", chr(0xDC00 + ord("c"))]


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf"])
def test_nothing_in_it(data):
    with pytest.raises(FileFailureError, match="FILE_EMPTY"):
        read("emails", data)


@pytest.mark.parametrize("name", ["x.csv", "x.txt"])
def test_how_a_list_is_known(name):
    assert format_of(io.BytesIO(b"\n a@example.com\n"), name, {}, 1000) == "emails"
    assert format_of(io.BytesIO(b"900150983cd24fb0d6963f7d28e17f72\n"), name, {}, 1000) == "emails"
    assert format_of(io.BytesIO(b"email\na@example.com\n"), name, {}, 1000) == "delimited"
    assert format_of(io.BytesIO(b"a@example.com\n"), name, {"delimiter": ","}, 1000) == "delimited"
