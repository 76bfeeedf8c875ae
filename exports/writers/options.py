"""How a file is to be written: the part `file` of an export's definition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

NAME_PATTERN = "$name_$yyyyMMdd_$run"  # the number, because exports of like names run at the same moment


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of file. `is_typed`: numbers stay numbers. `asks`: which options it has, beyond compression and name."""

    label: str | _StrPromise
    use: str | _StrPromise
    suffix: str
    content_type: str
    is_typed: bool
    asks: frozenset[str] = frozenset()


_TEXT = frozenset({"quoting", "header", "encoding", "formula_safe"})

FORMATS: dict[str, Format] = {
    "csv": Format(
        "CSV", gettext_lazy("Opens in a spreadsheet"), ".csv", "text/csv", False, _TEXT | frozenset({"delimiter"})
    ),
    "xlsx": Format(
        "XLSX",
        gettext_lazy("Excel workbook"),
        ".xlsx",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        True,
        frozenset({"header"}),
    ),
    "psv": Format("PSV", gettext_lazy("Separated by |"), ".psv", "text/plain", False, _TEXT),
    "ndjson": Format("NDJSON", gettext_lazy("One record a line"), ".ndjson", "application/x-ndjson", True),
    "json": Format("JSON", gettext_lazy("One array"), ".json", "application/json", True),
    "xml": Format("XML", gettext_lazy("One element a row"), ".xml", "application/xml", False),
    "parquet": Format("Parquet", gettext_lazy("For a warehouse"), ".parquet", "application/vnd.apache.parquet", True),
}
DELIMITERS: dict[str, Any] = {
    ";": gettext_lazy("Semicolon ;"),
    ",": gettext_lazy("Comma ,"),
    "\t": gettext_lazy("Tab"),
    "|": gettext_lazy("Bar |"),
}
QUOTING: dict[str, Any] = {"minimal": gettext_lazy("Where it is needed"), "all": gettext_lazy("Every cell")}
ENCODINGS: dict[str, Any] = {
    "utf-8": "UTF-8",
    "utf-8-sig": gettext_lazy("UTF-8 with BOM"),
    "windows-1252": "Windows-1252",
    "iso-8859-1": "ISO-8859-1",
}
COMPRESSIONS: dict[str, Any] = {"none": gettext_lazy("None"), "gzip": "gzip", "zip": "zip"}
SUFFIXES = {"none": "", "gzip": ".gz", "zip": ".zip"}


class OptionError(ValueError):
    """No such way to write a file. `field` is the option, `sentence` for people."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field
        self.sentence = sentence


@dataclass(frozen=True, slots=True)
class FileOptions:
    """Always sound: making another raises OptionError. What a format does not ask for is without effect."""

    format: str = "csv"
    delimiter: str = ";"
    quoting: str = "minimal"
    header: bool = True
    encoding: str = "utf-8"
    compression: str = "none"
    name_pattern: str = NAME_PATTERN
    formula_safe: bool = False

    def __post_init__(self) -> None:
        choices: dict[str, Any] = {
            "format": FORMATS,
            "delimiter": DELIMITERS,
            "quoting": QUOTING,
            "encoding": ENCODINGS,
            "compression": COMPRESSIONS,
        }
        for field, known in choices.items():
            if getattr(self, field) not in list(known):
                listed = ", ".join("tab" if value == "\t" else value for value in known)
                raise OptionError(field, _("It is one of %(list)s.") % {"list": listed})
        for field in ("header", "formula_safe"):
            if not isinstance(getattr(self, field), bool):
                raise OptionError(field, _("It is true or false."))
        if not isinstance(self.name_pattern, str):
            raise OptionError("name_pattern", _("It is a text."))

    @classmethod
    def from_json(cls, value: Any) -> FileOptions:
        """Reads the API's form; what is left out is as by default. Raises OptionError."""
        if not isinstance(value, Mapping):
            raise OptionError("format", _("A file is an object with “format”."))
        known = [field.name for field in fields(cls)]
        for key in value:
            if key not in known:
                raise OptionError(str(key), _("It is none of %(list)s.") % {"list": ", ".join(known)})
        return cls(**value)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def about(self) -> Format:
        return FORMATS[self.format]


def inner_suffix(options: FileOptions) -> str:
    """How the name of what is in the file ends."""
    return options.about.suffix


def suffix_of(options: FileOptions) -> str:
    """How the name of the file ends: .csv, .csv.gz, .zip."""
    if options.compression == "zip":
        return ".zip"
    return options.about.suffix + SUFFIXES[options.compression]
