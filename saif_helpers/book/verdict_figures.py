"""Verdicts at a glance: a matrix of claims by models, and forest plots of the checks behind it."""

import html
import math
from collections.abc import Mapping, Sequence
from textwrap import fill

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from saif_helpers.display.style import INK, PALETTE, legend_above
from saif_helpers.study.claims import Criterion, Verdict

SIGNS: dict[Verdict, str] = {"supported": "✓", "not supported": "✗", "undecided": "?"}
"""The sign in a cell of the matrix, for readers who do not see its colour."""
COLOURS = {True: PALETTE[2], False: PALETTE[1], None: "#8A8F98"}
"""Colour of a check that holds, fails or is undecided."""


def verdict_matrix(
    verdicts: Mapping[tuple[str, str], Mapping[str, Verdict]],
    links: Mapping[str, tuple[str, str]],
) -> str:
    """Write a table with a row for each model and instruction and a coloured cell for each claim.

    Args:
        verdicts: Model and instruction to the claims' verdicts; a claim that was not judged there
            may be missing.
        links: Claim to the address of its chapter and its wording, in the order of the columns.

    Returns:
        HTML, styled by ``book/_assets/saif.css``; a cell holds a sign and, for screen readers, the
        word.
    """
    heads = "".join(
        f'<th scope="col"><a href="{html.escape(address)}" title="{html.escape(wording)}">'
        f"{html.escape(claim)}</a></th>"
        for claim, (address, wording) in links.items()
    )
    rows, last = [], None
    for (model, instruction), found in verdicts.items():
        first = '<tr class="first-of-model">' if model != last else "<tr>"
        named = f"<b>{html.escape(model)}</b> " if model != last else ""
        last = model
        cells = "".join(_cell(found.get(claim)) for claim in links)
        rows.append(f'{first}<th scope="row">{named}{html.escape(instruction)}</th>{cells}</tr>')
    key = ", ".join(f"{sign} {word}" for word, sign in SIGNS.items())
    return (
        '<table class="verdict-matrix"><caption>' + key + "</caption>"
        f'<thead><tr><th scope="col">model, instruction</th>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _cell(verdict: Verdict | None) -> str:
    if verdict is None:
        return '<td class="not-judged"><span class="visually-hidden">not judged</span></td>'
    kind = verdict.replace(" ", "-")
    return (
        f'<td class="{kind}" title="{verdict}"><span aria-hidden="true">{SIGNS[verdict]}</span>'
        f'<span class="visually-hidden">{verdict}</span></td>'
    )


def forest(checks: Mapping[str, Sequence[Criterion]], width: float = 9.0) -> Sequence[Axes]:
    """Draw the measurements behind a claim: a panel for each check, a row for each model.

    Args:
        checks: Name of the row to its checks, the same ones in the same order in every row; a
            bar that differs from row to row is drawn in each.
        width: Width of the figure in inches.

    Returns:
        The axes, one for each check. An interval is filled if the check is decided, and in the
        colour of its outcome.
    """
    names, panels = list(checks), max(map(len, checks.values()))
    columns = min(panels, 2)
    lines = math.ceil(panels / columns)
    _, grid = plt.subplots(
        lines,
        columns,
        figsize=(width, lines * (1.3 + 0.26 * len(names))),
        sharey=True,
        squeeze=False,
    )
    axes = grid.flatten()[:panels]
    for spare in grid.flatten()[panels:]:
        spare.set_visible(False)
    for number, ax in enumerate(axes):
        ends = [0.0]
        for row, name in enumerate(names):
            if number >= len(checks[name]):
                continue
            check = checks[name][number]
            found, colour = check.interval, COLOURS[check.holds]
            ax.plot([found.low, found.high], [row, row], color=colour, linewidth=2)
            face = "white" if check.holds is None else colour
            ax.plot(found.value, row, "o", color=colour, markerfacecolor=face, markersize=6)
            bar = [check.threshold] * 2
            ax.plot(bar, [row - 0.45, row + 0.45], color=INK, linewidth=1.2, linestyle="--")
            ends += [found.low, found.high, check.threshold]
        room = 0.05 * (max(ends) - min(ends) or 1)
        ax.set_xlim(min(ends) - room, max(ends) + room)
        ax.set_ylim(len(names) - 0.4, -0.6)
        ax.set_yticks(range(len(names)), names)
        sides = [each[number].side for each in checks.values() if number < len(each)]
        what = next(each[number].what for each in checks.values() if number < len(each))
        ax.set_xlabel(fill(f"{what} ({sides[0]} the dashed bar)", 44), fontsize=10)
        ax.xaxis.set_major_locator(MaxNLocator(5))
        decimals = 0 if ax.get_xlim()[1] - ax.get_xlim()[0] > 0.1 else 1
        ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=decimals))
    return list(axes)


def side_by_side(
    groups: Mapping[str, Mapping[str, Sequence[Criterion]]], width: float = 7.6
) -> Axes:
    """Draw what each check measured in two or more groups of models, a dot for each result.

    Args:
        groups: Name of the group to name of the check to its results; the checks of the first
            group, and their order, are those drawn.
        width: Width of the figure in inches.

    Returns:
        The axes. A dot lies at a result's distance from its bar, on the side of holding if it is
        positive; it is filled if the check is decided.
    """
    names = list(next(iter(groups.values())))
    ax = plt.subplots(figsize=(width, 0.9 + 0.46 * len(names)))[1]
    apart = 0.5 / len(groups)
    for number, (group, checks) in enumerate(groups.items()):
        colour, marker = PALETTE[number], "osD^"[number % 4]
        for row, name in enumerate(names):
            place = row + apart * (number - (len(groups) - 1) / 2)
            for check in checks.get(name, ()):
                sign = 1 if check.side == "above" else -1
                ax.plot(
                    sign * (check.interval.value - check.threshold),
                    place,
                    marker,
                    color=colour,
                    markerfacecolor="white" if check.holds is None else colour,
                    markersize=6,
                )
        ax.plot([], [], marker, color=colour, label=group)
    ax.axvline(0, color=INK, linewidth=1.2, linestyle="--")
    ax.set_yticks(range(len(names)), [fill(name, 34) for name in names])
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.set_xlabel("Distance from the check's bar (right: on the side of the claim)")
    legend_above(ax, "")
    return ax
