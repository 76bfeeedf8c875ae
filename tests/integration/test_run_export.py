"""`manage.py run_export`."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.actors import system_actor
from batchjobs import commands, kernel
from exports import services
from exports.models import Export, ExportRun
from tests.exports import make_export, make_people, make_recurring, settled_window
from tests.factories import make_account
from tests.integration.test_submit import Terminal

pytestmark = pytest.mark.django_db(transaction=True)


def run(*args: str, **streams: Any) -> dict[str, Any]:
    out = io.StringIO()
    call_command("run_export", *args, stdout=out, **streams)
    return json.loads(out.getvalue())


def work(_seconds: float) -> None:
    """A worker, while the command sleeps."""
    settled_window()
    kernel.queue_work("long")


def test_starts_a_draft() -> None:
    by = system_actor(make_account())
    export = make_export(by)
    made = run("everybody")
    assert (made["export"], made["status"], made["started_by"]) == (export.pk, "in_progress", "Batchdesk")
    with pytest.raises(CommandError, match="Started"):
        run("Everybody")


def test_runs_what_is_scheduled_beside_its_schedule() -> None:
    by = system_actor(make_account())
    export = make_recurring(by)
    assert run("Feed")["trigger"] == "person"
    again = Export.objects.get(pk=export.pk)
    assert (again.state, again.next_run_at) == ("scheduled", export.next_run_at)
    with pytest.raises(CommandError, match="going on"):
        run("Feed")


def test_waits_for_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    by = system_actor(make_account())
    make_people(by, 3)
    make_export(by)
    monkeypatch.setattr(commands, "sleep", work)
    terminal = Terminal()
    made = run("Everybody", "--wait", stderr=terminal)
    assert (made["status"], made["rows"], made["file_name"]) == ("succeeded", 3, "people.csv")
    assert "Waiting to start" in terminal.getvalue()
    assert terminal.getvalue().rstrip(" \n").endswith("Ended")


def test_a_failure_is_exit_1(monkeypatch: pytest.MonkeyPatch) -> None:
    by = system_actor(make_account())
    export = make_recurring(by)

    def work_without_destination(seconds: float) -> None:
        ExportRun.objects.filter(export=export).update(destination=None)
        work(seconds)

    monkeypatch.setattr(commands, "sleep", work_without_destination)
    out = io.StringIO()
    with pytest.raises(SystemExit) as end:
        call_command("run_export", "Feed", "--wait", stdout=out, stderr=io.StringIO())
    assert end.value.code == 1
    assert json.loads(out.getvalue())["error"]["code"] == "DESTINATION_MISSING"


def test_the_account_by_its_slug_or_the_first() -> None:
    first, second = (system_actor(make_account()) for _ in range(2))
    mine, theirs = make_export(first), make_export(second)
    assert run("Everybody")["export"] == mine.pk
    assert run("Everybody", "--account", second.account.slug)["export"] == theirs.pk


def test_says_what_is_wrong() -> None:
    with pytest.raises(CommandError, match="no account yet"):
        run("Everybody")
    by = system_actor(make_account())
    with pytest.raises(CommandError, match="It has none"):
        run("Everybody")
    make_export(by, type="incremental")
    for args, message in (
        (("Nobody",), "There are: “Everybody”"),
        (("Every\0body",), "no export"),
        (("Everybody", "--account", "nowhere"), "no account “nowhere”"),
        (("Everybody",), "In definition"),
    ):
        with pytest.raises(CommandError, match=message):
            run(*args)
    draft = make_export(by, name="Gap")
    services.export_update(export=draft, by=by, changes={"data_type": "linked_data"})
    with pytest.raises(CommandError, match="Choose which table"):
        run("Gap")
    assert not ExportRun.objects.exists()
