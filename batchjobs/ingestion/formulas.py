"""Formula-safe CSV: a `'` before what a spreadsheet would run, put there and taken away without loss.

Rule: a cell that begins with any number of `'` and then =, +, -, @, tab or CR gets one more `'`, unless it is a plain
number. Taking one away from cells of that form gives back the original (OWASP, "CSV Injection").
"""

from __future__ import annotations

import re

_RISKY = re.compile(r"'*[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?[\d.,]*\d[\d.,]*$")


def make_safe(cell: str) -> str:
    return f"'{cell}" if _RISKY.match(cell) and not _NUMBER.match(cell) else cell


def undo_safe(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _RISKY.match(cell) else cell
