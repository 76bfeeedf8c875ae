"""Who may: what each role is allowed to do. Which state allows it is the states module of each app."""

from __future__ import annotations

from enum import StrEnum

from django.db import models
from django.utils.translation import gettext_lazy as _


class Role(models.TextChoices):
    VIEWER = "viewer", _("Viewer")
    MARKETER = "marketer", _("Marketer")
    MANAGER = "manager", _("Manager")


class Permission(StrEnum):
    VIEW = "view"  # see jobs, people's data and settings of one's account
    RUN_JOBS = "run_jobs"  # upload files, start and cancel jobs
    MANAGE = "manage"  # API keys and members


ROLE_PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.VIEWER: frozenset({Permission.VIEW}),
    Role.MARKETER: frozenset({Permission.VIEW, Permission.RUN_JOBS}),
    Role.MANAGER: frozenset(Permission),
}


def role_can(role: str, permission: Permission) -> bool:
    return permission in ROLE_PERMISSIONS[Role(role)]
