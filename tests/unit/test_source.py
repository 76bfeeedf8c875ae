"""Unpacking: the same bytes whatever is asked for, and a named failure for whatever is not whole."""

from __future__ import annotations

import gzip
import io
import random
import struct
import zipfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchjobs.failures import FileFailureError
from batchjobs.ingestion import source
from batchjobs.ingestion.source import content_measure, content_open

BYTES = st.binary(max_size=4000).map(lambda data: data * 7)
WHOLE = random.Random(1).randbytes(300_000) + b"x\n" * 50_000


def measured(data: bytes, name: str) -> tuple[int, int]:
    return content_measure(content_open(io.BytesIO(data), name), len(data), lambda: None)


def failure_of(data: bytes, name: str = "a.csv.gz") -> FileFailureError:
    with pytest.raises(FileFailureError) as caught:
        measured(data, name)
    return caught.value


def zipped(data: bytes, name: str = "a.csv", method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr(name, data)
    return out.getvalue()


@settings(max_examples=200, deadline=None)
@given(
    members=st.lists(BYTES, min_size=1, max_size=4),
    padding=st.integers(0, 3000),
    asked=st.lists(st.tuples(st.integers(0, 90_000), st.integers(1, 5000)), max_size=6),
    in_zip=st.booleans(),
    stored=st.booleans(),
)
def test_any_part_is_that_of_the_whole(members, padding, asked, in_zip, stored):
    whole = b"".join(members)
    if in_zip:
        data, name = zipped(whole, method=zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED), "a.zip"
    else:
        data, name = b"".join(map(gzip.compress, members)) + bytes(padding), "a.csv.gz"
    opened = content_open(io.BytesIO(data), name)
    assert opened.name == "a.csv"
    assert content_measure(opened, len(data), lambda: None) == (len(whole), whole.count(b"\n"))
    for wanted, size in asked:
        offset = min(wanted, len(whole))
        opened.content.seek(offset)
        assert opened.content.read(size) == whole[offset : offset + size]


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_damaged_archive_never_gives_other_bytes(data):
    """A byte changed or left out anywhere: a failure, or the very same content (a time or a name was hit)."""
    whole = b"email,n\n" + b"a@example.com,1\n" * 300
    name = data.draw(st.sampled_from(["a.csv.gz", "a.zip"]))
    packed = bytearray(gzip.compress(whole) if name.endswith("gz") else zipped(whole))
    at = data.draw(st.integers(4, len(packed) - 1))
    if data.draw(st.booleans()):
        packed[at] ^= data.draw(st.integers(1, 255))
    else:
        del packed[at:]
    told, read = "", b""
    try:
        opened = content_open(io.BytesIO(bytes(packed)), name)
        content_measure(opened, len(packed), lambda: None)
        opened.content.seek(0)
        read = opened.content.read(1 << 20)
    except FileFailureError as failure:
        told = failure.code
    if told:
        assert told in ("ARCHIVE_DAMAGED", "ZIP_NOT_ONE_FILE", "ZIP_ENCRYPTED", "ZIP_METHOD_UNKNOWN")
    else:
        assert read == whole


def test_a_cut_archive_says_how_far_it_got():
    failure = failure_of(gzip.compress(b"a@example.com\n" * 100_000)[:-12])
    assert failure.code == "ARCHIVE_DAMAGED"
    assert int(failure.params["line"].replace(",", "")) > 30_000
    assert "ends in the middle" in failure.params["reason"]


@pytest.mark.parametrize("tail", [-8, -4], ids=["checksum", "size"])
def test_a_wrong_trailer(tail):
    packed = bytearray(gzip.compress(WHOLE))
    packed[tail] ^= 1
    failure = failure_of(bytes(packed))
    assert (failure.code, "checksum" in failure.params["reason"]) == ("ARCHIVE_DAMAGED", True)
    assert failure.params["line"]


def test_what_stands_behind_the_end():
    packed = gzip.compress(WHOLE)
    assert "behind the end" in failure_of(packed + b"left over").params["reason"]
    assert "behind the end" in failure_of(packed + bytes(100_000) + b"x").params["reason"]
    assert measured(packed + bytes(100_000), "a.csv.gz")[0] == len(WHOLE)
    assert measured(packed + gzip.compress(b""), "a.csv.gz")[0] == len(WHOLE)


def test_a_header_with_all_its_fields():
    body = zlib.compressobj(wbits=-15)
    packed = body.compress(WHOLE) + body.flush()
    flags = 4 + 8 + 16  # extra, name, comment
    head = b"\x1f\x8b\x08" + bytes([flags]) + bytes(6) + b"\x03\x00abc" + b"n" * 500 + b"\0" + b"c" * 500 + b"\0"
    data = head + packed + struct.pack("<II", zlib.crc32(WHOLE), len(WHOLE))
    assert measured(data, "a.csv.gz")[0] == len(WHOLE)


@pytest.mark.parametrize(
    ("data", "name", "code", "kind"),
    [
        (zipped(b"x"), "a.csv.gz", "GZIP_MISNAMED", "zip"),
        (b"email\n", "a.csv.gz", "GZIP_MISNAMED", "plain text"),
        (b"", "a.csv.gz", "FILE_EMPTY", ""),
        (b"", "a.zip", "FILE_EMPTY", ""),
        (b"email\n", "a.zip", "ZIP_MISNAMED", "plain text"),
        (gzip.compress(b"x", mtime=0), "a.zip", "ZIP_MISNAMED", "gzip"),
    ],
)
def test_misnamed(data, name, code, kind):
    failure = failure_of(data, name)
    assert failure.code == code
    assert kind in failure.params.get("kind", "")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_cannot_be_bounded_are_refused(method):
    failure = failure_of(zipped(bytes(1_000_000), method=method), "a.zip")
    assert failure.code == "ZIP_METHOD_UNKNOWN"
    assert failure.params["method"] in ("bzip2", "lzma")


def test_a_zip_that_understates_its_size():
    packed = bytearray(zipped(WHOLE))
    at = packed.rindex(b"PK\x01\x02")
    packed[at + 24 : at + 28] = struct.pack("<I", 10)
    assert failure_of(bytes(packed), "a.zip").code == "ARCHIVE_DAMAGED"


def test_growth_is_bounded(settings, monkeypatch):
    monkeypatch.setattr(source, "RATIO_COUNTS_FROM", 1_000_000)
    packed = gzip.compress(bytes(3_000_000))
    failure = failure_of(packed)
    assert failure.code == "ARCHIVE_TOO_LARGE"
    assert failure.params["stored"] == len(packed)
    assert failure_of(zipped(bytes(3_000_000)), "a.zip").code == "ARCHIVE_TOO_LARGE"
    settings.UNPACKED_RATIO_MAX = 10_000
    assert measured(packed, "a.csv.gz")[0] == 3_000_000
    settings.UNPACKED_MAX_BYTES = 2_000_000
    assert failure_of(packed).code == "ARCHIVE_TOO_LARGE"


def test_reading_on_behind_the_end_gives_nothing():
    content = content_open(io.BytesIO(gzip.compress(b"abc")), "a.gz").content
    assert content.read(10) == b"abc"
    assert content.read(10) == b""
    content.seek(50)
    assert content.read(1) == b""
    content.seek(1)
    assert content.read(10) == b"bc"
