"""The Exports page: its list and tabs, facets, search and sorts; drawers; what can be asked; downloads; why."""

from __future__ import annotations

import datetime as dt
import html as html_module
import re
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import storages
from django.test import Client
from django.utils import timezone

from accounts.actors import Actor
from accounts.permissions import Role
from audience.models import Database, Profile, Suppression
from audience.services import database_default
from batchjobs.files import remove_bytes
from exports import services
from exports.models import Destination, Export, ExportRun
from exports.pages.asks import RUN_WAYS, WAYS
from exports.pages.rows import active_count
from exports.states import ACTIONS, RUN_ACTIONS, Action, ExportType, RunAction, RunState, State
from tests.exports import bytes_of, last_run, make_export, make_people, make_recurring, work
from tests.factories import make_actor, make_user

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/exports/"
FRAGMENT = {"HX-Request": "true", "HX-Target": "drawer"}
RESULTS = {"HX-Request": "true", "HX-Target": "results"}
# Session, person, memberships; databases, the four tabs' figures, the page, its last runs; the numbers in the sidebar.
LIST_QUERIES = 14
ALL_TYPES = list(ExportType)


def get(client: Client, url: str = LIST, status: int = 200, **headers: str) -> str:
    response = client.get(url, headers=headers)
    assert response.status_code == status, response.content.decode()[-500:]
    return response.content.decode()


def names(html: str) -> list[str]:
    return [html_module.unescape(name) for name in re.findall(r'<a class="stretched"[^>]*>([^<]*)</a>', html)]


def text(html: str) -> str:
    return html_module.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html)))


def row(html: str, token: str) -> str:
    found = re.search(rf'<tr role="row" id="{token}".*?</tr>', html, re.DOTALL)
    assert found, token
    return text(found.group())


def tabs(html: str) -> dict[str, str]:
    found = re.search(r'<nav class="tabs".*?</nav>', html, re.DOTALL)
    assert found
    return dict(re.findall(r">([^<>]+) <span class=\"count\">([^<]*)</span>", found.group()))


def figures(html: str, facet: str) -> dict[str, str]:
    return dict(re.findall(rf'id="count-{facet}-(\w+)"[^>]*>([^<]*)</span>', html))


def link(html: str, rel: str) -> str:
    found = re.search(rf'href="([^"]*)"[^>]* rel="{rel}"', html)
    return html_module.unescape(found.group(1)) if found else ""


def client_of(actor: Actor) -> Client:
    client = Client()
    client.force_login(actor.user)  # type: ignore[arg-type]
    return client


def colleague(actor: Actor, role: Role) -> Client:
    client = Client()
    client.force_login(make_user(actor.account, role))
    return client


def of_type(export: Export, type_: str) -> Export:
    Export.objects.filter(pk=export.pk).update(type=type_)
    export.refresh_from_db()
    return export


@contextmanager
def nothing_delivered(by: Actor) -> Iterator[None]:
    """The transfer box takes nothing: a file stands where its folder would."""
    root = Path(storages["transfer_box"].location)  # type: ignore[attr-defined]
    root.mkdir(parents=True, exist_ok=True)
    folder = root / str(by.account.pk)
    kept = root / f"{by.account.pk}.kept"
    if folder.exists():
        folder.rename(kept)
    folder.touch()
    yield
    folder.unlink()
    if kept.exists():
        kept.rename(folder)


def one_shot(by: Actor, **definition: Any) -> ExportRun:
    export = make_export(by, **definition)
    services.export_schedule(export=export, by=by)
    work()
    return last_run(export)


