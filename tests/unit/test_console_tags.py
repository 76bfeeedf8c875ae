"""Tags that draw: icons, pills, plots. What comes from people is escaped."""

from __future__ import annotations

import pytest

from batchjobs.states import Status
from console.templatetags.console import LOOKS, Bar, bars, icon, pill, shell, split_bar


def test_every_status_has_a_look() -> None:
    assert set(Status.values) <= set(LOOKS)


def test_no_two_statuses_of_a_job_share_an_icon() -> None:
    assert len({LOOKS[status][1] for status in Status.values}) == len(Status)


def test_labels_are_escaped() -> None:
    assert "<script>" not in icon("ok", label="<script>")
    assert "<script>" not in pill("done", "<script>")
    assert "<script>" not in bars([Bar(1, "<script>")], "<script>")


def test_an_unknown_icon_is_a_bug() -> None:
    with pytest.raises(KeyError):
        icon("unicorn")


def test_split_bar_shows_what_is_small() -> None:
    drawn = split_bar(1_000_000, 1)
    assert 'width="0.80%"' in drawn
    assert split_bar(0, 0) == ""


def test_bars_have_no_inline_style_and_survive_zero() -> None:
    drawn = bars([Bar(0, "nothing"), Bar(0, "nothing")], "Rows")
    assert "style=" not in drawn
    assert 'height="0.0"' in drawn


def test_shell_lines_are_marked_and_escaped() -> None:
    html = shell('# a <b>\ncurl -u "$K:\\"x\\"" -d \'{"a": 1}\' < f')
    assert html == (
        '<span class="cm"># a &lt;b&gt;</span>\ncurl <span class="opt">-u</span> '
        '<span class="str">&quot;$K:\\&quot;x\\&quot;&quot;</span> <span class="opt">-d</span> '
        '<span class="str">&#x27;{&quot;a&quot;: 1}&#x27;</span> &lt; f'
    )
