"""Figures show the numbers that they are given, at the place where a reader looks for them."""

import io
from statistics import mean

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex, to_rgb
from refusals import refused

from saif_helpers.display import figures

FRAME = pd.DataFrame(
    {
        "instruction": ["french", "french", "json", "json"],
        "position": ["before", "after", "before", "after"],
        "value": [0.9, 0.8, 0.5, 0.0],
        "low": [0.7, 0.6, 0.3, 0.0],
        "high": [0.95, 0.9, 0.7, 0.2],
    }
)


@pytest.fixture(autouse=True)
def styled():
    with plt.rc_context():
        figures.style()
        yield
        plt.close("all")


def whiskers(bars) -> list[list[float]]:
    """Return the two ends of each bar's interval along the axis of values."""
    (segments,) = bars.errorbar[2]
    along = 0 if bars.orientation == "horizontal" else 1
    return [[round(point[along], 9) for point in line] for line in segments.get_segments()]


def test_bars_have_the_values_and_whiskers_the_ends():
    ax = figures.interval_bars(FRAME, "instruction", "position")
    before, after = (c for c in ax.containers if hasattr(c, "errorbar") and c.errorbar)
    assert [bar.get_height() for bar in before] == [0.9, 0.5]
    assert [bar.get_height() for bar in after] == [0.8, 0.0]
    assert whiskers(before) == [[0.7, 0.95], [0.3, 0.7]]
    assert whiskers(after) == [[0.6, 0.9], [0.0, 0.2]]
    # side by side, centred on the group's tick, the first hue left
    for left, right, tick in zip(before, after, ax.get_xticks(), strict=True):
        assert left.get_x() + left.get_width() < right.get_x()
        middle = (left.get_x() + right.get_x() + right.get_width()) / 2
        assert middle == pytest.approx(tick)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["french", "json"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["before", "after"]
    assert to_hex(before[0].get_facecolor()) == figures.PALETTE[0].lower()
    assert to_hex(after[0].get_facecolor()) == figures.PALETTE[1].lower()


def test_lying_bars_begin_at_the_top():
    ax = figures.interval_bars(FRAME[::2], "instruction", horizontal=True)
    (bars,) = (c for c in ax.containers if hasattr(c, "errorbar") and c.errorbar)
    assert [bar.get_width() for bar in bars] == [0.9, 0.5]
    assert whiskers(bars) == [[0.7, 0.95], [0.3, 0.7]]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]
    assert ax.get_legend() is None


def test_a_share_axis_starts_at_zero_but_shows_negative_differences():
    ax = figures.interval_bars(FRAME, "instruction", "position")
    assert ax.get_ylim() == (0.0, 1.03)
    below = FRAME.assign(low=FRAME["low"] - 0.4)
    assert figures.interval_bars(below, "instruction", "position").get_ylim()[0] < -0.4


@pytest.mark.parametrize("draw", [figures.interval_bars, figures.interval_lines])
@pytest.mark.parametrize(
    "frame",
    [FRAME[:0], pd.concat([FRAME, FRAME[:1]]), FRAME.assign(low=0.99)],
    ids=["empty", "repeated", "outside"],
)
def test_wrong_frames_are_refused(draw, frame):
    with refused("frame"):
        draw(frame, "instruction", "position")


def test_lines_go_through_the_points_in_the_order_of_x():
    frame = FRAME.assign(layer=[3, 3, 0, 0])
    ax = figures.interval_lines(frame, "layer", "position")
    before, after = ax.get_lines()
    assert before.get_xydata().tolist() == [[0, 0.5], [3, 0.9]]
    assert after.get_xydata().tolist() == [[0, 0.0], [3, 0.8]]
    assert (before.get_marker(), before.get_linestyle()) != (
        after.get_marker(),
        after.get_linestyle(),
    )
    band = ax.collections[0].get_paths()[0].vertices
    assert {(0, 0.3), (0, 0.7), (3, 0.7), (3, 0.95)} <= {tuple(point) for point in band.tolist()}
    assert ax.get_xticks().tolist() == [0, 3]


def test_curve_shows_ranks_from_one_and_marks_k():
    ax = figures.sensitivity_curve({"true": torch.tensor([1.0, 0.5, 0.25])}, k=2, n=2)
    line, mark = ax.get_lines()
    assert line.get_xydata().tolist() == [[1, 1.0], [2, 0.5]]
    assert set(mark.get_xdata()) == {2}
    assert ax.texts[0].get_text() == "k = 2"
    assert ax.xaxis.get_major_formatter()(10) == "10"


def test_heatmap_writes_each_number_in_its_cell():
    table = pd.DataFrame([[0.0, 1.0], [0.25, float("nan")]], index=["a", "b"], columns=[3, 4])
    ax = figures.heatmap(table.rename_axis(index="placement", columns="layer"))
    written = {text.get_position(): text.get_text() for text in ax.texts}
    assert written == {(0.5, 0.5): "0%", (1.5, 0.5): "100%", (0.5, 1.5): "25%"}
    light = {text.get_text(): mean(to_rgb(text.get_color())) > 0.5 for text in ax.texts}
    assert light == {"0%": False, "100%": True, "25%": False}, "light on dark, dark on light"
    assert ax.get_ylim()[0] > ax.get_ylim()[1], "the first row must be on top"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("layer", "placement")
    assert ax.collections[0].get_clim() == (0, 1)


def test_the_same_figure_is_the_same_file():
    files = []
    for _ in range(2):
        ax = figures.interval_bars(FRAME, "instruction", "position")
        file = io.BytesIO()
        ax.figure.savefig(file, format="svg", metadata={"Date": None})
        files.append(file.getvalue())
    assert files[0] == files[1]
    assert b"<text" not in files[0], "letters must be paths, or fonts differ from page to page"


def test_the_packaged_style_has_the_colours_of_the_palette():
    cycle = [entry["color"].upper() for entry in plt.rcParams["axes.prop_cycle"]]
    assert cycle == list(figures.PALETTE)
