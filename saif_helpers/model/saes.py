"""The SAE protocol: SAE-Lens' SAEs, or any object with encode, decode and W_dec.

Only this file reads SAE-Lens' configurations.
"""

import re
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import sae_lens
from jaxtyping import Float
from torch import Tensor
from torch.nn import Module

from saif_helpers._internal.checked import ALSO
from saif_helpers._internal.errors import ArgumentError
from saif_helpers.cache.entry import tensors_digest


@runtime_checkable
class SAE(Protocol):
    """A sparse autoencoder of the residual stream: one of SAE-Lens, or any custom object.

    Latents are non-negative, and active if positive. ``W_dec``, a tensor of shape (latents,
    d_model), contains the decoder directions in residual-stream units.
    """

    if TYPE_CHECKING:  # isinstance does not find PyTorch parameters
        W_dec: Float[Tensor, "d_sae d_model"]

    def encode(self, residual: Tensor) -> Tensor:
        """Return the activation of each latent; the last dimension is d_sae."""

    def decode(self, latents: Tensor) -> Tensor:
        """Return the reconstruction; the last dimension is d_model."""


def check_sae(sae: Any) -> None:
    """Raise if an object is not an SAE.

    Raises:
        ValueError: If it has no ``encode``, ``decode`` or two-dimensional ``W_dec``.
    """
    W_dec = getattr(sae, "W_dec", None)
    if not isinstance(sae, SAE) or not isinstance(W_dec, Tensor) or W_dec.ndim != 2:
        raise ArgumentError(
            f"a {type(sae).__name__} given as an SAE; give an object with encode, decode and "
            "W_dec, a tensor of shape (latents, d_model)",
            "sae",
        )


ALSO[SAE] = check_sae


def n_latents(sae: SAE) -> int:
    """Return the number of latents of an SAE (d_sae)."""
    return sae.W_dec.shape[0]


def input_width(sae: SAE) -> int:
    """Return the width of the residual stream that an SAE encodes (d_model)."""
    return sae.W_dec.shape[1]


def n_bytes(sae: SAE) -> int:
    """Return the size of an SAE's weights in bytes; for a custom object that of W_dec."""
    weights = sae.parameters() if isinstance(sae, Module) else [sae.W_dec]
    return sum(tensor.nbytes for tensor in weights)


def sae_facts(sae: SAE) -> dict[str, Any]:
    """Return the known facts about an SAE: its widths, and SAE-Lens' configuration.

    Args:
        sae: The SAE.

    Returns:
        ``d_in``, ``d_sae``, and for SAE-Lens' SAEs the rest of the configuration.
    """
    widths = {"d_in": input_width(sae), "d_sae": n_latents(sae)}
    return (sae.cfg.to_dict() if isinstance(sae, sae_lens.SAE) else {}) | widths


def layer_of(sae: SAE) -> int | None:
    """Return the layer whose residual stream an SAE was trained on, or None if unknown.

    Raises:
        ValueError: As `sae_layer`.
    """
    return sae_layer(sae_facts(sae))


def sae_digest(sae: SAE) -> str:
    """Return a digest of an SAE, the same for equal SAEs.

    Returns:
        The sha256 sum of its weights and configuration. The state of a custom object is not known,
        so its digest is different each time.
    """
    if isinstance(sae, sae_lens.SAE):
        return tensors_digest(sae.state_dict(), [type(sae).__name__, sae.cfg.to_dict()])
    return secrets.token_hex(32)


def neuronpedia_id(sae: SAE) -> str | None:
    """Return the Neuronpedia id of an SAE, such as ``"gemma-2-2b/12-gemmascope-res-16k"``."""
    return _metadata(sae_facts(sae)).get("neuronpedia_id")


def _metadata(cfg: Mapping) -> Mapping:
    return cfg.get("metadata") or {}


