"""What becomes of the windows of an export whose definition changes between, or under, its runs."""

from __future__ import annotations

import csv
import datetime as dt
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import storages
from django.db import connection

from accounts.actors import Actor
from audience.models import Profile
from exports import dispatch, services
from exports import run as runs
from exports.definitions import ExportRefusedError
from exports.models import Export, ExportRun
from exports.states import RunAction, TransitionRefusedError
from tests.exports import bytes_of, last_run, make_people, make_recurring, settled_window, work
from tests.rows import make_profile

pytestmark = pytest.mark.django_db(transaction=True)

NOW = dt.datetime(2027, 3, 1, 12, 0, tzinfo=dt.UTC)
GOLD = {"and": [{"field": "attributes.tier", "op": "is", "value": "Gold"}]}
SILVER = {"and": [{"field": "attributes.tier", "op": "is", "value": "Silver"}]}


@pytest.fixture(autouse=True)
def box() -> Iterator[Path]:
    root = Path(storages["transfer_box"].location)  # type: ignore[attr-defined]
    yield root
    if root.is_file():
        root.unlink()
    shutil.rmtree(root, ignore_errors=True)


def next_run(export: Export) -> ExportRun:
    export.refresh_from_db()
    dispatch.tick(now=export.next_run_at)
    work(export.next_run_at)
    return last_run(export)


def sent(run: ExportRun) -> list[str]:
    assert run.state == "succeeded", run.job.failure_code
    return sorted(row["email"].partition("@")[0] for row in csv.DictReader(io.StringIO(bytes_of(run).decode())))


def edit(export: Export, by: Actor, **changes: Any) -> None:
    export.refresh_from_db()
    now = export.next_run_at - dt.timedelta(minutes=1)
    services.export_unschedule(export=export, by=by)
    services.export_update(export=export, by=by, changes=changes)
    services.export_schedule(export=export, by=by, now=now)


def add(by: Actor, name: str, tier: str = "Gold") -> Profile:
    profile = make_profile(by.account, f"{name}@example.com")
    profile.attributes = {"tier": tier}
    profile.save()
    return profile


@pytest.mark.parametrize(
    "changes",
    [
        {"filter": None},
        {"columns": [{"field": "email", "header": "email"}]},
        {"deletions": True},
        {"filter": SILVER},
    ],
)
def test_what_sends_something_else_begins_anew(changes: dict[str, Any], marketer: Actor) -> None:
    add(marketer, "ana")
    add(marketer, "bea", "Silver")
    export = make_recurring(marketer, now=NOW, filter=GOLD)
    assert sent(next_run(export)) == ["ana"]
    edit(export, marketer, **changes)
    run = next_run(export)
    assert sent(run) == {"filter": ["ana", "bea"] if changes.get("filter") is None else ["bea"]}.get(
        next(iter(changes)), ["ana"]
    )
    assert run.window is None
    add(marketer, "caro", "Silver" if changes.get("filter") else "Gold")
    assert sent(next_run(export)) == ["caro"]


def test_what_sends_the_same_goes_on(marketer: Actor) -> None:
    add(marketer, "ana")
    export = make_recurring(marketer, now=NOW)
    assert sent(next_run(export)) == ["ana"]
    add(marketer, "bea")
    edit(export, marketer, name="Feed 2", recipients=["crm@example.com"], start_with="changes")
    add(marketer, "caro")
    assert sent(next_run(export)) == ["bea", "caro"]
    add(marketer, "dora")
    # With what changes only: of the same table it goes on, or what changed between would be in neither.
    edit(export, marketer, filter=GOLD)
    assert sent(next_run(export)) == ["dora"]


def test_another_table_begins_anew_in_any_case(marketer: Actor) -> None:
    make_people(marketer, 2)
    settled_window()
    export = make_recurring(marketer, now=NOW, start_with="changes", columns=None)
    make_people(marketer, 1, first=10)
    assert next_run(export).rows == 1
    edit(export, marketer, data_type="interaction", kind="purchase")
    export.refresh_from_db()
    before = export.watermark
    run = next_run(export)
    assert (run.rows, run.window_lo) == (0, before)
    edit(export, marketer, data_type="profile", start_with="everything")
    export.refresh_from_db()
    assert (export.kind, export.watermark) == ("", None)
    assert next_run(export).rows == 3


def test_everything_may_be_chosen_before_the_first_run(marketer: Actor) -> None:
    add(marketer, "ana")
    export = make_recurring(marketer, now=NOW, start_with="changes")
    edit(export, marketer, start_with="everything")
    assert sent(next_run(export)) == ["ana"]


def test_an_old_run_does_not_move_a_changed_export_on(marketer: Actor, box: Path) -> None:
    export = make_recurring(marketer, now=NOW, filter=GOLD, start_with="changes")
    add(marketer, "gold")
    add(marketer, "silver", "Silver")
    shutil.rmtree(box, ignore_errors=True)
    box.write_bytes(b"")
    failed = next_run(export)
    assert failed.state == "failed"
    box.unlink()
    edit(export, marketer, filter=SILVER)
    services.run_relaunch(run=failed, by=marketer)
    work(NOW)
    assert sent(ExportRun.objects.with_state().get(pk=failed.pk)) == ["gold"]
    assert sent(next_run(export)) == ["silver"]


