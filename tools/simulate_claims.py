"""Simulations of the claims' checks under chance alone, see `simulate`."""

import ast
import functools
import json
import re
from pathlib import Path
from types import CodeType

import numpy as np
import torch
from scipy.stats import binom
from simulate_intervals import Misses, differences, graded, misses, pooled, shares
from torch import Tensor

import saif_helpers as saif
from saif_helpers.analysis.separation import enrichment
from saif_helpers.analysis.specificity import response_table
from saif_helpers.analysis.stability import permute_pairs
from saif_helpers.intervals import Interval
from saif_helpers.study.claims import Criterion, bounded_share

CHAPTER = Path(__file__).resolve().parents[1] / "book" / "03_finding_the_latents.ipynb"
JUDGES = {"scores", "test_latents", "true", "swapped", "p_value", "table", "kinds", "own"}
JUDGES |= {"relevant", "distinct", "undecided", "by_chance", "checks"}
"""Variables that the chapter on finding computes between the latents and the checks of C1."""

Pairs = tuple[Tensor, Tensor]


def states(seed: int, responding: int, pairs: int = 60, latents: int = 64) -> tuple[Pairs, Pairs]:
    """Draw sparse latents of prompt pairs; some always respond, the others never do.

    Args:
        seed: Seed of the draws.
        responding: Number of latents that the instruction always activates.
        pairs: Number of pairs.
        latents: Number of latents.

    Returns:
        Identification and test pairs, each with the instruction and without it.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.relu(torch.randn(4, pairs, latents, generator=generator) - 1)
    drawn[::2, :, :responding] += 1
    drawn[1::2, :, :responding] = 0
    return (drawn[0], drawn[1]), (drawn[2], drawn[3])


def swapped(found: Pairs, tested: Pairs, seed: int) -> tuple[Pairs, Pairs]:
    """Permute the labels of identification and test pairs, with seeds unused by the chapter."""
    seed = 1_000_000 + 2 * seed
    return permute_pairs(*found, seed=seed), permute_pairs(*tested, seed=seed + 1)


def count_at_the_bar(generator: np.random.Generator, k: int = 15, pairs: int = 150) -> Criterion:
    """Draw the first check of C1 in its worst case: half of the latents exactly at the bar.

    Args:
        generator: Random generator of the responses.
        k: Number of latents. The smaller half certainly responds, so one more decides.
        pairs: Number of test pairs.

    Returns:
        The check.
    """
    on = generator.random((pairs, k)) < np.where(np.arange(k) < k // 2, 1.0, 0.5)
    table = response_table({"own": torch.from_numpy(on)}, torch.arange(k))
    surely, possibly = int((table["low"] > 0.5).sum()), int((table["high"] >= 0.5).sum())
    return Criterion("share of relevant latents", bounded_share(surely, possibly, k), "above", 0.5)


def enriched_by_chance(seed: int, latents: int = 200, k: int = 15) -> bool:
    """Return whether randomly drawn latents pass the vocabulary check of C2 by chance."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(latents, generator=generator)
    chosen = torch.randperm(latents, generator=generator)[:k]
    found = enrichment(scores, chosen, torch.arange(latents), seed=seed)
    return found["score"] > found["high"]


def steering_at_the_bars(generator: np.random.Generator, n: int = 200) -> list[Criterion]:
    """Draw the checks of C3 for a method whose true values equal all three bars."""
    strict, lag, random = generator.binomial([n, n, 2 * n], [0.3, 0.2, 0.05]).tolist()
    behind = graded([False] * lag + [True] * (n - lag))
    return [
        Criterion("strict", saif.wilson(strict, n), "above", 0.3),
        Criterion(
            "lag", saif.paired_difference(behind, graded([True] * n), "loose"), "above", -0.2
        ),
        Criterion("random", pooled(n, 2)[random], "below", 0.05),
    ]


