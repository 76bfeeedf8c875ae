"""What goes in by the API is there: through the real kernel and pipeline, seen only through the API."""

from __future__ import annotations

import json

import pytest

from accounts.permissions import Role
from batchjobs import kernel
from tests.factories import make_account
from tests.integration.test_api_jobs import Program
from tests.rows import make_token

ROWS = (
    b"event_name,email,event_time,partner_event_id,colour\n"
    b"opened,Marta@Example.com,2026-11-21T10:00:00Z,e-1,blue\n"
    b"clicked,marta@example.com,2026-11-21T09:00:00Z,e-2,\n"
    b"opened,not an address,2026-11-21T10:00:00Z,e-3,red\n"
)


@pytest.mark.django_db(transaction=True)
def test_rows_are_where_they_belong():
    program = Program(make_token(make_account(), Role.MARKETER))
    link = program.send(content=ROWS).headers["Location"]
    kernel.queue_work("short")
    job = program.get(link).json()
    assert (job["status"], job["progress"], job["failure"]) == ("done", 1.0, None)
    assert (job["total_rows"], job["valid_rows"], job["invalid_rows"]) == (3, 2, 1)
    log = b"".join(program.get(job["links"]["error_log"]).streaming_content).splitlines()
    assert [json.loads(line)["line"] for line in log] == [4]
    (profile,) = program.get("/api/v1/profiles", {"email": "MARTA@example.com"}).json()["items"]
    done = program.get("/api/v1/interactions", {"email": "marta@example.com"}).json()["items"]
    assert [(row["event_name"], row["partner_event_id"], row["line"]) for row in done] == [
        ("clicked", "e-2", 3),
        ("opened", "e-1", 2),
    ]
    assert {(row["profile_id"], row["job"]) for row in done} == {(profile["id"], job["id"])}
    again = program.send(content=ROWS).headers["Location"]
    kernel.queue_work("short")
    refused = program.get(again).json()
    assert (refused["status"], refused["failure"]["code"]) == ("failed", "DUPLICATE_FILE")
    assert refused["duplicate_of"] == job["id"]
