"""Two database sessions that take turns: while one merges its chunk, the other copies the next."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

from batchjobs.ingestion.writing import statistics
from batchjobs.ingestion.writing.ledger import ChunkRecord, Session, Writer, commit_chunk
from batchjobs.sessions import open_session

LOADERS = 2
PIECES_AHEAD = 24  # of at most half a megabyte or so: bounds the memory
POLL_SECONDS = 0.2


class _AbortedError(Exception):
    """Another part of the run has failed; its error is the one to report."""


class LoaderPool:
    """Loads chunks in the order in which they come. Use as a context manager.

    `idle` is called while the caller waits, to keep the lease alive; what it raises ends the run.
    """

    def __init__(self, writer: Writer, owner: str, idle: Callable[[], None]) -> None:
        self.writer = writer
        self.owner = owner
        self.idle = idle
        self._inboxes: list[queue.Queue[queue.Queue[str | ChunkRecord] | None]] = [
            queue.Queue(1) for _ in range(LOADERS)
        ]
        self._turn = threading.Condition()
        self._committed = 0
        self._begun = 0
        self._error: BaseException | None = None
        self._feed: queue.Queue[str | ChunkRecord] | None = None
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> LoaderPool:
        for number in range(LOADERS):
            thread = threading.Thread(target=self._load, args=(number,), name=f"loader-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._fail(_AbortedError())
        for inbox in self._inboxes:
            self._put(inbox, None)
        for thread in self._threads:
            while thread.is_alive():
                thread.join(POLL_SECONDS)
                if kind is None and self._error is None:
                    try:
                        self.idle()
                    except BaseException as error:
                        self._fail(error)
        if kind is None and self._error is not None:
            raise self._error

    # For the parser's thread.

    def write(self, copy_text: str) -> None:
        """Adds rows in COPY text form to the chunk, which begins with the first; waits where a loader is busy."""
        self._put(self._current(), copy_text)

    def finish(self, chunk: ChunkRecord) -> None:
        """Ends the chunk: it is merged when those before it are committed."""
        self._put(self._current(), chunk)
        self._feed = None

    def settle(self) -> None:
        """Waits until every chunk that was finished is committed."""
        while True:
            with self._turn:
                self._turn.wait_for(lambda: self._committed == self._begun or self._error is not None, POLL_SECONDS)
                if self._error is not None:
                    raise self._error
                if self._committed == self._begun:
                    return
            self.idle()

    def _current(self) -> queue.Queue[str | ChunkRecord]:
        if self._feed is None:
            self._feed = queue.Queue(PIECES_AHEAD)
            self._put(self._inboxes[self._begun % LOADERS], self._feed)
            self._begun += 1
        return self._feed

    def _put(self, target: queue.Queue[Any], item: object) -> None:
        while True:
            if self._error is not None:
                if isinstance(self._error, _AbortedError) or item is None:
                    return
                raise self._error
            try:
                target.put(item, timeout=POLL_SECONDS)
                return
            except queue.Full:
                self.idle()

    def _fail(self, error: BaseException) -> None:
        with self._turn:
            if self._error is None:
                self._error = error
            self._turn.notify_all()

    # In the loaders' threads.

    def _load(self, number: int) -> None:
        try:
            with open_session(self.owner) as session:
                self.writer.prepare(session)
                turn = number
                while (feed := self._get(self._inboxes[number])) is not None:
                    self._load_chunk(session, feed, turn)
                    turn += LOADERS
        except _AbortedError:
            pass
        except BaseException as error:  # reported by the parser's thread
            self._fail(error)

    def _load_chunk(self, session: Session, feed: queue.Queue[str | ChunkRecord], turn: int) -> None:
        with session.transaction():
            # A COPY lasts as long as its rows are read: no limit on that. What follows is short.
            session.execute("SET LOCAL statement_timeout = 0")
            with session.cursor().copy(self.writer.copy) as copy:
                while isinstance(piece := self._get(feed), str):
                    copy.write(piece)
            session.execute("SET LOCAL statement_timeout = DEFAULT")
            self.writer.stage(session, piece)
            while not self._is_turn(turn):
                session.execute("SELECT")  # waiting is not being idle
            statistics.renew(session)
            commit_chunk(session, self.writer, piece)
        with self._turn:
            self._committed += 1
            self._turn.notify_all()

    def _is_turn(self, turn: int) -> bool:
        with self._turn:
            self._turn.wait_for(lambda: self._committed == turn or self._error is not None, POLL_SECONDS)
            if self._error is not None:
                raise _AbortedError
            return self._committed == turn

    def _get(self, source: queue.Queue[Any]) -> Any:
        while True:
            if self._error is not None:
                raise _AbortedError
            try:
                return source.get(timeout=POLL_SECONDS)
            except queue.Empty:
                continue
