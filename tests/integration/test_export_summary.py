"""Definitions of exports in words."""

from __future__ import annotations

import pytest
from django.template.loader import render_to_string

from accounts.actors import Actor
from exports.models import Export, ExportRun
from exports.services import export_schedule
from exports.summary import definition_words
from tests.exports import DAILY, make_export, make_people, make_recurring

pytestmark = pytest.mark.django_db


def facts(of: Export | ExportRun, *, counted: bool = False) -> dict[str, str]:
    return {
        fact.label: " ".join(filter(None, [", ".join(fact.codes), fact.text]))
        for section in definition_words(of, counted=counted)
        for fact in section.facts
    }


def test_a_one_shot_export(marketer: Actor) -> None:
    make_people(marketer, 3)
    rule = {"field": "attributes.tier", "op": "is", "value": "Gold"}
    export = make_export(marketer, filter={"and": [rule]}, recipients=["marta@example.com"])
    said = facts(export, counted=True)
    assert said["Data"] == "Profile"
    assert said["Export type"] == "One shot: once"
    assert said["Columns"] == "email, tier"
    assert said["Only rows where"] == "tier is Gold"
    assert said["Rows now"] == "1"
    assert said["Format"] == "CSV, UTF-8, commas, header row"
    assert said["Name"] == "people.csv"
    assert said["Goes to"] == "Download"
    assert said["When"] == "As soon as it is started"
    assert said["Report"] == "marta@example.com, after every run"


def test_an_incremental_export_and_its_run_later(marketer: Actor) -> None:
    export = make_recurring(marketer, schedule={**DAILY, "first_on": "2027-03-26"})
    said = facts(export)
    assert said["Data"] == "Profile, created or updated"
    assert said["Export type"] == "Incremental: only what is new since the last delivery"
    assert said["Rows"] == "All rows"
    assert said["Goes to"] == "Transfer box"
    assert said["When"] == "Every day at 06:30, Europe/Lisbon, from 26 March 2027 on"
    assert said["Next run"] == "Friday 26 March 2027, 06:30, Europe/Lisbon"
    assert said["Begins with"] == "Everything there is"


def test_a_run_keeps_its_definition(marketer: Actor) -> None:
    export = export_schedule(export=make_export(marketer), by=marketer)
    Export.objects.filter(pk=export.pk).update(columns=None)
    assert facts(ExportRun.objects.get(export=export))["Columns"] == "email, tier"


def test_what_is_no_longer_there_is_said(marketer: Actor) -> None:
    export = make_export(marketer)
    export.filter, export.schedule = {"and": [{"field": "gone", "op": "is", "value": "x"}]}, {"cadence": "never"}
    export.type = "periodic_full"
    said = facts(export, counted=True)
    assert said["Only rows where"] == said["Rows now"] == "There is no field “gone”."
    assert said["Goes to"] == "Not chosen yet"


def test_the_partial_escapes(marketer: Actor) -> None:
    export = make_export(marketer, columns=[{"field": "email", "header": "<b>"}])
    html = render_to_string("exports/_definition.html", {"sections": definition_words(export)})
    assert "<code>&lt;b&gt;</code>" in html
    assert 'aria-labelledby="definition-data"' in html
