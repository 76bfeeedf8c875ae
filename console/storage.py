"""Files on a local disk that are there once `save` has returned, also after a power cut."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.core.files.storage import FileSystemStorage

STEP = 8 * 1024 * 1024


def fsync_path(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class DurableFileSystemStorage(FileSystemStorage):
    """FileSystemStorage whose `save` flushes the file and its folders before it returns."""

    def _save(self, name: str, content: Any) -> str:
        if not hasattr(content, "temporary_file_path"):  # else it is moved
            content = _Hurried(content, Path(self.path(name)))
        name = super()._save(name, content)  # type: ignore[misc]  # django-stubs leaves it out
        path = Path(self.path(name))
        fsync_path(path)
        root = Path(self.base_location)
        for folder in path.parents:
            fsync_path(folder)
            if folder == root:
                break
        return name


class _Hurried:
    """Content that the disk begins to take while it is written, so that there is little left to flush at the end."""

    def __init__(self, content: Any, path: Path) -> None:
        self._content = content
        self._path = path

    def chunks(self) -> Iterator[bytes]:
        begun = written = 0
        for chunk in self._content.chunks():
            yield chunk
            written += len(chunk)
            if written - begun >= STEP:
                self._begin(begun, written)
                begun = written

    def _begin(self, start: int, end: int) -> None:
        """Linux begins to write what it is told that nobody will need, and keeps in memory what is being written."""
        with suppress(OSError):  # only the flush at the end has to succeed
            handle = os.open(self._path, os.O_RDONLY)
            try:
                os.posix_fadvise(handle, start, end - start, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(handle)
