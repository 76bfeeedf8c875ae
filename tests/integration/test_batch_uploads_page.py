"""The Batch uploads page: what it lists, its search, filter, sort and pages; the drawer; live; the log."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import re
from typing import Any
from uuid import UUID

import pytest
from django.test import Client

from accounts.actors import Actor
from accounts.permissions import Role
from batchjobs.models import BatchJob, Chunk
from batchjobs.states import Status
from tests.factories import make_actor
from tests.uploads import MD5, make_batch, take_in
from uploads.filters import ref_digits, statuses_of
from uploads.models import BatchUpload
from uploads.pages import active_count
from uploads.snippets import new_upload
from uploads.states import State

LIST = "/uploads/"
LIVE = "/uploads/live/"
FRAGMENT = {"HX-Request": "true", "HX-Target": "drawer"}
# Session, person, memberships; the page, the counts, the running jobs; the two numbers in the sidebar.
LIST_QUERIES = 9
# Session, person, memberships; the upload; its place in the list (3); its job while it runs, or its log.
DRAWER_QUERIES = 8
ALL_STATES = [State.UPLOADING, State.FILE_UPLOADED, State.PROCESSING, State.SUCCESS, State.CORRUPTED, State.ERROR]
REF = "7d2f41c8-90b3-4f0e-8f0b-5a1de20c6e11"
OTHER = "7d2f99c8-90b3-4f0e-8f0b-5a1de20c6e11"


def get(client: Client, url: str = LIST, **headers: str) -> str:
    response = client.get(url, headers=headers)
    assert response.status_code == 200
    return response.content.decode()


def refs(html: str) -> list[str]:
    return re.findall(r'<a class="stretched mono"[^>]*>([^<]*)</a>', html)


def row(html: str, upload: BatchUpload) -> str:
    """The text of its row, cells separated by a bar."""
    found = re.search(rf'<tr role="row" id="upload-{upload.ref}".*?</tr>', html, re.DOTALL)
    assert found
    cells = re.findall(r"<td.*?</td>", found.group(), re.DOTALL)
    return "|".join(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", cell)).strip() for cell in cells)


def drawer(client: Client, upload: BatchUpload, query: str = "") -> str:
    response = client.get(f"{LIST}{upload.ref}/{query}", headers=FRAGMENT)
    assert response.status_code == 200
    return response.content.decode()


def text(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html)).replace("&#x27;", "'").replace("&quot;", '"')


def link(html: str, rel: str) -> str:
    found = re.search(rf'<a class="btn" data-size="s" href="([^"]*)"[^>]* rel="{rel}"', html)
    return found.group(1).replace("&amp;", "&") if found else ""


class TestList:
    @pytest.mark.parametrize("times", [1, 8])
    def test_queries_do_not_grow(self, times: int, marta: Client, marketer: Actor, django_assert_num_queries: Any):
        for state in ALL_STATES * times:
            make_batch(marketer.account, state)
        with django_assert_num_queries(LIST_QUERIES):
            get(marta)

    def test_states_as_they_are_shown(self, marta: Client, marketer: Actor):
        uploads = {state: make_batch(marketer.account, state) for state in ALL_STATES}
        late = make_batch(marketer.account, late=True)
        html = get(marta)
        size = "5.3 MB"
        for state, cells in {
            State.UPLOADING: f"Uploading|–|–|–|{size}",
            State.FILE_UPLOADED: f"File uploaded|–|–|–|{size}",
            State.SUCCESS: f"Success|9,964|0|21,877|{size}",
            State.CORRUPTED: f"Corrupted|–|–|–|{size}",
            State.ERROR: f"Error|10,000|36|21,877|{size}",
        }.items():
            assert row(html, uploads[state]).startswith(f"{uploads[state].ref}|{cells}|"), state
        assert re.search(r"\|Processing .*\|9,964\|0\|–\|", row(html, uploads[State.PROCESSING]))
        assert 'value="21" max="100"' in html
        assert row(html, late).startswith(f"{late.ref}|Location expired|–|–|–|")

    def test_records_while_running_are_those_of_the_ledger(self, marta: Client, marketer: Actor):
        upload = make_batch(marketer.account, State.PROCESSING, valid=2086, invalid=14)
        assert "|2,100|14|–|" in row(get(marta), upload)

    def test_only_the_accounts_own_of_the_last_30_days(self, marta: Client, marketer: Actor):
        mine = make_batch(marketer.account, age=dt.timedelta(days=29, hours=23), late=True)
        make_batch(marketer.account, State.SUCCESS, age=dt.timedelta(days=30, minutes=1))
        make_batch(make_actor().account, State.SUCCESS)
        assert refs(get(marta)) == [str(mine.ref)]

    def test_last_modified_comes_first(self, marta: Client, marketer: Actor):
        """A job's end is a change of its upload."""
        old = make_batch(marketer.account, State.SUCCESS, age=dt.timedelta(hours=3), seconds=3 * 3600 - 1)
        new = make_batch(marketer.account, age=dt.timedelta(minutes=10))
        html = get(marta)
        assert refs(html) == [str(old.ref), str(new.ref)]
        assert 'aria-sort="descending"' in html
        assert refs(get(marta, f"{LIST}?sort=modified")) == [str(new.ref), str(old.ref)]

    def test_pages_and_a_new_sort_shows_the_first(self, marta: Client, marketer: Actor):
        for n in range(60):
            make_batch(marketer.account, State.CORRUPTED, age=dt.timedelta(minutes=n))
        seen, url = [], f"{LIST}?status=corrupted"
        for _page in range(3):
            html = get(marta, url)
            seen += refs(html)
            header = re.search(r'aria-sort="descending"><a href="([^"]*)"', html)
            assert header
            assert header.group(1) == "/uploads/?status=corrupted&amp;sort=modified"
            url = link(html, "next")
        assert url == ""
        assert len(seen) == len(set(seen)) == 60
        assert refs(get(marta, link(html, "prev"))) == seen[25:50]
        assert refs(get(marta, f"{LIST}?sort=modified"))[0] == seen[-1]

    def test_statuses_have_counts_and_chips(self, marta: Client, marketer: Actor):
        for state in (*ALL_STATES, State.SUCCESS):
            make_batch(marketer.account, state)
        make_batch(marketer.account, late=True)
        html = get(marta, f"{LIST}?status=success&status=error")
        assert len(refs(html)) == 3
        assert "3 of 3 uploads, last modified first" in html
        for value, count in {"success": 2, "uploading": 1, "location_expired": 1, "error": 1}.items():
            assert f'<span class="n" id="count-{value}">{count}</span>' in html
        assert 'href="/uploads/?status=error" aria-label="Remove the filter Status: Success"' in html
        assert len(refs(get(marta, f"{LIST}?status=location_expired"))) == 1

    def test_empty_account_is_taught(self, marta: Client, marketer: Actor):
        html = get(marta)
        assert "No program has pushed a batch" in html
        assert "REF=$(uuidgen)" in text(html)
        assert "/settings/api-keys/" not in html.partition("<main")[2]
        manager = Client()
        manager.force_login(make_actor(marketer.account, Role.MANAGER).user)  # type: ignore[arg-type]
        assert "API keys</a>" in get(manager).partition("<main")[2]

    @pytest.mark.parametrize(
        "query", ["after=x", "before=%00", "sort=drop+table", "status=nonsense", "q=%00", "q=" + "x" * 5000]
    )
    def test_what_makes_no_sense_is_left_out(self, query: str, marta: Client, marketer: Actor):
        upload = make_batch(marketer.account)
        assert refs(get(marta, f"{LIST}?{query}")) == [str(upload.ref)]

    def test_htmx_gets_the_results_alone(self, marta: Client, marketer: Actor):
        make_batch(marketer.account)
        fragment = get(marta, LIST, **{"HX-Request": "true", "HX-Target": "results"})
        assert "<!doctype" not in fragment
        assert 'id="count-uploading" hx-swap-oob="true"' in fragment

    def test_what_a_client_sends_is_escaped(self, marta: Client, marketer: Actor):
        upload = make_batch(marketer.account, State.CORRUPTED, client_name="<b>x</b>")
        assert "<b>x" not in get(marta)
        assert "<b>x" not in drawer(marta, upload)
        assert "<script>alert" not in get(marta, f"{LIST}?q=<script>alert(1)</script>")

    def test_count_in_the_sidebar(self, marta: Client, marketer: Actor):
        for state in ALL_STATES:
            make_batch(marketer.account, state)
        make_batch(marketer.account, late=True)
        make_batch(make_actor().account)
        assert active_count(marketer.account) == 3
        assert re.search(r'id="nav-count-batch_upload_list"[^>]*><span aria-hidden="true">3</span>', get(marta))


