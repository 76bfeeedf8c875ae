"""Batch jobs from what is here already: a file that was read before, people of the audience, files of exports."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.actors import Actor
from audience.models import ContactList, Interaction, ListMember, Profile, Segment, Suppression
from audience.services import database_default
from batchjobs import kernel
from batchjobs.erasure import erasure_schedule
from batchjobs.expiry import account_expire
from batchjobs.files import open_file
from batchjobs.models import BatchJob, FilePart, SourceFile
from batchjobs.origins import job_source, origin_of
from batchjobs.refusals import JobRefusedError
from batchjobs.services import batchjob_cancel, batchjob_create
from exports.models import ExportRun
from exports.origins import audience
from tests import chaos
from tests.exports import last_run, make_export, make_people, make_recurring, work
from tests.factories import make_actor
from tests.integration.test_api_jobs import URL, Program
from tests.integration.test_batchjob_new import NEW, form
from tests.integration.test_erasure import ask
from tests.integration.test_expiry import days, stored, uploaded
from tests.integration.test_import import run_file
from tests.rows import make_token

pytestmark = pytest.mark.django_db(transaction=True)

LOOK = "/batch-jobs/look/"
EVENTS = "email,event_name\nrosa@example.com,opened\nmax@example.com,opened\n"
FILES = {"format": "csv", "delimiter": ",", "name_pattern": "people"}


@pytest.fixture
def other_account() -> Actor:
    """Somebody else's file, list, segment and report, under the same names."""
    by = make_actor()
    run_file(by, EVENTS, "other.csv")
    make_list(by)
    make_segment(by)
    make_report(by, name="Other")
    return by


def make_list(by: Actor, name: str = "Newsletter", count: int = 3) -> ContactList:
    """People of the account's first database on a list; each has two attributes."""
    database = make_people(by, count) if count else database_default(account=by.account)
    found = ContactList.objects.create(database=database, name=name)
    people = Profile.objects.filter(database=database)
    ListMember.objects.bulk_create(ListMember(contact_list=found, profile=person) for person in people)
    return found


def make_segment(by: Actor, name: str = "Gold ones", value: str = "Gold") -> Segment:
    rules = {"and": [{"field": "attributes.tier", "op": "is", "value": value}]}
    return Segment.objects.create(database=database_default(account=by.account), name=name, filter=rules)


def make_report(by: Actor, name: str = "Everybody", **definition: Any) -> ExportRun:
    """A finished run of a one-shot export of everybody."""
    from exports import services

    export = make_export(by, name=name, **definition)
    services.export_schedule(export=export, by=by)
    work()
    return last_run(export)


def bring_in(by: Actor, source: str, key: str, **job: Any) -> BatchJob:
    """The job after its run."""
    origin = origin_of(database_default(account=by.account), source, key)
    made = batchjob_create(by=by, origin=origin, **job)
    return ended(made)


def ended(job: BatchJob) -> BatchJob:
    for queue in ("short", "long"):
        kernel.queue_work(queue)
    job.refresh_from_db()
    assert not job.crash_reports.exists(), job.crash_reports.get().report
    return job


def content_of(job: BatchJob) -> str:
    assert job.file is not None
    with open_file(job.file) as file:
        return file.read().decode()


# Audience.


def test_a_list_is_written_and_read(marketer: Actor) -> None:
    make_list(marketer)
    job = bring_in(marketer, "audience", "list:Newsletter", event_name="invited")
    assert (job.status, job.valid_rows, job.invalid_rows) == ("done", 3, 0), job.failure_code
    assert (job.source, job.source_key, job.source_name) == ("audience", "list:Newsletter", "Newsletter")
    lines = content_of(job).splitlines()
    assert lines[0] == "email,partner_user_id,first_name,tier"
    assert sorted(lines[1:])[0] == "person-00000@example.com,,Name 0,Gold"
    events = Interaction.objects.filter(created_by_job=job.pk)
    assert sorted(events.values_list("profile__email", "kind"))[0] == ("person-00000@example.com", "invited")
    assert events.count() == Profile.objects.for_account(marketer.account).count() == 3
    assert (job.file.name, job.file.size) == ("list Newsletter.csv", len(content_of(job)))


