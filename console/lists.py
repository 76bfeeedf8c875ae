"""What pages with a list have in common: the state in their URL, chips, the choices of a filter, figures."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from django.http import QueryDict

from console.formats import number


@dataclass(frozen=True, slots=True)
class StatusChoice:
    value: str
    label: str
    count: str
    checked: bool


@dataclass(frozen=True, slots=True)
class Chip:
    """A filter that is on, and the URL without it."""

    label: str
    href: str


def params_kept(
    given: QueryDict,
    names: Iterable[str],
    sensible: Mapping[str, Callable[[str], bool]],
    *,
    several: Collection[str] = ("status",),
) -> QueryDict:
    """Of what a URL says, the parameters `names` with values that make sense: what rows and drawers keep.

    Of a repeated parameter the last value counts, except of `several`.
    """
    params = QueryDict(mutable=True)
    for name in names:
        values = [clean for value in given.getlist(name) if (clean := value.replace("\x00", "").strip())]
        check = sensible.get(name)
        if kept := [value for value in values if check is None or check(value)]:
            params.setlist(name, list(dict.fromkeys(kept)) if name in several else kept[-1:])
    return params


def without(params: QueryDict, *names: str) -> QueryDict:
    """The list's state without some filters, on its first page."""
    rest = params.copy()
    for name in (*names, "after", "before"):
        rest.pop(name, None)
    return rest


def capped(count: int, cap: int) -> str:
    """A figure that was counted up to `cap` + 1: “1,000+”."""
    return f"{number(cap)}+" if count > cap else number(count)
