"""The form that starts a batch job."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from django import forms
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.forms import zone_names
from accounts.models import User
from audience.models import Database, DataTable
from batchjobs.ingestion.formats import ACCEPTED
from batchjobs.looking import Sample, columns_chosen, type_looked_at
from batchjobs.models import BatchJob, RecordType, Source, SourceFile
from batchjobs.origins import OFFERED, JobSource, Origin, job_source, origin_of
from batchjobs.refusals import JobRefusedError
from console.formats import day, filesize

DELIMITERS = [
    ("", gettext_lazy("Find out from the file")),
    (",", gettext_lazy("Comma ,")),
    (";", gettext_lazy("Semicolon ;")),
    ("\t", gettext_lazy("Tab")),
    ("|", gettext_lazy("Pipe |")),
    (" ", gettext_lazy("Blanks, any number")),
]
ENCODINGS = [
    ("", gettext_lazy("Find out from the file")),
    ("utf-8", "UTF-8"),
    ("cp1252", "Windows-1252"),
    ("latin-1", "ISO-8859-1"),
    ("utf-16", "UTF-16"),
]
NOT_ASKED = (
    "format",
    "header",
    "formula_safe",
    "run_anyway",
)  # of a job that is run again, as programs may have said them
DAY_FIRST = [
    ("", gettext_lazy("Reject dates that can be read both ways")),
    ("true", gettext_lazy("Day first: 3 April")),
    ("false", gettext_lazy("Month first: 4 March")),
]


LIMITS = [
    ("", gettext_lazy("Bring in the good ones")),
    ("0", gettext_lazy("Change nothing: all rows or none")),
    ("1", gettext_lazy("Change nothing if more than 1 % are")),
    ("5", gettext_lazy("Change nothing if more than 5 % are")),
    ("20", gettext_lazy("Change nothing if more than 20 % are")),
]


WHERE = {
    Source.NEW_FILE: gettext_lazy("From your computer"),
    Source.EXISTING_FILE: gettext_lazy("Read by a job before"),
    Source.AUDIENCE: gettext_lazy("A list or segment"),
    Source.REPORT: gettext_lazy("From a finished export"),
}


class BatchJobForm(forms.Form):
    """One job from one file: a new one, or what is chosen of another source.

    `options` after validation holds only what was chosen.

    The columns of the file, as far as the page showed them, come as pairs of `column_name` and `column_to`.
    """

    source = forms.ChoiceField(label=gettext_lazy("Where is the data?"), choices=Source.choices, required=False)
    choice = forms.CharField(required=False, max_length=140)  # an origin's key
    find = forms.CharField(required=False, max_length=200)  # among what there is to choose
    file = forms.FileField(
        required=False,  # it, or `upload`: clean()
        label=gettext_lazy("File"),
        allow_empty_file=True,  # the job fails with its sentence, and the history shows it
        max_length=255,
    )
    # Where there is script, the file is here before the form is sent (batchjobs/resumable.py).
    upload: forms.ModelChoiceField[SourceFile] = forms.ModelChoiceField(
        None,  # __init__ knows whose
        to_field_name="upload_id",
        required=False,
        widget=forms.HiddenInput,
    )
    name = forms.CharField(
        label=gettext_lazy("Name of the job"),
        max_length=200,
        help_text=gettext_lazy("So that colleagues know what it was. Each name can be used once."),
        error_messages={"required": gettext_lazy("Give the job a name.")},
    )
    suggested = forms.CharField(required=False, widget=forms.HiddenInput)  # the name that nobody wrote by hand
    record_type = forms.ChoiceField(label=gettext_lazy("What is in the file?"), choices=RecordType.choices)
    event_name = forms.CharField(
        label=gettext_lazy("Event name"),
        max_length=120,
        required=False,
        help_text=gettext_lazy("For rows without one. It may also come from the file name, as in purchase-2026.csv."),
    )
    tags = forms.CharField(
        label=gettext_lazy("Tags"),
        max_length=400,
        required=False,
        help_text=gettext_lazy("Separate with commas."),
    )
    list_name = forms.CharField(
        label=gettext_lazy("List"),
        max_length=120,
        required=False,
        help_text=gettext_lazy("For rows that name none. A new name makes a new list."),
    )
    table = forms.ChoiceField(
        label=gettext_lazy("Table"),
        required=False,
        help_text=gettext_lazy("The rows go to it, and it says which columns there are."),
    )
    blank_erases = forms.BooleanField(label=gettext_lazy("Blank cells erase what was known"), required=False)
    array = forms.CharField(max_length=255, required=False)
    delimiter = forms.ChoiceField(label=gettext_lazy("Columns are separated by"), choices=DELIMITERS, required=False)
    encoding = forms.ChoiceField(label=gettext_lazy("Encoding"), choices=ENCODINGS, required=False)
    time_zone = forms.ChoiceField(
        label=gettext_lazy("Time zone"),
        help_text=gettext_lazy("Of times that do not say theirs."),
        required=False,
    )
    day_first = forms.ChoiceField(label=gettext_lazy("Dates such as 03/04/2024"), choices=DAY_FIRST, required=False)
    max_invalid_percent = forms.ChoiceField(label=gettext_lazy("If rows are rejected"), choices=LIMITS, required=False)
    dry_run = forms.BooleanField(label=gettext_lazy("Check only: nothing is written"), required=False)

    def __init__(
        self,
        data: Any = None,
        files: Any = None,
        *,
        user: User,
        database: Database | None,
        uploads: QuerySet[SourceFile],
        uploads_open: QuerySet[SourceFile],
        tables: QuerySet[DataTable],
        asked: Mapping[str, str] | None = None,
        again: BatchJob | None = None,
    ) -> None:
        """`uploads` are the person's, `uploads_open` those that the page offers. `asked` is what the page's address
        says: the id of an `upload`, or `source`, `find` and `choice`.

        With `again` the file is that job's, and so is what is filled in at first.
        """
        chosen = {name: (asked or {}).get(name, "") for name in ("upload", "source", "find", "choice")}
        initial = {"time_zone": user.time_zone, **chosen, **(_initial_of(again) if again else {})}
        super().__init__(data, files, initial=initial, auto_id="job-%s")
        self.again = again
        self.database = database
        self.fields["upload"].queryset = uploads  # type: ignore[attr-defined]
        self._open = list(uploads_open)
        self._tables = {table.slug: table for table in tables}
        names = [(slug, table.name) for slug, table in self._tables.items()]
        self.fields["table"].choices = [("", _("Choose a table") if names else _("There is none yet")), *names]  # type: ignore[attr-defined]
        if not (again or self.is_bound):
            self.initial["name"] = self.initial["suggested"] = self.suggestion
        zones = [(zone, zone.replace("_", " ")) for zone in zone_names()]
        if user.time_zone not in dict(zones):
            zones.insert(0, (user.time_zone, user.time_zone))
        self.fields["time_zone"].choices = zones  # type: ignore[attr-defined]
        too_large = _("The file is too large: %(limit)s at most.") % {"limit": filesize(settings.UPLOAD_MAX_BYTES)}
        self.fields["file"].widget.attrs |= {
            # File dialogs know the last part of a name only.
            "accept": ",".join(dict.fromkeys(PurePath(f"a{ending}").suffix for ending in ACCEPTED)),
            "data-endings": ",".join(ACCEPTED),
            "data-max-bytes": settings.UPLOAD_MAX_BYTES,
            "data-text-too-large": too_large,
            "required": not self.chosen,
        }
        self.too_large = too_large

    def clean_file(self) -> UploadedFile | None:
        file: UploadedFile | None = self.cleaned_data["file"]
        if file and (file.size or 0) > settings.UPLOAD_MAX_BYTES:
            raise forms.ValidationError(self.too_large)
        return file

    def clean(self) -> None:
        if self.cleaned_data.get("record_type") == RecordType.RECORD and not self.cleaned_data.get("table"):
            self.add_error("table", _("Choose the table that the rows go to."))
        if self.again:
            return
        if self.job_source:
            if not self._said("choice"):
                self.add_error("choice", _("Choose the data to bring in."))
            elif isinstance(self._origin, JobRefusedError):
                self.add_error("choice", self._origin.message)
        elif self.errors.pop("upload", None):
            self.add_error("file", _("This upload is no longer there. Choose the file again."))
        elif not (self.cleaned_data.get("file") or self.cleaned_data.get("upload") or "file" in self.errors):
            self.add_error("file", _("Choose the file to bring in."))

    def clean_tags(self) -> list[str]:
        return [tag.strip() for tag in self.cleaned_data["tags"].split(",") if tag.strip()]

    @property
    def options(self) -> dict[str, Any]:
        """Before the form was sent: those of the job whose file is run again."""
        if not self.is_bound:
            return dict(self.again.options) if self.again else {}
        data = self.cleaned_data
        before = self.again.options if self.again else {}
        options: dict[str, Any] = {key: before[key] for key in NOT_ASKED if key in before}
        options |= self.origin.options if self.origin else {}
        options |= {key: data[key] for key in ("delimiter", "encoding", "time_zone", "array") if data.get(key)}
        if data.get("day_first"):
            options["day_first"] = data["day_first"] == "true"
        word = data.get("record_type") or RecordType.EVENT
        if data.get("list_name") and word == RecordType.LIST:
            options["list"] = data["list_name"].strip()
        if data.get("table") and word == RecordType.RECORD:
            options["table"] = data["table"]
        if data.get("blank_erases") and word in (RecordType.LIST, RecordType.PROFILE):
            options["blank_erases"] = True
        if data.get("max_invalid_percent"):
            options["max_invalid_percent"] = int(data["max_invalid_percent"])
        if columns := self._columns(word):
            options["columns"] = columns
        return options

    def _columns(self, word: str) -> dict[str, str]:
        """Where the person sent columns, other than where they would go by themselves."""
        if self.data.get("column_type") != word:
            return {}  # another type has other columns: what was shown was not for it
        data: Any = self.data  # of a request: a QueryDict
        names = data.getlist("column_name")
        table = self._tables.get(self.data.get("table") or "")
        options = {"table": table.slug} if table else {}
        entry = type_looked_at(word, database=table.database_id if table else 0, options=options)
        chosen = columns_chosen(names, data.getlist("column_to"), entry=entry)
        if self.again and self.again.record_type == word:  # columns beyond those that are shown
            before = self.again.options.get("columns") or {}
            chosen |= {name: target for name, target in before.items() if name not in names}
        return chosen

    @property
    def chosen_type(self) -> str:
        """The record type as it stands in the form."""
        word = str(self["record_type"].value() or "")
        return word if word in RecordType.values else str(RecordType.EVENT)

    def _said(self, name: str) -> str:
        """What a field says that nobody has checked yet."""
        return str(self[name].value() or "").replace("\x00", "")

    @property
    def chosen_source(self) -> str:
        """The source as it stands in the form."""
        word = self._said("source")
        return word if word in Source.values and not self.again else str(Source.NEW_FILE)

    @property
    def job_source(self) -> JobSource | None:
        """Where to choose from; None for a new file."""
        return job_source(self.chosen_source)

    @property
    def sources(self) -> list[tuple[Source, Any, bool]]:
        """Each source, what it is, and whether it is chosen."""
        return [(source, WHERE[source], source == self.chosen_source) for source in Source]

    @cached_property
    def _origin(self) -> Origin | JobRefusedError | None:
        if not (self.job_source and self._said("choice")):
            return None
        try:
            return origin_of(self.database, self.chosen_source, self._said("choice"))
        except JobRefusedError as refused:
            return refused

    @property
    def origin(self) -> Origin | None:
        """What is chosen of another source."""
        return self._origin if isinstance(self._origin, Origin) else None

    @cached_property
    def _found(self) -> list[Origin]:
        source = self.job_source
        return source.choices(self.database, self._said("find")) if source and self.database else []

    @property
    def origins(self) -> list[Origin]:
        """What there is to choose, and first of all what is chosen."""
        chosen = self.origin
        if chosen is None or any(one.key == chosen.key for one in self._found):
            return self._found
        return [chosen, *self._found]

    @property
    def finds_nothing(self) -> bool:
        return not self._found

    @property
    def has_more(self) -> bool:
        """Whether there may be others than those that are shown."""
        return len(self._found) >= OFFERED

    @property
    def suggestion(self) -> str:
        """A name for a job with this data; "" as long as there is none."""
        if self.origin:
            return f"{_without_ending(self.origin.name)[:170]}, {day(timezone.now())}"
        file = None if self.again else self.looked_at
        return _without_ending(file.name) if file else ""

    def suggest(self) -> bool:
        """Names a job that nobody named by the data that is chosen now. Whether that is another name than before."""
        before = self._said("name")
        if (before and before != self._said("suggested")) or before == self.suggestion:
            return False
        data: Any = self.data.copy()  # type: ignore[attr-defined]  # of a request: a QueryDict
        data["name"] = data["suggested"] = self.suggestion
        self.data = data
        return True

    @cached_property
    def chosen(self) -> SourceFile | None:
        """The upload that stands for the file."""
        chosen = str(self["upload"].value() or "")
        return next((one for one in self._open if str(one.upload_id) == chosen and one.is_complete), None)

    @property
    def looked_at(self) -> SourceFile | Sample | None:
        """What the page asks about: of an upload the beginning may be all that is here."""
        if self.again:
            return self.again.file
        if source := self.job_source:
            if self.origin is None or self.database is None:
                return None
            if self.origin.file:
                return self.origin.file
            content = source.sample(self.database, self.origin.key)
            return Sample(self.database.account, self.origin.file_name, content)
        wanted = str(self.data.get("looking") or "") if self.is_bound else str(self["upload"].value() or "")
        return next((one for one in self._open if str(one.upload_id) == wanted), None)

    @property
    def open_uploads(self) -> list[SourceFile]:
        """Those that can be gone on with or used, beside the one chosen."""
        return [one for one in self._open if one != self.chosen and (one.received or one.is_complete)]

    @property
    def keeps_file(self) -> bool:
        """Whether the page keeps the file's part of the form as it is: nothing was wrong with that."""
        return self.is_bound and "file" not in self.errors

    @property
    def part_bytes(self) -> int:
        return settings.UPLOAD_PART_BYTES

    @property
    def kept_hours(self) -> int:
        return int(settings.UPLOAD_KEPT_HOURS)

    @property
    def max_bytes(self) -> int:
        return settings.UPLOAD_MAX_BYTES

    @property
    def first_bad(self) -> str:
        """The field that gets the focus."""
        return next((name for name in self.fields if name in self.errors), "")

    @property
    def reading_is_bad(self) -> bool:
        """Whether the folded part holds an error and must be open."""
        return any(name in self.errors for name in ("delimiter", "encoding", "time_zone", "day_first"))


