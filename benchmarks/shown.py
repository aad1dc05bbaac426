"""The contents of the page on speed: the machine, the rows by part, and the figure."""

import json
from itertools import cycle
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from benchmarks.targets import OURS, Rows, Spread, spread
from benchmarks.timing import grouped_notes
from saif_helpers.display.figures import GREY, MARKERS
from saif_helpers.display.style import INK, PALETTE

NOT_MEASURED = "Not measured yet. `make bench` measures it."
COLUMNS = ("work", "way", "median (least to most)", "unit", "relative to the limit")


def read(path: Path) -> dict:
    """Read the record of a run.

    Args:
        path: The output file of ``make bench``.

    Returns:
        The record; an empty one if there is no file.
    """
    if not path.exists():
        return {"about": {}, "rows": []}
    return json.loads(path.read_text(encoding="utf-8"))


def sentence(about: dict) -> str:
    """Return a sentence on the machine and versions of a run.

    Args:
        about: The description of the machine in the record.

    Returns:
        The sentence, in Markdown.
    """
    if not about:
        return NOT_MEASURED
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    text = (
        f"Measured on {about['machine']}, {about['cores']} cores, PyTorch on {about['threads']} "
        f"threads, {about['memory_gib']} GiB of memory, with {versions}. Last run: "
        f"{about['date']}, commit {about['commit']}."
    )
    earlier: dict[str, list[str]] = {}
    for part, told in about.get("parts", {}).items():
        if any(told[key] != about[key] for key in ("machine", "date", "commit")):
            run = f"{told['date']}, commit {told['commit']}, on {told['machine']}"
            earlier.setdefault(run, []).append(part)
    for run, parts in earlier.items():
        text += f" Part{'s' * (len(parts) > 1)} {', '.join(parts)}: {run}."
    return text


def rows_table(rows: Rows, part: str) -> pd.DataFrame:
    """Return a table of a part's rows.

    Args:
        rows: The rows of a run.
        part: Letter of the part.

    Returns:
        The table, without repeated names of works and without empty columns.
    """
    found, before = [], None
    for row in (row for row in rows if row["part"] == part):
        line = {"work": "" if row["work"] == before else row["work"], "way": row["way"]}
        line["median (least to most)"] = "no figure, see below"
        if row["values"]:
            line |= {COLUMNS[2]: str(spread(row["values"])), "unit": row["unit"]}
        if row["ratio"]:
            line["relative to the limit"] = str(Spread(**row["ratio"]))
        found.append(line)
        before = row["work"]
    table = pd.DataFrame(found, columns=list(COLUMNS)).dropna(axis="columns", how="all")
    return table.fillna("")


def notes(rows: Rows, part: str) -> str:
    """Return a part's notes: whether the methods agree, and why a method cannot do a task.

    Args:
        rows: The rows of a run.
        part: Letter of the part.

    Returns:
        A list in Markdown of the distinct notes, each with the methods and tasks it applies to.
    """
    of_part = [row for row in rows if row["part"] == part]
    return "\n".join(
        f"- **{way}** ({'; '.join(works)}): {note}" for way, works, note in grouped_notes(of_part)
    )


def throughput_figure(rows: Rows) -> Figure | None:
    """Draw the throughput of every method relative to the limit, with its range over rounds.

    Args:
        rows: The rows of a run.

    Returns:
        The figure, with a panel for each task and a line for each method. None without such rows.
    """
    works: dict[str, list[dict]] = {}
    for row in rows:
        if row["ratio"] and row["unit"].endswith("/s") and row["part"] in {"a", "b"}:
            works.setdefault(row["work"], []).append(row)
    if not works:
        return None
    heights = [len(ways) + 0.8 for ways in works.values()]
    figure, panels = plt.subplots(
        len(works),
        figsize=(6.8, 0.9 + 0.34 * sum(heights)),
        sharex=True,
        squeeze=False,
        height_ratios=heights,
    )
    looks = _looks(rows)
    for axes, (work, ways) in zip(panels[:, 0], works.items(), strict=True):
        for place, row in enumerate(ways):
            ratio, (colour, marker) = row["ratio"], looks[row["way"]]
            around = [[ratio["median"] - ratio["least"]], [ratio["most"] - ratio["median"]]]
            options = {"color": colour, "ecolor": INK, "capsize": 3, "markersize": 7}
            axes.errorbar(ratio["median"], place, xerr=around, fmt=marker, **options)
        axes.axvline(1, color=GREY, linewidth=1.2, linestyle="--")
        axes.set_xscale("log")
        axes.set_yticks(range(len(ways)), [row["way"] for row in ways])
        axes.set_ylim(len(ways) - 0.4, -0.6)
        axes.set_title(work, loc="left", fontsize=11)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("Throughput relative to the limit (dashed line)")
    return figure


def _looks(rows: Rows) -> dict[str, tuple[str, str]]:
    """Return a colour and a marker for each method; the package gets the first."""
    ways = sorted(dict.fromkeys(row["way"] for row in rows), key=lambda way: way != OURS)
    return dict(zip(ways, zip(cycle(PALETTE), cycle(MARKERS), strict=False), strict=False))
