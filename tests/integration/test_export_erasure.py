"""Files of exports in which somebody stands who is erased: they go, and the reports of their runs stay."""

from __future__ import annotations

import datetime as dt

import pytest
from django.core.files.storage import default_storage
from django.db.models import F

from accounts.actors import Actor
from audience.erasures import erasure_request
from batchjobs import kernel
from batchjobs.erasure import erasure_schedule
from batchjobs.models import SourceFile
from exports import services
from tests.exports import last_run, make_export, make_people, work

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("compression", ["none", "gzip", "zip"])
@pytest.mark.parametrize("format_", ["csv", "ndjson", "xml", "xlsx", "parquet"])
def test_files_that_hold_the_person_go(format_: str, compression: str, marketer: Actor) -> None:
    database = make_people(marketer, 3)
    file = {"format": format_, "compression": compression}
    everybody = make_export(marketer, file=file)
    others = make_export(
        marketer,
        name="Others",
        file={"format": "csv"},
        filter={"and": [{"field": "email", "op": "is_not", "value": "person-00001@example.com"}]},
    )
    for export in (everybody, others):
        services.export_schedule(export=export, by=marketer)
    work()
    assert last_run(everybody).rows == 3
    SourceFile.objects.update(created_at=F("created_at") - dt.timedelta(days=1))  # no job is just being made for them
    erasure_request(database=database, by="marta", email="person-00001@example.com")
    assert erasure_schedule(marketer.account)
    kernel.queue_work("long")
    run, other = last_run(everybody), last_run(others)
    assert run.file.removed_at
    assert (run.state, run.rows, len(run.file.sha256)) == ("succeeded", 3, 64)
    assert services.RunAction.DOWNLOAD not in services.run_actions_allowed(run, by=marketer)
    assert other.file.removed_at is None
    assert len(default_storage.listdir(f"sources/{marketer.account.pk}")[1]) == 1
