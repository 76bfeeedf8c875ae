"""What can be asked of exports and runs, as links and buttons."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.http import QueryDict
from django.urls import reverse

from console.tables import url_with
from exports.models import Export, ExportRun
from exports.states import Action, RunAction

BUTTONS = 3  # in a drawer's foot; the others are in its menu


@dataclass(frozen=True, slots=True)
class Ask:
    """An action in a menu or a drawer's foot. `posts`: a button of a form; else a link, to a drawer if `opens`."""

    label: str
    icon: str
    href: str
    posts: bool = False
    opens: bool = True
    danger: bool = False
    download: bool = False
    pushes: bool = False  # what it opens is a page of its own in the history


@dataclass(frozen=True, slots=True)
class _Way:
    route: str
    icon: str
    posts: bool = False
    opens: bool = True
    danger: bool = False
    download: bool = False
    pushes: bool = False


WAYS: dict[Action, _Way] = {
    Action.EDIT: _Way("export_edit", "edit", pushes=True),
    Action.VIEW: _Way("export_detail", "eye", pushes=True),
    Action.COPY: _Way("export_copy", "copy"),
    Action.SCHEDULE: _Way("export_schedule", "calendar", posts=True),
    Action.RUN_NOW: _Way("export_run_now", "play", posts=True),
    Action.RESYNC: _Way("export_resync", "retry"),
    Action.UNSCHEDULE: _Way("export_unschedule", "pause", danger=True),
    Action.DELETE: _Way("export_delete", "trash", danger=True),
}
# What people come for first.
FOOT = (
    Action.EDIT,
    Action.SCHEDULE,
    Action.COPY,
    Action.UNSCHEDULE,
    Action.RUN_NOW,
    Action.RESYNC,
    Action.DELETE,
)
RUN_WAYS: dict[RunAction, _Way] = {
    RunAction.DOWNLOAD: _Way("export_run_download", "tray-down", opens=False, download=True),
    RunAction.REPORT: _Way("export_run_detail", "list", pushes=True),
    RunAction.RELAUNCH: _Way("export_run_relaunch", "retry", posts=True),
    RunAction.WINDOW_AGAIN: _Way("export_run_window_again", "calendar", posts=True),
    RunAction.VIEW: _Way("export_run_definition", "eye", pushes=True),
    RunAction.COPY: _Way("export_run_copy", "copy"),
    RunAction.CANCEL: _Way("export_run_cancel", "slash", danger=True),
}
RUN_FOOT = (
    RunAction.DOWNLOAD,
    RunAction.VIEW,
    RunAction.COPY,
    RunAction.WINDOW_AGAIN,
    RunAction.CANCEL,
)


def asks_of(ways: dict[Any, _Way], allowed: Collection[Any], pk: int, params: QueryDict) -> list[Ask]:
    """In the order of `allowed`; a menu's is that of `ways`."""
    return [
        Ask(
            str(action.label),
            way.icon,
            reverse(way.route, args=[pk]) if way.download else url_with(reverse(way.route, args=[pk]), params),
            way.posts,
            way.opens,
            way.danger,
            way.download,
            way.pushes,
        )
        for action in allowed
        for way in [ways[action]]
    ]


def export_url(params: QueryDict, export: Export) -> str:
    return url_with(reverse("export_detail", args=[export.pk]), params)


def run_url(params: QueryDict, run: ExportRun) -> str:
    return url_with(reverse("export_run_detail", args=[run.pk]), params)