class TestSearch:
    @pytest.mark.parametrize(
        "q", ["7D2F41", "7d2f41c8-90", "7d2f-41c8", f" {REF.upper()} ", f"{{{REF}}}", "7D2F41C890B3"]
    )
    def test_by_the_first_characters(self, q: str, marta: Client, marketer: Actor):
        make_batch(marketer.account, ref=REF)
        make_batch(marketer.account, ref=OTHER)
        assert refs(get(marta, f"{LIST}?q={q}")) == [REF]

    def test_a_beginning_finds_all_that_have_it(self, marta: Client, marketer: Actor):
        for ref in (REF, OTHER, "7d2e41c8-90b3-4f0e-8f0b-5a1de20c6e11"):
            make_batch(marketer.account, ref=ref)
        assert sorted(refs(get(marta, f"{LIST}?q=7d2f"))) == sorted([REF, OTHER])

    @pytest.mark.parametrize("q", ["hello", "7d2g", REF + "0", "%", "7d2f_41"])
    def test_what_is_no_uuid_gets_a_hint(self, q: str, marta: Client, marketer: Actor):
        make_batch(marketer.account, ref=REF)
        response = marta.get(LIST, {"q": q})
        assert response.status_code == 200
        assert "There is no such reference" in response.content.decode()
        assert refs(response.content.decode()) == []

    def test_nothing_begins_so(self, marta: Client, marketer: Actor):
        make_batch(marketer.account, ref=REF)
        assert "No reference begins with “ffff”" in get(marta, f"{LIST}?q=ffff")

    def test_by_a_word_of_the_status(self, marta: Client, marketer: Actor):
        uploads = {state: str(make_batch(marketer.account, state).ref) for state in ALL_STATES}
        assert refs(get(marta, f"{LIST}?q=Err")) == [uploads[State.ERROR]]
        assert refs(get(marta, f"{LIST}?q=file_uploaded")) == [uploads[State.FILE_UPLOADED]]
        found = refs(get(marta, f"{LIST}?q=upload"))
        assert sorted(found) == sorted([uploads[State.UPLOADING], uploads[State.FILE_UPLOADED]])

    def test_readings(self):
        assert ref_digits("urn:uuid:7D2F-41") == "7d2f41"
        assert ref_digits("--") == ref_digits("") == ref_digits("xyz") == ref_digits("²") == ""
        assert statuses_of("expired") == ["location_expired"]
        assert statuses_of("  ") == statuses_of("cess") == []


