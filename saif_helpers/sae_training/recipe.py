"""What is trained and on how much: every choice of the SAE training in one place.

The defaults are those of the SAEs that ship for SmolLM2: on two cores, text and capture took 32
minutes, fourteen SAEs 55 minutes, and measuring them 21.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class TextRecipe:
    """The text that a model writes for its SAEs.

    Attributes:
        parts: Number of parts; each is written, and kept, on its own.
        requests: Requests in a part, sampled from the model's own user turn.
        request_tokens: Most tokens of a request.
        answered: Share of the requests that the model answers.
        answer_tokens: Most tokens of such an answer.
        asked: Prompts with an instruction wording of the book, for each request.
        asked_answered: Share of the requests for which one such prompt is answered too.
        asked_tokens: Most tokens of such an answer.
        temperature: Temperature of the answers; requests are drawn at 1.
        read_out: Times that the last token of a prompt counts: one token of many, and the one
            that latents are read from.
        held_out: Parts written besides, for measuring only.

    More parts can be added to a text later: a part depends on its own name and the seed alone.
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
        """Names of the parts that SAEs are trained on."""
        return [f"part_{number:03}" for number in range(self.parts)]

    @property
    def held_out_parts(self) -> list[str]:
        """Names of the parts that they are measured on."""
        return [f"held_out_{number:03}" for number in range(self.held_out)]


@dataclass(frozen=True)
class SAERecipe:
    """The training of SAEs.

    Attributes:
        width: Number of latents (d_sae); None for four times d_model.
        final_layer_widths: Further widths for the final layer.
        k: Mean number of active latents for a token.
        tokens: Tokens seen in training; the captured tokens are read in a new order in each pass.
        batch_size: Tokens in a step.
        learning_rate: Peak of the schedule.
        frozen_decoder: Whether the decoder directions stay random: the control that a trained SAE
            has to beat (arXiv:2602.14111).
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
        seed: Seed of the text, of the initial weights and of the order of the tokens.
    """

    text: TextRecipe = field(default_factory=TextRecipe)
    saes: SAERecipe = field(default_factory=SAERecipe)
    seed: int = 0
