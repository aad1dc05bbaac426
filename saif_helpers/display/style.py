"""Colours and conventions of the book's figures.

Colours are Okabe and Ito's, which colour-blind readers can distinguish, each with a second cue
(marker, dash). Figures have a white background, which the page keeps in dark mode. `style` makes
their files reproducible.
"""

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours, darkest first, without the yellow, which is illegible on white."""


def style() -> None:
    """Set the style of all figures and make their SVG files reproducible.

    This uses the packaged matplotlib style ``saif_helpers.data.saif``. In a notebook, figures are
    SVG without a creation date. Call it once, in the set-up cell.
    """
    plt.style.use("saif_helpers.data.saif")
    if "inline" in mpl.get_backend():
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("svg", metadata={"Date": None})


def share_axis(ax: Axes, axis: str, lowest: float) -> None:
    """Scale an axis of shares from 0 (or below, for differences) to 1, in percent."""
    start = 0.0 if lowest >= 0 else lowest - 0.05
    (ax.set_xlim if axis == "x" else ax.set_ylim)(start, 1.03)
    (ax.xaxis if axis == "x" else ax.yaxis).set_major_formatter(PercentFormatter(1.0))


def legend_above(ax: Axes, title: str) -> None:
    """Place the legend above the axes, in as many columns as fit."""
    handles, labels = ax.get_legend_handles_labels()
    long = sum(map(len, labels)) > 40
    ax.legend(
        handles,
        labels,
        title=title,
        ncols=2 if long else min(len(labels), 4),
        loc="lower left",
        bbox_to_anchor=(0, 1),
    )
