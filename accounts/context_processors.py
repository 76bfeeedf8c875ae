"""What every page's shell shows."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

THEMES = ("light", "dark")


def shell(request: HttpRequest) -> dict[str, Any]:
    """`actor` or None, `memberships` (loaded with it by the middleware), `theme` ("" follows the system)."""
    theme = request.COOKIES.get("theme", "")
    return {
        "actor": getattr(request, "actor", None),
        "memberships": getattr(request, "memberships", []),
        "theme": theme if theme in THEMES else "",
    }
