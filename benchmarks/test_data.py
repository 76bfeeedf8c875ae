"""The made-up files are what they say: `python -m pytest benchmarks`."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import json
import re
from collections import Counter

import pytest

from benchmarks.data import HEADER, write_events, write_events_ndjson_gz, write_good_events

ROWS = 20_000
NAMES = HEADER.split(",")


@pytest.fixture(scope="module")
def csv_file(tmp_path_factory):
    return write_events(tmp_path_factory.mktemp("csv"), ROWS)


@pytest.fixture(scope="module")
def ndjson_file(tmp_path_factory):
    return write_events_ndjson_gz(tmp_path_factory.mktemp("ndjson"), ROWS)


def fault(record):
    """What is wrong with a record as it was read; None is a line that could not be."""
    if record is None:
        return "shape"
    if not record.get("email"):
        return "identity"
    if not re.fullmatch(r"[\w.-]+@[\w.-]+", record["email"]):
        return "email"
    try:
        dt.datetime.fromisoformat(record["event_time"])
    except ValueError:
        return "time"
    return ""


def read_csv(path):
    """Each record with the line where it begins; None where the number of cells is not that of the header."""
    with path.open(newline="") as file:
        rows = csv.reader(file, strict=True)
        header = next(rows)
        line = rows.line_num + 1
        for row in rows:
            yield line, dict(zip(header, row, strict=True)) if len(row) == len(header) else None
            line = rows.line_num + 1


def read_ndjson(path):
    with gzip.open(path, "rt") as file:
        for line, text in enumerate(file, start=1):
            try:
                yield line, json.loads(text)
            except json.JSONDecodeError:
                yield line, None


def read_clean(path):
    """The rows by line of the dirty file, as records."""
    rows = {}
    for text in path.read_text().splitlines():
        database, profile, kind, time, external, properties, job, line = text.split("\t")
        assert (database, job) == ("1", "1")
        rows[int(line)] = {
            "email": f"person-{int(profile) - 1:07d}@example.com",
            "event_name": kind,
            "event_time": time,
            "partner_event_id": external,
            **json.loads(properties.replace("\\\\", "\\")),
        }
    return rows


def expect_as_said(file, records):
    faults = {line: fault(record) for line, record in records}
    assert len(records) == len(faults) == file.rows == ROWS
    assert [line for line, kind in faults.items() if kind] == file.bad_lines
    assert read_clean(file.clean) == {line: record for line, record in records if not faults[line]}
    assert file.good == ROWS - len(file.bad_lines)
    return Counter(faults.values())


def test_csv_is_as_it_says(csv_file):
    records = list(read_csv(csv_file.dirty))
    faults = expect_as_said(csv_file, records)
    assert set(faults) == {"", "email", "time", "identity", "shape"}
    assert 0.007 < len(csv_file.bad_lines) / ROWS < 0.010
    assert all(list(record) == NAMES for _, record in records if record)


def test_ndjson_is_as_it_says(ndjson_file):
    assert ndjson_file.dirty.name == "events.ndjson.gz"
    records = list(read_ndjson(ndjson_file.dirty))
    expect_as_said(ndjson_file, records)
    assert all(isinstance(record["value"], float) for _, record in records if record)


def test_both_hold_the_same_events_and_faults(csv_file, ndjson_file):
    of_csv, of_ndjson = list(read_csv(csv_file.dirty)), list(read_ndjson(ndjson_file.dirty))
    assert [fault(record) for _, record in of_csv] == [fault(record) for _, record in of_ndjson]
    as_numbers = [{**row, "value": float(row["value"])} for row in read_clean(csv_file.clean).values()]
    assert as_numbers == list(read_clean(ndjson_file.clean).values())
    assert sum("\n" in row["note"] for row in as_numbers) > ROWS / 200


def test_the_same_each_time(ndjson_file, tmp_path):
    again = write_events_ndjson_gz(tmp_path, ROWS)
    assert again.dirty.read_bytes() == ndjson_file.dirty.read_bytes()
    assert again.clean.read_bytes() == ndjson_file.clean.read_bytes()


def test_good_rows_are_the_first_of_the_clean_ones(csv_file, tmp_path):
    path = tmp_path / "good.csv"
    write_good_events(path, 5_000, of=ROWS)
    good = {}
    for _, record in read_csv(path):
        assert int(record.pop("profile_id")) == int(record["email"][7:14]) + 1
        good[int(record.pop("row_no"))] = record
    assert list(good.items()) == list(read_clean(csv_file.clean).items())[:5_000]
