"""What files that leave are called."""

from __future__ import annotations

import datetime as dt
import unicodedata
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exports.names import (
    BYTES_MAX,
    CHARACTERS_MAX,
    LONGEST_RUN,
    WORDS,
    PatternError,
    file_name,
    is_constant,
    pattern_check,
    slug,
    with_number,
)
from exports.writers.options import NAME_PATTERN

UNSEEN = (
    *("\u00ad", "\u034f", "\u115f", "\u1160", "\u17b4", "\u180b", "\u180e", "\u200c", "\u200d", "\u2061", "\u2800"),
    *("\u3164", "\ufe0f", "\uffa0", "\ufff9", "\U000e0041", "\U000e0100"),
)
# 23:05:09 in UTC is the next day in Tokyo.
MOMENT = dt.datetime(2026, 3, 4, 23, 5, 9, tzinfo=dt.UTC)


def named(pattern: str, *, zone: str = "UTC", name: str = "Opt-ins of Málaga", suffix: str = ".csv") -> str:
    return file_name(pattern, moment=MOMENT, zone=ZoneInfo(zone), name=name, run=417, suffix=suffix)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("$name_$yyyyMMdd_$HHmmss", "opt-ins-of-málaga_20260304_230509.csv"),
        ("$yyyy-$MM-$dd $HH.$mm.$ss", "2026-03-04 23.05.09.csv"),
        ("$yyyy$MM$dd", "20260304.csv"),
        ("run-$run", "run-417.csv"),
        ("plain", "plain.csv"),
        ("  plain  ", "plain.csv"),
        ("2026", "2026.csv"),
        ("contacts", "contacts.csv"),
        ("con-$yyyy", "con-2026.csv"),
        ("$run.daily", "417.daily.csv"),
        ("日報_$yyyyMMdd", "日報_20260304.csv"),
        ("Ma\u0301laga", "M\u00e1laga.csv"),
        ("می\u200cخواهم", "می\u200cخواهم.csv"),  # Persian: "I want" is not written without the non-joiner
        ("ශ්\u200dරී", "ශ්\u200dරී.csv"),  # Sinhala: nor is "Sri" without the joiner
    ],
)
def test_a_pattern_is_filled_in(pattern: str, expected: str):
    assert named(pattern) == expected
    pattern_check(pattern, name="x", suffix=".csv")


def test_words_are_as_the_clock_of_the_zone_shows():
    assert named("$yyyyMMdd_$HHmmss", zone="Asia/Tokyo") == "20260305_080509.csv"


@pytest.mark.parametrize(
    ("pattern", "suffix", "expected"),
    [
        ("a.csv", ".csv", "a.csv"),
        ("a.CSV", ".csv", "a.csv"),
        ("a.csv.gz", ".csv.gz", "a.csv.gz"),
        ("a.csv", ".csv.gz", "a.csv.gz"),
        ("a.zip", ".zip", "a.zip"),
        ("a.csv", ".xlsx", "a.csv.xlsx"),
        ("a.gz", ".csv", "a.gz.csv"),
        ("acsv", ".csv", "acsv.csv"),
        ("a .csv", ".csv", "a.csv"),
    ],
)
def test_a_suffix_is_not_doubled(pattern: str, suffix: str, expected: str):
    assert named(pattern, suffix=suffix) == expected


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("", "needs a name"),
        ("   ", "needs a name"),
        (".csv", "needs a name"),
        ("$yyyyMM", "$yyyyMM is not known. Known are $yyyyMMdd, $HHmmss,"),
        ("$YYYY", "$YYYY is not known"),
        ("$names", "$names is not known"),
        ("$größe", "$größe is not known"),
        ("price in $", "$ is not known"),
        ("$5", "$ is not known"),
        ("$$run", "$ is not known"),
        ("a/b", "character /"),
        ("a\\b", "character \\"),
        ("../up", "character /"),
        ("10:30", "character :"),
        ("a<b", "character <"),
        ("a>b", "character >"),
        ('a"b', 'character "'),
        ("a|b", "character |"),
        ("a?b", "character ?"),
        ("a*b", "character *"),
        (".hidden", "begin with a dot"),
        ("..", "begin with a dot"),
        ("a\nb", "not seen"),
        ("a\x00b", "not seen"),
        ("a\x7fb", "not seen"),
        ("a\u2028b", "not seen"),
        ("a\u202egpj.b", "not seen"),
        ("a\ud800b", "not seen"),
        *((f"a{unseen}b", "not seen") for unseen in UNSEEN),
        ("日\u200d報", "not seen"),
        ("می\u200c\u200cخواهم", "not seen"),
        ("con", "Windows keeps the name con"),
        ("NUL", "Windows keeps the name NUL"),
        ("aux.$run", "Windows keeps the name aux"),
        ("lpt1", "Windows keeps the name lpt1"),
        ("COM¹", "Windows keeps the name COM¹"),
        ("a" * 147, "too long"),
        ("日" * 80, "too long"),
    ],
)
def test_what_gives_no_good_name_is_refused(pattern: str, said: str):
    with pytest.raises(PatternError) as refused:
        named(pattern)
    assert said in refused.value.sentence
    assert refused.value.sentence.endswith(".")
    with pytest.raises(PatternError):
        pattern_check(pattern, name="x", suffix=".csv")


