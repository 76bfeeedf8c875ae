"""`manage.py state_diagram`: writes docs/states.md from the table in batchjobs/states.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from batchjobs.states import TRANSITIONS, Status

PAGE = """# States of a batch job

Made by `manage.py state_diagram` from the table in `batchjobs/states.py`; do not edit.

```mermaid
stateDiagram-v2
    [*] --> {first}
{edges}
    {last} --> [*]
```
"""


def page() -> str:
    edges = "\n".join(f"    {before} --> {after}: {why}" for (before, after), why in TRANSITIONS.items())
    return PAGE.format(first=Status.PENDING, edges=edges, last=Status.EXPIRED)


class Command(BaseCommand):
    help = "Writes the diagram of the job's states into docs/states.md."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--check", action="store_true", help="only say whether the page is up to date")

    def handle(self, *args: Any, **options: Any) -> None:
        path = Path(settings.BASE_DIR) / "docs" / "states.md"
        if not options["check"]:
            path.write_text(page())
        elif not path.exists() or path.read_text() != page():
            raise CommandError("docs/states.md is not up to date: run manage.py state_diagram.")
