"""States of exports and of their runs, and what can be asked in each: one table, from which the buttons come.

An export is a definition: a draft, or scheduled. A run is one execution. What state a run is in follows from its job
(`models.ExportRunQuerySet.with_state`), so it cannot be stuck.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db import models
from django.utils.translation import gettext_lazy as _


class ExportType(models.TextChoices):
    ONE_SHOT = "one_shot", _("One shot")
    PERIODIC_FULL = "periodic_full", _("Periodic full")
    INCREMENTAL = "incremental", _("Incremental")
    CUSTOM = "custom", _("Custom")
    INCREMENTAL_CUSTOM = "incremental_custom", _("Incremental custom")


# Those that people make; the others are set up by support staff.
STANDARD = frozenset({ExportType.ONE_SHOT, ExportType.PERIODIC_FULL, ExportType.INCREMENTAL})
RECURRING = frozenset(ExportType) - {ExportType.ONE_SHOT}
# Only what changed since the last delivery goes out.
WINDOWED = frozenset({ExportType.INCREMENTAL, ExportType.CUSTOM, ExportType.INCREMENTAL_CUSTOM})


class State(models.TextChoices):
    DRAFT = "draft", _("In definition")
    SCHEDULED = "scheduled", _("Scheduled")
    STARTED = "started", _("Started")  # a one-shot export that has run: what is to be seen are its runs


class RunState(models.TextChoices):
    IN_PROGRESS = "in_progress", _("In progress")
    SUCCEEDED = "succeeded", _("Succeeded")
    FAILED = "failed", _("Failed")
    CANCELED = "canceled", _("Canceled")


RUN_ENDED = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELED})


class TransitionRefusedError(Exception):
    """The export or the run was not in a state that allows it; nothing was changed. The message is a sentence."""


class Action(models.TextChoices):
    """What a person can ask of an export."""

    EDIT = "edit", _("Edit")
    VIEW = "view", _("View definition")
    COPY = "copy", _("Copy")
    SCHEDULE = "schedule", _("Schedule")
    RUN_NOW = "run_now", _("Run now")
    RESYNC = "resync", _("Send everything again")
    UNSCHEDULE = "unschedule", _("Unschedule")
    DELETE = "delete", _("Delete")


class RunAction(models.TextChoices):
    """What a person can ask of a run."""

    REPORT = "report", _("View report")
    VIEW = "view", _("View definition")
    DOWNLOAD = "download", _("Download")
    RELAUNCH = "relaunch", _("Relaunch")
    WINDOW_AGAIN = "window_again", _("Export this window again")
    COPY = "copy", _("Copy")
    CANCEL = "cancel", _("Cancel")


@dataclass(frozen=True, slots=True)
class Allowed:
    states: frozenset[State]
    types: frozenset[ExportType] = frozenset(ExportType)


# Custom exports are there to be seen: their status and reports. Incremental custom ones have a standard equivalent.
_SHOWN = frozenset(ExportType) - {ExportType.CUSTOM}

ACTIONS: dict[Action, Allowed] = {
    Action.EDIT: Allowed(frozenset({State.DRAFT}), STANDARD),
    Action.VIEW: Allowed(frozenset(State), _SHOWN),
    Action.COPY: Allowed(frozenset(State), _SHOWN),
    Action.SCHEDULE: Allowed(frozenset({State.DRAFT}), STANDARD),
    Action.RUN_NOW: Allowed(frozenset({State.SCHEDULED}), STANDARD),
    Action.RESYNC: Allowed(frozenset({State.SCHEDULED}), frozenset({ExportType.INCREMENTAL})),
    Action.UNSCHEDULE: Allowed(frozenset({State.SCHEDULED}), _SHOWN),
    Action.DELETE: Allowed(frozenset({State.DRAFT}), STANDARD),
}


@dataclass(frozen=True, slots=True)
class RunAllowed:
    states: frozenset[RunState]
    types: frozenset[ExportType] = frozenset(ExportType)


# Whose file a batch job can read ("Report"): of any export that is more than shown.
READ_BY_JOBS = RunAllowed(frozenset({RunState.SUCCEEDED}), _SHOWN)

RUN_ACTIONS: dict[RunAction, RunAllowed] = {
    RunAction.REPORT: RunAllowed(frozenset(RunState)),
    RunAction.VIEW: RunAllowed(frozenset(RunState), _SHOWN),
    # Only what one asked for by hand; what recurs goes to its destination.
    RunAction.DOWNLOAD: RunAllowed(frozenset({RunState.SUCCEEDED}), frozenset({ExportType.ONE_SHOT})),
    RunAction.RELAUNCH: RunAllowed(frozenset({RunState.FAILED}), frozenset(ExportType) - {ExportType.CUSTOM}),
    RunAction.WINDOW_AGAIN: RunAllowed(RUN_ENDED, frozenset({ExportType.INCREMENTAL})),
    RunAction.COPY: RunAllowed(RUN_ENDED, _SHOWN),
    RunAction.CANCEL: RunAllowed(frozenset({RunState.IN_PROGRESS}), STANDARD),
}
