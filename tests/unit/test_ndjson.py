"""NDJSON: the same records whatever the size of blocks, and the quick way of reading them equals the strict one."""

from __future__ import annotations

import json

import orjson
import pytest
from django.conf import settings as django_settings
from hypothesis import given, settings
from hypothesis import strategies as st

from batchjobs.ingestion.formats.json_records import Number, RecordError, as_text, decode, decode_lines, encode
from tests.unit.readers import read

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["", "a", "b", '":', '" :', "\\", "\u2028", "\x85", "[[", "1e5", "9" * 17]
)
KEYS = st.sampled_from(["a", "b", "c", "email", 'x":', " "]) | TEXT
# Texts of numbers, as they could be written.
NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,8})?", fullmatch=True)
ODD = st.sampled_from(
    [
        *["NaN", "Infinity", "-Infinity", "01", "1.", "-", "+1", ".5", "tru", "'a'", "{", "]", "1e400", "-0", "-0.0"],
        *('"\\ud800"', '"\\u0000"', '"a', "[" * 40 + "]" * 40, '"\t"', '"\\x"', "1" * 5000, '{"a":1,"a":2}'),
        *('{"a" :1,"a":2}', '"\\ud83d\\ude00"', '"\\udc00\\ud800"', '{"\\u0000":1}', '{"\\ud800":[]}'),
    ]
)


def written(draw: st.DrawFn, depth: int) -> str:
    """JSON text, mostly right, with blanks in odd places."""
    blank = st.sampled_from(["", "", "", "", " ", "  ", "\t"])
    kind = draw(st.integers(0, 9 if depth else 6))
    if kind <= 1:
        return draw(NUMBERS)
    if kind <= 4:
        return json.dumps(draw(TEXT), ensure_ascii=draw(st.booleans()))
    if kind == 5:
        return draw(st.sampled_from(["true", "false", "null", "[]", "{}"]))
    if kind == 6:
        return draw(ODD) if draw(st.integers(0, 3)) == 0 else "1"
    if kind == 7:
        inner = [written(draw, depth - 1) for _ in range(draw(st.integers(0, 3)))]
        return "[" + ",".join(draw(blank) + text + draw(blank) for text in inner) + "]"
    return record(draw, depth - 1)


def record(draw: st.DrawFn, depth: int = 3) -> str:
    blank = st.sampled_from(["", "", "", "", "", " ", "  ", "\t"])
    pairs = []
    for _ in range(draw(st.integers(0, 4))):
        key = json.dumps(draw(KEYS), ensure_ascii=draw(st.booleans()))
        pairs.append(f"{draw(blank)}{key}{draw(blank)}:{draw(blank)}{written(draw, depth)}{draw(blank)}")
    return "{" + ",".join(pairs) + "}"


RECORDS = st.composite(record)().map(lambda text: text.replace("\n", "").replace("\r", ""))


def strictly(line: str):
    try:
        value, errors = decode(line)
    except RecordError as error:
        return error.code
    return value, errors


@settings(max_examples=1500, deadline=None)
@given(lines=st.lists(RECORDS | st.sampled_from(["1", "[]", "null", '"x"', "{} {}", "{"]), min_size=1, max_size=4))
def test_the_quick_way_equals_the_strict_one(lines):
    data = [line.encode("utf-8", "surrogatepass") for line in lines]
    numbers = list(range(7, 7 + len(data)))
    objects, places, found, errors, rejected = decode_lines(data, numbers, joined=b"\n".join(data))
    assert [numbers[place] for place in places] == found
    quick = {place: (value, errors.get(at, [])) for at, (place, value) in enumerate(zip(places, objects, strict=True))}
    refused = {row.line - 7: row.errors[0].code for row in rejected}
    for place, line in enumerate(lines):
        expected = strictly(data[place].decode("utf-8", "surrogateescape"))
        if isinstance(expected, str):
            assert refused[place] == expected, line
            continue
        assert quick[place] == expected, line
        assert same_types(quick[place][0], expected[0]), line
        if not expected[1]:
            assert json.loads(encode(quick[place][0])) == json.loads(line)


