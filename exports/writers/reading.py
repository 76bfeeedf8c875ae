"""Rows out of the database by COPY, through libpq's calls: blocks of whole rows, and a look around at every wait.

The server sends a message a row. psycopg's own iteration is as quick, but takes 1.7 times the CPU time, which packing
needs, and does not come back while the server is still looking for the next row (docs/performance.md).
"""

from __future__ import annotations

import json
import select
import time
from collections.abc import Callable, Generator
from typing import Any

import psycopg
from psycopg import pq

# JSON holds no control characters, so nothing is ever quoted or escaped by these.
RAW = r"(FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02', ENCODING 'UTF8')"
BLOCK = 64 * 1024
WAIT_SECONDS = 1.0
NAP_SECONDS = 0.0003  # in a millisecond a quick server fills the socket (docs/performance.md)


def copy_out(
    session: psycopg.Connection[Any],
    statement: str,
    alive: Callable[[], None],
    *,
    block: int = BLOCK,
    passed: Callable[[int], None] = lambda rows: None,
) -> Generator[bytes, None, int]:
    """The bytes of a COPY … TO STDOUT in blocks of whole rows; the number of rows is the iterator's value.

    `passed` is told how many rows are in each but the last. `alive` is called for every block and each second of
    waiting. When it raises, or the iterator is closed, the session is closed too. Raises psycopg.Error as executing
    the statement would.
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
                    passed(len(rows))
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


def ask(session: psycopg.Connection[Any], query: str, alive: Callable[[], None]) -> Any:
    """What the JSON says that a query gives as its one value. By COPY like rows, for it may take as long as these.

    Raises psycopg.Error as executing the query would.
    """
    return json.loads(b"".join(copy_out(session, f"COPY ({query}) TO STDOUT {RAW}", alive)))


def _wait(libpq: pq.abc.PGconn, alive: Callable[[], None]) -> None:
    """Takes what the server sent. If that is nothing yet, waits for something, and then a moment more.

    The server sends 8 KB at a time, and would spend a tenth of its time on waking who waits for each.
    """
    alive()
    if not _is_readable(libpq, 0) and _is_readable(libpq, WAIT_SECONDS):
        time.sleep(NAP_SECONDS)
    libpq.consume_input()


def _is_readable(libpq: pq.abc.PGconn, seconds: float) -> bool:
    return bool(select.select([libpq.socket], [], [], seconds)[0])


def _result(libpq: pq.abc.PGconn, alive: Callable[[], None]) -> pq.abc.PGresult | None:
    while libpq.is_busy():
        _wait(libpq, alive)
    return libpq.get_result()


def _error(result: pq.abc.PGresult | None, libpq: pq.abc.PGconn) -> psycopg.Error:
    """The error of a statement by its SQLSTATE, as psycopg raises it."""
    if result is None:
        return psycopg.OperationalError(libpq.get_error_message())
    return psycopg.errors.error_from_result(result)