class TestList:
    def test_nothing_yet(self, marta: Client, marketer: Actor):
        html = get(marta)
        assert "Make your first export" in html
        assert "/exports/new/" in html
        viewer = get(colleague(marketer, Role.VIEWER))
        assert "Make your first export" in viewer
        assert "/exports/new/" not in viewer

    def test_tabs(self, marta: Client, marketer: Actor):
        make_people(marketer)
        make_export(marketer, name="Draft")
        assert 'aria-current="page">In definition' in get(marta)  # the first with something in it
        feed = make_recurring(marketer, name="Feed")
        run = one_shot(marketer, name="Once")
        services.export_run_now(export=feed, by=marketer)
        html = get(marta)
        assert 'aria-current="page">Scheduled' in html
        assert tabs(html) == {"In definition": "1", "Scheduled": "1", "In progress": "1", "Finished": "1"}
        assert names(html) == ["Feed"]
        assert "In progress" in row(html, f"export-{feed.pk}")
        assert names(get(marta, f"{LIST}?tab=draft")) == ["Draft"]
        assert "Waiting to start" in row(get(marta, f"{LIST}?tab=in_progress"), f"run-{last_run(feed).pk}")
        finished = get(marta, f"{LIST}?tab=finished")
        assert re.match(r" Once One shot · Profile, Audience Succeeded 3 .* Download ", row(finished, f"run-{run.pk}"))
        assert "unknown" not in get(marta, f"{LIST}?tab=unknown&sort=unknown&type=unknown&database=x")

    def test_another_account_sees_nothing(self, marketer: Actor):
        make_people(marketer)
        one_shot(marketer, name="Secret")
        make_recurring(marketer, name="Secret feed")
        assert "Secret" not in get(client_of(make_actor()), f"{LIST}?tab=finished")
        assert "Make your first export" in get(client_of(make_actor()))

    def test_facets_count_with_the_others_and_without_themselves(self, marta: Client, marketer: Actor):
        make_export(marketer, name="One")
        make_export(marketer, name="Two", data_type="interaction", columns=None)
        make_export(marketer, name="Three", type="incremental")
        html = get(marta, f"{LIST}?tab=draft")
        assert figures(html, "type") == {
            "one_shot": "2", "periodic_full": "0", "incremental": "1", "custom": "0", "incremental_custom": "0"
        }  # fmt: skip
        assert figures(html, "data")["profile"] == "2"
        html = get(marta, f"{LIST}?tab=draft&type=one_shot")
        assert sorted(names(html)) == ["One", "Two"]
        assert (figures(html, "type")["incremental"], figures(html, "data")["profile"]) == ("1", "1")
        assert tabs(html)["In definition"] == "2"
        assert sorted(names(get(marta, f"{LIST}?tab=draft&type=one_shot&type=incremental"))) == ["One", "Three", "Two"]
        assert names(get(marta, f"{LIST}?tab=draft&type=one_shot&data=interaction")) == ["Two"]
        (database,) = figures(html, "database")
        assert len(names(get(marta, f"{LIST}?tab=draft&database={database}"))) == 3
        assert len(names(get(marta, f"{LIST}?tab=draft&database=999999999"))) == 3  # another account's says nothing

    def test_databases_without_exports_do_not_push_the_others_away(self, marta: Client, marketer: Actor):
        make_export(marketer, name="One")
        used = database_default(account=marketer.account)
        others = [Database.objects.create(account=marketer.account, name=f"A {n}", slug=f"a-{n}") for n in range(10)]
        html = get(marta, f"{LIST}?tab=draft&database={others[7].pk}")
        shown, folded = html.split('id="export-facet-database"')
        assert set(figures(shown, "database")) == {str(used.pk), str(others[7].pk)}
        assert set(figures(folded, "database")) == {str(one.pk) for one in others} - {str(others[7].pk)}
        assert "9 more" in folded

    def test_status_is_a_facet_of_finished_runs(self, marta: Client, marketer: Actor):
        make_people(marketer)
        one_shot(marketer, name="Good")
        feed = make_recurring(marketer, name="Bad")
        with nothing_delivered(marketer):
            services.export_run_now(export=feed, by=marketer)
            work()
        html = get(marta, f"{LIST}?tab=finished&status=failed")
        assert names(html) == ["Bad"]
        assert "The destination did not take the file" in row(html, f"run-{last_run(feed).pk}")
        assert figures(html, "status") == {"succeeded": "1", "failed": "1", "canceled": "0"}
        assert "Remove the filter Status: Failed" in html
        assert tabs(get(marta, f"{LIST}?tab=scheduled&status=failed"))["Scheduled"] == "1"

    def test_search_by_part_of_a_name(self, marta: Client, marketer: Actor):
        for name in ("Daily loyalty feed", "Ünsubscribes 100%", "Other_one"):
            make_export(marketer, name=name)
        for q, found in (
            ("LOYALTY", ["Daily loyalty feed"]),
            ("üNsub", ["Ünsubscribes 100%"]),
            ("0%", ["Ünsubscribes 100%"]),
            ("r_o", ["Other_one"]),
            ("%", ["Ünsubscribes 100%"]),
            ("nothing like it", []),
        ):
            assert names(client_get := get(marta, f"{LIST}?tab=draft&q={q.replace('%', '%25')}")) == found
            assert "Remove the filter Name" in client_get
        assert "Nothing here matches" in get(marta, f"{LIST}?tab=draft&q=nothing")
        assert "Other_one" in get(marta, f"{LIST}?tab=draft&q={'x' * 500}")  # too long to be one: no search

    def test_sorts_and_pages(self, marta: Client, marketer: Actor):
        make_people(marketer)
        for n in range(30):
            make_export(marketer, name=f"Draft {n:02}")
        html = get(marta, f"{LIST}?tab=draft")
        assert names(html)[0] == "Draft 29"
        assert "25 of 30, last edited first" in text(html)
        second = get(marta, link(html, "next"))
        assert names(second) == [f"Draft {n:02}" for n in (4, 3, 2, 1, 0)]
        sorting = re.search(r'href="([^"]*sort=name[^"]*)"', second)
        assert sorting
        assert "after" not in sorting.group(1)  # a new sort shows the first page
        by_name = get(marta, html_module.unescape(sorting.group(1)))
        assert names(by_name)[:2] == ["Draft 00", "Draft 01"]
        assert 'aria-sort="ascending"' in by_name
        assert names(get(marta, link(get(marta, link(by_name, "next")), "prev")))[0] == "Draft 00"

    @pytest.mark.parametrize("tab", ["draft", "scheduled", "in_progress", "finished"])
    def test_queries_do_not_grow(self, tab: str, marta: Client, marketer: Actor, django_assert_max_num_queries: Any):
        make_people(marketer)
        for n in range(3):
            make_export(marketer, name=f"Draft {n}")
            feed = make_recurring(marketer, name=f"Feed {n}")
            services.export_run_now(export=feed, by=marketer)
            work()
            services.export_run_now(export=feed, by=marketer)
        with django_assert_max_num_queries(LIST_QUERIES):
            assert names(get(marta, f"{LIST}?tab={tab}"))

    def test_htmx_gets_the_results_and_new_figures(self, marta: Client, marketer: Actor):
        make_export(marketer, name="One")
        response = marta.get(f"{LIST}?tab=draft&q=&type=one_shot", headers={**RESULTS, "HX-Trigger": "export-filter"})
        html = response.content.decode()
        assert "<html" not in html
        assert 'id="count-type-one_shot" hx-swap-oob="true">1<' in html
        assert 'id="export-tabs"' in html
        assert response["HX-Replace-Url"] == f"{LIST}?tab=draft&type=one_shot"
        assert "HX-Target" in response["Vary"]

    def test_deleted_drafts_leave_their_runs(self, marta: Client, marketer: Actor):
        make_people(marketer)
        feed = make_recurring(marketer)
        services.export_run_now(export=feed, by=marketer)
        work()
        run = last_run(feed)
        services.export_delete(export=services.export_unschedule(export=feed, by=marketer), by=marketer)
        assert names(get(marta, f"{LIST}?tab=finished")) == ["Feed"]
        assert "Transfer box" in row(get(marta, f"{LIST}?tab=finished"), f"run-{run.pk}")
        assert "delivered to Transfer box" in text(get(marta, f"{LIST}runs/{run.pk}/"))
        assert "Transfer box" in text(get(marta, f"{LIST}runs/{run.pk}/definition/"))


