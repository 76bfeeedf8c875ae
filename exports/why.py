"""Why somebody is not in a file: the report of a run answers for an address.

What is in the file stands in the file, so that is looked at first, where its format lets one row be found. Why
somebody is not there can only be said of the data as they are now.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import time
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import IO, Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from audience.models import Profile
from batchjobs.files import FileGoneError, open_file
from console.formats import exact, number
from exports import conditions, definitions, sources
from exports.definitions import Definition
from exports.errors import ExportError
from exports.models import DataType, ExportRun
from exports.sources import Fields, SourceError
from exports.sources.base import TOLD, Rows

SECONDS = 10  # for looking through a file
LOOKED_AT = 20  # rows about one person that are asked about
CHECK_EVERY = 20_000
EMAIL_MAX = 254
OF_PEOPLE = frozenset({DataType.PROFILE, DataType.LIST_MEMBER, DataType.SUBSCRIPTION})  # known by their address
SEARCHED = frozenset({"csv", "psv", "ndjson"})


class NotAnAddressError(ValueError):
    """The message is a sentence."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`kind`: in_file, deleted, in_data, not_there, filtered, suppressed, outside_window, unanswerable."""

    kind: str
    title: str
    text: str = ""
    reasons: list[str] = field(default_factory=list)

    @property
    def tone(self) -> str:
        return {"in_file": "ok", "in_data": "ok", "unanswerable": "warn"}.get(self.kind, "info")


@dataclass(frozen=True, slots=True)
class Searched:
    """Of a look through the file: the number of the row, if `done`."""

    done: bool
    row: int | None = None
    deleted: bool = False


def why(run: ExportRun, email: str) -> Answer:
    """Answers for an address. Raises NotAnAddressError."""
    address = email.strip().lower()
    try:
        if len(address) > EMAIL_MAX:
            raise ValidationError("")
        validate_email(address)
    except ValidationError:
        raise NotAnAddressError(
            _("%(text)s is not a complete address. Write it like name@example.com.")
            % {"text": email.strip()[:100] or "“”"}
        ) from None
    if run.data_type == DataType.REPOSITORY:
        return Answer("unanswerable", _("The rows of a repository are about nobody"))
    try:
        definition = definitions.from_json(run.definition, database=run.database)
        fields = definition.fields(seen=False)
        mine = _rows_of(definition, address)
    except SourceError as error:
        return Answer("unanswerable", _("This cannot be answered any more"), error.sentence)
    except ExportError:
        return Answer("unanswerable", _("This cannot be answered any more"), _("The definition can no longer be read."))
    searched = _search(run, definition, fields, address)
    if searched.row is not None:
        words = {"row": number(searched.row), "rows": number(run.rows)}
        if searched.deleted:
            title = _("Row %(row)s of the file tells that they were deleted") % {"row": number(searched.row)}
            return Answer("deleted", title, _("Of %(rows)s rows; the header is not counted.") % words)
        title = _("In row %(row)s of the file") % {"row": number(searched.row)}
        return Answer("in_file", title, _("Of %(rows)s rows; the header is not counted.") % words)
    return _from_data(run, definition, fields, mine, searched)


def _from_data(run: ExportRun, definition: Definition, fields: Fields, mine: Rows, searched: Searched) -> Answer:
    found = list(mine.order_by("-pk")[:LOOKED_AT])
    if not found:
        return _not_there(run)
    try:
        let_through = list(mine.filter(conditions.condition(definition.filter, fields)).order_by("-pk")[:LOOKED_AT])
        if not let_through:
            return _filtered(definition, fields, mine, found[0].pk)
    except SourceError as error:
        return Answer("unanswerable", _("The filter cannot be used any more"), error.sentence)
    window = run.window
    if window and not any(window.lo <= row.change_xid < window.hi for row in let_through):
        return _outside(run, let_through, window.lo)
    if searched.done:
        text = _("The data have changed since the run: they would be in a file of now.")
        return Answer("outside_window", _("Not in this file, though nothing keeps them out now"), text)
    return Answer(
        "in_data",
        _("In the data, and the filter lets them through"),
        ngettext(
            "%(n)s row is about this person. Which row of the file that is cannot be told of this kind of file.",
            "%(n)s rows are about this person. Which rows of the file they are cannot be told of this kind of file.",
            len(let_through),
        )
        % {"n": len(let_through)},
    )


def _not_there(run: ExportRun) -> Answer:
    places: dict[str, str] = {
        DataType.PROFILE: _("There is no profile with this address in %(database)s."),
        DataType.LIST_MEMBER: _("This address is not on the list."),
        DataType.SUBSCRIPTION: _("This address never opted out."),
    }
    text = places.get(run.data_type, _("There are no rows about this address."))
    return Answer("not_there", _("Not in the table"), text % {"database": run.database.name})


def _filtered(definition: Definition, fields: Fields, mine: Rows, key: int) -> Answer:
    reasons = conditions.explain(mine, definition.filter, fields, key)
    opted_out = {str(text) for one in fields for text in one.sentences.values() if one.name.endswith("opted_out")}
    if reasons and all(reason in opted_out for reason in reasons):
        title = _("Opted out of e-mail, and the filter leaves such people out")
        return Answer("suppressed", title, _("This does not hold:"), reasons)
    return Answer("filtered", _("The filter leaves them out"), _("This does not hold:"), reasons)


