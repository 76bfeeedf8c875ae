"""The web process is killed while batches arrive: what was answered with 200 is there, and nothing is half there."""

from __future__ import annotations

import datetime as dt
import hashlib
import http.client
import os
import random
import threading
import time
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone

from accounts.actors import Actor
from accounts.permissions import Role
from accounts.services import api_key_create
from batchjobs.files import open_file, part_name
from batchjobs.models import BatchJob, FilePart, SourceFile
from batchjobs.resumable import uploads_sweep
from tests.factories import make_account
from tests.web import Web, web
from uploads.models import BatchUpload
from uploads.services import Declaration, batch_allocate, location_token

LONG = os.environ.get("CHAOS") == "1"
KILLS = 50 if LONG else 3
SENDERS = 4
PIECE = 64 * 1024

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.chaos]


class Sender(threading.Thread):
    """Puts a file to its location, a piece at a time; `status` is what was answered, None if nothing was."""

    def __init__(self, server: Web, token: str, data: bytes) -> None:
        super().__init__()
        self.where = urlsplit(server.url)
        self.token, self.data = token, data
        self.status: int | None = None
        self.begun = threading.Event()

    def run(self) -> None:
        connection = http.client.HTTPConnection(str(self.where.hostname), self.where.port, timeout=30)
        try:
            connection.putrequest("PUT", f"/v2/locations/{self.token}")
            connection.putheader("Content-Length", str(len(self.data)))
            connection.endheaders()
            for at in range(0, len(self.data), PIECE):
                connection.send(self.data[at : at + PIECE])
                self.begun.set()
            self.status = connection.getresponse().status
        except (OSError, http.client.HTTPException):
            pass
        finally:
            self.begun.set()
            connection.close()


def test_what_was_answered_survives_kills_and_nothing_is_half_there():
    account = make_account()
    key, _token = api_key_create(by=Actor(account, Role.MANAGER), name="Shop")
    by = Actor(account, Role(key.role), api_key=key)
    rnd = random.Random()
    files = {uuid4(): rnd.randbytes(rnd.randrange(1, 3_000_000)) for _ in range(SENDERS)}
    answered = set()
    with web() as server:
        for _ in range(KILLS):
            senders = {}
            for ref, data in files.items():
                declaration = Declaration(hashlib.md5(data).hexdigest(), len(data))
                token = location_token(batch_allocate(by=by, ref=ref, declaration=declaration))
                senders[ref] = Sender(server, token, data)
                senders[ref].start()
            for sender in senders.values():
                sender.begun.wait()
            time.sleep(rnd.random() * 0.06)
            server.kill()
            for ref, sender in senders.items():
                sender.join()
                assert sender.status in (None, 200), sender.status
                if sender.status == 200:
                    answered.add(ref)
            for ref in answered:
                check(ref, files[ref])
            # Those that are through make room for new ones: each kill meets bytes on their way.
            for ref in list(files):
                if BatchUpload.objects.filter(ref=ref, job__isnull=False).exists():
                    check(ref, files[ref])
                    files[uuid4()] = rnd.randbytes(rnd.randrange(1, 3_000_000))
                    files.pop(ref)
                    answered.discard(ref)
            server.start()
        # In the end all arrive.
        for ref, data in files.items():
            declaration = Declaration(hashlib.md5(data).hexdigest(), len(data))
            sender = Sender(server, location_token(batch_allocate(by=by, ref=ref, declaration=declaration)), data)
            sender.start()
            sender.join()
            assert sender.status == 200
            check(ref, data)
    uploads = BatchUpload.objects.for_account(account)
    assert uploads.filter(job__isnull=True).count() == 0
    assert BatchJob.objects.count() == SourceFile.objects.count() == FilePart.objects.count() == uploads.count()


def check(ref, data: bytes) -> None:
    """The file is whole, its sums are right, and a job has it."""
    upload = BatchUpload.objects.select_related("file", "job").get(ref=ref)
    assert upload.fault == ""
    assert upload.job is not None
    assert upload.file == upload.job.file
    assert upload.file.sha256 == hashlib.sha256(data).hexdigest()
    with open_file(upload.file) as stored:
        assert stored.read() == data


def test_what_a_killed_process_left_is_swept():
    account = make_account()
    default_storage.save(part_name(account), ContentFile(b"half of a body"))
    uploads_sweep(now=timezone.now() + dt.timedelta(days=30))
    assert default_storage.listdir(f"sources/{account.pk}")[1] == []
