"""Files on S3, by setting alone: uploads, an import with rejected rows, downloads and the sweep."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone
from moto.server import ThreadedMotoServer

from accounts.models import Account
from accounts.permissions import Role
from batchjobs import kernel, resumable
from batchjobs.models import SourceFile
from config import health
from config.env import Env
from tests.factories import make_account
from tests.integration.test_api_jobs import Program
from tests.integration.test_batch_api import Program as BatchProgram
from tests.integration.test_uploads import begin, content_of, head, patch, rows, upload_at
from tests.rows import make_token

pytestmark = pytest.mark.django_db(transaction=True)
BUCKET = "batchdesk-files"


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def bucket(s3_url: str, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    s3 = boto3.resource("s3", endpoint_url=s3_url, region_name="us-east-1")
    bucket = s3.create_bucket(Bucket=BUCKET)
    env = Env(S3_BUCKET=BUCKET, S3_ENDPOINT_URL=s3_url, S3_REGION="us-east-1", S3_PREFIX="/desk/")
    settings.STORAGES = {**settings.STORAGES, "default": env.file_storage()}
    settings.UPLOAD_PART_BYTES = 10_000
    yield bucket
    bucket.objects.all().delete()


@pytest.fixture
def account() -> Account:
    return make_account()


@pytest.fixture
def program(account: Account) -> Program:
    return Program(make_token(account, Role.MARKETER))


def uploaded(program: Program, data: bytes) -> SourceFile:
    """In two requests, with a look at the offset in between."""
    url = begin(program, len(data))["Location"]
    patch(program, url, 0, data[:25_000])
    offset = int(head(program, url)["Upload-Offset"])
    assert offset == min(25_000, len(data))
    if offset < len(data):
        assert patch(program, url, offset, data[offset:]).status_code == 204
    return upload_at(url)


def test_an_upload_and_its_job(program: Program, bucket: Any) -> None:
    data = rows(900) + b"not an address,opened,2026-11-21T10:00:00Z,bad\n"
    file = uploaded(program, data)
    assert file.parts.count() == 6
    assert {object.key.split("/")[0] for object in bucket.objects.all()} == {"desk"}
    assert content_of(file) == data
    answer = program.post("/api/v1/batch-jobs", {"type": "event", "upload": str(file.upload_id)})
    kernel.queue_work("short")
    job = program.get(answer.json()["links"]["self"]).json()
    assert (job["status"], job["valid_rows"], job["invalid_rows"]) == ("done", 900, 1)
    assert b"".join(program.get(job["links"]["source"]).streaming_content) == data
    assert b"not an address" in b"".join(program.get(job["links"]["rejected_rows"]).streaming_content)
    assert b"EMAIL_INVALID" in b"".join(program.get(job["links"]["error_log"]).streaming_content)


def test_a_file_in_one_request(program: Program) -> None:
    data = rows(300)
    answer = program.post("/api/v1/batch-jobs", {"type": "event", "file": SimpleUploadedFile("e.csv", data)})
    kernel.queue_work("short")
    job = program.get(answer.json()["links"]["self"]).json()
    assert (job["status"], job["valid_rows"]) == ("done", 300)
    assert b"".join(program.get(job["links"]["source"]).streaming_content) == data


def test_the_sweep(program: Program, account: Account, bucket: Any) -> None:
    uploaded(program, rows(900))
    orphan = default_storage.save(resumable.part_name(account), ContentFile(b"lost"))
    resumable.uploads_sweep()
    assert default_storage.exists(orphan)
    later = timezone.now() + resumable.kept_for() + dt.timedelta(hours=1)
    assert resumable.uploads_sweep(now=later) == {"uploads": 1, "orphans": 1}
    assert list(bucket.objects.all()) == []


def test_it_can_be_reached_or_not(settings: Any) -> None:
    health._storage_seen["at"] = 0.0
    assert Client().get("/readyz").json()["checks"]["storage"] == "ok"
    health._storage_seen["at"] = 0.0
    broken = {**settings.STORAGES["default"]["OPTIONS"], "bucket_name": "nobody-made-this-one"}
    settings.STORAGES = {**settings.STORAGES, "default": {**settings.STORAGES["default"], "OPTIONS": broken}}
    assert Client().get("/readyz").json()["checks"]["storage"] == "not reachable"


def test_a_batch_goes_straight_to_the_bucket(account: Account, bucket: Any) -> None:
    """What is as declared is there, what is not leaves nothing; also beyond the size at which parts are sent."""
    client = BatchProgram(account)
    data = random.Random(1).randbytes(9_000_000)
    allocated = client.allocate(data).json()
    assert client.upload(allocated["location"]["href"], data).status_code == 200
    (stored,) = bucket.objects.all()
    assert stored.get()["Body"].read() == data
    allocated = client.allocate(data).json()
    assert client.upload(allocated["location"]["href"], data[:-1] + b"?").status_code == 400
    assert len(list(bucket.objects.all())) == 1
