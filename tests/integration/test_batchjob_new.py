"""The form that starts a job."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from accounts.actors import Actor
from batchjobs.models import BatchJob
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


def test_too_large_says_the_limit(marta: Client, settings: Any) -> None:
    settings.UPLOAD_MAX_BYTES = 5
    response = marta.post(NEW, form())
    assert response.status_code == 422
    assert "The file is too large: 5\u00a0bytes at most." in response.content.decode()


def test_upload_without_token_is_refused_with_a_page() -> None:
    response = Client(enforce_csrf_checks=True).post(NEW, form())
    assert response.status_code == 403
    assert "This form has expired" in response.content.decode()
