"""Batches with cached results, looked up in the model's store or computed and stored.

Finished batches are stored and looked up by row, so that the batch size may change. Padding, batch
size and the layers of a capture change results by rounding error (in bfloat16 occasionally enough
to change a token), so a stored result is that of the batch in which it was first computed. An
interrupted run that is repeated with the same batch size computes the missing batches exactly as it
would have, and produces the same bytes. The machine is not part of the key: a run can continue on
another GPU, whose results differ by rounding error.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from saif_helpers.cache.entry import digest
from saif_helpers.model.batching import Parts, Step, checked_ids, run_batches
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.model.tokens import Prompt

RESULTS_VERSION = 1
"""Increment this when results of captures or generations change, to invalidate stored ones.

``tests/guarantees/test_golden.py`` fails when results change and this does not.
"""
LIBRARIES = ("nnsight", "sae-lens", "torch", "transformers")


def cached_batches(
    model: ModelWithSAEs,
    prompts: Sequence[Prompt],
    step: Step,
    batch_size: int | None,
    *,
    kind: str,
    settings: Mapping[str, Any],
    each: Callable[[], Sequence[object]] | None = None,
    **options: Any,
) -> Parts:
    """Look up results in the model's store, compute the rest, and store each batch.

    Args:
        model: The model; without a store everything is computed.
        prompts: Rendered prompts. With a store, duplicates are computed once.
        step: As for `run_batches`; returns tensors by name, on the CPU, with a row for each prompt.
        batch_size: As for `run_batches`.
        kind: What is computed, such as ``"capture"``.
        settings: What else determines the results, JSON-serializable.
        each: Returns what else determines the result of each prompt.
        **options: As for `run_batches`.

    Yields:
        Rows of prompts and their results.
    """
    compute = partial(run_batches, model, prompts, step, batch_size, description=kind, **options)
    if model.store is None:
        yield from compute()
        return
    ids = checked_ids(model, prompts, options.get("new_tokens", 0))  # before the weights are hashed
    shared = {**settings, **_computed_with(model)}
    keys = [list(key) for key in zip(ids, each() if each else [None] * len(ids), strict=True)]
    alike: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        alike.setdefault(digest(key), []).append(row)
    rows_like = {rows[0]: rows for rows in alike.values()}
    firsts = list(rows_like)
    missing = set(firsts)
    for found, tensors in model.store.find(kind, shared, [keys[first] for first in firsts]):
        part = [firsts[position] for position in found]
        missing -= set(part)
        yield _spread(part, tensors, rows_like)
    for part, tensors in compute(ids=ids, only=sorted(missing)):
        model.store.put(kind, shared, [keys[row] for row in part], tensors)
        yield _spread(part, tensors, rows_like)


def _spread(
    part: Sequence[int], tensors: Mapping[str, Tensor], alike: Mapping[int, Sequence[int]]
) -> tuple[list[int], dict[str, Tensor]]:
    """Copy the result of each row to its duplicates."""
    numbers = [number for number, row in enumerate(part) for _ in alike[row]]
    positions = [position for row in part for position in alike[row]]
    return positions, {name: tensor[numbers] for name, tensor in tensors.items()}


def _computed_with(model: ModelWithSAEs) -> dict[str, Any]:
    """Return the facts about model, machine and versions that results depend on."""
    return {
        "fingerprint": model.fingerprint,
        "dtype": str(model.lm.dtype),
        "device": model.device.type,
        "attention": model.hf.config._attn_implementation,
        "precision": torch.get_float32_matmul_precision(),  # "highest", or TF32 on some GPUs
        "versions": {name: version(name) for name in LIBRARIES},
        "results": RESULTS_VERSION,
    }
