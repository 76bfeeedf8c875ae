"""Which column goes where, before a file runs and after it stopped: what the form shows, and what it sends."""

from __future__ import annotations

import gzip
import io
import re
import zipfile
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.test import Client

from accounts.actors import Actor
from audience.models import DataTable, Interaction
from audience.services import database_default
from batchjobs import looking
from batchjobs.kernel import queue_work
from batchjobs.models import BatchJob, RecordType, SourceFile
from batchjobs.services import batchjob_cancel, batchjob_create
from batchjobs.states import Status
from tests.factories import make_actor, make_user
from tests.operations import make_job, make_upload

pytestmark = pytest.mark.django_db(transaction=True)

LOOK = "/batch-jobs/look/"
NEW = "/batch-jobs/new/"
PEOPLE = b"mail,what,when,born,shoe_size,order_id\nrosa@example.com,signup,2026-11-14,1984-04-25,38,A-1\n"
TWO_LISTS = b'{"orders":[{"email":"r@example.com","total":3}],"people":[{"email":"m@example.com","event_name":"x"}]}'
UNCLEAR = b"email,event_name,event_time\nrosa@example.com,signup,03/04/2026\nmax@example.com,signup,05/04/2026\n"


def about(upload: SourceFile, record_type: str = "event", **more: Any) -> dict[str, Any]:
    return {"looking": upload.upload_id, "record_type": record_type, "time_zone": "UTC", **more}


def look(marta: Client, upload: SourceFile, record_type: str = "event", **more: Any) -> str:
    response = marta.post(LOOK, about(upload, record_type, **more))
    assert response.status_code == 200
    return response.content.decode()


def targets(html: str) -> dict[str, str]:
    """Column of the file -> the option that is chosen, as its text."""
    rows = re.findall(r'<tr role="row">\s*<th scope="row".*?</tr>', html, re.DOTALL)
    return {
        re.findall(r"<code>(.*?)</code>", row)[0]: re.findall(r"<option[^>]* selected>(.*?)</option>", row)[0]
        for row in rows
    }


def sent(html: str) -> dict[str, list[str]]:
    """What a browser would send of the fragment's columns."""
    rows = re.findall(r"<select[^>]*name=\"column_to\".*?</select>", html, re.DOTALL)
    chosen = [re.findall(r"<option([^>]*) selected>(.*?)</option>", row)[0] for row in rows]
    values = [found[1] if (found := re.search(r'value="(.*?)"', attrs)) else text for attrs, text in chosen]
    return {"column_name": re.findall(r'name="column_name" value="(.*?)"', html), "column_to": values}


def run(by: Actor, content: bytes, file_name: str = "people.csv", **more: Any) -> BatchJob:
    job = batchjob_create(by=by, content=ContentFile(content), file_name=file_name, **more)
    queue_work("short")
    job.refresh_from_db()
    return job


def finished(name: str) -> BatchJob:
    queue_work("short")
    return BatchJob.objects.get(name=name)


# What the form shows of a file.


@pytest.mark.parametrize(
    ("record_type", "expected"),
    [
        ("event", {"mail": "email", "what": "Keep as it is", "order_id": "Keep as it is"}),
        ("purchase", {"mail": "email", "order_id": "extid", "when": "Keep as it is"}),
        ("profile", {"mail": "email", "born": "Keep as it is", "order_id": "Keep as it is"}),
        ("list", {"mail": "email", "when": "Keep as it is"}),
        ("optout", {"mail": "email", "when": "Leave out", "shoe_size": "Leave out"}),
        ("approve", {"order_id": "partner_event_id", "mail": "Leave out"}),
    ],
)
def test_each_type_finds_its_columns(
    record_type: str, expected: dict[str, str], marta: Client, marketer: Actor
) -> None:
    html = look(marta, make_upload(marketer, "people.csv", PEOPLE), record_type)
    found = targets(html)
    assert list(found) == ["mail", "what", "when", "born", "shoe_size", "order_id"]
    assert {name: found[name] for name in expected} == expected
    assert "CSV, UTF-8, separated by commas." in html
    assert "rosa@example.com" in html
    assert ('name="event_name"' in html.split("<noscript>")[0]) == (record_type == "event")
    assert ('name="list_name"' in html) == (record_type == "list")
    assert ('name="blank_erases"' in html) == (record_type in ("list", "profile"))
    assert (">Keep as it is<" in html) == (record_type not in ("optout", "approve"))


