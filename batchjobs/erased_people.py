"""The people whom requests for erasure name: their keys, completed by what the audience knows, and their rows, removed.

A request may come with any one key of a person. The others are needed to find what is stored of them, so they are taken
over before the profile goes.
"""

from __future__ import annotations

from typing import Any

from django.db import connection, transaction
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import Account
from audience.erasures import key_hash
from audience.models import Database, Erasure, Profile

LOT = 100  # requests in a transaction
KEYS = ("profile_id", "email", "partner_user_id")
# Profiles first: that waits for loads under way, and then sees what they wrote (audience.models.Database). What refers
# to them goes in the same transaction.
REMOVE = {
    "profiles": "DELETE FROM audience_profile WHERE database_id = %(database)s AND id = ANY(%(ids)s)",
    "interactions": "DELETE FROM audience_interaction WHERE database_id = %(database)s AND profile_id = ANY(%(ids)s)",
    "list_members": """
        DELETE FROM audience_listmember m USING audience_contactlist l
        WHERE l.id = m.contact_list_id AND l.database_id = %(database)s AND m.profile_id = ANY(%(ids)s)
    """,
    "records": """
        DELETE FROM audience_record r USING audience_datatable t
        WHERE t.id = r.table_id AND t.database_id = %(database)s AND r.profile_id = ANY(%(ids)s)
    """,
    "references": "DELETE FROM audience_reference WHERE database_id = %(database)s AND profile_id = ANY(%(ids)s)",
    # By the keys too: the person may have been there before, under another id.
    "before_images": """
        DELETE FROM audience_profilebeforeimage i USING batchjobs_batchjob j
        WHERE j.id = i.job AND j.database_id = %(database)s
          AND (i.profile_id = ANY(%(ids)s) OR i.email = ANY(%(emails)s) OR i.partner_user_id = ANY(%(numbers)s))
    """,
    # Opt-outs by hash stay. Those by number hold it in clear, and nobody needs them: the number is refused from now on,
    # and if it is given to somebody else one day, the opt-out was not theirs.
    "suppressions": """
        DELETE FROM audience_suppression WHERE database_id = %(database)s AND partner_user_id = ANY(%(numbers)s)
          AND email_sha256 IS NULL AND email_md5 IS NULL
    """,
    "suppressed_numbers": """
        UPDATE audience_suppression SET partner_user_id = NULL
        WHERE database_id = %(database)s AND partner_user_id = ANY(%(numbers)s)
    """,
}


def requests_complete(account: Account) -> None:
    """Takes the keys that the audience knows into new requests, while it still does, and then says so."""
    new = Erasure.objects.for_account(account).filter(erased_at__isnull=True, known_at__isnull=True)
    while lot := list(new.order_by("database", "pk")[:LOT]):
        with transaction.atomic():
            for database in {request.database_id: request.database for request in lot}.values():
                keys = [request.pk for request in lot if request.database_id == database.pk]
                _complete(database, _locked(database, keys))
        # A statement of its own: whoever starts after it sees the keys that are committed.
        Erasure.objects.filter(pk__in=[request.pk for request in lot]).update(known_at=Now())


def people_remove(database: Database, keys: list[int]) -> dict[str, int]:
    """Removes the people of these requests, in the caller's transaction; how many rows of what."""
    requests = _locked(database, keys)
    ids = _complete(database, requests)
    params: dict[str, Any] = {
        "database": database.pk,
        "ids": sorted(ids | {request.profile_id for request in requests if request.profile_id}),
        "emails": [request.email for request in requests if request.email],
        "numbers": [request.partner_user_id for request in requests if request.partner_user_id],
    }
    removed = {}
    with connection.cursor() as cursor:
        for name, statement in REMOVE.items():
            cursor.execute(statement, params)
            removed[name] = cursor.rowcount
    return removed


def _locked(database: Database, keys: list[int]) -> list[Erasure]:
    """The pending ones of these requests. The database is locked before its people, as whoever loads does."""
    Database.objects.select_for_update(no_key=True).get(pk=database.pk)
    return list(Erasure.objects.select_for_update().filter(pk__in=keys, erased_at__isnull=True).order_by("pk"))


def _complete(database: Database, requests: list[Erasure]) -> set[int]:
    """Adds what the profiles of these people know to their requests; returns the profiles' ids.

    A profile that does not fit a request whose keys it shares (an address of one person, the number of another) gets a
    request of its own, which is added to the list. What is new is not known yet.
    """
    before = [(request, _keys(request)) for request in requests]
    for request in requests:
        _hash(request)
    wanted = Q()
    for key in KEYS:
        wanted |= Q(**{f"{key.replace('profile_id', 'pk')}__in": [k for r in requests if (k := getattr(r, key))]})
    profiles = Profile.objects.select_for_update().filter(wanted, database=database).order_by("email", "pk")
    for profile in (found := list(profiles)):
        theirs = {"profile_id": profile.pk, "email": profile.email, "partner_user_id": profile.partner_user_id}
        sharing = [request for request in requests if any(_agrees(request, theirs))]
        fitting = [request for request in sharing if all(agrees is not False for agrees in _agrees(request, theirs))]
        if not fitting:
            first = sharing[0]
            fitting = [Erasure(database=database, requested_by=first.requested_by, requested_at=first.requested_at)]
            requests.append(fitting[0])
            before.append((fitting[0], ()))
        for request in fitting:
            for key, value in theirs.items():
                if value is not None and getattr(request, key) is None:
                    setattr(request, key, value)
                    request.known_at = None
            _hash(request)
    for request, keys in before:
        if _keys(request) != keys:
            request.save()
    return {profile.pk for profile in found}


def _agrees(request: Erasure, theirs: dict[str, Any]) -> list[bool | None]:
    """Of each key whether request and profile have the same; None if one of them has none."""
    pairs = [(getattr(request, key), value) for key, value in theirs.items()]
    return [None if None in pair else pair[0] == pair[1] for pair in pairs]


def _keys(request: Erasure) -> tuple[Any, ...]:
    return (request.profile_id, request.email, request.partner_user_id, request.email_sha256, request.partner_sha256)


def _hash(request: Erasure) -> None:
    """Keys as the audience has them, and their hashes."""
    request.email = (request.email or "").strip().lower() or None
    request.partner_user_id = (request.partner_user_id or "").strip() or None
    if request.email:
        request.email_sha256 = key_hash(request.email)
    if request.partner_user_id:
        request.partner_sha256 = key_hash(request.partner_user_id)
