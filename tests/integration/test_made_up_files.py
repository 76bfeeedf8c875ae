"""Made-up files through the real pipeline, against a slow reader of the standard library's csv and json modules.

The short form reads 100 files a format, the long one (`make chaos`) 2,000; half of them packed.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.core.files.base import ContentFile
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from audience.models import Interaction
from batchjobs import kernel
from batchjobs.downloads import rejects
from batchjobs.ingestion.formats.delimited import DelimitedReader
from batchjobs.ingestion.formats.email_list import EmailListReader
from batchjobs.ingestion.formats.json_window import Window
from batchjobs.ingestion.formats.ndjson import NdjsonReader
from batchjobs.models import BatchJob
from batchjobs.services import batchjob_create
from tests.factories import make_actor

pytestmark = [pytest.mark.chaos, pytest.mark.django_db(transaction=True)]

AT_ONCE = 25  # files that one call works through
EXAMPLES = 80 if os.environ.get("CHAOS") == "1" else 4
made_up = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.target],  # an example holds many files: no shrinking
)

EMAIL = st.sampled_from(["a@example.com", "B@Example.com ", "c.d+e@example.co.uk", "jos\u00e9@example.com"])
NO_EMAIL = st.sampled_from(["a@", "nobody", "a b@example.com", "@example.com", "a@@example.com", "a@example"])
TEXT = st.text(
    alphabet=st.characters(exclude_categories=["Cs", "Cc"], include_characters="\t\x1f\x7f"), max_size=12
) | st.text(alphabet="ab'\",;|\t\\%{}[]:\u2028\x85é😀 0", max_size=12)
NEWLINES = st.sampled_from(["\n", "\r\n"])


@dataclass
class MadeUp:
    """A file, and what it says: properties by line, and the first error by line."""

    name: str
    data: bytes
    good: dict[int, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    bad: dict[int, set[str]] = field(default_factory=dict)

    def packed(self) -> MadeUp:
        return MadeUp(self.name + ".gz", gzip.compress(self.data, 1), self.good, self.bad)


def encoded(draw: st.DrawFn, text: str) -> bytes:
    return text.encode(draw(st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16"])))


@st.composite
def cells_file(draw: st.DrawFn) -> MadeUp:
    suffix, delimiter = draw(st.sampled_from([(".csv", ","), (".csv", ";"), (".psv", "|"), (".tsv", "\t")]))
    columns = ["n", "x y", 'say "x"', "ключ"][: draw(st.integers(1, 4))]
    newline = draw(NEWLINES)
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    cell = TEXT | st.sampled_from(["", "", "line\nbreak", "\r\n", "1"])
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator=newline, quoting=quoting)
    writer.writerow(["email", *columns])
    writer.writerow(["first@example.com", *["1"] * len(columns)])
    for _ in range(draw(st.integers(0, 12))):
        row = [draw(EMAIL if draw(st.integers(0, 4)) else NO_EMAIL | st.just("")), *(draw(cell) for _ in columns)]
        if draw(st.integers(0, 5)) == 0:
            row = row[:-1] if draw(st.booleans()) else [*row, "more"]
        if len(row) > 1 or row[0]:
            writer.writerow(row)
        if draw(st.integers(0, 6)) == 0:
            out.write(newline)
    text = out.getvalue()
    if draw(st.booleans()):
        text = text.removesuffix(newline)
    file = MadeUp("made-up" + suffix, encoded(draw, text))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    next(reader)
    begun = reader.line_num
    for row in reader:
        line, begun = begun + 1, reader.line_num
        if not row:
            continue
        if len(row) != len(columns) + 1:
            file.bad[line] = {"ROW_TOO_SHORT" if len(row) <= len(columns) else "ROW_TOO_LONG"}
        elif code := wrong_email(row[0]):
            file.bad[line] = {code}
        else:
            said = {name: value for name, value in zip(columns, row[1:], strict=True) if value}
            file.good[line] = (row[0].strip().lower(), said)
    return file


def wrong_email(value: Any) -> str:
    text = "" if value is None else str(value).strip()
    if not text:
        return "IDENTITY_MISSING"
    return "EMAIL_INVALID" if text in KNOWN_BAD or text.isdigit() else ""


KNOWN_BAD = {"a@", "nobody", "a b@example.com", "@example.com", "a@@example.com", "a@example"}
VALUES = st.recursive(
    TEXT
    | st.integers(-(10**25), 10**25)
    | st.floats(-1e15, 1e15).filter(lambda value: value == 0 or abs(value) > 1e-9)
    | st.none()
    | st.booleans()
    | st.sampled_from(["", "\n", "\r\n\t"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
BROKEN = st.sampled_from(["{", '{"email":"x@example.com",}', '{"n":NaN}', "{'n':1}", '{"n":01}', '{"n":1 "m":2}', "[}"])
NOT_OBJECTS = st.sampled_from(["1", "[]", '"x"', "null", "true", '[{"email":"a@example.com"}]'])


@st.composite
def record(draw: st.DrawFn) -> tuple[str, tuple[str, dict[str, Any]] | None, set[str]]:
    """A record's text, and what it says or what is wrong with it."""
    turn = draw(st.integers(0, 11))
    if turn == 0:
        return draw(BROKEN.filter(lambda text: text[0] == "{" and text[-1] == "}")), None, {"JSON_INVALID"}
    if turn == 1:
        return draw(NOT_OBJECTS), None, {"RECORD_NOT_OBJECT"}
    said = draw(
        st.dictionaries(st.sampled_from(["n", "x y", 'k"', "\\", "ключ", "a:b", '":', "😀"]), VALUES, max_size=4)
    )
    email = draw(EMAIL if draw(st.integers(0, 4)) else NO_EMAIL | st.sampled_from(["", None, 17]))
    pairs = list(said.items())
    pairs.insert(draw(st.integers(0, len(pairs))), ("email", email))
    text = json.dumps(
        dict(pairs), ensure_ascii=draw(st.booleans()), separators=draw(st.sampled_from([None, (",", ":")]))
    )
    codes = {wrong_email(email)} - {""}
    if "\\u0000" in text:
        codes |= {"NUL_CHARACTER"}
    if codes:
        return text, None, codes
    kept = {key: value for key, value in said.items() if value is not None and value != ""}
    return text, (str(email).strip().lower(), kept), set()


