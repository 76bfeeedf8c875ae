"""The admin for support staff: what is found, what is hidden, what can be done."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import Account, AuditEvent
from accounts.permissions import Role
from accounts.services import api_key_authenticate
from audience.models import ContactList, DataTable, ListMember, Record, Suppression
from audience.services import database_default
from batchjobs.states import Status
from tests.factories import make_account, make_user
from tests.rows import make_interaction, make_job, make_profile, make_token

pytestmark = pytest.mark.django_db
JOBS = "/admin/batchjobs/batchjob/"


@pytest.fixture
def account() -> Account:
    return make_account()


@pytest.fixture
def client() -> Client:
    client = Client()
    client.force_login(make_user(is_staff=True, is_superuser=True))
    return client


@pytest.mark.parametrize("model", admin.site._registry, ids=lambda model: model.__name__)
def test_lists_and_their_searches(client: Client, account: Account, model: Any, django_assert_max_num_queries):
    for _n in range(6):
        profile = make_profile(account, f"p{_n}@example.com")
        make_interaction(profile, timezone.now(), external_id=f"e{_n}")
        make_job(account)
        make_token(account)
        make_user(account)
    url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    for query in (
        "",
        "?q=x",
        "?q=%00",
        "?q=9999999999999999999999",
        "?q=p1@example.com",
        "?q=e1",
        "?p=x",
        "?o=1.2",
    ):
        with django_assert_max_num_queries(14):
            response = client.get(url + query)
        assert response.status_code in (200, 302), query
        if response.status_code == 200:
            content = response.content.decode()
            assert "style=" not in content
            assert "<style>" not in content
            assert "onclick" not in content
            assert "script-src 'self'" in response.headers["Content-Security-Policy"]


def shown(client: Client, url: str) -> int:
    return int(client.get(url).context["cl"].result_count)


def test_a_job_is_found_by_what_people_know_of_it(client: Client, account: Account):
    job = make_job(account)
    assert job.file
    job.file.sha256 = "ab" * 32
    job.file.save()
    make_job(make_account("Pier Nine Vinyl"))
    for term in (job.pk, job.name, job.file.name, "AB" * 32, account.slug, "harbour"):
        assert shown(client, f"{JOBS}?q={term}") == 1, term
    assert shown(client, f"{JOBS}?q=nothing") == 0
    assert shown(client, f"{JOBS}?status__exact=pending") == 2


def test_a_jobs_page_says_why_it_hangs(client: Client, account: Account, django_assert_max_num_queries):
    job = make_job(account, Status.IN_PROGRESS, lease_owner="worker-7", next_chunk=30)
    for n in range(30):
        job.chunks.create(n=n, lease_token=1, end_offset=n, end_line=n, valid=1, skipped=0, invalid=0)
    job.crash_reports.create(lease_token=1, at_chunk=3, reason="killed", report="<script>alert(1)</script>")
    job.requests.create(kind="cancel", by="marta@example.com")
    with django_assert_max_num_queries(12):
        page = client.get(f"{JOBS}{job.pk}/change/")
    text = page.content.decode()
    assert page.status_code == 200
    assert "worker-7" in text
    assert "&lt;script&gt;" in text
    assert "marta@example.com" in text
    assert text.count("chunk 29 of job") == 1
    assert "chunk 9 of job" not in text
    assert 'name="_save"' not in text


def do(client: Client, url: str, action: str, *objects: Any) -> list[str]:
    answer = client.post(url, {"action": action, "_selected_action": [o.pk for o in objects]})
    assert answer.status_code == 302
    return [str(message) for message in get_messages(answer.wsgi_request)]


def test_what_support_can_do_with_jobs(client: Client, account: Account):
    pending, hanging = make_job(account), make_job(account)
    done = make_job(account, Status.DONE)
    assert do(client, JOBS, "ring_again", pending) == ["1: The workers are told to look."]
    said = do(client, JOBS, "cancel", pending, done)
    assert any(done.name in line for line in said)
    assert any(line.startswith("1:") for line in said)
    do(client, JOBS, "give_up", hanging)
    for job in (pending, hanging, done):
        job.refresh_from_db()
    assert (pending.status, hanging.status, hanging.failure_code) == ("canceled", "failed", "GIVEN_UP")
    assert done.status == "done"
    events = AuditEvent.objects.for_account(account).order_by("pk").values_list("action", "actor")
    assert [action for action, _who in events] == ["batch_job.ring", "batch_job.cancel", "batch_job.give_up"]
    assert len({who for _action, who in events}) == 1


def test_secrets_are_not_shown(client: Client, account: Account):
    token = make_token(account)
    key = account.api_keys.get()
    page = client.get(f"/admin/accounts/apikey/{key.pk}/change/").content.decode()
    assert key.key_id in page
    assert key.secret_sha256 not in page
    assert token not in page
    do(client, "/admin/accounts/apikey/", "revoke", key)
    assert api_key_authenticate(token=token) is None


def test_the_data_is_found_by_exact_words(client: Client, account: Account):
    profile = make_profile(account, "marta@example.com")
    make_interaction(profile, timezone.now() - dt.timedelta(days=1), external_id="order-7")
    digest = "973dfe463ec85785f5f95af5ba3906eedb2d931c24e69824a89ea65dba4e813b"  # sha256 of test@example.com
    Suppression.objects.create(database=database_default(account=account), email_sha256=digest)
    assert shown(client, "/admin/audience/profile/?q=Marta@Example.com") == 1
    assert shown(client, "/admin/audience/profile/?q=marta") == 0
    assert shown(client, "/admin/audience/profile/") == 0
    assert shown(client, "/admin/audience/interaction/?q=order-7") == 1
    assert shown(client, "/admin/audience/suppression/?q=test@example.com") == 1
    members = ContactList.objects.create(database=profile.database, name="Autumn mailing")
    ListMember.objects.create(contact_list=members, profile=profile)
    assert shown(client, "/admin/audience/contactlist/?q=Autumn mailing") == 1
    assert shown(client, "/admin/audience/contactlist/?q=autumn") == 0
    assert shown(client, "/admin/audience/listmember/?q=Marta@Example.com") == 1
    assert shown(client, "/admin/audience/listmember/") == 0
    assert client.get(f"/admin/audience/profile/{profile.pk}/change/").status_code == 200


def test_nothing_is_deleted_or_made_up(client: Client, account: Account):
    job = make_job(account)
    assert client.get(f"{JOBS}{job.pk}/delete/").status_code == 403
    assert client.get(f"{JOBS}add/").status_code == 403
    for path in (
        "accounts/auditevent",
        "audience/profile",
        "audience/listmember",
        "audience/interaction",
        "batchjobs/sourcefile",
    ):
        assert client.get(f"/admin/{path}/add/").status_code == 403


def test_staff_declare_tables(client: Client, account: Account):
    database = database_default(account=account)
    table = {"database": database.pk, "name": "Tickets", "slug": "tickets", "kind": "linked", "key": "seat"}
    for columns, key in (
        ("{}", ""),
        ('[{"name": "seat"}]', ""),
        ('[{"name": "", "type": "text"}]', ""),
        ('[{"name": "seat", "type": "text"}, {"name": "Seat", "type": "text"}]', ""),
        ('[{"name": "row", "type": "text"}]', "seat"),
        ("[1]", "seat"),
    ):
        refused = client.post("/admin/audience/datatable/add/", {**table, "columns": columns, "key": key})
        assert refused.status_code == 200
    columns = '[{"name": "seat", "type": "text"}, {"name": "price", "type": "number"}]'
    made = client.post("/admin/audience/datatable/add/", {**table, "columns": columns})
    assert made.status_code == 302, made.context["adminform"].form.errors
    tickets = DataTable.objects.get()
    assert (tickets.key, tickets.columns[1]) == ("seat", {"name": "price", "type": "number"})
    Record.objects.create(table=tickets, key="A1")
    assert shown(client, "/admin/audience/record/?q=A1") == 1
    page = f"/admin/audience/datatable/{tickets.pk}"
    assert client.post(f"{page}/change/", {**table, "columns": columns, "key": "price"}).status_code == 302
    tickets.refresh_from_db()
    assert tickets.key == "seat"
    assert client.get(f"{page}/delete/").status_code == 403


def test_people_are_added_and_changed(client: Client, account: Account):
    inline = {f"memberships-{n}": v for n, v in (("TOTAL_FORMS", 0), ("INITIAL_FORMS", 0))}
    secret = {"usable_password": "true", "password1": "harbour light 17", "password2": "harbour light 17"}
    made = client.post("/admin/accounts/user/add/", {"email": "New@Example.com", "name": "New", **secret, **inline})
    assert made.status_code == 302, made.context["adminform"].form.errors
    user = account.memberships.model.user.get_queryset().get(email="new@example.com")
    assert user.check_password("harbour light 17")
    page = client.get(f"/admin/accounts/user/{user.pk}/change/")
    assert page.status_code == 200
    assert user.password not in page.content.decode()
    changed = client.post(
        f"/admin/accounts/user/{user.pk}/change/",
        {
            **{"email": "new@example.com", "name": "Renamed", "time_zone": "UTC", "is_active": "on"},
            **{"memberships-TOTAL_FORMS": 1, "memberships-INITIAL_FORMS": 0},
            **{"memberships-0-account": account.pk, "memberships-0-role": Role.VIEWER},
        },
    )
    assert changed.status_code == 302, changed.context["adminform"].form.errors
    assert account.memberships.get().user.name == "Renamed"


def test_staff_look_and_superusers_change(account: Account):
    client = Client()
    person = make_user(is_staff=True)
    client.force_login(person)
    job = make_job(account)
    for path in ("/admin/", JOBS, f"{JOBS}{job.pk}/change/", f"/admin/accounts/user/{person.pk}/change/"):
        assert client.get(path).status_code == 200, path
    assert do(client, JOBS, "cancel", job) == ["1: Canceling is asked for."]
    assert client.post(f"/admin/accounts/user/{person.pk}/change/", {"is_superuser": "on"}).status_code == 403
    assert client.post(f"/admin/accounts/user/{person.pk}/password/", {}).status_code == 403
    assert client.post(f"/admin/accounts/account/{account.pk}/change/", {"name": "x"}).status_code == 403
    assert client.get("/admin/accounts/user/add/").status_code == 403
