"""Files as they should not be: each ends with a named failure or errors of its rows, and never in between."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
import zipfile
from typing import Any

import pytest
from django.core.files.base import ContentFile

from accounts.actors import Actor
from audience.models import Interaction, Profile, Suppression
from batchjobs import kernel
from batchjobs.downloads import error_log_response, rejected_rows_response, rejects
from batchjobs.failures import failure_of
from batchjobs.ingestion.problems import PROBLEMS
from batchjobs.models import BatchJob
from batchjobs.services import batchjob_create
from tests.factories import make_actor

pytestmark = pytest.mark.django_db(transaction=True)

GOOD = b"email,note\na@example.com,1\nb@example.com,2\n"


def run(content: str | bytes, name: str, *, by: Actor | None = None, kind: str = "profile", **extra: Any) -> BatchJob:
    """A job for the file, run to its end, with all that holds for any file."""
    data = content.encode() if isinstance(content, str) else content
    by = by or make_actor()
    job = batchjob_create(by=by, content=ContentFile(data), file_name=name, record_type=kind, **extra)
    kernel.queue_work(job.queue)
    job.refresh_from_db()
    holds(job)
    return job


def holds(job: BatchJob) -> None:
    assert not job.crash_reports.exists(), job.crash_reports.first().report[-3000:]
    assert job.status in ("done", "failed")
    assert (job.status == "failed") == bool(job.failure_code)
    log = [json.loads(line) for line in b"".join(error_log_response(job).streaming_content).splitlines()]
    assert len(log) == job.invalid_rows
    assert all(error["message"] == PROBLEMS[error["code"]].message for row in log for error in row["errors"])
    assert [row["line"] for row in log] == sorted(row["line"] for row in log)
    b"".join(rejected_rows_response(job, formula_safe=True).streaming_content)
    if not job.failure_code:
        return
    told = failure_of(job.failure_code, job.failure_params)
    for text in (told.title, told.advice, told.short):
        assert text
        assert "…" not in text
        assert "{" not in text.replace('{"', "")
    if "Nothing was changed" in told.advice or "nothing was changed" in told.advice:
        for model in (Profile, Interaction, Suppression):
            assert not model.objects.for_account(job.account).exists()
        assert not job.valid_rows


def outcome(job: BatchJob) -> tuple[Any, ...]:
    """(failure or status, valid, skipped, {line: codes})."""
    told = {entry["line"]: [error["code"] for error in entry["errors"]] for entry in rejects(job)}
    return job.failure_code or job.status, job.valid_rows, job.skipped_rows, told


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def tar(form: int = tarfile.GNU_FORMAT, *, v7: bool = False) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        info = tarfile.TarInfo("people.csv")
        info.size = len(GOOD)
        archive.addfile(info, io.BytesIO(GOOD))
    data = bytearray(out.getvalue())
    if v7:  # neither the word ustar nor what came with it
        data[257:500] = bytes(243)
        data[148:156] = b"%06o\0 " % (sum(data[:148]) + 8 * 32 + sum(data[156:512]))
    return bytes(data)


def changed(data: bytes, at: int) -> bytes:
    copy = bytearray(data)
    copy[at] ^= 0x55
    return bytes(copy)


def encrypted() -> bytes:
    data = bytearray(zipped({"a.csv": GOOD}))
    data[6] |= 1
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


LARGE = b"email,note\n" + b"".join(b"p%d@example.com,%d\n" % (n, n * 7919 % 10007) for n in range(60_000))
PACKED = gzip.compress(LARGE, mtime=0)

ARCHIVES: dict[str, tuple[bytes, str, str, str]] = {
    "tar in gzip": (gzip.compress(tar(), mtime=0), "a.csv.gz", "TAR_IN_GZIP", "tar"),
    "tar of pax in gzip": (gzip.compress(tar(tarfile.PAX_FORMAT), mtime=0), "a.csv.gz", "TAR_IN_GZIP", "tar"),
    "tar of v7 in gzip": (gzip.compress(tar(v7=True), mtime=0), "a.csv.gz", "TAR_IN_GZIP", "tar"),
    "tar called csv": (tar(v7=True), "a.csv", "BINARY_FILE", "tar"),
    "zip called gz": (zipped({"a.csv": GOOD}), "a.csv.gz", "GZIP_MISNAMED", "zip"),
    "gzip called csv": (gzip.compress(GOOD, mtime=0), "a.csv", "BINARY_FILE", "gzip"),
    "gzip in gzip": (gzip.compress(gzip.compress(GOOD, mtime=0), mtime=0), "a.csv.gz", "BINARY_FILE", "gzip"),
    "gzip called zip": (gzip.compress(GOOD, mtime=0), "a.zip", "ZIP_MISNAMED", "gzip"),
    "zip called json": (zipped({"a.csv": GOOD}), "a.json", "BINARY_FILE", "zip"),
    "text called gz": (GOOD, "a.csv.gz", "GZIP_MISNAMED", "plain text"),
    "text called zip": (GOOD, "a.zip", "ZIP_MISNAMED", "plain text"),
    "two files": (zipped({"a.csv": GOOD, "b.csv": GOOD}), "a.zip", "ZIP_NOT_ONE_FILE", "a.csv, b.csv"),
    "no file": (zipped({}), "a.zip", "ZIP_NOT_ONE_FILE", "none"),
    "a folder only": (zipped({"x/": b""}), "a.zip", "ZIP_NOT_ONE_FILE", "none"),
    "encrypted": (encrypted(), "a.zip", "ZIP_ENCRYPTED", "password"),
    "zip in zip": (zipped({"b.zip": zipped({"a.csv": GOOD})}), "a.zip", "NAME_UNKNOWN", "b.zip"),
    "gzip in zip": (zipped({"a.csv.gz": gzip.compress(GOOD, mtime=0)}), "a.zip", "NAME_UNKNOWN", "a.csv.gz"),
    "zip called csv in zip": (zipped({"a.csv": zipped({"a.csv": GOOD})}), "a.zip", "BINARY_FILE", "zip"),
    "a workbook in zip": (zipped({"a.xlsx": GOOD}), "a.zip", "NAME_UNKNOWN", "a.xlsx"),
    "an empty file in zip": (zipped({"a.csv": b""}), "a.zip", "FILE_EMPTY", ""),
    "bzip2 in zip": (zipped({"a.csv": GOOD}, zipfile.ZIP_BZIP2), "a.zip", "ZIP_METHOD_UNKNOWN", "bzip2"),
    "empty gzip": (gzip.compress(b"", mtime=0), "a.csv.gz", "FILE_EMPTY", ""),
    "gzip cut off": (PACKED[:-9], "a.csv.gz", "ARCHIVE_DAMAGED", "ends in the middle"),
    "gzip cut in its header": (PACKED[:5], "a.csv.gz", "ARCHIVE_DAMAGED", "ends in the middle"),
    "gzip cut in its trailer": (PACKED[:-3], "a.csv.gz", "ARCHIVE_DAMAGED", "ends in the middle"),
    "wrong checksum": (changed(PACKED, -7), "a.csv.gz", "ARCHIVE_DAMAGED", "checksum"),
    "wrong size": (changed(PACKED, -2), "a.csv.gz", "ARCHIVE_DAMAGED", "checksum"),
    "damaged in the middle": (changed(PACKED, len(PACKED) // 2), "a.csv.gz", "ARCHIVE_DAMAGED", "unpacked"),
    "something behind it": (PACKED + b"tail", "a.csv.gz", "ARCHIVE_DAMAGED", "behind the end"),
    "zip cut off": (zipped({"a.csv": LARGE})[:-30], "a.zip", "ARCHIVE_DAMAGED", "ends in the middle"),
    "zip with a wrong checksum": (changed(zipped({"a.csv": LARGE}), 14), "a.zip", "", ""),
    "zip damaged": (changed(zipped({"a.csv": LARGE}), 20_000), "a.zip", "ARCHIVE_DAMAGED", "checksum"),
    "a zip that is only a magic number": (b"PK\x03\x04", "a.zip", "ARCHIVE_DAMAGED", "line 1"),
    "a workbook called csv": (b"\xd0\xcf\x11\xe0" + bytes(1000), "a.csv", "BINARY_FILE", "Excel"),
    "a picture called csv": (b"\x89PNG\r\n\x1a\n" + bytes(1000), "a.csv", "BINARY_FILE", "image"),
    "a document called txt": (b"%PDF-1.7\n" + bytes(1000), "a.txt", "BINARY_FILE", "PDF"),
    "noise": (bytes(range(256)) * 40, "a.csv", "BINARY_FILE", "not text"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives_and_what_is_no_text(name):
    data, file_name, code, words = ARCHIVES[name]
    job = run(data, file_name)
    if not code:  # the copy of the checksum that nobody reads
        assert job.status == "done"
        return
    assert job.failure_code == code
    told = failure_of(job.failure_code, job.failure_params)
    assert words in f"{told.title} {told.advice}"
    if code == "ARCHIVE_DAMAGED" and len(data) > 20_000 and file_name.endswith("gz"):
        assert int(job.failure_params["line"].replace(",", "")) > 10_000


def test_zip_with_a_wrong_checksum():
    data = bytearray(zipped({"a.csv": LARGE}))
    data[data.rindex(b"PK\x01\x02") + 16] ^= 1
    job = run(bytes(data), "a.zip")
    assert job.failure_code == "ARCHIVE_DAMAGED"
    assert int(job.failure_params["line"].replace(",", "")) > 10_000


def test_a_gzip_that_grows_beyond_all_measure():
    job = run(gzip.compress(bytes(100_000_000), 9), "a.csv.gz")
    assert job.failure_code == "ARCHIVE_TOO_LARGE"
    assert "KB" in failure_of(job.failure_code, job.failure_params).advice


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (gzip.compress(GOOD, mtime=0) + bytes(5000), "a.csv.gz"),
        (
            gzip.compress(GOOD[:20], mtime=0) + gzip.compress(b"", mtime=0) + gzip.compress(GOOD[20:], mtime=0),
            "a.csv.gz",
        ),
        (zipped({"x/": b"", "x/a.csv": GOOD, "__MACOSX/x/._a.csv": b"\0", "x/.DS_Store": b"\0"}), "a.zip"),
        (zipped({"a.csv": GOOD}, zipfile.ZIP_STORED), "A.ZIP"),
        (b"\xef\xbb\xbf" + GOOD, "a.csv"),
        (gzip.compress("\ufeff".encode("utf-16-le") + GOOD.decode().encode("utf-16-le"), mtime=0), "a.csv.gz"),
        (GOOD.decode().encode("utf-16"), "a.csv"),
        (GOOD.decode().encode("utf-16-le"), "a.csv"),
        (GOOD.decode().encode("utf-16-be"), "a.csv"),
        (GOOD.replace(b"\n", b"\r"), "a.csv"),
    ],
)
def test_what_is_unusual_and_fine(data, name):
    job = run(data, name)
    assert outcome(job) == ("done", 2, 0, {})
    assert Profile.objects.get(email="b@example.com").attributes == {"note": "2"}


# Encodings


def test_stray_bytes_cost_their_rows_only():
    job = run(b"email,name\na@example.com,Ana\nb@example.com,Jos\xe9\nc@example.com,Jos\xc3\xa9\n", "a.csv")
    assert outcome(job) == ("done", 2, 0, {3: ["ENCODING_INVALID"]})
    assert Profile.objects.get(email="c@example.com").attributes == {"name": "José"}
    assert "José" in b"".join(rejected_rows_response(job, formula_safe=False).streaming_content).decode("latin-1")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b'{"email":"a@example.com","name":"Jos\xe9"}\n{"email":"b@example.com"}', "a.ndjson"),
        (b'[{"email":"a@example.com","name":"Jos\xe9"},{"email":"b@example.com"}]', "a.json"),
        (b"jos\xe9@example.com\nb@example.com\n", "a.txt"),
    ],
)
def test_stray_bytes_in_the_first_record(data, name):
    extra = {"options": {"format": "emails"}} if name == "a.txt" else {}
    assert outcome(run(data, name, **extra)) == (
        "done",
        1,
        0,
        {1: ["ENCODING_INVALID"]} if extra == {} else {1: ["ENCODING_INVALID", "EMAIL_INVALID"]},
    )


def test_latin_1_is_asked_for_and_never_guessed():
    data = b"email,name\n" + b"".join(b"p%d@example.com,Jos\xe9\n" % n for n in range(9))
    by = make_actor()
    assert run(data, "a.csv", by=by).failure_code == "ENCODING_UNKNOWN"
    job = run(data, "a.csv", by=by, options={"encoding": "latin-1", "run_anyway": True})
    assert outcome(job) == ("done", 9, 0, {})
    assert Profile.objects.get(email="p3@example.com").attributes == {"name": "José"}


@pytest.mark.parametrize("data", ["émail,naïve\na@example.com,1\n".encode("latin-1"), b'email,"a\nb\xff"\na@b.com,1\n'])
def test_a_header_that_is_not_in_the_encoding(data):
    assert run(data, "a.csv").failure_code == "ENCODING_UNKNOWN"


def test_mixed_encodings():
    data = "email,name\na@example.com,é\n".encode() + "b@example.com,é\n".encode("cp1252")
    assert outcome(run(data, "a.csv")) == ("done", 1, 0, {3: ["ENCODING_INVALID"]})
    data = "email,name\na@example.com,é\n".encode("utf-16") + b"x"
    assert outcome(run(data, "a.csv")) == ("done", 1, 0, {3: ["ROW_TOO_SHORT"]})


def test_nul_bytes():
    job = run(b"email,note\na@example.com,x\0y\nb@example.com,1\n\0@example.com,1\n", "a.csv")
    assert outcome(job) == ("done", 1, 0, {2: ["NUL_CHARACTER"], 4: ["EMAIL_INVALID", "NUL_CHARACTER"]}) or outcome(
        job
    ) == ("done", 1, 0, {2: ["NUL_CHARACTER"], 4: ["NUL_CHARACTER", "EMAIL_INVALID"]})
    assert run(b"email,no\0te\na@example.com,x\n", "a.csv").failure_code == "HEADER_UNREADABLE"
    assert run(b'email,"note and\n\0more"\na@example.com,x\n', "a.csv").failure_code == "HEADER_UNREADABLE"


# JSON

E = '"email":"%s@example.com"'


def person(name: str, rest: str = "") -> str:
    return "{" + E % name + ("," + rest if rest else "") + "}"


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        ("[" * 100_000, "JSON_TOO_DEEP"),
        ('{"a":' * 100_000, "JSON_TOO_DEEP"),
        (person("x", '"n":' + "[" * 32 + "]" * 32), "JSON_TOO_DEEP"),
        (person("x", '"n":1,"n":2'), "KEY_TWICE"),
        (person("x", '"n":{"m":1,"m":1}'), "KEY_TWICE"),
        (person("x", '"\\u0000":1,"\\u0000":2'), "KEY_TWICE"),
        (person("x", '"n":NaN'), "JSON_INVALID"),
        (person("x", '"n":Infinity'), "JSON_INVALID"),
        (person("x", '"n":-Infinity'), "JSON_INVALID"),
        (person("x", ",".join(f'"k{n}":1' for n in range(5000))), "KEYS_TOO_MANY"),
        (person("x", '"n":1,'), "JSON_INVALID"),
        (person("x", '"n":1e400'), "NUMBER_OUT_OF_RANGE"),
        (person("x", '"n":' + "9" * 5000), "NUMBER_OUT_OF_RANGE"),
        (person("x", '"n":[1,{"m":-1e-400}]'), "NUMBER_OUT_OF_RANGE"),
        (person("x", '"n":"\\u0000"'), "NUL_CHARACTER"),
        (person("x", '"\\u0000":1'), "NUL_CHARACTER"),
        (person("x", '"n":{"\\u0000":1}'), "NUL_CHARACTER"),
        (person("x", '"n":"\\ud800"'), "ENCODING_INVALID"),
        (person("x", '"\\udc00":1'), "ENCODING_INVALID"),
        (person("x", '"n":["\\ud83d"]'), "ENCODING_INVALID"),
        ("[1]", "RECORD_NOT_OBJECT"),
        ('"x"', "RECORD_NOT_OBJECT"),
        ("17", "RECORD_NOT_OBJECT"),
        ("null", "RECORD_NOT_OBJECT"),
        (person("x", '"n":"' + "y" * 1_000_001 + '"'), "RECORD_TOO_LARGE"),
    ],
)
@pytest.mark.parametrize("name", ["a.ndjson", "a.json"])
@pytest.mark.parametrize("place", [0, 1])
def test_one_bad_record_costs_itself_only(bad, code, name, place):
    if name == "a.ndjson" and place == 0 and bad.startswith("["):
        return  # that is an array
    records = [person("a", '"n":1'), person("b", '"n":[{"m":' + "[" * 28 + "]" * 28 + "}]")]
    records.insert(place, bad)
    if name == "a.json" and bad.startswith(("[[", '{"a":{"a')):
        bad = records[place] = bad + ("]" if bad[0] == "[" else "1" + "}") * 100_000
        bad = records[place] = bad.replace("1}" * 100_000, "1" + "}" * 100_000)
    content = "\n".join(records) if name == "a.ndjson" else "[" + ",\n".join(records) + "]"
    job = run(content, name)
    status, valid, skipped, told = outcome(job)
    assert (status, valid, skipped) == ("done", 2, 0)
    assert list(told) == [place + 1]
    assert told[place + 1][0] == code
    assert sorted(Profile.objects.for_account(job.account).values_list("email", flat=True)) == [
        "a@example.com",
        "b@example.com",
    ]


@pytest.mark.parametrize(
    ("content", "valid"),
    [
        ("[" + person("a") + "," + person("b"), 2),
        ("[" + person("a") + ',{"email":', 1),
        ("[" + person("a") + "," + person("b") + ",]", 2),
        ("[" + person("a") + "]]", 1),
        ("[" + person("a") + "] and more", 1),
        (person("a") + "{}", 1),
        ('{"email": ', 0),
        ("[", 0),
        ("hello", 0),
        ("[" * 100_000, 0),
        ('{"a":' * 100_000, 0),
    ],
)
def test_an_array_that_is_broken_keeps_what_stands_before(content, valid):
    job = run(content, "a.json")
    assert (job.failure_code, job.valid_rows) == ("JSON_BROKEN", valid)
    assert Profile.objects.for_account(job.account).count() == valid
    assert job.failure_params["line"] == "1"


def test_lists_in_json():
    several = '{"a": [' + person("a") + '], "b": {"items": [' + person("b") + "]}}"
    by = make_actor()
    assert run(several, "a.json", by=by).failure_code == "LIST_NOT_CHOSEN"
    again = {"run_anyway": True}
    assert run(several, "a.json", by=by, options={"array": "c", **again}).failure_code == "LIST_NOT_FOUND"
    assert outcome(run(several, "a.json", by=by, options={"array": "b.items", **again})) == ("done", 1, 0, {})
    assert Profile.objects.for_account(by.account).get().email == "b@example.com"
    assert outcome(run(person("c"), "a.json", by=by)) == ("done", 1, 0, {})
    assert outcome(run('{"data": {"items": []}}', "a.json", options={"array": "data.items"}))[0] == "NO_ROWS"
    assert run('{"x": 1}', "a.json").failure_code == "COLUMN_MISSING"
    assert run("[]", "a.json").failure_code == "NO_ROWS"
    odd = '{"\\u0000": [{}], "\\ud800": [{}]}'
    assert run(odd, "a.json").failure_params["lists"] == ["�", "�"]


def test_json_called_by_the_other_name():
    lines = person("a") + "\n" + person("b") + "\n"
    assert outcome(run(lines, "a.json")) == ("done", 2, 0, {})
    assert outcome(run("[" + person("a") + ",\n" + person("b") + "]", "a.ndjson")) == ("done", 2, 0, {})


def test_many_keys_and_spellings():
    """The column that says who may be the last of many, and each record may spell it in its own way."""
    keys = ",".join(f'"k{n}":{n}' for n in range(80))
    lines = ["{" + keys + ',"Email":"a@example.com"}', person("b"), '{"EMAIL":"c@example.com"}']
    for name, content in (("a.ndjson", "\n".join(lines)), ("a.json", "[" + ",".join(lines) + "]")):
        job = run(content, name)
        assert outcome(job) == ("done", 3, 0, {})
        assert len(Profile.objects.for_account(job.account).get(email="a@example.com").attributes) == 80


def test_odd_keys_at_the_beginning():
    lines = ['{"\\u0000":1,"\\ud800":1}', '{"' + "k" * 100_000 + '":1,' + E % "a" + "}"]
    job = run("\n".join(lines) + "\n", "a.ndjson")
    assert outcome(job)[:3] == ("done", 1, 0)
    assert job.reader_state["header"] == ["email"]


# Delimited


def test_too_many_columns():
    assert run("email" + ",c" * 5000 + "\na@example.com" + ",1" * 5000 + "\n", "a.csv").failure_code in (
        "COLUMNS_TOO_MANY",
        "COLUMN_TWICE",
    )
    header = "email," + ",".join(f"c{n}" for n in range(4999))
    job = run(header + "\na@example.com" + ",1" * 4999 + "\n", "a.csv")
    assert (job.failure_code, job.failure_params["count"]) == ("COLUMNS_TOO_MANY", 5000)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("email,note\na@example.com,1\nb@example.com," + "x" * 1_100_000 + "\nc@example.com,1\n", "a.csv"),
        ('email,note\na@example.com,1\nb@example.com,"' + "x" * 1_100_000 + '"\nc@example.com,1\n', "a.csv"),
        ("email|note\na@example.com|1\n" + "x" * 3_000_000 + "\nc@example.com|1\n", "a.psv"),
        ("email\na@example.com\nb@example.com" + "x" * 1_000_000 + "\nc@example.com", "a.txt"),
        ("z@example.com\na@example.com\nb@example.com" + "x" * 1_000_000 + "\nc@example.com", "a.txt"),
    ],
)
def test_a_line_of_a_megabyte(content, name):
    job = run(content, name)
    status, _valid, _skipped, told = outcome(job)
    assert status == "done"
    assert told == {3: ["RECORD_TOO_LARGE"]}
    assert Profile.objects.for_account(job.account).filter(email="c@example.com").exists()


def test_quotes_that_never_close():
    rows = "".join(f"p{n}@example.com,{n}\n" for n in range(500))
    job = run('email,note\nx@example.com,"open\n' + rows, "a.csv")
    assert outcome(job) == ("done", 500, 0, {2: ["QUOTE_UNCLOSED"]})
    job = run("email,note\n" + 'x@example.com,"open\ny@example.com,1\n' * 301, "a.csv")
    assert job.status == "done"
    assert job.valid_rows + job.invalid_rows > 0
    assert run('email,"note\na@example.com,1\n', "a.csv").failure_code == "HEADER_UNREADABLE"
    assert run("email," + "n" * 300 + "\na@example.com,1\n", "a.csv").failure_code == "HEADER_UNREADABLE"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("email,note\n", "NO_ROWS"),
        ("email,note", "NO_ROWS"),
        ("email,note\n\n\r\n\n", "NO_ROWS"),
        ("", "FILE_EMPTY"),
        ("\n\n\n", "FILE_EMPTY"),
        ("\ufeff", "FILE_EMPTY"),
        (" \n \n", "FILE_EMPTY"),
        ("name,note\nx,y\n", "COLUMN_MISSING"),
        ("email;email\nx;y\n", "COLUMN_TWICE"),
        ("email,note\nx,y\n", "NO_VALID_ROWS"),
        ("email note\na@example.com x\n", "NO_DELIMITER"),
        ("a@example.com,1\nb@example.com,2\n", "HEADER_MISSING"),
    ],
)
def test_nothing_to_read(content, code):
    job = run(content, "a.csv")
    assert job.failure_code == code
    assert not Profile.objects.for_account(job.account).exists()


@pytest.mark.parametrize(("content", "name"), [("\n\n \n", "a.ndjson"), ("\n\n", "a.json"), ("\n \n", "a.txt")])
def test_blank_lines_only(content, name):
    assert run(content, name).failure_code in ("FILE_EMPTY", "NO_ROWS")


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.json", "a.ndjson", "a.zip"])
def test_nothing_at_all(name):
    assert run(b"", name).failure_code == "FILE_EMPTY"


def test_a_size_that_is_made_up():
    data = bytearray(zipped({"a.csv": LARGE}))
    at = data.rindex(b"PK\x01\x02") + 24
    data[at : at + 4] = struct.pack("<I", 2**31)
    assert outcome(run(bytes(data), "a.zip")) in [("ARCHIVE_DAMAGED", 0, 0, {}), ("done", 60_000, 0, {})]
