"""Batches pushed by what developers are given: the shell script in docs/ and the Python client in samples/clients/.

100,000 guests and 50,000 orders made from the CDNOW purchases, to a real web process and a real worker.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from audience.models import Interaction, Profile, Reference
from samples import make_batches
from samples.clients.push_batch import BatchClient, BatchRefusedError
from tests.chaos import ROOT, worker
from tests.factories import make_account
from tests.programs import needs
from tests.rows import make_token
from tests.web import web

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def desk():
    """URL, client key and token of an account, with web and worker running."""
    needs("curl", "gzip", "md5sum")
    account = make_account()
    token = make_token(account)
    # Leases and chunks as in production: on a busy machine a large merge takes longer than those of the kill tests.
    usual = {"JOB_LEASE_SECONDS": "60", "JOB_CHUNK_ROWS": "64000"}
    with web() as server, worker("--poll", "0.2", queue="short", **usual):
        yield {
            "BATCHDESK_URL": server.url,
            "CLIENT_KEY": token.removeprefix("bd_live_")[:8],
            "API_TOKEN": token,
        }


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def push_by_script(desk: dict[str, str], file: Path, *, status: int) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ["sh", str(ROOT / "docs/push-batch.sh"), str(file)],
        env={**os.environ, **desk, "POLL_SECONDS": "0.5"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done


def push_by_client(desk: dict[str, str], file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "samples/clients/push_batch.py"), str(file)],
        env={**os.environ, **desk},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_script_and_the_client_push_cdnow(desk, tmp_path):
    guests = make_batches.guests(100_000)
    orders = make_batches.orders(50_000)
    file = write(tmp_path / "guests.json", guests)
    done = push_by_script(desk, file, status=1)
    assert "succeededCount: 99980, failedCount: 20" in done.stdout
    (log,) = tmp_path.glob("*-errors.json")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["line"] for line in lines] == list(range(5_000, 100_001, 5_000))
    assert {line["code"] for line in lines} == {400}
    assert [line["ref"] for line in lines] == [guests[line["line"] - 1]["ref"] for line in lines]
    assert Profile.objects.count() == Reference.objects.count() == 99_980

    client = BatchClient(desk["BATCHDESK_URL"], desk["CLIENT_KEY"], desk["API_TOKEN"])
    found = client.push(orders)
    errors = list(client.errors(found))
    by_ref = {guest["ref"] for number, guest in enumerate(guests, start=1) if number % 5_000}
    good = [o for o in orders if o["mode"] == "upsert" and o["value"]["guestRef"] in by_ref]
    assert found["status"]["code"] == "error"
    assert found["stats"]["totalCount"] == 50_000
    assert found["stats"]["succeededCount"] == len(good)
    assert found["stats"]["failedCount"] == len(errors) == 50_000 - len(good)
    assert {error["code"] for error in errors if error["line"] % 5_000 == 0} == {402}
    assert Interaction.objects.filter(kind="order").count() == len(good)
    paid = sum(json.loads(json.dumps(i.properties))["price"] for i in Interaction.objects.only("properties").iterator())
    assert paid == pytest.approx(sum(order["value"]["price"] for order in good))


def test_a_small_batch_succeeds_and_a_wrong_key_is_told(desk, tmp_path):
    file = write(tmp_path / "guests.json", make_batches.guests(10))
    assert "succeededCount: 10, failedCount: 0" in push_by_script(desk, file, status=0).stdout
    done = push_by_script({**desk, "API_TOKEN": "wrong"}, file, status=2)
    assert "refused: The API key is unknown or has been revoked." in done.stderr
    client = BatchClient(desk["BATCHDESK_URL"], desk["CLIENT_KEY"], "wrong")
    with pytest.raises(BatchRefusedError, match="unknown or has been revoked") as refused:
        client.push([])
    assert refused.value.status == 401
    done = push_by_client(desk, file)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == {"code": "success"}
    # What is wrong with a file is Batchdesk's to say.
    with file.open("a") as lines:
        lines.write('no record\n{"ref": "x", "schema": "pet", "mode": "upsert", "value": {}}\n')
    done = push_by_client(desk, file)
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert first == "line 11: 400 This cannot be read as JSON."
    assert second.startswith("line 12: 400 ref: A reference must be a UUID")
    assert "schema must be" in second
