"""`/api/v1/batch-jobs` as programs use it, and what it answers to nonsense."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from accounts.models import Account
from accounts.permissions import Role
from audience.models import Database
from batchjobs.models import BatchJob
from batchjobs.states import Status
from tests.factories import make_account, make_user
from tests.rows import CONTENT, make_job, make_token

pytestmark = pytest.mark.django_db
URL = "/api/v1/batch-jobs"
FIELDS = {
    *("id", "name", "type", "source", "status", "total_rows", "valid_rows", "invalid_rows", "skipped_rows"),
    *("created_at", "started_at", "completed_at", "tags", "event_names", "progress", "rows_per_second"),
    *("failure", "links"),
}


class Program(Client):
    """A client that sends a key, and checks that every error is a problem."""

    def __init__(self, token: str) -> None:
        super().__init__(headers={"Authorization": f"Bearer {token}"})

    def request(self, **request: Any) -> Any:
        response = super().request(**request)
        assert response.status_code < 500, response.content
        if response.status_code >= 400 and request["REQUEST_METHOD"] != "HEAD":
            body = response.json()
            assert response.headers["Content-Type"] == "application/problem+json"
            assert {"type", "title", "status", "detail"} <= set(body)
            assert body["status"] == response.status_code
            assert body["detail"]
        return response

    def send(self, file_name: str = "events.csv", content: bytes = CONTENT, **extra: Any) -> Any:
        headers = extra.pop("headers", {})
        file = SimpleUploadedFile(file_name, content)
        return self.post(URL, {"file": file, "type": "event", **extra}, headers=headers)


@pytest.fixture
def account() -> Account:
    return make_account()


@pytest.fixture
def program(account: Account) -> Program:
    return Program(make_token(account, Role.MARKETER))


def test_a_file_becomes_a_job(program: Program, account: Account):
    answer = program.send(name="Autumn", tags="b, a", event_name="opened", options='{"delimiter": ";"}')
    assert answer.status_code == 201, answer.content
    job = answer.json()
    assert set(job) >= FIELDS
    assert answer.headers["Location"] == f"{URL}/{job['id']}" == job["links"]["self"]
    assert (job["status"], job["type"], job["source"], job["progress"]) == (
        "pending",
        "event",
        "new_file",
        0.0,
    )
    assert (job["tags"], job["event_names"], job["failure"]) == (["a", "b"], ["opened"], None)
    assert job["created_at"].endswith("Z")
    assert job["started_at"] is None
    stored = BatchJob.objects.for_account(account).get()
    assert stored.options == {"delimiter": ";"}
    assert stored.created_by_key
    assert stored.created_by is None
    assert program.get(job["links"]["self"]).json() == job
    source = program.get(job["links"]["source"])
    assert b"".join(source.streaming_content) == CONTENT


def test_the_same_request_again_is_the_same_job(program: Program):
    headers = {"Idempotency-Key": "upload-7"}
    first, again = program.send(headers=headers), program.send(headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json()["id"] == again.json()["id"]
    assert program.send(content=b"email,event_name\nx@y.example,z\n", headers=headers).status_code == 409
    for wrong in ("x" * 256, "caf\u00e9"):
        assert program.send(headers={"Idempotency-Key": wrong}).status_code == 422


@pytest.mark.parametrize(
    ("field", "extra"),
    [
        ("type", {"type": "nonsense"}),
        ("type", {"type": "event\0"}),
        ("name", {"name": "a\0b"}),
        ("name", {"name": "x" * 201}),
        ("event_name", {"event_name": "x" * 121}),
        ("event_name", {"event_name": "a\0"}),
        ("database", {"database": "nowhere"}),
        ("options", {"options": "{"}),
        ("options", {"options": "[1]"}),
        ("options", {"options": '{"a": "\\u0000"}'}),
        ("options", {"options": '{"a": "\\ud800"}'}),
        ("options", {"options": '{"a": NaN}'}),
        ("tags", {"tags": "a\0"}),
        ("dry_run", {"dry_run": "perhaps"}),
    ],
)
def test_a_bad_field_is_named(program: Program, account: Account, field: str, extra: dict[str, str]):
    answer = program.send(**extra)
    assert answer.status_code == 422
    assert field in {error["field"] for error in answer.json()["errors"]}
    assert not BatchJob.objects.for_account(account).exists()


def test_what_is_missing_is_named(program: Program):
    assert program.post(URL, {"file": SimpleUploadedFile("e.csv", CONTENT)}).json()["errors"][0]["field"] == "type"
    assert program.post(URL, {"type": "event"}).json()["errors"][0]["field"] == "file"
    assert program.post(URL, {"type": "event", "file": "not a file"}).status_code == 422
    assert program.send(file_name="photo.png").status_code == 422


def test_a_name_is_used_once(program: Program):
    data = {"type": "event", "name": "Autumn"}
    answers = [program.post(URL, {**data, "file": SimpleUploadedFile("e.csv", CONTENT)}) for _n in range(2)]
    assert [answer.status_code for answer in answers] == [201, 422]
    assert answers[1].json()["errors"][0]["field"] == "name"


def test_another_accounts_database_is_not_there(program: Program):
    theirs = Database.objects.create(account=make_account(), name="Theirs", slug="theirs")
    assert program.send(database=theirs.slug).status_code == 422


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", "multipart/form-data"),
        (b"", "multipart/form-data; boundary=x"),
        (b"--x\r\nnonsense", "multipart/form-data; boundary=x"),
        (
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\nab',
            "multipart/form-data; boundary=x",
        ),
        (b"\xff\xfe", "multipart/form-data; boundary=" + "x" * 300),
        (b"{}", "application/json"),
        (b"\x00", "text/plain"),
        (b"a=" + b"&a=" * 1001, "application/x-www-form-urlencoded"),
        (b"a=" + b"x" * 3_000_000, "application/x-www-form-urlencoded"),
        (b"type=event", "application/x-www-form-urlencoded; charset=nonsense"),
    ],
)
def test_bodies_that_cannot_be_read(program: Program, body: bytes, content_type: str):
    assert program.generic("POST", URL, body, content_type).status_code in (400, 413, 422)


def test_a_body_beyond_the_limit_is_not_read(program: Program, settings: Any):
    settings.UPLOAD_MAX_BYTES = 10
    assert program.send(content=b"x" * 2_000_000).status_code == 413
    assert program.send().status_code == 413


@pytest.mark.parametrize(
    "path",
    [
        f"{URL}/{2**63}",
        f"{URL}/{'9' * 30}",
        f"{URL}/{'9' * 5000}",
        f"{URL}/-1",
        f"{URL}/abc",
        f"{URL}/1%00",
        f"{URL}/",
        f"{URL}/999/error-log",
        f"{URL}/999/nonsense",
        "/api/",
        "/api/v1",
        "/api/v2/batch-jobs",
        "/api/%ff%fe",
    ],
)
def test_addresses_that_lead_nowhere(program: Program, path: str):
    for method in ("GET", "POST", "OPTIONS"):
        assert program.generic(method, path).status_code in (404, 405)


def test_methods_that_do_not_exist(program: Program, account: Account):
    job = make_job(account)
    for method, path in (
        ("PUT", URL),
        ("DELETE", f"{URL}/{job.pk}"),
        ("GET", f"{URL}/{job.pk}/cancel"),
        ("BREW", URL),
    ):
        answer = program.generic(method, path)
        assert answer.status_code == 405
        assert answer.headers["Allow"]


@pytest.mark.parametrize(
    "query",
    [
        *(
            "status=nonsense",
            "type=nonsense",
            "sort=id",
            "limit=0",
            "limit=201",
            "limit=x",
            f"limit={'9' * 5000}",
        ),
        *(
            "q=a%00",
            f"q={'x' * 201}",
            "cursor=nonsense",
            "cursor=%00",
            f"cursor={'A' * 2001}",
            "status=done,nonsense",
        ),
        "cursor=WyJuYW1lIiwiYSIsMV0",  # of another sort
        "cursor=WyItY3JlYXRlZF9hdCIsIngiLDFd",  # no moment in it
    ],
)
def test_queries_that_make_no_sense(program: Program, query: str):
    assert program.get(f"{URL}?{query}").status_code in (400, 422)


def test_odd_but_harmless_queries(program: Program):
    for query in ("q=%ff", "q=%25_", "status=", "type=", "cursor=", "unknown=1", "q=' OR 1=1 --"):
        assert program.get(f"{URL}?{query}").status_code == 200


@pytest.mark.parametrize("sort", ["created_at", "-created_at", "name", "-name"])
def test_pages_hold_every_job_once(program: Program, account: Account, sort: str):
    jobs = [make_job(account, name=f"Job {letter} {n}") for n, letter in enumerate("bAcDaB")]
    make_job(make_account())
    found, cursor = [], ""
    while cursor is not None:
        page = program.get(URL, {"sort": sort, "limit": 2, "cursor": cursor}).json()
        found += [item["id"] for item in page["items"]]
        cursor = page["next"]
        assert len(page["items"]) <= 2
    key = (lambda job: (job.name.lower(), job.pk)) if "name" in sort else (lambda job: (job.created_at, job.pk))
    assert found == [job.pk for job in sorted(jobs, key=key, reverse=sort.startswith("-"))]


def test_filters(program: Program, account: Account):
    pending, done, failed = (make_job(account, status) for status in (Status.PENDING, Status.DONE, Status.FAILED))

    def ids(query: str) -> set[int]:
        return {item["id"] for item in program.get(f"{URL}?{query}").json()["items"]}

    assert ids("status=done&status=failed") == ids("status=done,failed") == {done.pk, failed.pk}
    assert ids(f"q={pending.name.upper().replace(' ', '%20')}") == {pending.pk}
    assert ids("type=event") == {pending.pk, done.pk, failed.pk}
    assert ids("q=nothing") == set()


def test_more_filters(program: Program, account: Account):
    tom = make_user(account, email="tom@example.com")
    stranger = make_user(make_account(), email="stranger@example.com")
    toms = make_job(account, created_by=tom, tags=["loyalty"], event_names=["purchase"])
    other = make_job(account, tags=["disloyalty"], event_name="purchase", record_type="optout")
    BatchJob.objects.filter(pk=toms.pk).update(created_at="2026-03-01T23:59:59Z")
    BatchJob.objects.filter(pk=other.pk).update(created_at="2026-03-03T00:00:00Z")
    assert toms.file

    def ids(query: str) -> set[int]:
        answer = program.get(f"{URL}?{query}")
        assert answer.status_code == 200, answer.content
        return {item["id"] for item in answer.json()["items"]}

    assert ids("user=Tom@Example.com") == {toms.pk}
    assert ids(f"user={stranger.email}") == ids("user=nobody@example.com") == set()
    assert ids("tag=loyalty") == {toms.pk}
    assert ids("event_name=purchase") == {toms.pk, other.pk}
    assert ids(f"file_name={toms.file.name.upper()}") == {toms.pk}
    assert ids("type=optout") == {other.pk}
    assert ids("created_from=2026-03-01&created_to=2026-03-01") == {toms.pk}
    assert ids("created_from=2026-03-02&created_to=2026-03-03") == {other.pk}
    assert ids("created_to=2026-03-01T23:59:58Z") == set()
    assert ids("created_to=2026-03-02T00:59:59%2B01:00") == {toms.pk}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("user", "tom"),
        ("user", "a@%00"),
        ("tag", "x" * 41),
        ("event_name", "a%00"),
        ("file_name", "x" * 256),
        ("created_from", "yesterday"),
        ("created_from", "2026-02-30"),
        ("created_to", "2026-03-01T10:00:00"),
        ("created_to", "9999-12-31"),
        ("created_from", "0001-01-01T00:00:00%2B14:00"),
        ("type", "nonsense"),
    ],
)
def test_a_filter_that_makes_no_sense_is_named(program: Program, field: str, value: str):
    answer = program.get(f"{URL}?{field}={value}")
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_what_the_product_runs_for_itself_is_not_there(program: Program, account: Account):
    hidden = make_job(account, kind="retention")
    assert program.get(URL).json()["items"] == []
    for method, path in (("GET", ""), ("POST", "/cancel"), ("GET", "/source"), ("GET", "/error-log")):
        assert program.generic(method, f"{URL}/{hidden.pk}{path}").status_code == 404


def test_lists_ask_the_database_the_same_for_many(program: Program, account: Account, django_assert_max_num_queries):
    for _n in range(8):
        make_job(account, Status.DONE)
    program.get(URL)
    with django_assert_max_num_queries(3):
        assert len(program.get(URL).json()["items"]) == 8


def test_canceling(program: Program, account: Account):
    job = make_job(account)
    answer = program.post(f"{URL}/{job.pk}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
    assert "cancel" not in answer.json()["links"]
    assert program.post(f"{URL}/{job.pk}/cancel").status_code == 409


def test_ended_jobs(program: Program, account: Account):
    done = program.get(f"{URL}/{make_job(account, Status.DONE).pk}").json()
    assert (done["total_rows"], done["valid_rows"], done["skipped_rows"], done["invalid_rows"]) == (
        5,
        3,
        1,
        1,
    )
    assert (done["progress"], done["rows_per_second"]) == (1.0, 0.5)
    failed = program.get(f"{URL}/{make_job(account, Status.FAILED).pk}").json()
    assert failed["failure"]["code"] == "FILE_EMPTY"
    assert failed["failure"]["message"].startswith("The file is empty. It holds no bytes")
    odd = program.get(f"{URL}/{make_job(account, Status.FAILED, failure_code='OF_ANOTHER_VERSION').pk}").json()
    assert odd["failure"]["code"] == "OF_ANOTHER_VERSION"


def test_running_jobs_show_what_is_committed(program: Program, account: Account):
    job = make_job(account, Status.IN_PROGRESS, next_offset=len(CONTENT) // 2)
    empty = program.get(f"{URL}/{job.pk}").json()
    assert (empty["total_rows"], empty["progress"]) == (0, 0.5)
    facts = {"lease_token": 1, "end_offset": 9, "end_line": 9}
    for n in range(2):
        job.chunks.create(n=n, valid=10, skipped=2, invalid=1, **facts)
    live = program.get(f"{URL}/{job.pk}").json()
    assert (live["total_rows"], live["valid_rows"], live["completed_at"]) == (26, 20, None)
    assert 1.0 < live["rows_per_second"] < 2.7


def test_logs_are_there_for_ended_jobs(program: Program, account: Account):
    job = make_job(account, Status.DONE)
    log = program.get(f"{URL}/{job.pk}/error-log")
    assert (log.status_code, b"".join(log.streaming_content)) == (200, b"")
    rows = program.get(f"{URL}/{job.pk}/rejected-rows?formula_safe=true")
    assert rows.status_code == 200
    assert b"_error_code" in b"".join(rows.streaming_content)
    assert program.get(f"{URL}/{job.pk}/rejected-rows?formula_safe=perhaps").status_code == 422


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Bearer x", "Basic eDp5", "Bearer bd_live_\x80", "bearer " + "x" * 5000]
)
def test_calls_without_a_sound_key(value: str):
    answer = Client().get(URL, headers={"Authorization": value})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json()["title"] == "Unauthorized"


def test_a_crash_is_a_problem_too(program: Program, account: Account, monkeypatch: pytest.MonkeyPatch, caplog: Any):
    def crash(*_args: Any, **_kw: Any) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr("batchjobs.services.batchjob_cancel", crash)
    job = make_job(account)
    answer = Client.request(program, REQUEST_METHOD="POST", PATH_INFO=f"{URL}/{job.pk}/cancel")
    assert answer.status_code == 500
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert b"secret" not in answer.content
    assert "a secret detail" in caplog.text


def test_the_document_and_its_page_are_public():
    schema = Client().get("/api/v1/openapi.json").json()
    paths = schema["paths"]
    assert set(paths) >= {URL, f"{URL}/{{job_id}}", f"{URL}/{{job_id}}/cancel", "/api/v1/profiles"}
    assert schema["components"]["securitySchemes"]
    form = json.dumps(paths[URL]["post"]["requestBody"])
    assert "multipart/form-data" in form
    page = Client().get("/api/v1/docs")
    text = page.content.decode()
    assert page.status_code == 200
    assert "POST /api/v1/batch-jobs" in text
    assert "Idempotency-Key" in text
    assert "style=" not in text
    assert "onclick" not in text
    assert "unsafe" not in page.headers["Content-Security-Policy"]
