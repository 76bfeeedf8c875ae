"""A list as a page shows it: sorted, in keyset pages, its state in the URL.

Keyset pages ask for the rows beyond a row that is known (`after`, `before`), not for the rows from number n on:
as quick on page 9,000 as on the first, and no row is shown twice when others arrive.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.core.exceptions import EmptyResultSet
from django.db import connections, models
from django.db.models import F, Q, QuerySet
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce
from django.http import QueryDict

M = TypeVar("M", bound=models.Model)
BIGINT = 2**63

# Counting further than this costs more than anyone gets from the figure: “10,000+”.
COUNT_CAP = 10_000
# A search looks through so many rows in the order of the list before it asks the index of what is searched.
NEAR = 20_000


@dataclass(frozen=True, slots=True)
class Sort:
    """A column to sort by. `expression` must never be NULL; `kind` is what a cursor holds of it."""

    expression: Combinable
    kind: type[str] | type[int] | type[dt.datetime]
    descending_first: bool = False


@dataclass(frozen=True, slots=True)
class Page(Generic[M]):
    rows: Sequence[M]
    sort: str  # with “-” when descending
    newer: str = ""  # cursor of the page before this one, empty when there is none
    older: str = ""  # cursor of the page after


@dataclass(frozen=True, slots=True)
class Header:
    """What a column's heading needs: where a click leads and the state for aria-sort."""

    href: str
    state: str = ""  # ascending, descending or empty


@dataclass(frozen=True)
class Table(Generic[M]):
    sorts: Mapping[str, Sort]
    default: str
    size: int = 25
    cursors: Sequence[str] = ("after", "before")

    @property
    def parameters(self) -> tuple[str, ...]:
        return ("sort", *self.cursors)

    def sort_of(self, params: QueryDict) -> str:
        asked = params.get("sort") or ""
        return asked if asked.removeprefix("-") in self.sorts else self.default

    def page(self, queryset: QuerySet[M], params: QueryDict, *, among: QuerySet[M] | None = None) -> Page[M]:
        """The page that the URL asks for; the first one if its cursor is damaged or of another sort.

        `among`: the rows that were searched, if by something that has an index of its own (`_found`).
        """
        sort = self.sort_of(params)
        if (before := self._cursor(params.get("before") or "", sort)) and (
            page := self._page_before(queryset, sort, before, among)
        ):
            return page
        after = self._cursor(params.get("after") or "", sort)
        rows = self._found(queryset, sort, after, among)
        more = len(rows) > self.size
        rows = rows[: self.size]
        return Page(
            rows,
            sort,
            newer=self._token(rows[0], sort) if after and rows else "",
            older=self._token(rows[-1], sort) if more else "",
        )

    def neighbours(
        self, queryset: QuerySet[M], params: QueryDict, row: M, *, everything: QuerySet[M]
    ) -> tuple[M | None, M | None]:
        """The rows before and after `row` in the order of the list, be it in it or not. Three queries."""
        sort = self.sort_of(params)
        # The row's own value of the sort is needed; it may be an expression that only the database knows.
        found = self._ordered(everything.filter(pk=row.pk), sort).values("sort_value").first()
        if found is None:
            return None, None
        at = (found["sort_value"], row.pk)
        return self._slice(queryset, sort, at, backwards=True).first(), self._slice(queryset, sort, at).first()

    def headers(self, path: str, params: QueryDict) -> dict[str, Header]:
        """A heading a column: a new sort starts on the first page, the current one is turned around."""
        current = self.sort_of(params)
        headers = {}
        for key, sort in self.sorts.items():
            first = f"-{key}" if sort.descending_first else key
            turned = key if current.startswith("-") else f"-{key}"
            mine = current.removeprefix("-") == key
            state = ("descending" if current.startswith("-") else "ascending") if mine else ""
            target = turned if mine else first
            headers[key] = Header(
                url_with(path, params, sort="" if target == self.default else target, after="", before=""),
                state,
            )
        return headers

    def _page_before(
        self, queryset: QuerySet[M], sort: str, cursor: tuple[Any, int], among: QuerySet[M] | None
    ) -> Page[M] | None:
        rows = self._found(queryset, sort, cursor, among, backwards=True)
        if len(rows) <= self.size:
            return None  # less than a whole page is left: the first page shows it, and is full
        rows = rows[: self.size][::-1]
        return Page(rows, sort, newer=self._token(rows[0], sort), older=self._token(rows[-1], sort))

    def _found(
        self,
        queryset: QuerySet[M],
        sort: str,
        cursor: tuple[Any, int] | None,
        among: QuerySet[M] | None,
        *,
        backwards: bool = False,
    ) -> list[M]:
        """A page's rows and one more.

        Two indexes can serve a search: the list's order, good for what is frequent, and that of the words, good for
        what is rare. PostgreSQL guesses which, and a wrong guess reads a million rows. So the rows next in order are
        looked through first, and only if they do not fill the page the words' index is asked, with an order that no
        index has, so that nothing can tempt it away.
        """
        wanted = self._slice(queryset, sort, cursor, backwards=backwards)
        if among is not None and sort == self.default:
            next_rows = self._slice(among, sort, cursor, backwards=backwards).values_list("sort_value", flat=True)
            if (edge := next_rows[NEAR : NEAR + 1].first()) is not None:
                descending = sort.startswith("-") != backwards
                near = wanted.filter(**{f"sort_value__{'gte' if descending else 'lte'}": edge})
                rows = list(near[: self.size + 1])
                if len(rows) > self.size:
                    return rows
                value, pk = Coalesce("sort_value", "sort_value"), F("pk")
                wordwise = wanted.order_by(*((value.desc(), pk.desc()) if descending else (value.asc(), pk.asc())))
                # Ids first: what else a row shows is not looked up for all that is found.
                wanted = wanted.filter(pk__in=list(wordwise.values_list("pk", flat=True)[: self.size + 1]))
        return list(wanted[: self.size + 1])

    def _ordered(self, queryset: QuerySet[M], sort: str, *, backwards: bool = False) -> QuerySet[M]:
        sorted_by: Any = queryset.annotate(sort_value=self.sorts[sort.removeprefix("-")].expression)
        descending = sort.startswith("-") != backwards
        value, pk = F("sort_value"), F("pk")
        ordered: QuerySet[M] = sorted_by.order_by(
            *((value.desc(), pk.desc()) if descending else (value.asc(), pk.asc()))
        )
        return ordered

    def _slice(
        self, queryset: QuerySet[M], sort: str, cursor: tuple[Any, int] | None, *, backwards: bool = False
    ) -> QuerySet[M]:
        queryset = self._ordered(queryset, sort, backwards=backwards)
        if cursor is None:
            return queryset
        side = "lt" if sort.startswith("-") != backwards else "gt"
        value, pk = cursor
        # “<=” stands for the index, the rest for exactness: PostgreSQL does not see a range in the OR alone.
        return queryset.filter(
            Q(**{f"sort_value__{side}e": value}) & (Q(**{f"sort_value__{side}": value}) | Q(**{f"pk__{side}": pk}))
        )

    def _token(self, row: M, sort: str) -> str:
        value = row.sort_value  # type: ignore[attr-defined]
        text = value.isoformat() if isinstance(value, dt.datetime) else value
        raw = json.dumps([sort, text, row.pk], separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    def _cursor(self, token: str, sort: str) -> tuple[Any, int] | None:
        """What a token says, None for anything that is not one of ours: it comes from the URL."""
        kind = self.sorts[sort.removeprefix("-")].kind
        try:
            its_sort, value, pk = json.loads(base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True))
            if kind is dt.datetime and isinstance(value, str):
                value = dt.datetime.fromisoformat(value).astimezone(dt.UTC)
        except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error):
            return None
        if its_sort != sort or type(value) is not kind or type(pk) is not int or not 0 < pk < BIGINT:
            return None
        if (isinstance(value, int) and abs(value) >= BIGINT) or (isinstance(value, str) and not _storable(value)):
            return None
        return value, pk