@pytest.mark.parametrize(("record_type", "options"), [("optout", {}), ("profile", {}), ("list", {"list": "Both"})])
def test_types_that_take_people(record_type: str, options: dict[str, Any], marketer: Actor) -> None:
    make_list(marketer)
    job = bring_in(marketer, "audience", "list:Newsletter", record_type=record_type, options=options)
    assert (job.status, job.invalid_rows) == ("done", 0), job.failure_code
    written = {
        "optout": Suppression.objects.for_account(marketer.account),
        "profile": Profile.objects.for_account(marketer.account),
        "list": ListMember.objects.filter(contact_list__name="Both"),
    }
    assert written[record_type].count() == 3


def test_a_segment_holds_those_of_now(marketer: Actor) -> None:
    make_people(marketer, 6)
    make_segment(marketer)
    origin = origin_of(database_default(account=marketer.account), "audience", "segment:Gold ones")
    job = batchjob_create(by=marketer, origin=origin, record_type="list", options={"list": "Gold"})
    make_people(marketer, 3, first=6)
    assert (ended(job).status, job.valid_rows) == ("done", 3)
    gold = ListMember.objects.filter(contact_list__name="Gold").values_list("profile__email", flat=True)
    assert set(gold) == {f"person-0000{n}@example.com" for n in (0, 3, 6)}


def test_people_without_an_address_and_names_that_differ_by_case(marketer: Actor) -> None:
    database = database_default(account=marketer.account)
    person = Profile.objects.create(
        database=database, partner_user_id="0012", attributes={"Email": "x", "E-Mail": 'y;"z'}
    )
    found = ContactList.objects.create(database=database, name="Black-Friday / 2026")
    ListMember.objects.create(contact_list=found, profile=person)
    job = bring_in(marketer, "audience", "list:Black-Friday / 2026", record_type="event", event_name="seen")
    assert content_of(job).splitlines() == ["email,partner_user_id,E-Mail,Email_2", ',0012,"y;""z",x']
    event = Interaction.objects.get(created_by_job=job.pk)
    assert (event.profile_id, event.kind, event.properties) == (person.pk, "seen", {"E-Mail": 'y;"z', "Email_2": "x"})
    assert job.file.name == "list Black-Friday _ 2026.csv"


def test_the_same_people_twice_are_no_duplicate(marketer: Actor) -> None:
    make_list(marketer)
    statuses = [bring_in(marketer, "audience", "list:Newsletter", event_name="invited").status for _ in range(2)]
    assert statuses == ["done", "done"]


@pytest.mark.parametrize("what", ["gone", "empty", "rules"])
def test_an_audience_that_is_none_any_more(what: str, marketer: Actor) -> None:
    found = make_list(marketer)
    segment = make_segment(marketer)
    key = "segment:Gold ones" if what == "rules" else "list:Newsletter"
    origin = origin_of(database_default(account=marketer.account), "audience", key)
    job = batchjob_create(by=marketer, origin=origin, event_name="invited")
    before = stored(marketer.account)
    if what == "gone":
        found.delete()
    elif what == "empty":
        found.members.all().delete()
    else:
        Segment.objects.filter(pk=segment.pk).update(filter={"and": [{"field": "shoe", "op": "is", "value": "1"}]})
    assert ended(job).status == "failed"
    code = {"gone": "AUDIENCE_GONE", "empty": "AUDIENCE_EMPTY", "rules": "AUDIENCE_UNREADABLE"}[what]
    assert (job.failure_code, job.file, job.valid_rows) == (code, None, 0)
    assert stored(marketer.account) == before
    client = Client()
    client.force_login(marketer.user)  # type: ignore[arg-type]
    html = client.get(f"/batch-jobs/{job.pk}/").content.decode()
    assert {"gone": "is no longer there", "empty": "Nobody is in", "rules": "could not be read"}[what] in html
    assert "…" not in html.split("job-result")[1].split("job-about")[0]


