"""Choice of layer, k, beta, placement and strength on the validation split.

The test split is never looked at here: a setting is chosen on validation contents and the chosen
one alone is reported on test contents. Which layer, beta and placement the paper uses is known in
part only (k = 15 and the last layer are reported), so each is a parameter. A large grid is tried on
a few contents, what did best there on more (`search`, round by round a `sweep`), and one setting is
left (`best_setting`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from saif_helpers.activations import capture
from saif_helpers.grades import Grades, grade, pool
from saif_helpers.instructions import InstructionType
from saif_helpers.latents import encode
from saif_helpers.models import ModelWithSAEs
from saif_helpers.prompts import Content, PromptPair, Style, render
from saif_helpers.ranking import LatentRanking, rank_latents
from saif_helpers.steering import Intervention, Placement, generate
from saif_helpers.vectors import saif_vector

Source = LatentRanking | Intervention


@dataclass(frozen=True)
class Setting:
    """One way to steer with the paper's rule.

    Attributes:
        layer: The layer after which the vector is added.
        k: How many latents make the vector.
        beta: Standard deviations added to each latent's mean activation.
        placement: The positions that get the vector.
        strength: Factor on the whole vector (standing: ours); 1 is the plain rule.
        decay: Factor from one generated token to the next; the placement ``"decaying"`` alone
            makes use of it.
    """

    layer: int
    k: int
    beta: float
    placement: Placement
    strength: float = 1.0
    decay: float = 0.8

    def __str__(self) -> str:
        """Name the setting, as in "layer 0, k = 15, beta = 2, decaying by 0.5, strength 4"."""
        return f"layer {self.layer}, k = {self.k}, beta = {self.beta:g}, {self.where}"

    @property
    def where(self) -> str:
        """Placement and strength in words, as in "decaying by 0.5, strength 4"."""
        fading = f" by {self.decay:g}" if self.placement == "decaying" else ""
        return f"{self.placement.replace('_', ' ')}{fading}, strength {self.strength:g}"

    def vector(self, model: ModelWithSAEs, source: Source) -> Intervention:
        """Build the setting's steering vector.

        Args:
            model: The model, for the layer's SAE.
            source: The layer's ranking, for the paper's rule; or a vector or clamped latents made
                by another rule, for which k and beta mean nothing.

        Returns:
            The paper's vector, or what was given, times the strength.
        """
        if isinstance(source, LatentRanking):
            sae = model.saes[self.layer]
            source = saif_vector(source, sae, self.k, self.beta, layer=self.layer)
        return source.scaled(self.strength)


SETTING_COLUMNS = [field.name for field in fields(Setting)]  # as tables hold a setting


def settings_grid(
    layers: Iterable[int],
    ks: Iterable[int],
    betas: Iterable[float],
    placements: Iterable[Placement],
    strengths: Iterable[float] = (1.0,),
    decays: Iterable[float] = (0.8,),
) -> list[Setting]:
    """List every combination of layer, k, beta, placement and strength.

    A placement that does not fade stands once, and not once for each decay.
    """
    grid = []
    for *chosen, placement, strength in product(layers, ks, betas, placements, strengths):
        fading = [{"decay": decay} for decay in decays] if placement == "decaying" else [{}]
        grid += [Setting(*chosen, placement, strength, **decay) for decay in fading]
    return grid


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
    return rank_captured(model, *capture_pairs(model, pairs, layers))


def rank_captured(
    model: ModelWithSAEs,
    positive: Mapping[int, Float[Tensor, "pairs d_model"]],
    negative: Mapping[int, Float[Tensor, "pairs d_model"]],
) -> dict[int, LatentRanking]:
    """Rank the latents of several layers whose residual stream was captured already.

    Args:
        model: The SAEs.
        positive: Layer to residual stream with the instruction, from `capture_pairs`.
        negative: The same without it.

    Returns:
        Layer to ranking of its SAE's latents.
    """
    return {
        layer: rank_latents(
            encode(model.saes[layer], positive[layer]), encode(model.saes[layer], negative[layer])
        )
        for layer in positive
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
    vectors: Sequence[Intervention],
    placement: Placement,
    *,
    decay: float = 0.8,
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
        decay: Factor from one generated token to the next, in the placement ``"decaying"``.
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
        decay=decay,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
    )
    n = len(prompts)
    return [
        grade(outputs[start : start + n], items, instruction) for start in range(0, len(outputs), n)
    ]


def grade_settings(
    model: ModelWithSAEs,
    instruction: InstructionType,
    contents: Sequence[Content],
    sources: Mapping[int, Source],
    settings: Sequence[Setting],
    *,
    style: Style = "chat",
    max_new_tokens: int = 40,
) -> list[Grades]:
    """Steer prompts without the instruction under each of several settings.

    Args:
        model: The model and its SAEs.
        instruction: What the outputs are graded for; it stands in no prompt.
        contents: The contents.
        sources: Layer to what the setting's vector is made from, see `Setting.vector`.
        settings: The settings. Those that share placement and decay share generation passes.
        style: Style of the prompts.
        max_new_tokens: Most tokens of an output.

    Returns:
        The grades under each setting, in the given order.
    """
    found: dict[Setting, Grades] = {}
    for placement, decay in dict.fromkeys((s.placement, s.decay) for s in settings):
        chosen = [s for s in settings if (s.placement, s.decay) == (placement, decay)]
        vectors = [setting.vector(model, sources[setting.layer]) for setting in chosen]
        graded = steer_and_grade(
            model,
            instruction,
            contents,
            vectors,
            placement,
            decay=decay,
            style=style,
            max_new_tokens=max_new_tokens,
        )
        found |= zip(chosen, graded, strict=True)
    return [found[setting] for setting in settings]


def sweep(
    model: ModelWithSAEs,
    instruction: InstructionType,
    contents: Sequence[Content],
    sources: Mapping[int, Source],
    settings: Sequence[Setting],
    *,
    style: Style = "chat",
    max_new_tokens: int = 40,
) -> pd.DataFrame:
    """Steer under every setting, on validation contents, and tabulate what passes.

    Args:
        model: The model and its SAEs.
        instruction: The instruction.
        contents: Contents of the validation split.
        sources: Layer to ranking, made on other contents; or to a vector by another rule.
        settings: The settings to try.
        style: Style of the prompts.
        max_new_tokens: Most tokens of an output.

    Returns:
        A row for each setting, in the given order: the setting, the vector's norm, the number of
        contents, and the shares of outputs that pass strictly and loosely.

    Raises:
        ValueError: If a content is of the test split, which must stay unseen.
    """
    _refuse_test(contents)
    graded = grade_settings(
        model, instruction, contents, sources, settings, style=style, max_new_tokens=max_new_tokens
    )
    return _table(model, sources, dict(zip(settings, graded, strict=True)))


def _refuse_test(contents: Sequence[Content]) -> None:
    if any(content.split == "test" for content in contents):
        raise ValueError("test contents were given; choose settings on the validation split")


def _table(
    model: ModelWithSAEs,
    sources: Mapping[int, Source],
    graded: Mapping[Setting, Grades],
) -> pd.DataFrame:
    rows = []
    for setting, grades in graded.items():
        norm = setting.vector(model, sources[setting.layer]).norm
        shares = {kind: grades.proportion(kind).value for kind in ("strict", "loose")}
        rows.append(vars(setting) | {"norm": norm, "contents": len(grades.outputs)} | shares)
    return pd.DataFrame(rows)


def search(
    model: ModelWithSAEs,
    instruction: InstructionType,
    contents: Sequence[Content],
    sources: Mapping[int, Source],
    settings: Sequence[Setting],
    *,
    rounds: tuple[int, int, int] = (8, 20, 60),
    keep: tuple[int, int] = (3, 6),
    style: Style = "chat",
    max_new_tokens: int = 40,
) -> pd.DataFrame:
    """Try many settings in three rounds: all on a few contents, the best on more (ours).

    The second round takes the best of each layer, placement and decay, the third the best of all.

    Args:
        model: The model and its SAEs.
        instruction: The instruction.
        contents: Contents of the validation split.
        sources: Layer to ranking, made on other contents; or to a vector by another rule.
        settings: The settings to try.
        rounds: How many of the contents, from the first on, each round steers.
        keep: How many settings of each layer, placement and decay stay for the second round, and
            how many in all for the third.
        style: Style of the prompts.
        max_new_tokens: Most tokens of an output.

    Returns:
        A row for each setting, as from `sweep`, with all that was measured of it; settings that
        stayed longer have more contents. `shortlist` and `best_setting` prefer those.

    Raises:
        ValueError: If there are too few contents, or one is of the test split.
    """
    if len(contents) < max(rounds):
        raise ValueError(
            f"{len(contents)} contents given, the last round wants {max(rounds)}; give more "
            "validation contents or smaller rounds"
        )
    _refuse_test(contents)
    graded: dict[Setting, Grades] = {}
    staying, done = list(settings), 0
    of_each_kind = {"n": keep[0], "per": ["layer", "placement", "decay"]}
    for n, choice in zip(rounds, (None, of_each_kind, {"n": keep[1]}), strict=True):
        if choice:
            table = _table(model, sources, {setting: graded[setting] for setting in staying})
            staying = shortlist(table, **choice)
        more = grade_settings(
            model,
            instruction,
            contents[done:n],
            sources,
            staying,
            style=style,
            max_new_tokens=max_new_tokens,
        )
        for setting, new in zip(staying, more, strict=True):
            graded[setting] = pool([graded[setting], new]) if done else new
        done = n
    return _table(model, sources, graded)


def shortlist(table: pd.DataFrame, n: int, per: Sequence[str] = ()) -> list[Setting]:
    """Choose the n best rows of a sweep: strict, then loose, then the smaller vector.

    Settings that were tried on more contents come before all others.

    Args:
        table: A table from `sweep` or `search`, or some of its rows.
        n: How many; all rows if there are fewer.
        per: Columns: the n best are chosen for each of their combinations, as in
            ``per=["layer", "placement"]``, and not for the whole table.

    Returns:
        The settings, best first. What still ties keeps the table's order.

    Raises:
        ValueError: If the table is empty.
    """
    if table.empty:
        raise ValueError("a choice was asked of an empty table; sweep at least one setting")
    order = table.sort_values(
        ["contents", "strict", "loose", "norm"],
        ascending=[False, False, False, True],
        kind="stable",
    )
    best = order.groupby(list(per), sort=False).head(n) if per else order.head(n)
    return [Setting(**row) for row in best[SETTING_COLUMNS].to_dict("records")]


def best_setting(table: pd.DataFrame) -> Setting:
    """Choose the best row of a sweep, see `shortlist`.

    Args:
        table: A table from `sweep` or `search`, or some of its rows.

    Returns:
        The setting.

    Raises:
        ValueError: If the table is empty.
    """
    return shortlist(table, 1)[0]
