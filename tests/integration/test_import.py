"""Files through the whole path: what is stored, what is counted, what is rejected."""

from __future__ import annotations

import csv
import io
import json
import random
import re
from functools import partial

import pytest
from django.core.files.base import File
from django.db import connection

from accounts.actors import Actor
from audience.models import Interaction, Profile, ProfileBeforeImage
from batchjobs import kernel
from batchjobs.downloads import error_log_response, rejected_rows_response
from batchjobs.failures import failure_of
from batchjobs.ingestion import run
from batchjobs.ingestion.chunks import Chunks
from batchjobs.models import BatchJob, Chunk
from batchjobs.services import JobRefusedError, batchjob_create, batchjob_run_anyway
from tests.chaos import assert_equal_runs, until
from tests.factories import make_actor

pytestmark = pytest.mark.django_db(transaction=True)


def run_file(by: Actor, content: bytes | str, file_name: str = "signup-test.csv", **how) -> BatchJob:
    """Creates a job from `content` and runs it here, as a worker would."""
    data = content.encode() if isinstance(content, str) else content
    how = {"file_name": file_name, **how}
    job = batchjob_create(by=by, content=File(io.BytesIO(data), name=file_name), **how)
    kernel.queue_work(job.queue)
    job.refresh_from_db()
    assert not job.crash_reports.exists(), job.crash_reports.all()[0].report
    return job


def test_good_file(marketer):
    job = run_file(marketer, "email,event_time,colour\nA@example.com,2026-01-01,red\nb@example.com,,\n")
    assert (job.status, job.failure_code, job.valid_rows, job.invalid_rows, job.skipped_rows) == (
        "done",
        "",
        2,
        0,
        0,
    )
    assert list(Profile.objects.order_by("email").values_list("email", flat=True)) == [
        "a@example.com",
        "b@example.com",
    ]
    first, second = Interaction.objects.order_by("row_no")
    assert (first.kind, first.properties, first.row_no) == ("signup", {"colour": "red"}, 2)
    assert (second.properties, second.occurred_at) == ({}, job.started_at)


def log_of(job: BatchJob) -> list[dict]:
    return [json.loads(line) for line in b"".join(error_log_response(job).streaming_content).splitlines()]


def rejected_of(job: BatchJob, *, formula_safe: bool = False) -> bytes:
    return b"".join(rejected_rows_response(job, formula_safe=formula_safe).streaming_content)


def holds_the_rule(job: BatchJob) -> None:
    """valid + invalid + skipped = total, the ledger agrees, and each bad row has one line in the log."""
    chunks = Chunk.objects.filter(job=job)
    for what in ("valid", "skipped", "invalid"):
        assert getattr(job, f"{what}_rows") == sum(getattr(c, what) for c in chunks)
    assert len(log_of(job)) == job.invalid_rows
    assert Interaction.objects.filter(created_by_job=job.pk).count() == job.valid_rows


def test_all_errors_of_a_row_are_told(marketer):
    job = run_file(marketer, "email,event_name,event_time\nnot-an-address,,yesterday\nok@example.com,open,\n")
    assert (job.status, job.valid_rows, job.invalid_rows) == ("done", 1, 1)
    (entry,) = log_of(job)
    assert entry["line"] == 2
    assert entry["raw"] == "not-an-address,,yesterday"
    assert [e["code"] for e in entry["errors"]] == [
        "EMAIL_INVALID",
        "EVENT_NAME_MISSING",
        "EVENT_TIME_INVALID",
    ]
    assert (entry["column"], entry["code"]) == ("email", "EMAIL_INVALID")


def test_event_name_of_each_row(marketer):
    """The column decides; a blank takes the file's, and without one the row is rejected."""
    job = run_file(marketer, "email,event_name\na@example.com,open\nb@example.com,\n", "list.csv")
    assert [(e["line"], e["code"]) for e in log_of(job)] == [(3, "EVENT_NAME_MISSING")]
    job = run_file(marketer, "email,event_name\na@example.com,open\nb@example.com, \n", "list.csv", event_name="visit")
    assert (job.valid_rows, job.event_names) == (2, ["open", "visit"])


