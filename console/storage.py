"""Files on a local disk that are there once `save` has returned, also after a power cut."""

import os
from pathlib import Path
from typing import Any

from django.core.files.storage import FileSystemStorage


def fsync_path(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class DurableFileSystemStorage(FileSystemStorage):
    """FileSystemStorage whose `save` flushes the file and its folders before it returns."""

    def _save(self, name: str, content: Any) -> str:
        name = super()._save(name, content)  # type: ignore[misc]  # django-stubs leaves it out
        path = Path(self.path(name))
        fsync_path(path)
        root = Path(self.base_location)
        for folder in path.parents:
            fsync_path(folder)
            if folder == root:
                break
        return name
