"""Output effect: how a latent changes what the model writes, which its activation does not show.

Later work on steering with SAEs ranks latents by their effect on the output rather than their
response to the input (GradSAE, arXiv:2505.08080; output scores, arXiv:2505.20063). The paper uses
neither. Both are computed here at the read-out position (standing: ours).
"""

from collections.abc import Iterator, Sequence

import nnsight
import torch
from jaxtyping import Float, Int
from torch import Tensor

from saif_helpers._internal.errors import ArgumentError
from saif_helpers.analysis.vocabulary import logit_lens
from saif_helpers.latents import encode
from saif_helpers.model.batching import run_batches
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.model.saes import SAE
from saif_helpers.ranking import LatentRanking


def gradient_influence(
    model: ModelWithSAEs,
    sae: SAE,
    prompts: Sequence[str],
    answers: Sequence[str],
    layer: int,
    batch_size: int | None = None,
) -> Float[Tensor, "d_sae"]:
    """Measure how much each latent raises the probability of the answer's first token.

    Mean over prompts of max(0, a_j * dp / da_j), where p is the probability of the correct answer's
    first token and a_j the latent's activation at the read-out position; dp / da_j is the gradient
    of p along row j of ``W_dec``. GradSAE (arXiv:2505.08080) sums over all positions.

    Args:
        model: The model.
        sae: The SAE of the layer.
        prompts: Rendered prompts with the instruction.
        answers: The correct answer to each prompt.
        layer: The layer.
        batch_size: Prompts in one forward and backward pass. By default 64, on a GPU as many as
            fit, see `batching.default_batch_size`.

    Returns:
        The influence of each latent, in units of probability.

    Raises:
        ValueError: If there is not one answer for each prompt, an answer is empty, there are no
            prompts, or the model is remote.
    """
    if len(prompts) != len(answers) or not prompts:
        raise ArgumentError(
            f"{len(answers)} answers given for {len(prompts)} prompts; give one each", "answers"
        )
    ids = model.tokenizer(list(answers), add_special_tokens=False)["input_ids"]
    model.require_local("a gradient")
    empty = [number for number, tokens in enumerate(ids) if not tokens]
    if empty:
        raise ArgumentError(
            f"{len(empty)} of {len(ids)} answers are empty, the first of them answer {empty[0]}; "
            "leave out those prompts, or give answers with at least one token",
            "answers",
        )
    first = torch.tensor([tokens[0] for tokens in ids])
    W_dec = sae.W_dec.detach()
    total = torch.zeros(len(W_dec))

    def step(rows: list[int], tokens: dict[str, Tensor]) -> Tensor:
        targets = first[rows]
        with model.lm.trace(**tokens, use_cache=False) as tracer:
            residual = model.layer(layer).output
            residual.requires_grad_()
            logs = tracer.result.logits[:, -1].float().log_softmax(-1)
            right = logs.gather(1, targets[:, None].to(logs.device))
            # Not backward(), which would also store a gradient for every weight of the model.
            (gradient,) = torch.autograd.grad(right.sum(), residual)
            gradient = nnsight.save(gradient[:, -1].clone())
            state = nnsight.save(residual[:, -1].detach().clone())
            probability = nnsight.save(right.detach().exp())
        # dp = p d(log p): the gradient of a small p would underflow in float16.
        gradient = probability.to(W_dec) * gradient.to(W_dec)
        influence = encode(sae, state.to(W_dec)) * (gradient @ W_dec.T)
        return influence.clamp(min=0).sum(0).cpu().float()

    # The activations kept for the backward pass take about as much memory as all logits.
    for _, part in run_batches(
        model, prompts, step, batch_size, description="gradients", all_logits=True
    ):
        total += part
    return total / len(prompts)


