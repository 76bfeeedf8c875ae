"""Database sessions of a run: named after their owner, so that whoever takes a job over can see and end them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import psycopg
from django.conf import settings
from django.db import DatabaseError, connection


def owner_name() -> str:
    """The application_name of all sessions of one run; 63 bytes at most."""
    return f"batchdesk-run-{uuid4().hex}"


@contextmanager
def owned_by(owner: str) -> Iterator[None]:
    """Makes Django's own connection a session of the run, with its name and its timeouts, for work that uses models."""
    timeout = str(int(settings.JOB_LEASE_SECONDS * 800))
    run = {
        "application_name": owner,
        "statement_timeout": timeout,
        "idle_in_transaction_session_timeout": timeout,
    }
    with connection.cursor() as cursor:
        for name, value in run.items():
            cursor.execute("SELECT set_config(%s, %s, false)", [name, value])
    try:
        yield
    finally:
        try:
            with connection.cursor() as cursor:
                for name in run:
                    cursor.execute(f"RESET {name}")
        except DatabaseError:  # whoever took the job over has ended it
            connection.close()


def open_session(owner: str) -> psycopg.Connection[tuple[Any, ...]]:
    """A connection of its own, outside Django's. Statements and idle transactions end before a lease does."""
    params = {
        key: value
        for key, value in connection.get_connection_params().items()
        if key not in ("cursor_factory", "context", "prepare_threshold", "client_encoding")
    }
    timeout = int(settings.JOB_LEASE_SECONDS * 800)
    options = " ".join(
        (
            str(params.pop("options", "") or ""),
            "-c jit=off -c timezone=UTC",
            f"-c statement_timeout={timeout} -c idle_in_transaction_session_timeout={timeout}",
            "-c client_connection_check_interval=1000",
        )
    ).strip()
    params["application_name"] = owner
    # Never prepared: a plan made while the audience was small would be kept while it grows.
    return psycopg.connect(**params, options=options, client_encoding="utf-8", autocommit=True, prepare_threshold=None)
