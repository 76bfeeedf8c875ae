"""Storage on a local disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import TemporaryUploadedFile

from console.storage import STEP, DurableFileSystemStorage

CONTENT = bytes(range(256)) * (2 * STEP // 256) + b"the rest"


@pytest.fixture
def storage(tmp_path: Path) -> DurableFileSystemStorage:
    return DurableFileSystemStorage(location=tmp_path / "files")


def test_the_disk_begins_before_the_end(storage: DurableFileSystemStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []
    monkeypatch.setattr(os, "posix_fadvise", lambda _handle, start, length, _how: begun.append((start, length)))
    name = storage.save("a/b", ContentFile(CONTENT))
    assert Path(storage.path(name)).read_bytes() == CONTENT
    assert begun == [(0, STEP), (STEP, STEP)]


def test_a_disk_that_takes_no_advice(storage: DurableFileSystemStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> None:
        raise OSError("not here")

    monkeypatch.setattr(os, "posix_fadvise", refuse)
    name = storage.save("a/b", ContentFile(CONTENT))
    assert Path(storage.path(name)).read_bytes() == CONTENT


def test_a_file_that_is_there_already_is_moved(storage: DurableFileSystemStorage) -> None:
    with TemporaryUploadedFile("c", "text/plain", 3, None) as upload:
        upload.write(b"abc")
        upload.flush()
        was = Path(upload.temporary_file_path())
        name = storage.save("a/c", upload)
        assert not was.exists()
    assert Path(storage.path(name)).read_bytes() == b"abc"