class TestDrawers:
    def test_definition(self, marta: Client, marketer: Actor):
        make_people(marketer, 5)
        feed = make_recurring(
            marketer,
            filter={"and": [{"field": "attributes.tier", "op": "is", "value": "Gold"}]},
            recipients=["crm@example.com"],
        )
        for _n in range(2):
            services.export_run_now(export=feed, by=marketer)
            work()
        html = get(marta, f"{LIST}{feed.pk}/", **FRAGMENT)
        said = text(html)
        for part in (
            "Database Audience", "Profile, created or updated", "email", "tier is Gold", "Rows now 2",
            "CSV, UTF-8, commas, header row", "feed_$run.csv", "Transfer box", "Every day at 06:30, Europe/Lisbon",
            "crm@example.com, after every run", "Next five runs", "Last runs",
        ):  # fmt: skip
            assert part in said, part
        assert html.count("<tr><td>") == 5  # next runs
        assert html.count('class="hit"') == 2  # bars of the chart
        assert "<html" not in html
        assert "<html" in get(marta, f"{LIST}{feed.pk}/")

    def test_stopped_after_five_failures(self, marta: Client, marketer: Actor):
        make_people(marketer)
        feed = make_recurring(marketer)
        with nothing_delivered(marketer):
            for _n in range(5):
                services.export_run_now(export=feed, by=marketer)
                work()
        html = get(marta, f"{LIST}?tab=draft")
        assert "Stopped after five failures" in row(html, f"export-{feed.pk}")
        said = text(get(marta, f"{LIST}{feed.pk}/"))
        assert "Batchdesk stopped this export after five failures in a row" in said
        report = get(marta, f"{LIST}runs/{last_run(feed).pk}/")
        assert "fifth failure in a row" in report
        assert 'class="bad"' in get(marta, f"{LIST}{feed.pk}/")

    def test_support_staffs_own(self, marta: Client, marketer: Actor):
        make_people(marketer)
        feed = make_recurring(marketer)
        services.export_run_now(export=feed, by=marketer)
        work()
        Export.objects.update(support_note="The mixed order of columns")
        of_type(feed, ExportType.INCREMENTAL_CUSTOM)
        said = text(get(marta, f"{LIST}{feed.pk}/"))
        assert "it may differ from what you see The mixed order of columns" in said
        assert "Columns email , tier" in said
        of_type(feed, ExportType.CUSTOM)
        ExportRun.objects.update(type=ExportType.CUSTOM)
        html = get(marta, f"{LIST}{feed.pk}/", **FRAGMENT)
        assert "Columns" not in html
        assert "Last runs" in html
        assert "View status and reports" in get(marta)
        run = last_run(feed)
        report = get(marta, f"{LIST}runs/{run.pk}/", **FRAGMENT)
        for no in ("/copy/", "/download", "/definition/", "/relaunch/", "/window-again/"):
            assert no not in report
        assert marta.get(f"{LIST}runs/{run.pk}/definition/").status_code == 409
        assert marta.get(f"{LIST}{feed.pk}/copy/").status_code == 409
        assert marta.get(f"{LIST}{feed.pk}/unschedule/").status_code == 409
        assert marta.post(f"{LIST}{feed.pk}/unschedule/", {"for_good": "on"}).status_code == 409

    def test_report_of_a_success(self, marta: Client, marketer: Actor):
        make_people(marketer)
        feed = make_recurring(marketer, file={"format": "csv", "compression": "gzip", "name_pattern": "feed"})
        for _n in range(2):
            services.export_run_now(export=feed, by=marketer)
            work()
        runs = list(ExportRun.objects.filter(export=feed).order_by("pk"))
        said = text(get(marta, f"{LIST}runs/{runs[0].pk}/"))
        file = runs[0].file
        assert file
        for part in (
            "3 rows delivered to Transfer box", "The next run sends only what changes after", "Wrote the file",
            "Delivered to Transfer box", "Status Succeeded", "Started", "Ended", "Duration under 1 s",
            "File feed.csv.gz", "Rows 3", f"SHA-256 {file.sha256}", "Window Everything up to",
            "Delivered as out/feed.csv.gz",
            "gzip, 1 KB unpacked" if (runs[0].content_bytes or 0) >= 1000 else "gzip,",
        ):  # fmt: skip
            assert part in said, part
        second = text(get(marta, f"{LIST}runs/{runs[1].pk}/").split('class="drawer"')[1])
        assert "Window Changes after" in second
        assert "0 rows delivered to Transfer box" in second
        assert "The file has no rows." not in second  # once is enough

    def test_report_of_a_run_that_sent_nothing(self, marta: Client, marketer: Actor):
        make_people(marketer, 0)
        feed = make_recurring(marketer, send_empty=False)
        services.export_run_now(export=feed, by=marketer)
        work()
        said = text(get(marta, f"{LIST}runs/{last_run(feed).pk}/").split('class="drawer"')[1])
        assert said.count("nothing to send") == 1
        assert "The file has no rows." not in said

    def test_report_of_what_never_ran(self, marta: Client, marketer: Actor):
        feed = make_recurring(marketer)
        services.run_record(feed, fault="MISSED", scheduled_for=timezone.now(), now=timezone.now())
        run = last_run(feed)
        said = text(get(marta, f"{LIST}runs/{run.pk}/"))
        assert "Nothing ran at that time" in said
        assert "Error code MISSED , relaunching cannot help" in said
        assert "On schedule, for" in said
        assert marta.post(f"{LIST}runs/{run.pk}/relaunch/").status_code == 409

    def test_the_definition_as_it_was(self, marta: Client, marketer: Actor):
        make_people(marketer)
        feed = make_recurring(marketer)
        services.export_run_now(export=feed, by=marketer)
        work()
        draft = services.export_unschedule(export=feed, by=marketer)
        services.export_update(
            export=draft, by=marketer, changes={"columns": [{"field": "partner_user_id", "header": "number"}]}
        )
        said = text(get(marta, f"{LIST}runs/{last_run(feed).pk}/definition/"))
        assert "email , tier" in said
        assert "As it was for the run of" in said

    def test_neighbours(self, marta: Client, marketer: Actor):
        made = [make_export(marketer, name=name) for name in ("One", "Two", "Three")]
        html = get(marta, f"{LIST}{made[1].pk}/", **FRAGMENT)
        assert f'href="{LIST}{made[2].pk}/?tab=draft"' in html
        assert f'href="{LIST}{made[0].pk}/?tab=draft"' in html

    def test_foreign_and_unknown(self, marta: Client, marketer: Actor):
        other = make_actor()
        make_people(other)
        export = make_export(other)
        run = one_shot(other, name="Once")
        for url in (f"{export.pk}/", f"runs/{run.pk}/", f"runs/{run.pk}/download", "999999/", "runs/999999/"):
            assert marta.get(f"{LIST}{url}").status_code == 404
        assert marta.post(f"{LIST}runs/{run.pk}/why/", {"email": "a@example.com"}).status_code == 404