def test_all_words_are_listed():
    with pytest.raises(PatternError) as refused:
        named("$what")
    assert all(f"${word}" in refused.value.sentence for word in WORDS)


def test_a_name_of_the_export_can_be_one_of_windows():
    with pytest.raises(PatternError):
        pattern_check("$name", name="Con", suffix=".csv")
    pattern_check("$name-$run", name="Con", suffix=".csv")


def test_as_long_as_may_be():
    assert len(named("a" * 146)) == CHARACTERS_MAX


def test_a_pattern_is_checked_for_all_runs_to_come():
    assert len(named("$run" * 8)) < 30
    with pytest.raises(PatternError):
        pattern_check("$run" * 8, name="x", suffix=".csv")


@pytest.mark.parametrize(
    ("pattern", "constant"),
    [("people", True), ("$name", True), ("people_$run", False), ("$yyyyMMdd", False), ("$name_$ss", False)],
)
def test_which_patterns_name_all_runs_alike(pattern: str, constant: bool):
    assert is_constant(pattern) is constant


@pytest.mark.parametrize("stem", ["a" * 146, "日" * 78, "é" * 118])
def test_a_number_has_room_in_any_name(stem: str):
    for number in ("7", f"{LONGEST_RUN}-2"):
        name = with_number(f"{stem}.csv", number, suffix=".csv")
        assert name.endswith(f"{stem[0]}_{number}.csv")
        assert len(name) <= CHARACTERS_MAX
        assert len(name.encode()) <= BYTES_MAX
    assert with_number("a.csv.gz", "7", suffix=".csv.gz") == "a_7.csv.gz"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Weekly opt-outs!", "weekly-opt-outs"),
        ("Größe / Ausgabe", "größe-ausgabe"),
        ("日報", "日報"),
        ("../../etc", "etc"),
        ("$run", "run"),
        ("!?", "export"),
        ("", "export"),
        ("日" * 120, "日" * 36),
        ("a\u3164b\u00ad\ufe0f", "ab"),
        ("\uffa0\u115f", "export"),
        ("x" * 120, "x" * 110),
    ],
    ids=["words", "umlauts", "japanese", "path", "dollar", "marks", "empty", "long-ja", "unseen", "all-unseen", "long"],
)
def test_the_name_of_an_export_in_that_of_a_file(name: str, expected: str):
    assert slug(name) == expected


@settings(max_examples=500, deadline=None)
@given(st.text(max_size=120), st.sampled_from([".csv", ".csv.gz", ".ndjson.gz", ".parquet.gz", ".zip"]))
def test_any_name_does_with_the_usual_pattern(name: str, suffix: str):
    pattern_check(NAME_PATTERN, name=name, suffix=suffix)


words = st.sampled_from([f"${word}" for word in WORDS] + [".csv", ".gz", ".", "-", "con", "/", " "])


@settings(max_examples=500, deadline=None)
@given(st.lists(words | st.text(max_size=10), max_size=12).map("".join), st.text(max_size=120))
def test_a_name_is_good_or_refused(pattern: str, name: str):
    try:
        result = named(pattern, name=name, suffix=".csv.gz")
    except PatternError:
        return
    assert result.endswith(".csv.gz")
    assert 0 < len(result) <= CHARACTERS_MAX
    assert len(result.encode()) <= BYTES_MAX
    assert unicodedata.is_normalized("NFC", result)
    assert result == result.strip()
    assert result[0] != "."
    assert not set(result) & set('<>:"/\\|?*\x00\r\n$')
