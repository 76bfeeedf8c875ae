"""Batch uploads for support staff: found by reference across accounts, read-only, processed again."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse

from accounts.models import AuditEvent
from tests.factories import make_account, make_user
from tests.uploads import make_batch
from uploads.states import State

pytestmark = pytest.mark.django_db
UPLOADS = "/admin/uploads/batchupload/"
REF = "7d2f41c8-90b3-4f0e-8f0b-5a1de20c6e11"


@pytest.fixture
def client() -> Client:
    client = Client()
    client.force_login(make_user(is_staff=True, is_superuser=True))
    return client


def found(client: Client, query: str) -> list[str]:
    return [str(upload.ref) for upload in client.get(f"{UPLOADS}?{query}").context["cl"].result_list]


@pytest.mark.parametrize("q", [REF, REF.upper(), REF.replace("-", ""), "7D2F41", "8f0b-5a1d", "0c6e11", "Harbour"])
def test_is_found_across_accounts(q: str, client: Client):
    make_batch(make_account("Pier Nine Vinyl"))
    make_batch(make_account("Harbour Records"), ref=REF)
    assert found(client, f"q={q}") == [REF]


def test_filters(client: Client):
    one, other = make_account(), make_account("Pier Nine Vinyl")
    bad = make_batch(one, State.CORRUPTED)
    good = make_batch(other, State.SUCCESS)
    assert found(client, "fault=SIZE_MISMATCH") == [str(bad.ref)]
    assert found(client, "fault=none") == [str(good.ref)]
    assert found(client, "fault=CHECKSUM_MISMATCH") == []
    assert found(client, f"account__id__exact={other.pk}") == [str(good.ref)]


@pytest.mark.parametrize("times", [1, 10])
def test_list_queries_do_not_grow(times: int, client: Client, django_assert_max_num_queries: Any):
    for state in [State.SUCCESS, State.UPLOADING, State.CORRUPTED] * times:
        make_batch(make_account(), state)
    with django_assert_max_num_queries(8):
        found(client, "")


def test_page_of_an_upload(client: Client):
    upload = make_batch(make_account(), State.ERROR, ref=REF)
    upload.events.create(what="received", detail="<script>alert(1)</script> 9 bytes")
    page = client.get(f"{UPLOADS}{upload.pk}/change/").content.decode()
    assert "received" in page
    assert "&lt;script&gt;" in page
    assert reverse("admin:batchjobs_batchjob_change", args=[upload.job_id]) in page
    assert 'name="_save"' not in page
    assert client.post(f"{UPLOADS}{upload.pk}/change/", {"ref": REF}).status_code == 403
    assert client.post(f"{UPLOADS}{upload.pk}/delete/", {"post": "yes"}).status_code == 403


def test_process_again(client: Client):
    account = make_account()
    good, none, running = (
        make_batch(account, State.ERROR),
        make_batch(account, ref=REF),
        make_batch(account, State.PROCESSING),
    )
    answer = client.post(UPLOADS, {"action": "process_again", "_selected_action": [good.pk, none.pk, running.pk]})
    assert sorted(str(message) for message in get_messages(answer.wsgi_request)) == sorted(
        [
            "1: the file is in the queue again.",
            f"{REF}: No file of this batch has arrived, so there is nothing to process.",
            f"{running.ref}: The job of this batch has not ended yet, or its file is no longer kept.",
        ]
    )
    first = good.job
    good.refresh_from_db()
    assert good.job != first
    assert (good.job.rerun_of, good.job.file, good.job.status, good.job.kind) == (first, good.file, "pending", "batch")
    assert good.events.latest("pk").what == "processed again"
    event = AuditEvent.objects.for_account(account).latest("pk")
    assert (event.action, event.target) == ("batch_upload.process_again", str(good.ref))
