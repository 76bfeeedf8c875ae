"""The batch API: allocate, upload, status, inspect, log."""

from __future__ import annotations

import base64
import datetime as dt
import gzip
import hashlib
import io
import json
import tarfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from django.core.files.storage import default_storage
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.models import Account
from accounts.permissions import Role
from audience.models import Interaction, Profile
from batchjobs import kernel
from batchjobs.models import BatchJob, Chunk, FilePart, SourceFile
from tests.factories import make_account
from tests.rows import make_token
from uploads.models import BatchUpload

pytestmark = pytest.mark.django_db(transaction=True)


class Program:
    """What a client of the batch API does, with Django's test client."""

    def __init__(self, account: Account | None = None, role: Role = Role.MARKETER) -> None:
        self.account = account or make_account()
        self.token = make_token(self.account, role)
        self.key_id = self.token.removeprefix("bd_live_")[:8]
        pair = base64.b64encode(f"{self.key_id}:{self.token}".encode()).decode()
        self.headers = {"Authorization": f"Basic {pair}"}
        self.client = Client()

    def allocate(self, data: bytes = b"", ref: str = "", **declared: Any) -> Any:
        declared = {"checksum": hashlib.md5(data).hexdigest(), "size": len(data), **declared}
        return self.client.put(
            f"/v2/batches/{ref or uuid4()}",
            json.dumps(declared),
            content_type="application/x-www-form-urlencoded",
            headers=self.headers,
        )

    def upload(self, href: str, data: bytes, **headers: str) -> Any:
        return self.client.generic("PUT", href, data, content_type="", headers=headers, CONTENT_LENGTH=str(len(data)))

    def get(self, path: str) -> Any:
        return self.client.get(path, headers=self.headers)

    def push(self, data: bytes) -> str:
        """A batch that has arrived; its ref."""
        allocated = self.allocate(data).json()
        assert self.upload(allocated["location"]["href"], data).status_code == 200
        return allocated["ref"]


def packed(*records: dict[str, Any]) -> bytes:
    return gzip.compress("".join(json.dumps(record) + "\n" for record in records).encode(), mtime=0)


REF = "7d2f41c8-90b3-4f0e-8f0b-5a1de20c6e11"
DATA = packed({"ref": REF, "schema": "guest", "mode": "upsert", "value": {"email": "ines@example.com"}})


def error_of(response: Any) -> tuple[int, int]:
    body = response.json()
    assert set(body) == {"status", "code", "message", "developerMessage", "moreInfo"}
    assert body["status"] == response.status_code
    assert body["message"]
    return body["status"], body["code"]


def stored_objects(account: Account) -> list[str]:
    try:
        return default_storage.listdir(f"sources/{account.pk}")[1]
    except FileNotFoundError:
        return []


def test_the_answer_to_an_allocation():
    program = Program()
    ref = str(uuid4())
    before = timezone.now()
    response = program.allocate(DATA, ref.upper(), size=str(len(DATA)))
    assert response.status_code == 200
    found = response.json()
    assert found["ref"] == ref
    assert found["href"] == f"http://testserver/v2/batches/{ref}"
    assert (found["checksum"], found["size"]) == (hashlib.md5(DATA).hexdigest(), len(DATA))
    assert found["status"] == {"code": "uploading"}
    assert "stats" not in found
    for moment in (found["createdAt"], found["modifiedAt"], found["location"]["expiry"]):
        assert dt.datetime.strptime(moment, "%Y-%m-%dT%H:%M:%S.%fZ")  # noqa: DTZ007
        assert len(moment) == 24
    expiry = dt.datetime.fromisoformat(found["location"]["expiry"])
    assert abs(expiry - before - dt.timedelta(hours=1)) < dt.timedelta(minutes=1)
    again = program.allocate(DATA, ref)
    assert again.json() | {"location": None} == found | {"location": None}
    assert BatchUpload.objects.count() == 1
    assert error_of(program.allocate(DATA, ref, size=len(DATA) + 1)) == (409, 40901)
    assert error_of(program.allocate(DATA, ref, checksum="0" * 32)) == (409, 40901)


