"""“Search by”: what batch jobs are looked for by. For the page and the API.

Texts are found by a part of them, whatever the case; makers and types are chosen from a list.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from django.db.models import Exists, F, OuterRef, QuerySet, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Lower, StrIndex
from django.db.models.lookups import GreaterThan
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import ApiKey, User
from batchjobs.models import MAKER, BatchJob, RecordType, words_of

Jobs = QuerySet[BatchJob]
Rows = TypeVar("Rows", bound=QuerySet[Any])
INDEXED_LETTERS = 3  # of which a trigram is made


@dataclass(frozen=True, slots=True)
class Choice:
    value: str
    label: str


@dataclass(frozen=True, slots=True)
class SearchBy:
    label: Any  # lazy texts
    hint: Any  # what stands in the empty field
    find: Callable[[Jobs, str], Jobs]
    # What there is to choose from among these jobs; without it the field takes any text.
    choices: Callable[[Jobs], list[Choice]] | None = None


def by_name(jobs: Jobs, part: str) -> Jobs:
    return holding(jobs, Lower("name"), part)


def by_file_name(jobs: Jobs, part: str) -> Jobs:
    # The index of file names begins with the account.
    return holding(jobs.filter(file__account=F("account")), Lower("file__name"), part)


def by_tag(jobs: Jobs, part: str) -> Jobs:
    return holding(jobs, words_of("tags"), part)


def by_event_name(jobs: Jobs, part: str) -> Jobs:
    """As found in the file, or as given for the whole file."""
    return holding(jobs, words_of("event_names", "event_name"), part)


def by_type(jobs: Jobs, value: str) -> Jobs:
    return jobs.filter(record_type=value)


def by_maker(jobs: Jobs, value: str) -> Jobs:
    """`value` is one of `makers`: a number as in batchjobs.models.MAKER."""
    return jobs.alias(maker=MAKER).filter(maker=int(value))


def by_address(jobs: Jobs, email: str) -> Jobs:
    """Made by the person with this e-mail address, in lower case."""
    person = User.objects.filter(email=email).first()
    return by_maker(jobs, str(person.pk)) if person else jobs.none()


def makers(jobs: Jobs) -> list[Choice]:
    """Who made any of the jobs: people first, then API keys, last Batchdesk itself. Three queries."""
    jobs = jobs.order_by().alias(maker=MAKER)
    people = list(User.objects.filter(Exists(jobs.filter(maker=OuterRef("pk")))))
    keys = ApiKey.objects.filter(Exists(jobs.filter(maker=-OuterRef("pk"))))
    names = Counter(str(person) for person in people)
    choices = [
        # Two people of one name are told apart by their addresses.
        Choice(str(person.pk), f"{person} ({person.email})" if names[str(person)] > 1 else str(person))
        for person in people
    ]
    choices.sort(key=lambda choice: choice.label.casefold())
    choices += [
        Choice(str(-key.pk), _("API key %(name)s") % {"name": key.name}) for key in keys.order_by(Lower("name"), "pk")
    ]
    if jobs.filter(maker=0).exists():
        choices.append(Choice("0", "Batchdesk"))
    return choices


def types(_jobs: Jobs) -> list[Choice]:
    return [Choice(value, str(label)) for value, label in RecordType.choices]


def holding(rows: Rows, text: Combinable, part: str) -> Rows:
    """Those whose text, in lower case, holds the part, whatever its case. A blank part is in all."""
    rows = rows.alias(searched=text)
    if len(part) < INDEXED_LETTERS:
        # The trigram indexes hold nothing for it, and PostgreSQL must not try and read a whole one.
        return rows.filter(GreaterThan(StrIndex(F("searched"), Lower(Value(part))), 0))
    # lower() on both sides is what the trigram indexes serve; % and _ are escaped by Django.
    return rows.filter(searched__contains=Lower(Value(part)))


NAME = "name"
SEARCHES: dict[str, SearchBy] = {
    NAME: SearchBy(gettext_lazy("Name"), gettext_lazy("Part of a name"), by_name),
    "user": SearchBy(gettext_lazy("User"), gettext_lazy("Anyone"), by_maker, makers),
    "type": SearchBy(gettext_lazy("Type"), gettext_lazy("Any type"), by_type, types),
    "tag": SearchBy(gettext_lazy("Tag"), gettext_lazy("Part of a tag"), by_tag),
    "event_name": SearchBy(gettext_lazy("Event name"), gettext_lazy("Part of an event name"), by_event_name),
    "file_name": SearchBy(gettext_lazy("File name"), gettext_lazy("Part of a file name"), by_file_name),
}
