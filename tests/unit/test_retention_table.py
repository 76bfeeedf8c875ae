"""The table of what is kept: nothing is missing in it, and the page in the docs says the same."""

from __future__ import annotations

from pathlib import Path

from django.apps import apps
from django.conf import settings

from batchjobs.management.commands.retention_table import page
from batchjobs.retention import Policy, lines, policies


def test_every_model_has_a_line():
    models = {model._meta.label for model in apps.get_models()}
    named = {model for line in lines() for model in line.models}
    assert models - named == set(), "Say in the RETENTION table how long it is kept, or why it holds nothing personal."
    assert named - models == set(), "There is no such model."


def test_every_policy_has_a_time_and_a_name_of_its_own():
    assert all(getattr(settings, policy.kept) > 0 for policy in policies())
    names = [line.name for line in lines() if isinstance(line, Policy)]
    assert len(set(names)) == len(names)


def test_the_page_in_the_docs_is_up_to_date():
    written = (Path(settings.BASE_DIR) / "docs" / "retention.md").read_text()
    assert written == page(), "Run manage.py retention_table."
