"""“Search by” and the days of the list, and what of the jobs is nobody's to see."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.http import QueryDict
from django.test import Client
from django.utils import timezone

from accounts.actors import Actor
from accounts.models import ApiKey
from accounts.services import api_key_create
from batchjobs.filters import BatchJobFilter, list_params
from batchjobs.models import BatchJob, RecordType
from batchjobs.services import active_count
from batchjobs.states import Status
from console import tables
from tests.factories import make_actor, make_user
from tests.integration.test_batchjob_list import LIST, get, names
from tests.operations import make_job

NOON = dt.datetime(2026, 11, 25, 12, tzinfo=dt.UTC)


def options(html: str) -> list[str]:
    field = html[html.index('id="job-search"') :]
    return re.findall(r"<option[^>]*>([^<]*)</option>", field[: field.index("</select>")])


@pytest.fixture
def key(marketer: Actor) -> ApiKey:
    return api_key_create(by=make_actor(marketer.account, marketer.role), name="Shop", role=marketer.role)[0]


def test_by_user_lists_who_made_jobs_here(marta: Client, marketer: Actor, key: ApiKey) -> None:
    assert marketer.user
    anna = make_user(marketer.account, name="anna")
    gone = make_user(name="Zoe, who left")
    make_user(marketer.account, name="Idle")
    stranger = make_actor()
    make_job(stranger.account, name="Theirs", by=stranger.user)
    for name, facts in {
        "Mine": {"by": marketer.user},
        "Anna’s": {"by": anna},
        "Zoe’s": {"by": gone},
        "Program’s": {"created_by_key": key},
    }.items():
        make_job(marketer.account, name=name, **facts)
    html = get(marta, LIST + "?by=user")
    assert options(html) == ["Anyone", "anna", str(marketer.user), "Zoe, who left", "API key Shop"]
    assert len(names(html)) == 4
    make_job(marketer.account, name="Batchdesk’s")
    assert options(get(marta, LIST + "?by=user"))[-1] == "Batchdesk"
    for value, name, label in (
        (anna.pk, "Anna’s", "anna"),
        (gone.pk, "Zoe’s", "Zoe, who left"),
        (-key.pk, "Program’s", "API key Shop"),
        (0, "Batchdesk’s", "Batchdesk"),
    ):
        html = get(marta, f"{LIST}?by=user&q={value}")
        assert names(html) == [name]
        assert f"Remove the filter User: {label}" in html
    assert stranger.user
    html = get(marta, f"{LIST}?by=user&q={stranger.user.pk}")
    assert len(names(html)) == 5
    assert "Remove the filter" not in html


def test_two_people_of_one_name_are_told_apart(marta: Client, marketer: Actor) -> None:
    for n in range(2):
        make_job(marketer.account, by=make_user(marketer.account, name="Jonas", email=f"jonas{n}@example.com"))
    assert options(get(marta, LIST + "?by=user"))[1:] == ["Jonas (jonas0@example.com)", "Jonas (jonas1@example.com)"]


def test_by_type(marta: Client, marketer: Actor) -> None:
    make_job(marketer.account, name="Opt-outs", record_type=RecordType.OPTOUT)
    make_job(marketer.account, name="Events")
    html = get(marta, LIST + "?by=type&q=optout")
    assert names(html) == ["Opt-outs"]
    assert options(html) == ["Any type", *(str(label) for label in RecordType.labels)]
    assert "Remove the filter Type: Optout" in html


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("by=tag&q=LOYAL", ["A"]),
        ("by=tag&q=monthly%0Aloyal", []),  # a part of one tag, not of two
        ("by=tag&q=50%25", ["B"]),
        ("by=tag&q=0_o", []),
        ("by=event_name&q=purch", ["B", "A"]),
        ("by=event_name&q=refund", ["A"]),
        ("by=file_name&q=.CSV", ["B", "A"]),
        ("by=file_name&q=week-4", ["B"]),
        ("by=file_name&q=w", ["B"]),
        ("by=name&q=a", ["A"]),
        ("by=nonsense&q=b", ["B"]),
        ("by=type&q=nonsense", ["B", "A"]),
        ("by=user&q=99999999999999999999999", ["B", "A"]),
        ("by=user&q=Tom", ["B", "A"]),
        ("by=tag&q=" + "x" * 300, ["B", "A"]),
        ("by=file_name", ["B", "A"]),
        ("by=tag&was=user&q=12", ["B", "A"]),  # chosen from the list of people, without script
        ("by=tag&was=name&q=monthly", ["A"]),
    ],
)
def test_by_words(query: str, found: list[str], marta: Client, marketer: Actor) -> None:
    make_job(marketer.account, name="A", tags=["Loyalty", "monthly"], event_names=["purchase", "refund"])
    make_job(marketer.account, name="B", tags=["50% off"], event_name="Purchase", file_name="Week-47.csv")
    make_job(make_actor().account, name="C", tags=["Loyalty"], event_names=["purchase"], file_name="week-4.csv")
    assert names(get(marta, f"{LIST}?{query}")) == found


def test_counts_respect_the_search_and_the_days(marta: Client, marketer: Actor) -> None:
    for status in Status.values:
        make_job(marketer.account, status, tags=["autumn"])
        make_job(marketer.account, status, tags=["spring"], age=dt.timedelta(days=100))
    for query, each in (("", 2), ("?by=tag&q=aut", 1), ("?from=last-7-days", 1), ("?by=type&q=list", 0)):
        html = get(marta, f"{LIST}{query}")
        for status in Status.values:
            assert f'id="count-{status}">{each}</span>' in html, (query, status)


def test_counts_of_many_matches_say_at_least(marta: Client, marketer: Actor, monkeypatch: Any) -> None:
    monkeypatch.setattr("batchjobs.pages.SEARCH_CAP", 2)
    for _n in range(4):
        make_job(marketer.account)
    html = get(marta, f"{LIST}?q=loyalty")
    assert 'id="count-done">3+</span>' in html
    assert 'id="count-failed"></span>' in html
    assert "4 of 2+ jobs" in html
    assert "4 of 2+ jobs" in get(marta, f"{LIST}?q=loyalty&status=done")


@pytest.mark.parametrize("indexed", [True, False])
def test_rare_words_are_found_beyond_the_newest(
    indexed: bool,
    marta: Client,
    marketer: Actor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in ("console.tables", "batchjobs.filters", "batchjobs.pages"):
        monkeypatch.setattr(f"{module}.NEAR", 30)
    for n in range(60):
        make_job(marketer.account, name=f"Job {n:02}", tags=["old"] if n < 28 else [], age=dt.timedelta(minutes=60 - n))
    part = "old" if indexed else "ol"
    seen: list[str] = []
    html = get(marta, f"{LIST}?by=tag&q={part}")
    seen += names(html)
    if not indexed:  # one or two letters: the newest alone, and the page says so
        assert seen == []
        assert "only the newest 30 jobs were searched" in html
        return
    second = html[html.rindex("after=") :].split('"')[0]
    html = get(marta, f"{LIST}?by=tag&q=old&{second}")
    assert seen + names(html) == [f"Job {n:02}" for n in range(27, -1, -1)]
    assert tables.NEAR == 30


@pytest.mark.parametrize(
    ("by", "q", "index"),
    [
        ("name", "letter 3999", "job_name_trigrams"),
        ("tag", "tag3999", "job_tag_words"),
        ("event_name", "event3999", "job_event_words"),
        ("type", "list", "job_by_type"),
        ("user", "0", "job_by_maker"),
    ],
)
def test_searches_have_an_index(by: str, q: str, index: str, marketer: Actor) -> None:
    jobs = [
        BatchJob(
            account=marketer.account,
            name=f"Newsletter {n}",
            tags=[f"tag{n}"],
            event_name=f"event{n}",
            record_type=RecordType.LIST if n == 5 else RecordType.EVENT,
            created_by=None if n == 5 else marketer.user,
        )
        for n in range(4000)
    ]
    BatchJob.objects.bulk_create(jobs)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE batchjobs_batchjob")
    mine = BatchJob.objects.for_account(marketer.account).imports()
    queryset = BatchJobFilter({"by": by, "q": q}, queryset=mine).qs
    assert index in queryset.explain()
    assert queryset.count() == 1


def test_days_are_those_of_the_persons_zone(marta: Client, marketer: Actor) -> None:
    assert marketer.user
    marketer.user.time_zone = "Asia/Tokyo"
    marketer.user.save()
    for name, moment in (("Before", "14:59:59"), ("First", "15:00:00"), ("Last", "15:00:00")):
        job = make_job(marketer.account, name=name)
        day = "2026-11-22" if name != "Last" else "2026-11-23"  # from the 23rd to the 24th in Tokyo
        created = dt.datetime.fromisoformat(f"{day}T{moment}+00:00")
        BatchJob.objects.filter(pk=job.pk).update(created_at=created)
    assert names(get(marta, f"{LIST}?from=2026-11-23")) == ["Last", "First"]
    assert names(get(marta, f"{LIST}?from=2026-11-23&to=2026-11-23")) == ["First"]
    html = get(marta, f"{LIST}?to=2026-11-22")
    assert names(html) == ["Before"]
    assert "Remove the filter Created to 22 Nov 2026" in html


@time_machine.travel(NOON, tick=False)
def test_periods_move_with_the_calendar(marta: Client, marketer: Actor) -> None:
    for days in (0, 6, 7, 29, 30):
        make_job(marketer.account, name=f"{days} days", age=dt.timedelta(days=days, hours=11))
    assert timezone.now() == NOON
    for word, found in (("today", 1), ("last-7-days", 2), ("last-30-days", 4)):
        html = get(marta, f"{LIST}?from={word}")
        assert len(names(html)) == found
        assert f'type="hidden" name="from" value="{word}"' in html


@pytest.mark.parametrize(
    "query",
    [
        *("from=x", "to=x", "from=2026-13-01", "from=0001-01-01", "to=9999-12-31", "to=today", "from=%00"),
        *("by=%00", "by=user&q=%00", "by=user&q=-1", "by=user&q=1e5", "by=type&q=%F0%9F%92%BE"),
        "from=2026-11-25&from=&to=2026-W01-1&by=a&by=b&q=a&q=b",
    ],
)
def test_what_makes_no_sense_is_no_filter(query: str, marta: Client, marketer: Actor) -> None:
    job = make_job(marketer.account, name="Job b", by=marketer.user)
    html = get(marta, f"{LIST}?{query}")
    if not query.endswith("q=b"):
        assert names(html) == ["Job b"]
        assert "Remove the filter" not in html
    get(marta, f"{LIST}{job.pk}/?{query}")


def test_the_last_of_a_repeated_parameter_counts() -> None:
    given = QueryDict("from=last-7-days&from=2026-11-01&by=tag&q=a&q=&status=done&status=done&x=1&sort=-created&to=")
    assert list_params(given).urlencode() == "by=tag&q=a&status=done&from=2026-11-01"


def test_another_search_by_brings_its_field(marta: Client, marketer: Actor) -> None:
    make_job(marketer.account, by=marketer.user)
    htmx = {"HX-Request": "true", "HX-Target": "results", "HX-Trigger": "job-by", "HX-Trigger-Name": "by"}
    answer = marta.get(f"{LIST}?by=user&q=tom&from=&by=user", headers=htmx)
    assert '<select class="input" id="job-search" name="q"' in answer.content.decode()
    assert answer.headers["HX-Replace-Url"] == f"{LIST}?by=user"
    typing = {**htmx, "HX-Trigger": "job-search", "HX-Trigger-Name": "q"}
    answer = marta.get(f"{LIST}?by=name&q=loy", headers=typing)
    assert 'id="job-search"' not in answer.content.decode()
    assert answer.headers["HX-Replace-Url"] == f"{LIST}?q=loy"


def test_what_the_product_runs_for_itself_is_not_shown(marta: Client, marketer: Actor) -> None:
    ours = make_job(marketer.account, Status.PENDING, name="Import")
    hidden = make_job(marketer.account, Status.PENDING, name="Housekeeping", kind="retention")
    html = get(marta)
    assert names(html) == ["Import"]
    assert 'id="count-pending">1</span>' in html
    assert active_count(marketer.account) == 1
    assert marta.get(f"{LIST}{hidden.pk}/").status_code == 404
    assert marta.post(f"{LIST}{hidden.pk}/cancel/").status_code == 404
    assert f"job-{hidden.pk}" not in get(marta, f"{LIST}live/?job={hidden.pk}&job={ours.pk}&open={hidden.pk}")
    assert "Next job" not in get(marta, f"{LIST}{ours.pk}/")