def test_choices_are_kept_and_sent_with_the_job(marta: Client, marketer: Actor) -> None:
    upload = make_upload(marketer, "people.csv", PEOPLE)
    columns = sent(look(marta, upload))
    assert columns["column_to"] == ["email", "what", "when", "born", "shoe_size", "order_id"]
    columns["column_to"] = ["email", "event_name", "event_time", "", "shoe_size", "partner_event_id"]
    html = look(marta, upload, column_type="event", **columns)
    assert sent(html) == columns
    assert "4 of 6 columns are matched." in html
    form = {"name": "Sign-ups", "upload": upload.upload_id, "column_type": "event", **about(upload), **columns}
    assert marta.post(NEW, form).status_code == 303
    job = finished("Sign-ups")
    chosen = {"what": "event_name", "when": "event_time", "born": "", "order_id": "partner_event_id"}
    assert job.options["columns"] == chosen
    assert (job.status, job.valid_rows) == (Status.DONE, 1)
    event = Interaction.objects.get(created_by_job=job.pk)
    assert (event.kind, event.external_id, event.properties) == ("signup", "A-1", {"shoe_size": "38"})


def test_choices_of_another_type_are_forgotten(marta: Client, marketer: Actor) -> None:
    upload = make_upload(marketer, "people.csv", PEOPLE)
    columns = {"column_name": ["mail", "born"], "column_to": ["", "event_time"]}
    html = look(marta, upload, "profile", column_type="event", **columns)
    assert targets(html)["mail"] == "email"
    assert 'name="column_type" value="profile"' in html
    form = {"name": "People", "upload": upload.upload_id, "column_type": "event", **about(upload, "profile"), **columns}
    marta.post(NEW, form)
    assert "columns" not in BatchJob.objects.get(name="People").options


def test_says_what_is_missing_until_it_is_there(marta: Client, marketer: Actor) -> None:
    upload = make_upload(marketer, "contacts.csv", b"who,city\nrosa@example.com,Porto\n")
    assert "No column goes to <code>email</code> yet" in look(marta, upload)
    who = {"column_type": "event", "column_name": ["who", "city"], "column_to": ["email", "city"]}
    assert "No column goes to <code>event_name</code> yet" in look(marta, upload, **who)
    assert "No column goes to" not in look(marta, upload, event_name="visit", **who)
    assert "No column goes to <code>list</code> yet" in look(marta, upload, "list", **{**who, "column_type": "list"})
    named = look(marta, upload, "list", list_name="Fans", **{**who, "column_type": "list"})
    assert "No column goes to" not in named
    with_name = make_upload(marketer, "visit-week-47.csv", b"email\nrosa@example.com\n")
    assert "No column goes to" not in look(marta, with_name)


@pytest.mark.parametrize("taken", ["email", "contact"])
def test_says_when_two_columns_go_to_one_place(taken: str, marta: Client, marketer: Actor) -> None:
    upload = make_upload(marketer, "a.csv", b"%s,who,event_name\na@example.com,b@example.com,x\n" % taken.encode())
    columns = {"column_name": [taken, "who", "event_name"], "column_to": ["email", "email", "event_name"]}
    assert "Two columns go to <code>email</code>" in look(marta, upload, column_type="event", **columns)


