"""The view model of a job, without a database."""

from __future__ import annotations

import datetime as dt

from batchjobs.models import BatchJob, Chunk, SourceFile
from batchjobs.progress import failure_shown, progress_of, speed_bars
from batchjobs.rejections import merge_groups, sample_rows
from batchjobs.states import Status

NOW = dt.datetime(2026, 11, 21, 14, 30, tzinfo=dt.UTC)


def running(*, read: int, size: int = 1000, seconds: float = 10) -> BatchJob:
    started = NOW - dt.timedelta(seconds=seconds)
    file = SourceFile(size=size, name="a.csv")
    return BatchJob(status=Status.IN_PROGRESS, started_at=started, next_offset=read, file=file)


def chunk(rows: int, at: float, groups: list[dict[str, object]] | None = None) -> Chunk:
    committed = NOW + dt.timedelta(seconds=at)
    return Chunk(valid=rows, skipped=0, invalid=0, committed_at=committed, groups=groups or [])


def test_no_guess_before_five_percent() -> None:
    assert progress_of(running(read=49), 10, NOW).seconds_left is None
    assert progress_of(running(read=50), 10, NOW).seconds_left == 190


def test_progress_of_a_file_without_bytes() -> None:
    assert progress_of(running(read=0, size=0), 0, NOW).percent is None


def test_progress_never_passes_the_end() -> None:
    assert progress_of(running(read=1200), 10, NOW).percent == 100


def test_groups_of_all_chunks_are_one_list() -> None:
    first = {
        "code": "EMAIL_INVALID",
        "column": "email",
        "count": 2,
        "examples": [{"line": n, "value": "x"} for n in (2, 3)],
    }
    more = {
        "code": "EMAIL_INVALID",
        "column": "email",
        "count": 5,
        "examples": [{"line": n, "value": "y" * 500} for n in (9, 10)],
    }
    other = {"code": "FROM_THE_FUTURE", "column": None, "count": 6, "examples": []}
    groups = merge_groups([chunk(1, 1, [first]), chunk(1, 2, [more, other])])
    assert [(g.code, g.column, g.count) for g in groups] == [
        ("EMAIL_INVALID", "email", 7),
        ("FROM_THE_FUTURE", "", 6),
    ]
    assert [e["line"] for e in groups[0].examples] == [2, 3, 9]
    assert len(groups[0].examples[2]["value"]) == 81
    assert groups[1].title == "FROM_THE_FUTURE"


def test_sample_marks_the_cell_at_fault() -> None:
    sample = {
        "line": 7,
        "cells": ["=1+1", "<script>"],
        "errors": [
            {"code": "EMAIL_INVALID", "column": " Email "},
            {"code": "NEW", "column": "gone", "message": "m"},
        ],
    }
    (row,) = sample_rows(["email", "name", "city"], [sample])
    assert [bool(cell.wrong) for cell in row.cells] == [True, False, False]
    assert row.cells[0].value == "=1+1"
    assert row.why.endswith("m")


def test_sample_without_header() -> None:
    (row,) = sample_rows([], [{"line": 1, "cells": ["a"], "errors": [{"code": "ROW_TOO_SHORT"}]}])
    assert [cell.value for cell in row.cells] == ["a"]


def test_bars_join_commits_that_come_in_pairs() -> None:
    chunks = [chunk(100, 1), chunk(100, 1.1), chunk(100, 2), chunk(100, 2)]
    assert [bar.value for bar in speed_bars(NOW, chunks)] == [100, 200]


def test_an_unknown_failure_is_shown_and_not_a_crash() -> None:
    job = BatchJob(failure_code="OF_A_LATER_VERSION")
    failure = failure_shown(job)
    assert failure is not None
    assert failure.short == "OF_A_LATER_VERSION"
    assert failure_shown(BatchJob()) is None
