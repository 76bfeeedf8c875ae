"""Reports of runs by a mail server that refuses, is down, is slow: nobody is forgotten, and nobody is told twice."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, connections
from django.db.models import F
from django.utils import timezone

from accounts.actors import Actor
from batchjobs import kernel
from exports import dispatch, services
from exports.models import Export, ExportRun
from exports.states import State
from tests.exports import last_run, make_export, make_people, make_recurring, settled_window, work
from tests.smtp import MailServer, mail_server

pytestmark = pytest.mark.django_db(transaction=True)

BOSS, GONE, THIRD = "boss@example.com", "gone@example.com", "third@example.com"
NO_SUCH_USER = "550 no such user"
LATER = dt.timedelta(hours=1)


@pytest.fixture
def server(settings: Any) -> Iterator[MailServer]:
    with mail_server(settings) as server:
        yield server


def ended(by: Actor, *recipients: str) -> Export:
    """An export that has run once, without the report of that."""
    make_people(by)
    export = services.export_schedule(export=make_export(by, recipients=list(recipients)), by=by)
    work()
    return export


def tick_later() -> None:
    """A tick when what was put off, or left by who died, is due again."""
    ExportRun.objects.update(report_at=F("report_at") - LATER)
    dispatch.tick()


def test_a_refused_recipient_keeps_it_from_nobody(marketer: Actor, server: MailServer) -> None:
    server.refused[GONE] = NO_SUCH_USER
    export = ended(marketer, BOSS, GONE, THIRD)
    for _ in range(3):
        tick_later()
    assert server.addresses == [BOSS, THIRD]
    assert GONE not in server.received[1][1]
    run = last_run(export)
    assert (run.report_to, run.report_at) == ([], None)
    assert run.warnings == [{"code": "REPORT_NOT_SENT", "address": GONE}]


def test_an_export_stops_after_five_failures_whatever_becomes_of_its_reports(
    marketer: Actor, server: MailServer
) -> None:
    assert marketer.user
    server.refused = {GONE: NO_SUCH_USER, marketer.user.email: "451 later"}
    now = timezone.now()
    export = make_recurring(marketer, recipients=[GONE])
    Export.objects.update(data_type="list_member", table="No such list")
    for day in range(1, 6):
        dispatch.tick(now=now + dt.timedelta(days=day))
        work(now + dt.timedelta(days=day))
    export.refresh_from_db()
    assert (export.state, export.stopped_because) == (State.DRAFT, "FIVE_FAILURES")
    server.refused.clear()
    tick_later()
    ((address, text),) = server.received
    assert address == marketer.user.email
    assert "stopped after five failures" in text


def test_what_is_not_taken_now_is_tried_again(marketer: Actor, server: MailServer) -> None:
    server.refused[GONE] = "451 greylisted"
    export = ended(marketer, BOSS, GONE, THIRD)
    dispatch.tick()
    assert server.addresses == [BOSS, THIRD]
    server.refused.clear()
    dispatch.tick()
    assert server.addresses == [BOSS, THIRD]  # not at once
    tick_later()
    tick_later()
    assert server.addresses == [BOSS, THIRD, GONE]
    assert last_run(export).warnings == []


def test_a_server_that_is_down(marketer: Actor, settings: Any) -> None:
    with mail_server(settings) as server:
        port = server.port
    export = ended(marketer, BOSS, THIRD)
    tick_later()
    assert last_run(export).settled_at
    with mail_server(settings, port) as server:
        tick_later()
        tick_later()
        assert server.addresses == [BOSS, THIRD]


def test_after_a_day_it_is_given_up(marketer: Actor, settings: Any) -> None:
    with mail_server(settings):
        pass
    export = ended(marketer, BOSS, THIRD)
    ExportRun.objects.update(settled_at=timezone.now() - dt.timedelta(hours=25))
    tick_later()
    run = last_run(export)
    assert [warning["address"] for warning in run.warnings] == [BOSS, THIRD]
    assert (run.report_to, run.report_at) == ([], None)


def test_a_slow_server_holds_up_nothing_and_others_do_not_send_again(marketer: Actor, server: MailServer) -> None:
    came, goes_on = threading.Event(), threading.Event()

    def hold() -> None:
        came.set()
        assert goes_on.wait(60)

    make_people(marketer)
    export = services.export_schedule(export=make_export(marketer, recipients=[BOSS, THIRD]), by=marketer)
    settled_window()
    kernel.queue_work("long")
    server.on_data = hold

    def tick() -> None:
        try:
            dispatch.tick()
        finally:
            connections.close_all()

    slow = threading.Thread(target=tick)
    slow.start()
    try:
        assert came.wait(60)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid() AND (xact_start IS NOT NULL OR backend_xmin IS NOT NULL)"
                " AND backend_type = 'client backend'"
            )
            assert cursor.fetchone() == (0,)
        assert last_run(export).settled_at
        dispatch.tick()  # meanwhile
    finally:
        goes_on.set()
        slow.join()
    dispatch.tick()
    assert server.addresses == [BOSS, THIRD]


def test_a_beat_that_dies_leaves_the_others_to_the_next(
    marketer: Actor, server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_people(marketer)
    export = services.export_schedule(export=make_export(marketer, recipients=[BOSS, THIRD]), by=marketer)
    settled_window()
    kernel.queue_work("long")

    class DiedError(Exception):
        pass

    def die(*_: Any, **__: Any) -> None:
        raise DiedError

    with monkeypatch.context() as patched:
        patched.setattr("exports.reports._note", die)
        with pytest.raises(DiedError):
            dispatch.tick()
    dispatch.tick()
    assert server.addresses == [BOSS]  # the other may still be at it
    tick_later()
    assert server.addresses == [BOSS, BOSS, THIRD]  # between a mail and its note: once more
    assert last_run(export).report_at is None


def test_a_relaunched_run_is_reported_anew(marketer: Actor, server: MailServer) -> None:
    server.refused[GONE] = NO_SUCH_USER
    make_people(marketer)
    export = make_export(marketer, recipients=[BOSS, GONE], destination="transfer_box")
    services.export_schedule(export=export, by=marketer)
    ExportRun.objects.update(destination=None)
    Export.objects.update(destination=None)
    work()
    run = last_run(export)
    assert run.state == "failed"
    assert server.addresses == [BOSS]
    ExportRun.objects.filter(pk=run.pk).update(report_at=timezone.now(), report_to=[THIRD])
    run.job.failure_code = "DESTINATION_REFUSED"
    run.job.save()
    services.run_relaunch(run=run, by=marketer)
    assert last_run(export).warnings == []
    work()
    assert server.addresses == [BOSS, BOSS]
    assert [warning["address"] for warning in last_run(export).warnings] == [GONE]