def test_a_column_of_our_name_cannot_be_kept_under_it(marta: Client, marketer: Actor) -> None:
    html = look(marta, make_upload(marketer, "a.csv", b"email,city\na@example.com,Porto\n"))
    email, city = re.findall(r"<select[^>]*name=\"column_to\".*?</select>", html, re.DOTALL)
    assert ("Keep as it is" in email, "Keep as it is" in city) == (False, True)


def test_a_job_keeps_a_column_under_another_name(marta: Client, marketer: Actor) -> None:
    job = run(marketer, b"who,town\nrosa@example.com,Porto\n", options={"columns": {"town": "City of birth"}})
    html = marta.get(f"/batch-jobs/{job.pk}/again/").content.decode()
    assert targets(html)["town"] == "Keep as “City of birth”"
    assert sent(html)["column_to"] == ["who", "City of birth"]


def test_json_columns_of_purchases_go_where_they_belong(marta: Client, marketer: Actor) -> None:
    content = b'[{"email":"rosa@example.com","date":"2026-11-14","extid":"A-1","items":[{"id":"1","price":5}]}]'
    html = look(marta, make_upload(marketer, "orders.json", content), "purchase")
    assert re.search(r"<code>items</code>\s*<input type=\"hidden\" name=\"column_to\" value=\"items\">", html)
    assert "4 of 4 columns are matched." in html


def test_more_columns_than_are_shown(marta: Client, marketer: Actor) -> None:
    names = [f"property {n}" for n in range(998)]
    content = ",".join(["mail", *names, "event"]) + "\n" + ",".join(["rosa@example.com", *"x" * 998, "signup"]) + "\n"
    upload = make_upload(marketer, "wide.csv", content.encode())
    html = look(marta, upload)
    assert len(targets(html)) == looking.COLUMNS_SHOWN == 60
    assert "940 more columns go where their names say." in html
    columns = sent(html)
    columns["column_to"][1] = ""
    marta.post(NEW, {"name": "Wide", "upload": upload.upload_id, "column_type": "event", **about(upload), **columns})
    job = finished("Wide")
    assert (job.status, job.options["columns"]) == (Status.DONE, {"property 0": ""})
    properties = Interaction.objects.get(created_by_job=job.pk).properties
    assert (len(properties), "property 997" in properties) == (997, True)
    too_many = make_upload(marketer, "wider.csv", content.replace("mail,", "mail,more,").encode())
    assert "The file has 1001 columns" in look(marta, too_many)


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("empty.csv", b"", "The file is empty"),
        ("empty.csv.gz", b"", "The file is empty"),
        ("blank.csv", b"\n\n", "The file is empty"),
        ("photo.csv", b"\x89PNG\r\n\x1a\n" + bytes(100), "This is not a text file"),
        ("plain.csv.gz", b"email\na@example.com\n", "The name ends in .gz, but this is not gzip"),
        ("cut.csv.gz", gzip.compress(PEOPLE * 1000)[:200], "The archive is damaged"),
        ("two.zip", zipped(a=b"x", b=b"y"), "The zip archive holds 2 files"),
        ("odd.zip", zipped(photo=b"x"), "The file inside, “photo”, is of no kind that is known"),
        ("quote.csv", b'"email,x\na@example.com,1\n', "The first line cannot be read as a header"),
        ("twice.csv", b"email,city,city\na@example.com,x,y\n", "The column city stands in the file twice"),
        ("none.csv", b"a@example.com,1\nb@example.com,2\n", "The first line holds no names of columns"),
    ],
)
def test_what_cannot_run_is_said(name: str, content: bytes, says: str, marta: Client, marketer: Actor) -> None:
    upload = make_upload(marketer, name, content)
    DataTable.objects.create(database=database_default(account=marketer.account), name="X", slug="x", kind="linked")
    for record_type in RecordType.values:
        assert says in look(marta, upload, record_type, event_name="x", list_name="x", table="x")
    page = marta.get(f"{NEW}?upload={upload.upload_id}")
    assert (page.status_code, says in page.content.decode()) == (200, True)


