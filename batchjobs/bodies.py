"""The body of a request as a stream that may break off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from django.conf import settings

READ_BYTES = 64 * 1024


class Body(Protocol):
    """The bytes of a request: b"" at their end, OSError when the connection breaks."""

    def read(self, size: int, /) -> bytes: ...


@contextmanager
def patience(request: Any) -> Iterator[None]:
    """A sender who falls silent must not keep a thread for ever: reading gives up after UPLOAD_STALL_SECONDS."""
    sock = request.META.get("gunicorn.socket")  # other servers do not show theirs
    if sock is None:
        yield
        return
    before = sock.gettimeout()
    sock.settimeout(settings.UPLOAD_STALL_SECONDS)
    try:
        yield
    finally:
        sock.settimeout(before)