def same_types(one, other) -> bool:
    if isinstance(one, dict):
        return all(same_types(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return all(map(same_types, one, other))
    return isinstance(one, Number) == isinstance(other, Number) and repr(one) == repr(other)


@settings(max_examples=500, deadline=None)
@given(number=NUMBERS)
def test_numbers_come_out_as_they_were_written(number):
    """To the digit where a float would lose some; else as the float that is meant."""
    line = f'{{"n":{number}}}'.encode()
    objects, _, _, errors, rejected = decode_lines([line], [1], joined=line)
    assert not rejected
    value = objects[0]["n"]
    if isinstance(value, Number):
        assert str(value) == number
        assert as_text(value) == number
        if not errors:
            assert encode(objects[0]) == b'{"n":' + number.encode() + b"}"
    else:
        assert orjson.loads(encode(objects[0]))["n"] == json.loads(number)


@pytest.mark.parametrize(
    ("line", "codes"),
    [
        ('{"a":' + "[" * 31 + "]" * 31 + "}", []),
        ('{"a":' + "[" * 32 + "]" * 32 + "}", ["JSON_TOO_DEEP"]),
        ('{"a":' + '{"a":' * 31 + "1" + "}" * 32, []),
        ('{"a":' + '{"a":' * 32 + "1" + "}" * 33, ["JSON_TOO_DEEP"]),
        ("[" * 100_000, ["JSON_TOO_DEEP"]),
        ('{"a":' * 100_000, ["JSON_TOO_DEEP"]),
        ("{" + ",".join(f'"k{n}":1' for n in range(1000)) + "}", []),
        ("{" + ",".join(f'"k{n}":1' for n in range(1001)) + "}", ["KEYS_TOO_MANY"]),
        ('{"a":1,"b":{"c":1,"c":2}}', ["KEY_TWICE"]),
        ('{"a"  :1,"a":2,"b":3}', ["KEY_TWICE"]),
        ('{"a":NaN}', ["JSON_INVALID"]),
        ('{"a":-Infinity}', ["JSON_INVALID"]),
        ('{"a":1e400}', ["NUMBER_OUT_OF_RANGE"]),
        ('{"a":' + "7" * 5000 + "}", ["NUMBER_OUT_OF_RANGE"]),
        ('{"a":"\\u0000"}', ["NUL_CHARACTER"]),
        ('{"\\u0000":1}', ["NUL_CHARACTER"]),
        ('{"\\u0000":1,"\\u0000":2}', ["KEY_TWICE", "NUL_CHARACTER"]),
        ('{"a":"\\ud800"}', ["ENCODING_INVALID"]),
        ('{"\\udfff":1}', ["ENCODING_INVALID"]),
        ('{"a":"x\xff"}', ["ENCODING_INVALID"]),
    ],
)
def test_what_cannot_be_stored(line, codes):
    found = read("ndjson", line.encode("latin-1"))
    told = [code for _, code, _ in found.rejected] or found.records[0][3]
    assert told == codes


def test_a_line_feed_before_a_colon_hides_no_repeated_key():
    """In a file whose lines end in \\r it is a blank."""
    found = read("ndjson", b'{"a":1}\r{"a":1,"a":2,"b"\n:3}\r{"a":1}\r')
    assert [codes for *_, codes in found.records] == [[], ["KEY_TWICE"], []]


def test_an_endless_string_does_not_cost_the_square():
    """In no way of reading: a quote that is not closed, with many escaped ones behind it."""
    line = b'{"a":' + b"[" * 40 + b'"' + b'\\"' * 400_000
    assert [code for _, code, _ in read("ndjson", line).rejected] == ["JSON_TOO_DEEP"]
    assert read("json", b"[" + line).broken == "JSON_BROKEN"


@settings(max_examples=400, deadline=None)
@given(
    records=st.lists(st.dictionaries(TEXT, TEXT | st.integers(-(10**6), 10**6), max_size=3), max_size=12),
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
    blank=st.sampled_from(["", "  ", "\t"]),
    block=st.integers(1, 60),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be"]),
    resume=st.booleans(),
    last=st.booleans(),
)
def test_records_are_those_of_the_json_module(records, newline, blank, block, encoding, resume, last):
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    text = newline.join(part for line in lines for part in (line, blank))
    if not text.strip():
        return
    text += newline * last
    data = b"\xfe\xff" + text.encode(encoding) if encoding == "utf-16-be" else text.encode(encoding)
    found = read("ndjson", data, block=block * 2, resume=resume)
    assert [record for _, record, _, _ in found.records] == [json.loads(line) for line in lines]
    assert [raw for _, _, raw, _ in found.records] == lines
    assert [line for line, *_ in found.records] == list(range(1, 2 * len(lines), 2))
    assert not found.rejected
    assert found.offset == len(data)


@settings(max_examples=400, deadline=None)
@given(
    lines=st.lists(st.text(alphabet='{}":a1,é ', max_size=40) | RECORDS, min_size=1, max_size=10),
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
    block=st.integers(1, 40),
    encoding=st.sampled_from(["utf-8", "utf-16", "latin-1"]),
    resume=st.booleans(),
)
def test_every_line_is_accounted_for_wherever_blocks_end(lines, newline, block, encoding, resume):
    text = '{"first":1}' + newline + newline.join(lines)
    data = text.encode(encoding, "replace")
    at_once = read("ndjson", data, record_max=40, encoding=encoding)
    assert read("ndjson", data, record_max=40, block=block * 2, resume=resume, encoding=encoding) == at_once
    told = sorted([line for line, *_ in at_once.records] + [line for line, *_ in at_once.rejected])
    physical = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    assert told == [number for number, line in enumerate(physical, 1) if line.strip(" ")]


def test_the_limits_are_those_of_the_settings():
    assert (django_settings.NESTING_MAX, django_settings.COLUMNS_MAX) == (32, 1000)
