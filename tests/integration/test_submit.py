"""`manage.py submit`."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.utils import timezone

from batchjobs import commands
from batchjobs.models import BatchJob
from tests.factories import make_account
from tests.rows import CONTENT, make_job

pytestmark = pytest.mark.django_db


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "events.csv"
    path.write_bytes(CONTENT)
    return str(path)


def run(*args: str, **streams: Any) -> dict[str, Any]:
    out = io.StringIO()
    call_command("submit", *args, "--type", "event", stdout=out, **streams)
    return json.loads(out.getvalue())


def test_prints_the_job(file: str):
    account = make_account()
    job = run(file, "--name", "Autumn", "--event-name", "opened", "--option", "delimiter=;", "--tag", "a")
    assert (job["name"], job["status"], job["event_names"], job["tags"]) == (
        "Autumn",
        "pending",
        ["opened"],
        ["a"],
    )
    stored = BatchJob.objects.for_account(account).get()
    assert stored.options == {"delimiter": ";"}
    assert stored.created_by is None


def test_the_account_by_its_slug_or_the_first(file: str):
    first, second = make_account(), make_account()
    assert BatchJob.objects.for_account(first).filter(pk=run(file)["id"]).exists()
    assert BatchJob.objects.for_account(second).filter(pk=run(file, "--account", second.slug)["id"]).exists()
    with pytest.raises(CommandError, match="no account “nowhere”"):
        run(file, "--account", "nowhere")


def test_says_what_is_wrong(file: str, tmp_path: Path):
    with pytest.raises(CommandError, match="no account yet"):
        run(file)
    make_account()
    (tmp_path / "photo.png").write_bytes(b"x")
    for args, message in (
        ((str(tmp_path / "gone.csv"),), "cannot be read"),
        ((str(tmp_path),), "cannot be read"),
        ((str(tmp_path / "photo.png"),), "photo.png"),
        ((file, "--database", "nowhere"), "no database"),
        ((file, "--option", "novalue"), "KEY=VALUE"),
    ):
        with pytest.raises(CommandError, match=message):
            run(*args)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def ends_as(status: str, **facts: Any) -> Any:
    """A stand-in for the worker: ends the job while the command sleeps."""

    def sleep(_seconds: float) -> None:
        now = timezone.now()
        with transaction.atomic():
            BatchJob.objects.get_queryset().update(
                status=status, outcome=status, started_at=now, completed_at=now, **facts
            )

    return sleep


def test_waits_for_the_end(file: str, monkeypatch: pytest.MonkeyPatch):
    make_account()
    monkeypatch.setattr(commands, "sleep", ends_as("done", valid_rows=1, skipped_rows=0, invalid_rows=0))
    terminal = Terminal()
    assert run(file, "--wait", stderr=terminal)["total_rows"] == 1
    assert "100%" in terminal.getvalue()


def test_a_failure_is_exit_1(file: str, monkeypatch: pytest.MonkeyPatch):
    make_account()
    monkeypatch.setattr(commands, "sleep", ends_as("failed", failure_code="FILE_EMPTY"))
    out = io.StringIO()
    with pytest.raises(SystemExit) as end:
        call_command("submit", file, "--type", "event", "--wait", stdout=out, stderr=io.StringIO())
    assert end.value.code == 1
    assert json.loads(out.getvalue())["failure"]["code"] == "FILE_EMPTY"


def test_jobs_of_others_are_not_touched(file: str):
    other = make_job(make_account())
    run(file, "--account", make_account().slug)
    other.refresh_from_db()
    assert other.status == "pending"