def _without_ending(name: str) -> str:
    """As the page suggests it for a file that is chosen there (static/upload.js)."""
    ending = max((ending for ending in ACCEPTED if name.lower().endswith(ending)), key=len, default="")
    return name[: len(name) - len(ending)][:200]


def _initial_of(job: BatchJob) -> dict[str, Any]:
    """What a form about the file of `job` starts with."""
    options = job.options
    initial = {key: options[key] for key in ("delimiter", "encoding", "time_zone", "array") if key in options}
    if "max_invalid_percent" in options:
        initial["max_invalid_percent"] = f"{options['max_invalid_percent']:g}"
    if "day_first" in options:
        initial["day_first"] = "true" if options["day_first"] else "false"
    return {
        **initial,
        "name": f"{job.name[:180]} {_('(again)')}",
        "record_type": job.record_type,
        "event_name": job.event_name,
        "list_name": options.get("list", ""),
        "table": options.get("table", ""),
        "blank_erases": options.get("blank_erases", False),
        "tags": ", ".join(job.tags),
        "dry_run": job.dry_run,
    }


class SavedViewForm(forms.Form):
    """The name of a view. `replace` repeats a name that is taken once the person was told so."""

    name = forms.CharField(
        label=gettext_lazy("Name of the view"),
        max_length=60,
        help_text=gettext_lazy("Only you see it."),
        error_messages={"required": gettext_lazy("Give the view a name.")},
    )
    replace = forms.CharField(required=False)

    def __init__(self, data: Any = None) -> None:
        super().__init__(data, auto_id="saved-%s")

    @property
    def agreed(self) -> bool:
        return bool(self.cleaned_data["replace"] == self.cleaned_data["name"])
