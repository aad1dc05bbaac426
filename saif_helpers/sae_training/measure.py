"""How good a trained SAE is, on text that it was not trained on and at the read-out token.

The beginning of the sequence is left out of every number but one: its residual stream is a hundred
times as long as all others and the same in every text, so that it rules an explained variance that
counts it.
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
"""Validation sentences for each instruction, at whose read-out token SAEs are measured."""


@dataclass(frozen=True)
class SAEQuality:
    """How good an SAE is.

    Attributes:
        layer: The layer.
        width: Number of latents.
        n_tokens: Tokens of held-out text, without the beginnings.
        explained_variance: Share of the variance explained on them, 1 being all.
        explained_variance_with_first: The same with the beginnings counted.
        l0: Mean number of active latents.
        loss: Cross-entropy of the model's next token there, in nats.
        loss_recovered: Share of the loss lost by zeroing the stream that the SAE keeps.
        n_prompts: Prompts with an instruction.
        explained_variance_read_out: Share of the variance explained at their last token.
        l0_read_out: Mean number of active latents there.
        n_dead_tokens: Tokens on which latents were looked for that are never active.
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
        texts: Rendered texts that the SAE was not trained on.
        layer: The layer.
        width: Number of latents.
        seen: Residual stream of much text, trained on or not, to look for dead latents.

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
    """Return prompts with the shipped instructions, about validation sentences.

    Args:
        model: The prompts suit its corpus and are rendered for it.

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