def margin_misses(n: int, runs: int, mine: float, theirs: float) -> Misses:
    """Compute the miss rate of C4's margin: a share minus a pooled one, from both intervals' ends.

    Args:
        n: Number of contents.
        runs: Number of pooled runs, independent of each other and of the first share.
        mine: The first true share.
        theirs: The other true share.

    Returns:
        The exact probability of a miss on each side.
    """
    first, second = shares(n), pooled(n, runs)
    found = [
        Interval(one.value - other.value, one.low - other.high, one.high - other.low, n)
        for one in first
        for other in second
    ]
    counts = np.arange(n + 1), np.arange(n * runs + 1)
    weights = np.outer(binom.pmf(counts[0], n, mine), binom.pmf(counts[1], n * runs, theirs))
    return misses(found, mine - theirs, weights.ravel())


def lag_misses(
    n: int, prompting: float, bar: float, draws: int, *, nested: bool, seed: int = 0
) -> Misses:
    """Simulate C3's verdict on a method whose true share equals the bar relative to prompting.

    The bar is a fraction of prompting's *measured* share, so it varies too.

    Args:
        n: Number of contents.
        prompting: True share of prompting.
        bar: True share of the method, as a fraction of prompting's.
        draws: Number of simulations.
        nested: Whether the method passes only where prompting does; else the two are independent.
        seed: Seed of the draws.

    Returns:
        How often the whole interval is above the bar, and below it.
    """
    both = bar * prompting if nested else bar * prompting**2
    alone = bar * prompting - both
    cells = [both, prompting - both, alone, 1 - prompting - alone]
    tables = np.random.default_rng(seed).multinomial(n, np.clip(cells, 0, 1), draws).tolist()
    found = differences(n)
    above = below = 0
    for both, behind, ahead, _ in tables:
        interval, margin = found[ahead, behind], (1 - bar) * (both + behind) / n
        above += interval.low > -margin
        below += interval.high < -margin
    return Misses(above / draws, below / draws)


@functools.cache
def _chapter() -> tuple[CodeType, CodeType]:
    """Compile the chapter's configuration, and its statements from the latents to the checks.

    The configuration includes the chapter's imports from the package.
    """
    cells = json.loads(CHAPTER.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    (config,) = ["".join(c["source"]) for c in code if "config" in c["metadata"].get("tags", [])]
    texts = [re.sub(r"%pip.*", "pass", "".join(cell["source"])) for cell in code]
    nodes = [node for text in texts for node in ast.parse(text).body]
    imports = [ast.unparse(node) for node in nodes if _imports_the_package(node)]
    kept = [node for node in nodes if _names(node) & JUDGES]
    kept = kept[: 1 + next((i for i, node in enumerate(kept) if "checks" in _names(node)), 0)]
    if missing := JUDGES - {name for node in kept for name in _names(node)}:
        raise ValueError(f"{CHAPTER.name} no longer defines {', '.join(sorted(missing))}")
    statements = compile(ast.Module(kept, []), CHAPTER.name, "exec")
    return compile("\n".join([*imports, config]), CHAPTER.name, "exec"), statements


def _imports_the_package(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "saif_helpers"


def _names(node: ast.stmt) -> set[str]:
    """Return the names that a statement assigns."""
    if isinstance(node, ast.FunctionDef):
        return {node.name}
    if not isinstance(node, ast.Assign):
        return set()
    parts = [part for target in node.targets for part in ast.walk(target)]
    return {part.id for part in parts if isinstance(part, ast.Name)}


def judge_latents(found: Pairs, tested: Pairs) -> list[Criterion]:
    """Evaluate C1 on given latents with the chapter's own statements.

    Args:
        found: Latents of the identification pairs, with and without the instruction.
        tested: Latents of the test pairs, with and without the instruction.

    Returns:
        The checks of C1. No other instruction activates a latent, so "distinct" always holds.
    """
    config, statements = _chapter()
    space = {"saif": saif, "torch": torch, "layer": 0, "latents": lambda pair, layer: pair}
    exec(config, space)
    space |= {"positive": found[0], "negative": found[1], "tested": {"seen": tested}}
    space["top"] = saif.rank_latents(*found).top(space["K"])
    on = {space["INSTRUCTION"]: saif.newly_active(*tested)}
    on["another"] = torch.zeros_like(on[space["INSTRUCTION"]])
    space["responses"] = lambda layer: on
    exec(statements, space)
    return space["checks"]
