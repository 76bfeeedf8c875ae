"""Tags and filters of the shell: icons, status pills, plots, and how values are written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django import template
from django.forms import BoundField
from django.template import Context
from django.urls import reverse
from django.utils.html import conditional_escape, format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from console import formats
from console.icons import ICONS
from console.registry import registered

register = template.Library()

for _name in ("number", "filesize", "clock", "span", "time_left", "moment", "second", "exact", "millisecond", "day"):
    register.filter(_name, getattr(formats, _name))

# Status values, of whatever app, and how they look: (tone, icon). Colour is never alone.
LOOKS: dict[str, tuple[str, str]] = {
    "pending": ("ghost", "pending"),
    "in_progress": ("info", "spin"),
    "done": ("ok", "ok"),
    "failed": ("bad", "stop-sign"),
    "canceled": ("none", "slash"),
    "expired": ("ghost", "archive"),
    "active": ("ok", "ok"),
    "revoked": ("none", "slash"),
    "uploading": ("info", "up-c"),
    "location_expired": ("none", "clock"),
    "file_uploaded": ("ghost", "inbox"),
    "processing": ("info", "spin"),
    "success": ("ok", "ok"),
    "corrupted": ("bad", "broken"),
    "error": ("warn", "warn"),
    "draft": ("ghost", "edit"),
    "scheduled": ("info", "calendar"),
    "started": ("none", "play"),
    "stopped": ("warn", "paused"),
    "succeeded": ("ok", "ok"),
}


@register.simple_tag
def icon(name: str, size: str = "", label: str = "") -> SafeString:
    """An icon; `size` "s" is 16 px. Decoration unless it has a `label`."""
    attributes = format_html('role="img" aria-label="{}"', label) if label else mark_safe('aria-hidden="true"')
    return format_html(
        '<svg class="icon{}" viewBox="0 0 20 20" {}><path d="{}"/></svg>',
        " icon-s" if size == "s" else "",
        attributes,
        ICONS[name],
    )


@register.simple_tag
def pill(status: str, word: str) -> SafeString:
    """A status: tint, icon and word."""
    tone, drawing = LOOKS[status]
    live = mark_safe(" data-live") if drawing == "spin" else ""
    return format_html('<span class="pill" data-tone="{}"{}>{}{}</span>', tone, live, icon(drawing), word)


@register.simple_tag
def share(part: int, whole: int) -> str:
    return formats.share(part, whole)


@register.simple_tag
def split_bar(valid: int, invalid: int, skipped: int = 0) -> SafeString:
    """Shares of a whole as a bar. What is small but there stays visible. The figures stand beside it."""
    whole = valid + invalid + skipped
    if not whole:
        return mark_safe("")
    bad = max(100 * invalid / whole, 0.8) if invalid else 0.0
    rest = max(100 * skipped / whole, 0.8) if skipped else 0.0
    good = max(100 - bad - rest, 0.0)
    return format_html(
        '<svg class="split" aria-hidden="true"><rect class="rest" width="100%" height="100%"/>'
        '<rect class="ok" width="{}%" height="100%"/>'
        '<rect class="bad" x="{}%" width="{}%" height="100%"/></svg>',
        f"{good:.2f}",
        f"{100 - bad:.2f}",
        f"{bad:.2f}",
    )


@dataclass(frozen=True, slots=True)
class Bar:
    value: float
    readout: str  # what the figure's <output> says while the pointer is on it
    tone: str = "in"  # or bad


@register.simple_tag
def bars(values: Sequence[Bar], label: str, slots: int = 16, height: int = 64) -> SafeString:
    """A small bar chart: x in percent and y in pixels, so that nothing is scaled; room for `slots` bars."""
    top = max((bar.value for bar in values), default=0) or 1
    width = 100 / max(len(values), slots)
    drawn = format_html_join(
        "",
        '<g class="day" data-readout="{}"><rect class="hit" x="{}%" width="{}%" y="0" height="{}"/>'
        '<rect class="{}" x="{}%" width="{}%" y="{}" height="{}" rx="1.5"/></g>',
        (
            (
                bar.readout,
                f"{n * width:.2f}",
                f"{width:.2f}",
                height,
                bar.tone,
                f"{(n + 0.2) * width:.2f}",
                f"{0.6 * width:.2f}",
                f"{height - (height - 4) * bar.value / top:.1f}",
                f"{(height - 4) * bar.value / top:.1f}",
            )
            for n, bar in enumerate(values)
        ),
    )
    return format_html(
        '<svg class="plot" data-short role="img" aria-label="{}">'
        '<line class="grid" x1="0" x2="100%" y1="{}" y2="{}"/>{}</svg>',
        label,
        height,
        height,
        drawn,
    )


@register.inclusion_tag("_components/nav_link.html", takes_context=True)
def nav_link(
    context: Context, url_name: str, icon_name: str, word: str, *, key: str = "", permission: str = ""
) -> dict[str, Any]:
    """A link of the sidebar, current on pages whose URL name begins alike; left out without `permission`."""
    request = context["request"]
    match = getattr(request, "resolver_match", None)
    family = url_name.rpartition("_")[0] + "_"
    actor = context.get("actor")
    allowed = not permission or (actor is not None and actor.can(permission))
    count = registered("NAV_COUNTS").get(url_name)
    return {
        "url_name": url_name,
        "href": reverse(url_name) if allowed else "",
        "icon_name": icon_name,
        "word": word,
        "key": key,
        "current": bool(match and (match.url_name or "").startswith(family)),
        "counted": count is not None,
        "count": count(actor.account) if count and actor else 0,
    }


SHELL = re.compile(r"""(?P<cm>^\#.*$)|(?P<str>"(?:\\.|[^"\\])*"|'[^']*')|(?P<opt>(?<=\s)-{1,2}[\w-]+)""", re.MULTILINE)


@register.filter
def shell(text: str) -> SafeString:
    """Lines for a shell, with comments, strings and options marked."""
    parts, end = [], 0
    for found in SHELL.finditer(text):
        parts.append((conditional_escape(text[end : found.start()]),))
        parts.append((format_html('<span class="{}">{}</span>', found.lastgroup, found.group()),))
        end = found.end()
    return format_html_join("", "{}", [*parts, (text[end:],)])


@register.simple_tag
def control(field: BoundField, **attributes: Any) -> SafeString:
    """A form's input with its class, tied to its hint and error (ids as in _components/field.html)."""
    attrs: dict[str, Any] = {"class": "input"}
    attrs |= {name.replace("_", "-"): value for name, value in attributes.items()}
    described = [f"{field.auto_id}-{part}" for part in ("hint", "error") if part != "error" or field.errors]
    if not field.help_text:
        described = [name for name in described if not name.endswith("-hint")]
    if described:
        attrs["aria-describedby"] = " ".join(described)
    if field.errors:
        attrs["aria-invalid"] = "true"
    return field.as_widget(attrs=attrs)
