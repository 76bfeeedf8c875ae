"""Uploads that survive a cut: a file arrives in pieces, each stored and recorded before the next is read.

A piece is an object of its own in storage, never joined with others (docs/decisions/0009-uploads-as-parts.md). It
counts from the commit that moves `received` on, and that UPDATE names the offset it started from: of two requests that
send the same bytes one wins, the other's object is removed. No transaction is open while bytes arrive.

HTTP is batchjobs/upload_views.py.
"""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Iterator
from uuid import UUID, uuid4

import structlog
from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.actors import Actor
from accounts.tenancy import TenantQuerySet
from batchjobs.bodies import READ_BYTES, Body
from batchjobs.files import SOURCES, part_name
from batchjobs.models import FilePart, SourceFile
from batchjobs.services import JobRefusedError, file_name_checked
from console.formats import filesize

log = structlog.get_logger(__name__)


class UploadTooLargeError(Exception):
    """More bytes than are allowed, or than the upload has said it has."""


class OffsetError(Exception):
    """The bytes do not start where the file ends, or another request was quicker."""


def uploads(*, by: Actor) -> TenantQuerySet[SourceFile]:
    """A person's own uploads, for a key all of its account; also those that a job has."""
    found: TenantQuerySet[SourceFile] = SourceFile.objects.for_account(by.account)
    found = found.filter(upload_id__isnull=False, removed_at__isnull=True)
    return found.filter(created_by=by.user) if by.user else found


def upload_of(*, by: Actor, upload_id: UUID) -> SourceFile:
    """One of `uploads`. Raises JobRefusedError."""
    found: SourceFile | None = uploads(by=by).filter(upload_id=upload_id).first()
    if found is None:
        raise JobRefusedError("upload", _("This upload is no longer there. Send the file again."))
    return found


def uploads_open(*, by: Actor, now: dt.datetime | None = None) -> TenantQuerySet[SourceFile]:
    """The uploads of `by` that have not expired, newest first: unfinished ones, and whole ones without a job."""
    fresh = (now or timezone.now()) - kept_for()
    return uploads(by=by).filter(jobs=None, touched_at__gte=fresh).order_by("-pk")


def upload_begin(*, by: Actor, name: str, size: int, client_mark: str = "") -> SourceFile:
    """Records that a file of `size` bytes is to come. Raises JobRefusedError for its name, UploadTooLargeError.

    `client_mark` is what the sender knows the same file by when it comes again.
    """
    name = file_name_checked(name)
    if "\x00" in name + client_mark:
        raise JobRefusedError("file", _("The name of the file cannot contain control characters."))
    if size > settings.UPLOAD_MAX_BYTES:
        raise UploadTooLargeError(
            _("The file is too large: %(limit)s at most.") % {"limit": filesize(settings.UPLOAD_MAX_BYTES)}
        )
    upload: SourceFile = SourceFile.objects.create(
        account=by.account,
        name=name,
        size=size,
        received=0,
        upload_id=uuid4(),
        client_mark=client_mark[:120],
        created_by=by.user,
    )
    upload.refresh_from_db()
    return upload


def upload_append(*, upload: SourceFile, offset: int, body: Body, length: int) -> int:
    """Takes `length` bytes in at `offset`; returns where the file ends now, which is less when `body` broke off.

    Raises OffsetError and UploadTooLargeError. What was stored before stays, whatever happens.
    """
    if offset != upload.received:
        raise OffsetError
    if length > upload.size - offset:
        raise UploadTooLargeError(_("These are more bytes than the upload has said it has."))
    at = offset
    for piece in _pieces(body, length):
        at = _keep(upload, at, piece)
    upload.received, upload.touched_at = at, timezone.now()
    return at


def upload_discard(*, upload: SourceFile, by: Actor) -> None:
    """Removes an upload that no job uses. Raises JobRefusedError for one that was taken in the meantime."""
    if not _remove(upload):
        raise JobRefusedError("file", _("“%(name)s” was used for a job already.") % {"name": upload.name})
    log.info("upload_discarded", upload=str(upload.upload_id), by=str(by), received=upload.received)


def uploads_sweep(*, now: dt.datetime | None = None) -> dict[str, int]:
    """Removes uploads without a job that nobody went on with, and objects that a crash kept from being recorded."""
    before = (now or timezone.now()) - kept_for()
    old = SourceFile.objects.filter(
        upload_id__isnull=False, removed_at__isnull=True, jobs=None, touched_at__lt=before
    ).order_by("pk")
    removed = {"uploads": sum(_remove(upload, before) for upload in old.iterator()), "orphans": _sweep_orphans(before)}
    if any(removed.values()):
        log.info("uploads_swept", **removed)
    return removed


def expires_at(upload: SourceFile) -> dt.datetime:
    return upload.touched_at + kept_for()


def kept_for() -> dt.timedelta:
    return dt.timedelta(hours=settings.UPLOAD_KEPT_HOURS)


def _pieces(body: Body, length: int) -> Iterator[io.BytesIO]:
    """What arrives, in pieces that fit in memory. When the connection breaks, what had come is the last piece."""
    left = length
    while left:
        piece = io.BytesIO()
        broken = False
        while (wanted := min(READ_BYTES, settings.UPLOAD_PART_BYTES - piece.tell(), left)) and not broken:
            try:
                data = body.read(wanted)
            except OSError:
                data = b""
            piece.write(data)
            left -= len(data)
            broken = not data
        if piece.tell():
            yield piece
        if broken:
            return


def _keep(upload: SourceFile, at: int, piece: io.BytesIO) -> int:
    """Stores the piece, then lets it count if the file still ends at `at`. Raises OffsetError."""
    size = piece.tell()
    piece.seek(0)
    stored_as = default_storage.save(part_name(upload.account), File(piece))
    # Whatever else fails here leaves the object: a commit whose answer was lost may have been one. The sweep decides.
    with transaction.atomic():
        won = SourceFile.objects.filter(pk=upload.pk, received=at, removed_at__isnull=True).update(
            received=at + size, touched_at=Now()
        )
        if won:
            FilePart.objects.create(file=upload, start=at, size=size, stored_as=stored_as)
    if not won:
        default_storage.delete(stored_as)
        raise OffsetError
    return at + size


def _remove(upload: SourceFile, before: dt.datetime | None = None) -> bool:
    """Removes the record, then the bytes: a crash in between leaves objects that the sweep finds."""
    with transaction.atomic():
        file = SourceFile.objects.select_for_update().filter(pk=upload.pk).first()
        if file is None:
            return True
        if file.jobs.exists() or (before and file.touched_at >= before):
            return False
        stored = list(file.parts.values_list("stored_as", flat=True))
        file.delete()
    for name in stored:
        default_storage.delete(name)
    return True


def _sweep_orphans(before: dt.datetime) -> int:
    try:
        folders, _files = default_storage.listdir(SOURCES)
    except (NotImplementedError, FileNotFoundError):
        return 0
    removed = 0
    for folder in folders:
        names = {f"{SOURCES}/{folder}/{file}" for file in default_storage.listdir(f"{SOURCES}/{folder}")[1]}
        recorded = FilePart.objects.filter(stored_as__startswith=f"{SOURCES}/{folder}/")
        for name in names.difference(recorded.values_list("stored_as", flat=True).iterator()):
            try:
                if default_storage.get_modified_time(name) >= before:
                    continue  # its commit may be under way
            except FileNotFoundError:
                continue
            default_storage.delete(name)
            removed += 1
    return removed
