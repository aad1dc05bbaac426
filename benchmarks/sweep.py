"""Part c: the sweep of the steering chapters over k, beta, layer and placement.

The package steers with many vectors in one batch, with a row for each vector and content, and
processes equal prompts once. The plain method is a loop over the settings with a forward hook that
adds the vector and a batched `generate` of transformers. Much published code loops over single
prompts. Both loops are timed on a sample of the settings. The search finds the best setting without
trying all settings on all contents; its rate includes the outputs that it makes unnecessary.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count

import pandas as pd
from torch import Tensor

import saif_helpers as saif
from benchmarks import left_out
from benchmarks.identification import unwrapped
from benchmarks.peers import plain
from benchmarks.peers.work import Asked, Work
from benchmarks.timing import Options, row, seconds_by_turns
from saif_helpers.model.tokens import without_bos
from saif_helpers.placements import PLACEMENTS, position_scales
from saif_helpers.study.settings import SteeringSetting, settings_grid

WORK = "sweep of k, beta, layer and placement"
KS, BETAS = (1, 5, 15, 30, 60), (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
STRENGTH = 4.0
CONTENTS, PAIRS, NEW_TOKENS = 50, 300, 26
SAMPLE = 12  # settings in the timed sample of the loops
SINGLES = 10  # contents per setting in the timed sample of the loop over single prompts
ROUNDS = (8, 20, CONTENTS)  # of the search
TURNS = 3  # maximum number of rounds: the whole sweep takes minutes
BATCHED = "forward hooks and generate, a setting at a time"
SINGLE = "forward hooks and generate, a prompt at a time"
SEARCH = "saif_helpers: search in three rounds"


@contextmanager
def hooked(
    work: Work, setting: SteeringSetting, vector: Tensor, tokens: Mapping[str, Tensor]
) -> Iterator[None]:
    """Add a vector after the setting's layer with a forward hook, while a batch is generated."""
    counted = without_bos(tokens, work.tokenizer)
    padding = (tokens["attention_mask"] == 0).sum(1).tolist()
    placements = [(setting.placement, setting.decay)] * len(counted)
    scales, passes = position_scales(counted, padding, placements), count()

    def add(_: object, __: object, output: Tensor) -> Tensor:
        scale = scales.at(next(passes))
        return output if scale is None else output + scale[:, :, None] * vector

    handle = work.lm.model.layers[setting.layer].register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


def one_setting(work: Work, asked: Asked, setting: SteeringSetting, vector: Tensor) -> list[str]:
    """Steer with one setting, with a hook and `generate`."""
    around = partial(hooked, work, setting, vector)
    return plain.generate(work.lm, work.tokenizer, asked, around)


def measure(options: Options) -> list[dict]:
    """Time the whole sweep, the loops, and the search over the same settings.

    Args:
        options: Sizes and repeats.

    Returns:
        Rows, in outputs of the whole sweep per second.
    """
    model = saif.load("organism", "S" if options.quick else "M")
    layers, betas, ks, n, rounds = range(model.n_layers), BETAS, KS, CONTENTS, ROUNDS
    if options.quick:
        layers, betas, ks, n, rounds = range(2), BETAS[:1], KS[:2], 4, (1, 2, 4)
    instruction = saif.load_instructions()["french"]
    identification = saif.load_contents("identification")[: 20 if options.quick else PAIRS]
    pairs = saif.make_pairs(instruction, identification, model.tokenizer, seed=0)
    contents = saif.load_contents("validation")[:n]
    prompts = [saif.render(content.text, model.tokenizer) for content in contents]
    settings = settings_grid(layers, ks, betas, PLACEMENTS, [STRENGTH])
    sample = range(0, len(settings), max(1, len(settings) // SAMPLE))
    known = saif.rank_captured(model, *saif.capture_pairs(model, pairs, layers))
    given, kept, work = (model, instruction, contents), {}, unwrapped(model, pairs)

    def whole() -> None:
        rankings = saif.rank_captured(model, *saif.capture_pairs(model, pairs, layers))
        kept["whole"] = saif.grade_settings(*given, rankings, settings, max_new_tokens=NEW_TOKENS)

    def search() -> None:
        options = {"rounds": rounds, "max_new_tokens": NEW_TOKENS}
        kept["search"] = saif.search(*given, known, settings, **options)

    def loop(name: str, prompts: Sequence[str], batch_size: int) -> None:
        asked, kept[name] = Asked([*prompts], batch_size, NEW_TOKENS, model.stop_ids), []
        for setting in (settings[i] for i in sample):
            vector = setting.vector(model, known[setting.layer]).vector
            kept[name].append(one_setting(work, asked, setting, vector))

    ways = {
        BATCHED: lambda: loop(BATCHED, prompts, n),
        SINGLE: lambda: loop(SINGLE, prompts[:SINGLES], 1),
        "saif_helpers": whole,
        SEARCH: search,
    }
    done = dict.fromkeys(ways, len(settings) * n)
    done |= {BATCHED: len(sample) * n, SINGLE: len(sample) * len(prompts[:SINGLES])}
    rates = {
        name: [done[name] / one for one in seconds]
        for name, seconds in seconds_by_turns(ways, min(TURNS, options.repeats)).items()
    }
    about = {
        "saif_helpers": f"{len(settings)} settings, {n} prompts each, with capture and ranking",
        SEARCH: _chosen(kept["search"], settings, kept["whole"]),
    }
    for name in (BATCHED, SINGLE):
        outputs = [kept["whole"][i].outputs for i in sample]
        alike = [
            a == b
            for one, two in zip(kept[name], outputs, strict=True)
            for a, b in zip(one, two, strict=False)
        ]
        about[name] = (
            f"timed on {len(sample)} of the settings; {sum(alike)} of {len(alike)} outputs are "
            "those of saif_helpers"
        )
    rows = [
        row(
            "c",
            WORK,
            name,
            "outputs/s",
            values,
            reference=None if name == BATCHED else rates[BATCHED],
            note=about[name],
        )
        for name, values in rates.items()
    ]
    seconds = [len(settings) * n / rate for rate in rates["saif_helpers"]]
    rows.append(row("c", "the whole sweep", "saif_helpers", "s", seconds))
    sampled = [kept["whole"][i] for i in sample]
    outputs = [output for grades in sampled for output in grades.outputs]
    items = [item for grades in sampled for item in grades.items]
    return rows + left_out.certain_rows(outputs, items, instruction.grader, model.tokenizer)


def _chosen(
    found: pd.DataFrame, settings: Sequence[SteeringSetting], graded: Sequence[saif.Grades]
) -> str:
    """Return a note that compares the setting that the search chose with the sweep's best."""
    shares = [grades.proportion("strict").value for grades in graded]
    chosen = shares[settings.index(saif.best_setting(found))]
    return (
        f"the setting it chooses passes strictly in {chosen:.2f}, the best of all in "
        f"{max(shares):.2f}, of the same outputs"
    )
