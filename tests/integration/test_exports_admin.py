"""Exports for support staff: all accounts' are found and seen, custom ones are set up and run again."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.core.files.storage import storages
from django.test import Client
from django.urls import reverse

from accounts.actors import Actor, system_actor
from accounts.models import Account, AuditEvent
from audience.models import Database
from audience.services import database_default
from exports import dispatch, services, support
from exports.destinations import transfer_box_of
from exports.models import Destination, Export, ExportRun
from exports.states import State, TransitionRefusedError
from tests.exports import DAILY, last_run, lines_of, make_export, make_people, make_recurring, work
from tests.factories import make_account, make_user

pytestmark = pytest.mark.django_db(transaction=True)

EXPORTS, RUNS = "/admin/exports/export/", "/admin/exports/exportrun/"
NOW = dt.datetime(2027, 3, 1, 12, 0, tzinfo=dt.UTC)
DUE = dt.datetime(2027, 3, 2, 6, 30, tzinfo=dt.UTC)
DEFINITION = {
    "destination": "transfer_box",
    "schedule": DAILY,
    "file": {"format": "csv", "delimiter": ",", "name_pattern": "flow_$run"},
}


@pytest.fixture
def client() -> Client:
    """Support staff who are no superusers."""
    client = Client()
    client.force_login(make_user(email="support@example.com", is_staff=True))
    return client


@pytest.fixture
def account() -> Account:
    return make_account()


@pytest.fixture
def by(account: Account) -> Actor:
    return system_actor(account)


@pytest.fixture(autouse=True)
def empty_box() -> Iterator[None]:
    yield
    if box_root().is_file():
        box_root().unlink()
    shutil.rmtree(box_root(), ignore_errors=True)


def box_root() -> Path:
    return Path(storages["transfer_box"].location)  # type: ignore[attr-defined]


def make_flow(by: Actor, type_: str = "incremental_custom", **changes: Any) -> Export:
    """A draft of support staff's that is whole."""
    flow = support.custom_create(by=by, name=changes.pop("name", "Flow"), type_=type_, data_type="profile")
    return support.custom_update(export=flow, by=by, changes={**DEFINITION, **changes}, support_note="")


def found(client: Client, url: str, query: str) -> list[str]:
    return sorted(str(one) for one in client.get(f"{url}?{query}").context["cl"].result_list)


def form_of(client: Client, export: Export) -> dict[str, str]:
    """The fields of the change form as a browser would send them back."""
    form = client.get(f"{EXPORTS}{export.pk}/change/").context["adminform"].form
    values: dict[str, str] = {}
    for name in form.fields:
        value = form[name].value()
        if isinstance(value, bool):
            if value:
                values[name] = "on"
        else:
            values[name] = "" if value is None else ",".join(value) if isinstance(value, list) else str(value)
    managed = {f"runs-{part}": "0" for part in ("TOTAL_FORMS", "INITIAL_FORMS", "MIN_NUM_FORMS", "MAX_NUM_FORMS")}
    return {**values, **managed}


def change(client: Client, export: Export, **fields: Any) -> Any:
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in fields.items()}
    return client.post(f"{EXPORTS}{export.pk}/change/", {**form_of(client, export), **texts})


def errors_of(answer: Any) -> dict[str, list[str]]:
    assert answer.status_code == 200, answer.status_code
    return {field: list(errors) for field, errors in answer.context["adminform"].form.errors.items()}


def do(client: Client, url: str, action: str, *objects: Any) -> list[str]:
    client.get(url)  # which shows what was said before, and so forgets it
    answer = client.post(url, {"action": action, "_selected_action": [one.pk for one in objects]})
    assert answer.status_code == 302
    return [str(message) for message in get_messages(answer.wsgi_request)]


def actions_of(account: Account) -> list[tuple[str, str]]:
    events = AuditEvent.objects.for_account(account).filter(action__startswith="export.").order_by("pk")
    return list(events.values_list("action", "actor"))


# Looking.


def test_all_accounts_are_found(client: Client, account: Account, by: Actor) -> None:
    other = system_actor(make_account("Pier Nine Vinyl"))
    mine, theirs = make_export(by, name="Weekly people"), make_recurring(other, name="Vinyl feed", now=NOW)
    dispatch.tick(now=DUE)
    run = last_run(theirs)
    assert found(client, EXPORTS, "q=WEEKLY") == [mine.name]
    assert found(client, EXPORTS, "q=pier nine") == found(client, EXPORTS, f"q={other.account.slug}") == [theirs.name]
    assert found(client, EXPORTS, f"q={mine.pk}") == [mine.name]
    assert found(client, EXPORTS, "type__exact=incremental") == [theirs.name]
    assert found(client, EXPORTS, "q=%00") == [theirs.name, mine.name]
    assert found(client, RUNS, f"q={run.pk}") == found(client, RUNS, "q=vinyl") == [str(run)]
    assert found(client, RUNS, "q=weekly") == []


