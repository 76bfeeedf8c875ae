"""People of a list or a segment as the data of a batch job. Its job writes them as a CSV, and then reads that."""

from __future__ import annotations

import csv
import io
from typing import Any

from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Lower
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from audience.models import ContactList, Database, Erasure, Segment
from batchjobs.failures import FileFailureError
from batchjobs.files import remove_stored
from batchjobs.ingestion.records.columns import canonical
from batchjobs.kernel import Lease
from batchjobs.models import BatchJob, Source, SourceFile
from batchjobs.origins import OFFERED, JobSource, Origin, file_keep
from batchjobs.search import holding
from batchjobs.sessions import owned_by
from console.formats import number
from exports import conditions
from exports.definitions import Definition
from exports.errors import ExportError, error_shown
from exports.models import DataType
from exports.run import Blocks, asking, reading, store
from exports.sources import SOURCES, Field, Fields, SourceError, count, preview
from exports.writers import FileOptions, write

FILE = FileOptions(format="csv", delimiter=",")
READ_AS = {"delimiter": FILE.delimiter}
IDENTITY = ("email", "partner_user_id")
PERSON_BYTES = 200  # of a row, about
COUNTED = 100_000  # people, at most
COUNT_MILLISECONDS = 500
PATHS = {DataType.LIST_MEMBER: "profile__", DataType.PROFILE: ""}  # from the rows to the person


class Audiences(JobSource):
    """Keys are `list:` or `segment:` and a name."""

    question = gettext_lazy("Which list or segment?")
    hint = gettext_lazy("Part of the name of a list or segment")
    nothing = gettext_lazy(
        "There is no list or segment yet. Files of the type “List” make lists; an export keeps a segment."
    )
    gone = gettext_lazy("This list or segment is no longer there. Choose another one.")

    def choices(self, database: Database, search: str = "") -> list[Origin]:
        newest: list[ContactList | Segment] = []
        for among in (_lists(database), _segments(database)):
            newest += holding(among, Lower("name"), search).order_by("-created_at", "-pk")[:OFFERED]
        newest.sort(key=lambda one: one.created_at, reverse=True)
        return [_origin(one) for one in newest[:OFFERED]]

    def find(self, database: Database, key: str) -> Origin | None:
        found = _find(database, key)
        return _origin(found) if found else None

    def words(self, job: BatchJob) -> str:
        if job.source_key.startswith("list:"):
            return _("audience list %(name)s") % {"name": job.source_name}
        return _("audience segment %(name)s") % {"name": job.source_name}

    def sample(self, database: Database, key: str) -> bytes:
        found = _find(database, key)
        people = _People(found) if found else None
        text = io.StringIO(newline="")
        if people:
            rows = csv.writer(text, lineterminator="\n")
            rows.writerow(column["header"] for column in people.columns)
            # Where the rows take too long, the names of the columns must do.
            rows.writerows(preview(people.rows, people.columns, people.fields) or [])
        return text.getvalue().encode()

    def write(self, job: BatchJob, lease: Lease) -> SourceFile:
        assert job.database is not None  # noqa: S101  imports have one
        with owned_by(lease.owner):
            found = _find(job.database, job.source_key)
            if found is None:
                raise FileFailureError("AUDIENCE_GONE", name=job.source_name)
            try:
                return _written(_People(found), job, lease)
            except SourceError as error:
                raise FileFailureError("AUDIENCE_UNREADABLE", name=found.name, reason=error.sentence) from error
            except ExportError as error:
                reason = f"{error_shown(error.code, error.params).title}."
                raise FileFailureError("AUDIENCE_UNREADABLE", name=found.name, reason=reason) from error


class _People:
    """Those of a list or segment, as rows and columns of a file. Raises SourceError for what cannot be asked."""

    def __init__(self, found: ContactList | Segment) -> None:
        is_list = isinstance(found, ContactList)
        data_type = DataType.LIST_MEMBER if is_list else DataType.PROFILE
        table, rules = (found.name, None) if isinstance(found, ContactList) else ("", found.filter)
        self.definition = Definition(found.database, data_type, table, "", None, rules, FILE)
        self.fields: Fields = self.definition.fields()
        self.columns = _columns(self.fields)
        # Whoever is about to be erased stands in no new file.
        person = PATHS[data_type]
        going = Erasure.objects.filter(database=found.database, erased_at__isnull=True).filter(
            Q(profile_id=OuterRef(f"{person}pk"))
            | Q(email=OuterRef(f"{person}email"))
            | Q(partner_user_id=OuterRef(f"{person}partner_user_id"))
        )
        self.rows: Any = self.definition.rows().exclude(Exists(going))


