"""Measure how often the search misses what the whole grid holds, over orders of the sentences.

``make orders`` runs the steering chapter up to its verdict on M, then grades every setting of its
grid on every validation sentence, and lets the search choose among these grades for many orders of
the sentences. The result goes to ``book/search_orders.json``, which the scorecard shows.
"""

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import nbformat
from judge_models import CHAPTERS, ROOT, execute, recorded, shortened

from saif_helpers.contents import Content
from saif_helpers.grading import PER_OUTPUT, Grades
from saif_helpers.study import search as search_module
from saif_helpers.study.claims import verdict
from saif_helpers.study.search import search
from saif_helpers.study.settings import SteeringSetting, grade_settings
from saif_helpers.study.steering_claim import Bars, steering_criteria
from saif_helpers.study.sweep import best_setting, sweep

RESULT = ROOT / "book" / "search_orders.json"
ORDERS = 200
CELL = """\
import sys

sys.path.insert(0, {tools!r})
from search_orders import over_orders

how = {{"rounds": ROUNDS, "by": kind}} | longest
found = over_orders(
    model, instruction, rankings, grid, BETAS, validation, test, grades, BARS, {n}, **how
)
glue_data("orders", found)"""
"""What is run behind the chapter's verdict, with its names."""


class KnownGrades:
    """Grades of settings on all contents, made once, and looked up for any part of them."""

    def __init__(self, model: Any, instruction: Any, contents: Any, sources: Any, **options: Any):
        """Keep the arguments of `grade_settings`, but for the settings."""
        self.made = (model, instruction, contents, sources)
        self.options = options
        self.whole: dict[SteeringSetting, Grades] = {}
        self.place = {content.text: at for at, content in enumerate(contents)}

    def add(self, settings: Sequence[SteeringSetting]) -> None:
        """Grade the settings that are not known yet, on all contents."""
        new = [setting for setting in settings if setting not in self.whole]
        if new:
            grades = grade_settings(*self.made, new, **self.options)
            self.whole |= zip(new, grades, strict=True)

    def look_up(
        self, _model: Any, _instruction: Any, contents: Any, _sources: Any, settings: Any, **_: Any
    ) -> list[Grades]:
        """Return what `grade_settings` would, for some of the contents in any order."""
        self.add(settings)
        places = [self.place[content.text] for content in contents]
        return [part(self.whole[setting], places) for setting in settings]


def part(grades: Grades, places: Sequence[int]) -> Grades:
    """Return the grades of some outputs.

    Args:
        grades: Grades of all outputs.
        places: Which outputs, in their new order.

    Returns:
        Their grades.
    """
    columns = {name: tuple(getattr(grades, name)[at] for at in places) for name in PER_OUTPUT}
    return replace(grades, **columns)


def over_orders(
    model: Any,
    instruction: Any,
    sources: Mapping[int, Any],
    grid: Sequence[SteeringSetting],
    betas: Sequence[float],
    validation: Sequence[Content],
    test: Sequence[Content],
    grades: Mapping[str, Grades],
    bars: Bars,
    n_orders: int,
    **how: Any,
) -> dict:
    """Let the search choose for many orders of the validation sentences.

    Args:
        model: The model and its SAEs.
        instruction: The instruction.
        sources: Layer to ranking.
        grid: The settings to try.
        betas: Tried last, at the best setting.
        validation: Contents on which settings are chosen.
        test: Contents on which they are reported.
        grades: Method to grades on the test contents, for the verdict.
        bars: The paper's bars.
        n_orders: Number of orders.
        **how: Rounds and the share that decides, and the options of a generation.

    Returns:
        The best setting of the whole grid, and what the orders chose, most frequent first: each
        with its shares and its verdict on C3.
    """
    rounds, by = how.pop("rounds"), how.pop("by")
    known = KnownGrades(model, instruction, validation, sources, **how)
    known.add(grid)
    chosen: Counter[SteeringSetting] = Counter()
    with patch.object(search_module, "grade_settings", known.look_up):
        arguments = (model, instruction, validation, sources, grid)
        best = best_setting(search(*arguments, rounds=rounds[-1:], by=by), by)
        for seed in range(n_orders):
            shuffled = random.Random(seed).sample(validation, len(validation))
            arguments = (model, instruction, shuffled, sources, grid)
            chosen[best_setting(search(*arguments, rounds=rounds, by=by), by)] += 1
    rows = []
    for setting, orders in chosen.most_common():
        tried = [replace(setting, beta=beta) for beta in betas]
        last = best_setting(sweep(model, instruction, validation, sources, tried, **how), by)
        (result,) = grade_settings(model, instruction, test, sources, [last], **how)
        lines = steering_criteria(dict(grades) | {"SAIF": result}, "SAIF", by, bars)
        share = known.whole[setting].proportion(by).value
        rows.append({"setting": asdict(last), "orders": orders, "validation": share})
        rows[-1] |= {"test": result.proportion(by).value}
        rows[-1] |= {"verdict": verdict([*lines["beats the controls"], *lines["reaches the bars"]])}
    most = known.whole[best].proportion(by).value
    return {
        "settings": len(known.whole),
        "contents": len(validation),
        "orders": n_orders,
        "decided by": by,
        "whole grid": {"setting": asdict(best), "validation": most},
        "chosen": rows,
    }


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, measure and write.

    Args:
        arguments: The command line; by default this process's.

    Returns:
        0 if all was measured.
    """
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--orders", type=int, default=ORDERS)
    parser.add_argument("--result", type=Path, default=RESULT)
    given = parser.parse_args(arguments)
    chapter = nbformat.read(ROOT / "book" / f"{CHAPTERS['C3']}.ipynb", as_version=4)
    notebook = shortened(chapter, "C3", "M", "french")
    cell = CELL.format(tools=str(ROOT / "tools"), n=given.orders)
    notebook.cells.append(nbformat.v4.new_code_cell(cell))
    execute(notebook)
    text = json.dumps(recorded(notebook, "orders"), indent=1) + "\n"
    given.result.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
