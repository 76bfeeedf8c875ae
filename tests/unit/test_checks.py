"""Single values."""

from __future__ import annotations

import pytest

from batchjobs.ingestion import checks


@pytest.mark.parametrize(
    "value", ["stanisław.wójcik@wp.pl", "用户@example.com", "उपयोगकर्ता@example.com", "a+b@example.co"]
)
def test_addresses_in_any_script(value):
    assert checks.email(value) == value


@pytest.mark.parametrize(
    "value", ["a\u00a0b@example.com", "a\u200bb@example.com", "é é@example.com", "é@", "é..b@x.com", "\udce9@x.com"]
)
def test_what_is_no_letter_is_no_address(value):
    assert checks.email(value) == ""
