"""docs/exports.md says what the tables in the code say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings

from exports.conditions import OPERATORS
from exports.errors import ERRORS
from exports.states import ACTIONS, RUN_ACTIONS, ExportType, RunState, State
from exports.writers import FORMATS


def tables() -> dict[str, list[list[str]]]:
    """The tables of the page by their first line."""
    found: dict[str, list[list[str]]] = {}
    rows: list[list[str]] = []
    for line in (Path(settings.BASE_DIR) / "docs" / "exports.md").read_text().splitlines():
        if not line.startswith("|"):
            rows = []
        elif not rows:
            rows = found.setdefault(line, [])
            rows.append([])  # the line below the names
        else:
            rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return {head: rows[2:] for head, rows in found.items()}


def named(chosen: Any, known: Any) -> str:
    return "any" if chosen == frozenset(known) else ", ".join(str(one.label) for one in known if one in chosen)


def test_codes_of_errors() -> None:
    assert tables()["| code | what happened | relaunch |"] == [
        [f"`{code}`", str(error.title), "yes" if error.retryable else "no"] for code, error in ERRORS.items()
    ]


def test_what_can_be_done_in_which_state() -> None:
    assert tables()["| an export | in state | of type |"] == [
        [str(action.label), named(allowed.states, State), named(allowed.types, ExportType)]
        for action, allowed in ACTIONS.items()
    ]
    assert tables()["| a run | in state | of type |"] == [
        [str(action.label), named(allowed.states, RunState), named(allowed.types, ExportType)]
        for action, allowed in RUN_ACTIONS.items()
    ]


def test_formats_types_and_operators() -> None:
    words = {kind: " ".join(row[0] for row in tables()[head]) for kind, head in HEADS.items()}
    assert {part for part in words["format"].split("`") if part.strip(" ,")} == set(FORMATS)
    assert {part for part in words["type"].split("`") if part.strip()} == set(ExportType.values)
    told = {part for row in tables()["| type | operators |"] for part in row[1].split("`")[1::2]}
    assert told == {op for ops in OPERATORS.values() for op in ops}


HEADS = {"format": "| format | what it is |", "type": "| type | what leaves | when | where to | made of |"}
