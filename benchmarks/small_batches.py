"""Part h: generation in batches of 1, 8, 32 and 128 prompts, on one thread and on two.

In small batches, what nnsight adds to each call weighs most. A vector of zeros is added, so that
all ways write the same tokens.
"""

from collections.abc import Callable
from functools import partial

import torch

import saif_helpers as saif
from benchmarks.generation import OURS, PLAIN, compare_ways, steered, steered_at_every_end
from benchmarks.identification import unwrapped
from benchmarks.peers import plain
from benchmarks.peers.work import Asked
from benchmarks.timing import Named, Options
from saif_helpers.hub import smollm2
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.vectors import SteeringVector

PART = "h"
UNSTEERED = "saif_helpers, not steered"
NEW_TOKENS = 24
SIZES, THREADS = (1, 8, 32, 128), (1, 2)


def compare(model: ModelWithSAEs, size: int, threads: int, repeats: int) -> list[dict]:
    """Time one batch on a number of threads.

    Args:
        model: The model.
        size: Number of prompts.
        threads: Number of PyTorch's threads.
        repeats: Number of rounds.

    Returns:
        The rows.
    """
    instruction = saif.load_instructions(model.corpus)["french"]
    contents = saif.load_contents("identification", model.corpus)[:size]
    pairs = saif.make_pairs(instruction, contents, model.tokenizer, languages=["en"])
    work = unwrapped(model, pairs)
    asked = Asked(work.positive, size, NEW_TOKENS, model.stop_ids)
    zeros = SteeringVector(model.n_layers // 2, torch.zeros(model.d_model), "zeros")
    name = f"{model.name}, {size} row{'s' * (size > 1)}, {threads} thread{'s' * (threads > 1)}"
    ways: dict[Named, Callable[[], list[str]]] = {
        (name, PLAIN): partial(plain.generate, work.lm, work.tokenizer, asked),
        (name, UNSTEERED): partial(steered, model, asked, None),
        (name, OURS): partial(steered_at_every_end, model, asked, zeros),
    }
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return compare_ways(PART, model, ways, (name, PLAIN), repeats)
    finally:
        torch.set_num_threads(before)


def measure(options: Options) -> list[dict]:
    """Measure part h.

    Args:
        options: Sizes and repeats.

    Returns:
        The rows.
    """
    sizes = SIZES[:2] if options.quick else SIZES
    models = [saif.load("organism", "S" if options.quick else "M")]
    if not options.quick:
        models.append(saif.load(smollm2.NAME, saes={}, store=None))
    return [
        found
        for model in models
        for size in sizes
        for threads in THREADS
        for found in compare(model, size, threads, options.repeats)
    ]