@pytest.mark.parametrize(
    ("name", "content", "column"),
    [
        ("a.csv.gz", gzip.compress(PEOPLE), "mail"),
        ("a.zip", zipped(**{"a.csv": PEOPLE}), "mail"),
        ("utf-16.csv", PEOPLE.decode().encode("utf-16"), "mail"),
        ("cp1252.csv", "mail,Größe\nrosa@example.com,große\n".encode("cp1252"), "mail"),
        ("bytes.csv", b"mail,x\nrosa@example.com,\xff\xfe\x00\n" * 20, "mail"),
        ("one.json", b'{"mail": "rosa@example.com", "n": 1}', "mail"),
        ("no-lists.json", b'{"meta": {"page": 1}, "numbers": [1, 2]}', "meta"),
        ("lines.ndjson", b'{"mail": "rosa@example.com"}\n{"Mail": "max@example.com", "deep": {"x": [1]}}\n', "mail"),
        ("addresses.txt", b"rosa@example.com\nmax@example.com\n", "email"),
    ],
)
def test_other_kinds_of_files_show_their_columns(
    name: str, content: bytes, column: str, marta: Client, marketer: Actor
) -> None:
    upload = make_upload(marketer, name, content)
    for record_type in RecordType.values:
        html = look(marta, upload, record_type)
        assert f"<code>{column}</code>" in html or "cannot" in html or "not in UTF-8" in html


@pytest.mark.parametrize(
    "content", [b"null", b"[]", b"[1,2]", b'"x"', b"{", b"[{", b'{"a":[{"b":1}', b"{}", b"nonsense"]
)
def test_odd_json_is_never_a_crash(content: bytes, marta: Client, marketer: Actor) -> None:
    upload = make_upload(marketer, "odd.json", content)
    for record_type in RecordType.values:
        assert look(marta, upload, record_type)


def test_a_file_that_is_still_arriving(marta: Client, marketer: Actor) -> None:
    first = make_upload(marketer, "people.csv", PEOPLE * 100, only=len(PEOPLE) * 2)
    assert targets(look(marta, first))["mail"] == "email"
    lists = make_upload(marketer, "shop.json", TWO_LISTS, only=len(TWO_LISTS) - 9)
    assert "<option>orders</option><option>people</option>" in look(marta, lists)
    packed = make_upload(marketer, "people.zip", zipped(**{"a.csv": PEOPLE * 100}), only=60)
    html = look(marta, packed)
    assert "The columns show as soon as more has arrived." in html
    assert "data-look-again" in html
    assert "damaged" not in html


def test_another_person_s_upload_shows_nothing(marta: Client, marketer: Actor) -> None:
    colleague = Actor(account=marketer.account, role=marketer.role, user=make_user(marketer.account))
    for by in (colleague, make_actor()):
        upload = make_upload(by, "people.csv", PEOPLE)
        for html in (look(marta, upload), marta.get(f"{NEW}?upload={upload.upload_id}").content.decode()):
            assert "rosa@example.com" not in html
            assert "job-match" not in html


def test_another_account_s_job_shows_nothing(marta: Client) -> None:
    other = make_job(make_actor().account, Status.FAILED)
    assert marta.post(f"{LOOK}?again={other.pk}", {"record_type": "event"}).status_code == 404
    assert marta.get(f"/batch-jobs/{other.pk}/again/").status_code == 404
    assert marta.post(f"/batch-jobs/{other.pk}/answer/", {"day_first": "true"}).status_code == 404
    assert marta.post(f"{LOOK}?again=1e9", {"record_type": "event"}).status_code == 200


def test_only_the_beginning_is_read(marta: Client, marketer: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "BYTES_LOOKED_AT", 1000)
    content = b'{"first":[' + b",".join([b'{"email":"rosa@example.com"}'] * 100) + b'],"second":[{"email":"x"}]}'
    html = look(marta, make_upload(marketer, "a.json", content))
    assert "the list first" in html
    assert "second" not in html


