"""Every route × role × account, from the URLconf and the table of rules."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import pytest
from django.test import Client
from django.urls import NoReverseMatch, reverse

from accounts.actors import Actor
from accounts.models import Account, ApiKey, User
from accounts.permissions import Permission, Role, role_can
from accounts.routes import PUBLIC, SIGNED_IN, STAFF, rule_of
from batchjobs.models import SavedView
from batchjobs.resumable import upload_begin
from exports.models import Export, ExportRun
from exports.services import export_schedule
from tests.exports import make_export
from tests.factories import make_account, make_user
from tests.rows import make_job, make_token
from tests.uploads import make_batch
from tests.urlconf import Route, walk
from uploads.services import location_token
from uploads.states import State

pytestmark = pytest.mark.django_db

ROLES = ("anonymous", "viewer", "marketer", "manager", "stranger", "staff")
METHODS = ("GET", "POST", "PUT", "DELETE")
REFUSALS = {401, 403, 404}
ROUTES = {str(route): route for route in walk()}
API_NAMES = ("api_docs", "api_not_found", "api_upload", "api_upload_list")
BATCH_API = ("batch", "batch_inspect", "batch_inspect_list", "batch_location", "batch_log", "batch_not_found")
API = [r for r in ROUTES.values() if r.name.startswith("api:") or r.name in API_NAMES + BATCH_API]
NOTHING_HERE = {"api_not_found": "/api/v1/nothing-here", "batch_not_found": "/v2/nothing-here"}
ADMIN = [r for r in ROUTES.values() if r.name.startswith("admin:")]
PAGES = [r for r in ROUTES.values() if r not in API and r not in ADMIN]
# Parameters that name an object of an account.
OWNED = {"job_id", "key_id", "view_id", "upload_id", "ref", "export_id", "run_id"}
# Parameters that name an object of one person: here the viewer's.
PERSONAL = {"view_id"}


SCHEMES = ("Bearer", "Basic")


@dataclass
class World:
    account: Account
    other: Account
    people: dict[str, User]
    clients: dict[str, Client]
    headers: dict[str, dict[str, str]]

    def url(self, route: Route, role: str = Role.MANAGER) -> str:
        """The route with objects of `account`; an upload, which only its maker sees, is by the person of that role."""
        key = ApiKey.objects.for_account(self.account).order_by("pk")[0]
        sample: dict[str, Any] = {
            "job_id": self.job.pk,
            "record_type": "event",
            "form": "csv",
            "key_id": key.pk,
            "view_id": self.view.pk,
            "uidb36": "1",
            "key": "set-password",
            "ref": self.batch.ref,
            "token": location_token(self.batch),
            "run_id": self.run.pk,
        }
        if "export_id" in route.parameters:  # one each time: what can be done to it is done
            by = Actor(self.account, Role.MANAGER)
            sample["export_id"] = make_export(by, name=f"Export {Export.objects.count()}").pk
        if "upload_id" in route.parameters:
            maker = self.people[role if role in Role.values else Role.MANAGER]
            by = Actor(self.account, Role.MANAGER, user=maker)
            sample["upload_id"] = upload_begin(by=by, name="a.csv", size=1).upload_id
        if route.name in NOTHING_HERE:
            return NOTHING_HERE[route.name]
        return reverse(route.name, kwargs={name: sample[name] for name in route.parameters})

    def batch_headers(self, role: str) -> dict[str, str]:
        """The same key as HTTP Basic."""
        if not (header := self.headers[role].get("Authorization")):
            return {}
        token = header.removeprefix("Bearer ")
        pair = f"{token.removeprefix('bd_live_')[:8]}:{token}"
        return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}

    def __post_init__(self) -> None:
        self.job = make_job(self.account)
        self.batch = make_batch(self.account, State.CORRUPTED)  # one that has a log
        viewer = self.account.memberships.get(role=Role.VIEWER).user
        by = Actor(self.account, Role.MANAGER)
        export_schedule(export=make_export(by), by=by)
        self.run = ExportRun.objects.for_account(self.account).get()
        self.view = SavedView.objects.create(account=self.account, user=viewer, name="Failed", query="status=failed")


@pytest.fixture
def world() -> World:
    account, other = make_account(), make_account("Pier Nine Vinyl")
    people = {role: make_user(account, role) for role in Role.values}
    people["stranger"] = make_user(other, Role.MANAGER)
    people["staff"] = make_user(is_staff=True, is_superuser=True)
    clients = {"anonymous": Client()}
    for role, person in people.items():
        clients[role] = Client()
        clients[role].force_login(person)
    tokens = {role: make_token(account, Role(role)) for role in Role.values}
    tokens["stranger"] = make_token(other)
    headers = {role: {"Authorization": f"Bearer {token}"} for role, token in tokens.items()}
    return World(account, other, people, clients, {"anonymous": {}, "staff": {}, **headers})


def page_outcome(route: Route, method: str, role: str) -> set[str]:
    """What the table says: in, sign_in, refused, not_found, no_method."""
    rule = rule_of(route.name, method)
    if rule is None:
        return {"no_method"}
    if rule is PUBLIC:
        return {"in"}
    if role == "anonymous":
        return {"sign_in"}
    if rule is SIGNED_IN:
        # Without an account named in the form there is nothing to switch to.
        return {"not_found", "no_method"} if route.name == "account_switch" else {"in", "no_method"}
    if rule is STAFF or role == "staff":
        return {"in"} if rule is STAFF and role == "staff" else {"refused"}
    assert isinstance(rule, Permission)
    if not role_can("manager" if role == "stranger" else role, rule):
        return {"refused"}
    foreign = PERSONAL if role not in ("viewer", "stranger") else OWNED if role == "stranger" else set()
    if foreign & set(route.parameters):
        return {"not_found", "no_method"}
    return {"in", "no_method"}


def seen(response: Any) -> str:
    if response.streaming:
        b"".join(response.streaming_content)  # which also closes its file
    if response.status_code == 302 and response.headers["Location"].startswith("/accounts/login/?next="):
        return "sign_in"
    return {401: "sign_in", 403: "refused", 404: "not_found", 405: "no_method"}.get(response.status_code, "in")


@pytest.mark.parametrize("route", PAGES, ids=str)
def test_pages(route: Route, world: World):
    for role in ROLES:
        for method in METHODS:
            response = world.clients[role].generic(method, world.url(route, role))
            found = seen(response)
            if route.name.startswith("account_") and rule_of(route.name, method) is PUBLIC:
                assert found in {"in", "no_method"}, (role, method, response.status_code)
                continue
            assert found in page_outcome(route, method, role), (role, method, response.status_code)
            assert response.status_code < 500 or route.name == "readyz"


@pytest.mark.parametrize("route", API, ids=str)
def test_api(route: Route, world: World):
    is_batch = route.name in BATCH_API
    for role in ROLES:
        for method in METHODS:
            # A session is no way into the API: the clients are signed in, the keys decide.
            headers = world.batch_headers(role) if is_batch else world.headers[role]
            response = world.clients[role].generic(method, world.url(route, role), headers=headers)
            rule = rule_of(route.name, method)
            found = seen(response)
            if route.name in (*NOTHING_HERE, "api:api-root", "batch_log"):  # a location's token opens no log
                assert found in {"not_found", "no_method", "refused"}
            elif rule is None:
                assert found == "no_method"
            elif rule is PUBLIC:
                assert found == "in"
            elif not world.headers[role]:
                assert found == "sign_in"
                assert response.headers["WWW-Authenticate"].partition(" ")[0] == SCHEMES[is_batch]
            elif not role_can("manager" if role == "stranger" else role, rule):
                assert found == "refused"
            elif role == "stranger" and OWNED & set(route.parameters) and (route.name, method) != ("batch", "PUT"):
                assert found == "not_found"  # but a reference is taken anew in each account
            else:
                assert found == "in", (role, method, response.status_code)
            if response.status_code >= 400:
                assert response.headers["Content-Type"] == f"application/{'' if is_batch else 'problem+'}json"
                assert response.json()["status"] == response.status_code
            assert response.status_code < 500


@pytest.mark.parametrize("route", ADMIN, ids=str)
def test_admin(route: Route, world: World):
    sample = {"object_id": str(world.job.pk), "id": str(world.job.pk), "app_label": "batchjobs", "url": "x"}
    sample |= {"content_type_id": "1"}
    try:
        url = reverse(route.name, kwargs={name: sample[name] for name in route.parameters})
    except NoReverseMatch:
        url = "/admin/x"
    for role in ROLES:
        for method in ("GET", "POST"):
            response = world.clients[role].generic(method, url)
            found = seen(response)
            if role == "anonymous":
                assert found == "sign_in"
            elif role == "staff":
                assert response.status_code < 500
            else:
                assert found == "refused"


def test_htmx_is_sent_to_the_sign_in_page(world: World):
    response = world.clients["anonymous"].get(
        reverse("batchjob_list"),
        headers={"HX-Request": "true", "HX-Current-URL": "http://testserver/batch-jobs/?q=x"},
    )
    assert response.headers["HX-Redirect"] == "/accounts/login/?next=/batch-jobs/%3Fq%3Dx"


def test_a_person_without_an_account_is_told_so():
    client = Client()
    client.force_login(make_user())
    response = client.get(reverse("batchjob_list"))
    assert response.status_code == 403
    assert b"You are in no account yet" in response.content


def test_a_zone_that_is_unknown_here_keeps_nobody_out():
    client = Client()
    client.force_login(make_user(make_account(), time_zone="Mars/Olympus_Mons"))
    assert client.get(reverse("profile")).status_code == 200
