"""Combine a model with SAEs, and check that they match."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import torch
from nnsight import TransformersModel
from transformers import PreTrainedTokenizerBase

from saif_helpers._internal.checked import checked
from saif_helpers._internal.errors import ArgumentError
from saif_helpers._internal.types import Corpus, Remote
from saif_helpers.cache.store import Store
from saif_helpers.model.architecture import check_architecture, decoder_layers
from saif_helpers.model.collection import SAECollection
from saif_helpers.model.model import SAE_BYTES, ModelWithSAEs
from saif_helpers.model.saes import SAE, check_input_scale, n_latents, sae_facts, sae_layer


@checked
def wrap(
    model: torch.nn.Module | TransformersModel,
    tokenizer: PreTrainedTokenizerBase,
    saes: Mapping[int | tuple[int, int], SAE],
    *,
    name: str,
    corpus: Corpus = "natural",
    remote: Remote = False,
    store: Store | None = None,
) -> ModelWithSAEs:
    """Combine a model, its tokenizer and SAEs from objects in memory.

    >>> mine = saif.wrap(organism.lm, organism.tokenizer, {0: sae}, name="mine")

    Args:
        model: A transformers causal language model with the architecture of Gemma, Llama, GPT-2 or
            Pythia; for ``remote=True`` the result of `remote.meta_model`.
        tokenizer: Its tokenizer. Its padding side is set to the left.
        saes: Layer, or pair of layer and width, to an SAE: one of SAE-Lens, or any object with
            ``encode``, ``decode`` and ``W_dec``, see `saes.SAE`.
        name: Name of the model.
        corpus: The matching shipped sentences, see `ModelWithSAEs`.
        remote: Where the model runs, see `ModelWithSAEs`.
        store: Store for finished captures and generations.

    Returns:
        The model with its SAEs.

    Raises:
        ValueError: If an SAE does not fit the model or its key.
    """
    found = {}
    for key, sae in saes.items():
        check_input_scale(sae)
        layer, width = key if isinstance(key, tuple) else (key, n_latents(sae))
        found[layer, width] = (sae_facts(sae), lambda sae=sae: sae, "in memory")
    found = combine(model, tokenizer, found, name, corpus, remote)
    return replace(found, store=store)


def combine(
    model: torch.nn.Module | TransformersModel,
    tokenizer: PreTrainedTokenizerBase,
    saes: Mapping[tuple[int, int], tuple[dict, Callable[[], SAE], str]],
    name: str,
    corpus: Corpus,
    remote: Remote,
) -> ModelWithSAEs:
    """Combine everything; facts about an SAE that are not known yet are checked on loading.

    Args:
        model: As in `wrap`.
        tokenizer: As in `wrap`.
        saes: Layer and width to the known part of the SAE's configuration, its loader and its
            location.
        name: As in `wrap`.
        corpus: As in `wrap`.
        remote: As in `wrap`.

    Returns:
        The model with its SAEs.

    Raises:
        ValueError: If an SAE does not fit the model or its key.
    """
    n_layers, d_model = len(decoder_layers(model)), model.config.hidden_size
    check_architecture(model, name)

    def check(layer: int, width: int, cfg: Mapping) -> None:
        at = f"the SAE for layer {layer}, width {width}"
        if not 0 <= layer < n_layers:
            raise ArgumentError(f"{at} does not fit; {name} has layers 0-{n_layers - 1}", "saes")
        if cfg.get("d_in", d_model) != d_model:
            raise ArgumentError(
                f"{at} has d_in {cfg['d_in']}, but {name} has d_model {d_model}; give an SAE of "
                "this model",
                "saes",
            )
        if cfg.get("d_sae", width) != width:
            raise ArgumentError(f"{at} has {cfg['d_sae']} latents; key it by that width", "saes")
        if sae_layer(cfg) not in (None, layer):
            raise ArgumentError(
                f"{at} was trained on layer {sae_layer(cfg)}; key it by that layer", "saes"
            )

    def loaded(layer: int, width: int, loader: Callable[[], SAE]) -> SAE:
        sae = loader()
        check_input_scale(sae)
        check(layer, width, sae_facts(sae))
        return sae

    loaders, paths = {}, {}
    for (layer, width), (cfg, loader, path) in saes.items():
        check(layer, width, cfg)
        loaders[layer, width] = partial(loaded, layer, width, loader)
        paths[layer, width] = path
    lm = model
    if not isinstance(model, TransformersModel):
        # A model with a device map is already placed.
        place = {} if getattr(model, "hf_device_map", None) else {"device": model.device}
        lm = TransformersModel(model.eval(), tokenizer=tokenizer, task="text-generation", **place)
    limit = SAE_BYTES if corpus == "natural" else None
    collection = SAECollection(loaders, limit)
    return ModelWithSAEs(name, lm, tokenizer, n_layers, d_model, collection, corpus, paths, remote)