def test_lines_are_physical_after_quoted_newlines(marketer):
    content = (
        'email,note\na@example.com,"one\ntwo\r\nthree"\nbad,x\n\n\nb@example.com,"y"\nworse,"p\nq"\nc@example.com,z\n'
    )
    job = run_file(marketer, content)
    assert [(e["line"], e["raw"]) for e in log_of(job)] == [(5, "bad,x"), (9, 'worse,"p\nq"')]
    assert sorted(Interaction.objects.values_list("row_no", flat=True)) == [2, 8, 11]
    assert Interaction.objects.get(row_no=2).properties == {"note": "one\ntwo\r\nthree"}


def test_unclosed_quote_at_row_ten(marketer):
    rows = [f"p{n}@example.com,note {n}" for n in range(1, 3001)]
    rows[8] = 'p9@example.com,"never closed'
    job = run_file(marketer, "email,note\n" + "\n".join(rows) + "\n")
    assert (job.valid_rows, job.invalid_rows) == (2999, 1)
    (entry,) = log_of(job)
    assert (entry["line"], entry["code"], entry["raw"]) == (
        10,
        "QUOTE_UNCLOSED",
        'p9@example.com,"never closed',
    )


def test_unclosed_quotes_everywhere_end(marketer, settings):
    """After a hundred of them a line is a record: it costs no more than a good file."""
    settings.RECORD_MAX_BYTES = 20_000
    rows = [f'p{n}@example.com,"x{n}' if n % 3 == 0 else f"p{n}@example.com,y" for n in range(3000)]
    job = run_file(marketer, "email,note\n" + "\n".join(rows) + "\n")
    assert (job.status, job.valid_rows + job.invalid_rows) == ("done", 3000 - job.skipped_rows)
    holds_the_rule(job)


def test_a_line_of_50_mb(marketer):
    big = "x" * 50_000_000
    job = run_file(marketer, f"email,note\na@example.com,y\nb@example.com,{big}\nc@example.com,z\nbad,1\n")
    assert (job.status, job.valid_rows, job.invalid_rows) == ("done", 2, 2)
    first, second = log_of(job)
    assert (first["line"], first["code"]) == (3, "RECORD_TOO_LARGE")
    assert first["raw"].startswith("b@example.com,xxx")
    assert len(first["raw"]) < 5000
    assert (second["line"], second["code"]) == (5, "EMAIL_INVALID")


def test_ragged_rows(marketer):
    job = run_file(marketer, "email,a,b\nx@example.com,1\ny@example.com,1,2,3\nz@example.com,1,2\n")
    assert [(e["line"], e["code"]) for e in log_of(job)] == [(2, "ROW_TOO_SHORT"), (3, "ROW_TOO_LONG")]


def test_nul_and_bytes_that_are_no_utf8(marketer):
    job = run_file(marketer, b"email,name\na@example.com,N\x00L\nb@example.com,Andr\xe9\nc@example.com,Ren\xc3\xa9\n")
    assert [(e["line"], e["column"], e["code"]) for e in log_of(job)] == [
        (2, "name", "NUL_CHARACTER"),
        (3, "name", "ENCODING_INVALID"),
    ]
    assert Interaction.objects.get().properties == {"name": "René"}
    assert b"Andr\xe9" in rejected_of(job)  # the bytes of the file, not a replacement


@pytest.mark.parametrize(
    ("encoding", "how"),
    [
        ("utf-8-sig", {}),
        ("utf-16", {}),
        ("utf-16-le", {}),
        ("utf-16-be", {}),
        ("latin-1", {"encoding": "latin-1"}),
        ("cp1252", {"encoding": "cp1252"}),
    ],
)
def test_encodings(marketer, encoding, how):
    text = "email,name\r\nines@example.com,Inês\r\nbad,Ångström\r\n" + "a@example.com,é\r\n" * 40
    job = run_file(marketer, text.encode(encoding), options=how)
    assert (job.status, job.valid_rows, job.invalid_rows) == ("done", 41, 1)
    assert Interaction.objects.get(row_no=2).properties == {"name": "Inês"}
    assert log_of(job)[0]["raw"] == "bad,Ångström"


