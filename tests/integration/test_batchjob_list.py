"""The list: what it shows, its search, filters, sort and keyset pages, all from the URL."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from accounts.actors import Actor
from accounts.permissions import Role
from batchjobs.filters import BatchJobFilter
from batchjobs.models import BatchJob
from batchjobs.states import Status
from console.tables import COUNT_CAP, counts_capped
from tests.factories import make_actor
from tests.operations import make_job

LIST = "/batch-jobs/"
# Session, person, memberships; the counts in one statement; the page; the person's views; two numbers in the sidebar.
LIST_QUERIES = 9


def names(html: str) -> list[str]:
    return re.findall(r'<a class="stretched"[^>]*>([^<]*)</a>', html)


def get(client: Client, url: str = LIST, **headers: str) -> str:
    response = client.get(url, headers=headers)
    assert response.status_code == 200
    return response.content.decode()


@pytest.mark.parametrize("jobs", [0, 1, 50])
def test_queries_do_not_grow(jobs: int, marta: Client, marketer: Actor, django_assert_num_queries: Any) -> None:
    statuses = [Status.DONE, Status.IN_PROGRESS, Status.FAILED, Status.PENDING, Status.CANCELED]
    for n in range(jobs):
        make_job(marketer.account, statuses[n % 5], by=marketer.user)
    with django_assert_num_queries(LIST_QUERIES):
        get(marta)


def test_shows_only_the_accounts_jobs(marta: Client, marketer: Actor) -> None:
    make_job(marketer.account, name="Ours")
    make_job(make_actor().account, name="Theirs")
    assert names(get(marta)) == ["Ours"]


def test_empty_account_is_taught(marta: Client) -> None:
    assert "Bring in your first file" in get(marta)


def test_viewer_is_not_offered_what_they_may_not_do(marketer: Actor) -> None:
    viewer = make_actor(marketer.account, Role.VIEWER)
    client = Client()
    client.force_login(viewer.user)  # type: ignore[arg-type]
    assert "New batch job</a>" not in get(client)
    make_job(marketer.account)
    assert "New batch job</a>" not in get(client)
    assert client.get(f"{LIST}new/").status_code == 403


def test_search_is_a_part_of_the_name_and_nothing_else(marta: Client, marketer: Actor) -> None:
    for name in ("100% cotton", "1000 cotton", "ÉTÉ in Lisbon", "a_b", "axb", "back\\slash"):
        make_job(marketer.account, name=name)
    assert names(get(marta, LIST + "?q=0%25+COT")) == ["100% cotton"]
    assert names(get(marta, LIST + "?q=a_b")) == ["a_b"]
    assert names(get(marta, LIST + "?q=été")) == ["ÉTÉ in Lisbon"]
    assert names(get(marta, LIST + "?q=K%5C")) == ["back\\slash"]


def test_search_is_served_by_the_trigram_index(marketer: Actor) -> None:
    jobs = [BatchJob(account=marketer.account, name=f"Newsletter {n} {n * 7919 % 9973}") for n in range(4000)]
    BatchJob.objects.bulk_create(jobs)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE batchjobs_batchjob")
    mine = BatchJob.objects.for_account(marketer.account)
    queryset = BatchJobFilter({"q": "Letter 3999"}, queryset=mine).qs
    assert "job_name_trigrams" in queryset.explain()
    assert queryset.count() == 1


def test_statuses_have_counts_and_chips(marta: Client, marketer: Actor) -> None:
    for status in (Status.DONE, Status.DONE, Status.FAILED, Status.PENDING):
        make_job(marketer.account, status)
    html = get(marta, LIST + "?status=done&status=failed")
    assert len(names(html)) == 3
    assert "3 of 3 jobs" in html
    assert '<span class="n" id="count-done">2</span>' in html
    assert '<span class="n" id="count-pending">1</span>' in html
    assert 'href="/batch-jobs/?status=failed" aria-label="Remove the filter Status: Done"' in html


def test_nothing_found(marta: Client, marketer: Actor) -> None:
    make_job(marketer.account)
    html = get(marta, LIST + "?q=<script>alert(1)</script>&status=failed")
    assert "Clear the filters" in html
    assert "<script>alert" not in html


@pytest.mark.parametrize(
    "sort", ["", "created", "name", "-name", "type", "-type", "valid", "-valid", "rejected", "-rejected"]
)
def test_pages_show_every_job_once(sort: str, marta: Client, marketer: Actor) -> None:
    statuses = [Status.DONE, Status.PENDING, Status.IN_PROGRESS]
    for n in range(60):
        make_job(marketer.account, statuses[n % 3], name=f"Job {n:02}", valid=n % 7, invalid=n % 2)
    seen: list[str] = []
    url, newer = f"{LIST}?sort={sort}", ""
    for _page in range(3):
        html = get(marta, url)
        seen += names(html)
        newer = _link(html, "prev") or newer
        url = _link(html, "next")
    assert url == ""
    assert len(seen) == 60
    assert len(set(seen)) == 60
    assert names(get(marta, newer)) == seen[25:50] or names(get(marta, newer)) == seen[:25]
    if sort in ("name", "-name"):
        assert seen == sorted(seen, reverse=sort == "-name")


def _link(html: str, rel: str) -> str:
    found = re.search(rf'<a class="btn" data-size="s" href="([^"]*)"[^>]* rel="{rel}"', html)
    return found.group(1).replace("&amp;", "&") if found else ""


def test_page_before_is_the_same_page(marta: Client, marketer: Actor) -> None:
    for n in range(80):
        make_job(marketer.account, name=f"Job {n:02}")
    first = get(marta)
    second = get(marta, _link(first, "next"))
    third = get(marta, _link(second, "next"))
    assert names(get(marta, _link(third, "prev"))) == names(second)
    assert names(get(marta, _link(second, "prev"))) == names(first)


def test_new_sort_shows_the_first_page_and_keeps_the_filter(marta: Client, marketer: Actor) -> None:
    for n in range(30):
        make_job(marketer.account, name=f"Job {n:02}")
    second = get(marta, _link(get(marta, LIST + "?q=job"), "next"))
    assert 'href="/batch-jobs/?q=job&amp;sort=name"' in second


@pytest.mark.parametrize(
    "query",
    [
        "after=x",
        "after=%00",
        "before=!!!",
        "after=bnVsbA",
        "after=WzEsMiwzXQ",
        "sort=drop+table",
        "status=nonsense",
        "q=%00",
        "q=" + "x" * 5000,
        "after=WyItY3JlYXRlZCIsIjIwMjYiLDFd",
        "after=WyItY3JlYXRlZCIsIjAwMDEtMDEtMDFUMDA6MDA6MDArMTQ6MDAiLDFd",
        "after=WyItY3JlYXRlZCIsIjIwMjYtMDEtMDFUMDA6MDA6MDArMDA6MDAiLDFlOTldt",
        "sort=valid&after=WyJ2YWxpZCIsOTk5OTk5OTk5OTk5OTk5OTk5OTk5OSwxXQ",
        "sort=name&after=WyJuYW1lIiwiXHUwMDAwIiwxXQ",
        "sort=name&after=WyJuYW1lIiwiXHVkODAwIiwxXQ",
        "after=%C3%A9",
        "status=%00",
    ],
)
def test_wrong_parameters_show_a_page(query: str, marta: Client, marketer: Actor) -> None:
    job = make_job(marketer.account, name="Job")
    get(marta, f"{LIST}?{query}")
    get(marta, f"{LIST}{job.pk}/?{query}")


def test_counts_stop_at_the_cap(marketer: Actor) -> None:
    for _ in range(4):
        make_job(marketer.account)
    jobs = BatchJob.objects.for_account(marketer.account)
    assert counts_capped({"all": jobs, "none": jobs.none()}, cap=2) == {"all": 3, "none": 0}
    assert COUNT_CAP == 10_000


def test_htmx_gets_the_results_alone(marta: Client, marketer: Actor) -> None:
    make_job(marketer.account)
    fragment = get(marta, LIST, **{"HX-Request": "true", "HX-Target": "results"})
    assert "<!doctype" not in fragment
    assert 'id="count-done" hx-swap-oob="true"' in fragment
    assert "<!doctype" in get(marta, LIST, **{"HX-Request": "true", "HX-History-Restore-Request": "true"})


def test_page_polls_only_while_something_is_active(marta: Client, marketer: Actor) -> None:
    make_job(marketer.account)
    assert "data-live-poll" not in get(marta)
    make_job(marketer.account, Status.PENDING)
    assert "data-live-poll" in get(marta)


def test_what_people_enter_is_escaped(marta: Client, marketer: Actor) -> None:
    make_job(
        marketer.account,
        Status.CANCELED,
        name="<script>alert(1)</script>",
        canceled_by="<b>x</b>",
        file_name="<i>.csv",
    )
    html = get(marta)
    assert "<script>alert" not in html
    assert "<b>x" not in html
    assert "<i>.csv" not in html


def test_times_are_in_the_persons_zone(marta: Client, marketer: Actor) -> None:
    job = make_job(marketer.account, age=dt.timedelta(days=40))
    BatchJob.objects.filter(pk=job.pk).update(
        created_at=dt.datetime(2026, 1, 1, 22, tzinfo=dt.UTC),
        started_at=dt.datetime(2026, 1, 1, 22, tzinfo=dt.UTC),
    )
    assert marketer.user is not None
    marketer.user.time_zone = "Asia/Tokyo"
    marketer.user.save()
    assert "2 Jan 2026" in get(marta)
