"""Choice of layer, k, beta, placement and strength on the validation split.

The test split is never looked at here: a setting is chosen on validation contents and the chosen
one alone is reported on test contents. Which layer, beta and placement the paper uses is known in
part only (k = 15 and the last layer are reported), so each is a parameter.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from saif_helpers.activations import capture
from saif_helpers.grades import Grades, grade
from saif_helpers.instructions import InstructionType
from saif_helpers.latents import encode
from saif_helpers.models import ModelWithSAEs
from saif_helpers.prompts import Content, PromptPair, Style, render
from saif_helpers.ranking import LatentRanking, rank_latents
from saif_helpers.steering import Placement, generate
from saif_helpers.vectors import SteeringVector, saif_vector


@dataclass(frozen=True)
class Setting:
    """One way to steer with the paper's rule.

    Attributes:
        layer: The layer after which the vector is added.
        k: How many latents make the vector.
        beta: Standard deviations added to each latent's mean activation.
        placement: The positions that get the vector.
        strength: Factor on the whole vector (standing: ours); 1 is the plain rule.
    """

    layer: int
    k: int
    beta: float
    placement: Placement
    strength: float = 1.0

    def vector(self, model: ModelWithSAEs, ranking: LatentRanking) -> SteeringVector:
        """Build the setting's steering vector.

        Args:
            model: The model, for the layer's SAE.
            ranking: The layer's ranking.

        Returns:
            The paper's vector times the strength.
        """
        sae = model.saes[self.layer]
        plain = saif_vector(ranking, sae, self.k, self.beta, layer=self.layer)
        return plain.scaled(self.strength)


def settings_grid(
    layers: Iterable[int],
    ks: Iterable[int],
    betas: Iterable[float],
    placements: Iterable[Placement],
    strengths: Iterable[float] = (1.0,),
) -> list[Setting]:
    """List every combination of layer, k, beta, placement and strength."""
    return [Setting(*chosen) for chosen in product(layers, ks, betas, placements, strengths)]


def rank_layers(
    model: ModelWithSAEs, pairs: Sequence[PromptPair], layers: Sequence[int]
) -> dict[int, LatentRanking]:
    """Rank the latents of several layers from one capture pass over the prompt pairs.

    Args:
        model: The model and its SAEs.
        pairs: Prompt pairs of one instruction.
        layers: The layers.

    Returns:
        Layer to ranking of its SAE's latents.
    """
    positive, negative = capture_pairs(model, pairs, layers)
    return {
        layer: rank_latents(
            encode(model.saes[layer], positive[layer]), encode(model.saes[layer], negative[layer])
        )
        for layer in layers
    }


def capture_pairs(
    model: ModelWithSAEs, pairs: Sequence[PromptPair], layers: Sequence[int]
) -> tuple[dict[int, Float[Tensor, "pairs d_model"]], dict[int, Float[Tensor, "pairs d_model"]]]:
    """Capture the read-out position of the prompts with and without the instruction.

    Args:
        model: The model.
        pairs: Prompt pairs.
        layers: The layers.

    Returns:
        Layer to residual stream, first with and then without the instruction.
    """
    prompts = [pair.positive for pair in pairs] + [pair.negative for pair in pairs]
    residual = capture(model, prompts, layers)
    halves = {layer: torch.tensor_split(stream, 2) for layer, stream in residual.items()}
    return (
        {layer: positive for layer, (positive, _) in halves.items()},
        {layer: negative for layer, (_, negative) in halves.items()},
    )


def steer_and_grade(
    model: ModelWithSAEs,
    instruction: InstructionType,
    contents: Sequence[Content],
    vectors: Sequence[SteeringVector],
    placement: Placement,
    *,
    style: Style = "chat",
    max_new_tokens: int = 40,
    batch_size: int = 256,
) -> list[Grades]:
    """Steer prompts without the instruction by several vectors, in shared generation passes.

    Args:
        model: The model.
        instruction: What the steered outputs are graded for; it stands in no prompt.
        contents: The contents.
        vectors: The vectors, each used on every content.
        placement: The positions that get the vector.
        style: Style of the prompts.
        max_new_tokens: Most tokens of an output.
        batch_size: Prompts generated from at once, a prompt for each vector and content.

    Returns:
        The grades of each vector's outputs.
    """
    prompts = [render(content.text, model.tokenizer, style) for content in contents]
    items = [content.item(instruction) for content in contents]
    outputs = generate(
        model,
        prompts * len(vectors),
        [vector for vector in vectors for _ in prompts],
        placement=placement,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
    )
    n = len(prompts)
    return [
        grade(outputs[start : start + n], items, instruction) for start in range(0, len(outputs), n)
    ]


def sweep(
    model: ModelWithSAEs,
    instruction: InstructionType,
    contents: Sequence[Content],
    rankings: Mapping[int, LatentRanking],
    settings: Sequence[Setting],
    *,
    style: Style = "chat",
    max_new_tokens: int = 40,
) -> pd.DataFrame:
    """Steer with the paper's rule under every setting, on validation contents.

    Args:
        model: The model and its SAEs.
        instruction: The instruction.
        contents: Contents of the validation split.
        rankings: Layer to ranking, made on other contents.
        settings: The settings to try.
        style: Style of the prompts.
        max_new_tokens: Most tokens of an output.

    Returns:
        A row for each setting, in the given order: the setting, the vector's norm, and the shares
        of outputs that pass strictly and loosely.

    Raises:
        ValueError: If a content is of the test split, which must stay unseen.
    """
    if any(content.split == "test" for content in contents):
        raise ValueError("sweep was given test contents; choose settings on the validation split")
    rows: dict[Setting, dict] = {}
    for placement in dict.fromkeys(setting.placement for setting in settings):
        chosen = [setting for setting in settings if setting.placement == placement]
        vectors = [setting.vector(model, rankings[setting.layer]) for setting in chosen]
        graded = steer_and_grade(
            model,
            instruction,
            contents,
            vectors,
            placement,
            style=style,
            max_new_tokens=max_new_tokens,
        )
        for setting, vector, grades in zip(chosen, vectors, graded, strict=True):
            shares = {kind: grades.proportion(kind).value for kind in ("strict", "loose")}
            rows[setting] = vars(setting) | {"norm": vector.norm} | shares
    return pd.DataFrame([rows[setting] for setting in settings])


def best_setting(table: pd.DataFrame) -> Setting:
    """Choose the best row of a sweep: strict, then loose, then the smaller vector.

    Args:
        table: A table from `sweep`, or some of its rows.

    Returns:
        The setting. What still ties goes to the earlier row.

    Raises:
        ValueError: If the table is empty.
    """
    if table.empty:
        raise ValueError("best_setting was given an empty table; sweep at least one setting")
    order = table.sort_values(
        ["strict", "loose", "norm"], ascending=[False, False, True], kind="stable"
    )
    row = order.iloc[0]
    return Setting(
        int(row["layer"]),
        int(row["k"]),
        float(row["beta"]),
        row["placement"],
        float(row["strength"]),
    )
