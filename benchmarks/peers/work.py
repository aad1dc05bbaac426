"""The tasks of the peers, and a ranking in plain PyTorch.

This module does not import `saif_helpers`, so that `nnterp_process` can import it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from sae_lens import SAE
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

TOP = 15  # latents whose order must be the same for all methods


@dataclass(frozen=True)
class Work:
    """An unwrapped model, its SAEs, and prompts.

    Attributes:
        lm: The model as transformers loads it.
        tokenizer: Its tokenizer, with padding on the left.
        saes: SAEs by layer.
        positive: Prompts with the instruction.
        negative: The same prompts without the instruction.
        batch_size: Prompts per forward pass.
    """

    lm: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    saes: Mapping[int, SAE]
    positive: list[str]
    negative: list[str]
    batch_size: int


@dataclass(frozen=True)
class Found:
    """The results of an identification.

    Attributes:
        residual: Residual stream at the last token by layer, of the positive prompts followed by
            the negative ones.
        order: Latents by layer, the most sensitive first.
    """

    residual: dict[int, Tensor] = field(default_factory=dict)
    order: dict[int, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """A generation task: complete answers with greedy decoding.

    Attributes:
        prompts: The prompts.
        batch_size: Prompts per batch.
        new_tokens: Maximum number of tokens generated for a prompt.
        stop_ids: Tokens that end an answer.
    """

    prompts: list[str]
    batch_size: int
    new_tokens: int
    stop_ids: list[int]


def decoded(tokenizer: PreTrainedTokenizerBase, ids: Tensor, asked: Asked) -> list[str]:
    """Decode answers up to the end token; some methods continue generating after it.

    Args:
        tokenizer: The tokenizer.
        ids: Generated tokens, a row for each answer.
        asked: The task, for its end tokens.

    Returns:
        The texts.
    """
    ended = torch.isin(ids, torch.tensor(asked.stop_ids, device=ids.device)).cumsum(1) > 0
    ids = ids.masked_fill(ended, tokenizer.pad_token_id)
    return tokenizer.batch_decode(ids, skip_special_tokens=True)


@torch.no_grad()
def rank(saes: Mapping[int, SAE], residual: Mapping[int, Tensor]) -> Found:
    """Encode and rank by sensitivity, as `saif_helpers.rank_latents` does, in plain PyTorch.

    Args:
        saes: SAEs by layer.
        residual: As in `Found`.

    Returns:
        The residual streams and rankings.
    """
    found = Found(dict(residual))
    for layer, rows in residual.items():
        positive, negative = saes[layer].encode(rows).tensor_split(2)
        found.order[layer] = order(positive, negative)
    return found


def order(positive: Tensor, negative: Tensor) -> Tensor:
    """Order latents by sensitivity, then by their mean, then by their index."""
    sensitivity = ((positive > 0) & (negative == 0)).float().mean(0)
    by_mean = positive.mean(0).sort(descending=True, stable=True).indices
    return by_mean[sensitivity[by_mean].sort(descending=True, stable=True).indices]


def agreement(found: Found, ours: Found) -> str:
    """Return a note on the agreement of two identifications.

    Args:
        found: Results of another method.
        ours: Results of this package.

    Returns:
        A note on the largest difference of the read-out activations, and on the top latents.
    """
    largest = max((found.residual[at] - rows).abs().max() for at, rows in ours.residual.items())
    other = [at for at, order in ours.order.items() if not order[:TOP].equal(found.order[at][:TOP])]
    note = f"read-out activations differ by at most {largest:.1g}; top {TOP} latents "
    if not other:
        return f"agrees: {note}equal"
    return f"differs: {note}not equal after layer {', '.join(map(str, other))}"