def test_from_the_upload_to_success():
    program = Program()
    allocated = program.allocate(DATA).json()
    response = program.upload(
        allocated["location"]["href"],
        DATA,
        **{
            "Content-Md5": base64.b64encode(hashlib.md5(DATA).digest()).decode(),
            "x-amz-server-side-encryption": "AES256",
            "Authorization": "Basic bm9ib2R5OnJpZ2h0",
        },
    )
    assert (response.status_code, response.content) == (200, b"")
    assert program.get(allocated["href"]).json()["status"] == {"code": "processing"}
    ref = allocated["ref"]
    assert program.get(f"/v2/batches/inspect/{ref}").json()["status"] == {"code": "file_uploaded"}
    file = SourceFile.objects.get()
    assert (file.sha256, file.size) == (hashlib.sha256(DATA).hexdigest(), len(DATA))
    with default_storage.open(FilePart.objects.get().stored_as) as stored:
        assert stored.read() == DATA
    # Once more: nothing changes.
    assert program.upload(allocated["location"]["href"], DATA).status_code == 200
    assert error_of(program.upload(allocated["location"]["href"], DATA[:-1])) == (409, 40903)
    assert BatchJob.objects.count() == 1
    assert len(stored_objects(program.account)) == 1


def test_a_batch_of_another_account_does_not_exist():
    ours, theirs = Program(), Program(make_account("Pier Nine Vinyl"))
    ref = ours.push(DATA)
    assert error_of(theirs.get(f"/v2/batches/{ref}")) == (404, 40401)
    assert error_of(theirs.get(f"/v2/batches/inspect/{ref}")) == (404, 40401)
    assert theirs.allocate(b"other", ref).status_code == 200  # and does not stand in the way
    assert theirs.get("/v2/batches/inspect").json()["totalCount"] == 1


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", (400, 40009)),
        (b"{", (400, 40009)),
        (b"\xff", (400, 40009)),
        (b"[" * 100_000, (400, 40009)),
        (b"[]", (400, 40001)),
        (b"{}", (400, 40002)),
        (b'{"checksum": 1, "size": 1}', (400, 40002)),
        (b'{"checksum": "xyz", "size": 1}', (400, 40002)),
        (b'{"checksum": "%s"}' % (b"a" * 32), (400, 40003)),
        *(
            (b'{"checksum": "%s", "size": %s}' % (b"a" * 32, size), (400, 40003))
            for size in (b"0", b"-1", b"1.5", b"true", b'"many"', b"null", b'""', b'"' + b"9" * 30 + b'"')
        ),
        (b'{"checksum": "%s", "size": 52428801}' % (b"a" * 32), (413, 41301)),
        (b'{"checksum": "%s", "size": 99999999999999999999}' % (b"a" * 32), (413, 41301)),
        (b'{"x": "' + b"x" * 3_000_000 + b'"}', (413, 41302)),
    ],
)
def test_a_declaration_that_is_none(body, expected):
    program = Program()
    response = program.client.put(
        f"/v2/batches/{uuid4()}", body, content_type="application/json", headers=program.headers
    )
    assert error_of(response) == expected
    assert not BatchUpload.objects.exists()


def test_the_largest_size_and_an_upper_case_checksum():
    found = Program().allocate(checksum="A" * 32, size=" 52428800 ").json()
    assert (found["checksum"], found["size"]) == ("a" * 32, 52428800)


@pytest.mark.parametrize("ref", ["1", "not-a-uuid", f"{{{REF}}}", REF.replace("-", ""), f"urn:uuid:{REF}"])
def test_a_reference_that_is_no_uuid(ref):
    assert error_of(Program().allocate(DATA, ref)) == (400, 40008)


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("", 401),
        ("Bearer {token}", 401),
        ("Basic", 401),
        ("Basic !!!", 401),
        ("Basic /w==", 401),
        ("Basic {wrong_name}", 401),
        ("Basic {wrong_token}", 401),
        ("Basic {right}", 404),
        ("basic {right}", 404),
    ],
)
def test_keys_come_as_http_basic(authorization, status):
    program = Program()
    pairs = {
        "wrong_name": f"aaaaaaaa:{program.token}",
        "wrong_token": f"{program.key_id}:{program.token[:-1]}?",
        "right": f"{program.key_id}:{program.token}",
    }
    filled = authorization.format(
        token=program.token, **{name: base64.b64encode(pair.encode()).decode() for name, pair in pairs.items()}
    )
    response = program.client.get(f"/v2/batches/{uuid4()}", headers={"Authorization": filled} if filled else {})
    assert error_of(response)[0] == status
    if status == 401:
        assert response.headers["WWW-Authenticate"].startswith("Basic ")