class TestLive:
    def test_a_run_while_it_goes_on(self, marta: Client, marketer: Actor):
        make_people(marketer)
        feed = make_recurring(marketer)
        services.export_run_now(export=feed, by=marketer)
        run = last_run(feed)
        assert run.job
        assert 'hx-trigger="every 2s"' in get(marta, f"{LIST}runs/{run.pk}/")
        assert active_count(marketer.account) == 1
        rows = f"row=run-{run.pk}&row=export-{feed.pk}&row=x&row=run-0"
        url = f"{LIST}live/?{rows}&open=run-{run.pk}&query=?tab=in_progress"
        first = marta.get(url)
        assert first.headers["Cache-Control"] == "no-store"
        again = marta.get(url, headers={"If-None-Match": first["ETag"]})
        assert again.status_code == 304
        job = run.job
        job.status, job.started_at, job.reader_state = "in_progress", timezone.now(), {"rows": 1234, "bytes": 5_000_000}
        job.save()
        response = marta.get(url, headers={"If-None-Match": first["ETag"]})
        html = response.content.decode()
        assert "1,234" in row(html, f"run-{run.pk}")
        assert "5.0 MB" in text(html)
        assert 'id="run-body" hx-swap-oob="true"' in html
        job.status, job.started_at, job.reader_state = "pending", None, {}
        job.save()
        work()
        html = marta.get(url).content.decode()
        assert "Succeeded" in row(html, f"run-{run.pk}")
        assert "Succeeded" in row(html, f"export-{feed.pk}")
        assert "every 2s" not in html
        assert 'id="nav-count-export_list" data-tone="accent" hx-swap-oob="true" hidden' in html

    def test_others_see_nothing(self, marketer: Actor):
        run = make_recurring(marketer)
        other = client_of(make_actor())
        assert "Feed" not in other.get(f"{LIST}live/?row=export-{run.pk}&open=run-1").content.decode()