def _storable(text: str) -> bool:
    """PostgreSQL knows neither NUL nor half of a surrogate pair."""
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def url_with(path: str, params: QueryDict, **changes: str | Sequence[str]) -> str:
    """The URL with some parameters set, replaced by several, or (empty) removed."""
    query = params.copy()
    for name, value in changes.items():
        query.setlist(name, [value] if isinstance(value, str) else list(value))
    for name in list(query):
        kept = [value for value in query.getlist(name) if value]
        if kept:
            query.setlist(name, kept)
        else:
            del query[name]
    return f"{path}?{query.urlencode()}" if query else path


def counts_capped(querysets: Mapping[str, QuerySet[Any]], cap: int = COUNT_CAP) -> dict[str, int]:
    """How many rows each query has, in one statement, each counted up to `cap` + 1."""
    parts, params, names = [], [], []
    using = "default"
    for name, queryset in querysets.items():
        using = queryset.db
        try:
            sql, its_params = queryset.order_by().values("pk")[: cap + 1].query.get_compiler(using).as_sql()
        except EmptyResultSet:
            continue
        names.append(name)
        parts.append(f"(SELECT count(*) FROM ({sql}) AS counted)")  # noqa: S608 - SQL of the compiler, with parameters
        params.extend(its_params)
    counts = dict.fromkeys(querysets, 0)
    if parts:
        with connections[using].cursor() as cursor:
            cursor.execute("SELECT " + ", ".join(parts), params)
            counts |= dict(zip(names, cursor.fetchone(), strict=True))
    return counts


def tally_capped(queryset: QuerySet[Any], names: Sequence[str], cap: int = COUNT_CAP) -> dict[tuple[Any, ...], int]:
    """How many rows have which values of `names`, in one statement, of the first `cap` + 1 in their order."""
    try:
        sql, params = queryset.values(*names)[: cap + 1].query.get_compiler(queryset.db).as_sql()
    except EmptyResultSet:
        return {}
    columns = ", ".join(str(n) for n in range(1, len(names) + 1))
    listed = ", ".join(f"c{n}" for n in range(1, len(names) + 1))
    with connections[queryset.db].cursor() as cursor:
        counted = f"SELECT {listed}, count(*) FROM ({sql}) AS counted({listed}) GROUP BY {columns}"  # noqa: S608 - as above
        cursor.execute(counted, params)
        return {tuple(row[:-1]): row[-1] for row in cursor.fetchall()}
