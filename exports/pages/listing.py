"""The list as its URL asks for it: tabs, facets, chips, rows; and what a poll asks for."""

import re
from dataclasses import dataclass
from typing import Any

from django.http import QueryDict
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import Account
from accounts.permissions import Permission
from audience.models import Database
from console.lists import Chip, StatusChoice, capped, without
from console.tables import BIGINT, COUNT_CAP, url_with
from exports.filters import (
    FACETS,
    FINISHED,
    OF_EXPORTS,
    RUN_TABLE,
    STATUSES,
    TABS,
    ExportFilter,
    list_params,
)
from exports.models import DataType
from exports.pages.rows import (
    RUN_RELATIONS,
    export_rows,
    run_rows,
    with_last_run,
)
from exports.states import ExportType

TOKEN = re.compile(r"(export|run)-(\d{1,18})")
UNFOLDED = 8  # choices of a facet; the kinds of data and the types are fewer


@dataclass(frozen=True, slots=True)
class TabLink:
    value: str
    label: str
    href: str
    count: str
    current: bool


@dataclass(frozen=True, slots=True)
class Facet:
    """Of many choices those that find nothing are folded away, so that they do not push the others off the screen."""

    name: str
    title: str
    choices: list[StatusChoice]

    @property
    def folded(self) -> list[StatusChoice]:
        if len(self.choices) <= UNFOLDED:
            return []
        return [choice for choice in self.choices if choice.count == "0" and not choice.checked]

    @property
    def shown(self) -> list[StatusChoice]:
        folded = self.folded
        return [choice for choice in self.choices if choice not in folded]


def list_context(request: Any, params: QueryDict | None = None) -> dict[str, Any]:
    params = list_params(request.GET) if params is None else params
    path = reverse("export_list")
    by, now = request.actor, timezone.now()
    account = by.account
    databases = list(Database.objects.for_account(account).order_by("name", "pk"))
    filters = ExportFilter(account, params, databases)
    tab, table = filters.tab, filters.table
    found = filters.found
    found = with_last_run(found, account) if tab in OF_EXPORTS else found.select_related(*RUN_RELATIONS)
    page = table.page(found, params)
    make: Any = export_rows if tab in OF_EXPORTS else run_rows
    rows = make(page.rows, by, now, params)
    chips = _chips(path, params, filters)
    counts = filters.counts
    return {
        "tab": tab,
        "tabs": tab_links(path, params, filters),
        "facets": _facets(filters),
        "facets_on": sum(
            len(values) for facet, values in filters.chosen.items() if facet != "status" or tab == FINISHED
        ),
        "rows": rows,
        "newer": url_with(path, params, before=page.newer, after="") if page.newer else "",
        "older": url_with(path, params, after=page.older, before="") if page.older else "",
        "headers": table.headers(path, params),
        "sort": "" if page.sort == table.default else page.sort,
        "order": _ORDERS[page.sort],
        "q": filters.q,
        "chips": chips,
        "clear_url": url_with(path, without(params, "q", *FACETS)),
        "list_url": url_with(path, params),
        "total": capped(counts.found, COUNT_CAP),
        "unused": not chips and not any(counts.tabs.values()),
        "list_query": params.urlencode(),
        "polling": any(row.is_active for row in rows),
        "etag": "",
        "can_run": by.can(Permission.RUN_JOBS),
    }


_ORDERS = {
    "name": gettext_lazy("by name"),
    "-name": gettext_lazy("by name, backwards"),
    "edited": gettext_lazy("longest unedited first"),
    "-edited": gettext_lazy("last edited first"),
    "next_run": gettext_lazy("next run first"),
    "-next_run": gettext_lazy("latest run first"),
    "started": gettext_lazy("oldest first"),
    "-started": gettext_lazy("newest first"),
}


def tab_links(path: str, params: QueryDict, filters: ExportFilter) -> list[TabLink]:
    """The same search in another tab, by that tab's own sort."""
    counts = filters.tab_counts
    rest = without(params, "sort")
    return [
        TabLink(tab, str(label), url_with(path, rest, tab=tab), capped(counts[tab], COUNT_CAP), tab == filters.tab)
        for tab, label in TABS.items()
    ]


def tabs_now(account: Account, params: QueryDict) -> list[TabLink]:
    databases = list(Database.objects.for_account(account))
    return tab_links(reverse("export_list"), params, ExportFilter(account, params, databases))


def _facets(filters: ExportFilter) -> list[Facet]:
    names: dict[str, tuple[str, dict[str, Any]]] = {
        "database": (_("Database"), {str(database.pk): database.name for database in filters.databases}),
        "data": (_("Data"), dict(DataType.choices)),
        "type": (_("Export type"), dict(ExportType.choices)),
    }
    if filters.tab == FINISHED:
        names["status"] = (_("Status"), STATUSES)
    return [
        Facet(
            name,
            title,
            [
                StatusChoice(
                    value,
                    str(label),
                    capped(filters.counts.facets[name].get(value, 0), COUNT_CAP),
                    value in filters.chosen[name],
                )
                for value, label in choices.items()
            ],
        )
        for name, (title, choices) in names.items()
    ]


def _chips(path: str, params: QueryDict, filters: ExportFilter) -> list[Chip]:
    chips = []
    if filters.q:
        chips.append(Chip(_("Name: %(text)s") % {"text": filters.q}, url_with(path, without(params, "q"))))
    for facet in _facets(filters):
        on = filters.chosen[facet.name]
        for choice in facet.choices:
            if choice.checked:
                others = [value for value in on if value != choice.value]
                label = f"{facet.title}: {choice.label}"
                chips.append(Chip(label, url_with(path, without(params), **{facet.name: others})))
    return chips


def live_tokens(given: QueryDict) -> tuple[list[int], list[int], tuple[str, int] | None]:
    """Which rows (exports, runs) and which drawer a poll asks for; what is none is left out."""
    found: dict[str, list[int]] = {"export": [], "run": []}
    for value in given.getlist("row")[: RUN_TABLE.size]:
        if token := _token(value):
            found[token[0]].append(token[1])
    return found["export"], found["run"], _token(given.get("open") or "")


def _token(value: str) -> tuple[str, int] | None:
    match = TOKEN.fullmatch(value)
    return (match[1], int(match[2])) if match and 0 < int(match[2]) < BIGINT else None
