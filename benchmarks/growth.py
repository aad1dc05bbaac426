"""Part f: scaling of the cost of identification.

Time as a function of the number of pairs, layers, latents and weights, with the slopes of fitted
straight lines; and peak memory as a function of the number of pairs, in separate processes.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from sae_lens import JumpReLUSAE, JumpReLUSAEConfig

import saif_helpers as saif
from benchmarks import process_memory
from benchmarks.identification import OURS, prompt_pairs
from benchmarks.targets import COPY
from benchmarks.timing import Options, row, seconds_by_turns
from saif_helpers.model.assemble import wrap
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.prompts import PromptPair

PART, UNIT = "f", "s"
READ_OUT = "encoding and ranking the read-out rows alone"
ROOT = Path(__file__).parents[1]
MEMORY = "rise of memory during a capture"
GIVE_BACK = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
}
"""Makes the Linux allocator return large blocks immediately, so that measured memory is in use."""
Runs = Mapping[int, Callable[[], object]]


def grow(work: str, unit: str, way: str, runs: Runs, repeats: int) -> list[dict]:
    """Time one method at several sizes, and fit a straight line in each round.

    Args:
        work: Name of the task, for example ``"identify"``.
        unit: Unit of the sizes in the singular, for example ``"pair"``.
        way: Name of the method.
        runs: Functions to time, by size.
        repeats: Number of rounds.

    Returns:
        A row for each size, with the size in ``at``; and a row with the seconds per additional
        `unit` and the ``r_squared`` of the line through the median seconds.
    """
    seconds = seconds_by_turns({f"{at}": run for at, run in runs.items()}, repeats)
    rows = [
        row(PART, f"{work}, {at:,} {unit}{'s' * (at > 1)}", way, UNIT, seconds[f"{at}"], at=at)
        for at in runs
    ]
    turns = np.array([seconds[f"{at}"] for at in runs])
    slopes = np.polyfit([*runs], turns, 1)[0].tolist()
    straight = np.corrcoef([*runs], np.median(turns, 1))[0, 1] ** 2
    further = f"{work}, each further {unit}"
    return [*rows, row(PART, further, way, UNIT, slopes, r_squared=float(straight))]


def identification(
    model: ModelWithSAEs, pairs: Sequence[PromptPair], layers: Sequence[int]
) -> Callable[[], object]:
    """Return the function to time: from prompts to rankings."""
    return partial(saif.rank_layers, model, pairs, layers)


def by_width(
    model: ModelWithSAEs, pairs: Sequence[PromptPair], widths: Sequence[int], repeats: int
) -> list[dict]:
    """Time SAEs of several widths with random weights, and their own part of the work alone."""
    last = model.n_layers - 1
    whole, alone = {}, {}
    captured = saif.capture_pairs(model, pairs, [last])
    for width in widths:
        sae = JumpReLUSAE(JumpReLUSAEConfig(model.d_model, width))
        wide = wrap(model.lm, model.tokenizer, {last: sae}, name=model.name)
        whole[width] = identification(wide, pairs, [last])
        alone[width] = partial(saif.rank_captured, wide, *captured)
    rows = grow("identify", "latent", OURS, whole, repeats)
    return rows + grow("identify", "latent", READ_OUT, alone, repeats)


def by_model(sizes: Sequence[str], number: int, repeats: int) -> list[dict]:
    """Time the shipped models as a function of their number of weights."""
    runs = {}
    for size in sizes:
        model = saif.load("organism", size)
        weights = sum(tensor.numel() for tensor in model.hf.parameters())
        pairs = prompt_pairs(model, number)
        runs[weights] = identification(model, pairs, [model.n_layers - 1])
    return grow("identify", "weight", OURS, runs, repeats)


def by_memory(size: str, numbers: Sequence[int]) -> list[dict]:
    """Measure the increase of memory during a capture of all layers, by the number of pairs.

    Each method runs in a separate process, `growth_memory`, whose allocator returns large blocks
    immediately. The second method is a positive control: it holds a copy of all tokens' streams.
    Every figure includes the memory of one forward pass, which does not depend on the number of
    pairs, so the relevant quantity is the increase per pair.

    Args:
        size: Size of the organism.
        numbers: Numbers of pairs, in ascending order.

    Returns:
        A row for each method and number of pairs, and a row for each method with the slope.
    """
    if not process_memory.CLEAR.exists():
        return [row(PART, MEMORY, OURS, "MiB", note="only Linux can reset the peak memory")]
    rows = []
    for way in ("read-out rows", "all tokens"):
        command = [sys.executable, "-m", "benchmarks.growth_memory", way, size, *map(str, numbers)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)} | GIVE_BACK
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command[1:])} failed: {done.stderr.strip()[-500:]}")
        name, found = OURS if way == "read-out rows" else COPY, json.loads(done.stdout)
        for number, (peak, held) in zip(numbers, found, strict=True):
            work = f"{MEMORY}, {number:,} pairs"
            note = f"{held:.1f} MiB of it are what it returns"
            rows.append(row(PART, work, name, "MiB", [peak], note=note, at=number))
        slope, _ = np.polyfit(numbers, [peak for peak, _ in found], 1).tolist()
        rows.append(row(PART, f"{MEMORY}, each further pair", name, "MiB", [slope]))
    return rows


def measure(options: Options) -> list[dict]:
    """Measure part f.

    Args:
        options: Sizes and repeats.

    Returns:
        The rows.
    """
    quick, repeats = options.quick, options.repeats
    size = "S" if quick else "M"
    model = saif.load("organism", size)
    n, number = model.n_layers, 8 if quick else 100
    numbers = [4, 8, 16] if quick else [75, 150, 300, 600]
    widths = [256, 512, 1024] if quick else [1024, 4096, 16384, 65536]
    pairs = prompt_pairs(model, numbers[-1])
    some = pairs[:number]
    by_pairs = {each: identification(model, pairs[:each], [n - 1]) for each in numbers}
    by_layers = {each: identification(model, some, range(n - each, n)) for each in (1, 2, 4, n)}
    return [
        *grow("identify", "pair", OURS, by_pairs, repeats),
        *grow("identify", "layer", OURS, by_layers, repeats),
        *by_width(model, some, widths, repeats),
        *by_model(["S", "M"] if quick else ["S", "M", "L"], number, repeats),
        *by_memory(size, numbers if quick else [150, 300, 600, 1200]),
    ]
