"""Resumable uploads as programs use them: the protocol, what is refused, cuts, and what becomes of the file."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import io
import os
import random
import socket
import struct
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connections
from django.test import Client
from django.utils import timezone
from pytest_django.live_server_helper import LiveServer
from tusclient.client import TusClient

from accounts.actors import Actor
from accounts.models import Account
from accounts.permissions import Role
from batchjobs import kernel, resumable
from batchjobs.files import open_file
from batchjobs.models import BatchJob, FilePart, SourceFile
from batchjobs.services import JobRefusedError, batchjob_create
from tests.chaos import until
from tests.factories import make_account, make_actor, make_user
from tests.integration.test_api_jobs import Program
from tests.rows import CONTENT, make_token
from tests.web import web

URL = "/api/v1/uploads"
TUS = {"Tus-Resumable": "1.0.0"}
BYTES = "application/offset+octet-stream"


def metadata(**texts: str) -> str:
    return ",".join(f"{key} {base64.b64encode(text.encode()).decode()}" for key, text in texts.items())


def rows(count: int, seed: int = 1) -> bytes:
    """A CSV file of events that reads the same each time."""
    rnd = random.Random(seed)
    lines = (f"person{rnd.randrange(9999)}@example.com,opened,2026-11-21T10:00:00Z,e-{n}" for n in range(count))
    return b"email,event_name,event_time,partner_event_id\n" + "\n".join(lines).encode() + b"\n"


def begin(client: Client, size: int, name: str = "sales.csv", url: str = URL, **headers: str) -> Any:
    about = metadata(filename=name, mark=f"{size}-17")
    sent = {"Upload-Length": str(size), "Upload-Metadata": about, **TUS, **headers}
    return client.post(url, headers={key: value for key, value in sent.items() if value})


def patch(client: Client, url: str, offset: int, data: bytes, content_type: str = BYTES, **headers: str) -> Any:
    return client.patch(url, data, content_type=content_type, headers={**TUS, "Upload-Offset": str(offset), **headers})


def head(client: Client, url: str) -> Any:
    return client.head(url, headers=TUS)


def upload_at(url: str) -> SourceFile:
    return SourceFile.objects.get(upload_id=url.rstrip("/").rpartition("/")[2])


def content_of(file: SourceFile) -> bytes:
    with open_file(file) as content:
        return content.read()


def stored_sources(account: Account) -> set[str]:
    try:
        return {f"sources/{account.pk}/{name}" for name in default_storage.listdir(f"sources/{account.pk}")[1]}
    except FileNotFoundError:
        return set()


@pytest.fixture(autouse=True)
def small_parts(settings: Any) -> None:
    settings.UPLOAD_PART_BYTES = 1000


@pytest.fixture
def account(db: None) -> Account:
    return make_account()


@pytest.fixture
def program(account: Account) -> Program:
    return Program(make_token(account, Role.MARKETER))


def test_says_what_it_can(program: Program, settings: Any) -> None:
    settings.UPLOAD_MAX_BYTES = 7000
    answer = program.options(URL)
    assert answer.status_code == 204
    assert answer["Tus-Version"] == "1.0.0"
    assert answer["Tus-Extension"] == "creation,termination,expiration"
    assert answer["Tus-Max-Size"] == "7000"


def test_a_file_in_pieces(program: Program, account: Account) -> None:
    data = rows(60)
    answer = begin(program, len(data))
    assert (answer.status_code, answer["Tus-Resumable"]) == (201, "1.0.0")
    url = answer["Location"]
    assert url.startswith(f"{URL}/")
    assert "GMT" in answer["Upload-Expires"]
    first = patch(program, url, 0, data[:1500])
    assert (first.status_code, first["Upload-Offset"]) == (204, "1500")
    state = head(program, url)
    assert (state.status_code, state["Upload-Offset"], state["Upload-Length"]) == (200, "1500", str(len(data)))
    assert state["Cache-Control"] == "no-store"
    assert patch(program, url, 1500, data[1500:]).status_code == 204
    file = upload_at(url)
    assert (file.account, file.name, file.client_mark) == (account, "sales.csv", f"{len(data)}-17")
    assert content_of(file) == data
    sizes = list(file.parts.order_by("start").values_list("size", flat=True))
    assert max(sizes) <= 1000
    assert len(sizes) == len(stored_sources(account))


def test_an_empty_file_is_whole_at_once(program: Program) -> None:
    url = begin(program, 0)["Location"]
    assert head(program, url)["Upload-Offset"] == "0"
    file = upload_at(url)
    assert file.is_complete
    assert content_of(file) == b""
    assert program.post("/api/v1/batch-jobs", {"type": "event", "upload": str(file.upload_id)}).status_code == 201


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Tus-Resumable": "0.2.2"}, 412),
        ({"Tus-Resumable": ""}, 412),
        ({"Upload-Length": ""}, 400),
        ({"Upload-Length": "-1"}, 400),
        ({"Upload-Length": "1e3"}, 400),
        ({"Upload-Length": "9" * 30}, 400),
        ({"Upload-Length": "5000001"}, 413),
        ({"Upload-Defer-Length": "1"}, 400),
        ({"Upload-Metadata": ""}, 400),
        ({"Upload-Metadata": "filename ***"}, 400),
        ({"Upload-Metadata": "filename /w=="}, 400),
        ({"Upload-Metadata": metadata(filename="photo.png")}, 422),
        ({"Upload-Metadata": metadata(filename="a\0.csv")}, 422),
    ],
)
def test_what_cannot_begin(program: Program, settings: Any, headers: dict[str, str], status: int) -> None:
    settings.UPLOAD_MAX_BYTES = 5_000_000
    answer = begin(program, 10, **headers)
    assert (answer.status_code, answer["Tus-Resumable"]) == (status, "1.0.0")
    if status == 412:
        assert answer["Tus-Version"] == "1.0.0"
    if "photo" in answer.json()["detail"]:
        assert answer.json()["errors"][0]["message"].endswith(".jsonl.gz, .zip.")
    assert not SourceFile.objects.exists()


@pytest.mark.parametrize("name", ["a.csv", "a.NDJSON", "a.jsonl.gz", "a.tsv.GZ", "a.json", "a.zip", "C:\\x\\a.txt"])
def test_kinds_of_files(program: Program, name: str) -> None:
    assert begin(program, 10, name).status_code == 201


def test_what_cannot_go_on(program: Program, account: Account) -> None:
    url = begin(program, 100)["Location"]
    assert patch(program, url, 0, b"x" * 40).status_code == 204
    assert patch(program, url, 0, b"x" * 40).status_code == 409
    assert patch(program, url, 50, b"x" * 10).status_code == 409
    assert patch(program, url, 40, b"x" * 61).status_code == 413
    assert patch(program, url, 40, b"x", content_type="text/plain").status_code == 415
    assert patch(program, url, 40, b"x", **{"Tus-Resumable": "2.0.0"}).status_code == 412
    assert patch(program, url, 40, b"x", **{"Upload-Offset": "x"}).status_code == 400
    without_length = program.patch(url, headers={**TUS, "Upload-Offset": "40", "Content-Type": BYTES})
    assert without_length.status_code == 411
    assert head(program, url)["Upload-Offset"] == "40"
    assert len(stored_sources(account)) == 1
    assert program.get(url, headers=TUS).status_code == 405
    assert patch(program, f"{URL}/{uuid4()}", 0, b"x").status_code == 404
    assert head(program, f"{URL}/{uuid4()}").status_code == 404


def test_discarding_takes_the_bytes(program: Program, account: Account) -> None:
    url = begin(program, 5000)["Location"]
    patch(program, url, 0, b"x" * 2500)
    assert len(stored_sources(account)) == 3
    assert program.delete(url, headers=TUS).status_code == 204
    assert stored_sources(account) == set()
    assert not FilePart.objects.exists()
    assert head(program, url).status_code == 404


def test_of_another_account_is_not_there(program: Program) -> None:
    url = begin(program, 10)["Location"]
    other = Program(make_token(make_account()))
    assert head(other, url).status_code == 404
    assert patch(other, url, 0, b"x").status_code == 404
    assert other.delete(url, headers=TUS).status_code == 404
    job = {"type": "event", "upload": url.rpartition("/")[2]}
    assert other.post("/api/v1/batch-jobs", job).json()["errors"][0]["field"] == "upload"
    assert head(program, url).status_code == 200


def test_a_person_goes_on_with_their_own(account: Account) -> None:
    mine, colleague = Client(), Client()
    mine.force_login(make_user(account))
    colleague.force_login(make_user(account))
    url = begin(mine, 10, url="/batch-jobs/uploads/")["Location"]
    assert url.startswith("/batch-jobs/uploads/")
    assert patch(colleague, url, 0, b"x").status_code == 404
    assert colleague.post(f"{url}discard/").status_code == 404
    assert patch(mine, url, 0, b"x" * 10).status_code == 204
    assert mine.post(f"{url}discard/")["Location"] == "/batch-jobs/new/"
    assert head(mine, url).status_code == 404


def test_a_session_needs_the_token_of_the_page(account: Account) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user(account))
    assert begin(client, 10, url="/batch-jobs/uploads/").status_code == 403


# An upload becomes a job.


def finished(program: Program, data: bytes = CONTENT, name: str = "sales.csv") -> SourceFile:
    url = begin(program, len(data), name)["Location"]
    patch(program, url, 0, data)
    return upload_at(url)


def test_an_upload_becomes_a_job_once(program: Program) -> None:
    file = finished(program)
    fields = {"type": "event", "name": "Sales", "upload": str(file.upload_id)}
    answer = program.post("/api/v1/batch-jobs", fields)
    assert answer.status_code == 201, answer.content
    job = BatchJob.objects.get()
    assert (job.file, answer.json()["file"]["name"]) == (file, "sales.csv")
    assert b"".join(program.get(answer.json()["links"]["source"]).streaming_content) == CONTENT
    again = program.post("/api/v1/batch-jobs", {**fields, "name": "Again"})
    assert (again.status_code, "used for a job already" in again.json()["detail"]) == (422, True)
    url = f"{URL}/{file.upload_id}"
    assert program.delete(url, headers=TUS).status_code == 410
    with pytest.raises(JobRefusedError):
        resumable.upload_discard(upload=file, by=make_actor())
    assert content_of(file) == CONTENT


def test_the_same_request_with_an_upload_is_the_same_job(program: Program) -> None:
    first, second = finished(program), finished(program)
    headers = {"Idempotency-Key": "sales-1"}
    send = lambda file: program.post(  # noqa: E731
        "/api/v1/batch-jobs", {"type": "event", "upload": str(file.upload_id)}, headers=headers
    )
    assert send(first).json()["id"] == send(first).json()["id"]
    assert send(second).status_code == 409
    assert BatchJob.objects.count() == 1


def test_what_is_no_file_for_a_job(program: Program) -> None:
    partly = begin(program, 100)["Location"].rpartition("/")[2]
    both = SimpleUploadedFile("e.csv", CONTENT)
    for fields, says in (
        ({"upload": partly}, "has not arrived completely"),
        ({"upload": str(uuid4())}, "no longer there"),
        ({"upload": "nonsense"}, ""),
        ({"upload": str(finished(program).upload_id), "file": both}, "one of them"),
        ({}, "one of them"),
    ):
        answer = program.post("/api/v1/batch-jobs", {"type": "event", **fields})
        assert answer.status_code == 422
        assert says in answer.json()["detail"]
    assert not BatchJob.objects.exists()


def test_a_name_that_is_taken_leaves_the_upload(program: Program, account: Account) -> None:
    file, other = finished(program), finished(program)
    fields = {"type": "event", "name": "Sales"}
    assert program.post("/api/v1/batch-jobs", {**fields, "upload": str(file.upload_id)}).status_code == 201
    assert program.post("/api/v1/batch-jobs", {**fields, "upload": str(other.upload_id)}).status_code == 422
    assert content_of(other) == CONTENT
    assert program.post("/api/v1/batch-jobs", {"type": "event", "upload": str(other.upload_id)}).status_code == 201


# Time and crashes.


def test_sweep_removes_what_nobody_went_on_with(program: Program, account: Account, settings: Any) -> None:
    settings.UPLOAD_KEPT_HOURS = 48
    partly, whole, used = begin(program, 5000)["Location"], finished(program), finished(program)
    patch(program, partly, 0, b"x" * 1500)
    program.post("/api/v1/batch-jobs", {"type": "event", "upload": str(used.upload_id)})
    now = timezone.now()
    hours = lambda n: now + dt.timedelta(hours=n)  # noqa: E731
    assert resumable.uploads_sweep(now=hours(47))["uploads"] == 0
    by = Actor(account=account, role=Role.MARKETER)
    assert set(resumable.uploads_open(by=by, now=hours(47))) == {upload_at(partly), whole}
    assert not resumable.uploads_open(by=by, now=hours(49))
    assert resumable.uploads_sweep(now=hours(49))["uploads"] == 2
    assert set(SourceFile.objects.all()) == {used}
    assert content_of(used) == CONTENT
    assert len(stored_sources(account)) == 1


def test_sweep_removes_objects_that_were_never_recorded(program: Program, account: Account) -> None:
    kept = finished(program)
    orphan = default_storage.save(f"sources/{account.pk}/{uuid4().hex}", ContentFile(b"lost"))
    now = timezone.now()
    resumable.uploads_sweep(now=now + dt.timedelta(hours=1))
    assert default_storage.exists(orphan)
    SourceFile.objects.filter(pk=kept.pk).update(touched_at=now + dt.timedelta(hours=48))
    assert resumable.uploads_sweep(now=now + dt.timedelta(hours=49))["orphans"] >= 1
    assert not default_storage.exists(orphan)
    assert content_of(kept) == CONTENT


class Breaks:
    """A request whose connection breaks after `data`: silently, as gunicorn shows it, or with an error."""

    def __init__(self, data: bytes, error: OSError | None = None) -> None:
        self.data, self.error = data, error

    def read(self, size: int) -> bytes:
        piece, self.data = self.data[:size], self.data[size:]
        if not piece and self.error:
            raise self.error
        return piece


@pytest.mark.parametrize("error", [None, ConnectionResetError(), TimeoutError()])
def test_a_broken_connection_keeps_what_came(marketer: Actor, error: OSError | None) -> None:
    data = rows(80)
    file = resumable.upload_begin(by=marketer, name="a.csv", size=len(data))
    assert resumable.upload_append(upload=file, offset=0, body=Breaks(data[:2345], error), length=len(data)) == 2345
    assert file.received == 2345
    assert list(file.parts.order_by("start").values_list("size", flat=True)) == [1000, 1000, 345]
    end = resumable.upload_append(upload=file, offset=2345, body=Breaks(data[2345:]), length=len(data) - 2345)
    assert end == len(data)
    assert content_of(file) == data


@pytest.mark.django_db(transaction=True)
def test_of_two_requests_at_once_one_wins(marketer: Actor) -> None:
    """Both have read their bytes before either stores them."""
    file = resumable.upload_begin(by=marketer, name="a.csv", size=1000)
    both = threading.Barrier(2)
    outcomes: list[str] = []

    class Slow(Breaks):
        def read(self, size: int) -> bytes:
            both.wait(10)
            return super().read(size)

    def send(letter: bytes) -> None:
        try:
            mine = SourceFile.objects.get(pk=file.pk)
            resumable.upload_append(upload=mine, offset=0, body=Slow(letter * 1000), length=1000)
            outcomes.append(letter.decode())
        except resumable.OffsetError:
            outcomes.append("409")
        finally:
            connections.close_all()

    threads = [threading.Thread(target=send, args=(letter,)) for letter in (b"a", b"b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes)[0] == "409"
    (winner,) = set(outcomes) - {"409"}
    file.refresh_from_db()
    assert content_of(file) == winner.encode() * 1000
    assert len(stored_sources(marketer.account)) == 1


@pytest.mark.django_db(transaction=True)
def test_discarded_while_bytes_arrive(marketer: Actor) -> None:
    file = resumable.upload_begin(by=marketer, name="a.csv", size=3000)

    class Discarded(Breaks):
        def read(self, size: int) -> bytes:
            if len(self.data) == 1000:
                resumable.upload_discard(upload=SourceFile.objects.get(pk=file.pk), by=marketer)
            return super().read(size)

    with pytest.raises(resumable.OffsetError):
        resumable.upload_append(upload=file, offset=0, body=Discarded(b"x" * 3000), length=3000)
    assert stored_sources(marketer.account) == set()
    assert not SourceFile.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_two_jobs_at_once_from_one_upload(marketer: Actor) -> None:
    file = resumable.upload_begin(by=marketer, name="a.csv", size=0)
    start = threading.Barrier(2)
    outcomes: list[str] = []

    def create() -> None:
        start.wait(10)
        try:
            batchjob_create(by=marketer, upload=SourceFile.objects.get(pk=file.pk))
            outcomes.append("job")
        except JobRefusedError:
            outcomes.append("refused")
        finally:
            connections.close_all()

    threads = [threading.Thread(target=create) for _n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["job", "refused"]


# Real clients and servers.


@pytest.mark.django_db(transaction=True)
def test_a_published_client_goes_on_after_a_cut(live_server: LiveServer, tmp_path: Path) -> None:
    data = rows(900)
    path = tmp_path / "sales.csv"
    path.write_bytes(data)
    token = make_token(make_account())
    client = TusClient(f"{live_server.url}{URL}", headers={"Authorization": f"Bearer {token}"})
    about = {"filename": "sales.csv"}
    with path.open("rb") as stream:
        before = client.uploader(file_stream=stream, chunk_size=7000, metadata=about)
        before.upload_chunk()
        before.upload_chunk()
    assert before.offset == 14_000
    with path.open("rb") as stream:
        after = client.uploader(file_stream=stream, chunk_size=9000, url=before.url)
        assert after.offset == 14_000
        after.upload()
    file = upload_at(before.url)
    assert hashlib.sha256(content_of(file)).digest() == hashlib.sha256(data).digest()
    program = Program(token)
    job = program.post("/api/v1/batch-jobs", {"type": "event", "upload": str(file.upload_id)}).json()
    kernel.queue_work("short")
    assert program.get(job["links"]["self"]).json()["valid_rows"] == 900


def half_a_patch(url: str, token: str, path: str, offset: int, data: bytes, length: int) -> socket.socket:
    """A connection that has sent the head and `data` of a longer body."""
    where = urlsplit(url)
    head = (
        f"PATCH {path} HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: Bearer {token}\r\nTus-Resumable: 1.0.0\r\n"
        f"Content-Type: {BYTES}\r\nUpload-Offset: {offset}\r\nContent-Length: {length}\r\n\r\n"
    )
    connection = socket.create_connection((where.hostname, where.port), timeout=30)
    connection.sendall(head.encode() + data)
    return connection


@pytest.mark.django_db(transaction=True)
def test_cuts_under_gunicorn() -> None:
    """A connection that is closed, reset and silent in the middle of a body, and a web process that is killed."""
    token = make_token(make_account())
    data = os.urandom(1_200_000)
    size = len(data)
    with web(UPLOAD_PART_BYTES="200000", UPLOAD_STALL_SECONDS="1") as server:
        client = TusClient(f"{server.url}{URL}", headers={"Authorization": f"Bearer {token}"})
        uploader = client.uploader(file_stream=io.BytesIO(data), chunk_size=size, metadata={"filename": "a.csv"})
        path = urlsplit(uploader.create_url()).path
        received = lambda: upload_at(path).received  # noqa: E731

        # Closed: all that was sent is kept, to the byte.
        half_a_patch(server.url, token, path, 0, data[:310_000], size).close()
        until(lambda: received() == 310_000)

        # Reset: at least the stored pieces are kept, and only what was sent.
        connection = half_a_patch(server.url, token, path, 310_000, data[310_000:800_000], size - 310_000)
        until(lambda: received() >= 710_000)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

        # Silent: the thread is free again after UPLOAD_STALL_SECONDS, and the sender is told. What is left of the reset
        # connection may be stored first; then the answer is 409.
        def silent() -> str:
            end = received()
            with half_a_patch(server.url, token, path, end, data[end : end + 100_000], size - end) as connection:
                answer = connection.recv(4096).decode()
            return answer if answer.startswith("HTTP/1.1 408") else ""

        answer = until(silent)
        end = received()
        assert f"Upload-Offset: {end}" in answer
        assert 710_000 < end <= 900_000

        # Killed in the middle of a piece.
        connection = half_a_patch(server.url, token, path, end, data[end : end + 210_000], size - end)
        until(lambda: received() == end + 200_000)
        server.kill()
        connection.close()
        server.start()
        file = upload_at(path)
        stored = b""
        for part in file.parts.order_by("start"):
            with default_storage.open(part.stored_as) as content:
                stored += content.read()
        assert stored == data[: file.received]
        client.uploader(file_stream=io.BytesIO(data), chunk_size=size, url=f"{server.url}{path}").upload()
    file = upload_at(path)
    assert content_of(file) == data
