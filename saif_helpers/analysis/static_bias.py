"""A static bias on the logits: how much of final-layer steering needs neither vector nor SAE.

After the last layer only the final norm and the unembedding follow, W_U norm(z + v). Up to the
norm's scale, which differs from token to token, that is a fixed bias on the vocabulary (ours).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from saif_helpers._internal.arguments import whole_number
from saif_helpers.activations import capture
from saif_helpers.analysis.vocabulary import logit_lens
from saif_helpers.generation.decoding import NOTHING_BUT_GREEDY
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.model.tokens import batches
from saif_helpers.steering import text_of
from saif_helpers.vectors import SteeringVector


def static_bias(
    model: ModelWithSAEs, vector: SteeringVector, prompts: Sequence[str]
) -> Float[Tensor, "vocabulary"]:
    """Compute the logit bias of a vector after the last layer, with one scale for all tokens.

    The scale is the mean root mean square of the residual stream at the prompts' last token, by
    which an RMS norm would divide the vector.

    Args:
        model: The model.
        vector: A vector for its last layer.
        prompts: Rendered prompts.

    Returns:
        What the vector adds to each token's logit.
    """
    last = model.n_layers - 1
    rows = capture(model, prompts, [last])[last].float()
    scale = rows.square().mean(1).sqrt().mean()
    own = vector.vector.float().cpu()
    return logit_lens(model, own[None])[0] * own.square().mean().sqrt() / scale


class _Bias(LogitsProcessor):
    """Add a bias to the logits, fading from token to token."""

    def __init__(self, bias: Tensor, prompt_tokens: int, decay: float) -> None:
        self.bias, self.prompt_tokens, self.decay = bias, prompt_tokens, decay

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        faded = self.decay ** (input_ids.shape[1] - self.prompt_tokens)
        return scores + faded * self.bias.to(scores)


def generate_biased(
    model: ModelWithSAEs,
    prompts: Sequence[str],
    bias: Float[Tensor, "vocabulary"],
    *,
    decay: float = 1.0,
    max_new_tokens: int = 40,
    batch_size: int = 64,
) -> list[str]:
    """Generate greedily with a bias on the logits, by transformers' own ``generate``.

    Args:
        model: The model.
        prompts: Rendered prompts.
        bias: What is added to the logits.
        decay: Factor on the bias from one token of the output to the next; 0 adds it only at the
            first.
        max_new_tokens: Maximum number of tokens of an output.
        batch_size: Prompts per batch.

    Returns:
        The outputs.

    Raises:
        ValueError: If the model is remote.
    """
    model.require_local("a bias on the logits")
    max_new_tokens = whole_number("max_new_tokens", max_new_tokens)
    options = NOTHING_BUT_GREEDY | {"do_sample": False, "max_new_tokens": max_new_tokens}
    options |= {"eos_token_id": model.stop_ids, "pad_token_id": model.tokenizer.pad_token_id}
    outputs = [""] * len(prompts)
    for rows, batch in batches(prompts, model.tokenizer, batch_size):
        tokens = {name: batch[name].to(model.device) for name in ("input_ids", "attention_mask")}
        length = tokens["input_ids"].shape[1]
        added = LogitsProcessorList([_Bias(bias, length, decay)])
        with torch.no_grad():
            written = model.hf.generate(**tokens, **options, logits_processor=added)
        for row, ids in zip(rows, written[:, length:].tolist(), strict=True):
            outputs[row] = text_of(model, ids)
    return outputs
