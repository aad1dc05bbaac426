"""Figures of the book: intervals as bars or lines, curves by rank, and heat maps."""

from collections.abc import Mapping
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, PercentFormatter, StrMethodFormatter
from torch import Tensor

from saif_helpers._internal.errors import ArgumentError
from saif_helpers.display.style import (
    PALETTE,
    colour_of,
    draw_bars,
    legend_above,
    method_colour,
    share_axis,
    style,
)

__all__ = ["PALETTE", "heatmap", "interval_bars", "interval_lines", "sensitivity_curve", "style"]

GREY = "#8A8F98"
MARKERS, DASHES = ("o", "s", "^", "D", "v", "P", "X"), ("-", "--", "-.", ":")


def interval_bars(
    frame: pd.DataFrame,
    x: str,
    hue: str | None = None,
    *,
    value: str = "value",
    low: str = "low",
    high: str = "high",
    xlabel: str = "",
    ylabel: str = "Share of outputs",
    horizontal: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Draw a bar with its interval for each row, in groups along x.

    Each method has its own colour (`style.METHODS`), where x or hue names one. Where the hue is a
    grade, bars are filled (strict), hollow (loose) or hatched (broken).

    Args:
        frame: A row for each bar; x and hue keep the order of the rows.
        x: Column of the groups.
        hue: Column that distinguishes the bars of a group; None for one bar per group.
        value: Column of the heights, shares from 0 to 1.
        low: Column of the intervals' lower bounds.
        high: Column of the upper bounds.
        xlabel: Label of the axis of groups.
        ylabel: Label of the axis of shares.
        horizontal: Whether bars are horizontal, for many groups or long names.
        ax: Axes to draw into; new ones by default.

    Returns:
        The axes. Each bar container has the hue's label.

    Raises:
        ValueError: If the frame is empty, has two rows for one bar, or an interval does not contain
            its value.
    """
    groups = _checked_groups(frame, x, hue, value, low, high)
    ax = ax or plt.subplots()[1]
    ticks = list(dict.fromkeys(frame[x]))
    width = 0.8 / len(groups)
    for index, (name, rows) in enumerate(groups.items()):
        offset = (index - (len(groups) - 1) / 2) * width
        places = [ticks.index(tick) + offset for tick in rows[x]]
        colours = [method_colour(str(tick)) or colour_of(name, index) for tick in rows[x]]
        draw_bars(ax, places, rows[[value, low, high]], width * 0.92, colours, name, horizontal)
    axis, shares = (ax.yaxis, ax.xaxis) if horizontal else (ax.xaxis, ax.yaxis)
    axis.set_ticks(range(len(ticks)), [str(tick) for tick in ticks])
    axis.grid(visible=False)
    axis.set_label_text(xlabel)
    shares.set_label_text(ylabel)
    share_axis(ax, "x" if horizontal else "y", frame[low].min())
    if horizontal:
        ax.set_ylim(len(ticks) - 0.5, -0.5)
    if hue:
        legend_above(ax, hue)
    return ax


def interval_lines(
    frame: pd.DataFrame,
    x: str,
    hue: str | None = None,
    *,
    value: str = "value",
    low: str = "low",
    high: str = "high",
    xlabel: str = "",
    ylabel: str = "Share of outputs",
    ax: Axes | None = None,
) -> Axes:
    """Draw a line with its interval as a band for each hue, along a numeric x.

    Each method has its own colour (`style.METHODS`), where the hue names one; strict and loose
    shares are solid with filled and dashed with hollow markers.

    Args:
        frame: A row for each point.
        x: Column of numbers, such as layers or strengths.
        hue: Column that distinguishes the lines; None for one line.
        value: Column of the heights, shares from 0 to 1.
        low: Column of the intervals' lower bounds.
        high: Column of the upper bounds.
        xlabel: Label of the x axis, with its unit.
        ylabel: Label of the y axis.
        ax: Axes to draw into; new ones by default.

    Returns:
        The axes.

    Raises:
        ValueError: As `interval_bars`.
    """
    groups = _checked_groups(frame, x, hue, value, low, high)
    ax = ax or plt.subplots()[1]
    looks = zip(cycle(MARKERS), cycle(DASHES), groups.items(), strict=False)
    for index, (marker, dash, (name, rows)) in enumerate(looks):
        rows, colour = rows.sort_values(x), colour_of(name, index)
        face = "white" if name == "loose" else colour
        ax.plot(rows[x], rows[value], dash, color=colour, marker=marker, label=name, mfc=face)
        ax.fill_between(rows[x], rows[low], rows[high], color=colour, alpha=0.18, linewidth=0)
    ax.set(xlabel=xlabel or x, ylabel=ylabel)
    ax.xaxis.set_major_locator(FixedLocator(sorted(set(frame[x]))))
    share_axis(ax, "y", frame[low].min())
    if hue:
        legend_above(ax, hue)
    return ax


def sensitivity_curve(
    curves: Mapping[str, Float[Tensor, "latents"]],
    k: int | None = None,
    *,
    n: int = 100,
    ylabel: str = "Sensitivity (share of pairs)",
    ax: Axes | None = None,
) -> Axes:
    """Draw sensitivities by rank, the best latent first.

    Args:
        curves: Name to the sensitivities in the order of their ranks.
        k: Number of selected latents, marked by a line.
        n: Number of ranks to show.
        ylabel: Label of the y axis.
        ax: Axes to draw into; new ones by default.

    Returns:
        The axes; x is the rank, from 1, on a logarithmic scale.
    """
    ax = ax or plt.subplots()[1]
    for colour, dash, (name, values) in zip(
        cycle(PALETTE), cycle(DASHES), curves.items(), strict=False
    ):
        shown = values[:n].cpu().numpy()
        ax.plot(np.arange(1, len(shown) + 1), shown, dash, color=colour, label=name, linewidth=2)
    if k is not None:
        ax.axvline(k, color=GREY, linewidth=1)
        ax.annotate(
            f"k = {k}",
            (k, 1),
            xycoords=ax.get_xaxis_transform(),
            xytext=(4, 3),
            textcoords="offset points",
        )
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.set(xlabel="Rank of the latent", ylabel=ylabel)
    share_axis(ax, "y", 0.0)
    ax.legend()
    return ax


def heatmap(
    table: pd.DataFrame,
    *,
    label: str = "Share of pairs",
    vmin: float = 0.0,
    vmax: float = 1.0,
    fmt: str = ".0%",
    ax: Axes | None = None,
) -> Axes:
    """Draw a table of numbers as an annotated heat map.

    Args:
        table: The numbers; the names of its index and columns label the axes.
        label: What the numbers are, with their unit.
        vmin: Value of the lightest colour.
        vmax: Value of the darkest colour.
        fmt: How a number is written, as in a format string.
        ax: Axes to draw into; new ones by default.

    Returns:
        The axes; the first row is on top.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(6.8, 1.4 + 0.36 * len(table)))
    sns.heatmap(
        table.astype(float),
        cmap="Blues",
        vmin=vmin,
        vmax=vmax,
        annot=True,
        fmt=fmt,
        annot_kws={"fontsize": 10},
        linewidths=0.5,
        cbar_kws={"label": label} | ({"format": PercentFormatter(1.0)} if "%" in fmt else {}),
        ax=ax,
    )
    ax.tick_params(length=0, labelrotation=0)
    return ax


def _checked_groups(
    frame: pd.DataFrame, x: str, hue: str | None, value: str, low: str, high: str
) -> dict[str, pd.DataFrame]:
    """Return the rows of each hue, in the order of the frame."""
    keys = [x] if hue is None else [x, hue]
    if frame.empty:
        raise ArgumentError("an empty table given; give at least one row", "frame")
    if frame.duplicated(keys).any():
        double = frame.loc[frame.duplicated(keys), keys].iloc[0].to_dict()
        raise ArgumentError(
            f"more than one row has {double}; give one for each {' and '.join(keys)}", "frame"
        )
    outside = frame[(frame[low] > frame[value] + 1e-9) | (frame[value] > frame[high] + 1e-9)]
    if len(outside):
        raise ArgumentError(
            f"the interval does not contain the value in rows {list(outside.index)}", "frame"
        )
    if hue is None:
        return {"_nolegend_": frame}
    return {str(name): rows for name, rows in frame.groupby(hue, sort=False)}
