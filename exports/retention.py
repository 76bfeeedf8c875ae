"""What of exports is kept, and for how long (batchjobs/retention.py)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from django.core.files.storage import storages
from django.db.models import QuerySet

from accounts.models import Account
from batchjobs.files import StorageFailedError
from batchjobs.models import SourceFile
from batchjobs.retention import Check, Kept, Policy, file_empty, files_expire, kept, names_counted, needed
from batchjobs.states import ACTIVE


def artifacts_due(account: Account, now: dt.datetime) -> QuerySet[SourceFile]:
    """Files of runs whose time is over, that no run delivers, and that no batch job reads or has read lately."""
    due: QuerySet[SourceFile] = SourceFile.objects.for_account(account).filter(
        ~needed(now),
        export_run__isnull=False,
        removed_at__isnull=True,
        created_at__lte=now - kept("ARTIFACTS_KEPT_DAYS"),
    )
    return due.exclude(export_run__job__status__in=ACTIVE)


def box_due(account: Account, now: dt.datetime) -> Iterator[str]:
    """Names of files in the account's transfer box whose time is over, part files that were left included."""
    box = storages["transfer_box"]
    folder = f"{account.pk}/out"
    try:
        _folders, names = box.listdir(folder)
        for name in (f"{folder}/{name}" for name in names):
            if box.get_modified_time(name).astimezone(dt.UTC) <= now - kept("TRANSFER_BOX_KEPT_DAYS"):
                yield name
    except FileNotFoundError:
        return
    except Exception as error:  # each kind of storage has its own
        raise StorageFailedError(folder) from error


def box_empty(name: str, check: Check) -> None:
    try:
        storages["transfer_box"].delete(name)
    except Exception as error:
        raise StorageFailedError(name) from error


TABLE = (
    Policy(
        name="artifacts",
        models=("exports.ExportRun",),
        what="Files that exports have written",
        since="writing them; that a batch job reads one counts anew, as for an uploaded file",
        kept="ARTIFACTS_KEPT_DAYS",
        removed="the bytes of the file",
        stays="the run and its report: who, when, how it ended, rows, size, checksum, window",
        due=artifacts_due,
        empty=file_empty,
        remove=files_expire,
        step=1,
    ),
    Policy(
        name="transfer_box",
        models=(),
        what="Files in the transfer box, for others to fetch",
        since="putting them there",
        kept="TRANSFER_BOX_KEPT_DAYS",
        removed="the file in the box",
        stays="the run, its report and, as long as that is kept, its own file",
        due=box_due,
        empty=box_empty,
        remove=names_counted,
        step=20,
    ),
    Kept(
        ("exports.Export", "exports.Destination"),
        until="somebody removes it, or the account is removed",
        why="What leaves, when and to whom: the account's own work. A filter or a recipient may name a person.",
    ),
    Kept(
        ("exports.ExportRun",),
        until="the account is removed",
        why="The history: what left, when, to whom, with its checksum.",
    ),
)
