"""The URLconf as a list of routes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from django.urls import URLPattern, URLResolver, get_resolver


@dataclass(frozen=True)
class Route:
    name: str  # as resolver_match.view_name
    parameters: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        return self.name


def walk(resolver: URLResolver | None = None, namespaces: tuple[str, ...] = ()) -> Iterator[Route]:
    for pattern in (resolver or get_resolver()).url_patterns:
        if isinstance(pattern, URLResolver):
            inner = (*namespaces, pattern.namespace) if pattern.namespace else namespaces
            yield from walk(pattern, inner)
        elif isinstance(pattern, URLPattern):
            parameters = (*pattern.pattern.converters, *getattr(pattern.pattern.regex, "groupindex", {}))
            name = ":".join((*namespaces, pattern.name or pattern.lookup_str))
            yield Route(name, tuple(dict.fromkeys(parameters)))