class TestDrawer:
    def test_one_url_is_page_and_fragment(self, marta: Client, marketer: Actor):
        upload = make_batch(marketer.account)
        page = get(marta, f"{LIST}{upload.ref}/")
        assert page.count('<dialog class="drawer"') == 1
        assert f'id="upload-{upload.ref}" data-live="{upload.ref}" aria-current="true"' in page
        assert "<!doctype" not in drawer(marta, upload)

    def test_upload_of_another_account_does_not_exist(self, marta: Client):
        upload = make_batch(make_actor().account, State.CORRUPTED)
        for path in ("", "log/"):
            assert marta.get(f"{LIST}{upload.ref}/{path}").status_code == 404

    def test_the_same_reference_in_two_accounts(self, marta: Client, marketer: Actor):
        make_batch(make_actor().account, State.SUCCESS, ref=REF)
        mine = make_batch(marketer.account, ref=REF)
        assert "Waiting for the file" in drawer(marta, mine)

    @pytest.mark.parametrize("state", ALL_STATES)
    def test_queries(self, state: State, marta: Client, marketer: Actor, django_assert_max_num_queries: Any):
        upload = make_batch(marketer.account, state)
        with django_assert_max_num_queries(DRAWER_QUERIES):
            drawer(marta, upload)

    def test_previous_and_next_follow_the_list(self, marta: Client, marketer: Actor):
        one, two, three = (make_batch(marketer.account, age=dt.timedelta(minutes=n)) for n in (1, 2, 3))
        html = drawer(marta, two)
        assert re.search(rf'href="/uploads/{one.ref}/"[^>]*aria-label="Previous upload"', html)
        assert re.search(rf'href="/uploads/{three.ref}/"[^>]*aria-label="Next upload"', html)
        assert 'data-back="/uploads/?status=uploading"' in drawer(marta, one, "?status=uploading&foo=1")

    @pytest.mark.parametrize(
        ("state", "facts", "says"),
        [
            (State.UPLOADING, {}, ["Waiting for the file", f"5,347,113 bytes with the MD5 {MD5}", "location is good"]),
            (State.UPLOADING, {"late": True}, ["Location expired", "repeat the declaration", "a new reference"]),
            (State.FILE_UPLOADED, {}, ["waits to be processed", "File received at"]),
            (State.PROCESSING, {"valid": 2086, "invalid": 14}, ["21%", "2,100 records read", "2,086", "Running for"]),
            (State.SUCCESS, {"valid": 10_000}, ["All 10,000 records were processed", "21,877"]),
            (State.SUCCESS, {"valid": 1}, ["The one record was processed"]),
            (State.ERROR, {}, ["36 of 10,000 records were not processed", "The other 9,964 were", "Download log"]),
            (State.ERROR, {"valid": 0, "invalid": 1}, ["The one record was not processed"]),
            (State.ERROR, {"failure_code": "FILE_EMPTY"}, ["The file is empty", "Total count 0", "FILE_EMPTY"]),
            (State.ERROR, {"failure_code": "UNHEARD_OF"}, ["UNHEARD_OF"]),
            (State.CORRUPTED, {}, ["another size", "Declared 5,347,113 bytes", "Received 5,346,996 bytes"]),
            (
                State.CORRUPTED,
                {"fault": "SIZE_EXCEEDED", "fault_params": {"declared": 9}},
                ["larger", "Declared 9 bytes", "Received more bytes"],
            ),
            (
                State.CORRUPTED,
                {"fault": "CHECKSUM_MISMATCH", "fault_params": {"declared": MD5, "received": "ab" * 16}},
                ["another MD5", f"Declared {MD5}", f"Received {'ab' * 16}"],
            ),
        ],
    )
    def test_what_it_says(
        self, state: State, facts: dict[str, Any], says: list[str], marta: Client, marketer: Actor
    ) -> None:
        upload = make_batch(marketer.account, state, **facts)
        said = text(drawer(marta, upload))
        for part in (*says, "Shop back end", MD5):
            assert part in said, said

    def test_a_batch_that_was_stopped(self, marta: Client, marketer: Actor):
        upload = make_batch(marketer.account, State.ERROR)
        BatchJob.objects.filter(pk=upload.job_id).update(status=Status.CANCELED, outcome=Status.CANCELED)
        assert "9,964 records were processed and stay in" in text(drawer(marta, upload))

    def test_first_lines_of_the_log(self, marta: Client, marketer: Actor):
        said = text(drawer(marta, make_batch(marketer.account, State.ERROR)))
        assert "218 400 Guest without identity information: give an e-mail or an identifier. 3f0a7c11…91cd" in said
        assert "220 402 mode must be insert, create, upsert, merge, delete or gdpr_delete." in said
        assert "222 400" in said
        assert "223 40" not in said
        assert "5 of 36." in said

    def test_times_are_in_the_persons_zone_with_milliseconds(self, marta: Client, marketer: Actor):
        upload = make_batch(marketer.account, State.CORRUPTED)
        at = dt.datetime(2026, 1, 1, 22, 3, 30, 902_400, dt.UTC)
        BatchUpload.objects.filter(pk=upload.pk).update(created_at=at)
        assert marketer.user is not None
        marketer.user.time_zone = "Asia/Tokyo"
        marketer.user.save()
        assert "2 January 2026, 07:03:30.902 JST" in drawer(marta, upload)

    def test_lines_that_send_it_hold_no_secret(self, marta: Client, marketer: Actor):
        said = text(drawer(marta, make_batch(marketer.account, ref=REF)))
        assert f"/v2/batches/{REF}" in said
        assert "Content-Md5: nhB9nTcrtoJr2B01QqQZ1g==" in said
        assert "$CLIENT_KEY:$API_TOKEN" in said
        assert "$LOCATION" in said

    def test_no_state_is_live_for_ever(self, marta: Client, marketer: Actor):
        for state in ALL_STATES:
            live = "data-live=" in drawer(marta, make_batch(marketer.account, state))
            assert live == (state in {State.UPLOADING, State.FILE_UPLOADED, State.PROCESSING})
        assert "data-live=" not in drawer(marta, make_batch(marketer.account, late=True))


