"""Erasure: a person goes everywhere, comes back by no file, and neither kills nor running jobs make it untrue."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection, connections
from django.test import Client
from django.utils import timezone

from accounts.actors import Actor
from accounts.models import Account, AuditEvent
from audience.erasures import erased_hashes, erasure_request, key_hash
from audience.models import (
    ContactList,
    Database,
    DataTable,
    Erasure,
    Interaction,
    ListMember,
    Profile,
    ProfileBeforeImage,
    Record,
    Reference,
    Suppression,
)
from audience.services import database_default
from batchjobs import kernel
from batchjobs.downloads import FilesGoneError, skipped_rows_response
from batchjobs.erasure import erasure_schedule
from batchjobs.files import store_file
from batchjobs.ingestion.rejects import job_folder
from batchjobs.kernel import Lease
from batchjobs.models import BatchJob, Chunk, JobCrash, SourceFile
from batchjobs.services import batchjob_create
from batchjobs.traces import Traces
from config.celery import app
from tests.factories import make_actor, make_user
from tests.integration.test_expiry import stored
from tests.integration.test_import import log_of, rejected_of, run_file
from tests.rows import make_interaction, make_job, make_profile

pytestmark = pytest.mark.django_db(transaction=True)

INES = "ines.prata@example.com"
NUMBER = "00112-77"
PEOPLE = (
    "email,partner_user_id,city,list\n"
    f"{INES},{NUMBER},Lisboa,Autumn\nmarta@example.com,4711-12,Porto,Autumn\ntom@example.com,,Faro,\n"
)
MESSY = (
    "email,event_name,event_time,note\nmarta@example.com,opened,2026-01-01,\n"
    f"{INES.upper()},opened,yesterday,private\nnobody,opened,,see {INES}\nnobody too,opened,,fine\n"
)


def ask(account: Account, **who: Any) -> Erasure:
    return erasure_request(database=database_default(account=account), by="marta", **(who or {"email": INES}))


def erase(account: Account | None = None) -> BatchJob | None:
    """What beat and a worker do. The job, if there was one."""
    if not erasure_schedule(account):
        return None
    kernel.queue_work("long")
    job: BatchJob = BatchJob.objects.filter(kind="erasure").latest("pk")
    assert not job.crash_reports.exists(), job.crash_reports.get().report
    return job


def everything(account: Account) -> str:
    """All that database and storage hold of an account, as text in lower case; files unpacked by nobody."""
    with connection.cursor() as cursor:
        tables = [name for name in connection.introspection.table_names(cursor) if not name.startswith("auth_")]
        rows = []
        for table in tables:
            cursor.execute(f'SELECT t::text FROM "{table}" t')
            rows += [row[0] for row in cursor.fetchall()]
    contents = []
    for name in stored(account):
        with default_storage.open(name) as file:
            contents.append(file.read().decode("latin-1"))
    return "\n".join([*rows, *contents]).lower()


def known_people(by: Actor) -> tuple[BatchJob, BatchJob]:
    """Ines and others in the audience, with all that hangs off a person, and two files that name her."""
    first = run_file(by, PEOPLE, "people.csv", record_type="list", options={"list": "Autumn"})
    assert (first.status, first.invalid_rows) == ("done", 0), first.failure_code
    messy = run_file(by, MESSY, "opens.csv")
    assert (messy.valid_rows, messy.invalid_rows) == (1, 3)
    database = first.database
    tickets = DataTable.objects.create(database=database, name="Tickets", slug="tickets", kind="linked")
    for profile in Profile.objects.filter(database=database, email__in=[INES, "tom@example.com"]):
        make_interaction(profile, timezone.now())
        Reference.objects.create(database=database, schema="guest", ref=uuid4(), profile=profile, job=1, row_no=2)
        Record.objects.create(table=tickets, profile=profile, key=profile.email, values={"seat": profile.email})
        ProfileBeforeImage.objects.create(job=first.pk, profile_id=profile.pk, email=profile.email, attributes={})
    Suppression.objects.create(database=database, channel="email", email_sha256=key_hash(INES))
    Suppression.objects.create(database=database, channel="sms", partner_user_id=NUMBER)
    return first, messy


def counts(account: Account) -> dict[str, int]:
    models = (Profile, Interaction, ListMember, Record, Reference, ContactList, Suppression)
    return {
        **{model.__name__: model.objects.for_account(account).count() for model in models},
        "images": ProfileBeforeImage.objects.count(),
        "files": SourceFile.objects.for_account(account).filter(removed_at=None).count(),
    }


def test_a_person_goes_everywhere_and_the_history_stays_true(marketer: Actor) -> None:
    first, messy = known_people(marketer)
    clean = run_file(marketer, "email,event_name\nann@example.com,opened\nbroken,opened\n", "clean.csv")
    kept_part = Chunk.objects.get(job=clean).part
    old_part = Chunk.objects.get(job=messy).part
    JobCrash.objects.create(job=messy, lease_token=1, at_chunk=0, reason="r", report=f"KeyError: {INES}")
    before, log, rows = counts(marketer.account), log_of(messy), rejected_of(messy).count(b"\n")
    ask(marketer.account)

    job = erase()

    assert job.status == "done"
    assert job.reader_state["removed"] == {
        **{"profiles": 1, "interactions": 1, "list_members": 1, "records": 1},
        **{"references": 1, "before_images": 1},
        **{"suppressions": 1, "rejected_rows": 2, "files": 2, "people": 1},
    }
    after = counts(marketer.account)
    assert after == {
        **before,
        **{
            what: before[what] - 1
            for what in ("Profile", "Interaction", "ListMember", "Record", "Reference", "Suppression")
        },
        **{"images": before["images"] - 1, "files": before["files"] - 2},
    }
    found = everything(marketer.account)
    assert INES not in found
    assert NUMBER not in found
    assert key_hash(INES) in found
    assert not default_storage.exists(old_part)
    assert Chunk.objects.get(job=clean).part == kept_part
    # Lines, codes and counts are as before.
    told = log_of(messy)
    assert [(e["line"], e["code"], e["errors"]) for e in told] == [(e["line"], e["code"], e["errors"]) for e in log]
    assert [e["raw"] for e in told] == ["(erased)", "(erased)", "nobody too,opened,,fine"]
    assert rejected_of(messy).count(b"\n") == rows
    chunk = Chunk.objects.get(job=messy)
    assert [sample["cells"] for sample in chunk.samples][:2] == [["(erased)"]] * 2
    assert {group["code"]: [example["value"] for example in group["examples"]] for group in chunk.groups} == {
        "EVENT_TIME_INVALID": ["(erased)"],
        "EMAIL_INVALID": ["(erased)", "nobody too"],
    }
    messy.refresh_from_db()
    assert (messy.status, messy.valid_rows, messy.invalid_rows) == ("done", 1, 3)
    assert messy.file.removed_at
    assert not messy.file.parts.exists()
    assert JobCrash.objects.get(job=messy).report == "(erased)"
    request = Erasure.objects.get()
    assert request.erased_at
    assert (request.profile_id, request.email, request.partner_user_id) == (None, None, None)
    assert (request.email_sha256, request.partner_sha256) == (key_hash(INES), key_hash(NUMBER))
    line = AuditEvent.objects.get(action="person.erased")
    assert (line.account, line.data) == (marketer.account, {"erasure": request.pk, "requested_by": "marta"})
    assert erase() is None
    assert first.file.name == "people.csv"


def test_downloads_of_a_file_that_is_gone_say_so(marketer: Actor, marta: Client) -> None:
    _first, messy = known_people(marketer)
    ask(marketer.account)
    erase()
    messy.refresh_from_db()
    with pytest.raises(FilesGoneError):
        skipped_rows_response(messy)
    assert marta.get(f"/batch-jobs/{messy.pk}/").status_code == 200
    assert marta.get(f"/batch-jobs/{messy.pk}/source/").status_code == 404
    assert marta.get(f"/batch-jobs/{messy.pk}/error-log/").status_code == 200


@pytest.mark.parametrize("who", ["profile", "number", "row"])
def test_whoever_is_named_by_one_key_goes_with_all(who: str, marketer: Actor) -> None:
    known_people(marketer)
    profile = Profile.objects.get(email=INES)
    if who == "profile":
        ask(marketer.account, profile=profile)
    elif who == "number":
        ask(marketer.account, partner_user_id=f" {NUMBER} ")
    else:  # as another module's SQL may write it
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO audience_erasure (database_id, profile_id, requested_by) VALUES (%s, %s, 'program')",
                [profile.database_id, profile.pk],
            )
    assert erase().status == "done"
    found = everything(marketer.account)
    assert INES not in found
    assert NUMBER not in found
    assert erased_hashes(database=profile.database_id) == {key_hash(INES), key_hash(NUMBER)}


def test_a_number_of_another_profile_takes_that_one_too(marketer: Actor) -> None:
    database = database_default(account=marketer.account)
    Profile.objects.create(database=database, email=INES, partner_user_id="other-1")
    Profile.objects.create(database=database, email="prata@example.com", partner_user_id=NUMBER)
    ask(marketer.account, email=INES, partner_user_id=NUMBER)
    erase()
    assert not Profile.objects.exists()
    assert Erasure.objects.filter(erased_at__isnull=False).count() == Erasure.objects.count() > 1
    assert erased_hashes(database=database.pk) == set(map(key_hash, (INES, "prata@example.com", "other-1", NUMBER)))


def test_asking_twice_is_asking_once(marketer: Actor) -> None:
    profile = make_profile(marketer.account, INES)
    first = ask(marketer.account, profile=profile)
    assert ask(marketer.account, email=INES.upper()) == first
    assert ask(marketer.account, profile=profile) == first
    erase()
    assert ask(marketer.account, email=INES) != first  # somebody may have come back by hand
    with pytest.raises(ValueError, match="needs"):
        erasure_request(database=profile.database, by="marta")


# Files.


def packed(kind: str, text: str) -> tuple[str, bytes]:
    data = text.encode()
    if kind == "gz":
        return "people.csv.gz", gzip.compress(data)
    if kind == "zip":
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("people.csv", data)
        return "people.csv.zip", buffer.getvalue()
    if kind == "utf-16":
        return "people.csv", text.encode("utf-16")
    if kind == "json":
        return "people.ndjson", b'{"email":"' + INES.replace("@", "\\u0040").encode() + b'"}\n'
    if kind == "misnamed":
        return "people.csv.gz", data
    return "people.csv", data


@pytest.mark.parametrize("kind", ["csv", "gz", "zip", "utf-16", "json", "misnamed"])
def test_files_go_however_they_are_packed(kind: str, marketer: Actor) -> None:
    name, data = packed(kind, "email,event_name\n" + "x@example.com,opened\n" * 40_000 + f"{INES},opened\n")
    with_her = run_file(marketer, data, name, event_name="opened").file
    name, data = packed(kind, "email,event_name\n" + "y@example.com,opened\n" * 40_000)
    if kind == "json":
        data = b'{"email":"joao@example.com"}\n'
    without = run_file(marketer, data, f"other-{name}", event_name="opened").file
    ask(marketer.account)
    erase()
    with_her.refresh_from_db()
    without.refresh_from_db()
    assert with_her.removed_at
    assert without.removed_at is None
    assert [part.stored_as for part in without.parts.all()] == [
        name for name in stored(marketer.account) if name.startswith("sources/")
    ]


@pytest.mark.parametrize("cut", range(60))
def test_an_address_is_found_wherever_blocks_end(cut: int) -> None:
    data = b"some bytes before;" + INES.upper().encode() + b";" + b"1234567;and some after"
    blocks = [data[:cut], data[cut : cut + 1], data[cut + 1 :]]
    assert Traces([INES], []).in_blocks(blocks)
    assert Traces([], ["1234567"]).in_blocks(blocks)
    for part in ("234567", "123456"):
        assert not Traces([], [part]).in_blocks(blocks)


def test_numbers_count_alone_and_short_ones_only_as_cells() -> None:
    numbers = Traces([], ["123456", "77"])
    assert numbers.in_text('{"id":"123456"}')
    assert numbers.in_text("\\n123456")
    assert not numbers.in_text("0123456")
    assert not numbers.in_text("1234567 and 77")
    assert numbers.in_row("a,77", ["a", " 77 "])
    assert not numbers.in_row("a,77 b", ["a", "77 b"])
    assert not numbers.in_row("a,77", None)


def test_words_are_not_searched_for(marketer: Actor) -> None:
    """A request with something that is no address, or a number that is a word, does not empty the library."""
    words = Traces(["a", "opened", "@"], ["unknown", "opened"])
    assert not words.in_blocks([b"a@example.com,opened,unknown\n"])
    assert words.in_row("unknown,x", ["unknown", "x"])
    job = run_file(marketer, "partner_user_id,event_name\nunknown,opened\n177,\n", "n.csv")
    ask(marketer.account, email="opened", partner_user_id="unknown")
    erase()
    assert not Profile.objects.filter(partner_user_id="unknown").exists()
    assert SourceFile.objects.get(pk=job.file_id).removed_at is None
    assert Erasure.objects.get().erased_at


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1250", "iso-8859-2"])
def test_letters_of_other_scripts(encoding: str) -> None:
    traces = Traces(["stanisław.wójcik@wp.pl"], [])
    for text in ("a;Stanisław.Wójcik@wp.pl;b".lower(), "a;STANISŁAW.WÓJCIK@WP.PL;b"):
        assert traces.in_blocks([text.encode(encoding)])
    assert traces.in_text(json.dumps("stanisław.wójcik@wp.pl"))
    assert not traces.in_text("stanislaw.wojcik@wp.pl")


def test_rows_that_hold_a_short_number_go(marketer: Actor) -> None:
    job = run_file(marketer, "partner_user_id,event_name,event_time\n77,opened,never\n177,opened,never\n", "n.csv")
    ask(marketer.account, partner_user_id="77")
    erase()
    assert [entry["raw"] for entry in log_of(job)] == ["(erased)", "177,opened,never"]
    assert SourceFile.objects.get(pk=job.file_id).removed_at is None  # too short to tell


def test_first_lines_of_failed_files_go(marketer: Actor) -> None:
    job = run_file(marketer, f"{INES},opened\njoao.lopes@example.com,opened\n")
    assert job.failure_code == "HEADER_MISSING"
    ask(marketer.account)
    erase()
    assert INES not in everything(marketer.account)
    job.refresh_from_db()
    assert "joao.lopes@example.com" in str(job.failure_params)
    assert (job.status, job.failure_code) == ("failed", "HEADER_MISSING")


def test_parts_that_no_chunk_names_go(marketer: Actor) -> None:
    """A killed import leaves them, and so does a run that is killed before it removes what it replaced."""
    job = run_file(marketer, "email,event_name\nmarta@example.com,opened\n", "opens.csv")
    name = default_storage.save(f"{job_folder(job.account_id, job.pk)}/000009-7.ndjson", ContentFile(INES.encode()))
    ask(marketer.account)
    erase()
    assert not default_storage.exists(name)


def test_a_file_of_several_parts(marketer: Actor) -> None:
    """The address lies across two of them."""
    text = f"email,event_name\n{INES},opened\n".encode()
    job = run_file(marketer, text, "opens.csv")
    part = job.file.parts.get()
    default_storage.delete(part.stored_as)
    for start, data in ((0, text[:22]), (22, text[22:])):
        name = default_storage.save(f"sources/{job.account_id}/part-{start}", ContentFile(data))
        job.file.parts.update_or_create(start=start, defaults={"size": len(data), "stored_as": name})
    ask(marketer.account)
    erase()
    assert stored(marketer.account) == []


# Coming back.


@pytest.fixture
def erased(marketer: Actor) -> Actor:
    known_people(marketer)
    ask(marketer.account)
    erase()
    return marketer


@pytest.mark.parametrize("record_type", ["profile", "event", "list", "purchase"])
def test_files_bring_nobody_back(record_type: str, erased: Actor) -> None:
    people = set(Profile.objects.values_list("email", flat=True))
    job = run_file(
        erased,
        "email,partner_user_id,date,first_name\n"
        f" {INES.title()},,2026-01-01,Inês\n,{NUMBER},2026-13-01,Prata\nnew@example.com,,2026-01-02,Ana\n",
        "again.csv",
        record_type=record_type,
        event_name="opened" if record_type == "event" else "",
        options={"list": "Autumn"} if record_type == "list" else {},
    )
    assert (job.status, job.valid_rows, job.invalid_rows) == ("done", 1, 2), (job.failure_code, log_of(job))
    assert [(entry["line"], entry["raw"]) for entry in log_of(job)] == [(2, "(erased)"), (3, "(erased)")]
    codes = [{error["code"] for error in entry["errors"]} for entry in log_of(job)]
    assert all("PERSON_ERASED" in found for found in codes)
    assert set(Profile.objects.values_list("email", flat=True)) == people | {"new@example.com"}
    chunk = Chunk.objects.get(job=job)
    with default_storage.open(chunk.part) as part:
        kept = part.read().decode() + str(chunk.samples) + str(chunk.groups)
    assert INES not in kept.lower()
    assert NUMBER not in kept
    assert "Prata" not in kept
    assert "2026-13-01" not in kept


def test_json_brings_nobody_back(erased: Actor) -> None:
    lines = [{"email": INES, "city": "Lisboa"}, {"customer_id": NUMBER}, {"email": "new@example.com"}]
    job = run_file(erased, "\n".join(map(json.dumps, lines)) + "\n", "again.ndjson", record_type="profile")
    assert (job.valid_rows, job.invalid_rows) == (1, 2)
    assert [(e["code"], e["raw"]) for e in log_of(job)] == [("PERSON_ERASED", "(erased)")] * 2
    assert b"Lisboa" not in rejected_of(job)


def test_opt_outs_by_address_are_taken_and_by_number_are_not(erased: Actor) -> None:
    content = f"email,partner_user_id\n{INES},\n,{NUMBER}\n{key_hash(INES)},\n"
    job = run_file(erased, content, "out.csv", record_type="optout")
    assert (job.valid_rows + job.skipped_rows, job.invalid_rows) == (2, 1)
    assert not Suppression.objects.filter(partner_user_id=NUMBER).exists()


def test_a_request_refuses_from_the_moment_it_stands_there(marketer: Actor) -> None:
    database = database_default(account=marketer.account)
    Erasure.objects.create(database=database, email=INES.upper(), requested_by="program")  # no hash yet
    job = run_file(marketer, f"email,event_name\n{INES},opened\nann@example.com,opened\n", "opens.csv")
    assert [entry["code"] for entry in log_of(job)] == ["PERSON_ERASED"]
    assert not Profile.objects.filter(email=INES).exists()


def test_the_order_of_dates_is_not_asked_with_an_erased_person(erased: Actor) -> None:
    rows = f"{INES},opened,03/04/2024\nann@example.com,opened,02/04/2024\n"
    job = run_file(erased, f"email,event_name,event_time\n{rows}")
    assert job.failure_code == "DATE_ORDER_UNKNOWN"
    assert job.failure_params["example"] == "02/04/2024"


# Who else is there.


def test_other_accounts_and_databases_are_not_touched(marketer: Actor) -> None:
    other = make_actor()
    known_people(marketer)
    second = Database.objects.create(account=marketer.account, name="Second", slug="second")
    there = make_profile(marketer.account, INES, second)
    known_people(other)
    before, names = counts(other.account), stored(other.account)
    ask(marketer.account)
    erase()
    assert counts(other.account) | {"images": 0} == before | {"images": 0}
    assert stored(other.account) == names
    assert list(Profile.objects.for_account(marketer.account).filter(email=INES)) == [there]
    assert erased_hashes(database=database_default(account=other.account).pk) == set()


@pytest.mark.parametrize("started", ["before", "waiting"])
def test_what_began_before_keeps_the_request_pending(started: str, marketer: Actor) -> None:
    """A running import may bring the person back, and of a job that waits the file is not taken away."""
    known_people(marketer)
    running = make_job(marketer.account, "in_progress" if started == "before" else "pending", queue="short")
    request = ask(marketer.account)
    assert erase().status == "done"
    request.refresh_from_db()
    assert (request.erased_at, request.email) == (None, INES)
    assert not Profile.objects.filter(email=INES).exists()  # that much is done at once
    assert erase() is None  # nothing to do until the job has ended
    make_profile(marketer.account, INES)  # as it may
    end(running)
    erase()
    assert not Erasure.objects.filter(erased_at=None).exists()
    found = everything(marketer.account)
    assert INES not in found
    assert NUMBER not in found


def end(job: BatchJob) -> None:
    now = timezone.now()
    facts = {"status": "done", "outcome": "done", "started_at": now, "completed_at": now, "lease_until": None}
    BatchJob.objects.filter(pk=job.pk).update(**facts)


def test_what_began_afterwards_keeps_nobody_waiting(marketer: Actor) -> None:
    known_people(marketer)
    ask(marketer.account)
    blocking = make_job(marketer.account, "in_progress", queue="short")
    assert erase().status == "done"
    end(blocking)
    later = make_job(marketer.account, "pending", queue="short")
    BatchJob.objects.filter(pk=later.pk).update(status="in_progress", started_at=timezone.now())
    assert erase().reader_state["removed"]["people"] == 1


def test_files_that_are_still_arriving_are_waited_for(marketer: Actor) -> None:
    arriving = SourceFile.objects.create(account=marketer.account, name="a.csv", size=9, received=4, upload_id=uuid4())
    store_file(account=marketer.account, name="b.csv", content=ContentFile(INES.encode()))  # its job is about to come
    ask(marketer.account)
    erase()
    assert Erasure.objects.get().erased_at is None
    assert erase() is None
    arriving.delete()
    assert erasure_schedule(now=timezone.now()) == 0
    later = timezone.now() + 2 * (timezone.now() - timezone.now().replace(year=2020))
    assert erasure_schedule(now=later) == 1


def test_a_request_that_comes_during_a_run_is_part_of_it(marketer: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    known_people(marketer)
    ask(marketer.account)
    real, asked = Lease.check, []

    def check(lease: Lease, **how: Any) -> None:
        if lease.job.kind == "erasure" and len(asked) < 4:
            asked.append(lease.job.reader_state)
            if len(asked) == 4:
                ask(marketer.account, email="tom@example.com")
                assert erasure_schedule() == 0
        real(lease, **how)

    monkeypatch.setattr(Lease, "check", check)
    assert erase().reader_state["removed"]["people"] == 2
    assert not Profile.objects.filter(email__in=[INES, "tom@example.com"]).exists()


# What goes wrong.


def steps_of(by: Actor, monkeypatch: pytest.MonkeyPatch, fail_at: int) -> int:
    """Runs an erasure that is stopped by an error at a step, and then goes on; how many steps there were."""
    real, seen = Lease.check, 0

    def check(lease: Lease, **how: Any) -> None:
        nonlocal seen
        if lease.job.kind == "erasure":
            seen += 1
            if seen == fail_at:
                raise RuntimeError("killed here")
        real(lease, **how)

    with monkeypatch.context() as patched:
        patched.setattr(Lease, "check", check)
        assert erasure_schedule(by.account) == 1
        kernel.queue_work("long")
    return seen


def test_killed_at_any_step_it_ends_the_same(marketer: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    known_people(marketer)
    ask(marketer.account)
    steps = steps_of(marketer, monkeypatch, fail_at=0)
    expected = counts(marketer.account) | {"images": 0}
    assert steps > 8
    for fail_at in range(1, steps + 1):
        by = make_actor()
        _first, messy = known_people(by)
        ask(by.account)
        assert steps_of(by, monkeypatch, fail_at) > fail_at
        job = BatchJob.objects.get(account=by.account, kind="erasure")
        assert (job.status, job.crash_reports.count()) == ("done", 1)
        assert counts(by.account) | {"images": 0} == expected
        assert [entry["raw"] for entry in log_of(messy)] == ["(erased)", "(erased)", "nobody too,opened,,fine"]
        assert job.reader_state["removed"]["people"] == 1
    found = everything(marketer.account)
    assert INES not in found
    assert NUMBER not in found


@pytest.mark.parametrize("what", ["remove_stored", "remove_bytes", "orphans_due", "audit"])
def test_killed_between_what_is_marked_and_what_is_removed(
    what: str, marketer: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    known_people(marketer)
    ask(marketer.account)
    calls = []

    def broken(*_args: Any, **_how: Any) -> Any:
        calls.append(what)
        raise RuntimeError("killed here")

    with monkeypatch.context() as patched:
        patched.setattr(f"batchjobs.erasure.{what}", broken)
        erasure_schedule()
        kernel.queue_work("long")
    assert calls
    assert BatchJob.objects.get(kind="erasure").status == "failed"  # it broke three times
    assert Erasure.objects.get().erased_at is None
    erase()
    assert INES not in everything(marketer.account)
    assert Erasure.objects.get().erased_at


def test_what_storage_keeps_is_not_called_erased(marketer: Actor) -> None:
    """A folder with something in it stands where the part was: it cannot be deleted as one."""
    _first, messy = known_people(marketer)
    path = Path(default_storage.path(messy.file.parts.get().stored_as))
    ask(marketer.account)
    data = path.read_bytes()
    real = default_storage.delete

    def delete(name: str) -> None:
        if default_storage.path(name) == str(path):
            raise PermissionError(name)
        real(name)

    default_storage.delete = delete
    try:
        failed = erase()
    finally:
        del default_storage.delete
    assert (failed.status, failed.failure_code) == ("failed", "STORAGE_FAILED")
    assert path.read_bytes() == data
    assert Erasure.objects.get().erased_at is None
    assert erase().status == "done"
    assert not path.exists()
    assert Erasure.objects.get().erased_at


def test_two_schedules_make_one_job(marketer: Actor) -> None:
    make_profile(marketer.account, INES)
    ask(marketer.account)

    def beat(_number: int) -> int:
        try:
            return erasure_schedule()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as beats:
        assert sum(beats.map(beat, range(4))) == 1
    assert BatchJob.objects.filter(kind="erasure").count() == 1


def test_what_beat_sends_makes_the_job(marketer: Actor, settings: Any) -> None:
    ask(marketer.account)
    app.loader.import_default_modules()
    app.tasks[settings.CELERY_BEAT_SCHEDULE["erasure"]["task"]]()
    assert BatchJob.objects.get(kind="erasure").account == marketer.account


def test_an_import_under_way_cannot_keep_whom_it_knew(marketer: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The person goes between two chunks of a running job, and the run itself refuses the rest."""
    from batchjobs.ingestion.chunks import Chunks

    make_profile(marketer.account, INES)
    rows = "".join(f"{INES},opened\nperson{n}@example.com,opened\n" for n in range(30))
    job = batchjob_create(by=marketer, content=ContentFile(f"email,event_name\n{rows}".encode()), file_name="a.csv")
    real, once = Chunks.read, []

    def read(chunks: Chunks) -> Any:
        if not once:
            once.append(1)
            ask(marketer.account)
            assert erasure_schedule() == 1
        return real(chunks)

    monkeypatch.setattr(Chunks, "read", read)
    kernel.queue_work("short")
    job.refresh_from_db()
    assert (job.status, job.invalid_rows) == ("done", 0)  # it began before
    kernel.queue_work("long")
    assert not Profile.objects.filter(email=INES).exists()
    assert Interaction.objects.count() == 30
    assert Erasure.objects.get().erased_at


# For support staff.


def test_the_admin_shows_hashes_alone(marketer: Actor) -> None:
    ask(marketer.account, email=INES, partner_user_id=NUMBER)
    staff = Client()
    staff.force_login(make_user(is_staff=True, is_superuser=True))
    request = Erasure.objects.get()
    for path in ("", f"?q={INES}", f"{request.pk}/change/"):
        page = staff.get(f"/admin/audience/erasure/{path}")
        assert page.status_code == 200
        content = page.content.decode()
        assert key_hash(INES)[:12] in content
        assert INES not in content.replace(f'value="{INES}"', "")
        assert NUMBER not in content
    assert staff.get("/admin/audience/erasure/add/").status_code == 403