def offered(html: str) -> set[str]:
    """Which routes of actions a page leads to."""
    return set(re.findall(r"/exports/(?:runs/)?\d+/([a-z-]+)[/\"?]", html))


ROUTES = {
    Action.EDIT: "edit", Action.COPY: "copy", Action.SCHEDULE: "schedule", Action.RUN_NOW: "run",
    Action.RESYNC: "resync", Action.UNSCHEDULE: "unschedule", Action.DELETE: "delete",
}  # fmt: skip
RUN_ROUTES = {
    RunAction.DOWNLOAD: "download", RunAction.RELAUNCH: "relaunch", RunAction.WINDOW_AGAIN: "window-again",
    RunAction.COPY: "copy", RunAction.CANCEL: "cancel", RunAction.VIEW: "definition",
}  # fmt: skip


class TestActions:
    @pytest.mark.parametrize("role", [Role.VIEWER, Role.MARKETER, Role.MANAGER])
    @pytest.mark.parametrize("state", [State.DRAFT, State.SCHEDULED, State.STARTED])
    @pytest.mark.parametrize("type_", ALL_TYPES)
    def test_offered_and_done_in_each_state(self, type_: str, state: State, role: Role, marketer: Actor):
        client = colleague(marketer, role)
        for action in WAYS:
            if action == Action.VIEW:
                continue
            export = make_export(
                marketer, name=f"A {action}", type="incremental", destination="transfer_box",
                schedule={"cadence": "daily", "at": "06:30", "timezone": "UTC"},
            )  # fmt: skip
            next_run = timezone.now() + dt.timedelta(hours=1) if state == State.SCHEDULED else None
            Export.objects.filter(pk=export.pk).update(
                type=type_, state=state, next_run_at=next_run, scheduled_at=timezone.now()
            )
            rule = ACTIONS[action]
            possible = state in rule.states and type_ in rule.types
            drawer = get(client, f"{LIST}{export.pk}/", **FRAGMENT)
            assert (ROUTES[action] in offered(drawer)) == (possible and role != Role.VIEWER), action
            if action == Action.EDIT:
                continue
            data = {"name": f"Copy for {action}", "for_good": "on"}
            response = client.post(f"{LIST}{export.pk}/{ROUTES[action]}/", data)
            expected = 403 if role == Role.VIEWER else 303 if possible else 409
            assert response.status_code == expected, (action, response.status_code)

    @pytest.mark.parametrize("role", [Role.VIEWER, Role.MARKETER])
    @pytest.mark.parametrize("state", list(RunState))
    @pytest.mark.parametrize("type_", ALL_TYPES)
    def test_of_runs(self, type_: str, state: RunState, role: Role, marketer: Actor):
        make_people(marketer)
        client = colleague(marketer, role)
        feed = make_recurring(marketer)
        if state == RunState.FAILED:
            services.export_run_now(export=feed, by=marketer)
            with nothing_delivered(marketer):
                work()
        else:
            for _n in range(2):  # the second covers a window
                services.export_run_now(export=feed, by=marketer)
                if state == RunState.SUCCEEDED:
                    work()
                elif state == RunState.CANCELED:
                    services.run_cancel(run=last_run(feed), by=marketer)
                else:
                    break
        run = last_run(feed)
        ExportRun.objects.filter(pk=run.pk).update(type=type_)
        run = last_run(feed)
        assert run.state == state
        allowed = services.run_actions_allowed(run, by=make_actor(marketer.account, role))
        drawer = get(client, f"{LIST}runs/{run.pk}/", **FRAGMENT)
        for action, route in RUN_ROUTES.items():
            assert (route in offered(drawer)) == (action in allowed), action
            rule = RUN_ACTIONS[action]
            if not (state in rule.states and type_ in rule.types):
                assert action not in allowed
            if action in (RunAction.DOWNLOAD, RunAction.VIEW):
                if action in allowed:
                    response = client.get(f"{LIST}runs/{run.pk}/{route}{'' if route == 'download' else '/'}")
                    b"".join(response.streaming_content) if response.streaming else None
                    assert response.status_code == 200
                continue
            response = client.post(f"{LIST}runs/{run.pk}/{route}/", {"name": "The copy"})
            expected = 403 if role == Role.VIEWER else 303 if action in allowed else 409
            assert response.status_code == expected, (action, response.content.decode()[-800:])
            if action in (RunAction.RELAUNCH, RunAction.WINDOW_AGAIN):
                break  # it goes on now

    def test_copy_asks_for_another_name(self, marta: Client, marketer: Actor):
        export = make_export(marketer, name="First")
        assert "Copy of First" in get(marta, f"{LIST}{export.pk}/copy/", **FRAGMENT)
        response = marta.post(f"{LIST}{export.pk}/copy/", {"name": "first"})
        assert response.status_code == 422
        assert "Another export of this account has this name." in response.content.decode()
        assert marta.post(f"{LIST}{export.pk}/copy/", {"name": " "}).status_code == 422
        response = marta.post(f"{LIST}{export.pk}/copy/", {"name": "Second"})
        copy = Export.objects.get(name="Second")
        assert (response.status_code, response["Location"]) == (303, f"{LIST}{copy.pk}/edit/")
        assert copy.columns == export.columns

    def test_copy_of_incremental_custom_is_a_standard_draft(self, marta: Client, marketer: Actor):
        feed = of_type(make_recurring(marketer), ExportType.INCREMENTAL_CUSTOM)
        assert "may differ a little" in get(marta, f"{LIST}{feed.pk}/copy/", **FRAGMENT)
        marta.post(f"{LIST}{feed.pk}/copy/", {"name": "Mine"})
        copy = Export.objects.get(name="Mine")
        assert (copy.type, copy.state) == (ExportType.INCREMENTAL, State.DRAFT)
        feed.refresh_from_db()
        assert (feed.type, feed.state) == (ExportType.INCREMENTAL_CUSTOM, State.SCHEDULED)

    def test_delete_asks_first(self, marta: Client, marketer: Actor):
        export = make_export(marketer)
        assert "Delete “Everybody”?" in get(marta, f"{LIST}{export.pk}/delete/", **FRAGMENT)
        assert Export.objects.filter(pk=export.pk).exists()
        response = marta.post(f"{LIST}{export.pk}/delete/")
        assert response["Location"] == f"{LIST}?tab=draft"
        assert not Export.objects.filter(pk=export.pk).exists()
        assert marta.post(f"{LIST}{export.pk}/delete/").status_code == 404

    def test_schedule_says_what_is_missing(self, marta: Client, marketer: Actor):
        export = make_export(marketer, type="incremental")
        response = marta.post(f"{LIST}{export.pk}/schedule/")
        assert response.status_code == 409
        assert "goes to a destination, not to a download" in response.content.decode()
        services.export_update(
            export=export,
            by=marketer,
            changes={
                "destination": "transfer_box",
                "schedule": {"cadence": "daily", "at": "06:30", "timezone": "UTC"},
            },
        )
        response = marta.post(f"{LIST}{export.pk}/schedule/", follow=True)
        assert "is scheduled. It runs next:" in response.content.decode()
        export.refresh_from_db()
        assert export.state == State.SCHEDULED

    def test_a_one_shot_starts_at_once(self, marta: Client, marketer: Actor):
        make_people(marketer)
        export = make_export(marketer)
        assert "Export now" in get(marta, f"{LIST}{export.pk}/")
        response = marta.post(f"{LIST}{export.pk}/schedule/")
        assert response["Location"] == f"{LIST}runs/{last_run(export).pk}/"

    def test_unschedule_says_what_stops(self, marta: Client, marketer: Actor):
        feed = make_recurring(marketer)
        said = text(get(marta, f"{LIST}{feed.pk}/unschedule/", **FRAGMENT))
        assert "All runs, beginning with" in said
        assert "Europe/Lisbon" in said
        assert "support" not in said
        assert marta.post(f"{LIST}{feed.pk}/unschedule/").status_code == 303
        feed.refresh_from_db()
        assert (feed.state, feed.next_run_at) == (State.DRAFT, None)

    def test_unschedule_for_good_takes_a_tick(self, marta: Client, marketer: Actor):
        feed = of_type(make_recurring(marketer), ExportType.INCREMENTAL_CUSTOM)
        asked = get(marta, f"{LIST}{feed.pk}/unschedule/", **FRAGMENT)
        assert 'data-unlocks="unschedule-go"' in asked
        response = marta.post(f"{LIST}{feed.pk}/unschedule/")
        assert response.status_code == 422
        assert "for good. Confirm that." in response.content.decode()
        feed.refresh_from_db()
        assert (feed.type, feed.state) == (ExportType.INCREMENTAL_CUSTOM, State.SCHEDULED)
        assert marta.post(f"{LIST}{feed.pk}/unschedule/", {"for_good": "on"}).status_code == 303
        feed.refresh_from_db()
        assert (feed.type, feed.state) == (ExportType.INCREMENTAL, State.DRAFT)

    def test_send_everything_again(self, marta: Client, marketer: Actor):
        feed = make_recurring(marketer)
        assert "sends all matching rows" in get(marta, f"{LIST}{feed.pk}/resync/", **FRAGMENT)
        response = marta.post(f"{LIST}{feed.pk}/resync/", follow=True)
        assert "The next run sends everything, not only what is new." in response.content.decode()

    def test_relaunch_delivers_the_same_file(self, marta: Client, marketer: Actor):
        make_people(marketer)
        feed = make_recurring(marketer)
        services.export_run_now(export=feed, by=marketer)
        with nothing_delivered(marketer):
            work()
        run = last_run(feed)
        built = bytes_of(run)
        assert "Relaunch the delivery" in get(marta, f"{LIST}runs/{run.pk}/")
        assert marta.post(f"{LIST}runs/{run.pk}/relaunch/")["Location"] == f"{LIST}runs/{run.pk}/"
        assert marta.post(f"{LIST}runs/{run.pk}/relaunch/").status_code == 409
        work()
        run = last_run(feed)
        assert (run.state, bytes_of(run)) == (RunState.SUCCEEDED, built)
        assert "again:" in row(get(marta, f"{LIST}?tab=finished"), f"run-{run.pk}")

    def test_posts_without_a_token_are_refused(self, marketer: Actor):
        client = Client(enforce_csrf_checks=True)
        client.force_login(marketer.user)  # type: ignore[arg-type]
        export = make_export(marketer)
        assert client.post(f"{LIST}{export.pk}/delete/").status_code == 403

    def test_every_action_has_a_way(self):
        assert set(WAYS) == set(Action)
        assert set(RUN_WAYS) == set(RunAction)


