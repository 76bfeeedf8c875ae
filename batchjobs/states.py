"""The states of a batch job: one table of what may follow what, and why.

`manage.py state_diagram` prints the table as Mermaid into docs/states.md; a test keeps that fresh.
The database repeats what it can in CheckConstraints (batchjobs/models.py).
"""

from django.db import models
from django.utils.translation import gettext_lazy as _


class Status(models.TextChoices):
    PENDING = "pending", _("Pending")  # in the queue, nobody has touched it
    IN_PROGRESS = "in_progress", _("In progress")  # claimed at least once; a lease says by whom
    DONE = "done", _("Done")  # read to the end, at least one row good or already there
    FAILED = "failed", _("Failed")  # stopped for a named reason
    CANCELED = "canceled", _("Canceled")  # stopped by a person; committed rows stay
    EXPIRED = "expired", _("Expired")  # its files are gone; `outcome` keeps how it ended


ACTIVE = frozenset({Status.PENDING, Status.IN_PROGRESS})
ENDED = frozenset({Status.DONE, Status.FAILED, Status.CANCELED})

TRANSITIONS: dict[tuple[Status, Status], str] = {
    (Status.PENDING, Status.IN_PROGRESS): "a worker claims it",
    (Status.PENDING, Status.CANCELED): "canceled before it began",
    (Status.IN_PROGRESS, Status.DONE): "the file was read to its end",
    (Status.IN_PROGRESS, Status.FAILED): "a named failure, or three crashes in a row",
    (Status.IN_PROGRESS, Status.CANCELED): "canceled between two chunks",
    (Status.PENDING, Status.FAILED): "support staff gave it up",
    (Status.DONE, Status.EXPIRED): "90 days after upload",
    (Status.FAILED, Status.EXPIRED): "90 days after upload",
    (Status.CANCELED, Status.EXPIRED): "90 days after upload",
}


class TransitionRefusedError(Exception):
    """The job was not in a state that allows it; nothing was changed."""


def sources_of(target: Status) -> list[Status]:
    """The states from which `target` may be reached."""
    return [before for before, after in TRANSITIONS if after == target]


class Action(models.TextChoices):
    """What a person can ask of a job. Who may is accounts.permissions."""

    CANCEL = "cancel", _("Cancel the job")
    RUN_ANYWAY = "run_anyway", _("Run it anyway")
    RERUN = "rerun", _("Run it in another way")


ACTION_STATES: dict[Action, frozenset[Status]] = {
    Action.CANCEL: ACTIVE,
    Action.RUN_ANYWAY: frozenset({Status.FAILED}),  # and only after DUPLICATE_FILE
    Action.RERUN: frozenset({Status.FAILED, Status.CANCELED}),  # with the same file, as long as that is kept
}