def _written(people: _People, job: BatchJob, lease: Lease) -> SourceFile:
    definition = people.definition
    with reading(lease.owner) as session:
        fields = definition.source.fields_of(
            people.rows, definition.database, definition.table, ask=asking(session, lease)
        )
        selection = definition.source.selection(people.rows, _columns(fields), fields, typed=False)
        written = write(session, selection, FILE, alive=lease.check)
        content = Blocks(written)
        stored_as = store(job.account, content, written)
    if not written.rows:
        remove_stored(stored_as)
        raise FileFailureError("AUDIENCE_EMPTY", name=job.source_name)
    return file_keep(
        job,
        lease,
        name=_file_name(job.source_key),
        size=content.count,
        stored_as=stored_as,
        sha256=content.sha256.hexdigest(),
    )


def _columns(fields: Fields) -> list[dict[str, str]]:
    """Who it is, and all that is known of them. Names that a job would take for one get a number."""
    columns: list[dict[str, str]] = []
    taken: set[str] = set()
    for one in fields:
        if not _is_of_person(one):
            continue
        plain = str(one.label) if one.is_free else one.name.rpartition(".")[2]
        name, again = plain, 1
        while canonical(name) in taken:
            again += 1
            name = f"{plain}_{again}"
        taken.add(canonical(name))
        columns.append({"field": one.name, "header": name})
    return columns


def _is_of_person(one: Field) -> bool:
    return one.is_free or one.name.removeprefix("profile.") in IDENTITY


def _lists(database: Database) -> Any:
    return ContactList.objects.for_account(database.account).filter(database=database).select_related("database")


def _segments(database: Database) -> Any:
    """Those of people: others are of what they did."""
    segments = Segment.objects.for_account(database.account).filter(database=database, data_type=DataType.PROFILE)
    return segments.select_related("database")


def _find(database: Database, key: str) -> ContactList | Segment | None:
    kind, _colon, name = key.partition(":")
    among = {"list": _lists, "segment": _segments}.get(kind)
    found: ContactList | Segment | None = among(database).filter(name=name).first() if among else None
    return found


def _origin(found: ContactList | Segment) -> Origin:
    kind = "list" if isinstance(found, ContactList) else "segment"
    key = f"{kind}:{found.name}"
    about, people, unfit = _about_list(found) if isinstance(found, ContactList) else _about_segment(found)
    return Origin(
        source=Source.AUDIENCE,
        key=key,
        name=found.name,
        file_name=_file_name(key),
        size=None if people is None or people > COUNTED else people * PERSON_BYTES,
        options=READ_AS,
        about=about,
        unfit=unfit,
    )


def _about_list(found: ContactList) -> tuple[str, int | None, str]:
    """What it is, how many people (None: nobody knows), and why it cannot be chosen."""
    people = count(found.members.all(), limit=COUNTED + 1, milliseconds=COUNT_MILLISECONDS)
    if not people:
        return _("List"), people, _("Nobody is on it.") if people == 0 else ""
    if people > COUNTED:
        return _("List, more than %(n)s people") % {"n": number(COUNTED)}, people, ""
    return _("List, people: %(n)s") % {"n": number(people)}, people, ""


def _about_segment(found: Segment) -> tuple[str, int | None, str]:
    """Who is in it is not counted: a rule may have to look at everybody."""
    try:
        sentence = conditions.sentence_of(found.filter, SOURCES[DataType.PROFILE].fields(found.database, seen=False))
    except SourceError as error:
        return _("Segment"), None, error.sentence
    return _("Segment: %(rules)s") % {"rules": sentence}, None, ""


def _file_name(key: str) -> str:
    """What its file is called. No event is read out of it: a blank stands before the name."""
    kind, _colon, name = key.partition(":")
    return f"{kind} {name.replace('/', '_')}.csv".replace("\\", "_")


AUDIENCES = Audiences()
