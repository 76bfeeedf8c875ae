"""JSON arrays: the same records whatever the size of blocks, faults told where they are, memory that stays small."""

from __future__ import annotations

import io
import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchjobs.failures import FileFailureError
from batchjobs.ingestion.formats import format_of, json_array
from batchjobs.ingestion.formats.json_records import RecordError, decode
from batchjobs.ingestion.source import Content
from tests.unit.readers import Read, read
from tests.unit.test_ndjson import RECORDS, TEXT

ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
BLANK = st.sampled_from(["", " ", "\n", "\r\n", "\t\n ", "  "])
VALUES = st.recursive(
    TEXT | st.integers(-(10**6), 10**6) | st.none() | st.booleans(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
ELEMENTS = st.lists(st.dictionaries(TEXT, VALUES, max_size=3), max_size=8)


def encoded(text: str, encoding: str) -> bytes:
    return b"\xfe\xff" + text.encode(encoding) if encoding == "utf-16-be" else text.encode(encoding)


@settings(max_examples=500, deadline=None)
@given(
    elements=ELEMENTS,
    blanks=st.lists(BLANK, min_size=4, max_size=4),
    indent=st.sampled_from([None, 1]),
    path=st.sampled_from(["", "data", "data.items"]),
    block=st.integers(1, 50),
    encoding=ENCODINGS,
    resume=st.booleans(),
)
def test_records_are_those_of_the_json_module(elements, blanks, indent, path, block, encoding, resume):
    lead, between, before, behind = blanks
    texts = [json.dumps(element, ensure_ascii=False, indent=indent) for element in elements]
    array = f"[{before}" + f"{between},{before}".join(texts) + f"{behind}]"
    for name in reversed(path.split(".") if path else []):
        array = f'{{"first": {{"x": ["[", {{"y": "]"}}]}}, "{name}":{between}{array}, "last": 1}}'
    text = lead + array + behind
    found = read("json", encoded(text, encoding), block=block * 2, resume=resume, array=path)
    assert not found.broken
    assert not found.rejected
    assert [record for _, record, _, _ in found.records] == elements
    assert [raw for _, _, raw, _ in found.records] == texts
    lines = text.split("\n")
    for line, _, raw, _ in found.records:
        assert lines[line - 1].rstrip("\r").count(raw.split("\n")[0]) >= 1


@settings(max_examples=500, deadline=None)
@given(
    elements=st.lists(RECORDS | st.sampled_from(["1", "1.5e5", '"x,]"', "tru", "{]}", '{"a":', "[[1]", "", "nul"])),
    junk=st.sampled_from(["", "", "", " ", "x", "]", "{}"]),
    closed=st.booleans(),
    block=st.integers(1, 40),
    encoding=st.sampled_from(["utf-8", "utf-16"]),
    resume=st.booleans(),
    record_max=st.sampled_from([60, 100_000]),
)
def test_the_same_wherever_blocks_end(elements, junk, closed, block, encoding, resume, record_max):
    """Also of what is not JSON; and nothing is given out that JSON does not have."""
    data = ("[" + ",\n".join(elements) + "]" * closed + junk).encode(encoding, "surrogatepass")

    def outcome(**how) -> Read | str:
        return read("json", data, record_max=record_max, **how)

    at_once = outcome()
    assert outcome(block=block * 2, resume=resume) == at_once
    for _, record, raw, codes in at_once.records:
        strict, errors = decode(raw)
        assert (record, codes) == (strict, [error.code for error in errors])
    for _, code, raw in at_once.rejected:
        if code not in ("RECORD_TOO_LARGE", "JSON_TOO_DEEP"):
            with pytest.raises(RecordError, match=code):
                decode(raw)
    if not at_once.broken and not at_once.rejected:
        assert [record for _, record, _, _ in at_once.records] == [decode(text)[0] for text in elements if text]


def test_one_bad_element_costs_itself_only():
    text = '[{"n":1},\n{"n":2,},\n{"n":3 "m":4},\n{"n":4},\n[1,2],\n"x",\n{"n":NaN},\n{"n":8}]'
    found = read("json", text.encode())
    assert [(line, record["n"]) for line, record, _, _ in found.records] == [(1, 1), (4, 4), (8, 8)]
    assert [(line, code) for line, code, _ in found.rejected] == [
        (2, "JSON_INVALID"),
        (3, "JSON_INVALID"),
        (5, "RECORD_NOT_OBJECT"),
        (6, "RECORD_NOT_OBJECT"),
        (7, "JSON_INVALID"),
    ]


@pytest.mark.parametrize(
    ("text", "count", "reason"),
    [
        ('[{"a":1},{"a":2}', 2, "in the middle"),
        ('[{"a":1},{"a":', 1, "in the middle"),
        ('[{"a":1},"open', 1, "in the middle"),
        ('[{"a":1},]', 1, "no entry"),
        ('[,{"a":1}]', 0, "no entry"),
        ('[{"a":1} {"a":2}]', 1, "no comma"),
        ('[{"a":1}]x', 1, "behind"),
        ('[{"a":1}][{"a":2}]', 1, "behind"),
        ("[", 0, "in the middle"),
    ],
)
def test_where_the_array_is_broken(text, count, reason):
    form = json_array
    layout = form.layout_of(io.BytesIO(text.encode()), extension=".json", options={}, record_max=1000)
    reader = form.JsonReader(io.BytesIO(text.encode()), layout, 1000)
    reader.seek(layout.data_offset, layout.data_line)
    given_out: list[object] = []
    blocks = (given_out.extend(block.objects) for block in reader.blocks())
    with pytest.raises(FileFailureError, match="JSON_BROKEN") as caught:
        list(blocks)
    assert len(given_out) == count
    assert reason in caught.value.params["reason"]
    assert caught.value.params["line"] == "1"


def lists_of(text: str, **options) -> FileFailureError:
    with pytest.raises(FileFailureError) as caught:
        read("json", text.encode(), **options)
    return caught.value


def test_which_list():
    several = '{"a": [{"x": "]"}], "b": {"c": [ {"y": 1} ], "d": [1, 2]}, "e": [], "f": [[{"no": 1}]]}'
    assert lists_of(several).params["lists"] == ["a", "b.c"]
    assert [r for _, r, _, _ in read("json", several.encode(), array="b.c").records] == [{"y": 1}]
    failure = lists_of(several, array="nope")
    assert (failure.code, failure.params["found"]) == ("LIST_NOT_FOUND", "a, b.c")
    assert lists_of("[1]", array="a").code == "LIST_NOT_FOUND"
    assert read("json", b'{"email": "a@example.com", "tags": [1]}').records[0][1]["tags"] == [1]


def test_lists_with_names_that_are_no_text():
    failure = lists_of('{"\\u0000a": [{}], "\\ud800": [{}]}')
    assert failure.params["lists"] == ["�a", "�"]
    assert read("json", b'{"\\u0000a": [{"x":1}], "b": [{}]}', array="�a").records[0][1] == {"x": 1}


def test_many_lists_are_named_in_a_sentence():
    text = json.dumps({f"list{n}": [{}] for n in range(20)})
    failure = lists_of(text)
    assert failure.params["found"].endswith("list11 and 8 more")
    assert len(failure.params["lists"]) == 12


@settings(max_examples=300, deadline=None)
@given(
    before=st.lists(st.tuples(TEXT, VALUES), max_size=4),
    block=st.integers(1, 12),
    encoding=ENCODINGS,
)
def test_a_list_is_found_wherever_blocks_end(before, block, encoding):
    text = "{" + "".join(f"{json.dumps(key)}: {json.dumps(value)},\n" for key, value in before)
    text += '"wanted": [{"n": "\\\\"}, {"n": 2}]}'
    found = read("json", encoded(text, encoding), block=block * 2, array="wanted")
    expected = [{"n": "\\"}, {"n": 2}]
    for key, value in before:
        if key == "wanted" and isinstance(value, list) and value and isinstance(value[0], dict):
            return
    assert [record for _, record, _, _ in found.records] == expected
    assert {line for line, *_ in found.records} == {text.count("\n") + 1}


class Endless:
    """A content that is made as it is read: `head`, then `body` again and again up to `size`."""

    def __init__(self, head: bytes, body: bytes, size: int) -> None:
        self.head, self.body, self.size, self.at = head, body, size, 0

    def seek(self, offset: int, /) -> int:
        self.at = offset
        return offset

    def read(self, size: int, /) -> bytes:
        size = max(0, min(size, self.size - self.at))
        start = self.at - len(self.head)
        self.at += size
        if start >= 0:
            turn = start % len(self.body)
            return (self.body * ((size + turn) // len(self.body) + 1))[turn : turn + size]
        return (self.head[start:] + self.body * (size // len(self.body) + 1))[:size]


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b'[{"a":"', b"x"),  # one element
        (b"[", b" "),
        (b"[", b"[" * 1000),
        (b"[", b'{"a":"' + b"x" * 900 + b'",},'),  # bad elements
        (b"[1", b"1"),
        (b'{"a":"', b"x"),
        (b'{"a":"', b'\\"'),
        (b'{"a":"', b'\\"[{'),
        (b'{"a":[{"b":"', b"x"),
        (b"{", b" "),
        (b'{"a":', b"[" * 1000),
        (b'{"a":', b'{"' + b"a" * 90 + b'":'),
        (b"{", b'"a":[{}],'),
        (b"{", b"1"),
    ],
)
def test_memory_stays_small(head, body):
    size = 12 * 1024 * 1024
    content: Content = Endless(head, body, size)
    told = ""
    tracemalloc.start()
    try:
        layout = json_array.layout_of(content, extension=".json", options={}, record_max=200_000)
        reader = json_array.JsonReader(content, layout, 200_000)
        reader.seek(layout.data_offset, layout.data_line)
        for _ in reader.blocks():
            pass
    except FileFailureError as failure:
        told = failure.code
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert told in ("JSON_BROKEN", "LIST_NOT_CHOSEN")
    assert peak < 16 * 1024 * 1024


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ('{"a":1}\n{"a":2}\n', "x.json", "ndjson"),
        ('{"a":1}\r{"a":2}', "x.json", "ndjson"),
        ('{"a":"\u2028\x85"}\n\n{"a":2}', "x.json", "ndjson"),
        ('{"a":1}', "x.json", "json"),
        ('{\n"a":1}', "x.json", "json"),
        ('  [{"a":1}]', "x.ndjson", "json"),
        ('{"a":1}\n[1]', "x.ndjson", "ndjson"),
        ("a@example.com\rb@example.com", "x.csv", "emails"),
        ("a@example.com,b\n", "x.csv", "delimited"),
    ],
)
def test_what_people_call_the_same(text, name, expected):
    assert format_of(io.BytesIO(text.encode()), name, {}, 1000) == expected


def test_a_long_line_is_read_up_to_the_middle_of_a_character():
    """The beginning of a file without line ends may end within a character."""
    element = json.dumps({"a": "é" * 700}, ensure_ascii=False).encode()
    for shift in range(4):
        data = b"[" + b" " * shift + b",".join([element] * 800) + b"]"
        assert len(read("json", data).records) == 800
        assert format_of(io.BytesIO(data), "x.json", {}, 1_000_000) == "json"
