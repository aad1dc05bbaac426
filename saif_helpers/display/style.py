"""Colours and conventions of the book's figures.

Colours are Okabe and Ito's, which colour-blind readers can distinguish, each with a second cue
(marker, dash). Figures have a white background, which the page keeps in dark mode. `style` makes
their files reproducible.
"""

from collections.abc import Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.ticker import PercentFormatter

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours, darkest first, without the yellow, which is illegible on white."""


INK = "#222832"
GRADES = ("strict", "loose", "broken")
"""Filled, hollow and hatched, in the colour of the method."""
METHODS = {
    "SAIF": "#0072B2",
    "prompting": "#222832",
    "difference in means": "#D55E00",
    "signed latents": "#009E73",
    "contrast": "#CC79A7",
    "output score": "#9A7D0A",
    "gradient": "#5B4B8A",
    "next-token change": "#2B7A78",
    "success": "#8C564B",
    "first word forced": "#E69F00",
    "trained vector": "#009E9E",
    "random latents": "#8A8F98",
    "random direction": "#B4B9C0",
    "random SAE": "#5B7083",
    "no instruction": "#CFD3D8",
    "rising latents": "#E69F00",
    "falling latents": "#56B4E9",
}
"""One colour for each method, the same through the whole book; a name may go on after a colon."""


def method_colour(name: str) -> str | None:
    """Return a method's colour: its own, or that of the method its name begins with; else None."""
    found = [method for method in METHODS if name.startswith(method)]
    return METHODS[max(found, key=len)] if found else None


def colour_of(name: str, index: int) -> str:
    """Return a method's colour, SAIF's for a grade, for anything else one of the palette."""
    other = PALETTE[0] if name in GRADES else PALETTE[index % len(PALETTE)]
    return method_colour(name) or other


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
        title=None if title == "grade" else title,
        ncols=2 if long else min(len(labels), 4),
        loc="lower left",
        bbox_to_anchor=(0, 1),
        columnspacing=1.2,
        handlelength=1.8,
        handletextpad=0.5,
    )


def draw_bars(
    ax: Axes,
    places: Sequence[float],
    shares: pd.DataFrame,
    width: float,
    colours: Sequence[str],
    name: str,
    horizontal: bool,
) -> BarContainer:
    """Draw the bars of one hue; columns of `shares` are value, low and high."""
    value, low, high = (shares[column].to_numpy(dtype=float) for column in shares)
    error = np.stack([value - low, high - value]).clip(min=0)
    hollow = name in ("loose", "broken")
    look = {"color": ["white"] * len(places) if hollow else colours, "edgecolor": colours}
    look |= {"hatch": "////" if name == "broken" else "", "label": name, "linewidth": 1.4}
    look |= {"ecolor": INK, "capsize": 2.5, "error_kw": {"elinewidth": 1.2}}
    if horizontal:
        return ax.barh(places, value, width, xerr=error, **look)
    return ax.bar(places, value, width, yerr=error, **look)