def sae_layer(cfg: Mapping) -> int | None:
    """Return the layer whose residual stream an SAE was trained on, from its configuration.

    ``hook_resid_pre`` of layer N + 1 is ``hook_resid_post`` of layer N.

    Args:
        cfg: The SAE-Lens configuration as a dictionary (from ``cfg.json`` or `sae_facts`).

    Returns:
        The layer after which the residual stream is read, or None if there is no hook name.

    Raises:
        ValueError: If the hook is not the residual stream after a layer.
    """
    hook = _metadata(cfg).get("hook_name")
    if hook is None:
        return None
    if hook == "blocks.0.hook_resid_pre":
        raise ArgumentError(
            f"the SAE reads {hook!r}, the embedding, which precedes all layers; give an SAE of "
            "the residual stream after a layer",
            "sae",
        )
    found = re.fullmatch(
        r"blocks\.(\d+)\.hook_resid_(post|pre)|(?:model\.)?layers\.(\d+)(?:\.output)?", hook
    )
    if found is None:
        raise ArgumentError(
            f"the SAE reads {hook!r}; only the residual stream after a layer is supported, "
            "as blocks.N.hook_resid_post, blocks.N.hook_resid_pre or model.layers.N",
            "sae",
        )
    return int(found[1] or found[3]) - (found[2] == "pre")


def sae_input(sae: SAE, residual: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "*rows d_model"]:
    """Return the residual stream as the SAE's training saw it.

    Args:
        sae: The SAE.
        residual: Residual stream.

    Returns:
        The stream itself; centred (mean over entries subtracted) for an SAE trained with
        TransformerLens' centred weights, such as those of GPT-2. Such models ignore the mean.
    """
    loading = _metadata(sae_facts(sae)).get("model_from_pretrained_kwargs") or {}
    if loading.get("center_writing_weights"):
        return residual - residual.mean(-1, keepdim=True)
    return residual


def check_latents(sae: SAE, latents: Any, rows: tuple[int, ...]) -> None:
    """Validate the result of an SAE's ``encode``.

    Args:
        sae: The SAE.
        latents: The result.
        rows: The shape of its input, without the last dimension.

    Raises:
        ValueError: If it is not one activation for each latent, or an activation is negative.
    """
    wanted = (*rows, n_latents(sae))
    if not isinstance(latents, Tensor) or latents.shape != wanted:
        got = tuple(latents.shape) if isinstance(latents, Tensor) else type(latents).__name__
        raise ArgumentError(
            f"the SAE's encode returned {got}; it must return a tensor of shape {wanted}, an "
            "activation for each latent",
            "sae",
        )
    if not isinstance(sae, sae_lens.SAE) and (latents < 0).any():
        raise ArgumentError(
            f"the {type(sae).__name__} returned negative activations, but latents are active only "
            "above 0; give an SAE whose latents are never negative",
            "sae",
        )


def check_input_scale(sae: SAE) -> None:
    """Raise if an SAE needs its input scaled, or can have negative latents.

    Args:
        sae: The SAE.

    Raises:
        ValueError: If the SAE was trained on scaled input and the constant scale is not folded into
            its weights, its latents can be negative, or it is not an SAE.
    """
    check_sae(sae)
    if not isinstance(sae, sae_lens.SAE):
        return
    if sae.cfg.architecture() == "abstopk":
        raise ArgumentError(
            "the SAE is an AbsTopK SAE, whose latents can be negative, but latents are active only "
            "above 0; give an SAE whose latents are never negative",
            "sae",
        )
    if sae.cfg.normalize_activations == "expected_average_only_in":
        check_decoder_units(sae)


def check_decoder_units(sae: SAE) -> None:
    """Raise unless an activation times a row of W_dec is in residual-stream units.

    It is if the SAE encodes the unscaled residual stream. Subtracting b_dec from the input
    (``apply_b_dec_to_input``) affects only the encoder and is allowed.

    Args:
        sae: The SAE.

    Raises:
        ValueError: If the SAE normalises its input or rescales activations by the decoder's norm,
            and this is not folded into its weights.
    """
    if not isinstance(sae, sae_lens.SAE):
        return
    if sae.cfg.normalize_activations != "none":
        raise ArgumentError(
            f"the SAE normalises its input ({sae.cfg.normalize_activations!r}), so W_dec is not in "
            "residual-stream units; fold a constant scale into the weights first "
            "(sae.fold_activation_norm_scaling_factor); a scale that differs from token to token "
            "cannot be folded",
            "sae",
        )
    if sae.cfg.reshape_activations != "none":
        raise ArgumentError(
            f"the SAE reads {sae.cfg.reshape_activations!r}, not the residual stream", "sae"
        )
    if getattr(sae.cfg, "rescale_acts_by_decoder_norm", False):
        raise ArgumentError(
            "the SAE rescales activations by the norm of W_dec; call sae.fold_W_dec_norm() first",
            "sae",
        )
