"""The form that starts a job."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from accounts.actors import Actor
from batchjobs.models import BatchJob, SourceFile
from batchjobs.resumable import upload_begin
from batchjobs.services import batchjob_create
from tests.factories import make_actor, make_user
from tests.operations import make_job

NEW = "/batch-jobs/new/"


@pytest.fixture
def marta(marketer: Actor) -> Client:
    client = Client()
    client.force_login(marketer.user)  # type: ignore[arg-type]
    return client


def form(**changes: Any) -> dict[str, Any]:
    file = SimpleUploadedFile("orders.csv", b"email\na@example.com\n", "text/csv")
    return {"file": file, "name": "Orders", "record_type": "event", "time_zone": "Europe/Lisbon", **changes}


def test_is_a_page_and_a_fragment(marta: Client) -> None:
    page = marta.get(NEW).content.decode()
    assert "<!doctype" in page
    fragment = marta.get(NEW, headers={"HX-Request": "true", "HX-Target": "drawer"}).content.decode()
    assert fragment.lstrip().startswith("<dialog")


def test_creates_a_job(marta: Client, marketer: Actor) -> None:
    response = marta.post(NEW, form(tags="b, a,,", event_name="order", delimiter=";", day_first="true", dry_run="on"))
    job = BatchJob.objects.get()
    assert (response.status_code, response["Location"]) == (303, f"/batch-jobs/{job.pk}/")
    assert (job.name, job.event_name, job.tags, job.dry_run) == ("Orders", "order", ["a", "b"], True)
    assert job.options == {"delimiter": ";", "time_zone": "Europe/Lisbon", "day_first": True}
    assert job.created_by == marketer.user
    assert "is in the queue" in marta.get(response["Location"]).content.decode()


def test_tab_survives_the_form(marta: Client) -> None:
    marta.post(NEW, form(delimiter="\t"))
    assert BatchJob.objects.get().options["delimiter"] == "\t"


def test_htmx_is_sent_to_the_job(marta: Client) -> None:
    response = marta.post(NEW, form(), headers={"HX-Request": "true", "HX-Target": "job-form"})
    assert response["HX-Redirect"] == f"/batch-jobs/{BatchJob.objects.get().pk}/"


def test_empty_file_becomes_a_job(marta: Client) -> None:
    assert marta.post(NEW, form(file=SimpleUploadedFile("empty.csv", b""))).status_code == 303


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": ""}, "Give the job a name"),
        ({"file": ""}, "Choose the file"),
        ({"file": SimpleUploadedFile("orders.xlsx", b"PK")}, "upload a file that ends in"),
        ({"name": "taken"}, "Another job of this account has this name"),
        ({"time_zone": "Mars/Olympus"}, "Select a valid choice"),
        ({"record_type": "unicorn"}, "Select a valid choice"),
    ],
)
def test_errors_stay_in_the_form(changes: dict[str, Any], says: str, marta: Client, marketer: Actor) -> None:
    make_job(marketer.account, name="Taken")
    for headers in ({}, {"HX-Request": "true", "HX-Target": "job-form"}):
        if (file := changes.get("file")) and hasattr(file, "seek"):
            file.seek(0)
        response = marta.post(NEW, form(**changes), headers=headers)
        html = response.content.decode()
        assert response.status_code == 422
        assert says in html
        assert 'aria-invalid="true"' in html
        assert html.count("autofocus") == (0 if "time_zone" in changes or "record_type" in changes else 1)
        assert html.lstrip().startswith("<form") == bool(headers)
    assert BatchJob.objects.count() == 1


def upload(by: Actor, *, name: str = "sales.csv", whole: bool = True) -> SourceFile:
    file = upload_begin(by=by, name=name, size=0 if whole else 10)
    file.refresh_from_db()
    return file


def test_an_upload_in_place_of_the_file(marta: Client, marketer: Actor) -> None:
    file = upload(marketer)
    chosen = marta.get(f"{NEW}?upload={file.upload_id}").content.decode()
    assert f'name="upload" value="{file.upload_id}"' in chosen
    assert "required" not in next(line for line in chosen.splitlines() if 'type="file"' in line)
    response = marta.post(NEW, form(file="", upload=file.upload_id))
    assert response["Location"] == f"/batch-jobs/{BatchJob.objects.get(file=file).pk}/"


def test_an_error_keeps_the_upload(marta: Client, marketer: Actor) -> None:
    file = upload(marketer)
    html = marta.post(NEW, form(file="", upload=file.upload_id, name="")).content.decode()
    assert "Give the job a name" in html
    assert f'name="upload" value="{file.upload_id}"' in html
    assert "Choose the file to bring in" not in html


def test_uploads_that_are_none(marta: Client, marketer: Actor) -> None:
    colleague = Actor(account=marketer.account, role=marketer.role, user=make_user(marketer.account))
    used = upload(marketer)
    batchjob_create(by=marketer, upload=used)
    theirs, elsewhere = upload(colleague), upload(make_actor())
    for wrong in ("nonsense", uuid4(), theirs.upload_id, elsewhere.upload_id):
        response = marta.post(NEW, form(file="", upload=wrong))
        assert response.status_code == 422
        assert "This upload is no longer there. Choose the file again." in response.content.decode()
    partly = upload(marketer, name="partly.csv", whole=False)
    response = marta.post(NEW, form(file="", upload=partly.upload_id))
    assert "“partly.csv” has not arrived completely." in response.content.decode()
    response = marta.post(NEW, form(file="", upload=used.upload_id))
    assert "“sales.csv” was used for a job already." in response.content.decode()
    assert BatchJob.objects.count() == 1


def test_lists_the_person_s_own_uploads(marta: Client, marketer: Actor) -> None:
    colleague = Actor(account=marketer.account, role=marketer.role, user=make_user(marketer.account))
    upload(marketer, name="mine.csv")
    upload(colleague, name="theirs.csv")
    upload(marketer, name="not-a-byte.csv", whole=False)  # there is nothing to go on with
    html = marta.get(NEW).content.decode()
    assert "mine.csv" in html
    assert "theirs.csv" not in html
    assert "not-a-byte.csv" not in html


def test_too_large_says_the_limit(marta: Client, settings: Any) -> None:
    settings.UPLOAD_MAX_BYTES = 5
    response = marta.post(NEW, form())
    assert response.status_code == 422
    assert "The file is too large: 5\u00a0bytes at most." in response.content.decode()


def test_upload_without_token_is_refused_with_a_page() -> None:
    response = Client(enforce_csrf_checks=True).post(NEW, form())
    assert response.status_code == 403
    assert "This form has expired" in response.content.decode()
