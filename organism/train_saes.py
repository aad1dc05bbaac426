"""Training of the SAEs of one model, with the package's recipe for any model."""

from dataclasses import replace
from pathlib import Path

import torch

from organism.corpus import training_examples
from organism.recipe import Recipe
from saif_helpers.activations import capture_tokens
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.sae_training.training import train_sae


def pool_texts(seed: int, count: int) -> list[str]:
    """Draw the texts (prompts with answers) whose residual streams the SAEs are trained on."""
    return [e.prompt + e.answer for e in training_examples(f"saes-{seed}", count)]


def train_saes(model: ModelWithSAEs, recipe: Recipe, folder: Path) -> None:
    """Train the SAEs of every layer that are not in the folder yet.

    Args:
        model: The trained model.
        recipe: The recipe; the SAEs use the model's seed.
        folder: Output folder, with a sub-folder ``layer_N_width_W`` for each SAE.
    """
    seed, saes = recipe.model.seed, recipe.saes
    folder.mkdir(parents=True, exist_ok=True)
    texts = pool_texts(seed, recipe.pool)
    for layer in range(model.n_layers):
        last = layer == model.n_layers - 1
        widths = (saes.width, *(saes.final_layer_widths if last else ()))
        missing = [w for w in widths if not (folder / f"layer_{layer}_width_{w}").exists()]
        if not missing:
            continue
        parts = capture_tokens(model, texts, [layer], batch_size=256)
        residual = torch.cat([streams[layer] for streams in parts])
        for width in missing:
            print(f"SAE for layer {layer}, {width} latents, {len(residual)} tokens in the pool")
            train_sae(
                residual,
                layer,
                folder / f"layer_{layer}_width_{width}",
                replace(saes, width=width),
                model_name="saif-organism",
                seed=seed,
                device=str(model.device),
            )
