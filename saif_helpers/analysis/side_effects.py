"""Side effects of steering: loss of fluency and of content, and unwanted changes.

The abstract reports none (standing: ours). Repetition is in `text.repetition`.
"""

from collections.abc import Sequence

import nnsight
import torch
from jaxtyping import Float
from sacrebleu.metrics import CHRF
from torch import Tensor

from saif_helpers._internal.errors import ArgumentError
from saif_helpers.model.batching import check_context_length, run_batches_with_oom_retry
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.model.tokens import order_by_length, pad, token_ids


def output_loss(
    model: ModelWithSAEs, prompts: Sequence[str], outputs: Sequence[str], batch_size: int = 64
) -> Float[Tensor, "outputs"]:
    """Compute the unsteered model's cross-entropy on each output as the answer to its prompt.

    To measure fluency, give prompts that contain the instruction. The exponential of the mean is
    the perplexity.

    Args:
        model: The model.
        prompts: Rendered prompts (see `render`).
        outputs: An output for each prompt.
        batch_size: Outputs in one forward pass; halved if that does not fit into memory.

    Returns:
        Mean cross-entropy of each output's tokens, in nats per token; NaN for an output
        without tokens and, with a warning, where the residual stream overflows the model's dtype.
        The end-of-turn token is not counted.

    Raises:
        ValueError: If there is not one output for each prompt or no prompts, a prompt is not
            rendered or does not fit into the context with its output, or the model is remote.
    """
    if len(prompts) != len(outputs) or not prompts:
        raise ArgumentError(
            f"{len(outputs)} outputs given for {len(prompts)} prompts; give one for each", "outputs"
        )
    model.require_local("the loss of an output")
    asked = token_ids(prompts, model.tokenizer)
    written = model.tokenizer(list(outputs), add_special_tokens=False)["input_ids"]
    whole = [a + w for a, w in zip(asked, written, strict=True)]
    check_context_length(model, whole)
    lengths = [*map(len, whole)]
    losses = torch.full((len(outputs),), torch.nan)
    order = [row for row in order_by_length(whole) if written[row]]

    def step(rows: list[int]) -> Tensor:
        return _batch_losses(model, [asked[i] for i in rows], [written[i] for i in rows])

    for rows, found in run_batches_with_oom_retry(
        order, step, batch_size, lengths=lengths, description="losses"
    ):
        losses[rows] = found
        if found.isnan().any():
            model.warn_beyond_range("the losses of some outputs are not known")
    return losses


def _batch_losses(
    model: ModelWithSAEs, asked: Sequence[list[int]], written: Sequence[list[int]]
) -> Float[Tensor, "rows"]:
    """Return the mean loss of each row's output tokens, which are at the end of the row."""
    tokens = pad([a + w for a, w in zip(asked, written, strict=True)], model.tokenizer)
    longest = max(map(len, written))
    options = {"use_cache": False, "logits_to_keep": longest + 1}
    with torch.no_grad(), model.lm.trace(**tokens, **options) as tracer:
        logits = nnsight.save(tracer.result.logits)
    targets = tokens["input_ids"][:, -longest:].to(logits.device)
    each = torch.nn.functional.cross_entropy(
        logits[:, :-1].float().transpose(1, 2), targets, reduction="none"
    ).cpu()
    lengths = torch.tensor([len(w) for w in written])
    counted = torch.arange(longest) >= (longest - lengths)[:, None]
    return (each * counted).sum(1) / lengths


def content_kept(outputs: Sequence[str], references: Sequence[str]) -> Float[Tensor, "outputs"]:
    """Measure how similar each output is to its reference.

    Args:
        outputs: Generated texts.
        references: The correct answer to each.

    Returns:
        chrF of each output against its reference (sacrebleu), from 0 to 1.

    Raises:
        ValueError: If there is not one reference for each output.
    """
    if len(outputs) != len(references):
        raise ArgumentError(
            f"{len(references)} references given for {len(outputs)} outputs; give one for each",
            "references",
        )
    metric = CHRF()
    scores = [
        metric.sentence_score(output, [reference]).score / 100
        for output, reference in zip(outputs, references, strict=True)
    ]
    return torch.tensor(scores)
