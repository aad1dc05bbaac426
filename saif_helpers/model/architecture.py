"""Paths of the decoder layers and the final norm in each supported architecture."""

import torch
from nnsight import TransformersModel

from saif_helpers._internal.errors import ArgumentError

FINAL_NORMS = {
    "model.layers": "model.norm",  # Gemma, Llama, Qwen, Mistral and most others
    "transformer.h": "transformer.ln_f",  # GPT-2
    "gpt_neox.layers": "gpt_neox.final_layer_norm",  # Pythia
}
"""Path of the decoder layers to path of the final norm."""
ATTENTIONS = {"full_attention", "sliding_attention", "chunked_attention"}


def layers_path(model: torch.nn.Module | TransformersModel) -> str:
    """Return the path of a model's decoder layers, such as ``"model.layers"``.

    Args:
        model: A transformers causal language model, or one wrapped by nnsight.

    Returns:
        A path for ``get_submodule``.

    Raises:
        ValueError: If the architecture is not that of Gemma, Llama, GPT-2 or Pythia.
    """
    network = model._module if isinstance(model, TransformersModel) else model
    kind = getattr(getattr(network, "config", None), "model_type", None)
    for path in FINAL_NORMS:
        owner, _, name = path.partition(".")
        if getattr(getattr(network, owner, None), name, None) is None:
            continue
        if owner == "transformer" and kind != "gpt2":
            break  # blocks of GPT-J, Falcon and others return more than the residual stream
        return path
    raise ArgumentError(
        f"{type(network).__name__} does not have the architecture of Gemma or Llama (model.layers)"
        ", GPT-2 or Pythia (gpt_neox.layers); give a transformers causal language model that does",
        "model",
    )


def decoder_layers(model: torch.nn.Module | TransformersModel) -> torch.nn.ModuleList:
    """Return a model's decoder layers.

    Args:
        model: As for `layers_path`.

    Returns:
        The layers, first to last.

    Raises:
        ValueError: As `layers_path`.
    """
    network = model._module if isinstance(model, TransformersModel) else model
    return network.get_submodule(layers_path(network))


def final_norm(model: torch.nn.Module) -> torch.nn.Module:
    """Return the norm between the last decoder layer and the unembedding.

    Args:
        model: A transformers causal language model.

    Returns:
        The module.

    Raises:
        ValueError: As `layers_path`.
    """
    return model.get_submodule(FINAL_NORMS[layers_path(model)])


def check_architecture(model: torch.nn.Module | TransformersModel, name: str) -> None:
    """Raise for architectures that can be captured but not steered.

    Args:
        model: As for `layers_path`.
        name: Name of the model.

    Raises:
        ValueError: If a layer is not attention, whose cache supports dropping finished rows, or
            there are several residual streams.
    """
    config = model.config.get_text_config()
    others = sorted(set(getattr(config, "layer_types", None) or ()) - ATTENTIONS)
    if others:
        raise ArgumentError(
            f"{name} has layers of the kind {others[0]!r}; only models with attention in "
            "every layer can be steered; use another model",
            "model",
        )
    if getattr(config, "altup_num_inputs", 1) > 1:
        raise ArgumentError(
            f"{name} has {config.altup_num_inputs} copies of the residual stream; use a model "
            "with a single one",
            "model",
        )
