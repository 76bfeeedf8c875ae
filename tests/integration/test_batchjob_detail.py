"""The drawer: one URL, whole page or fragment; what it says in each state; what it lets people do."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pytest
from django.test import Client

from accounts.actors import Actor
from accounts.permissions import Role
from batchjobs.models import BatchJob, JobRequest
from batchjobs.states import Status
from console.formats import day
from tests.factories import make_actor
from tests.operations import make_job

FRAGMENT = {"HX-Request": "true", "HX-Target": "drawer"}
# Session, person, memberships; the job; its place in the list (3); ledger, samples; request to cancel, allowed actions;
# how long its file is kept.
DRAWER_QUERIES = 11


@pytest.fixture
def marta(marketer: Actor) -> Client:
    client = Client()
    client.force_login(marketer.user)  # type: ignore[arg-type]
    return client


def drawer(client: Client, job: BatchJob, **extra: Any) -> str:
    response = client.get(f"/batch-jobs/{job.pk}/", headers=FRAGMENT, **extra)
    assert response.status_code == 200
    return response.content.decode()


@pytest.mark.parametrize("chunks", [1, 40])
def test_queries_do_not_grow(chunks: int, marta: Client, marketer: Actor, django_assert_max_num_queries: Any) -> None:
    running = make_job(marketer.account, Status.IN_PROGRESS, chunks=chunks, invalid=400)
    done = make_job(marketer.account, chunks=chunks, invalid=400)
    for job in (running, done):
        with django_assert_max_num_queries(DRAWER_QUERIES + 1):
            drawer(marta, job)


def test_one_url_is_page_and_fragment(marta: Client, marketer: Actor) -> None:
    job = make_job(marketer.account, name="November")
    page = marta.get(f"/batch-jobs/{job.pk}/").content.decode()
    assert "<!doctype" in page
    assert page.count('<dialog class="drawer"') == 1
    assert f'id="job-{job.pk}" aria-current="true"' in page
    assert "<!doctype" not in drawer(marta, job)


def test_job_of_another_account_does_not_exist(marta: Client) -> None:
    job = make_job(make_actor().account)
    for path in ("", "source/", "error-log/", "rejected-rows/"):
        assert marta.get(f"/batch-jobs/{job.pk}/{path}").status_code == 404
    for path in ("cancel/", "run-anyway/"):
        assert marta.post(f"/batch-jobs/{job.pk}/{path}").status_code == 404
    live = marta.get("/batch-jobs/live/", {"job": job.pk, "open": job.pk}).content.decode()
    assert job.name not in live


def test_closing_leads_back_to_the_same_rows(marta: Client, marketer: Actor) -> None:
    job = make_job(marketer.account)
    html = marta.get(f"/batch-jobs/{job.pk}/?q=loyal&status=done&foo=1", headers=FRAGMENT).content.decode()
    assert 'data-back="/batch-jobs/?q=loyal&amp;status=done"' in html


def test_previous_and_next_follow_the_list(marta: Client, marketer: Actor) -> None:
    one, two, three = (make_job(marketer.account, name=name) for name in ("b", "c", "a"))
    html = marta.get(f"/batch-jobs/{one.pk}/?sort=name", headers=FRAGMENT).content.decode()
    assert re.search(rf'href="/batch-jobs/{three.pk}/\?sort=name"[^>]*aria-label="Previous job"', html)
    assert re.search(rf'href="/batch-jobs/{two.pk}/\?sort=name"[^>]*aria-label="Next job"', html)


@pytest.mark.parametrize(
    ("status", "fields", "says"),
    [
        (Status.PENDING, {}, "It is next"),
        (Status.IN_PROGRESS, {"chunks": 4}, "63%"),
        (Status.DONE, {"valid": 3108}, "All 3,108 rows are in"),
        (Status.DONE, {"valid": 10, "skipped": 5}, "10 rows are in, 5 were already there"),
        (Status.DONE, {"valid": 0, "skipped": 5}, "All 5 rows were already there"),
        (Status.DONE, {"valid": 17_892, "invalid": 312}, "17,892 rows are in, 312 need a correction"),
        (Status.DONE, {"valid": 10, "invalid": 2, "dry_run": True}, "nothing was written"),
        (Status.FAILED, {"valid": 0, "chunks": 0, "failure_params": {"column": "x"}}, "The file has no x column"),
        (Status.FAILED, {"valid": 0, "chunks": 0, "failure_code": "UNHEARD_OF"}, "UNHEARD_OF"),
        (Status.CANCELED, {"valid": 640, "canceled_by": "Tom"}, "640 rows that were in before stay in"),
        (Status.EXPIRED, {"valid": 20_114}, "20,114 rows in, none rejected"),
        (Status.EXPIRED, {"valid": 20_114, "invalid": 41}, "20,114 rows in, 41 rejected"),
        (Status.EXPIRED, {"valid": 10, "dry_run": True}, "10 of 10 rows would have gone in"),
        (Status.EXPIRED, {"outcome": "canceled", "canceled_by": "Tom"}, "The job had been canceled by Tom"),
        (
            Status.EXPIRED,
            {"outcome": "failed", "failure_code": "COLUMN_MISSING", "failure_params": {"column": "email"}, "valid": 0},
            "The job had failed: The file has no email column.",
        ),
    ],
)  # fmt: skip
def test_says_what_is_so(status: str, fields: dict[str, Any], says: str, marta: Client, marketer: Actor) -> None:
    assert says in drawer(marta, make_job(marketer.account, status, **fields))


def test_expired_job_shows_reasons_and_no_values(marta: Client, marketer: Actor) -> None:
    job = make_job(marketer.account, Status.EXPIRED, valid=20_114, invalid=80)
    html = drawer(marta, job)
    assert html.count("Values were removed") == 2
    for kept in ("EMAIL_INVALID", "EVENT_TIME_INVALID", job.file.sha256, "What came in stays in the audience"):
        assert kept in html
    for gone in ("First rejected rows", "download", "Files kept until"):
        assert gone not in html


def test_files_are_kept_until(marta: Client, marketer: Actor, settings: Any) -> None:
    job = make_job(marketer.account)
    settings.FILES_KEPT_DAYS = 90
    until = day(job.file.created_at + dt.timedelta(days=90))
    assert re.search(rf"Files kept until</dt><dd>{until}<", drawer(marta, job))


def test_rows_are_shown_escaped(marta: Client, marketer: Actor) -> None:
    html = drawer(marta, make_job(marketer.account, invalid=80))
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "<script>" not in html
    assert "=1+1" in html  # shown as it is: only files people open are made safe


def test_duplicate_leads_to_the_first_and_can_be_run(marta: Client, marketer: Actor) -> None:
    first = make_job(marketer.account, name="First")
    again = make_job(
        marketer.account, Status.FAILED, failure_code="DUPLICATE_FILE", duplicate_of=first, chunks=0, valid=0
    )
    html = drawer(marta, again)
    assert f'href="/batch-jobs/{first.pk}/"' in html
    response = marta.post(f"/batch-jobs/{again.pk}/run-anyway/")
    rerun = BatchJob.objects.get(rerun_of=again)
    assert (response.status_code, response["Location"]) == (303, f"/batch-jobs/{rerun.pk}/")
    refused = marta.post(f"/batch-jobs/{first.pk}/run-anyway/")
    assert refused.status_code == 409
    assert "Only a job that was refused as a duplicate" in refused.content.decode()


def test_cancel_asks_first_and_leaves_what_is_in(marta: Client, marketer: Actor) -> None:
    job = make_job(marketer.account, Status.IN_PROGRESS, valid=500)
    assert "500 rows are already in and stay in" in drawer(marta, job)
    without_script = marta.get(f"/batch-jobs/{job.pk}/?confirm=cancel").content.decode()
    assert '<dialog class="dialog" id="cancel-job" data-modal open' in without_script
    assert marta.get(f"/batch-jobs/{job.pk}/cancel/").status_code == 405
    response = marta.post(f"/batch-jobs/{job.pk}/cancel/?q=loyal")
    assert (response.status_code, response["Location"]) == (303, f"/batch-jobs/{job.pk}/?q=loyal")
    assert job.requests.filter(kind=JobRequest.Kind.CANCEL).count() == 1
    html = drawer(marta, job)
    assert "This job is being canceled" in html
    assert 'data-open="cancel-job"' not in html


def test_cancel_of_an_ended_job_is_refused_with_a_sentence(marta: Client, marketer: Actor) -> None:
    job = make_job(marketer.account)
    response = marta.post(f"/batch-jobs/{job.pk}/cancel/")
    assert response.status_code == 409
    assert "has ended as Done" in response.content.decode()


def test_viewer_sees_no_actions(marketer: Actor) -> None:
    viewer = make_actor(marketer.account, Role.VIEWER)
    client = Client()
    client.force_login(viewer.user)  # type: ignore[arg-type]
    job = make_job(marketer.account, Status.IN_PROGRESS)
    assert 'data-open="cancel-job"' not in drawer(client, job)
    assert client.post(f"/batch-jobs/{job.pk}/cancel/").status_code == 403


class TestLive:
    def test_rows_and_drawer_come_out_of_band(self, marta: Client, marketer: Actor) -> None:
        job = make_job(marketer.account, Status.IN_PROGRESS, chunks=3)
        response = marta.get("/batch-jobs/live/", {"job": job.pk, "open": job.pk, "query": "?q=loyal&evil=1"})
        html = response.content.decode()
        for part in (f"job-{job.pk}", "job-head", "job-body", "job-foot", "cancel-job-text", "live"):
            assert re.search(rf'id="{part}"[^>]* hx-swap-oob="true"', html), part
        assert f'href="/batch-jobs/{job.pk}/?q=loyal"' in html
        assert "data-live-poll" in html

    def test_unchanged_is_304(self, marta: Client, marketer: Actor) -> None:
        job = make_job(marketer.account, Status.IN_PROGRESS, chunks=3)
        first = marta.get("/batch-jobs/live/", {"job": job.pk})
        again = marta.get("/batch-jobs/live/", {"job": job.pk}, headers={"If-None-Match": first["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
        BatchJob.objects.filter(pk=job.pk).update(next_chunk=4)
        changed = marta.get("/batch-jobs/live/", {"job": job.pk}, headers={"If-None-Match": first["ETag"]})
        assert changed.status_code == 200

    def test_stops_when_the_job_has_ended(self, marta: Client, marketer: Actor) -> None:
        job = make_job(marketer.account)
        assert "data-live-poll" not in marta.get("/batch-jobs/live/", {"job": job.pk}).content.decode()

    @pytest.mark.parametrize(
        "query", ["job=x&open=y", "job=99999999999999999999999999", "open=%00", "job=-1", "open=²"]
    )
    def test_wrong_ids_are_left_out(self, query: str, marta: Client) -> None:
        assert marta.get(f"/batch-jobs/live/?{query}").status_code == 200
