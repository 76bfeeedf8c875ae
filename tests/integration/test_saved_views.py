"""Searches that people keep: their own, bounded, and only what the list understands."""

from __future__ import annotations

import pytest
from django.http import QueryDict
from django.test import Client

from accounts.actors import Actor
from accounts.models import Membership
from accounts.permissions import Role
from batchjobs import saved_views
from batchjobs.models import SavedView
from batchjobs.saved_views import ViewExistsError, ViewRefusedError, savedview_save, savedviews_of
from tests.factories import make_account, make_actor
from tests.integration.test_batchjob_list import LIST, get
from tests.operations import make_job

NEW = f"{LIST}views/new/"


@pytest.fixture
def viewer(db: None) -> Actor:
    return make_actor(role=Role.VIEWER)


@pytest.fixture
def client(viewer: Actor) -> Client:
    client = Client()
    client.force_login(viewer.user)  # type: ignore[arg-type]
    make_job(viewer.account)
    return client


def save(by: Actor, name: str, query: str, **extra: bool) -> SavedView:
    return savedview_save(by=by, name=name, params=QueryDict(query), **extra)


def test_only_what_the_list_understands_is_kept(viewer: Actor) -> None:
    query = "status=failed&status=done&status=x&by=tag&q= autumn &after=abc&before=x&next=//evil&sort=name&from=today"
    assert save(viewer, "A", query).query == "by=tag&q=autumn&status=done&status=failed&from=today&sort=name"
    for nothing in ("", "after=abc", "by=user", "sort=-created", "x=1", "q=%20"):
        with pytest.raises(ViewRefusedError):
            save(viewer, "B", nothing)
    with pytest.raises(ViewRefusedError):
        save(viewer, "B", f"q={'%F0%9F%92%BE' * 190}")
    assert savedviews_of(viewer).count() == 1


def test_a_name_is_replaced_only_when_asked(viewer: Actor) -> None:
    first = save(viewer, "Failed", "status=failed")
    with pytest.raises(ViewExistsError):
        save(viewer, "FAILED", "status=done")
    again = save(viewer, "FAILED", "status=done", replace=True)
    assert (again.pk, again.name, again.query) == (first.pk, "FAILED", "status=done")
    assert save(viewer, "New", "status=done", replace=True).pk != first.pk


def test_each_person_has_their_own_in_each_account(viewer: Actor) -> None:
    assert viewer.user
    other = make_account("Pier Nine Vinyl")
    Membership.objects.create(account=other, user=viewer.user, role=Role.VIEWER)
    elsewhere = Actor(account=other, role=Role.VIEWER, user=viewer.user)
    for actor in (viewer, make_actor(viewer.account), elsewhere):
        save(actor, "Failed", "status=failed")
    assert savedviews_of(viewer).count() == savedviews_of(elsewhere).count() == 1


def test_there_is_an_end_to_them(viewer: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved_views, "MOST", 1)
    save(viewer, "Failed", "status=failed")
    with pytest.raises(ViewRefusedError, match="You keep 1 views already"):
        save(viewer, "Done", "status=done")
    assert save(viewer, "failed", "status=done", replace=True).query == "status=done"


def test_the_page_marks_the_current_one(client: Client, viewer: Actor) -> None:
    view = save(viewer, "<b>Failed</b>", "status=failed&status=done")
    html = get(client, f"{LIST}?status=failed&status=done&after=x")
    assert '<span class="truncate" id="view-name">&lt;b&gt;Failed&lt;/b&gt;</span>' in html
    assert f'href="{LIST}?status=done&amp;status=failed" aria-current="true"' in html
    assert "This search is saved" in html
    assert "Save this view" in get(client, f"{LIST}?status=failed")
    assert f"views/{view.pk}/delete/" in get(client)
    assert "Save this view" not in get(client)


def test_saving_by_the_form(client: Client, viewer: Actor) -> None:
    url = f"{NEW}?by=tag&q=autumn"
    assert 'role="alert"' not in get(client, url)
    for name in ("", " ", "x" * 61, "a\0"):
        assert client.post(url, {"name": name}).status_code == 422
    answer = client.post(url, {"name": "Autumn"})
    assert (answer.status_code, answer.headers["Location"]) == (303, f"{LIST}?by=tag&q=autumn")
    asked = client.post(url, {"name": "autumn"})
    assert asked.status_code == 422
    assert "You have a view “autumn” already" in asked.content.decode()
    # Agreed to one name is not agreed to another.
    save(viewer, "Spring", "q=spring")
    assert client.post(url, {"name": "Spring", "replace": "autumn"}).status_code == 422
    assert client.post(f"{NEW}?q=leaves", {"name": "autumn", "replace": "autumn"}).status_code == 303
    assert savedviews_of(viewer).get(name="autumn").query == "q=leaves"
    assert client.post(NEW, {"name": "All"}).status_code == 422
    fragment = get(client, url, **{"HX-Request": "true", "HX-Target": "drawer"})
    assert "<!doctype" not in fragment


def test_deleting_asks_first_and_leaves_what_is_anothers(client: Client, viewer: Actor) -> None:
    view = save(viewer, "Failed", "status=failed")
    theirs = save(make_actor(viewer.account), "Failed", "status=failed")
    url = f"{LIST}views/{view.pk}/delete/"
    assert "Delete the view “Failed”?" in get(client, url)
    assert SavedView.objects.filter(pk=view.pk).exists()
    assert client.post(f"{url}?q=x").headers["Location"] == f"{LIST}?q=x"
    assert not SavedView.objects.filter(pk=view.pk).exists()
    for method in (client.get, client.post):
        assert method(f"{LIST}views/{theirs.pk}/delete/").status_code == 404
    assert SavedView.objects.filter(pk=theirs.pk).exists()
