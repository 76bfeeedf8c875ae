"""The transfer box: a folder a account in the storage `transfer_box`, from which partners fetch files.

On a disk a file is written under a part name, flushed, and renamed. Other storages show an object only when it is
complete.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import IO
from uuid import uuid4

from django.core.files.base import File
from django.core.files.storage import FileSystemStorage, storages
from django.utils.translation import gettext as _

from console.storage import fsync_path
from exports.errors import DeliveryError
from exports.models import Destination

PART = ".part"
BLOCK = 1024 * 1024


def box_folder(destination: Destination) -> str:
    return f"{destination.account_id}/out"


def deliver(destination: Destination, *, name: str, content: IO[bytes], size: int) -> str:
    """Puts the file into the account's folder; an older one of the same name is replaced. Raises DeliveryError."""
    box = storages["transfer_box"]
    stored = f"{box_folder(destination)}/{name}"
    try:
        if isinstance(box, FileSystemStorage):
            _write(Path(box.path(stored)), content, size)
        else:
            box.save(stored, File(content))  # its settings make it replace
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DeliveryError("DESTINATION_FULL") from error
        reason = _("The folder of the transfer box cannot be written to.")
        raise DeliveryError("DESTINATION_REFUSED", reason=reason) from error
    return f"out/{name}"


def _write(path: Path, content: IO[bytes], size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own: a worker that was frozen may come back and write on.
    # Without that of the file: there is no room for it where that is as long as it may be.
    part = path.with_name(f".{uuid4().hex}{PART}")
    try:
        with part.open("wb") as out:
            shutil.copyfileobj(content, out, BLOCK)
            out.flush()
            os.fsync(out.fileno())
        if part.stat().st_size != size:
            raise OSError(errno.EIO, "another size arrived")
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    fsync_path(path.parent)