def output_scores(
    model: ModelWithSAEs,
    sae: SAE,
    ranking: LatentRanking,
    latents: Int[Tensor, "latents"],
    prompts: Sequence[str],
    layer: int,
    *,
    factor: float = 10.0,
    n_tokens: int = 20,
    batch_size: int | None = None,
) -> Float[Tensor, "latents"]:
    """Measure how reliably amplifying a latent makes the model write the tokens that it promotes.

    After adding `factor` times the latent's mean activation along its decoder direction at the
    read-out position: (1 - r / V) * p, where r is the best rank among the next-token probabilities
    that one of the latent's `n_tokens` most promoted tokens (`vocabulary.logit_lens`) gets, p the
    largest probability of one of them, and V the size of the vocabulary (arXiv:2505.20063; the
    mean over several prompts is ours).

    Args:
        model: The model.
        sae: The SAE of the layer.
        ranking: The layer's ranking, for the mean activations.
        latents: The latents to score.
        prompts: Rendered prompts without the instruction.
        layer: The layer.
        factor: Multiple of its mean activation that is added.
        n_tokens: Number of promoted tokens that count as the latent's own.
        batch_size: Rows in one forward pass, one for each latent and prompt. By default 256, on a
            GPU as many as fit, see `batching.default_batch_size`.

    Returns:
        The mean score of each latent over the prompts, from 0 to 1.

    Raises:
        ValueError: If there are no prompts, or the model is remote.
    """
    own = logit_lens(model, sae.W_dec.detach()[latents]).topk(n_tokens, dim=1).indices
    offsets = _amplified(sae, ranking, latents, factor)

    def score(logits: Float[Tensor, "latents vocabulary"]) -> Float[Tensor, "latents"]:
        mine = logits.gather(1, own)
        best = mine.max(1, keepdim=True).values
        rank = (logits > best).sum(1)
        return (1 - rank / logits.shape[1]) * logits.softmax(-1).gather(1, own).max(1).values

    steered = _next_logits(model, prompts, offsets, layer, batch_size)
    return torch.stack([score(logits) for logits in steered]).mean(0)


def next_token_changes(
    model: ModelWithSAEs,
    sae: SAE,
    ranking: LatentRanking,
    latents: Int[Tensor, "latents"],
    prompts: Sequence[str],
    layer: int,
    *,
    factor: float = 10.0,
    batch_size: int | None = None,
) -> Float[Tensor, "latents"]:
    """Measure how much amplifying a latent changes the distribution of the next token.

    The total variation distance of the next-token distributions with and without `factor` times the
    latent's mean activation along its decoder direction at the read-out position. Selection by such
    a change is from arXiv:2510.03659, which compares the confidence of the two distributions; the
    distance is ours.

    Args:
        model: The model.
        sae: The SAE of the layer.
        ranking: The layer's ranking, for the mean activations.
        latents: The latents to measure.
        prompts: Rendered prompts without the instruction.
        layer: The layer.
        factor: Multiple of its mean activation that is added.
        batch_size: As for `output_scores`.

    Returns:
        The mean distance of each latent over the prompts, from 0 to 1.

    Raises:
        ValueError: If there are no prompts, or the model is remote.
    """
    offsets = _amplified(sae, ranking, latents, factor)
    offsets = torch.cat([torch.zeros_like(offsets[:1]), offsets])

    def change(logits: Float[Tensor, "rows vocabulary"]) -> Float[Tensor, "latents"]:
        before, *after = logits.softmax(-1)
        return (torch.stack(after) - before).abs().sum(1) / 2

    steered = _next_logits(model, prompts, offsets, layer, batch_size)
    return torch.stack([change(logits) for logits in steered]).mean(0)


def _amplified(
    sae: SAE, ranking: LatentRanking, latents: Int[Tensor, "latents"], factor: float
) -> Float[Tensor, "latents d_model"]:
    """Return what is added to amplify each latent: a multiple of its mean along its direction."""
    directions = sae.W_dec.detach()[latents]
    return factor * ranking.mean[latents].to(directions)[:, None] * directions


def _next_logits(
    model: ModelWithSAEs,
    prompts: Sequence[str],
    offsets: Float[Tensor, "offsets d_model"],
    layer: int,
    batch_size: int | None,
) -> Iterator[Float[Tensor, "offsets vocabulary"]]:
    """Compute the next token's logits for each prompt, each offset added at the read-out token."""
    if not prompts:
        raise ArgumentError("no prompts given; give at least one", "prompts")

    def step(at: list[int], tokens: dict[str, Tensor]) -> Tensor:
        with torch.no_grad(), model.lm.trace(**tokens, use_cache=False) as tracer:
            residual = model.layer(layer).output
            change = torch.zeros_like(residual)
            change[:, -1] = offsets[at].to(residual)
            model.layer(layer).output = residual + change
            logits = nnsight.save(tracer.result.logits[:, -1])
        return logits.float().cpu()

    sizing = {"all_logits": True, "without_gpu": 256, "description": "next tokens"}
    for prompt in prompts:
        found = {}
        for at, part in run_batches(model, [prompt] * len(offsets), step, batch_size, **sizing):
            found |= zip(at, part, strict=True)
        yield torch.stack([found[row] for row in range(len(offsets))])