def test_latin_1_that_nobody_declared_is_not_guessed(marketer):
    job = run_file(marketer, "email,name\nbjörn@example.com,Björn\nrené@example.com,René\n".encode("latin-1"))
    assert (job.status, job.failure_code) == ("failed", "ENCODING_UNKNOWN")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "FILE_EMPTY"),
        (b"\xef\xbb\xbf", "FILE_EMPTY"),
        (b"\n\n  \n", "FILE_EMPTY"),
        (b"email,event_time\n", "NO_ROWS"),
        (b"email,event_time", "NO_ROWS"),
        (b"PK\x03\x04" + b"x" * 400, "BINARY_FILE"),
        (b"\x1f\x8b\x08\x00" + b"x" * 400, "BINARY_FILE"),
        (bytes(range(256)) * 50, "BINARY_FILE"),
        (b"contact_mail,sold_at\nx@example.com,2026-01-01\n", "COLUMN_MISSING"),
        (b"email,Email,note\nx@example.com,y@example.com,1\n", "COLUMN_TWICE"),
        (b"email,note,Note\nx@example.com,1,2\n", "COLUMN_TWICE"),
        (b" customer_id  date number_of_cds  dollar_value\n 00001 19970101  1   11.77\n", "NO_DELIMITER"),
        (b'"email,note\nx@example.com,1\n', "HEADER_UNREADABLE"),
        (b"email,no\x00te\nx@example.com,1\n", "HEADER_UNREADABLE"),
        (b"email,note\nnobody,1\nno one,2\n", "NO_VALID_ROWS"),
        (",".join(["email", *(f"c{n}" for n in range(1000))]).encode() + b"\n", "COLUMNS_TOO_MANY"),
        (b"email,nam\xe9\nx@example.com,1\n", "ENCODING_UNKNOWN"),
    ],
)
def test_files_that_fail_as_a_whole(marketer, content, code):
    job = run_file(marketer, content)
    assert (job.status, job.outcome, job.failure_code) == ("failed", "failed", code)
    failure = failure_of(job.failure_code, job.failure_params)
    assert "…" not in f"{failure.title}{failure.advice}{failure.short}"
    assert "{" not in f"{failure.title}{failure.advice}{failure.short}"
    assert Profile.objects.count() == Interaction.objects.count() == 0
    holds_the_rule(job)


def test_what_was_found_is_shown_when_a_column_is_missing(marketer):
    job = run_file(marketer, b'ref,"contact\nmail"\nA1,rosa@example.com\nA2,<b>\x00\xe9\n')
    assert job.failure_params["preview"] == {
        "header": ["ref", "contact\nmail"],
        "rows": [{"line": 3, "cells": ["A1", "rosa@example.com"]}, {"line": 4, "cells": ["A2", "<b>��"]}],
    }


def test_the_event_form_of_a_file_name_only_stands_in(marketer):
    job = run_file(marketer, "email\nx@example.com\n", "list.csv")
    assert (job.failure_code, job.failure_params["column"]) == ("COLUMN_MISSING", "event_name")


def test_html_and_formulas_stay_what_they_are(marketer):
    cells = [
        '<script>alert("1")</script>',
        "=HYPERLINK(1)",
        "+1-2",
        "@SUM(1)",
        "-5.20",
        "'=x",
        "a\\b",
        "tab\tinside",
    ]
    good = "\n".join(f'c{i}@example.com,"{c.replace(chr(34), chr(34) * 2)}"' for i, c in enumerate(cells))
    bad = "\n".join(f'bad{i},"{c.replace(chr(34), chr(34) * 2)}"' for i, c in enumerate(cells))
    job = run_file(marketer, f"email,note\n{good}\n{bad}\n")
    assert [i.properties["note"] for i in Interaction.objects.order_by("row_no")] == cells
    raw = list(csv.reader(io.StringIO(rejected_of(job).decode(), newline="")))
    assert [row[1] for row in raw[1:]] == cells
    safe = rejected_of(job, formula_safe=True).decode()
    assert [row[1] for row in csv.reader(io.StringIO(safe, newline=""))][1:] == [
        cells[0], "'=HYPERLINK(1)", "'+1-2", "'@SUM(1)", "-5.20", "''=x", "a\\b", "tab\tinside",
    ]  # fmt: skip
    # The safe file, corrected and sent again, gives what was in the first.
    again = run_file(marketer, safe.replace("bad", "good@example.com.x").replace("'", "'"), "signup-again.csv")
    assert again.valid_rows == 0
    fixed = "\n".join(line.replace("bad", "fixed") for line in safe.splitlines())
    fixed = re.sub(r"fixed(\d)", r"fixed\1@example.com", fixed)
    again = run_file(marketer, fixed, "signup-fixed.csv")
    assert again.valid_rows == len(cells)
    got = Interaction.objects.filter(created_by_job=again.pk).order_by("row_no")
    assert [i.properties for i in got] == [{"note": cell} for cell in cells]


