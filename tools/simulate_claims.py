"""Simulations of the claims' checks under chance alone, see `simulate`."""

import ast
import functools
import json
import re
from collections.abc import Set as AbstractSet
from pathlib import Path
from types import CodeType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

import saif_helpers as saif
from saif_helpers.analysis.separation import enrichment
from saif_helpers.analysis.specificity import response_table
from saif_helpers.analysis.stability import permute_pairs
from saif_helpers.study.claims import Criterion, bounded_share

BOOK = Path(__file__).resolve().parents[1] / "book"
FINDING, MEANING = "03_finding_the_latents.ipynb", "06_semantic_proximity.ipynb"
JUDGES = {
    FINDING: frozenset({"scores", "swapped_rankings", "p_value_of", "checks_at"}),
    MEANING: frozenset({"confidence", "interval_of", "share_above", "checks_at"}),
}
"""Chapter to what it defines on the way from latents to the checks of C1, or of C2."""

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


def meaning_at_the_bars(
    seed: int, latents: int = 200, k: int = 15, pairs: int = 150, bar: float = 0.8
) -> list[Criterion]:
    """Draw the checks of C2 for latents that are drawn at random, half of them at the bar.

    Args:
        seed: Seed of the draws.
        latents: Number of latents to draw from.
        k: Number of latents. The smaller half is surely told apart, so one more decides.
        pairs: Number of test pairs. Areas vary as much as they can: each is a share.
        bar: True area of the other half.

    Returns:
        The checks, by the statements of the chapter itself.
    """
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(latents, generator=generator)
    chosen = torch.randperm(latents, generator=generator)[:k]
    found = enrichment(scores, chosen, torch.arange(latents), seed=seed)
    truth = torch.where(torch.arange(k) < k // 2, 1.0, bar).expand(2, pairs, k)
    areas = torch.bernoulli(truth, generator=generator).mean(1)
    return judge_meaning(found, dict(zip(("no instruction", "another"), areas, strict=True)))


@functools.cache
def _chapter(name: str, judges: AbstractSet[str]) -> tuple[CodeType, CodeType]:
    """Compile a chapter's configuration, and its statements that define what judges.

    The configuration includes the chapter's imports from the package.
    """
    cells = json.loads((BOOK / name).read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    (config,) = ["".join(c["source"]) for c in code if "config" in c["metadata"].get("tags", [])]
    texts = [re.sub(r"%pip.*", "pass", "".join(cell["source"])) for cell in code]
    nodes = [node for text in texts for node in ast.parse(text).body]
    imports = [ast.unparse(node) for node in nodes if _imports_the_package(node)]
    kept = [node for node in nodes if _names(node) & judges]
    if missing := judges - {name for node in kept for name in _names(node)}:
        raise ValueError(f"{name} no longer defines {', '.join(sorted(missing))}")
    statements = compile(ast.Module(kept, []), name, "exec")
    return compile("\n".join([*imports, config]), name, "exec"), statements


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


def _judged(name: str, made: dict[str, Any]) -> list[Criterion]:
    """Return the checks that a chapter makes at layer 0 of what it finds there."""
    config, statements = _chapter(name, JUDGES[name])
    space = {"saif": saif, "torch": torch, "pd": pd}
    exec(config, space)
    space |= made
    exec(statements, space)
    return space["checks_at"](0)


def judge_latents(found: Pairs, tested: Pairs) -> list[Criterion]:
    """Evaluate C1 on given latents with the chapter's own statements.

    Args:
        found: Latents of the identification pairs, with and without the instruction.
        tested: Latents of the test pairs, with and without the instruction.

    Returns:
        The checks of C1. No other instruction activates a latent, so "distinct" always holds.
    """
    on = saif.newly_active(*tested)
    made = {"found": found, "tested": {"seen": tested}, "latents": lambda pair, layer: pair}
    made["INSTRUCTION"] = "own"
    made["responses"] = lambda layer: {"own": on, "another": torch.zeros_like(on)}
    return _judged(FINDING, made | {"rankings": {0: saif.rank_latents(*found)}})


def judge_meaning(found: pd.Series, areas: dict[str, Tensor]) -> list[Criterion]:
    """Judge C2 by the statements of the chapter itself.

    Args:
        found: How much the latents promote the vocabulary, from `enrichment`.
        areas: What latents are told from, "no instruction" or another one, to each one's area.

    Returns:
        The checks of C2.
    """
    table = pd.DataFrame({name: each.tolist() for name, each in areas.items()})
    made = {"enriched": {0: found}, "areas": lambda layer, latents: table}
    made["siblings"] = [name for name in areas if name != "no instruction"]
    made["rankings"] = {0: SimpleNamespace(top=lambda k: None)}
    return _judged(MEANING, made)
