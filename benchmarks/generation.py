"""Part b: generation, tokens a second beside the plain ``generate`` of transformers.

Steered generation is timed with a vector of zeros, so that every way writes the same tokens; that
the ways agree with a vector that changes the answers is checked first. Peers are steered at the
last position of every pass, which all of them can and which is this package's placement
``"decaying"`` with a decay of 1; their other ways of steering reach padding or the
beginning-of-sequence token, so they would give other answers.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

import saif_helpers as saif
from benchmarks.identification import prompt_pairs, unwrapped
from benchmarks.peers import plain
from benchmarks.peers.run import peers_of
from benchmarks.peers.work import Asked, Work
from benchmarks.timing import Options, row, seconds_by_turns
from saif_helpers.models import ModelWithSAEs
from saif_helpers.prompts import PromptPair
from saif_helpers.steering import PLACEMENTS
from saif_helpers.vectors import SteeringVector

PART, UNIT = "b", "tokens/s"
PLAIN, HOOKED, OURS = "transformers", "transformers, hooks", "saif_helpers"
NEW_TOKENS = 24
UNSTEERED = "generate, not steered"
SHARED = "generate, steered at the last position of every pass"


def plain_generate(
    model: ModelWithSAEs, prompts: list[str], batch_size: int, new_tokens: int = NEW_TOKENS
) -> list[str]:
    """Generate with transformers alone from the model as the package holds it, and decode."""
    asked = Asked(prompts, batch_size, new_tokens, model.stop_ids)
    return plain.generate(model.lm._module, model.tokenizer, asked)


def steered(
    model: ModelWithSAEs, asked: Asked, vector: SteeringVector | None, **where: str | float
) -> list[str]:
    """Generate with the package."""
    options = {"max_new_tokens": asked.new_tokens, "batch_size": asked.batch_size}
    return saif.generate(model, asked.prompts, vector, **options, **where)


def compare_generation(
    model: ModelWithSAEs,
    pairs: Sequence[PromptPair],
    repeats: int,
    batch_size: int,
    new_tokens: int = NEW_TOKENS,
) -> list[dict]:
    """Time generation by all ways, with every placement; all take the same turns.

    Args:
        model: The model.
        pairs: Prompt pairs, whose prompts with the instruction are answered.
        repeats: Number of turns.
        batch_size: Prompts generated from at once.
        new_tokens: Most tokens to generate for a prompt.

    Returns:
        The rows.
    """
    work = unwrapped(model, pairs)
    asked = Asked(work.positive, batch_size, new_tokens, model.stop_ids)
    layer, zeros = model.n_layers // 2, torch.zeros(model.d_model)
    nothing = SteeringVector(layer, zeros, "zeros")
    with peers_of(work) as (peers, missing):
        hooked: dict[str, Callable[[Asked, int, Tensor], list[str]]] = {
            HOOKED: partial(plain.generate_hooked, work),
            **{peer.name: peer.generate for peer in peers},
        }
        ways: dict[tuple[str, str], Callable[[], list[str]]] = {
            (UNSTEERED, PLAIN): partial(plain.generate, work.lm, work.tokenizer, asked),
            (UNSTEERED, OURS): partial(steered, model, asked, None),
        }
        for placement in PLACEMENTS:
            way = partial(steered, model, asked, nothing, placement=placement)
            ways[f"generate, steered at {placement}", OURS] = way
        ways[SHARED, OURS] = partial(
            steered, model, asked, nothing, placement="decaying", decay=1.0
        )
        ways |= {(SHARED, name): partial(run, asked, layer, zeros) for name, run in hooked.items()}
        texts = ways[UNSTEERED, PLAIN]()
        notes = {key: same(way(), texts) for key, way in ways.items()}
        notes |= {
            (SHARED, name): f"{notes[SHARED, name]}; {note}"
            for name, note in check_steered(model, work, asked, hooked).items()
        }
        for peer in peers:
            notes[SHARED, peer.name] += f"; {peer.note}" if peer.note else ""
        timed = {"\n".join(key): way for key, way in ways.items()}
        seconds = seconds_by_turns(timed, repeats)
    counts = sum(map(len, model.tokenizer(texts, add_special_tokens=False)["input_ids"]))
    rates = {key: [counts / each for each in seconds["\n".join(key)]] for key in ways}
    reference = rates[UNSTEERED, PLAIN]
    rows = []
    for (name, way), values in rates.items():
        other = None if way == PLAIN else reference
        rows.append(row(PART, name, way, UNIT, values, reference=other, note=notes[name, way]))
    return rows + [row(PART, SHARED, way, UNIT, note=why) for way, why in missing.items()]


def same(texts: Sequence[str], reference: Sequence[str]) -> str:
    """Say in words how many texts are those of plain transformers."""
    differ = sum(text != other for text, other in zip(texts, reference, strict=True))
    if not differ:
        return f"agrees: all {len(texts)} texts equal"
    return f"differs: {differ} of {len(texts)} texts"


def check_steered(
    model: ModelWithSAEs,
    work: Work,
    asked: Asked,
    hooked: dict[str, Callable[[Asked, int, Tensor], list[str]]],
) -> dict[str, str]:
    """Compare the ways with a vector that changes the answers, the hooks' answers the reference."""
    layer = model.n_layers // 2
    positive, negative = (
        saif.capture(model, prompts, [layer])[layer].mean(0)
        for prompts in (work.positive, work.negative)
    )
    vector = negative - positive
    reference = hooked[HOOKED](asked, layer, vector)
    unsteered = plain.generate(work.lm, work.tokenizer, asked)
    changed = sum(text != other for text, other in zip(reference, unsteered, strict=True))
    given = SteeringVector(layer, vector, "negative - positive")
    texts = {OURS: steered(model, asked, given, placement="decaying", decay=1.0)}
    texts |= {name: run(asked, layer, vector) for name, run in hooked.items() if name != HOOKED}
    return {
        name: f"with a vector that changes {changed} of them, {same(found, reference)}"
        for name, found in texts.items()
    }


def measure(options: Options) -> list[dict]:
    """Measure part b.

    Args:
        options: Whether quickly, and how often.

    Returns:
        The rows.
    """
    model = saif.load("organism", "S" if options.quick else "M")
    pairs = prompt_pairs(model, 16 if options.quick else 256)
    batch_size = 8 if options.quick else 128
    return compare_generation(model, pairs, options.repeats, batch_size)