def test_dedupe_by_partner_event_id(marketer):
    job = run_file(marketer, "email,partner_event_id,n\na@example.com,1,x\nb@example.com,2,y\nc@example.com,1,z\n")
    assert (job.valid_rows, job.skipped_rows, job.invalid_rows) == (2, 1, 0)
    assert Chunk.objects.get(job=job).skipped_lines == "{[4,5)}"
    assert not Profile.objects.filter(email="c@example.com").exists()  # a skipped row changes nothing
    more = run_file(marketer, "email,partner_event_id\nd@example.com,2\ne@example.com,3\n", "signup-more.csv")
    assert (more.status, more.valid_rows, more.skipped_rows) == ("done", 1, 1)
    same = run_file(marketer, "email,partner_event_id\nd@example.com,2\n\n", "signup-same.csv")
    assert (same.status, same.valid_rows, same.skipped_rows) == ("done", 0, 1)
    assert Interaction.objects.count() == 3


def test_the_same_bytes_again_fail_with_the_first_job(marketer):
    content = "email\na@example.com\n"
    first = run_file(marketer, content)
    second = run_file(marketer, content, "signup-other.csv")
    assert (second.status, second.failure_code, second.duplicate_of) == ("failed", "DUPLICATE_FILE", first)
    anyway = batchjob_run_anyway(job=second, by=marketer)
    kernel.queue_work(anyway.queue)
    anyway.refresh_from_db()
    assert (anyway.status, anyway.valid_rows, anyway.rerun_of) == ("done", 1, second)
    other = run_file(make_actor(), content)
    assert other.status == "done"  # another account's file is nobody's business


def test_profiles_take_attributes_and_leave_before_images(marketer):
    first = run_file(marketer, "email,first_name,last_name\na@example.com,Ana,\nb@example.com,Bo,Berg\n")
    second = run_file(marketer, "email,first_name,last_name\nA@example.com,,Alves\nb@example.com,Bo,Berg\n", "x-1.csv")
    ana = Profile.objects.get(email="a@example.com")
    assert ana.attributes == {"first_name": "Ana", "last_name": "Alves"}
    assert ana.created_by_job == first.pk
    (image,) = ProfileBeforeImage.objects.all()
    assert (image.job, image.profile_id, image.attributes) == (second.pk, ana.pk, {"first_name": "Ana"})
    chunks = [(c.new_profiles, c.changed_profiles) for c in Chunk.objects.order_by("pk")]
    assert chunks == [(2, 0), (0, 1)]


def test_unchanged_profiles_keep_their_change_mark(marketer):
    run_file(marketer, "email,first_name\na@example.com,Ana\n")
    before = Profile.objects.values_list("change_xid", "updated_at").get()
    run_file(marketer, "email,first_name\na@example.com,Ana\n\n", "x-1.csv")
    assert Profile.objects.values_list("change_xid", "updated_at").get() == before
    run_file(marketer, "email,first_name\na@example.com,Anne\n", "x-2.csv")
    assert Profile.objects.values_list("change_xid", flat=True).get() > before[0]