def test_a_worker_that_lost_the_job_leaves_no_file(marketer: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another worker takes the job while the file is being written: what the first one wrote does not count."""
    make_list(marketer)
    origin = origin_of(database_default(account=marketer.account), "audience", "list:Newsletter")
    job = batchjob_create(by=marketer, origin=origin, event_name="invited")
    original, tokens = audience.store, []

    def store(*args: Any) -> str:
        name = original(*args)
        if not tokens:
            tokens.append(BatchJob.objects.filter(pk=job.pk).update(lease_token=99))
        return name

    monkeypatch.setattr(audience, "store", store)
    before = len(stored(marketer.account))
    kernel.queue_work("short")
    job.refresh_from_db()
    assert (job.status, job.valid_rows, job.lease_token) == ("done", 3, 100)
    assert len(stored(marketer.account)) == before + 1


def test_a_killed_worker_s_job_writes_the_file_again(marketer: Actor) -> None:
    """With SIGKILL while the people are written: bytes that nothing names, and the next worker begins anew."""
    make_list(marketer, count=8_000)
    origin = origin_of(database_default(account=marketer.account), "audience", "list:Newsletter")
    job = batchjob_create(by=marketer, origin=origin, event_name="invited")
    files = set(stored(marketer.account))
    with chaos.worker(queue=job.queue) as process:
        chaos.until(lambda: set(stored(marketer.account)) - files or chaos.status_of(job) == "done")
        process.kill()
        process.wait()
    assert chaos.status_of(job) == "in_progress"
    kernel.queue_work(job.queue)
    job.refresh_from_db()
    assert (job.status, job.valid_rows) == ("done", 8_000)
    assert Interaction.objects.filter(created_by_job=job.pk).count() == 8_000
    assert FilePart.objects.filter(file__jobs=job).count() == 1
    assert len(content_of(job).splitlines()) == 8_001


def test_canceled_while_it_writes(marketer: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    make_list(marketer)
    origin = origin_of(database_default(account=marketer.account), "audience", "list:Newsletter")
    job = batchjob_create(by=marketer, origin=origin, event_name="invited")
    original = audience.write

    def write(*args: Any, alive: Any, **how: Any) -> Any:
        batchjob_cancel(job=job, by=marketer)
        return original(*args, alive=lambda: alive(every=0), **how)

    monkeypatch.setattr(audience, "write", write)
    before = stored(marketer.account)
    assert (ended(job).status, job.file, stored(marketer.account)) == ("canceled", None, before)


def test_whoever_is_to_be_erased_stands_in_no_new_file_and_in_no_old_one(marketer: Actor) -> None:
    make_list(marketer)
    old = bring_in(marketer, "audience", "list:Newsletter", event_name="invited")
    assert "person-00001" in content_of(old)
    origin = origin_of(database_default(account=marketer.account), "audience", "list:Newsletter")
    new = batchjob_create(by=marketer, origin=origin, event_name="invited")
    ask(marketer.account, email="person-00001@example.com")
    ended(new)
    assert "person-00001" not in content_of(new)
    assert new.valid_rows == 2
    erasure_schedule(marketer.account)
    kernel.queue_work("long")
    old.file.refresh_from_db()
    assert old.file.removed_at is not None
    assert "person-00002" in content_of(new)
    for name in stored(marketer.account):
        with default_storage.open(name) as file:
            assert b"person-00001" not in file.read()


# Report.


@pytest.mark.parametrize(
    "file",
    [
        {"format": "csv", "delimiter": ";", "compression": "gzip", "encoding": "windows-1252"},
        {"format": "csv", "delimiter": "\t", "quoting": "all", "encoding": "utf-8-sig", "compression": "zip"},
        {"format": "psv"},
        {"format": "ndjson", "compression": "zip"},
        {"format": "json", "compression": "gzip"},
    ],
    ids=lambda file: f"{file['format']} {file.get('compression', 'plain')}",
)
def test_formats_that_are_read(file: dict[str, Any], marketer: Actor) -> None:
    make_people(marketer, 2)
    Profile.objects.filter(email="person-00000@example.com").update(attributes={"tier": "Überflieger; gold|\t", "n": 3})
    run = make_report(marketer, file={**file, "name_pattern": "people"})
    job = bring_in(marketer, "report", str(run.pk), record_type="event", event_name="seen")
    assert (job.status, job.valid_rows, job.invalid_rows) == ("done", 2, 0), job.failure_code
    event = Interaction.objects.get(created_by_job=job.pk, profile__email="person-00000@example.com")
    assert event.properties == {"tier": "Überflieger; gold|\t"}
    assert (job.file, job.source_key) == (run.file, str(run.pk))


def test_one_column(marketer: Actor) -> None:
    make_people(marketer, 2)
    run = make_report(marketer, columns=[{"field": "email", "header": "email"}], file={**FILES, "delimiter": ";"})
    job = bring_in(marketer, "report", str(run.pk), record_type="optout")
    assert (job.status, job.valid_rows, job.options["delimiter"]) == ("done", 2, ";")


def test_what_was_made_safe_for_spreadsheets_comes_back_as_it_was(marketer: Actor) -> None:
    make_people(marketer, 1)
    Profile.objects.for_account(marketer.account).update(attributes={"tier": "=1+1"})
    run = make_report(marketer, file={**FILES, "formula_safe": True})
    job = bring_in(marketer, "report", str(run.pk), record_type="event", event_name="seen")
    assert "'=1+1" in content_of(job)
    assert Interaction.objects.get(created_by_job=job.pk).properties == {"tier": "=1+1"}


@pytest.mark.parametrize(
    ("definition", "says"),
    [
        ({"file": {"format": "xlsx"}}, "Batch jobs cannot read XLSX."),
        ({"file": {"format": "xml", "compression": "zip"}}, "Batch jobs cannot read XML."),
        ({"file": {"format": "parquet"}}, "Batch jobs cannot read Parquet."),
        ({"file": {"format": "csv", "header": False}}, "The file does not say what its columns are called."),
        ({"filter": {"and": [{"field": "email", "op": "is", "value": "nobody@example.com"}]}}, "The file has no rows."),
    ],
    ids=["xlsx", "xml", "parquet", "headless", "no rows"],
)
def test_files_that_cannot_be_read_say_why(definition: dict[str, Any], says: str, marketer: Actor) -> None:
    make_people(marketer, 1)
    run = make_report(marketer, **definition)
    database = database_default(account=marketer.account)
    (origin,) = job_source("report").choices(database)  # type: ignore[union-attr]
    assert origin.unfit == says
    with pytest.raises(JobRefusedError, match=says):
        origin_of(database, "report", str(run.pk))


def test_runs_that_are_none_to_choose(marketer: Actor) -> None:
    make_people(marketer, 1)
    reports = job_source("report")
    assert reports is not None
    database = database_default(account=marketer.account)
    export = make_recurring(marketer)
    from exports import services

    services.export_run_now(export=export, by=marketer)
    work()
    run = last_run(export)
    assert [origin.name for origin in reports.choices(database)] == [f"Feed, run {run.pk}"]
    ExportRun.objects.filter(pk=run.pk).update(type="custom")
    assert reports.choices(database) == []
    ExportRun.objects.filter(pk=run.pk).update(type="periodic_full")
    SourceFile.objects.filter(pk=run.file_id).update(removed_at=timezone.now())
    assert reports.choices(database) == []
    for key in (str(run.pk), "0", "9" * 30, "x", "", "\x00"):
        with pytest.raises(JobRefusedError, match="not kept any more"):
            origin_of(database, "report", key)


# Existing file.


def test_a_file_is_read_once_more(marketer: Actor) -> None:
    first = run_file(marketer, EVENTS, "opens.csv")
    job = bring_in(marketer, "existing_file", str(first.file_id), record_type="event")
    assert (job.status, job.valid_rows, job.file_id, job.rerun_of) == ("done", 2, first.file_id, None)
    assert run_file(marketer, EVENTS, "new.csv").failure_code == "DUPLICATE_FILE"


def test_a_file_stays_as_long_as_a_younger_job_is_kept(marketer: Actor) -> None:
    first = run_file(marketer, EVENTS, "opens.csv")
    uploaded(first, ago=days(89))
    job = bring_in(marketer, "existing_file", str(first.file_id))
    now = timezone.now()
    account_expire(account=marketer.account, now=now + days(30))
    assert [chaos.status_of(one) for one in (first, job)] == ["done", "done"]
    assert content_of(job) == EVENTS
    account_expire(account=marketer.account, now=now + days(91))
    assert [chaos.status_of(one) for one in (first, job)] == ["expired", "expired"]
    with pytest.raises(JobRefusedError, match="not kept any more"):
        origin_of(first.database, "existing_file", str(first.file_id))


def test_a_report_stays_as_long_as_a_job_with_it_is_kept(marketer: Actor) -> None:
    make_people(marketer, 1)
    read, unread = make_report(marketer), make_report(marketer, name="Unread")
    job = bring_in(marketer, "report", str(read.pk), event_name="seen")
    now = timezone.now()
    account_expire(account=marketer.account, now=now + days(60))
    there = set(SourceFile.objects.filter(removed_at=None, account=marketer.account).values_list("pk", flat=True))
    assert (read.file_id in there, unread.file_id in there, chaos.status_of(job)) == (True, False, "done")
    account_expire(account=marketer.account, now=now + days(91))
    assert chaos.status_of(job) == "expired"
    read.refresh_from_db()
    assert read.file.removed_at is not None


# The form.


def test_the_form_offers_what_is_the_account_s_own(marta: Client, marketer: Actor, other_account: Actor) -> None:
    make_list(marketer, "Mine")
    run_file(marketer, EVENTS, "mine.csv")
    make_segment(marketer, "My gold")
    run = make_report(marketer, name="My report")
    html = {
        source: marta.get(NEW, {"source": source}).content.decode()
        for source in ("existing_file", "audience", "report")
    }
    assert "mine.csv" in html["existing_file"]
    assert "List, people: 3" in html["audience"]
    assert "Segment: tier is Gold" in html["audience"]
    assert f"My report, run {run.pk}" in html["report"]
    assert "5 rows" in html["report"]
    for theirs in ("other.csv", "Newsletter", "Gold ones", "Other, run"):
        assert theirs not in "".join(html.values())
    assert marta.get(NEW, {"source": "mars", "choice": "x"}).status_code == 200


def test_searching(marta: Client, marketer: Actor) -> None:
    for name in ("Autumn 2025", "Autumn 2026", "100% off"):
        make_list(marketer, name, count=0)
    headers = {"HX-Request": "true", "HX-Target": "job-choices"}
    for find, found in (("AUTUMN", 2), ("0%", 1), ("zz", 0), ("a\x00", 2), ("", 3)):
        html = marta.post(LOOK, {"source": "audience", "find": find}, headers=headers).content.decode()
        assert html.count('type="radio"') == found, find
    assert html.lstrip().startswith("<div")
    assert html.count("Nobody is on it.") == 3


@pytest.mark.parametrize("source", ["existing_file", "audience", "report"])
def test_the_form_shows_the_columns_and_makes_the_job(source: str, marta: Client, marketer: Actor) -> None:
    make_list(marketer)
    key = {
        "existing_file": lambda: str(run_file(marketer, EVENTS, "opens.csv").file_id),
        "audience": lambda: "list:Newsletter",
        "report": lambda: str(make_report(marketer, file={**FILES, "delimiter": ";"}).pk),
    }[source]()
    chosen = {"source": source, "choice": key, "name": "", "suggested": "", "record_type": "event"}
    html = marta.post(LOOK, chosen).content.decode()
    assert "<code>email</code>" in html
    assert 'hx-swap-oob="true"' in html  # the name that goes with it
    name = {"existing_file": "opens, ", "audience": "Newsletter, ", "report": "Everybody, run "}[source]
    assert f'value="{name}' in html
    sent = form(file="", source=source, choice=key, event_name="seen", name="Mine")
    response = marta.post(NEW, sent)
    job = BatchJob.objects.get(name="Mine")
    assert response["Location"] == f"/batch-jobs/{job.pk}/"
    assert ended(job).status == "done"
    page = marta.get(f"/batch-jobs/{job.pk}/").content.decode()
    run = ExportRun.objects.filter(pk=key if source == "report" else 0).first()
    says = {
        "existing_file": "existing file",
        "audience": "audience list Newsletter",
        "report": f'<a href="/exports/runs/{run.pk if run else 0}/">report of Everybody, run {key}</a>',
    }[source]
    assert says in page


def test_a_name_that_somebody_wrote_stays(marta: Client, marketer: Actor) -> None:
    make_list(marketer)
    chosen = {"source": "audience", "choice": "list:Newsletter", "name": "By hand", "suggested": "opens"}
    html = marta.post(LOOK, chosen).content.decode()
    assert 'id="job-name-field"' not in html


def test_nothing_chosen_and_what_is_another_s(marta: Client, marketer: Actor, other_account: Actor) -> None:
    theirs = BatchJob.objects.for_account(other_account.account).filter(kind="import").first()
    run = ExportRun.objects.for_account(other_account.account).get()
    for source, choice, says in (
        ("audience", "", "Choose the data to bring in."),
        ("audience", "list:Newsletter", "no longer there"),
        ("audience", "segment:Gold ones", "no longer there"),
        ("audience", "elsewhere:x", "no longer there"),
        ("existing_file", str(theirs.file_id), "not kept any more"),
        ("existing_file", "9" * 40, "not kept any more"),
        ("report", str(run.pk), "not kept any more"),
        ("report", "-1", "not kept any more"),
        ("mars", "1", "Select a valid choice"),
    ):
        for headers in ({}, {"HX-Request": "true", "HX-Target": "job-form"}):
            response = marta.post(NEW, form(file="", source=source, choice=choice), headers=headers)
            assert (response.status_code, says in response.content.decode()) == (422, True), (source, choice)
    assert not BatchJob.objects.for_account(marketer.account).exists()


# The API.


@pytest.fixture
def program(marketer: Actor) -> Program:
    return Program(make_token(marketer.account))


def test_a_program_names_the_data(program: Program, marketer: Actor) -> None:
    make_list(marketer)
    make_segment(marketer)
    file = program.send().json()
    ended(BatchJob.objects.get(pk=file["id"]))
    run = make_report(marketer)
    for named, source, name in (
        ({"file_id": file["file"]["id"]}, "existing_file", "events.csv"),
        ({"list": "Newsletter"}, "audience", "Newsletter"),
        ({"segment": "Gold ones", "source": "audience"}, "audience", "Gold ones"),
        ({"report": run.pk, "source": "report"}, "report", f"Everybody, run {run.pk}"),
    ):
        answer = program.post(URL, {"type": "event", "event_name": "seen", **named}, headers={"Idempotency-Key": name})
        assert answer.status_code == 201, answer.content
        made = answer.json()
        assert (made["source"], made["source_name"]) == (source, name)
        again = program.post(URL, {"type": "event", "event_name": "seen", **named}, headers={"Idempotency-Key": name})
        assert again.json()["id"] == made["id"]
        assert ended(BatchJob.objects.get(pk=made["id"])).status == "done"
        read = program.get(made["links"]["self"]).json()
        assert read["file"]["name"]


def test_nonsense_of_programs(program: Program, marketer: Actor, other_account: Actor) -> None:
    make_list(marketer, "Mine")
    run = ExportRun.objects.for_account(other_account.account).get()
    for named, field in (
        ({"source": "mars"}, "source"),
        ({"source": "audience"}, "source"),
        ({"source": "audience", "report": 1}, "source"),
        ({"source": "new_file", "list": "Mine"}, "source"),
        ({"list": "Mine", "segment": "Mine"}, "source"),
        ({"list": "Newsletter"}, "list"),
        ({"list": "x" * 121}, "list"),
        ({"list": "a\x00"}, "list"),
        ({"segment": "Mine"}, "segment"),
        ({"report": run.pk}, "report"),
        ({"report": 2**70}, "report"),
        ({"report": "x"}, "report"),
        ({"file_id": -1}, "file_id"),
        ({"file_id": 7_000_000}, "file_id"),
        ({}, "file"),
    ):
        answer = program.post(URL, {"type": "event", **named})
        assert answer.status_code == 422, named
        assert field in str(answer.json()["errors"]), answer.json()
    assert program.send(list="Mine").status_code == 422
    assert not BatchJob.objects.for_account(marketer.account).exists()


def test_looking_at_many_people_is_bounded(marketer: Actor) -> None:
    make_list(marketer, count=2_000)
    database = database_default(account=marketer.account)
    with connection.execute_wrapper(_bounded):
        sample = job_source("audience").sample(database, "list:Newsletter")  # type: ignore[union-attr]
    assert len(sample.splitlines()) == 21


def _bounded(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
    assert "audience_profile" not in sql or "LIMIT" in sql, sql
    return execute(sql, params, many, context)
