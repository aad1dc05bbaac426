"""Evaluation of a trained SAE on held-out text and at the read-out token.

All measures but one exclude the beginning of the sequence: its residual stream has a norm a hundred
times as large as all others and is the same in every text, so that it would dominate the explained
variance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor

from saif_helpers.activations import capture, capture_tokens
from saif_helpers.analysis.reconstruction import error_statistics, reconstruction_quality
from saif_helpers.contents import load_contents
from saif_helpers.instructions import load_instructions
from saif_helpers.latents import encode_parts
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.prompts import make_pairs

N_SENTENCES = 2
"""Number of validation sentences per instruction for the measures at the read-out token."""


@dataclass(frozen=True)
class SAEQuality:
    """Quality of an SAE.

    Attributes:
        layer: The layer.
        width: Number of latents.
        n_tokens: Number of tokens of held-out text, without beginnings of sequences.
        explained_variance: Share of the variance explained on them.
        explained_variance_with_first: The same with beginnings of sequences.
        l0: Mean number of active latents.
        loss: Cross-entropy of the model's next token there, in nats.
        loss_recovered: Share of the loss increase under zero ablation that the SAE avoids.
        n_prompts: Number of prompts with an instruction.
        explained_variance_read_out: Share of the variance explained at their last token.
        l0_read_out: Mean number of active latents there.
        n_dead_tokens: Number of tokens used to find dead latents.
        dead: Share of latents that are active on none of these.
    """

    layer: int
    width: int
    n_tokens: int
    explained_variance: float
    explained_variance_with_first: float
    l0: float
    loss: float
    loss_recovered: float
    n_prompts: int
    explained_variance_read_out: float
    l0_read_out: float
    n_dead_tokens: int
    dead: float


def sae_quality(
    model: ModelWithSAEs,
    texts: Sequence[str],
    layer: int,
    width: int,
    seen: Float[Tensor, "tokens d_model"],
) -> SAEQuality:
    """Measure an SAE.

    Args:
        model: The model and its SAEs.
        texts: Rendered held-out texts.
        layer: The layer.
        width: Number of latents.
        seen: Residual stream of a large text, to find dead latents.

    Returns:
        The measurements.
    """
    quality = reconstruction_quality(model, texts, layer, width, batch_size=16)
    sae = model.saes[layer, width]
    streams = [part[layer] for part in capture_tokens(model, texts, [layer], batch_size=16)]
    start = model.tokenizer.bos_token
    first = capture(model, [start], [layer])[layer] if start else torch.empty(0, model.d_model)
    with_first = error_statistics(sae, [*streams, first.expand(len(texts), -1)])
    prompts = read_out_prompts(model)
    at_read_out = error_statistics(sae, [capture(model, prompts, [layer])[layer]])
    fired = torch.zeros(width, dtype=torch.bool)
    for part in seen.split(2**14):
        for _, latents in encode_parts(sae, part.float()):
            fired |= (latents > 0).any(0)
    return SAEQuality(
        layer=layer,
        width=width,
        n_tokens=quality.n_tokens,
        explained_variance=quality.explained_variance,
        explained_variance_with_first=with_first["explained_variance"],
        l0=quality.l0,
        loss=quality.loss,
        loss_recovered=quality.loss_recovered,
        n_prompts=len(prompts),
        explained_variance_read_out=at_read_out["explained_variance"],
        l0_read_out=at_read_out["l0"],
        n_dead_tokens=len(seen),
        dead=1 - fired.double().mean().item(),
    )


def read_out_prompts(model: ModelWithSAEs) -> list[str]:
    """Return prompts with the shipped instructions and validation sentences.

    Args:
        model: The model, for its corpus and chat template.

    Returns:
        `N_SENTENCES` prompts for each instruction and each position of the wording.
    """
    contents = load_contents("validation", model.corpus)[:N_SENTENCES]
    instructions = load_instructions(model.corpus).values()
    return [
        pair.positive
        for instruction, position in product(instructions, ("after", "before"))
        for pair in make_pairs(instruction, contents, model.tokenizer, position=position)
    ]
