"""Part b: generation, in tokens per second, compared with ``generate`` of transformers.

Steered generation is timed with a zero vector, so that all methods generate the same tokens; that
they agree for a vector that changes the answers is checked first. Peers steer at the last position
of every forward pass, which all of them support and which equals this package's placement
``"decaying"`` with a decay of 1. Their other modes also steer padding or the beginning-of-sequence
token, so their answers would differ.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch

import saif_helpers as saif
from benchmarks.identification import prompt_pairs, unwrapped
from benchmarks.peers import plain
from benchmarks.peers.run import peers_of, those_that_run
from benchmarks.peers.work import Asked, Work
from benchmarks.timing import Named, Options, rate_rows, seconds_by_turns
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.placements import PLACEMENTS
from saif_helpers.prompts import PromptPair
from saif_helpers.vectors import SteeringVector

PART, UNIT = "b", "tokens/s"
PLAIN, HOOKED, OURS = "transformers", "transformers, hooks", "saif_helpers"
NEW_TOKENS = 24
UNSTEERED = "generate, not steered"
SHARED = "generate, steered at the last position of every pass"


def plain_generate(
    model: ModelWithSAEs, prompts: list[str], batch_size: int, new_tokens: int = NEW_TOKENS
) -> list[str]:
    """Generate with transformers alone from the package's model, and decode."""
    asked = Asked(prompts, batch_size, new_tokens, model.stop_ids)
    return plain.generate(model.hf, model.tokenizer, asked)


def steered(
    model: ModelWithSAEs, asked: Asked, vector: SteeringVector | Sequence[SteeringVector] | None
) -> list[str]:
    """Generate with the package; several vectors are one for each prompt."""
    options = {"max_new_tokens": asked.new_tokens, "batch_size": asked.batch_size}
    return saif.generate(model, asked.prompts, vector, **options)


def steered_at_every_end(model: ModelWithSAEs, asked: Asked, vector: SteeringVector) -> list[str]:
    """Generate with the package, steering at the last position of every forward pass."""
    return steered(model, asked, vector.at("decaying", decay=1.0))


def compare_generation(
    model: ModelWithSAEs,
    pairs: Sequence[PromptPair],
    repeats: int,
    batch_size: int,
    new_tokens: int = NEW_TOKENS,
) -> list[dict]:
    """Time generation with all methods and placements, in interleaved rounds.

    Args:
        model: The model.
        pairs: Prompt pairs; the prompts with the instruction are answered.
        repeats: Number of rounds.
        batch_size: Prompts per batch.
        new_tokens: Maximum number of tokens generated for a prompt.

    Returns:
        The rows.
    """
    work = unwrapped(model, pairs)
    asked = Asked(work.positive, batch_size, new_tokens, model.stop_ids)
    zeros = SteeringVector(model.n_layers // 2, torch.zeros(model.d_model), "zeros")
    vector = effective(model, work)
    unsteered = plain.generate(work.lm, work.tokenizer, asked)
    expected = plain.generate_hooked(work, asked, vector)
    with peers_of(work) as (peers, missing):
        shared = {
            HOOKED: partial(plain.generate_hooked, work, asked),
            OURS: partial(steered_at_every_end, model, asked),
            **{peer.name: partial(peer.generate, asked) for peer in peers},
        }
        ways: dict[Named, Callable[[], list[str]]] = {
            (UNSTEERED, PLAIN): partial(plain.generate, work.lm, work.tokenizer, asked),
            (UNSTEERED, OURS): partial(steered, model, asked, None),
            **{
                (f"generate, steered at {placement}", OURS): partial(
                    steered, model, asked, zeros.at(placement)
                )
                for placement in PLACEMENTS
            },
            **{(SHARED, name): partial(way, zeros) for name, way in shared.items()},
        }
        own = {peer.name: peer.note for peer in peers}
        checks = {key: partial(check, way, unsteered) for key, way in ways.items()}
        for name, way in shared.items():
            checks[SHARED, name] = partial(
                check_steered, way, zeros, vector, unsteered, expected, own.get(name, "")
            )
        runs, notes = those_that_run(ways, checks, missing, [SHARED])
        seconds = seconds_by_turns(runs, repeats)
    tokens = sum(map(len, model.tokenizer(unsteered, add_special_tokens=False)["input_ids"]))
    return rate_rows(PART, UNIT, tokens, seconds, notes, lambda _: (UNSTEERED, PLAIN))


def effective(model: ModelWithSAEs, work: Work) -> SteeringVector:
    """Return a vector that changes the answers: against the instruction, in the middle layer."""
    layer = model.n_layers // 2
    positive, negative = (
        saif.capture(model, prompts, [layer])[layer].mean(0)
        for prompts in (work.positive, work.negative)
    )
    return SteeringVector(layer, negative - positive, "negative - positive")


def check(way: Callable[[], list[str]], reference: Sequence[str]) -> str:
    """Return a note on how many texts equal those of plain transformers."""
    texts = way()
    differ = sum(text != other for text, other in zip(texts, reference, strict=True))
    if not differ:
        return f"agrees: all {len(texts)} texts equal"
    return f"differs: {differ} of {len(texts)} texts"


def compare_ways(
    part: str,
    model: ModelWithSAEs,
    ways: dict[Named, Callable[[], list[str]]],
    reference: Named,
    repeats: int,
) -> list[dict]:
    """Time ways of one piece of work, and compare their texts with those of one of them.

    Args:
        part: Letter of the part.
        model: The model, for its tokenizer.
        ways: Functions that generate, by task and method.
        reference: The way that the others are compared with.
        repeats: Number of rounds.

    Returns:
        The rows.
    """
    texts = ways[reference]()
    notes = {key: check(way, texts) for key, way in ways.items()}
    seconds = seconds_by_turns(ways, repeats)
    tokens = sum(map(len, model.tokenizer(texts, add_special_tokens=False)["input_ids"]))
    return rate_rows(part, UNIT, tokens, seconds, notes, lambda _: reference)


def check_steered(
    way: Callable[[SteeringVector], list[str]],
    zeros: SteeringVector,
    vector: SteeringVector,
    unsteered: Sequence[str],
    expected: Sequence[str],
    own: str,
) -> str:
    """Return a note on the texts steered with a zero vector and with one that changes them."""
    changed = sum(text != other for text, other in zip(expected, unsteered, strict=True))
    note = f"{check(partial(way, zeros), unsteered)}; with a vector that changes {changed} of "
    note += f"them, {check(partial(way, vector), expected)}"
    return f"{note}; {own}" if own else note


def measure(options: Options) -> list[dict]:
    """Measure part b.

    Args:
        options: Sizes and repeats.

    Returns:
        The rows.
    """
    model = saif.load("organism", "S" if options.quick else "M")
    pairs = prompt_pairs(model, 16 if options.quick else 128)
    batch_size = 8 if options.quick else 128
    return compare_generation(model, pairs, options.repeats, batch_size)
