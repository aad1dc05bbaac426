"""What the record says in short: how often SAIF's outputs pass, and whose pass less often."""

from collections.abc import Sequence
from statistics import mean

from saif_helpers.book.results import Row
from saif_helpers.study.steering_claim import FIRST_WORD, MEANS, PROMPTING, RANDOM

SAIF = "SAIF"
GROUPS = ("SmolLM2", "small networks")
"""The groups of models that the book sets side by side, the real one first."""
SMALL = ("S", "S-1", "S-2", "M", "L")
"""The organism's models."""
REAL = "smollm2-135m-instruct 2304"
"""SmolLM2 with the SAEs of every layer; its SAEs of other widths are on one layer or two."""


def deciding_shares(rows: Sequence[Row], method: str) -> list[float]:
    """Collect a method's share of outputs that pass, by the grade that decides.

    Args:
        rows: Results of C3.
        method: The method.

    Returns:
        A share for each result.
    """
    return [row.shares[method][row.shares["decided by"]][0] for row in rows]


def times_ahead(rows: Sequence[Row], rival: str) -> int:
    """Count the results of C3 where SAIF is ahead of a rival with its whole interval.

    Args:
        rows: Results of C3.
        rival: A control or a simple opponent.

    Returns:
        How many.
    """
    checks = [
        check for row in rows for found in (row.checks, *row.also.values()) for check in found
    ]
    return sum(check.holds is True for check in checks if check.what.endswith(f"minus {rival}"))


def in_short(rows: Sequence[Row], where: str) -> str:
    """Say in one sentence how often SAIF's outputs pass, and whose pass less often.

    Args:
        rows: Results of C3.
        where: Their models, to begin the sentence with, such as ``"On SmolLM2"``.

    Returns:
        The sentence.
    """
    shares = {m: f"{mean(deciding_shares(rows, m)):.0%}" for m in (SAIF, PROMPTING, RANDOM)}
    rivals = (RANDOM, MEANS, FIRST_WORD)
    ahead = {rival: times_ahead(rows, rival) or "none" for rival in rivals}
    kinds = {row.shares["decided by"] for row in rows}
    passes = f"pass {kinds.pop()}ly" if len(kinds) == 1 else "pass"
    return (
        f"{where}, SAIF makes {shares[SAIF]} of the outputs {passes} on average, prompting "
        f"{shares[PROMPTING]}, random latents {shares[RANDOM]}; SAIF is surely ahead of random "
        f"latents in {ahead[RANDOM]} of {len(rows)} cases, of the difference in means in "
        f"{ahead[MEANS]}, and of a forced first word in {ahead[FIRST_WORD]}."
    )


def group_of(model: str) -> str | None:
    """Return the group of models that a result belongs to.

    Args:
        model: The model of a result, see `results.Row.model`.

    Returns:
        ``"SmolLM2"`` or ``"small networks"``; None for another model.
    """
    return "SmolLM2" if model == REAL else "small networks" if model in SMALL else None


def groups(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Sort results of C3 into the real model's and the small networks'.

    Args:
        rows: Results, see `results.read_all`.

    Returns:
        ``"SmolLM2"`` and ``"small networks"`` to results of C3; a group without any is left out.
    """
    steering = [row for row in rows if row.name == "C3"]
    found = {group: [r for r in steering if group_of(r.model) == group] for group in GROUPS}
    return {group: members for group, members in found.items() if members}


def sentences(rows: Sequence[Row]) -> dict[str, str]:
    """Say what the record says in short, in a sentence for each group of models.

    Args:
        rows: Results, see `results.read_all`.

    Returns:
        The sentence of `in_short` for each group of `groups`.
    """
    where = {
        "SmolLM2": "On SmolLM2-135M-Instruct, a real model",
        "small networks": "On small networks that are known completely",
    }
    return {group: in_short(members, where[group]) for group, members in groups(rows).items()}