def test_a_standard_export_is_only_looked_at(client: Client, by: Actor, django_assert_max_num_queries: Any) -> None:
    export = make_recurring(by, now=NOW)
    for day in range(25):
        dispatch.tick(now=DUE + dt.timedelta(days=day))
    with django_assert_max_num_queries(12):
        answer = client.get(f"{EXPORTS}{export.pk}/change/")
    page = answer.content.decode()
    assert 'name="_save"' not in page
    runs = list(ExportRun.objects.filter(export=export).order_by("-pk"))
    assert reverse("admin:exports_exportrun_change", args=[runs[0].pk]) in page
    assert reverse("admin:exports_exportrun_change", args=[runs[-1].pk]) not in page  # the newest twenty
    assert "Failed: OVERLAPPED" in page
    assert client.post(f"{EXPORTS}{export.pk}/change/", {"name": "Mine"}).status_code == 403
    for draft in (export, make_export(by)):
        assert client.post(f"{EXPORTS}{draft.pk}/delete/", {"post": "yes"}).status_code == 403
    assert do(client, EXPORTS, "unschedule", export) == [
        "Feed: This is a standard export: only its account can change it."
    ]
    assert Export.objects.get(pk=export.pk).state == State.SCHEDULED


def test_a_run_is_looked_at(client: Client, by: Actor) -> None:
    make_people(by, 1)
    export = services.export_schedule(export=make_export(by), by=by)
    work()
    run = last_run(export)
    page = client.get(f"{RUNS}{run.pk}/change/").content.decode()
    assert reverse("admin:batchjobs_batchjob_change", args=[run.job_id]) in page
    assert "Succeeded" in page
    assert "people.csv" in page
    assert 'name="_save"' not in page
    assert client.post(f"{RUNS}{run.pk}/change/", {"name": "x"}).status_code == 403
    assert client.get(f"{RUNS}add/").status_code == 403


# Setting up.


def test_a_flow_is_set_up_and_runs(client: Client, account: Account, by: Actor) -> None:
    make_people(by, 3)
    answer = client.post(
        f"{EXPORTS}add/",
        {"account": account.pk, "name": " Flow ", "type": "incremental_custom", "data_type": "profile"},
    )
    flow = Export.objects.get()
    assert (answer.status_code, answer.headers["Location"]) == (302, f"{EXPORTS}{flow.pk}/change/")
    assert (flow.name, flow.type, flow.state, flow.account) == ("Flow", "incremental_custom", "draft", account)
    answer = change(
        client,
        flow,
        destination="transfer_box",
        schedule={**DAILY, "at": ["18:00", "06:30"]},
        file={"format": "psv", "name_pattern": "flow"},
        columns=[{"field": "email", "header": "E-mail"}],
        filter={"and": [{"field": "attributes.tier", "op": "is", "value": "Gold"}]},
        recipients="crm@example.com, ops@example.com",
        support_note="Columns are shuffled.",
    )
    assert answer.status_code == 302, errors_of(answer)
    flow.refresh_from_db()
    assert flow.destination == transfer_box_of(account)
    assert flow.schedule == {**DAILY, "at": ["06:30", "18:00"]}
    assert flow.file["delimiter"] == ";"  # what was left out
    assert (flow.recipients, flow.support_note) == (["crm@example.com", "ops@example.com"], "Columns are shuffled.")
    same = form_of(client, flow)
    assert change(client, flow).status_code == 302
    assert form_of(client, flow) == same
    assert do(client, EXPORTS, "schedule", flow) == ["Flow: The export is scheduled."]
    flow.refresh_from_db()
    assert (flow.state, flow.type) == ("scheduled", "incremental_custom")
    assert flow.next_run_at
    support_person = "support@example.com"
    assert actions_of(account) == [
        *(("export.created", support_person), ("export.edited", support_person), ("export.edited", support_person)),
        ("export.scheduled", support_person),
    ]
    dispatch.tick(now=DUE)
    work(DUE)
    run = last_run(flow)
    assert (run.state, lines_of(run)) == ("succeeded", ["E-mail", "person-00000@example.com"])
    page = client.get(f"{EXPORTS}{flow.pk}/change/").content.decode()
    assert 'name="_save"' not in page  # scheduled: unscheduled first
    assert do(client, EXPORTS, "unschedule", flow) == ["Flow: The export is a draft again."]
    flow.refresh_from_db()
    assert (flow.state, flow.type, flow.next_run_at) == ("draft", "incremental_custom", None)
    assert 'name="_save"' in client.get(f"{EXPORTS}{flow.pk}/change/").content.decode()


