"""Training of one SAE with SAE-Lens' trainer (BatchTopK, saved as JumpReLU)."""

import json
import shutil
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import torch
from jaxtyping import Float
from sae_lens import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig, LoggingConfig
from sae_lens.config import SAETrainerConfig
from sae_lens.saes.sae import SAEMetadata
from sae_lens.training.sae_trainer import SAETrainer
from safetensors.torch import load_file, save_file
from torch import Tensor

from saif_helpers._internal.errors import ArgumentError
from saif_helpers.sae_training.recipe import SAERecipe

N_NORM_BATCHES = 20
CHECKPOINTS = 5


def train_sae(
    residual: Float[Tensor, "tokens d_model"],
    layer: int,
    folder: Path,
    recipe: SAERecipe | None = None,
    *,
    model_name: str = "",
    seed: int = 0,
    device: str = "cpu",
    each_step: Callable[[int, float], None] | None = None,
) -> Path:
    """Train an SAE on captured residual stream and save it in SAE-Lens' format, in float16.

    If interrupted and called again, it resumes from its last checkpoint, in a hidden folder next to
    `folder`, and ends with the same weights.

    >>> train_sae(residual, 5, Path("my-saes/layer_5_width_1024"))  # doctest: +SKIP

    Args:
        residual: Residual stream after the layer, a row for each token, any dtype.
        layer: The layer.
        folder: Folder of the SAE; nothing is done if it exists.
        recipe: The hyperparameters.
        model_name: Name of the model, for the SAE's metadata.
        seed: Seed of the initial weights and the order of the tokens.
        device: Device of the training.
        each_step: Callback, called with the number of tokens so far and the loss of the step.

    Returns:
        The folder.

    Raises:
        ValueError: If there are fewer tokens than the batch size.
    """
    recipe = recipe or SAERecipe()
    if folder.exists():
        return folder
    if len(residual) < recipe.batch_size:
        raise ArgumentError(
            f"{len(residual)} tokens captured, fewer than a step of {recipe.batch_size} takes; "
            "capture more text, or give a smaller batch_size",
            "residual",
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    checkpoints = folder.with_name(f".{folder.name}.checkpoints")
    trainer = _trainer(residual, layer, checkpoints, recipe, model_name, seed, device)
    if each_step:
        _report(trainer, each_step)
    _save(trainer.fit(), folder)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return folder


def shuffled_batches(
    residual: Float[Tensor, "tokens d_model"], batch_size: int, seed: int
) -> Iterator[Float[Tensor, "batch d_model"]]:
    """Yield batches of residual stream in float32 endlessly, reshuffled in each epoch.

    Args:
        residual: Residual stream, a row for each token.
        batch_size: Tokens in a batch.
        seed: Seed of the order.

    Yields:
        The batches; the incomplete last batch of each epoch is dropped.
    """
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(residual), generator=generator)
        for start in range(0, len(order) - batch_size + 1, batch_size):
            yield residual[order[start : start + batch_size]].float()


def _trainer_config(checkpoints: Path, recipe: SAERecipe, device: str) -> SAETrainerConfig:
    steps = recipe.tokens // recipe.batch_size
    return SAETrainerConfig(
        total_training_samples=recipe.tokens,
        train_batch_size_samples=recipe.batch_size,
        lr=recipe.learning_rate,
        lr_end=recipe.learning_rate / 10,
        lr_warm_up_steps=steps // 20,
        lr_decay_steps=steps // 3,
        dead_feature_window=max(1, min(200, steps // 10)),
        n_batches_for_norm_estimate=N_NORM_BATCHES,
        device=device,
        logger=LoggingConfig(log_to_wandb=False),
        checkpoint_path=str(checkpoints),
        n_checkpoints=CHECKPOINTS,
    )


def _trainer(
    residual: Tensor,
    layer: int,
    checkpoints: Path,
    recipe: SAERecipe,
    model_name: str,
    seed: int,
    device: str,
) -> SAETrainer:
    """Return SAE-Lens' trainer, restored from the last checkpoint if any."""
    config = _trainer_config(checkpoints, recipe, device)
    found = _checkpoint(checkpoints)
    batches = shuffled_batches(residual, recipe.batch_size, seed)
    if found is not None:
        sae = BatchTopKTrainingSAE.load_from_disk(found, device=device)
        _freeze(sae, recipe)
        trainer = SAETrainer(config, sae, batches)
        trainer.load_trainer_state(found)
        # A checkpoint is written before its last step is counted.
        done = trainer.n_training_steps = trainer.n_training_samples // recipe.batch_size
        later = [at for at in trainer.checkpoint_thresholds if at >= trainer.n_training_samples]
        trainer.checkpoint_thresholds = later
        next(islice(batches, N_NORM_BATCHES + done - 1, None))  # skip the batches seen before
        return trainer
    torch.manual_seed(seed)
    sae = BatchTopKTrainingSAE(
        BatchTopKTrainingSAEConfig(
            d_in=residual.shape[1],
            d_sae=recipe.width or 4 * residual.shape[1],
            k=recipe.k,
            device=device,
            normalize_activations="expected_average_only_in",
            metadata=SAEMetadata(
                hook_name=f"model.layers.{layer}", model_name=model_name, prepend_bos=True
            ),
        )
    )
    _freeze(sae, recipe)
    return SAETrainer(config, sae, batches)


def _freeze(sae: BatchTopKTrainingSAE, recipe: SAERecipe) -> None:
    sae.W_dec.requires_grad_(not recipe.frozen_decoder)


def _checkpoint(folder: Path) -> Path | None:
    """Return the last complete checkpoint, in which the trainer's state is written last."""
    whole = [path.parent for path in folder.glob("*/activation_scaler.json")]
    return max(whole, key=lambda path: int(path.name), default=None)


def _report(trainer: SAETrainer, each_step: Callable[[int, float], None]) -> None:
    step = trainer.step

    def reported(batch: Tensor) -> object:
        output = step(batch)
        each_step(trainer.n_training_samples, output.loss.item())
        return output

    trainer.step = reported


def _save(trained: BatchTopKTrainingSAE, folder: Path) -> None:
    """Save the SAE for inference atomically, with weights in float16."""
    unfinished = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    weights, cfg = trained.save_inference_model(unfinished)
    halved = {name: tensor.half().contiguous() for name, tensor in load_file(weights).items()}
    save_file(halved, weights)
    settings = json.loads(cfg.read_text()) | {"device": "cpu", "dtype": "float32"}
    cfg.write_text(json.dumps(settings, indent=1, sort_keys=True) + "\n")
    unfinished.rename(folder)
