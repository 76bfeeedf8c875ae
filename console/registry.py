"""Looks up the dicts of config/registry.py, so that lower layers need not import it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string


@cache
def registered(family: str) -> dict[str, Callable[..., Any]]:
    """The members of a family by key, imported. Raises AttributeError for a family that does not exist."""
    paths: dict[str, str] = getattr(import_module(settings.REGISTRY), family)
    return {key: import_string(path) for key, path in paths.items()}
