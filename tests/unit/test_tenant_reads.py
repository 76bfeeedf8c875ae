"""Views and APIs reach an account's rows only through `for_account`: read from their source."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from django.apps import apps

from accounts.tenancy import TenantManager

ROOT = Path(__file__).parent.parent.parent
OURS = ("accounts", "audience", "batchjobs", "uploads", "exports", "console", "config")
MODULES = sorted(
    path
    for app in OURS
    for name in ("views", "api", "pages", "wizard", "forms", "filters", "downloads", "context_processors", "middleware")
    for path in (*ROOT.glob(f"{app}/{name}.py"), *ROOT.glob(f"{app}/{name}/*.py"))
)


def tenant_models() -> set[str]:
    return {
        model.__name__
        for model in apps.get_models()
        if model._meta.app_label in OURS and isinstance(model._default_manager, TenantManager)
    }


def unfiltered(source: str, models: set[str]) -> list[int]:
    """Lines with `Model.objects.<anything but for_account>`, or with another way round the filter."""
    found = []
    tree = ast.parse(source)
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in models):
            continue
        if node.attr in ("objects", "_default_manager", "_base_manager"):
            use = parents[node]
            if not (isinstance(use, ast.Attribute) and use.attr == "for_account"):
                found.append(node.lineno)
    return sorted(found)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_read_without_the_account(path: Path):
    assert unfiltered(path.read_text(), tenant_models()) == []


def test_the_search_finds_what_it_looks_for():
    source = "BatchJob.objects.filter(pk=1)\nBatchJob.objects.for_account(a)\nx = BatchJob.objects\n"
    assert unfiltered(source, {"BatchJob"}) == [1, 3]
    assert {"BatchJob", "ApiKey", "Profile", "Interaction"} <= tenant_models()