def test_people_known_by_the_partners_number(marketer):
    job = run_file(
        marketer,
        "email,partner_user_id,n\n,77,1\na@example.com,77,2\n,77,3\nb@example.com,77,4\n,,5\nbad,78,6\n",
    )
    assert (job.valid_rows, job.invalid_rows) == (4, 2)
    assert [e["code"] for e in log_of(job)] == ["IDENTITY_MISSING", "EMAIL_INVALID"]
    people = {p.email: p.partner_user_id for p in Profile.objects.all()}
    assert people == {"a@example.com": "77", "b@example.com": None}
    owner = Profile.objects.get(email="a@example.com")
    assert sorted(i.properties["n"] for i in owner.interactions.all()) == ["1", "2", "3"]
    # And across files: the number alone first, the address later.
    run_file(marketer, "partner_user_id,n\n90,1\n", "x-1.csv")
    run_file(marketer, "email,partner_user_id,n\nz@example.com,90,2\n", "x-2.csv")
    assert Profile.objects.get(email="z@example.com").interactions.count() == 2


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_delimiters(marketer, delimiter):
    content = f'email{delimiter}note\na@example.com{delimiter}"x{delimiter}y"\nbad{delimiter}z\n'
    job = run_file(marketer, content)
    assert Interaction.objects.get().properties == {"note": f"x{delimiter}y"}
    assert rejected_of(job).decode().splitlines()[1].split(delimiter)[:3] == ["bad", "z", "3"]


def test_line_ends_of_the_old_mac(marketer):
    job = run_file(marketer, "email,n\ra@example.com,1\rbad,2\rc@example.com,3\r")
    assert (job.valid_rows, [e["line"] for e in log_of(job)]) == (2, [3])


def test_dry_run_writes_nothing(marketer):
    job = run_file(marketer, "email\na@example.com\nbad\n", dry_run=True)
    assert (job.status, job.valid_rows, job.invalid_rows) == ("done", 1, 1)
    assert Profile.objects.count() == Interaction.objects.count() == 0
    assert [e["line"] for e in log_of(job)] == [3]
    assert run_file(marketer, "email\na@example.com\nbad\n", "signup-real.csv").status == "done"


def test_day_and_month_are_not_guessed(marketer):
    content = "email,event_time\na@example.com,03/04/2024\nb@example.com,25/12/2024\nc@example.com,12/25/2024\n"
    job = run_file(marketer, content)
    assert [(e["line"], e["code"]) for e in log_of(job)] == [(2, "DATE_AMBIGUOUS")]
    job = run_file(marketer, content + "\n", "x-1.csv", options={"day_first": True, "time_zone": "Europe/Lisbon"})
    assert (
        Interaction.objects.get(created_by_job=job.pk, row_no=2).occurred_at.isoformat() == "2024-04-02T23:00:00+00:00"
    )


@pytest.mark.parametrize(
    ("options", "kwargs"),
    [
        ({"time_zone": "Mars/Olympus"}, {}),
        ({"delimiter": "::"}, {}),
        ({"encoding": "klingon"}, {}),
        ({"encoding": "rot13"}, {}),
        ({"day_first": "maybe"}, {}),
        ({}, {"record_type": "nothing"}),
        ({}, {"file_name": "list.xlsx"}),
        ({}, {"name": "a\x00b"}),
    ],
)
def test_refused_before_anything_is_stored(marketer, options, kwargs):
    with pytest.raises(JobRefusedError):
        run_file(marketer, "email\na@example.com\n", **{"options": options, **kwargs})
    assert BatchJob.objects.count() == 0


def test_chunks_follow_each_other(marketer, settings):
    """Many chunks, with bad and repeated rows at their edges, give what one chunk gives."""
    settings.JOB_CHUNK_ROWS = 1
    rows = [f"p{n % 700}@example.com,{n % 5000},{'x' * 90}{n}" for n in range(20_000)]
    job = run_file(marketer, "email,partner_event_id,n\n" + "\n".join(rows) + "\n")
    assert Chunk.objects.filter(job=job).count() > 3
    assert (job.valid_rows, job.skipped_rows, job.invalid_rows) == (5000, 15_000, 0)
    assert Profile.objects.count() == 700
    kept = Interaction.objects.values_list("row_no", flat=True)
    assert sorted(kept) == list(range(2, 5002))  # the first of each in the file
    holds_the_rule(job)


