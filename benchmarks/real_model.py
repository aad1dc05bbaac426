"""Part g: a real model, SmolLM2: identification, steered generation, and llama.cpp.

The comparisons are those of parts a and b, with the number format that the package chooses on this
machine. llama.cpp reads the original file, with 4-bit weights, and writes other texts.
"""

from collections.abc import Sequence
from functools import partial

import torch

import saif_helpers as saif
from benchmarks.generation import OURS, PLAIN, UNIT, compare_generation, compare_ways, steered
from benchmarks.identification import compare_identification, unwrapped
from benchmarks.peers import Unavailable, plain, reason
from benchmarks.peers.with_llama_cpp import LlamaCpp
from benchmarks.peers.work import Asked
from benchmarks.timing import Options, row
from saif_helpers.hub import smollm2
from saif_helpers.hub.gguf_files import models_folder
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.prompts import PromptPair
from saif_helpers.vectors import SteeringVector

PART = "g"
NEW_TOKENS, ROOM = 24, 256
OTHER_FORMAT = "saif_helpers, the other number format"
EVERY = "generate, steered at every position, with llama.cpp"
SWEEP = "generate, a sweep's batch: eight settings of the same prompts"
SETTINGS = 8


def pairs_of(model: ModelWithSAEs, number: int) -> list[PromptPair]:
    """Return prompt pairs of *answer in French*, with distinct contents."""
    instruction = saif.load_instructions(model.corpus)["answer_french"]
    contents = saif.load_contents("identification", model.corpus)[:number]
    return saif.make_pairs(instruction, contents, model.tokenizer, languages=["en"])


def compare_sweep(
    model: ModelWithSAEs, pairs: Sequence[PromptPair], options: Options
) -> list[dict]:
    """Time a batch as sweeps have it: each prompt several times, with a vector of its own.

    Args:
        model: SmolLM2.
        pairs: Prompt pairs; the prompts without the instruction are answered.
        options: Repeats.

    Returns:
        The rows.
    """
    prompts = [pair.negative for pair in pairs] * SETTINGS
    asked = Asked(prompts, len(prompts), NEW_TOKENS, model.stop_ids)
    zeros = SteeringVector(model.n_layers // 2, torch.zeros(model.d_model), "zeros")
    # Equal rows would be computed once, so each setting has a decay of its own.
    decays = (setting / SETTINGS for setting in range(SETTINGS))
    vectors = [zeros.at("decaying", decay) for decay in decays for _ in pairs]
    work = unwrapped(model, pairs)
    ways = {
        (SWEEP, PLAIN): partial(plain.generate, work.lm, work.tokenizer, asked),
        (SWEEP, OURS): partial(steered, model, asked, vectors),
    }
    return compare_ways(PART, model, ways, (SWEEP, PLAIN), options.repeats)


def compare_llama_cpp(
    model: ModelWithSAEs, pairs: Sequence[PromptPair], options: Options
) -> list[dict]:
    """Time generation steered at every position: the package in both formats, and llama.cpp.

    Args:
        model: SmolLM2.
        pairs: Prompt pairs; the prompts without the instruction are answered.
        options: Repeats.

    Returns:
        The rows.
    """
    asked = Asked([p.negative for p in pairs], len(pairs), NEW_TOKENS, model.stop_ids)
    vector = SteeringVector(model.n_layers // 2, torch.zeros(model.d_model), "zeros")
    vector = vector.at("every_position")
    half = model.lm.dtype == torch.bfloat16
    other = saif.load(
        smollm2.NAME, saes={}, store=None, dtype=torch.float32 if half else torch.bfloat16
    )
    ways = {
        (EVERY, OURS): partial(steered, model, asked, vector),
        (EVERY, OTHER_FORMAT): partial(steered, other, asked, vector),
    }
    missing = []
    try:
        theirs = LlamaCpp(model, models_folder() / smollm2.FILE, ROOM)
        ways[EVERY, LlamaCpp.name] = partial(theirs.generate, asked, vector)
    except Unavailable as error:
        missing = [row(PART, EVERY, LlamaCpp.name, UNIT, note=reason(error))]
    found = compare_ways(PART, model, ways, (EVERY, OURS), options.repeats)
    found[0]["note"] = f"in {model.lm.dtype}".replace("torch.", "")
    return found + missing


def measure(options: Options) -> list[dict]:
    """Measure part g.

    Args:
        options: Sizes and repeats.

    Returns:
        The rows.
    """
    model = saif.load(smollm2.NAME, store=None)
    few, many = (2, 2) if options.quick else (16, 64)
    layers = model.saes.layers
    works = {"identify, middle SAE": [layers[len(layers) // 2]], "identify, all SAEs": layers}
    found = compare_identification(model, pairs_of(model, few), works, options.repeats)
    found += compare_generation(model, pairs_of(model, many), options.repeats, many, NEW_TOKENS)
    found += compare_sweep(model, pairs_of(model, few), options)
    found += compare_llama_cpp(model, pairs_of(model, few), options)
    return [{**one, "part": PART} for one in found]
