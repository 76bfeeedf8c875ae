"""What stands in the value of a record: each field that is known has its type; the others stay as they are."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from audience.models import CHANNELS
from batchjobs.ingestion import checks
from batchjobs.ingestion.formats.json_records import Number
from batchjobs.ingestion.records.table import TEXT_MAX, for_people
from batchjobs.ingestion.rows import RowError

# Fields that are texts, and the attributes they become.
GUEST_TEXTS = {
    "guestType": "guest_type",
    "title": "title",
    "firstName": "first_name",
    "lastName": "last_name",
    "gender": "gender",
    "city": "city",
    "country": "country",
    "postCode": "postcode",
    "state": "state",
    "language": "language",
    "nationality": "nationality",
}
GUEST_TIMES = {"firstSeen": "first_seen", "lastSeen": "last_seen"}
ORDER_TEXTS = frozenset(
    ("referenceId", "status", "currencyCode", "paymentType", "cardType", "channel", "pointOfSale"),
)
TRACKING_TIMES = ("createdAt", "timestamp", "eventTime")
SPELLINGS = {**{channel: channel for channel in CHANNELS}, "mobile_app": "push", "mms": "sms"}
UNSUBSCRIBED = "unsubscribed"
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch


@dataclass(slots=True)
class OptOut:
    channel: str
    reason: str
    time: str  # blank: not said


@dataclass(slots=True)
class Given:
    """What a value says. `removed` are names of `kept` whose values are null."""

    errors: list[RowError] = field(default_factory=list)
    kept: dict[str, Any] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    email: str = ""
    partners: list[str] = field(default_factory=list)  # identifiers, as partner user ids
    guest: str = ""  # the reference of whose it is
    kind: str = ""
    time: str = ""
    optouts: list[OptOut] = field(default_factory=list)

    def wrong(self, name: str, code: str, value: Any) -> None:
        self.errors.append(RowError(name, code, for_people(value)[:TEXT_MAX]))


def reference(value: Any) -> str:
    """A UUID as it is stored, or "" if `value` is none."""
    text = value.lower() if type(value) is str else ""
    return text if _UUID(text) else ""


def guest_given(value: dict[str, Any]) -> Given:
    given = Given()
    kept = given.kept
    for name, entry in value.items():
        if (attribute := GUEST_TEXTS.get(name)) is not None:
            if type(entry) is str and len(entry) <= TEXT_MAX:
                kept[attribute] = entry
            elif entry is None:
                given.removed.append(attribute)
            else:
                _wrong_text(given, name, entry)
        elif (read := _GUEST_FIELDS.get(name)) is not None:
            read(given, name, entry)
        elif entry is None:
            given.removed.append(name)
        else:
            kept.setdefault(name, entry)
    return given


def identity_given(value: dict[str, Any]) -> Given:
    """Only by what a guest is known."""
    given = Given()
    for name in ("email", "identifiers"):
        if value.get(name) is not None:
            _GUEST_FIELDS[name](given, name, value[name])
    return given


def order_given(value: dict[str, Any]) -> Given:
    given = _interaction_given(value, ("orderedAt",))
    given.kind = "order"
    for name, entry in given.kept.items():
        if name in ORDER_TEXTS:
            if type(entry) is not str or len(entry) > TEXT_MAX:
                _wrong_text(given, name, entry)
        elif name == "price":
            if not isinstance(entry, int | float | Number) or isinstance(entry, bool):
                given.wrong(name, "VALUE_TYPE_WRONG", entry)
        elif name == "orderItems":
            _is_list_of(dict, given, name, entry)
    return given


def tracking_given(value: dict[str, Any]) -> Given:
    given = _interaction_given(value, TRACKING_TIMES)
    for name in ("type", "name"):
        entry = given.kept.get(name)
        if entry is None:
            continue
        if type(entry) is not str or len(entry) > TEXT_MAX:
            _wrong_text(given, name, entry)
        elif not given.kind and entry.strip():
            given.kind = given.kept.pop(name).strip()
    return given


def _interaction_given(value: dict[str, Any], times: tuple[str, ...]) -> Given:
    """Whose it is and when it was; all else is a property."""
    given = identity_given(value)
    if (guest := value.get("guestRef")) is not None:
        given.guest = reference(guest)
        if not given.guest:
            given.wrong("guestRef", "REF_INVALID", guest)
    timed = next((name for name in times if value.get(name) is not None), "")
    for name, entry in value.items():
        if name in ("guestRef", "email", "identifiers") or name == timed:
            continue
        if entry is None:
            given.removed.append(name)
        else:
            given.kept[name] = entry
    if timed:
        given.time = _time(given, timed, value[timed])
    elif times[0] in value:  # null: what must be there cannot be taken away
        given.errors.append(RowError(times[0], "VALUE_MISSING"))
    return given


def _wrong_text(given: Given, name: str, entry: Any) -> None:
    given.wrong(name, "VALUE_TOO_LONG" if type(entry) is str else "VALUE_TYPE_WRONG", entry)


def _is_list_of(kind: type, given: Given, name: str, entry: Any) -> bool:
    if isinstance(entry, list) and all(isinstance(item, kind) and not isinstance(item, Number) for item in entry):
        return True
    given.wrong(name, "VALUE_TYPE_WRONG", entry)
    return False


def _time(given: Given, name: str, entry: Any) -> str:
    """An ISO 8601 time with its offset; without one it is UTC."""
    if type(entry) is not str:
        given.wrong(name, "VALUE_TYPE_WRONG", entry)
        return ""
    try:
        moment = dt.datetime.fromisoformat(entry.strip())
    except ValueError:
        given.wrong(name, "EVENT_TIME_INVALID", entry)
        return ""
    if not 1900 <= moment.year < 2100:
        given.wrong(name, "DATE_OUT_OF_RANGE", entry)
        return ""
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).isoformat()


def _email(given: Given, name: str, entry: Any) -> None:
    if entry is None:
        given.removed.append(name)
    elif type(entry) is not str:
        given.wrong(name, "VALUE_TYPE_WRONG", entry)
    elif address := entry.strip().lower():
        given.email = checks.email(address)
        if not given.email:
            given.wrong(name, "EMAIL_INVALID", entry)


def _birth_date(given: Given, name: str, entry: Any) -> None:
    if entry is None:
        given.removed.append("birth_date")
    elif _time(given, name, entry):
        given.kept["birth_date"] = dt.datetime.fromisoformat(entry.strip()).date().isoformat()


def _seen(given: Given, name: str, entry: Any) -> None:
    if entry is None:
        given.removed.append(GUEST_TIMES[name])
    elif _time(given, name, entry):
        given.kept[GUEST_TIMES[name]] = entry


def _phones(given: Given, name: str, entry: Any) -> None:
    if entry is None or entry == []:
        given.removed += ["phone_numbers", "phone"]
    elif _is_list_of(str, given, name, entry):
        given.kept["phone_numbers"], given.kept["phone"] = entry, entry[0]


def _street(given: Given, name: str, entry: Any) -> None:
    if entry is None:
        given.removed.append(name)
    elif type(entry) is str:
        given.kept[name] = entry
    elif _is_list_of(str, given, name, entry):
        given.kept[name] = ", ".join(filter(None, map(str.strip, entry)))


def _objects(given: Given, name: str, entry: Any) -> list[dict[str, Any]]:
    """A list of objects, which is kept as it stands. Empty where there is nothing to look at: null, or no such list."""
    if entry is None:
        given.removed.append(name)
    elif _is_list_of(dict, given, name, entry):
        given.kept[name] = entry
        return list(entry)
    return []


def _identifiers(given: Given, name: str, entry: Any) -> None:
    for identifier in _objects(given, name, entry):
        provider, number = identifier.get("provider"), identifier.get("id")
        if type(provider) is not str or type(number) is not str or not provider.strip() or not number.strip():
            given.wrong(name, "VALUE_NOT_JSON", identifier)
            return
        partner = f"{provider.strip()}:{number.strip()}"
        if len(partner) > TEXT_MAX:
            given.wrong(name, "VALUE_TOO_LONG", partner)
            return
        if not _are_texts(identifier, ("expiryDate",)):
            given.wrong(name, "VALUE_TYPE_WRONG", identifier)
            return
        given.partners.append(partner)


def _extensions(given: Given, name: str, entry: Any) -> None:
    for extension in _objects(given, name, entry):
        if not _are_texts(extension, ("name", "key")):
            given.wrong(name, "VALUE_TYPE_WRONG", extension)
            return


def _subscriptions(given: Given, name: str, entry: Any) -> None:
    """Who does not want to be written to is kept as an opt-out too. Being subscribed takes none away."""
    for subscription in _objects(given, name, entry):
        if not _are_texts(subscription, ("name", "channel", "pointOfSale", "status")):
            given.wrong(name, "VALUE_TYPE_WRONG", subscription)
            return
        since = subscription.get("effectiveDate")
        time = "" if since is None else _time(given, name, since)
        channel = SPELLINGS.get((subscription.get("channel") or "").strip().lower())
        if channel and (subscription.get("status") or "").strip().lower() == UNSUBSCRIBED:
            given.optouts.append(OptOut(channel, (subscription.get("name") or "")[:TEXT_MAX], time))


def _are_texts(entry: dict[str, Any], names: tuple[str, ...]) -> bool:
    return all(type(entry.get(name, "")) is str or entry[name] is None for name in names)


_GUEST_FIELDS: dict[str, Callable[[Given, str, Any], None]] = {
    "email": _email,
    "dateOfBirth": _birth_date,
    **dict.fromkeys(GUEST_TIMES, _seen),
    "phoneNumbers": _phones,
    "street": _street,
    "identifiers": _identifiers,
    "extensions": _extensions,
    "subscriptions": _subscriptions,
}