def test_a_viewer_may_look_and_not_push():
    program = Program(role=Role.VIEWER)
    assert error_of(program.allocate(DATA)) == (403, 403)
    assert program.get("/v2/batches/inspect").json() == {"totalCount": 0, "offset": 0, "limit": 100, "items": []}


def test_a_key_that_asks_too_often_waits(settings):
    settings.API_RATE_PER_MINUTE = 3
    program, other = Program(), Program()
    answers = [program.get("/v2/batches/inspect") for _ in range(8)]  # of at most two minutes
    assert {answer.status_code for answer in answers} == {200, 429}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert error_of(refused) == (429, 429)
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert other.get("/v2/batches/inspect").status_code == 200


@pytest.mark.parametrize(
    ("sent", "fault", "message"),
    [
        (DATA[:-1], "SIZE_MISMATCH", f"{len(DATA)} bytes were declared and {len(DATA) - 1} arrived."),
        (b"", "SIZE_MISMATCH", f"{len(DATA)} bytes were declared and 0 arrived."),
        (DATA + b"x", "SIZE_EXCEEDED", f"{len(DATA)} bytes were declared, and more were sent."),
        (bytes(len(DATA)), "CHECKSUM_MISMATCH", hashlib.md5(bytes(len(DATA))).hexdigest()),
    ],
)
def test_other_bytes_than_declared_make_it_corrupted(sent, fault, message):
    program = Program()
    allocated = program.allocate(DATA).json()
    href = allocated["location"]["href"]
    response = program.upload(href, sent)
    assert error_of(response) == (400, 40005)
    assert message in response.json()["message"]
    found = program.get(allocated["href"]).json()
    assert found["status"]["code"] == "corrupted"
    assert BatchUpload.objects.get().fault == fault
    assert not stored_objects(program.account)
    assert not SourceFile.objects.exists()
    # The reference is never tried again, not even with the right bytes.
    assert error_of(program.upload(href, DATA)) == (409, 40902)
    assert program.allocate(DATA, allocated["ref"]).json()["status"]["code"] == "corrupted"
    log = Client().get(found["status"]["log"])
    (line,) = map(json.loads, gzip.decompress(b"".join(log.streaming_content)).splitlines())
    assert line["code"] == 400
    assert message in line["message"]


def test_content_md5_is_checked_and_costs_only_the_attempt():
    program = Program()
    allocated = program.allocate(DATA).json()
    href = allocated["location"]["href"]
    wrong = base64.b64encode(bytes(16)).decode()
    assert error_of(program.upload(href, DATA, **{"Content-Md5": wrong})) == (400, 40004)
    assert error_of(program.upload(href, DATA, **{"Content-Md5": "xyz"})) == (400, 40010)
    assert not stored_objects(program.account)
    assert program.get(allocated["href"]).json()["status"]["code"] == "uploading"
    assert program.upload(href, DATA).status_code == 200


def test_a_body_without_a_length():
    program = Program()
    href = program.allocate(DATA).json()["location"]["href"]
    response = program.client.generic("PUT", href, DATA, CONTENT_LENGTH="")
    assert error_of(response) == (411, 41101)
    assert error_of(program.client.generic("PUT", href, DATA, CONTENT_LENGTH="many")) == (400, 40006)
    assert program.upload(href, DATA).status_code == 200