class TestDownload:
    @pytest.fixture
    def run(self, marketer: Actor) -> ExportRun:
        make_people(marketer, 100)
        return one_shot(marketer)

    def fetch(self, client: Client, run: ExportRun, **headers: str) -> tuple[Any, bytes]:
        response = client.get(f"{LIST}runs/{run.pk}/download", headers=headers)
        content = b"".join(response.streaming_content) if response.streaming else response.content
        response.close()
        return response, content

    def test_whole(self, marta: Client, run: ExportRun):
        response, content = self.fetch(marta, run)
        whole = bytes_of(run)
        assert content == whole
        assert run.file
        assert response["Content-Length"] == str(len(whole))
        assert response["ETag"] == f'"{run.file.sha256}"'
        assert response["Accept-Ranges"] == "bytes"
        assert response["Content-Type"] == "text/csv"
        assert 'attachment; filename="people.csv"' in response["Content-Disposition"]
        assert response["X-Content-Type-Options"] == "nosniff"

    def test_head(self, marta: Client, run: ExportRun):
        response = marta.head(f"{LIST}runs/{run.pk}/download")
        assert (response.status_code, response["Content-Length"]) == (200, str(len(bytes_of(run))))
        assert response.content == b""

    @pytest.mark.parametrize(
        ("asked", "start", "end"),
        [
            ("bytes=0-9", 0, 10),
            ("bytes=100-", 100, None),
            ("bytes=-5", -5, None),
            ("bytes=10-99999999", 10, None),
            ("bytes=-99999999", 0, None),
            ("bytes=0-0", 0, 1),
        ],
    )
    def test_a_part(self, asked: str, start: int, end: int | None, marta: Client, run: ExportRun):
        whole = bytes_of(run)
        response, content = self.fetch(marta, run, Range=asked)
        part = whole[start:end]
        assert (response.status_code, content) == (206, part)
        first = start if start >= 0 else len(whole) + start
        assert response["Content-Range"] == f"bytes {first}-{first + len(part) - 1}/{len(whole)}"
        assert response["Content-Length"] == str(len(part))

    @pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=-0"])
    def test_beyond_the_end(self, asked: str, marta: Client, run: ExportRun):
        response, _content = self.fetch(marta, run, Range=asked)
        assert (response.status_code, response["Content-Range"]) == (416, f"bytes */{len(bytes_of(run))}")

    @pytest.mark.parametrize("asked", ["bytes=5-2", "bytes=0-1,5-6", "rows=0-5", "bytes=-", "bytes=a-b", "0-5"])
    def test_what_is_no_single_range_gets_the_whole(self, asked: str, marta: Client, run: ExportRun):
        response, content = self.fetch(marta, run, Range=asked)
        assert (response.status_code, content) == (200, bytes_of(run))

    def test_conditions(self, marta: Client, run: ExportRun):
        assert run.file
        etag = f'"{run.file.sha256}"'
        assert self.fetch(marta, run, **{"If-None-Match": etag})[0].status_code == 304
        assert self.fetch(marta, run, **{"If-None-Match": '"other"'})[0].status_code == 200
        assert self.fetch(marta, run, **{"Range": "bytes=0-4", "If-Range": etag})[0].status_code == 206
        assert self.fetch(marta, run, **{"Range": "bytes=0-4", "If-Range": '"other"'})[0].status_code == 200
        assert self.fetch(marta, run, **{"If-Match": '"other"'})[0].status_code == 412

    def test_a_broken_download_goes_on(self, marta: Client, run: ExportRun):
        whole = bytes_of(run)
        got = whole[:777]
        response, rest = self.fetch(marta, run, Range=f"bytes={len(got)}-")
        assert got + rest == whole
        assert response.status_code == 206

    def test_gone(self, marta: Client, run: ExportRun):
        assert run.file
        remove_bytes(run.file)
        response = marta.get(f"{LIST}runs/{run.pk}/download")
        assert response.status_code == 404
        assert "The file of this run is no longer kept" in response.content.decode()
        run.file.removed_at = timezone.now()
        run.file.save()
        assert "The file was removed on" in get(marta, f"{LIST}runs/{run.pk}/")

    def test_what_recurs_is_not_downloaded(self, marta: Client, marketer: Actor):
        make_people(marketer)
        feed = make_recurring(marketer)
        services.export_run_now(export=feed, by=marketer)
        work()
        response = marta.get(f"{LIST}runs/{last_run(feed).pk}/download")
        assert response.status_code == 409
        assert "Only one-shot exports can be downloaded" in response.content.decode()