# Questions.


def test_several_lists_are_asked_about_and_can_be_changed(marta: Client, marketer: Actor) -> None:
    upload = make_upload(marketer, "shop.json", TWO_LISTS)
    html = look(marta, upload)
    assert "The file holds several lists" in html
    assert "<option>orders</option><option>people</option>" in html
    html = look(marta, upload, array="orders")
    assert "<option selected>orders</option><option>people</option>" in html
    assert targets(html) == {"email": "email", "total": "Keep as it is"}
    assert "Choose one" in look(marta, upload, array="of another file")
    plain = make_upload(marketer, "plain.json", b'[{"email":"rosa@example.com"}]')
    assert targets(look(marta, plain, array="orders")) == {"email": "email"}
    form = {"name": "Orders", "upload": upload.upload_id, "array": "people", **about(upload)}
    assert marta.post(NEW, form).status_code == 303
    assert (finished("Orders").status, BatchJob.objects.get().options["array"]) == (Status.DONE, "people")


def test_an_unclear_date_is_asked_about(marta: Client, marketer: Actor) -> None:
    upload = make_upload(marketer, "a.csv", UNCLEAR)
    html = look(marta, upload)
    assert "Which day is 03/04/2026?" in html
    assert "3 April 2026" in html
    assert "4 March 2026" in html
    assert html.count('name="day_first"') == 2  # it is not asked twice
    answered = look(marta, upload, day_first="false")
    assert 'value="false" checked' in answered
    assert "Which day" not in look(marta, upload, column_type="event", column_name="event_time", column_to="")
    clear = make_upload(marketer, "b.csv", UNCLEAR + b"x@example.com,signup,25/04/2026\n")
    assert "Which day" in look(marta, clear)  # one date shows an order, and still none is guessed
    form = {"name": "Dates", "upload": upload.upload_id, "day_first": "false", **about(upload)}
    marta.post(NEW, form)
    job = finished("Dates")
    assert job.status == Status.DONE
    assert (
        Interaction.objects.filter(created_by_job=job.pk).order_by("pk")[0].occurred_at.strftime("%d %B") == "04 March"
    )


# Running the file of a job again.


@pytest.fixture
def stopped(marketer: Actor) -> BatchJob:
    job = run(
        marketer, b"who,what,when\nrosa@example.com,signup,2026-11-14\n", record_type="event", name="Sign-ups",
        tags=["autumn", "b"], event_name="", options={"time_zone": "Europe/Lisbon", "columns": {"when": "event_time"}},
    )  # fmt: skip
    assert (job.status, job.failure_code) == (Status.FAILED, "COLUMN_MISSING")
    return job


def test_again_starts_with_what_was_chosen(marta: Client, stopped: BatchJob) -> None:
    detail = marta.get(f"/batch-jobs/{stopped.pk}/").content.decode()
    assert f'href="/batch-jobs/{stopped.pk}/again/"' in detail
    html = marta.get(f"/batch-jobs/{stopped.pk}/again/").content.decode()
    assert 'value="Sign-ups (again)"' in html
    assert 'value="autumn, b"' in html
    assert '<option value="Europe/Lisbon" selected>' in html
    assert targets(html) == {"who": "Keep as it is", "what": "Keep as it is", "when": "event_time"}
    assert 'type="file"' not in html