FIRST = ('{"email":"first@example.com"}', ("first@example.com", {}), set())


@st.composite
def lines_file(draw: st.DrawFn) -> MadeUp:
    newline = draw(NEWLINES)
    records = [FIRST, *draw(st.lists(record() | st.just(("", None, set())), max_size=12))]
    file = MadeUp(draw(st.sampled_from(["made-up.ndjson", "made-up.jsonl"])), b"")
    for line, (_text, said, codes) in enumerate(records, 1):
        if said:
            file.good[line] = said
        elif codes:
            file.bad[line] = codes
    file.data = encoded(draw, newline.join(text for text, _, _ in records) + newline * draw(st.integers(0, 2)))
    return file


@st.composite
def array_file(draw: st.DrawFn) -> MadeUp:
    blank = st.sampled_from(["", " ", "\n", "\n  ", "\r\n\t"])
    text = draw(blank)
    named = draw(st.booleans())
    text += ('{"meta": {"list": [1, "]"]},\n"people": [' if named else "[") + draw(blank)
    file = MadeUp("made-up.json", b"")
    for number, (short, said, codes) in enumerate([FIRST, *draw(st.lists(record(), max_size=12))]):
        written = short
        if number:
            text += draw(blank) + "," + draw(blank)
        line = text.count("\n") + 1
        while line in file.good or line in file.bad:  # one record a line, so that lines tell them apart
            text += "\n"
            line += 1
        if said and draw(st.booleans()) and json.loads(written):
            written = json.dumps(json.loads(written), indent=draw(st.integers(0, 2)))
        if said:
            file.good[line] = said
        else:
            file.bad[line] = codes
        text += written
    text += draw(blank) + "]" + ("}" if named else "") + draw(blank)
    file.data = encoded(draw, text)
    return file


