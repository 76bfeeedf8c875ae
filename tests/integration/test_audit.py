"""The audit log: the database itself refuses to change it."""

from __future__ import annotations

import psycopg
import pytest
from django.db import connection

from batchjobs.sessions import open_session

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_audit_log_only_grows():
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO accounts_auditevent (actor, action, target, data) VALUES ('a', 'b', '', '{}')")
    for statement in ("UPDATE accounts_auditevent SET actor = 'x'", "DELETE FROM accounts_auditevent"):
        with (
            open_session("x") as session,
            pytest.raises(psycopg.errors.RaiseException, match="only grows"),
        ):
            session.execute(statement)