def test_again_makes_a_linked_job(marta: Client, stopped: BatchJob) -> None:
    form = {
        "name": "Sign-ups, matched", "record_type": "event", "time_zone": "Europe/Lisbon", "column_type": "event",
        "column_name": ["who", "what", "when"], "column_to": ["email", "event_name", ""],
    }  # fmt: skip
    response = marta.post(f"/batch-jobs/{stopped.pk}/again/", form)
    job = finished("Sign-ups, matched")
    assert response["Location"] == f"/batch-jobs/{job.pk}/"
    assert (job.rerun_of, job.file) == (stopped, stopped.file)
    assert (job.status, job.valid_rows) == (Status.DONE, 1)
    assert job.options["columns"] == {"who": "email", "what": "event_name", "when": ""}
    detail = marta.get(response["Location"]).content.decode()
    assert "Run again from" in detail
    response = marta.post(f"/batch-jobs/{stopped.pk}/again/", form)  # the name is taken now
    assert (response.status_code, "Another job of this account" in response.content.decode()) == (422, True)


def test_again_keeps_what_the_form_does_not_ask(marta: Client, marketer: Actor) -> None:
    names = ["email", *(f"property {n}" for n in range(70))]
    options = {"header": names, "columns": {"property 69": "last"}, "format": "delimited", "run_anyway": True}
    job = run(marketer, b"rosa@example.com" + b",x" * 70 + b"\n", options=options)
    assert job.failure_code == "COLUMN_MISSING"
    html = marta.get(f"/batch-jobs/{job.pk}/again/").content.decode()
    form = {"name": "More", "record_type": "event", "event_name": "visit", "time_zone": "UTC", "column_type": "event"}
    marta.post(f"/batch-jobs/{job.pk}/again/", {**form, **sent(html)})
    again = finished("More")
    assert again.options == {**options, "time_zone": "UTC"}
    assert Interaction.objects.get(created_by_job=again.pk).properties["last"] == "x"


def test_a_canceled_job_can_run_again(marta: Client, marketer: Actor) -> None:
    job = batchjob_create(by=marketer, content=ContentFile(PEOPLE), file_name="signup-47.csv", name="Waits")
    batchjob_cancel(job=job, by=marketer)
    assert "Match its columns and run it again" in marta.get(f"/batch-jobs/{job.pk}/").content.decode()
    form = {"name": "Runs", "record_type": "event", "time_zone": "UTC"}
    assert marta.post(f"/batch-jobs/{job.pk}/again/", form).status_code == 303
    assert finished("Runs").status == Status.DONE


@pytest.mark.parametrize("status", [Status.DONE, Status.PENDING, Status.IN_PROGRESS, Status.EXPIRED])
def test_again_is_refused_while_or_after_the_file_went_in(status: Status, marta: Client, marketer: Actor) -> None:
    job = make_job(marketer.account, status, outcome=Status.DONE) if status == Status.EXPIRED else make_job(
        marketer.account, status
    )  # fmt: skip
    for response in (
        marta.get(f"/batch-jobs/{job.pk}/again/"),
        marta.post(f"/batch-jobs/{job.pk}/again/", {"name": "x", "record_type": "event"}),
        marta.post(f"/batch-jobs/{job.pk}/answer/", {"day_first": "true"}),
    ):
        assert response.status_code == 409
        assert "The file of this job cannot be run again." in response.content.decode()
    assert BatchJob.objects.count() == 1


def test_again_without_its_file(marta: Client, marketer: Actor) -> None:
    removed, never = make_job(marketer.account, Status.FAILED), make_job(marketer.account, Status.FAILED)
    SourceFile.objects.filter(pk=removed.file.pk).update(removed_at=removed.created_at)  # type: ignore[union-attr]
    BatchJob.objects.filter(pk=never.pk).update(file=None)
    for job in (removed, never):
        assert "again/" not in marta.get(f"/batch-jobs/{job.pk}/").content.decode()
        for response in (
            marta.get(f"/batch-jobs/{job.pk}/again/"),
            marta.post(f"/batch-jobs/{job.pk}/answer/", {"day_first": "true"}),
        ):
            assert response.status_code == 409
            assert "The file of this job cannot be run again." in response.content.decode()


