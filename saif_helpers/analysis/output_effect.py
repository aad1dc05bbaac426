"""Output effect: how a latent changes what the model writes, which its activation does not show.

Later work on steering with SAEs ranks latents by their effect on the output rather than their
response to the input (GradSAE, arXiv:2505.08080; output scores, arXiv:2505.20063). The paper uses
neither. Both are computed here at the read-out position (standing: ours).
"""

from collections.abc import Sequence

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
    if not prompts:
        raise ArgumentError("output_scores was given no prompts; give at least one", "prompts")
    directions = sae.W_dec.detach()[latents]
    own = logit_lens(model, directions).topk(n_tokens, dim=1).indices
    offsets = factor * ranking.mean[latents].to(directions)[:, None] * directions
    rows = [prompt for prompt in prompts for _ in latents]
    scores = torch.zeros(len(rows))

    def step(at: list[int], tokens: dict[str, Tensor]) -> Tensor:
        which = torch.as_tensor(at) % len(latents)
        with torch.no_grad(), model.lm.trace(**tokens, use_cache=False) as tracer:
            residual = model.layer(layer).output
            change = torch.zeros_like(residual)
            change[:, -1] = offsets[which].to(residual)
            model.layer(layer).output = residual + change
            logits = nnsight.save(tracer.result.logits[:, -1])
        logits = logits.float().cpu()
        mine = logits.gather(1, own[which])
        best = mine.max(1, keepdim=True).values
        rank = (logits > best).sum(1)
        probability = logits.softmax(-1).gather(1, own[which]).max(1).values
        return (1 - rank / logits.shape[1]) * probability

    sizing = {"all_logits": True, "without_gpu": 256}
    for at, part in run_batches(
        model, rows, step, batch_size, description="output scores", **sizing
    ):
        scores[at] = part
    return scores.reshape(len(prompts), len(latents)).mean(0)
