"""A steering vector trained by gradient: what one vector can do at a layer (ours).

It tells what a layer allows from what a rule reaches. It is no method for steering by latents: it
reads answers, and fits them.
"""

from collections.abc import Sequence

import nnsight
import torch
from jaxtyping import Float
from torch import Tensor

from saif_helpers._internal.arguments import check_some, seed_number, whole_number
from saif_helpers._internal.errors import ArgumentError
from saif_helpers._internal.progress import progress
from saif_helpers.activations import capture
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.model.tokens import pad, token_ids
from saif_helpers.placements import Placement
from saif_helpers.vectors import SteeringVector


def trained_vector(
    model: ModelWithSAEs,
    prompts: Sequence[str],
    answers: Sequence[str],
    layer: int,
    *,
    placement: Placement = "last_prompt_token",
    decay: float = 0.8,
    steps: int = 150,
    batch_size: int = 32,
    rate: float = 0.02,
    seed: int = 0,
) -> SteeringVector:
    """Train one vector to make the model write given answers to prompts without the instruction.

    Adam on the cross-entropy of the answers' tokens, with the vector added at the positions at
    which `generate` would add it.

    Args:
        model: The model.
        prompts: Rendered prompts without the instruction, of the identification split.
        answers: The answer to write to each.
        layer: The layer after which the vector is added.
        placement: ``"last_prompt_token"``, ``"generated_tokens"`` or ``"decaying"``.
        decay: Factor from one token of the answer to the next, for ``"decaying"``.
        steps: Number of training steps.
        batch_size: Prompts in a step.
        rate: Learning rate, in units of the residual stream's root mean square.
        seed: Seed of the order of prompts.

    Returns:
        The vector, at its placement.

    Raises:
        ValueError: If there is not one answer for each prompt, the placement is another one, or the
            model is remote.
    """
    check_some(prompts=prompts)
    if len(answers) != len(prompts):
        said = f"{len(answers)} answers given for {len(prompts)} prompts; give one for each"
        raise ArgumentError(said, "answers")
    if placement not in ("last_prompt_token", "generated_tokens", "decaying"):
        raise ArgumentError(
            f"placement={placement!r} given; a vector is trained at the last prompt token, at the "
            "generated tokens, or decaying",
            "placement",
        )
    model.require_local("training a vector")
    asked = token_ids(prompts, model.tokenizer)
    ended = [f"{answer}{model.turn_end}" for answer in answers]
    written = model.tokenizer(ended, add_special_tokens=False)["input_ids"]
    unit = capture(model, prompts[:batch_size], [layer])[layer].float().square().mean().sqrt()
    vector = torch.zeros(model.d_model, requires_grad=True)
    optimizer = torch.optim.Adam([vector], lr=rate * unit.item())
    generator = torch.Generator().manual_seed(seed_number(seed))
    for _ in progress(range(whole_number("steps", steps)), "training a vector"):
        rows = torch.randperm(len(prompts), generator=generator)[:batch_size].tolist()
        batch = [(asked[row], written[row]) for row in rows]
        vector.grad = _gradient(model, batch, layer, vector, placement, decay)
        optimizer.step()
    trained = SteeringVector(layer, vector.detach(), f"trained vector, {steps} steps")
    return trained.at(placement, decay)


def _gradient(
    model: ModelWithSAEs,
    batch: Sequence[tuple[list[int], list[int]]],
    layer: int,
    vector: Float[Tensor, "d_model"],
    placement: Placement,
    decay: float,
) -> Float[Tensor, "d_model"]:
    """Return the gradient of the answers' mean cross-entropy with respect to the vector."""
    tokens = pad([asked + written for asked, written in batch], model.tokenizer)
    scales = torch.zeros(tokens["input_ids"].shape)
    targets = torch.full(scales.shape, -100)  # not counted
    for row, (_, written) in enumerate(batch):
        n = len(written)
        later = {"last_prompt_token": 0.0, "generated_tokens": 1.0}.get(placement, decay)
        fading = [later**t if later else 0.0 for t in range(1, n)]
        scales[row, -n - 1 : -1] = torch.tensor([placement != "generated_tokens", *fading])
        targets[row, -n - 1 : -1] = torch.tensor(written)
    with model.lm.trace(**tokens, use_cache=False) as tracer:
        residual = model.layer(layer).output
        added = vector.detach().to(residual).requires_grad_()
        model.layer(layer).output = residual + scales.to(residual)[:, :, None] * added
        loss = torch.nn.functional.cross_entropy(
            tracer.result.logits.float().transpose(1, 2), targets.to(residual.device)
        )
        # Not backward(), which would also store a gradient for every weight of the model.
        (gradient,) = torch.autograd.grad(loss, added)
        gradient = nnsight.save(gradient.detach())
    return gradient.float().cpu()
