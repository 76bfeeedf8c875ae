"""The batch API under gunicorn, asked with curl: what a test client does not show."""

from __future__ import annotations

import hashlib
import json
import os
import random
import socket
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from django.core.files.storage import default_storage

from tests.chaos import until
from tests.factories import make_account
from tests.programs import needs
from tests.rows import make_token
from tests.web import web
from uploads.models import BatchUpload

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def desk(tmp_path: Path):
    needs("curl")
    with web(UPLOAD_STALL_SECONDS="1") as server:
        yield Desk(server, tmp_path)


class Desk:
    def __init__(self, server: Any, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.account = make_account()
        token = make_token(self.account)
        self.user = f"{token.removeprefix('bd_live_')[:8]}:{token}"

    def curl(self, *options: str, stdin: bytes | None = None) -> tuple[int, Any]:
        """Status and JSON of the answer."""
        done = subprocess.run(
            ["curl", "-sS", "--max-time", "60", "-w", "\n%{http_code}", *options],
            input=stdin,
            stdout=subprocess.PIPE,
            check=True,
        )
        body, _newline, status = done.stdout.rpartition(b"\n")
        return int(status), json.loads(body) if body else None

    def allocate(self, data: bytes) -> Any:
        declared = json.dumps({"checksum": hashlib.md5(data).hexdigest(), "size": str(len(data))})
        url = f"{self.server.url}/v2/batches/{str(uuid4()).upper()}"
        status, found = self.curl("-u", self.user, "-X", "PUT", "-d", declared, url)
        assert status == 200, found
        return found

    def put(self, found: Any, data: bytes, *options: str) -> tuple[int, Any]:
        file = self.folder / "batch.gz"
        file.write_bytes(data)
        return self.curl(*options, "-T", str(file), found["location"]["href"])

    def stored(self) -> int:
        try:
            return len(default_storage.listdir(f"sources/{self.account.pk}")[1])
        except FileNotFoundError:
            return 0


def test_uploads_as_curl_makes_them(desk: Desk):
    data = random.Random(1).randbytes(3_000_000)
    found = desk.allocate(data)
    # Chunks without a length, from a pipe.
    status, answer = desk.curl("-T", "-", found["location"]["href"], stdin=data)
    assert (status, answer["code"]) == (411, 41101)
    # More than was declared: the answer is read, however much is sent.
    more = desk.allocate(data)
    status, answer = desk.put(more, data * 5)
    assert (status, answer["code"]) == (400, 40005)
    assert desk.stored() == 0
    # An Authorization header does no harm; curl asks first whether it may send so much.
    assert desk.put(found, data, "-u", "any:thing", "-H", "Expect: 100-continue", "-H", "Content-Type:") == (200, None)
    assert desk.stored() == 1
    status, answer = desk.put(found, data)
    assert status == 200
    assert desk.server.peak_kilobytes() < 200_000


def test_an_upload_that_falls_silent_or_is_cut_leaves_nothing_and_can_be_repeated(desk: Desk):
    data = os.urandom(400_000)
    found = desk.allocate(data)
    where = urlsplit(found["location"]["href"])
    head = f"PUT {where.path} HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Length: {len(data)}\r\n\r\n".encode()
    with socket.create_connection((where.hostname, where.port), timeout=30) as silent:
        silent.sendall(head + data[:200_000])
        answer = silent.recv(4096).decode()
    assert answer.startswith("HTTP/1.1 400 ")
    with socket.create_connection((where.hostname, where.port), timeout=30) as cut:
        cut.sendall(head + data[:100_000])
    upload = BatchUpload.objects.get(ref=found["ref"])
    until(lambda: upload.events.filter(what="broken off").count() == 2)
    until(lambda: desk.stored() == 0)
    assert desk.put(found, data)[0] == 200