@pytest.mark.parametrize("code", ["FILE_EMPTY", "BINARY_FILE", "ZIP_NOT_ONE_FILE"])
def test_where_another_file_is_needed_the_page_says_so(code: str, marta: Client, marketer: Actor) -> None:
    job = make_job(marketer.account, Status.FAILED, failure_code=code, valid=0, chunks=0)
    html = marta.get(f"/batch-jobs/{job.pk}/").content.decode()
    assert "Match its columns" not in html
    assert "Start a new job" in html


def test_what_would_come_in_twice_is_said(marta: Client, marketer: Actor) -> None:
    says = "rows with a number of their own are not counted twice. Others are."
    events = make_job(marketer.account, Status.CANCELED, valid=5)
    people = make_job(marketer.account, Status.CANCELED, valid=5, record_type="profile")
    for job, expected in ((events, True), (people, False)):
        assert (says in marta.get(f"/batch-jobs/{job.pk}/").content.decode()) == expected


# Answers with one click.


@pytest.mark.parametrize(("answer", "day"), [("true", "03 April"), ("false", "04 March")])
def test_the_order_of_dates_is_answered(answer: str, day: str, marta: Client, marketer: Actor) -> None:
    job = run(marketer, UNCLEAR, name="Dates")
    assert job.failure_code == "DATE_ORDER_UNKNOWN"
    html = marta.get(f"/batch-jobs/{job.pk}/").content.decode()
    assert "The day: it is 3 April 2026" in html
    assert "The month: it is 4 March 2026" in html
    response = marta.post(f"/batch-jobs/{job.pk}/answer/", {"day_first": answer})
    again = finished("Dates (again)")
    assert response["Location"] == f"/batch-jobs/{again.pk}/"
    assert (again.status, again.rerun_of, again.valid_rows) == (Status.DONE, job, 2)
    event = Interaction.objects.filter(created_by_job=again.pk).order_by("occurred_at")[0]
    assert event.occurred_at.strftime("%d %B") == day


def test_the_list_is_answered(marta: Client, marketer: Actor) -> None:
    job = run(marketer, TWO_LISTS, "shop.json", name="Shop")
    assert job.failure_code == "LIST_NOT_CHOSEN"
    html = marta.get(f"/batch-jobs/{job.pk}/").content.decode()
    assert "<option>orders</option><option>people</option>" in html
    marta.post(f"/batch-jobs/{job.pk}/answer/", {"array": "people"})
    again = finished("Shop (again)")
    assert (again.status, again.options["array"], again.rerun_of) == (Status.DONE, "people", job)


@pytest.mark.parametrize(
    "answer", [{}, {"array": "", "day_first": ""}, {"day_first": "perhaps"}, {"array": "nonsense"}, {"array": "a\x00"}]
)
def test_what_is_no_answer_is_refused_with_a_sentence(answer: dict[str, str], marta: Client, marketer: Actor) -> None:
    for content, name in ((UNCLEAR, "a.csv"), (TWO_LISTS, "shop.json")):
        job = run(marketer, content, name)
        response = marta.post(f"/batch-jobs/{job.pk}/answer/", answer)
        assert response.status_code == 409
        assert "That does not answer what the job asked. Nothing was started." in response.content.decode()
    assert BatchJob.objects.count() == 2


def test_a_list_that_is_not_there_ends_with_a_way_on(marta: Client, marketer: Actor) -> None:
    job = run(marketer, TWO_LISTS, "shop.json", name="Shop", options={"array": "nonsense"})
    assert job.failure_code == "LIST_NOT_FOUND"
    assert "Match its columns and run it again" in marta.get(f"/batch-jobs/{job.pk}/").content.decode()
    html = marta.get(f"/batch-jobs/{job.pk}/again/").content.decode()
    assert "<option>orders</option><option>people</option>" in html


def test_a_job_that_asked_nothing_takes_no_answer(marta: Client, stopped: BatchJob) -> None:
    response = marta.post(f"/batch-jobs/{stopped.pk}/answer/", {"day_first": "true"})
    assert response.status_code == 409
    assert BatchJob.objects.count() == 1