@st.composite
def list_file(draw: st.DrawFn) -> MadeUp:
    newline = draw(NEWLINES | st.just("\r"))
    around = st.sampled_from(["", " ", "\t", '"', "<", ";"])
    lines = [("first@example.com", "first@example.com")]
    for value in draw(st.lists(EMAIL | NO_EMAIL | st.sampled_from(["", " ; "]), max_size=15)):
        lines.append((draw(around) + value + draw(around), value.strip(" ;")))
    file = MadeUp(draw(st.sampled_from(["made-up.txt", "made-up.csv"])), b"")
    for line, (_text, value) in enumerate(lines, 1):
        if value in KNOWN_BAD:
            file.bad[line] = {"EMAIL_INVALID"}
        elif value:
            file.good[line] = (value.lower(), {})
    file.data = encoded(draw, newline.join(text for text, _ in lines) + newline * draw(st.integers(0, 1)))
    return file


def batch(files: st.SearchStrategy[MadeUp]) -> st.SearchStrategy[list[MadeUp]]:
    one = st.tuples(files, st.booleans()).map(lambda drawn: drawn[0].packed() if drawn[1] else drawn[0])
    return st.lists(one, min_size=AT_ONCE, max_size=AT_ONCE)


@pytest.fixture
def small_pieces(settings: Any, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Blocks and chunks of a few rows: their ends fall anywhere."""
    settings.JOB_CHUNK_ROWS = 5
    return monkeypatch


def told_as_it_is(files: list[MadeUp], block: int, pieces: pytest.MonkeyPatch) -> None:
    for owner in (DelimitedReader, EmailListReader, NdjsonReader, Window):
        pieces.setattr(owner, "block_bytes", block)
    by = make_actor()
    jobs = [
        batchjob_create(
            by=by,
            content=ContentFile(file.data),
            file_name=file.name,
            event_name="seen",
            options={"run_anyway": True},
        )
        for file in files
    ]
    kernel.queue_work("short")
    stored: dict[int, dict[int, Any]] = {job.pk: {} for job in jobs}
    rows = Interaction.objects.filter(created_by_job__in=list(stored))
    for job_id, line, address, properties in rows.values_list(
        "created_by_job", "row_no", "profile__email", "properties"
    ):
        assert line not in stored[job_id]
        stored[job_id][line] = (address, properties)
    for file, job in zip(files, BatchJob.objects.filter(pk__in=list(stored)).order_by("pk"), strict=True):
        assert (job.status, job.failure_code) == ("done", ""), (file, job.failure_params, job.crash_reports.first())
        assert stored[job.pk] == file.good, file
        told = {entry["line"]: {error["code"] for error in entry["errors"]} for entry in rejects(job)}
        assert told == file.bad, file
        assert (job.valid_rows, job.invalid_rows, job.skipped_rows) == (len(file.good), len(file.bad), 0)


BLOCKS = st.sampled_from([32, 64, 100, 1000, 1 << 19])


@made_up
@given(files=batch(cells_file()), block=BLOCKS)
def test_delimited(files, block, small_pieces):
    told_as_it_is(files, block, small_pieces)


@made_up
@given(files=batch(lines_file()), block=BLOCKS)
def test_ndjson(files, block, small_pieces):
    told_as_it_is(files, block, small_pieces)


@made_up
@given(files=batch(array_file()), block=BLOCKS)
def test_json(files, block, small_pieces):
    told_as_it_is(files, block, small_pieces)


@made_up
@given(files=batch(list_file()), block=BLOCKS)
def test_email_lists(files, block, small_pieces):
    told_as_it_is(files, block, small_pieces)
