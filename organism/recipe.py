"""The training recipes: sizes of the models, SAEs and amount of training."""

from dataclasses import dataclass, field

from saif_helpers.sae_training.recipe import SAERecipe


@dataclass(frozen=True)
class ModelRecipe:
    """Shape and training of one model.

    Attributes:
        d_model: Width of the residual stream.
        n_layers: Number of decoder layers.
        n_heads: Number of query heads; there are half as many key-value heads.
        steps: Number of optimizer steps.
        batch_size: Examples (prompt and answer) per step.
        learning_rate: Maximum of the one-cycle schedule.
        seed: Seed of the initial weights and of the order of the training data.
    """

    d_model: int
    n_layers: int
    n_heads: int
    steps: int
    batch_size: int = 64
    learning_rate: float = 2e-3
    seed: int = 0

    @property
    def d_mlp(self) -> int:
        """Width of the MLP's hidden layer."""
        return 4 * self.d_model


@dataclass(frozen=True)
class Recipe:
    """A model with its SAEs and its vocabulary.

    Attributes:
        model: Shape and training of the model.
        saes: Training of the SAEs. About 0.3 * d_model active latents per token are enough for the
            required explained variance, with few dead latents.
        pool: Number of examples whose residual streams the SAEs are trained on.
        vocabulary: Vocabulary size of the tokenizer.
    """

    model: ModelRecipe
    saes: SAERecipe = field(default_factory=SAERecipe)
    pool: int = 12_288
    vocabulary: int = 4096


SAE_TOKENS = 1_500_000
"""Number of training tokens of each SAE."""


def _small(seed: int) -> Recipe:
    return Recipe(
        ModelRecipe(d_model=96, n_layers=4, n_heads=4, steps=6500, seed=seed),
        SAERecipe(width=1024, k=32, tokens=SAE_TOKENS),
    )


RECIPES = {
    "S": _small(seed=0),
    "S-1": _small(seed=1),
    "S-2": _small(seed=2),
    "M": Recipe(
        ModelRecipe(d_model=160, n_layers=6, n_heads=4, steps=6500),
        SAERecipe(width=1024, k=48, final_layer_widths=(768, 2048), tokens=SAE_TOKENS),
    ),
    "L": Recipe(
        ModelRecipe(d_model=224, n_layers=8, n_heads=4, steps=5000),
        SAERecipe(width=1024, k=64, tokens=SAE_TOKENS),
    ),
}
"""The family that the package ships: S, M and L, and S with two more seeds, which determine the
initial weights and the order of the examples. L needs fewer steps."""

TOY = Recipe(
    ModelRecipe(d_model=32, n_layers=2, n_heads=2, steps=20, batch_size=8),
    SAERecipe(width=64, final_layer_widths=(32, 128), k=8, tokens=4096, batch_size=256),
    pool=64,
    vocabulary=600,
)
"""The recipe at toy size, for the end-to-end test."""