def test_locations_are_signed_and_run_out(settings):
    program = Program()
    settings.BATCH_LOCATION_SECONDS = 60
    allocated = program.allocate(DATA).json()
    href = allocated["location"]["href"]
    assert error_of(program.upload(href[:-1] + ("A" if href[-1] != "A" else "B"), DATA)) == (403, 40301)
    assert error_of(program.upload("/v2/locations/nothing", DATA)) == (403, 40301)
    assert error_of(program.client.get(href)) == (405, 405)
    BatchUpload.objects.update(location_expires_at=timezone.now() - dt.timedelta(seconds=1))
    late = program.get(allocated["href"]).json()
    assert error_of(program.upload(late["location"]["href"], DATA)) == (410, 41001)
    # The same declaration once more gives a fresh location.
    fresh = program.allocate(DATA, allocated["ref"]).json()
    assert program.upload(fresh["location"]["href"], DATA).status_code == 200
    assert list(BatchUpload.objects.get().events.order_by("pk").values_list("what", flat=True)) == [
        "allocated",
        "location renewed",
        "received",
    ]


def test_fifty_equal_allocations_at_once_make_one_batch():
    program = Program()
    ref = str(uuid4())

    def allocate(_number: int) -> Any:
        try:
            return program.allocate(DATA, ref)
        finally:
            connection.close()

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(allocate, range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["createdAt"] for answer in answers}) == 1
    assert BatchUpload.objects.count() == 1


def test_many_uploads_of_the_same_file_at_once_make_one_job():
    program = Program()
    href = program.allocate(DATA).json()["location"]["href"]

    def upload(_number: int) -> int:
        try:
            return Client().put(href, DATA, content_type="").status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(upload, range(16))) == {200}
    assert BatchJob.objects.count() == 1
    assert len(stored_objects(program.account)) == 1


class Broken:
    """A body whose connection breaks off."""

    def __init__(self, data: bytes, *, loudly: bool) -> None:
        self.data, self.loudly = data, loudly

    def read(self, size: int, /) -> bytes:
        data, self.data = self.data[:size], self.data[size:]
        if not data and self.loudly:
            raise ConnectionResetError
        return data


@pytest.mark.parametrize("loudly", [True, False])
def test_an_upload_that_broke_off_can_be_repeated(loudly):
    from uploads.services import BodyBrokenError, batch_receive, upload_of_location

    program = Program()
    href = program.allocate(DATA).json()["location"]["href"]
    upload = upload_of_location(href.rpartition("/")[2])
    with pytest.raises(BodyBrokenError):
        batch_receive(upload=upload, body=Broken(DATA[:20], loudly=loudly), length=len(DATA))
    assert not stored_objects(program.account)
    assert program.upload(href, DATA).status_code == 200


def test_the_listing():
    program = Program()
    refs = [program.push(DATA + bytes([0]) * n) for n in range(3)]  # trailing bytes: of no matter here
    corrupted = program.allocate(DATA).json()
    program.upload(corrupted["location"]["href"], b"x")
    old = program.allocate(DATA).json()["ref"]
    BatchUpload.objects.filter(ref=old).update(created_at=timezone.now() - dt.timedelta(days=31))
    found = program.get("/v2/batches/inspect").json()
    assert (found["totalCount"], found["offset"], found["limit"]) == (4, 0, 100)
    assert [item["ref"] for item in found["items"]] == [corrupted["ref"], *reversed(refs)]
    assert set(found["items"][0]) == {"href", "ref", "status", "log", "createdAt", "modifiedAt"}
    assert [item["status"] for item in found["items"]] == ["corrupted", *["file_uploaded"] * 3]
    assert [bool(item["log"]) for item in found["items"]] == [True, False, False, False]
    paged = program.get("/v2/batches/inspect?limit=2&offset=1").json()
    assert [item["ref"] for item in paged["items"]] == [refs[2], refs[1]]
    assert program.get("/v2/batches/inspect?status=success,corrupted").json()["totalCount"] == 1
    assert program.get("/v2/batches/inspect?status=FILE_UPLOADED").json()["totalCount"] == 3
    second = program.get(f"/v2/batches/{refs[1]}").json()["createdAt"]
    assert program.get(f"/v2/batches/inspect?createdBefore={second}").json()["totalCount"] in (1, 2)
    assert program.get("/v2/batches/inspect?createdBefore=2020-01-01").json()["totalCount"] == 0


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("status=done", 40011),
        ("limit=0", 40012),
        ("limit=many", 40012),
        ("offset=-1", 40012),
        ("offset=99999999999999999999", 40012),
        ("createdBefore=yesterday", 40013),
        ("createdBefore=2026-02-31", 40013),
        ("createdBefore=%00", 40013),
    ],
)
def test_a_listing_that_cannot_be(query, code):
    assert error_of(Program().get(f"/v2/batches/inspect?{query}")) == (400, code)


