"""Hyperparameters of the SAE training.

The defaults are those of the SAEs that ship for SmolLM2: on two cores, text and capture took 32
minutes, fourteen SAEs 55 minutes, and measuring them 21.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class TextRecipe:
    """The text that a model writes for its SAEs.

    Attributes:
        parts: Number of parts; each is written and stored separately.
        requests: Number of requests per part, sampled from the model's user turn.
        request_tokens: Maximum number of tokens of a request.
        answered: Share of the requests that the model answers.
        answer_tokens: Maximum number of tokens of such an answer.
        asked: Number of prompts with a wording of the book's instructions, per request.
        asked_answered: Number of such prompts that are answered, as a share of the requests.
        asked_tokens: Maximum number of tokens of such an answer.
        temperature: Temperature of the answers; requests are sampled at 1.
        read_out: Weight of the last token of a prompt, the read-out token.
        held_out: Number of additional parts for evaluation.

    Parts can be added later: a part depends only on its name and the seed.
    """

    parts: int = 7
    requests: int = 128
    request_tokens: int = 48
    answered: float = 0.4
    answer_tokens: int = 96
    asked: int = 2
    asked_answered: float = 0.3
    asked_tokens: int = 48
    temperature: float = 0.7
    read_out: int = 8
    held_out: int = 1

    @property
    def training_parts(self) -> list[str]:
        """Names of the parts for training."""
        return [f"part_{number:03}" for number in range(self.parts)]

    @property
    def held_out_parts(self) -> list[str]:
        """Names of the parts for evaluation."""
        return [f"held_out_{number:03}" for number in range(self.held_out)]


@dataclass(frozen=True)
class SAERecipe:
    """Hyperparameters of the training.

    Attributes:
        width: Number of latents (d_sae); None for four times d_model.
        final_layer_widths: Further widths for the final layer.
        k: Mean number of active latents for a token.
        tokens: Number of training tokens; captured tokens are reshuffled in each epoch.
        batch_size: Tokens per step.
        learning_rate: Peak learning rate.
        frozen_decoder: Whether the decoder directions stay random, as a control
            (arXiv:2602.14111).
    """

    width: int | None = None
    final_layer_widths: tuple[int, ...] = ()
    k: int = 48
    tokens: int = 450_000
    batch_size: int = 1024
    learning_rate: float = 2e-3
    frozen_decoder: bool = False


@dataclass(frozen=True)
class Recipe:
    """Text and training for one model.

    Attributes:
        text: The text.
        saes: The training.
        seed: Seed of the text, the initial weights and the order of the tokens.
    """

    text: TextRecipe = field(default_factory=TextRecipe)
    saes: SAERecipe = field(default_factory=SAERecipe)
    seed: int = 0
