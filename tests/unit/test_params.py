import pytest

from accounts.params import json_object


def test_an_object_is_read():
    assert json_object('{"delimiter": ";", "n": [1, 2.5, null, true]}') == {
        "delimiter": ";",
        "n": [1, 2.5, None, True],
    }
    assert json_object("  ") == {}


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "5",
        "{",
        '{"a": NaN}',
        '{"a": Infinity}',
        '{"a": 1e999}',
        '{"a": "\\u0000"}',
        '{"\\u0000": 1}',
        '{"a": "\\ud800"}',
        '{"a": ' + "9" * 5000 + "}",
        '{"a": ' + "[" * 40 + "]" * 40 + "}",
        "[" * 15_000,
        '{"a": "' + "x" * 16_000 + '"}',
    ],
)
def test_what_the_database_cannot_hold_is_refused(text: str):
    with pytest.raises(ValueError):
        json_object(text)