def test_addresses_that_are_none():
    program = Program()
    assert error_of(program.get("/v2/nothing"))[0] == 404
    assert error_of(program.client.delete(f"/v2/batches/{uuid4()}", headers=program.headers)) == (405, 405)


def tar_of(content: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo("guests.json")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def log_of(found: Any) -> list[dict[str, Any]]:
    answer = Client().get(found["status"]["log"])
    return list(map(json.loads, gzip.decompress(b"".join(answer.streaming_content)).splitlines()))


def test_two_members_are_one_file():
    program = Program()
    record = {"schema": "guest", "mode": "upsert", "value": {"email": "ines@example.com"}}
    ref = program.push(packed({**record, "ref": str(uuid4())}) + packed({**record, "ref": str(uuid4())}))
    kernel.queue_work("short")
    found = program.get(f"/v2/batches/{ref}").json()
    assert found["status"] == {"code": "success"}
    assert (found["stats"]["totalCount"], found["stats"]["failedCount"]) == (2, 0)
    assert found["stats"]["timeToProcess"] >= 0


def test_a_person_who_is_erased_is_gone_and_does_not_come_back():
    """gdpr_delete: the batch is a success, the erasure a job of its own, and no batch brings the person back."""
    program = Program()
    guest = {"ref": str(uuid4()), "schema": "guest", "mode": "upsert", "value": {"email": "ines@example.com"}}
    order = {
        "ref": str(uuid4()),
        "schema": "order",
        "mode": "upsert",
        "value": {"guestRef": guest["ref"], "orderedAt": "2026-11-21T14:30:00.000Z", "price": 9.5},
    }
    other = {**guest, "ref": str(uuid4()), "value": {"email": "rui@example.com"}}
    program.push(packed(guest, order, other))
    kernel.queue_work("short")
    assert Interaction.objects.get().profile.email == "ines@example.com"
    erase = program.push(packed({"ref": guest["ref"], "schema": "guest", "mode": "gdpr_delete"}))
    kernel.queue_work("short")
    assert program.get(f"/v2/batches/{erase}").json()["status"] == {"code": "success"}
    assert kernel.queue_work("long") == 1
    assert list(Profile.objects.values_list("email", flat=True)) == ["rui@example.com"]
    assert not Interaction.objects.exists()
    again = program.push(packed({**guest, "ref": str(uuid4())}))
    kernel.queue_work("short")
    found = program.get(f"/v2/batches/{again}").json()
    assert (found["status"]["code"], found["stats"]["failedCount"]) == ("error", 1)
    (line,) = log_of(found)
    assert (line["code"], line["line"]) == (400, 1)
    assert "ines" not in json.dumps(line)
    assert Profile.objects.count() == 1


def test_a_file_that_cannot_be_read_ends_as_error_with_its_sentence():
    program = Program()
    cases = {
        b"email,name\n": "The name ends in .gz, but this is not gzip",
        DATA[:-5]: "The archive is damaged",
        DATA[:-8] + bytes(8): "The archive is damaged",
        DATA + b"trailing": "The archive is damaged",
        b"PK\x03\x04" + bytes(100): "It looks like",
        gzip.compress(tar_of(b"{}\n")): "tar",
        gzip.compress(bytes(100_000_000)): "What is in the archive is too large",
        gzip.compress(b""): "The file is empty",
    }
    for data, sentence in cases.items():
        ref = program.push(data)
        kernel.queue_work("short")
        found = program.get(f"/v2/batches/{ref}").json()
        assert found["status"]["code"] == "error", data[:20]
        assert found["stats"]["totalCount"] == 0
        log = Client().get(found["status"]["log"])
        assert log.headers["Content-Type"] == "application/gzip"
        assert "Content-Encoding" not in log.headers
        (line,) = log_of(found)
        assert (line["ref"], line["code"]) == (None, 400)
        assert sentence in line["message"]
        assert not Chunk.objects.exists()
