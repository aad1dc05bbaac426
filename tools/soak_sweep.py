"""The workload of ``make soak``: a sweep on the smallest model, from prompts to a verdict."""

import os
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from saif_helpers.activations import capture
from saif_helpers.book.record import checks_table
from saif_helpers.cache import entry as entries
from saif_helpers.cache.store import Store
from saif_helpers.contents import load_contents
from saif_helpers.grading import Grades
from saif_helpers.instructions import load_instructions
from saif_helpers.model import batching
from saif_helpers.placements import PLACEMENTS
from saif_helpers.prompts import make_pairs
from saif_helpers.ranking import LatentRanking, rank_captured
from saif_helpers.study.claims import Criterion, verdict
from saif_helpers.study.settings import SteeringSetting, grade_settings, settings_grid
from tools.disturb import no_space, watch_writing

BATCH_SIZE = 4
LAYERS = (0, 2)


class Sizes(NamedTuple):
    """Sizes of the sweep."""

    pairs: int = 24
    contents: int = 8
    ks: tuple[int, ...] = (3, 15)
    strengths: tuple[float, ...] = (4.0, 8.0)
    max_new_tokens: int = 16


def sweep(
    folder: Path, result: Path, log: Path, sizes: Sizes, full_after: int | None = None
) -> None:
    """Capture, rank, generate, grade and judge with a store, and write the final table.

    Args:
        folder: Folder of the store.
        result: File for the table.
        log: File that gets a line with the time of each event.
        sizes: Sizes of the sweep.
        full_after: Number of stored batches until the disk is full; by default it never is.
    """
    torch.set_num_threads(1)
    events = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    kept: list[str] = []

    def happens(*words: object) -> None:
        os.write(
            events, f"{time.time()} {' '.join(map(str, words))}".replace("\n", " ").encode() + b"\n"
        )

    def synced(_: int) -> None:
        if full_after is not None and len(kept) >= full_after:
            no_space()

    def in_place(name: str) -> None:
        happens("kept", name)
        kept.append(name)

    def pad(*arguments: object) -> object:  # a batch begins with tokenization
        happens("begun")
        return padded(*arguments)

    happens("started")
    watch_writing(synced, in_place)
    padded, batching.pad = batching.pad, pad
    warnings.simplefilter("always")
    warnings.showwarning = lambda message, *_: happens("warning", message)
    table = _table(Store(folder), sizes)
    happens("computed")
    entries.write(result, table.encode())
    happens("ended")


def _table(store: Store, sizes: Sizes) -> str:
    """Run the sweep and return all its results as text."""
    from tools.soak_model import MODEL  # shared by the processes, see `soak_runs`

    model = replace(MODEL, store=store)
    instruction = load_instructions()["uppercase"]
    contents = load_contents("identification")[: sizes.pairs]
    pairs = make_pairs(instruction, contents, model.tokenizer, seed=0)
    prompts = [pair.positive for pair in pairs] + [pair.negative for pair in pairs]
    residual = capture(model, prompts, LAYERS, BATCH_SIZE)
    halves = {layer: stream.tensor_split(2) for layer, stream in residual.items()}
    positive, negative = ({layer: both[i] for layer, both in halves.items()} for i in (0, 1))
    rankings = rank_captured(model, positive, negative)
    contents = load_contents("validation")[: sizes.contents]
    settings = settings_grid(LAYERS, sizes.ks, [0.0], PLACEMENTS, sizes.strengths)
    options = {"max_new_tokens": sizes.max_new_tokens, "batch_size": BATCH_SIZE}
    graded = grade_settings(model, instruction, contents, rankings, settings, **options)
    return _text(rankings, dict(zip(settings, graded, strict=True)))


def _text(rankings: dict[int, LatentRanking], found: dict[SteeringSetting, Grades]) -> str:
    best = max(found, key=lambda setting: found[setting].proportion("loose").value)
    checks = [Criterion("loose", found[best].proportion("loose"), "above", 0.5)]
    parts = [ranking.to_frame().to_csv() for ranking in rankings.values()]
    for setting, graded in found.items():
        shares = [str(graded.proportion(kind)) for kind in ("strict", "loose")]
        parts += [f"{setting}: {shares}", graded.to_frame().to_csv()]
    return "\n".join([*parts, f"best: {best}", checks_table(checks).to_csv(), verdict(checks)])
