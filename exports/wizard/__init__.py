"""The seven steps in which a person defines an export. Each is valid by itself, and saved by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy as _

from exports import definitions
from exports.models import Export
from exports.wizard.columns import ColumnsForm
from exports.wizard.forms import DataForm, DestinationForm, FileForm, ReportForm, StepForm, SummaryForm
from exports.wizard.when import WhenForm

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise


@dataclass(frozen=True, slots=True)
class Step:
    """`form.keys` are the keys of the definition that the step owns."""

    number: int
    title: str | _StrPromise
    form: type[StepForm]


STEPS: tuple[Step, ...] = (
    Step(1, _("Data"), DataForm),
    Step(2, _("Columns"), ColumnsForm),
    Step(3, _("File"), FileForm),
    Step(4, _("Destination"), DestinationForm),
    Step(5, _("Schedule"), WhenForm),
    Step(6, _("Report"), ReportForm),
    Step(7, _("Summary"), SummaryForm),
)
LAST = definitions.STEPS


def step_wanted(number: str, export: Export) -> Step:
    """The step of a URL: one that was reached, else the furthest."""
    wanted = int(number) if number.isascii() and number.isdecimal() and len(number) < 3 else export.step
    return STEPS[min(max(wanted, 1), export.step, LAST) - 1]


def step_of(key: str) -> Step:
    """The step that asks for a key of the definition."""
    first = key.partition(".")[0]
    return next((step for step in STEPS if first in step.form.keys), STEPS[0])
