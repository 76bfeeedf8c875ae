"""Every route of the URLconf stands in accounts/routes.py, and nothing else does."""

from __future__ import annotations

import pytest

from accounts.permissions import Permission
from accounts.routes import PUBLIC, ROUTES, STAFF, RouteUnknownError, rule_of
from tests.urlconf import walk


def test_every_route_has_a_rule_and_every_rule_a_route():
    names = {"admin:*" if route.name.startswith("admin:") else route.name for route in walk()}
    assert names == set(ROUTES)


def test_routes_of_staff_alone():
    assert rule_of("admin:batchjobs_batchjob_changelist", "GET") is STAFF
    with pytest.raises(RouteUnknownError):
        rule_of("admin", "GET")


def test_unknown_routes_are_refused():
    with pytest.raises(RouteUnknownError):
        rule_of("accounts.views.something_new", "GET")


def test_methods_have_rules_of_their_own():
    assert rule_of("api:batch_jobs", "GET") is rule_of("api:batch_jobs", "HEAD") is Permission.VIEW
    assert rule_of("api:batch_jobs", "POST") is Permission.RUN_JOBS
    assert rule_of("api:batch_jobs", "DELETE") is None
    assert rule_of("healthz", "OPTIONS") is PUBLIC
