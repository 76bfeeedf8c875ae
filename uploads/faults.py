"""What makes a batch corrupted: other bytes arrived than were declared. Stored with the upload, so never renamed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext_lazy as _

from console.formats import filesize

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise


@dataclass(frozen=True, slots=True)
class Fault:
    title: str | _StrPromise  # for the page
    message: str  # for programs


FAULTS: dict[str, Fault] = {
    "SIZE_MISMATCH": Fault(
        _("The file has another size than was declared"),
        "{declared} bytes were declared and {received} arrived.",
    ),
    "SIZE_EXCEEDED": Fault(
        _("The file is larger than was declared"),
        "{declared} bytes were declared, and more were sent.",
    ),
    "CHECKSUM_MISMATCH": Fault(
        _("The file has another MD5 checksum than was declared"),
        "The MD5 {declared} was declared, and that of the file is {received}.",
    ),
}


def fault_message(code: str, params: dict[str, Any]) -> str:
    """The sentence for programs."""
    return FAULTS[code].message.format_map(params)


def size_limit_message(limit: int) -> str:
    return f"A file can have {filesize(limit)} at most, gzipped."
