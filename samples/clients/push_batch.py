"""Pushes JSON records to Batchdesk as a batch, and waits for what becomes of them. Standard library only.

    BATCHDESK_URL=https://desk.example.com CLIENT_KEY=abcd1234 API_TOKEN=bd_live_… python push_batch.py guests.json

As a module: `BatchClient(url, client_key, api_token).push(records)` with any iterable of records.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID, uuid4

ENDED = ("success", "error", "corrupted")
TRIES = 4  # of an upload whose connection breaks


class BatchRefusedError(Exception):
    """What Batchdesk answered: `status` and `code` of its JSON, the message as text."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(body.get("message", f"HTTP {status}"))
        self.status = status
        self.code = body.get("code", status)


class BatchClient:
    """One client of the batch API."""

    def __init__(self, url: str, client_key: str, api_token: str) -> None:
        self.url = url.rstrip("/")
        pair = base64.b64encode(f"{client_key}:{api_token}".encode()).decode()
        self.authorization = {"Authorization": f"Basic {pair}"}

    def push(self, records: Iterable[dict[str, Any]], *, ref: UUID | None = None) -> dict[str, Any]:
        """Packs, uploads and waits; the last status as the API gives it. Raises BatchRefusedError."""
        lines = (json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n" for record in records)
        return self.push_lines(lines, ref=ref)

    def push_lines(self, lines: Iterable[bytes], *, ref: UUID | None = None) -> dict[str, Any]:
        """The same with records as they stand in a file, a line each: Batchdesk says which of them are wrong."""
        with tempfile.TemporaryFile() as packed:
            with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as out:
                out.writelines(lines)
            return self.wait(self.upload(packed, ref or uuid4()))

    def upload(self, packed: BinaryIO, ref: UUID) -> UUID:
        """Allocates a location for a gzipped file and sends it there; the same reference may be tried again."""
        size = packed.seek(0, os.SEEK_END)
        packed.seek(0)
        checksum = hashlib.file_digest(packed, "md5").hexdigest()
        declared = json.dumps({"checksum": checksum, "size": size}).encode()
        for attempt in range(TRIES):
            found = self._json("PUT", f"{self.url}/v2/batches/{ref}", declared, self.authorization)
            packed.seek(0)
            headers = {"Content-Length": str(size), "Content-Type": "application/gzip"}
            try:
                self._open("PUT", found["location"]["href"], packed, headers).close()
            except (ConnectionError, urllib.error.URLError):
                if attempt == TRIES - 1:
                    raise
                time.sleep(2**attempt)
                continue
            break
        return ref

    def status(self, ref: UUID) -> dict[str, Any]:
        return self._json("GET", f"{self.url}/v2/batches/{ref}", None, self.authorization)

    def wait(self, ref: UUID, *, every: float = 1.0) -> dict[str, Any]:
        """Asks until the batch has ended."""
        while (found := self.status(ref))["status"]["code"] not in ENDED:
            time.sleep(every)
        return found

    def errors(self, found: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The lines of the error log of a status."""
        if link := found["status"].get("log"):
            with self._open("GET", link, None, {}) as answer, gzip.open(answer, "rt", encoding="utf-8") as lines:
                yield from map(json.loads, lines)

    def _json(self, method: str, url: str, data: bytes | None, headers: dict[str, str]) -> Any:
        with self._open(method, url, data, headers) as answer:
            return json.load(answer)

    def _open(self, method: str, url: str, data: Any, headers: dict[str, str]) -> Any:
        request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310  the operator's own address
        try:
            return urllib.request.urlopen(request, timeout=120)  # noqa: S310
        except urllib.error.HTTPError as error:
            with error:
                try:
                    body = json.load(error)
                except ValueError:
                    body = {}
            raise BatchRefusedError(error.code, body) from None


def main() -> int:
    client = BatchClient(os.environ["BATCHDESK_URL"], os.environ["CLIENT_KEY"], os.environ["API_TOKEN"])
    with Path(sys.argv[1]).open("rb") as lines:
        found = client.push_lines(lines)
    print(json.dumps(found, indent=2))
    for error in client.errors(found):
        print(f"line {error['line']}: {error['code']} {error['message']}", file=sys.stderr)
    return 0 if found["status"]["code"] == "success" else 1


if __name__ == "__main__":
    raise SystemExit(main())