class TestWhy:
    def ask(self, client: Client, run: ExportRun, email: str, status: int = 200) -> str:
        headers = {"HX-Request": "true", "HX-Target": "run-why"}
        response = client.post(f"{LIST}runs/{run.pk}/why/", {"email": email}, headers=headers)
        assert response.status_code == status
        return text(response.content.decode())

    @pytest.mark.parametrize(
        "file",
        [
            {"format": "csv", "delimiter": ";"},
            {"format": "csv", "delimiter": "\t", "quoting": "all", "header": False, "encoding": "utf-8-sig"},
            {"format": "psv", "compression": "gzip"},
            {"format": "ndjson", "compression": "zip"},
        ],
        ids=["csv", "tab", "psv-gzip", "ndjson-zip"],
    )
    def test_in_row(self, file: dict[str, Any], marta: Client, marketer: Actor):
        make_people(marketer, 30)
        run = one_shot(marketer, file=file)
        assert run.state == RunState.SUCCEEDED
        lines = list(Profile.objects.order_by("pk").values_list("email", flat=True))
        assert "In row 8 of the file" in self.ask(marta, run, f" {str(lines[7]).upper()} ")

    def test_a_kind_of_file_without_rows_to_point_at(self, marta: Client, marketer: Actor):
        make_people(marketer, 3)
        run = one_shot(marketer, file={"format": "xlsx"})
        assert "In the data, and the filter lets them through" in self.ask(marta, run, "person-00001@example.com")

    def test_filtered_and_suppressed_and_not_there(self, marta: Client, marketer: Actor):
        database = make_people(marketer, 6)
        Suppression.objects.create(
            database=database, email_sha256=hash_of("person-00003@example.com"), reason="Too many messages"
        )
        run = one_shot(
            marketer,
            filter={
                "and": [
                    {"field": "attributes.tier", "op": "is", "value": "Gold"},
                    {"field": "opted_out", "op": "is_false"},
                ]
            },
        )
        gold = "person-00000@example.com"
        assert "In row 1 of the file" in self.ask(marta, run, gold)
        silver = self.ask(marta, run, "person-00001@example.com")
        assert "The filter leaves them out" in silver
        assert "tier is Gold" in silver
        opted_out = self.ask(marta, run, "person-00003@example.com")
        assert "Opted out of e-mail" in opted_out
        assert "E-mail is not opted out" in opted_out
        assert "Not in the table" in self.ask(marta, run, "nobody@example.com")

    def test_outside_the_window(self, marta: Client, marketer: Actor):
        make_people(marketer, 3)
        feed = make_recurring(marketer)
        for _n in range(2):
            services.export_run_now(export=feed, by=marketer)
            work()
        run = last_run(feed)
        assert run.rows == 0
        said = self.ask(marta, run, "person-00001@example.com")
        assert "Outside the window of this run" in said
        assert "an earlier run sent what there is" in said
        make_people(marketer, 1, first=50)
        assert "the next run sends it" in self.ask(marta, run, "person-00050@example.com")

    def test_changed_since(self, marta: Client, marketer: Actor):
        make_people(marketer, 3)
        run = one_shot(marketer)
        make_people(marketer, 1, first=50)
        assert "The data have changed since the run" in self.ask(marta, run, "person-00050@example.com")

    @pytest.mark.parametrize("email", ["", "person", "a@b", "x" * 300 + "@example.com", "<script>@example.com"])
    def test_no_address(self, email: str, marta: Client, marketer: Actor):
        make_people(marketer)
        run = one_shot(marketer)
        self.ask(marta, run, email, status=422)

    def test_without_script_the_answer_is_a_page(self, marta: Client, marketer: Actor):
        make_people(marketer)
        run = one_shot(marketer)
        response = marta.post(f"{LIST}runs/{run.pk}/why/", {"email": "nobody@example.com"})
        assert "<html" in response.content.decode()
        assert "Not in the table" in response.content.decode()

    def test_of_subscriptions_and_when_the_list_is_gone(self, marta: Client, marketer: Actor):
        database = make_people(marketer)
        Suppression.objects.create(database=database, email_sha256=hash_of("person-00001@example.com"))
        run = one_shot(marketer, data_type="subscription", columns=None)
        assert "In row 1 of the file" in self.ask(marta, run, "person-00001@example.com")
        assert "never opted out" in self.ask(marta, run, "person-00002@example.com")
        ExportRun.objects.filter(pk=run.pk).update(
            definition={**run.definition, "data_type": "list_member", "table": "Gone"}
        )
        assert "There is no list “Gone”." in self.ask(marta, run, "person-00001@example.com")


def hash_of(email: str) -> str:
    return sha256(email.encode()).hexdigest()


def test_a_destination_that_was_removed(marta: Client, marketer: Actor):
    make_people(marketer)
    feed = make_recurring(marketer)
    services.export_run_now(export=feed, by=marketer)
    work()
    services.export_delete(export=services.export_unschedule(export=feed, by=marketer), by=marketer)
    Destination.objects.all().delete()
    assert "A destination that was removed" in get(marta, f"{LIST}?tab=finished")
