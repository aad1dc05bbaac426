"""Train the SAEs of one model with SAE-Lens' own trainer (BatchTopK, saved as JumpReLU)."""

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from sae_lens import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig, LoggingConfig
from sae_lens.config import SAETrainerConfig
from sae_lens.saes.sae import SAEMetadata
from sae_lens.training.sae_trainer import SAETrainer
from safetensors.torch import load_file, save_file

from organism.corpus import training_examples
from organism.recipe import SAERecipe
from saif_helpers.activations import capture_tokens
from saif_helpers.models import ModelWithSAEs


def pool_texts(seed: int, count: int) -> list[str]:
    """Draw the prompts with their answers whose residual streams the SAEs are trained on."""
    return [e.prompt + e.answer for e in training_examples(f"saes-{seed}", count)]


def shuffled_batches(residual: torch.Tensor, batch_size: int, seed: int) -> Iterator[torch.Tensor]:
    """Yield batches of residual stream, the whole pool in a new order each time, without end."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(residual), generator=generator)
        for start in range(0, len(order) - batch_size + 1, batch_size):
            yield residual[order[start : start + batch_size]]


def train_sae(
    residual: torch.Tensor, layer: int, width: int, recipe: SAERecipe, seed: int, folder: Path
) -> None:
    """Train one SAE and save it in SAE-Lens' format, weights in float16.

    Args:
        residual: The pool, ``[tokens, d_model]``, float32, on the device to train on.
        layer: The layer after which it was captured.
        width: Number of latents.
        recipe: The training.
        seed: Seed of the initial weights and of the order.
        folder: Where to save.
    """
    torch.manual_seed(seed)
    device = str(residual.device)
    hook = f"model.layers.{layer}"
    sae = BatchTopKTrainingSAE(
        BatchTopKTrainingSAEConfig(
            d_in=residual.shape[1],
            d_sae=width,
            k=recipe.k,
            device=device,
            normalize_activations="expected_average_only_in",
            metadata=SAEMetadata(hook_name=hook, model_name="saif-organism", prepend_bos=True),
        )
    )
    steps = recipe.tokens // recipe.batch_size
    trainer = SAETrainerConfig(
        total_training_samples=recipe.tokens,
        train_batch_size_samples=recipe.batch_size,
        lr=recipe.learning_rate,
        lr_end=recipe.learning_rate / 10,
        lr_warm_up_steps=steps // 20,
        lr_decay_steps=steps // 3,
        dead_feature_window=max(1, min(200, steps // 10)),
        n_batches_for_norm_estimate=20,
        device=device,
        logger=LoggingConfig(log_to_wandb=False),
    )
    batches = shuffled_batches(residual, recipe.batch_size, seed)
    trained = SAETrainer(trainer, sae, batches).fit()
    part = folder.with_name(f".{folder.name}.part")
    weights, cfg = trained.save_inference_model(part)
    halved = {name: tensor.half().contiguous() for name, tensor in load_file(weights).items()}
    save_file(halved, weights)
    settings = json.loads(cfg.read_text()) | {"device": "cpu", "dtype": "float32"}
    cfg.write_text(json.dumps(settings, indent=1, sort_keys=True) + "\n")
    part.rename(folder)


def train_saes(model: ModelWithSAEs, recipe: SAERecipe, seed: int, folder: Path) -> None:
    """Train the SAEs of every layer that are not in the folder yet.

    Args:
        model: The trained model.
        recipe: The training.
        seed: Seed of everything random.
        folder: Gets one folder for each SAE, ``layer_N_width_W``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = pool_texts(seed, recipe.pool)
    for layer in range(model.n_layers):
        last = layer == model.n_layers - 1
        widths = (recipe.width, *(recipe.final_layer_widths if last else ()))
        missing = [w for w in widths if not (folder / f"layer_{layer}_width_{w}").exists()]
        if not missing:
            continue
        parts = capture_tokens(model, texts, [layer], batch_size=256)
        residual = torch.cat([streams[layer] for streams in parts])
        for width in missing:
            print(f"SAE for layer {layer}, {width} latents, {len(residual)} tokens in the pool")
            train_sae(residual, layer, width, recipe, seed, folder / f"layer_{layer}_width_{width}")