def test_lines_of_the_shell_run() -> None:
    assert '-d "{\\"checksum\\": \\"$MD5\\", \\"size\\": $SIZE}"' in new_upload()


class TestLive:
    def test_rows_and_drawer_are_swapped_out_of_band(self, marta: Client, marketer: Actor):
        upload = make_batch(marketer.account, State.PROCESSING)
        html = get(marta, f"{LIVE}?ref={upload.ref}&open={upload.ref}&query=%3Fstatus%3Dprocessing%26evil%3D1")
        for part in (f"upload-{upload.ref}", "upload-head", "upload-body", "live", "nav-count-batch_upload_list"):
            assert re.search(rf'id="{part}"[^>]* hx-swap-oob="true"', html), part
        assert f'href="/uploads/{upload.ref}/?status=processing"' in html
        assert "data-live-poll" in html

    def test_unchanged_is_304(self, marta: Client, marketer: Actor):
        upload = make_batch(marketer.account)
        first = marta.get(LIVE, {"ref": upload.ref, "open": upload.ref})
        ask = {"If-None-Match": first["ETag"]}
        again = marta.get(LIVE, {"ref": upload.ref, "open": upload.ref}, headers=ask)
        assert (again.status_code, again.content) == (304, b"")
        take_in(upload, State.FILE_UPLOADED)
        upload.save()
        changed = marta.get(LIVE, {"ref": upload.ref, "open": upload.ref}, headers=ask)
        assert changed.status_code == 200
        assert "File uploaded" in changed.content.decode()

    def test_a_chunk_and_a_location_that_runs_out_are_changes(self, marta: Client, marketer: Actor):
        running, waiting = make_batch(marketer.account, State.PROCESSING), make_batch(marketer.account)
        asked = {"ref": [running.ref, waiting.ref]}
        tag = marta.get(LIVE, asked)["ETag"]
        assert running.job is not None
        Chunk.objects.create(
            job=running.job, n=1, lease_token=1, end_offset=1, end_line=1, valid=1, skipped=0, invalid=0
        )
        BatchJob.objects.filter(pk=running.job_id).update(next_chunk=2)
        after = marta.get(LIVE, asked, headers={"If-None-Match": tag})
        assert "9,965" in after.content.decode()
        BatchUpload.objects.filter(pk=waiting.pk).update(location_expires_at=waiting.created_at)
        late = marta.get(LIVE, asked, headers={"If-None-Match": after["ETag"]})
        assert "Location expired" in late.content.decode()

    def test_stops_when_nothing_is_awaited(self, marta: Client, marketer: Actor):
        upload = make_batch(marketer.account, State.SUCCESS)
        assert "data-live-poll" not in get(marta, f"{LIVE}?ref={upload.ref}")

    def test_others_are_not_shown(self, marta: Client):
        upload = make_batch(make_actor().account)
        assert str(upload.ref) not in get(marta, f"{LIVE}?ref={upload.ref}&open={upload.ref}")

    @pytest.mark.parametrize("query", ["ref=x&open=y", "ref=%00", "open=99999999999999999999999999", "ref=²"])
    def test_wrong_references_are_left_out(self, query: str, marta: Client):
        get(marta, f"{LIVE}?{query}")


class TestLog:
    def test_is_gzip_of_json_lines(self, marta: Client, marketer: Actor):
        upload = make_batch(marketer.account, State.ERROR, ref=REF)
        response = marta.get(f"{LIST}{REF}/log/")
        assert response["Content-Type"] == "application/gzip"
        assert "Content-Encoding" not in response
        assert f"{REF}-errors.json.gz" in response["Content-Disposition"]
        packed = b"".join(response.streaming_content)  # type: ignore[arg-type]
        lines = [json.loads(line) for line in gzip.decompress(packed).splitlines()]
        assert len(lines) == 36
        assert lines[0]["line"] == 218
        assert UUID(lines[0]["ref"])
        assert upload.job is not None

    def test_what_has_none_says_so(self, marta: Client, marketer: Actor):
        for state in (State.UPLOADING, State.PROCESSING, State.SUCCESS):
            upload = make_batch(marketer.account, state)
            response = marta.get(f"{LIST}{upload.ref}/log/")
            assert response.status_code == 404
            assert "There is no error log of this batch" in response.content.decode()
            assert "Download log" not in drawer(marta, upload)