@pytest.mark.parametrize("type_", ["one_shot", "periodic_full", "incremental", "nonsense"])
def test_standard_exports_are_not_made_here(client: Client, account: Account, by: Actor, type_: str) -> None:
    new = {"account": account.pk, "name": "Flow", "type": type_, "data_type": "profile"}
    assert "type" in errors_of(client.post(f"{EXPORTS}add/", new))
    assert not Export.objects.exists()
    assert "type" in errors_of(change(client, make_flow(by), type=type_))


def test_a_name_is_used_once(client: Client, account: Account, by: Actor) -> None:
    make_export(by, name="Flow")
    make_flow(system_actor(make_account()), name="Elsewhere")
    taken = ["Another export of this account has this name."]
    new = {"account": account.pk, "name": "FLOW ", "type": "custom", "data_type": "profile"}
    assert errors_of(client.post(f"{EXPORTS}add/", new)) == {"name": taken}
    assert errors_of(change(client, make_flow(by, name="Elsewhere"), name="flow")) == {"name": taken}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", "", "required"),
        ("name", "a\tb", "Control characters"),
        ("data_type", "people", "valid choice"),
        ("table", "x" * 121, "120"),
        ("columns", "[{", "valid JSON"),
        ("columns", [{"field": "nonsense"}], "no column “nonsense”"),
        ("columns", [{"field": "email", "nonsense": 1}], "no “nonsense”"),
        ("columns", {"field": "email"}, "at least one column"),
        ("filter", {"nor": []}, "A filter is an object"),
        ("filter", {"and": [{"field": "email", "op": "is_empty", "value": "\0"}]}, "NUL"),
        ("filter", '{"and": [{"field": "email", "op": "is_empty", "value": 1e999}]}', "too large"),
        ("file", {"format": "docx"}, "format: It is one of"),
        ("file", {"format": "csv", "nonsense": 1}, "nonsense: It is none of"),
        ("file", {"format": "csv", "name_pattern": "../x"}, "name_pattern: "),
        ("file", {"format": "csv", "name_pattern": "a" * 145 + "$run"}, "name_pattern: "),
        ("file", "5", "format: "),
        ("destination", "", "required"),
        ("destination", "999", "valid choice"),
        ("schedule", {**DAILY, "timezone": "Mars/Olympus"}, "timezone: It is an IANA name"),
        ("schedule", "5", "cadence: "),
        ("recipients", "crm@example.com, crm", "valid email"),
        ("report_when", "never", "valid choice"),
        ("start_with", "nothing", "valid choice"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(client: Client, by: Actor, field: str, value: Any, message: str) -> None:
    flow = make_flow(by)
    before = Export.objects.filter(pk=flow.pk).values().get()
    errors = errors_of(change(client, flow, **{field: value}))
    assert list(errors) == [field]
    assert message in errors[field][0]
    assert Export.objects.filter(pk=flow.pk).values().get() == before


def test_a_new_name_has_to_do_for_files(client: Client, by: Actor) -> None:
    flow = make_flow(by, file={"format": "csv", "name_pattern": "$name"})
    assert "Windows keeps the name con" in errors_of(change(client, flow, name="con"))["file"][0]


def test_only_what_is_the_accounts_own_can_be_chosen(client: Client, by: Actor) -> None:
    other = make_account("Pier Nine Vinyl")
    theirs = Destination.objects.create(account=other, name="Warehouse", kind="transfer_box")
    elsewhere = Database.objects.create(account=other, name="Theirs", slug="theirs")
    flow = make_flow(by)
    assert "destination" in errors_of(change(client, flow, destination=str(theirs.pk)))
    assert "database" in errors_of(change(client, flow, database=str(elsewhere.pk)))
    assert "Warehouse" not in client.get(f"{EXPORTS}{flow.pk}/change/").content.decode()


def test_gaps_are_told_when_it_is_scheduled(client: Client, by: Actor) -> None:
    flow = support.custom_create(by=by, name="Flow", type_="custom", data_type="linked_data")
    assert do(client, EXPORTS, "schedule", flow) == ["Flow: Choose which table or list is to leave."]
    change(client, flow, data_type="profile", destination="transfer_box")
    assert do(client, EXPORTS, "schedule", flow) == ["Flow: Say when the export runs."]
    change(client, flow, schedule=DAILY, type="incremental_custom", data_type="list_member")
    Export.objects.filter(pk=flow.pk).update(table="VIP")
    assert do(client, EXPORTS, "schedule", flow) == ["Flow: “Contact list” cannot be exported as “Incremental custom”."]
    assert do(client, EXPORTS, "unschedule", flow) == [
        "Flow: This cannot be done with an export that is “In definition”."
    ]
    assert not ExportRun.objects.exists()


def test_what_its_account_unscheduled_is_the_accounts(client: Client, by: Actor) -> None:
    flow = support.custom_schedule(export=make_flow(by), by=by)
    services.export_unschedule(export=flow, by=by, for_good=True)
    page = client.get(f"{EXPORTS}{flow.pk}/change/").content.decode()
    assert 'name="_save"' not in page
    assert client.post(f"{EXPORTS}{flow.pk}/change/", {"name": "Mine"}).status_code == 403
    assert do(client, EXPORTS, "schedule", flow) == ["Flow: This is a standard export: only its account can change it."]
    with pytest.raises(TransitionRefusedError):
        support.custom_update(export=flow, by=by, changes={}, support_note="")


def test_a_draft_of_theirs_is_deleted(client: Client, account: Account, by: Actor) -> None:
    flow = make_flow(by)
    support.custom_schedule(export=flow, by=by)
    assert client.post(f"{EXPORTS}{flow.pk}/delete/", {"post": "yes"}).status_code == 403
    support.custom_unschedule(export=flow, by=by)
    assert "Flow" in client.get(f"{EXPORTS}{flow.pk}/delete/").content.decode()
    assert client.post(f"{EXPORTS}{flow.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not Export.objects.exists()
    assert actions_of(account)[-1] == ("export.deleted", "support@example.com")
    standard = make_export(by, name="Mine")
    assert client.post(f"{EXPORTS}{standard.pk}/delete/", {"post": "yes"}).status_code == 403


def test_who_is_late_is_told(client: Client, by: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page was opened as a draft, and somebody schedules it while it is saved."""
    flow = make_flow(by)
    save = support.custom_update

    def late(**given: Any) -> Export:
        Export.objects.filter(pk=flow.pk).update(state=State.SCHEDULED)
        return save(**given)

    monkeypatch.setattr(support, "custom_update", late)
    answer = change(client, flow, support_note="Late")
    assert answer.status_code == 302
    assert [str(message) for message in get_messages(answer.wsgi_request)] == [
        "This cannot be done with an export that is “Scheduled”."
    ]
    assert Export.objects.get(pk=flow.pk).support_note == ""
    Export.objects.filter(pk=flow.pk).update(state=State.DRAFT)
    remove = support.custom_delete

    def too_late(**given: Any) -> None:
        Export.objects.filter(pk=flow.pk).update(state=State.SCHEDULED)
        remove(**given)

    monkeypatch.setattr(support, "custom_delete", too_late)
    assert client.post(f"{EXPORTS}{flow.pk}/delete/", {"post": "yes"}).status_code == 302
    assert Export.objects.filter(pk=flow.pk).exists()


# Runs.


def test_a_failed_run_of_a_custom_export_is_run_again(client: Client, account: Account, by: Actor) -> None:
    make_people(by, 2)
    flow = support.custom_schedule(export=make_flow(by, "custom"), by=by, now=NOW)
    box_root().parent.mkdir(parents=True, exist_ok=True)
    box_root().write_bytes(b"")  # a file stands where the folder should be
    dispatch.tick(now=DUE)
    work(DUE)
    run = last_run(flow)
    assert run.state == "failed"
    with pytest.raises(TransitionRefusedError):
        services.run_relaunch(run=run, by=by)  # for its account it is there to be seen
    box_root().unlink()
    assert do(client, RUNS, "run_again", run) == [f"{run}: it is in the queue again."]
    assert actions_of(account)[-1] == ("export.relaunched", "support@example.com")
    assert do(client, RUNS, "run_again", run) == [f"{run}: This cannot be done with a run that is “In progress”."]
    work(DUE)
    again = last_run(flow)
    assert (again.pk, again.state, again.file, again.rows) == (run.pk, "succeeded", run.file, 2)
    dispatch.tick(now=DUE + dt.timedelta(days=4))
    missed = ExportRun.objects.filter(export=flow, fault="MISSED").latest("pk")
    assert do(client, RUNS, "run_again", missed) == [f"{missed}: Trying this run again cannot help."]


def test_people_of_accounts_do_not_get_here(by: Actor) -> None:
    client = Client()
    client.force_login(make_user(by.account, "manager"))
    for url in (EXPORTS, RUNS, f"{EXPORTS}add/", f"{EXPORTS}{make_flow(by).pk}/change/"):
        assert client.get(url).status_code in (302, 403)


def test_the_first_database_is_chosen(by: Actor) -> None:
    assert make_flow(by).database == database_default(account=by.account)