def _outside(run: ExportRun, rows: list[Any], lo: int) -> Answer:
    newest = max(rows, key=lambda row: row.change_xid)
    changed = next(
        (value for name in ("updated_at", "joined_at", "opted_out_at") if (value := getattr(newest, name, None))), None
    )
    if newest.change_xid < lo:
        text = _("Nothing about them changed in the window of this run, so an earlier run sent what there is.")
    else:
        text = _("What is known of them changed after the window of this run: the next run sends it.")
    if changed:
        text = f"{text} {_('Last changed: %(at)s.') % {'at': exact(changed)}}"
    return Answer("outside_window", _("Outside the window of this run"), text)


def _rows_of(definition: Definition, address: str) -> Rows:
    """The rows about a person. Raises SourceError."""
    rows = definition.rows(filtered=False)
    if definition.data_type == DataType.PROFILE:
        return rows.filter(email=address)
    if definition.data_type == DataType.SUBSCRIPTION:
        profile = Profile.objects.for_account(definition.database.account).filter(
            database=definition.database, email=address, partner_user_id__isnull=False
        )
        number = profile.values_list("partner_user_id", flat=True).first()
        known = rows.filter(email_sha256=_sha256(address)) | rows.filter(email_md5=_md5(address))
        return known | rows.filter(partner_user_id=number) if number else known
    return rows.filter(profile__email=address)


def _sha256(address: str) -> str:
    return hashlib.sha256(address.encode()).hexdigest()


def _md5(address: str) -> str:
    return hashlib.md5(address.encode(), usedforsecurity=False).hexdigest()


# In the file.


def _search(run: ExportRun, definition: Definition, fields: Fields, address: str) -> Searched:
    """Looks through the file, if its format has rows that can be told apart and a column that says who."""
    wanted = _wanted(definition, fields, address)
    if run.file is None or definition.file.format not in SEARCHED or not wanted:
        return Searched(done=False)
    try:
        with ExitStack() as stack:
            content = stack.enter_context(open_file(run.file))
            text = _unpacked(stack, content, definition)
            rows = _records(text) if definition.file.format == "ndjson" else _cells(text, definition, fields)
            end = time.monotonic() + SECONDS
            deleted = None
            for at, row in enumerate(rows, 1):
                if any(row.get(header, "").lower() == value for header, value in wanted.items()):
                    if row.get(TOLD[2]) != "true":
                        return Searched(done=True, row=at)
                    deleted = deleted or at  # who was deleted may be back further down
                if at % CHECK_EVERY == 0 and time.monotonic() > end:
                    return Searched(done=False)
    except (FileGoneError, OSError, EOFError, ValueError, zipfile.BadZipFile, csv.Error):
        return Searched(done=False)
    return Searched(done=True, row=deleted, deleted=deleted is not None)


def _wanted(definition: Definition, fields: Fields, address: str) -> dict[str, str]:
    """What a row about the person has: header -> value, in lower case."""
    values = {
        "email": address,
        "profile.email": address,
        "email_sha256": _sha256(address),
        "email_md5": _md5(address),
    }
    if definition.columns is None:
        # A name is the short one, unless a key of the rows is called so too.
        named = [(name, value) for name, value in values.items() if fields.find(name)]
        wanted = {header: value for name, value in named for header in (name, name.rpartition(".")[2])}
    else:
        wanted = {one["header"]: values[one["field"]] for one in definition.columns if one["field"] in values}
    if definition.deletions and definition.data_type in OF_PEOPLE:
        wanted[TOLD[1]] = _sha256(address)
    return wanted


def _unpacked(stack: ExitStack, content: IO[bytes], definition: Definition) -> io.TextIOWrapper:
    file = definition.file
    stream: Any = content
    if file.compression == "gzip":
        stream = stack.enter_context(gzip.GzipFile(fileobj=content))
    elif file.compression == "zip":
        packed = stack.enter_context(zipfile.ZipFile(content))
        stream = stack.enter_context(packed.open(packed.infolist()[0]))
    encoding = "utf-8" if file.format == "ndjson" else file.encoding
    return io.TextIOWrapper(stream, encoding=encoding, errors="replace", newline="")


def _cells(text: io.TextIOWrapper, definition: Definition, fields: Fields) -> Iterator[dict[str, str]]:
    file = definition.file
    reader = csv.reader(text, delimiter="|" if file.format == "psv" else file.delimiter)
    # Of all columns the fixed ones come first, then keys that only the run knew, and last what is told.
    first = [column["header"] for column in definition.columns or sources.default_columns(fields)]
    last: tuple[str, ...] = TOLD if definition.deletions else ()
    if file.header:
        first, last = next(reader, first), ()
    for row in reader:
        if row:
            cells = [*zip(first, row, strict=False), *zip(last, row[len(row) - len(last) :], strict=False)]
            yield {name: cell.lstrip("'") for name, cell in cells}


def _records(text: io.TextIOWrapper) -> Iterator[dict[str, str]]:
    for line in text:
        record = json.loads(line)
        yield {
            name: value if isinstance(value, str) else "true"
            for name, value in record.items()
            if isinstance(value, str) or value is True
        }
