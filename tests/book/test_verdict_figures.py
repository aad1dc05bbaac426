import re

import matplotlib.pyplot as plt
import pytest
from matplotlib.colors import to_hex

from saif_helpers.book.verdict_figures import COLOURS, forest, side_by_side, verdict_matrix
from saif_helpers.intervals import Interval
from saif_helpers.study.claims import Criterion

LINKS = {"C1": ("03.html", "distinct <latents>"), "C2": ("06.html", "their meaning")}
VERDICTS = {
    ("M", "french"): {"C1": "supported", "C2": "not supported"},
    ("M", "<b>"): {"C1": "undecided"},
    ("S", "french"): {"C2": "supported"},
}


def test_every_verdict_has_a_sign_a_word_and_a_class():
    page = verdict_matrix(VERDICTS, LINKS)
    rows = re.findall(r"<tr.*?</tr>", page)[1:]
    cells = [re.findall(r'<td class="([\w-]+)"', row) for row in rows]
    assert cells == [
        ["supported", "not-supported"],
        ["undecided", "not-judged"],
        ["not-judged", "supported"],
    ]
    assert [row.count("✓") + row.count("✗") + row.count("?") for row in rows] == [2, 1, 1]
    assert page.count('<span class="visually-hidden">not judged') == 2
    assert 'href="06.html"' in page


def test_a_model_is_named_once_and_no_text_is_read_as_html():
    page = verdict_matrix(VERDICTS, LINKS)
    assert page.count("<b>M</b>") == page.count("<b>S</b>") == 1
    assert "&lt;b&gt;" in page
    assert "distinct &lt;latents&gt;" in page


def check(low, value, high, bar=0.3, side="above", what="strict"):
    return Criterion(what, Interval(value, low, high, 60), side, bar)


def test_a_forest_shows_each_interval_its_bar_and_its_outcome():
    rows = {
        "M": [check(0.4, 0.5, 0.6), check(0.0, 0.1, 0.2, 0.05, "below", "random")],
        "S": [check(0.1, 0.2, 0.25), check(0.1, 0.2, 0.3, 0.05, "below", "random")],
    }
    first, second = forest(rows)
    assert [label.get_text() for label in first.get_yticklabels()] == ["M", "S"]
    lines = [
        line.get_xdata().tolist() if hasattr(line.get_xdata(), "tolist") else list(line.get_xdata())
        for line in first.get_lines()
    ]
    assert lines[0] == [0.4, 0.6]
    assert lines[2] == [0.3, 0.3]
    colours = [to_hex(line.get_color()).upper() for line in first.get_lines()]
    assert (colours[0], colours[3]) == (COLOURS[True].upper(), COLOURS[False].upper())
    assert to_hex(second.get_lines()[0].get_color()).upper() == COLOURS[None].upper()
    assert second.get_lines()[1].get_markerfacecolor() == "white"
    assert "random (below" in second.get_xlabel()
    low, high = first.get_xlim()
    assert low < 0.0
    assert high > 0.6
    plt.close("all")


def test_rows_may_have_fewer_checks():
    rows = {"M": [check(0.4, 0.5, 0.6)] * 3, "S": [check(0.1, 0.2, 0.25)]}
    axes = forest(rows)
    assert len(axes) == 3
    assert len(axes[2].get_lines()) == 3
    plt.close("all")


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="empty"):
        forest({})


def test_side_by_side_a_dot_lies_at_its_distance_from_the_bar_on_the_side_of_the_claim():
    found = [check(0.4, 0.5, 0.6), check(0.2, 0.35, 0.5)]
    below = [check(0.0, 0.01, 0.03, 0.05, "below")]
    groups = {
        "real": {"steers": found, "chance": below},
        "small": {"steers": [check(0.0, 0.1, 0.2)], "other": found},
    }
    ax = side_by_side(groups)
    dots = [line for line in ax.get_lines() if len(line.get_xdata()) == 1]
    where = [(round(float(d.get_xdata()[0]), 3), float(d.get_ydata()[0])) for d in dots]
    assert where == [(0.2, -0.125), (0.05, -0.125), (0.04, 0.875), (-0.2, 0.125)]
    assert [d.get_markerfacecolor() == "white" for d in dots] == [False, True, False, False]
    assert len({d.get_color() for d in dots}) == len({d.get_marker() for d in dots}) == 2
    assert [label.get_text() for label in ax.get_yticklabels()] == ["steers", "chance"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["real", "small"]
    plt.close("all")
