"""Part a: identification, in pairs per second from prompts to the sensitivity ranking.

The reference, and the limit, is plain transformers with forward hooks in batches. All methods get
the same model, SAEs and prompts; that their results agree is checked before they are timed.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from transformers import AutoModelForCausalLM

import saif_helpers as saif
from benchmarks import left_out
from benchmarks.peers import plain
from benchmarks.peers.run import Peer, peers_of, those_that_run
from benchmarks.peers.with_nnterp import Nnterp
from benchmarks.peers.work import Found, Work, agreement
from benchmarks.timing import Options, rate_rows, seconds_by_turns
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.prompts import PromptPair

PART, UNIT = "a", "pairs/s"
LIMIT, OURS, LOOP = "transformers, hooks", "saif_helpers", "one prompt at a time"
SHARING = "hooks, common beginnings read once"
BATCH = 64
Way = Callable[[Sequence[int]], Found]


def unwrapped(model: ModelWithSAEs, pairs: Sequence[PromptPair], batch_size: int = BATCH) -> Work:
    """Return the task for the peers, with an unwrapped copy of the model.

    Args:
        model: The model and its SAEs.
        pairs: Prompt pairs.
        batch_size: Prompts per forward pass.

    Returns:
        The task.
    """
    module = model.hf
    attention = {"attn_implementation": module.config._attn_implementation}
    lm = AutoModelForCausalLM.from_config(module.config, dtype=module.dtype, **attention)
    lm.eval()
    lm.load_state_dict(module.state_dict())
    lm.generation_config = module.generation_config
    positive, negative = [pair.positive for pair in pairs], [pair.negative for pair in pairs]
    saes = {layer: model.saes[layer] for layer in model.saes.layers}
    return Work(lm, model.tokenizer, saes, positive, negative, batch_size)


def ours(model: ModelWithSAEs, pairs: Sequence[PromptPair], layers: Sequence[int]) -> Found:
    """Identify with the package."""
    positive, negative = saif.capture_pairs(model, pairs, layers)
    rankings = saif.rank_captured(model, positive, negative)
    residual = {layer: torch.cat([positive[layer], negative[layer]]) for layer in layers}
    return Found(residual, {layer: ranking.order for layer, ranking in rankings.items()})


def compare_identification(
    model: ModelWithSAEs,
    pairs: Sequence[PromptPair],
    works: dict[str, list[int]],
    repeats: int,
    batch_size: int = BATCH,
) -> list[dict]:
    """Time identification with all methods, in interleaved rounds.

    Args:
        model: The model and its SAEs.
        pairs: Prompt pairs.
        works: Captured layers, by name of the task.
        repeats: Number of rounds.
        batch_size: Prompts per forward pass; the package uses its own default.

    Returns:
        The rows.
    """
    work = unwrapped(model, pairs, batch_size)
    with peers_of(work) as (peers, missing):
        ways: dict[str, Way] = {
            LIMIT: partial(plain.identify, work),
            OURS: partial(ours, model, pairs),
            LOOP: partial(plain.identify_one_by_one, work),
            SHARING: partial(left_out.identify_sharing, work),
            **{peer.name: peer.identify for peer in peers},
        }
        of_peer = {peer.name: peer for peer in peers}
        keys = {(name, way): layers for name, layers in works.items() for way in ways}
        runs, notes = those_that_run(
            {key: partial(ways[key[1]], layers) for key, layers in keys.items()},
            {
                key: partial(check, ways, key[1], of_peer.get(key[1]), layers)
                for key, layers in keys.items()
            },
            missing,
            [*works],
        )
        left = f"; {left_out.tokens_left(work):.0%} of the tokens are left to read"
        for name in works:
            notes[name, SHARING] += left
        seconds = seconds_by_turns(runs, repeats)
    return rate_rows(PART, UNIT, len(pairs), seconds, notes, lambda name: (name, LIMIT))


def check(ways: dict[str, Way], way: str, peer: Peer | None, layers: Sequence[int]) -> str:
    """Return a note on whether a method's results agree with the package's."""
    found = ways[way](layers)
    if way == OURS:
        return ""
    if isinstance(peer, Nnterp):
        found = peer.found()
    note = agreement(found, ways[OURS](layers))
    return f"{note}; {peer.note}" if peer and peer.note else note


def prompt_pairs(model: ModelWithSAEs, number: int) -> list[PromptPair]:
    """Return prompt pairs of one instruction; up to 400 pairs have distinct contents."""
    instruction = saif.load_instructions()["french"]
    contents = saif.load_contents("identification")
    repeated = contents * -(-number // len(contents))
    return saif.make_pairs(instruction, repeated[:number], model.tokenizer)


def measure(options: Options) -> list[dict]:
    """Measure part a.

    Args:
        options: Sizes and repeats.

    Returns:
        The rows.
    """
    model = saif.load("organism", "S" if options.quick else "M")
    pairs = prompt_pairs(model, 16 if options.quick else 96)
    last = model.n_layers - 1
    works = {
        "identify, middle layer": [last // 2],
        "identify, last layer": [last],
        "identify, all layers": [*range(model.n_layers)],
    }
    return compare_identification(model, pairs, works, options.repeats)
