"""The process that measures peak memory: ``python -m benchmarks.growth_memory WAY SIZE N...``.

For each number of pairs, it prints as JSON the peak increase of memory relative to the state before
all captures, and the memory of the result, both in MiB. Linux only.
"""

import json
import sys
from collections.abc import Callable, Sequence

from torch import Tensor

import saif_helpers as saif
from benchmarks import process_memory
from benchmarks.identification import prompt_pairs
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.prompts import PromptPair

MIB = 2**20


def read_out_rows(model: ModelWithSAEs, pairs: Sequence[PromptPair]) -> list[Tensor]:
    """Capture with the package."""
    positive, negative = saif.capture_pairs(model, pairs, range(model.n_layers))
    return [*positive.values(), *negative.values()]


def all_tokens(model: ModelWithSAEs, pairs: Sequence[PromptPair]) -> list[Tensor]:
    """Hold the streams of all tokens, like code that selects the last token at the end."""
    prompts = [pair.positive for pair in pairs] + [pair.negative for pair in pairs]
    held = list(saif.capture_tokens(model, prompts, range(model.n_layers)))
    return [stream for streams in held for stream in streams.values()]


WAYS: dict[str, Callable[[ModelWithSAEs, Sequence[PromptPair]], list[Tensor]]] = {
    "read-out rows": read_out_rows,
    "all tokens": all_tokens,
}


def main(way: str, size: str, *numbers: str) -> list[tuple[float, float]]:
    """Capture increasing numbers of pairs.

    Args:
        way: A key of `WAYS`.
        size: Size of the organism.
        *numbers: Numbers of pairs.

    Returns:
        For each number, the increase of memory and the memory of the result.
    """
    model = saif.load("organism", size)
    pairs = prompt_pairs(model, int(numbers[-1]))
    WAYS[way](model, sorted(pairs, key=lambda pair: len(pair.positive))[-64:])  # the longest
    process_memory.begin_anew()
    before, found = process_memory.held(), []
    for number in map(int, numbers):  # ascending, so that freed memory is reused
        held = WAYS[way](model, pairs[:number])
        rise = (process_memory.peak() - before) / MIB
        found.append((rise, sum(tensor.nbytes for tensor in held) / MIB))
        del held
    return found


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
