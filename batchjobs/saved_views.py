"""Searches of the Batch jobs page that people keep under a name: each person has their own in each account."""

from __future__ import annotations

from django.db import IntegrityError, transaction
from django.db.models import QuerySet, Value
from django.db.models.functions import Lower
from django.http import QueryDict
from django.utils.translation import gettext as _

from accounts.actors import Actor
from batchjobs.filters import JOB_TABLE, LIST_PARAMS, list_params
from batchjobs.models import SavedView

MOST = 50
QUERY_MAX = 2000
KEPT_PARAMS = tuple(name for name in LIST_PARAMS if name not in JOB_TABLE.cursors)


class ViewRefusedError(Exception):
    """The view cannot be kept; the message is a sentence."""


class ViewExistsError(Exception):
    """The person has a view of this name: it is replaced when they say so."""


def savedviews_of(by: Actor) -> QuerySet[SavedView]:
    """The person's own views in this account, by name."""
    views: QuerySet[SavedView] = SavedView.objects.for_account(by.account)
    return views.filter(user=by.user).order_by(Lower("name"))


def query_to_keep(params: QueryDict) -> str:
    """The query string of a search without its page: always the same text for the same search."""
    sensible, kept = list_params(params), QueryDict(mutable=True)
    for name in KEPT_PARAMS:
        if values := sensible.getlist(name):
            kept.setlist(name, sorted(values))
    if "q" not in kept:
        kept.pop("by", None)
    return kept.urlencode()


def savedview_save(*, by: Actor, name: str, params: QueryDict, replace: bool = False) -> SavedView:
    """Keeps the search `params` as the view `name`. Raises ViewExistsError unless `replace`, and ViewRefusedError."""
    query = query_to_keep(params)
    if by.user is None:
        raise ViewRefusedError(_("Only people keep views."))
    if not query:
        raise ViewRefusedError(_("Nothing is searched, filtered or sorted: that is the list of all jobs."))
    if len(query) > QUERY_MAX:
        raise ViewRefusedError(_("This search is too long to keep."))
    same = savedviews_of(by).alias(lower=Lower("name")).filter(lower=Lower(Value(name)))
    if replace and same.update(name=name, query=query):
        return same.get()
    if savedviews_of(by).count() >= MOST and not same.exists():
        raise ViewRefusedError(_("You keep %(n)s views already. Delete one first.") % {"n": MOST})
    try:
        with transaction.atomic():
            return SavedView.objects.create(account=by.account, user=by.user, name=name, query=query)
    except IntegrityError as error:
        raise ViewExistsError from error


def savedview_delete(*, view: SavedView) -> None:
    view.delete()
