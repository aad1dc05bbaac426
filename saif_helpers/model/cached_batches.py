"""Results of batches that are kept: taken from the model's store, or computed and put there.

Each finished batch is kept, and later found row by row, so another batch size finds it too. What
"the same" means: padding, the size of a batch and the layers of a capture change results by
rounding (in bfloat16 now and then enough for another token), so a result from the store is the one
of the batch that it was first computed in. A run that is cut off and repeated with the same batch
size computes the batches that are missing exactly as it would have, and ends with the same bytes.
The machine does not count: a run that lost its GPU continues with another one, whose results
differ by rounding.
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
"""Raised by whoever changes what a capture or a generation gives, so that no old result is found.

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
    """Take from the model's store what it has, compute the rest, and keep each batch when done.

    Args:
        model: The model; without a store all is computed.
        prompts: Rendered prompts. With a store, those that are alike are computed once.
        step: As for `run_batches`; returns tensors by name, on the CPU, with a row for each prompt.
        batch_size: As for `run_batches`.
        kind: What is computed, such as ``"capture"``.
        settings: What determines the results in addition to model and prompts, as JSON can hold it.
        each: Tells what else determines the result of each prompt.
        **options: As for `run_batches`.

    Yields:
        Rows of prompts and their results.
    """
    compute = partial(run_batches, model, prompts, step, batch_size, description=kind, **options)
    if model.store is None:
        yield from compute()
        return
    ids = checked_ids(model, prompts, options.get("new_tokens", 0))  # before weights are summed up
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
    """Give the result of each row to all rows that are alike."""
    numbers = [number for number, row in enumerate(part) for _ in alike[row]]
    positions = [position for row in part for position in alike[row]]
    return positions, {name: tensor[numbers] for name, tensor in tensors.items()}


def _computed_with(model: ModelWithSAEs) -> dict[str, Any]:
    """Return model, machine and versions, as far as results depend on them."""
    return {
        "fingerprint": model.fingerprint,
        "dtype": str(model.lm.dtype),
        "device": model.device.type,
        "attention": model.hf.config._attn_implementation,
        "precision": torch.get_float32_matmul_precision(),  # "highest", or TF32 on some GPUs
        "versions": {name: version(name) for name in LIBRARIES},
        "results": RESULTS_VERSION,
    }