def test_a_run_of_what_was_changed_before_it_began_sends_nothing(marketer: Actor) -> None:
    add(marketer, "ana")
    export = make_recurring(marketer, now=NOW, filter=GOLD)
    run = services.export_run_now(export=export, by=marketer)
    edit(export, marketer, filter=SILVER)
    work(NOW)
    run = ExportRun.objects.with_state().get(pk=run.pk)
    assert (run.state, run.job.failure_code, run.file) == ("failed", "EXPORT_CHANGED", None)
    assert not services.is_retryable(run)


def test_an_export_is_not_deleted_under_its_run(marketer: Actor) -> None:
    add(marketer, "ana")
    export = make_recurring(marketer, now=NOW)
    run = services.export_run_now(export=export, by=marketer)
    services.export_unschedule(export=export, by=marketer)
    with pytest.raises(TransitionRefusedError, match="A run of this export is going on"):
        services.export_delete(export=export, by=marketer)
    Export.objects.filter(pk=export.pk).delete()  # as if there had been a way
    work(NOW)
    run = ExportRun.objects.with_state().get(pk=run.pk)
    assert (run.state, run.job.failure_code, run.file) == ("failed", "EXPORT_CHANGED", None)


def test_a_window_again_is_of_the_definition_that_it_was_of(marketer: Actor) -> None:
    add(marketer, "ana")
    settled_window()
    export = make_recurring(marketer, now=NOW, filter=GOLD, start_with="changes")
    add(marketer, "bea")
    add(marketer, "caro", "Silver")
    run = next_run(export)
    assert sent(run) == ["bea"]
    services.export_unschedule(export=export, by=marketer)
    services.export_update(export=export, by=marketer, changes={"filter": SILVER})
    run = services.run_get(run)
    assert RunAction.WINDOW_AGAIN not in services.run_actions_allowed(run, by=marketer)
    with pytest.raises(TransitionRefusedError, match="not scheduled"):
        services.run_window_again(run=run, by=marketer)
    services.export_schedule(export=export, by=marketer, now=run.scheduled_for)
    again = services.run_window_again(run=run, by=marketer)
    work(NOW)
    assert sent(services.run_get(again)) == ["bea"]
    assert sent(next_run(export)) == []


def test_a_window_again_tells_no_one_as_deleted_who_is_there(marketer: Actor) -> None:
    ana, bea, caro = (add(marketer, name) for name in ("ana", "bea", "caro"))
    settled_window()
    export = make_recurring(marketer, now=NOW, start_with="changes", deletions=True)
    Profile.objects.filter(pk=ana.pk).update(email="anna@example.com")
    bea.delete()
    caro.delete()
    run = next_run(export)
    assert (run.rows, run.deletions) == (4, 3)
    Profile.objects.filter(pk=ana.pk).update(attributes={"tier": "Silver"})
    add(marketer, "bea")
    next_run(export)
    again = services.run_window_again(run=run, by=marketer)
    work(NOW)
    again = services.run_get(again)
    rows = list(csv.DictReader(io.StringIO(bytes_of(again).decode())))
    assert [row["_deleted"] for row in rows] == ["true"] * 3 + ["false"] * 2
    assert sorted(row["email"] for row in rows[3:]) == ["anna@example.com", "bea@example.com"]


def test_a_resync_that_is_asked_for_meanwhile_is_not_lost(marketer: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    add(marketer, "ana")
    export = make_recurring(marketer, now=NOW)
    window = runs._window

    def asked_for_after(*args: Any, **options: Any) -> None:
        window(*args, **options)
        services.export_resync(export=export, by=marketer)

    monkeypatch.setattr(runs, "_window", asked_for_after)
    assert sent(next_run(export)) == ["ana"]
    monkeypatch.undo()
    export.refresh_from_db()
    assert export.resync
    assert sent(next_run(export)) == ["ana"]
    export.refresh_from_db()
    assert not export.resync
    assert sent(next_run(export)) == []


def test_what_the_data_do_not_have_is_refused(marketer: Actor) -> None:
    with pytest.raises(ExportRefusedError, match="“Profile” has no “kind”"):
        make_recurring(marketer, now=NOW, kind="purchase")
    with pytest.raises(ExportRefusedError, match="“Profile” has no “table”"):
        make_recurring(marketer, now=NOW, table="Newsletter")


def test_forgotten_deletions_are_told_after_it_was_scheduled_anew(marketer: Actor) -> None:
    add(marketer, "ana")
    export = make_recurring(marketer, now=NOW, start_with="changes", deletions=True)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE exports_export SET watermark_at = watermark_at - interval '100 days'")
    edit(export, marketer, name="Feed 2")
    run = next_run(export)
    assert [warning["code"] for warning in run.warnings] == ["DELETIONS_FORGOTTEN"]
    assert sent(run) == ["ana"]
