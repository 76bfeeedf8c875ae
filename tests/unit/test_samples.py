"""The committed sample files hold what samples/README.md says, and their scripts still make them."""

from __future__ import annotations

import csv
import runpy
from decimal import Decimal
from pathlib import Path

import pytest

SAMPLES = Path(__file__).parents[2] / "samples"


def test_cdnow_has_the_figures_of_its_source() -> None:
    with (SAMPLES / "cdnow-events.csv").open(encoding="ascii", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 69_659
    assert len({row["partner_user_id"] for row in rows}) == 23_570
    assert sum(Decimal(row["value"]) for row in rows) == Decimal("2500315.63")
    assert len({row["partner_event_id"] for row in rows}) == len(rows)
    assert {row["event_name"] for row in rows} == {"purchase"}
    assert (min(row["event_time"] for row in rows), max(row["event_time"] for row in rows)) == (
        "1997-01-01",
        "1998-06-30",
    )
    assert rows[0] == {
        "partner_event_id": "cdnow-00001",
        "partner_user_id": "00001",
        "email": "customer-00001@example.com",
        "event_name": "purchase",
        "event_time": "1997-01-01",
        "value": "11.77",
        "cds": "1",
    }


def test_cdnow_script_refuses_other_figures() -> None:
    derive = runpy.run_path(str(SAMPLES / "derive_cdnow.py"))["derive"]
    with pytest.raises(SystemExit, match=r"The source holds \(1, 1, Decimal\('11.77'\), 0\)"):
        derive("customer_id date number_of_cds dollar_value\n00001 19970101 1 11.77\n")


def test_messy_is_what_its_script_writes() -> None:
    script = runpy.run_path(str(SAMPLES / "make_messy.py"))
    assert (SAMPLES / "messy-events.csv").read_bytes() == script["messy"]()
    assert script["expected"]() == {"valid": 51, "skipped": 2, "invalid": 23}


# All but RECORD_TOO_LARGE, which takes a line of a megabyte.
OF_EVENTS_IN_CSV = {
    *("EMAIL_INVALID", "IDENTITY_MISSING", "EVENT_NAME_MISSING", "EVENT_TIME_INVALID", "DATE_AMBIGUOUS"),
    *("DATE_OUT_OF_RANGE", "VALUE_TOO_LONG", "ROW_TOO_SHORT", "ROW_TOO_LONG", "QUOTE_UNCLOSED", "QUOTE_MALFORMED"),
    *("NUL_CHARACTER", "ENCODING_INVALID"),
}


def test_messy_shows_every_problem_that_a_small_file_can_have() -> None:
    from batchjobs.ingestion.problems import PROBLEMS

    shown = {
        code for _line, codes in runpy.run_path(str(SAMPLES / "make_messy.py"))["expected_errors"]() for code in codes
    }
    assert shown == OF_EVENTS_IN_CSV
    assert set(PROBLEMS) >= OF_EVENTS_IN_CSV
