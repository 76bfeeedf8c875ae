"""The list of exports: its tabs, search, facets and sorts, as its URL has them.

The first two tabs list exports, the others runs: what stands in both has the same filters.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from django.db.models import F, Q, QuerySet, Value
from django.db.models.functions import Coalesce, Lower
from django.http import QueryDict
from django.utils.translation import gettext_lazy as _

from accounts.models import Account
from audience.models import Database
from batchjobs.states import ACTIVE
from console.lists import params_kept
from console.tables import Sort, Table, tally_capped
from exports.models import DataType, Export, ExportRun
from exports.states import ExportType, RunState, State

DRAFT, SCHEDULED, IN_PROGRESS, FINISHED = "draft", "scheduled", "in_progress", "finished"
TABS: dict[str, Any] = {
    DRAFT: _("In definition"),
    SCHEDULED: _("Scheduled"),
    IN_PROGRESS: _("In progress"),
    FINISHED: _("Finished"),
}
OF_EXPORTS = (DRAFT, SCHEDULED)
BY_NAME = Sort(Lower("name"), str)

# A tab's own sort is the first one that people see; the keys are those of the URL.
EXPORT_TABLES: dict[str, Table[Export]] = {
    DRAFT: Table({"name": BY_NAME, "edited": Sort(F("edited_at"), dt.datetime, descending_first=True)}, "-edited"),
    # Never NULL, also for an export that is not scheduled and has a place beside the list all the same.
    SCHEDULED: Table(
        {"name": BY_NAME, "next_run": Sort(Coalesce("next_run_at", "created_at"), dt.datetime)}, "next_run"
    ),
}
RUN_TABLE: Table[ExportRun] = Table(
    {"name": BY_NAME, "started": Sort(F("created_at"), dt.datetime, descending_first=True)}, "-started"
)
SORTS = {"name", "edited", "next_run", "started"}

FACETS = ("database", "data", "type", "status")
LIST_PARAMS = ("tab", "q", *FACETS, *RUN_TABLE.parameters)
SEARCH_MAX = 120
ENDED = [RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELED]
STATUSES: dict[str, Any] = {state.value: state.label for state in ENDED}
# What an export or a run is counted by: one word of each facet, and the status.
COUNTED = ("database_id", "data_type", "type", "state")


def list_params(given: QueryDict) -> QueryDict:
    """Of what a URL says, the part that is the list's and makes sense: rows and drawers keep it."""
    return params_kept(
        given,
        LIST_PARAMS,
        {
            "tab": lambda value: value in TABS,
            "q": lambda value: len(value) <= SEARCH_MAX,
            "database": lambda value: value.isascii() and value.isdecimal() and len(value) < 10,
            "data": lambda value: value in DataType.values,
            "type": lambda value: value in ExportType.values,
            "status": lambda value: value in STATUSES,
            "sort": lambda value: value.removeprefix("-") in SORTS,
        },
        several=FACETS,
    )


@dataclass(frozen=True)
class Counts:
    """How many there are in each tab, and in this tab of each choice. A choice of one facet leaves its own figures."""

    tabs: Mapping[str, int]
    facets: Mapping[str, Mapping[str, int]]
    found: int


@dataclass
class ExportFilter:
    """`q`: part of a name. Each of the facets `database` (ids), `data`, `type` and `status`: any of several."""

    account: Account
    params: QueryDict
    databases: list[Database] = field(default_factory=list)

    @property
    def q(self) -> str:
        return self.params.get("q") or ""

    @cached_property
    def chosen(self) -> dict[str, list[str]]:
        known = {str(database.pk) for database in self.databases}
        chosen = {facet: self.params.getlist(facet) for facet in FACETS}
        chosen["database"] = [value for value in chosen["database"] if value in known]
        return chosen

    @cached_property
    def tab(self) -> str:
        """The tab that the URL names; else Scheduled, or the first with something in it."""
        if asked := self.params.get("tab"):
            return asked
        tabs = self.tab_counts
        return next((tab for tab in (SCHEDULED, *TABS) if tabs[tab]), SCHEDULED)

    @property
    def table(self) -> Table[Any]:
        return EXPORT_TABLES.get(self.tab, RUN_TABLE)

    def rows(self, tab: str) -> QuerySet[Any]:
        """All that stands in a tab, whatever the search."""
        if tab in OF_EXPORTS:
            exports: QuerySet[Any] = Export.objects.for_account(self.account)
            return exports.filter(state=State.DRAFT if tab == DRAFT else State.SCHEDULED)
        runs = ExportRun.objects.for_account(self.account)
        active = Q(job__status__in=ACTIVE)
        return runs.with_state().filter(active) if tab == IN_PROGRESS else runs.with_state().filter(~active)

    def searched(self, tab: str) -> QuerySet[Any]:
        rows = self.rows(tab)
        if not self.q:
            return rows
        # lower() on both sides is what the trigram index serves; % and _ are escaped by Django.
        return rows.alias(lowered=Lower("name")).filter(lowered__contains=Lower(Value(self.q)))

    @property
    def found(self) -> QuerySet[Any]:
        rows = self.searched(self.tab)
        names = {"database": "database_id", "data": "data_type", "type": "type", "status": "state"}
        for facet, values in self.chosen.items():
            if values and (facet != "status" or self.tab == FINISHED):
                rows = rows.filter(Q(**{f"{names[facet]}__in": values}))
        return rows

    @cached_property
    def _tally(self) -> dict[str, dict[tuple[Any, ...], int]]:
        """What the search finds in each tab: (database, data, type, state) -> how many. One statement a tab."""
        return {tab: tally_capped(self.searched(tab).order_by("-pk"), COUNTED) for tab in TABS}

    @cached_property
    def tab_counts(self) -> dict[str, int]:
        return {tab: self._sum(tab) for tab in TABS}

    @cached_property
    def counts(self) -> Counts:
        facets: dict[str, dict[str, int]] = {}
        for at, facet in enumerate(FACETS):
            facets[facet] = {}
            for key, n in self._tally[self.tab].items():
                if self._fits(key, self.tab, ignored=facet):
                    facets[facet][str(key[at])] = facets[facet].get(str(key[at]), 0) + n
        return Counts(self.tab_counts, facets, self.tab_counts[self.tab])

    def _sum(self, tab: str) -> int:
        return sum(n for key, n in self._tally[tab].items() if self._fits(key, tab))

    def _fits(self, key: tuple[Any, ...], tab: str, *, ignored: str = "") -> bool:
        for facet, value in zip(FACETS, key, strict=True):
            if facet == ignored or (facet == "status" and tab != FINISHED):
                continue
            if self.chosen[facet] and str(value) not in self.chosen[facet]:
                return False
        return True
