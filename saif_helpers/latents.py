"""Latents of the residual stream: encode and decode with an SAE.

Paper (standing: stated): a(z) = sigma(z W_enc + b_enc), z_hat = a(z) W_dec + b_dec.
"""

from collections.abc import Iterator, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saif_helpers._internal.checked import checked
from saif_helpers._internal.errors import ArgumentError
from saif_helpers.model.saes import (
    SAE,
    check_input_scale,
    check_latents,
    input_width,
    layer_of,
    n_latents,
    sae_input,
)

ENCODED_AT_ONCE = 2**26
"""Maximum number of activations in a chunk of `encode_parts`: 256 MB, plus intermediates."""


@checked
def encode(
    sae: SAE,
    residual: Float[Tensor, "*rows d_model"] | Mapping[int, Float[Tensor, "*rows d_model"]],
) -> Float[Tensor, "*rows d_sae"]:
    """Encode residual stream into latents.

    >>> residual = saif.capture(organism, prompts, layers=[0, 2])
    >>> saif.encode(organism.saes[2], residual).shape[0] == len(prompts)
    True

    Args:
        sae: The SAE.
        residual: The residual stream after the SAE's layer, or the dict from `capture`.

    Returns:
        The non-negative activations, without gradient, in the SAE's dtype, on `residual`'s device.

    Raises:
        ValueError: If the residual stream has another layer or width than the SAE, the SAE was
            trained on scaled input and the scale is not folded into its weights, or it does not
            return one activation for each latent.
    """
    if isinstance(residual, Mapping):
        residual = _stream_of(sae, residual)
    check_input_scale(sae)
    if residual.shape[-1] != input_width(sae):
        raise ArgumentError(
            f"the residual stream is {residual.shape[-1]} wide, the SAE reads {input_width(sae)}; "
            "give the SAE of the model that the residual stream comes from",
            "residual",
        )
    with torch.no_grad():
        latents = sae.encode(sae_input(sae, residual.to(sae.W_dec)))
    check_latents(sae, latents, residual.shape[:-1])
    return latents.to(residual.device)


def _stream_of(
    sae: SAE, residual: Mapping[int, Float[Tensor, "*rows d_model"]]
) -> Float[Tensor, "*rows d_model"]:
    """Return the stream after an SAE's layer; if that is unknown, the only stream given."""
    layer = layer_of(sae)
    if layer is None and len(residual) == 1:
        (layer,) = residual
    if layer is None:
        raise ArgumentError(
            f"the SAE does not specify its layer, and the residual stream of the "
            f"layers {sorted(residual)} is given; give that of one layer",
            "residual",
        )
    if layer not in residual:
        raise ArgumentError(
            f"the SAE was trained on layer {layer}, but the residual stream of the layers "
            f"{sorted(residual)} is given; give the SAE of one of these, or capture layer {layer}",
            "residual",
        )
    return residual[layer]


def encode_parts(
    sae: SAE, residual: Float[Tensor, "rows d_model"]
) -> Iterator[tuple[Float[Tensor, "part d_model"], Float[Tensor, "part d_sae"]]]:
    """Encode many rows in chunks, since latents are far wider than the residual stream.

    Args:
        sae: The SAE.
        residual: As for `encode`.

    Yields:
        Chunks of rows, in order, and their latents.
    """
    for part in residual.split(max(1, ENCODED_AT_ONCE // n_latents(sae))):
        yield part, encode(sae, part)


@checked
def decode(sae: SAE, latents: Float[Tensor, "*rows d_sae"]) -> Float[Tensor, "*rows d_model"]:
    """Decode latents back into residual stream.

    >>> latents = saif.encode(sae, saif.capture(organism, prompts, layers=[0]))
    >>> saif.decode(sae, latents).shape == (len(prompts), organism.d_model)
    True

    Args:
        sae: The SAE.
        latents: Activations of its latents.

    Returns:
        The reconstruction, without gradient, on the device of `latents`.

    Raises:
        ValueError: If there is not one activation for each latent.
    """
    if latents.shape[-1] != n_latents(sae):
        said = f"{latents.shape[-1]} latents given; the SAE has {n_latents(sae)}"
        raise ArgumentError(said, "latents")
    with torch.no_grad():
        return sae.decode(latents.to(sae.W_dec)).to(latents.device)


def sum_of_directions(
    sae: SAE, latents: Int[Tensor, "k"], weights: Float[Tensor, "k"]
) -> Float[Tensor, "d_model"]:
    """Return a weighted sum of decoder directions.

    Args:
        sae: The SAE.
        latents: Which latents.
        weights: The weight of each.

    Returns:
        sum over j of weight_j W_dec[latent_j], on the device of `weights`.
    """
    W_dec = sae.W_dec.detach()
    return (weights.to(W_dec) @ W_dec[latents.to(W_dec.device)]).to(weights.device)


def layer_to_steer(sae: SAE, layer: int | None, ranked: int | None = None) -> int:
    """Return the layer that an SAE's latents steer.

    Args:
        sae: The SAE, whose configuration may contain its layer.
        layer: The layer given by the caller, if any.
        ranked: The layer of the ranking, if known.

    Returns:
        The layer.

    Raises:
        ValueError: If no layer is known, or two differ.
    """
    named = layer_of(sae)
    said = {at for at in (named, ranked, layer) if at is not None}
    if not said:
        raise ArgumentError("the SAE does not specify its layer; give layer=", "layer")
    if None not in (named, ranked) and named != ranked:
        raise ArgumentError(
            f"the ranking is of latents of layer {ranked}, the SAE of layer {named}; give its SAE",
            "sae",
        )
    if len(said) > 1:
        said = f"layer {layer} needs its own SAE; the given one is of layer {min(said - {layer})}"
        raise ArgumentError(said, "layer")
    return said.pop()