def mixed_rows(count: int) -> str:
    """Rows of all sorts: known people and new ones, attributes that change, keys that repeat near and far."""
    rnd = random.Random(7)
    lines = ["email,first_name,last_name,partner_event_id,n,event_time"]
    for n in range(count):
        person = rnd.randrange(count // 6)
        key = rnd.choice([f"k{n}", f"k{n}", f"k{n}", f"k{max(0, n - rnd.randrange(400))}", ""])
        first = rnd.choice(["", "Ana", "Bo", "Çelik\\", 'D"D', "x\ty"])
        email = rnd.choice(["nobody", f"p{person}@example.com", f"P{person}@Example.com", f"p{person}@example.com"])
        cells = (email, first, "", key, f"{n}{'.' * 40}", "2026-01-01")
        lines.append(",".join('"' + cell.replace('"', '""') + '"' for cell in cells))
    return "\n".join(lines) + "\n"


def test_both_ways_of_writing_give_the_same(monkeypatch, settings):
    """Straight into the audience until something repeats, and by way of the stage from the start."""
    settings.JOB_CHUNK_ROWS = 1
    known = "email,first_name,partner_event_id\np1@example.com,Old,\n" + "".join(
        f"p{n % 5000}@example.com,Ana,k{n}\n" for n in range(15_000, 15_100)
    )
    jobs = []
    for staged in (True, False):
        by = make_actor()
        run_file(by, known, "signup-known.csv")
        if staged:
            monkeypatch.setattr(run, "_load", partial(run._load_rest, direct=False))
        jobs.append(run_file(by, mixed_rows(30_000), "signup-mixed.csv"))
        monkeypatch.undo()
        settings.JOB_CHUNK_ROWS = 1
    assert jobs[0].next_chunk > 3
    images = [
        list(
            ProfileBeforeImage.objects.filter(job=job.pk)
            .order_by("attributes", "profile_id")
            .values_list("email", "attributes")
        )
        for job in jobs
    ]
    assert images[0]
    assert sorted(map(str, images[0])) == sorted(map(str, images[1]))
    assert jobs[1].reader_state["staged"]
    assert_equal_runs(*jobs)


def test_statistics_of_an_emptied_table_do_not_mislead(settings):
    """Analyzed while all its rows were dead, a table is believed empty: joins planned so compare all with all."""
    settings.JOB_LEASE_SECONDS = 5  # a statement may take four fifths of it
    by, people = make_actor(), range(12_000)

    def load(city: str) -> BatchJob:
        rows = "".join(f"p{n}@example.com,{city},Ana\n" for n in people)
        return run_file(by, f"email,city,first_name\n{rows}", "profiles.csv", record_type="profile")

    load("Gent")
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM audience_profile")
        cursor.execute("ANALYZE audience_profile")
        cursor.execute("SELECT reltuples, relpages > 100 FROM pg_class WHERE relname = 'audience_profile'")
        assert cursor.fetchone() == (0, True)
    load("Porto")
    assert load("Lisboa").status == "done"
    assert Profile.objects.filter(attributes__city="Lisboa").count() == len(people)


def test_nothing_is_written_for_people_who_are_removed_meanwhile(marketer, settings, monkeypatch):
    """A load remembers who is who; when someone is removed it looks again."""
    settings.JOB_CHUNK_ROWS = 1
    rows = "".join(f"p{n % 50}@example.com,{n}{'.' * 90}\n" for n in range(20_000))
    read, calls = Chunks.read, []

    def read_and_remove(chunks):
        calls.append(1)
        if len(calls) == 4:
            until(Chunk.objects.exists)
            gone = Profile.objects.get(email="p7@example.com").pk
            Profile.objects.filter(pk=gone).delete()
            Interaction.objects.filter(profile_id=gone).delete()
        return read(chunks)

    monkeypatch.setattr(Chunks, "read", read_and_remove)
    job = run_file(marketer, "email,n\n" + rows)
    assert job.next_chunk > 3
    assert job.reader_state["staged"]
    assert not Interaction.objects.exclude(profile__in=Profile.objects.all()).exists()
    assert Profile.objects.filter(email="p7@example.com").count() == 1
