"""Rows out of the database by COPY, through libpq's calls: blocks of whole rows, and a look around at every wait.

The server sends a message a row. psycopg's own iteration is as quick, but takes 1.7 times the CPU time, which packing
needs, and does not come back while the server is still looking for the next row (docs/performance.md).
"""

from __future__ import annotations

import select
from collections.abc import Callable, Generator
from typing import Any

import psycopg
from psycopg import pq

BLOCK = 64 * 1024
WAIT_SECONDS = 1.0


def copy_out(
    session: psycopg.Connection[Any], statement: str, alive: Callable[[], None], *, block: int = BLOCK
) -> Generator[bytes, None, int]:
    """The bytes of a COPY … TO STDOUT in blocks of whole rows; the number of rows is the iterator's value.

    `alive` is called for every block and each second of waiting. When it raises, or the iterator is closed, the
    session is closed too. Raises psycopg.Error as executing the statement would.
    """
    libpq = session.pgconn
    done = False
    try:
        libpq.send_query(statement.encode())
        result = _result(libpq, alive)
        if result is None or result.status != pq.ExecStatus.COPY_OUT:
            raise _error(result, libpq)
        rows: list[bytes | memoryview] = []
        size = 0
        next_row, keep = libpq.get_copy_data, rows.append
        while True:
            length, data = next_row(1)
            if length > 0:
                keep(data)
                size += length
                if size >= block:
                    yield b"".join(rows)
                    rows.clear()
                    size = 0
                    alive()
            elif length == 0:
                _wait(libpq, alive)
            else:
                break
        if rows:
            yield b"".join(rows)
        result = _result(libpq, alive)
        if result is None or result.status != pq.ExecStatus.COMMAND_OK:
            raise _error(result, libpq)
        while _result(libpq, alive) is not None:
            pass
        done = True
        return int((result.command_status or b"COPY 0").split()[-1])
    finally:
        if not done:
            session.close()


def ask(session: psycopg.Connection[Any], query: str, alive: Callable[[], None]) -> list[int]:
    """The whole numbers that a query of one row gives. By COPY like rows, for it may take as long as reading them."""
    answer = b"".join(copy_out(session, f"COPY ({query}) TO STDOUT (FORMAT csv)", alive))
    return [int(number) for number in answer.split(b",")]


def _wait(libpq: pq.abc.PGconn, alive: Callable[[], None]) -> None:
    alive()
    select.select([libpq.socket], [], [], WAIT_SECONDS)
    libpq.consume_input()


def _result(libpq: pq.abc.PGconn, alive: Callable[[], None]) -> pq.abc.PGresult | None:
    while libpq.is_busy():
        _wait(libpq, alive)
    return libpq.get_result()


def _error(result: pq.abc.PGresult | None, libpq: pq.abc.PGconn) -> psycopg.Error:
    """The error of a statement by its SQLSTATE, as psycopg raises it."""
    if result is None:
        return psycopg.OperationalError(libpq.get_error_message())
    return psycopg.errors.error_from_result(result)
