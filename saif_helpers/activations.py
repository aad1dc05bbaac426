"""Capture of the residual stream through nnsight, in batches.

Paper, latent identification: the activations compared are those at the prompt's last token, here
called the read-out position (standing: ours).
"""

from collections.abc import Iterator, Mapping, Sequence

import nnsight
import torch
from jaxtyping import Float, Int
from torch import Tensor

from saif_helpers._internal.checked import checked
from saif_helpers._internal.errors import ArgumentError
from saif_helpers.model.batching import Parts, run_batches
from saif_helpers.model.cached_batches import cached_batches
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.model.tokens import without_bos
from saif_helpers.prompts import PromptPair


@checked
def capture(
    model: ModelWithSAEs,
    prompts: Sequence[str],
    layers: Sequence[int],
    batch_size: int | None = None,
) -> dict[int, Float[Tensor, "prompts d_model"]]:
    """Capture the residual stream at the read-out position, a prompt's last token.

    Each batch is one nnsight trace. The forward pass stops after the last requested layer, whose
    MLP is computed for the read-out position only. A remote model returns only these rows, with one
    request per batch. Rows differ by rounding error between batches and sets of layers.

    >>> residual = saif.capture(organism, prompts, layers=[0, 2])
    >>> residual[2].shape == (len(prompts), organism.d_model)
    True

    Args:
        model: The model.
        prompts: Rendered prompts (see `render`).
        layers: Layers to capture, counted from 0, in any order.
        batch_size: Prompts in one forward pass, grouped by length to save padding. By default 64,
            on a GPU as many as fit, see `batching.default_batch_size`.

    Returns:
        Layer to residual stream in float32, rows in the order of `prompts`, on the CPU.

    Raises:
        ValueError: If there is no such layer or nothing to capture, or the stream overflows.
    """
    wanted = _checked(model, layers)
    streams = {
        layer: torch.empty(len(prompts), model.d_model, dtype=torch.float32) for layer in wanted
    }

    def step(_: list[int], tokens: dict[str, Tensor]) -> dict[str, Tensor]:
        found = _trace(model, tokens, wanted, slice(-1, None))
        return {str(layer): stream[:, 0].cpu() for layer, stream in found.items()}

    settings, given = {"layers": wanted}, f"layers {wanted}"
    for rows, found in cached_batches(
        model, prompts, step, batch_size, kind="capture", settings=settings, given=given
    ):
        for layer in wanted:
            streams[layer][rows] = found[str(layer)].float()
    for layer, stream in streams.items():
        if not stream.isfinite().all():
            raise ArgumentError(
                f"the residual stream of {model.name} after layer {layer} overflows "
                f"{model.lm.dtype}; load the model with dtype=torch.bfloat16 or torch.float32",
                "model",
            )
    return {layer: streams[layer] for layer in layers}


@checked
def capture_pairs(
    model: ModelWithSAEs, pairs: Sequence[PromptPair], layers: Sequence[int]
) -> tuple[dict[int, Float[Tensor, "pairs d_model"]], dict[int, Float[Tensor, "pairs d_model"]]]:
    """Capture the read-out position of the prompts with and without the instruction.

    >>> positive, negative = saif.capture_pairs(organism, pairs, layers=[0, 2])
    >>> positive[2].shape == negative[2].shape == (len(pairs), organism.d_model)
    True

    Args:
        model: The model.
        pairs: Prompt pairs.
        layers: The layers.

    Returns:
        Layer to residual stream, first with and then without the instruction.
    """
    prompts = [pair.positive for pair in pairs] + [pair.negative for pair in pairs]
    residual = capture(model, prompts, layers)
    halves = {layer: torch.tensor_split(stream, 2) for layer, stream in residual.items()}
    return (
        {layer: positive for layer, (positive, _) in halves.items()},
        {layer: negative for layer, (_, negative) in halves.items()},
    )


@checked
def capture_tokens(
    model: ModelWithSAEs,
    prompts: Sequence[str],
    layers: Sequence[int],
    batch_size: int | None = None,
) -> Iterator[dict[int, Float[Tensor, "tokens d_model"]]]:
    """Capture the residual stream at every token except padding and beginning-of-sequence.

    >>> batches = saif.capture_tokens(organism, prompts, layers=[2])
    >>> n_tokens = sum(len(streams[2]) for streams in batches)

    Args:
        model: The model.
        prompts: Rendered prompts or longer texts.
        layers: Layers to capture.
        batch_size: Prompts in one forward pass, by default as in `capture`, but 64 at most.

    Yields:
        One batch at a time, so that memory stays bounded: layer to residual stream, a row for each
        token, with the same tokens in the same order for every layer. Short prompts come first.

    Raises:
        ValueError: If a layer does not exist, there is nothing to capture, or the model is remote:
            the streams of all tokens are too large to download.
    """
    for _, (_, streams) in capture_batches(model, prompts, layers, batch_size):
        yield streams


def capture_batches(
    model: ModelWithSAEs,
    prompts: Sequence[str],
    layers: Sequence[int],
    batch_size: int | None = None,
) -> Parts[tuple[dict[str, Tensor], dict[int, Float[Tensor, "tokens d_model"]]]]:
    """Capture like `capture_tokens`, and yield the tokens of each batch too.

    Args:
        model: The model.
        prompts: Rendered prompts or longer texts.
        layers: Layers to capture.
        batch_size: Prompts in one forward pass, by default as in `capture`, but 64 at most.

    Yields:
        The rows of the batch's prompts; the batch from `tokens.tokenize`, and its streams.
    """
    model.require_local("the residual stream at every token")
    wanted = _checked(model, layers)

    def step(
        _: list[int], tokens: dict[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[int, Tensor]]:
        keep = without_bos(tokens, model.tokenizer)
        streams = _trace(model, tokens, wanted, slice(None))
        return tokens, {layer: streams[layer][keep.to(streams[layer].device)] for layer in layers}

    options = {"description": "capture", "given": f"layers {wanted}"}
    # At most 64, since processing all these tokens, such as encoding them, takes memory too.
    yield from run_batches(model, prompts, step, batch_size, **options, largest=64)


def _checked(model: ModelWithSAEs, layers: Sequence[int]) -> list[int]:
    """Validate the layers, and return them sorted and without duplicates."""
    if not layers:
        known = f"{model.name} has layers 0-{model.n_layers - 1}"
        raise ArgumentError(f"no layers given; {known}", "layers")
    for layer in layers:
        model.layer(layer)
    return sorted(set(layers))


def _trace(
    model: ModelWithSAEs,
    tokens: Mapping[str, Int[Tensor, "rows tokens"]],
    layers: Sequence[int],
    positions: slice,
) -> dict[int, Float[Tensor, "rows positions d_model"]]:
    """Run one batch up to the last of the layers and keep the residual stream at some positions.

    After attention, positions are independent, so the last layer's MLP runs only at the requested
    positions. Its output broadcasts over all positions; values elsewhere are wrong and are dropped.
    """
    modules = {layer: model.layer(layer) for layer in layers}
    mlp = getattr(modules[layers[-1]], "mlp", None) if positions != slice(None) else None
    options = {"use_cache": False, "remote": model.remote}
    with torch.no_grad(), model.lm.trace(**tokens, **options) as tracer:
        streams = nnsight.save({})
        for layer, module in modules.items():
            if mlp is not None and layer == layers[-1]:
                mlp.input = mlp.input[:, positions]
            streams[layer] = module.output[:, positions].detach().clone()
        tracer.stop()
    return streams
