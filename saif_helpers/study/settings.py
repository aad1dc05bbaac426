"""Steering settings, from the vector to the grades of the outputs.

Only some of the paper's settings are known (k = 15 and the last layer are reported), so layer, beta
and placement are parameters.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product

from saif_helpers._internal.arguments import check_finite, check_some, several, whole_number
from saif_helpers._internal.checked import checked
from saif_helpers._internal.errors import ArgumentError
from saif_helpers._internal.types import Style
from saif_helpers.contents import Content
from saif_helpers.generation.interventions import Intervention
from saif_helpers.graders.run_check import GraderError
from saif_helpers.grading import GradeOutputs, Grades, grade
from saif_helpers.instructions import InstructionType
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.placements import Placement, check_placement, describe_placement
from saif_helpers.prompts import render
from saif_helpers.ranking import LatentRanking
from saif_helpers.steering import generate
from saif_helpers.vector_rules import saif_vector

VectorSource = LatentRanking | Intervention


@checked
@dataclass(frozen=True)
class SteeringSetting:
    """A steering setting: the layer, the parameters of the vector, and its placement.

    >>> setting = saif.SteeringSetting(0, 15, 0.0, "decaying", strength=4.0, decay=0.5)
    >>> print(setting)
    layer 0, k = 15, beta = 0, decaying by 0.5, strength 4

    Attributes:
        layer: The layer after which the vector is added.
        k: Number of latents of the vector.
        beta: Number of standard deviations added to each latent's mean activation.
        placement: The positions at which the vector is added.
        strength: Factor on the whole vector (standing: ours); 1 is the plain rule.
        decay: Factor from one generated token to the next; used only by the placement
            ``"decaying"``.
    """

    layer: int
    k: int
    beta: float
    placement: Placement
    strength: float = 1.0
    decay: float = 0.8

    def __post_init__(self) -> None:
        """Raise if a parameter is not valid."""
        whole_number("layer", self.layer, least=0)
        whole_number("k", self.k)
        check_finite("beta", self.beta)
        check_finite("strength", self.strength)
        check_placement(self.placement, self.decay)

    def __str__(self) -> str:
        """Describe the setting, as in "layer 0, k = 15, beta = 2, decaying by 0.5, strength 4"."""
        return f"layer {self.layer}, k = {self.k}, beta = {self.beta:g}, {self.where}"

    @property
    def where(self) -> str:
        """Description of placement and strength, as in "decaying by 0.5, strength 4"."""
        placed = describe_placement(self.placement, self.decay)
        return f"{placed}, strength {self.strength:g}"

    @checked
    def vector(self, model: ModelWithSAEs, source: VectorSource) -> Intervention:
        """Build the setting's steering vector, with its placement.

        Args:
            model: The model, for the layer's SAE.
            source: The layer's ranking, for the paper's rule; or a vector or clamped latents of
                another rule, for which k and beta are ignored.

        Returns:
            The paper's vector, or the given one, times the strength, at the setting's placement.

        Raises:
            ValueError: If the given vector belongs to another layer.
        """
        if isinstance(source, LatentRanking):
            sae = model.saes[self.layer]
            source = saif_vector(source, sae, self.k, self.beta, layer=self.layer)
        elif source.layer != self.layer:
            raise ArgumentError(
                f"layer {self.layer} needs its own vector; this one is of layer {source.layer}",
                "source",
            )
        return source.scaled(self.strength).at(self.placement, self.decay)


SETTING_COLUMNS = [field.name for field in fields(SteeringSetting)]  # in tables


@checked(but=("placements",))
def settings_grid(
    layers: int | Iterable[int],
    ks: int | Iterable[int],
    betas: float | Iterable[float],
    placements: Placement | Iterable[Placement],
    strengths: float | Iterable[float] = (1.0,),
    decays: float | Iterable[float] = (0.8,),
) -> list[SteeringSetting]:
    """Return every combination of layer, k, beta, placement, strength and decay.

    Placements other than ``"decaying"`` are not repeated for each decay.

    >>> len(saif.settings_grid([0, 1], 15, 0.0, "decaying", [1.0, 2.0], [0.5, 0.8]))
    8

    Args:
        layers: Layers; this and the other arguments may be a single value.
        ks: Numbers of latents.
        betas: Numbers of standard deviations added to the means.
        placements: Placements.
        strengths: Factors on the vector.
        decays: Factors from one generated token to the next.

    Returns:
        The settings.

    Raises:
        ValueError: If a placement is unknown.
    """
    grid, decays = [], several(decays)
    layers, ks, betas, placements, strengths = map(
        several, (layers, ks, betas, placements, strengths)
    )
    for placement, decay in product(placements, decays):
        check_placement(placement, decay)
    check_some(layers=layers, ks=ks, betas=betas, placements=placements)
    check_some(strengths=strengths, decays=decays)
    for *chosen, placement, strength in product(layers, ks, betas, placements, strengths):
        fading = [{"decay": decay} for decay in decays] if placement == "decaying" else [{}]
        grid += [SteeringSetting(*chosen, placement, strength, **decay) for decay in fading]
    return list(dict.fromkeys(grid))


@checked
def steer_and_grade(
    model: ModelWithSAEs,
    instruction: InstructionType,
    contents: Sequence[Content],
    vectors: Sequence[Intervention],
    *,
    style: Style | None = None,
    max_new_tokens: int = 40,
    batch_size: int | None = None,
    grader: GradeOutputs = grade,
) -> list[Grades]:
    """Steer prompts without the instruction with several vectors, in shared batches.

    >>> steered, control = saif.steer_and_grade(
    ...     organism, french, test, [vector, saif.random_direction_vector(vector, seed=0)]
    ... )

    Args:
        model: The model.
        instruction: The instruction to grade for; the prompts do not contain it.
        contents: The contents.
        vectors: The vectors, each applied to every content at its own placement.
        style: Style of the prompts.
        max_new_tokens: Maximum number of tokens of an output.
        batch_size: Prompts per batch, where each vector and content is one prompt. By default 256,
            on a GPU as many as fit, see `batching.default_batch_size`.
        grader: Function that grades outputs: `grade`, by rules, or ``judge.grade`` of a `Judge`.

    Returns:
        The grades of each vector's outputs.

    Raises:
        GraderError: As `grade`; the error holds all outputs, vector by vector.
    """
    prompts = [render(content.text, model.tokenizer, style) for content in contents]
    items = [content.item(instruction) for content in contents]
    if batch_size is None and model.device.type != "cuda":
        batch_size = 256  # equal prompts share a cache, so larger batches pay off
    options = {"max_new_tokens": max_new_tokens, "batch_size": batch_size}
    rows = [vector for vector in vectors for _ in prompts]
    outputs = generate(model, prompts * len(vectors), rows, **options)
    n = len(prompts)
    try:
        return [
            grader(outputs[start : start + n], items, instruction)
            for start in range(0, len(outputs), n)
        ]
    except GraderError as error:
        error.outputs = tuple(outputs)
        raise


@checked
def grade_settings(
    model: ModelWithSAEs,
    instruction: InstructionType,
    contents: Sequence[Content],
    sources: Mapping[int, VectorSource],
    settings: Sequence[SteeringSetting],
    *,
    style: Style | None = None,
    max_new_tokens: int = 40,
    batch_size: int | None = None,
    grader: GradeOutputs = grade,
) -> list[Grades]:
    """Steer prompts without the instruction with each of several settings.

    >>> graded = saif.grade_settings(organism, french, validation, rankings, grid)

    Args:
        model: The model and its SAEs.
        instruction: The instruction to grade for; the prompts do not contain it.
        contents: The contents.
        sources: Layer to the source of the setting's vector, see `SteeringSetting.vector`.
        settings: The settings. Those with equal placement and decay share batches, since the cache
            of equal prompts is shared only if no token before the last is steered.
        style: Style of the prompts.
        max_new_tokens: Maximum number of tokens of an output.
        batch_size: As in `steer_and_grade`.
        grader: As in `steer_and_grade`.

    Returns:
        The grades of each setting, in the given order.

    Raises:
        ValueError: If a setting's layer has no source.
    """
    check_some(settings=settings, contents=contents)
    missing = sorted({setting.layer for setting in settings} - set(sources))
    if missing:
        raise ArgumentError(
            f"settings at layer {missing[0]} given; there are sources for layers "
            f"{', '.join(map(str, sorted(sources))) or 'none'}: rank that layer too",
            "sources",
        )
    options = {"style": style, "max_new_tokens": max_new_tokens, "batch_size": batch_size}
    found: dict[SteeringSetting, Grades] = {}
    for placement, decay in dict.fromkeys((s.placement, s.decay) for s in settings):
        chosen = [s for s in settings if (s.placement, s.decay) == (placement, decay)]
        vectors = [setting.vector(model, sources[setting.layer]) for setting in chosen]
        graded = steer_and_grade(model, instruction, contents, vectors, grader=grader, **options)
        found |= zip(chosen, graded, strict=True)
    return [found[setting] for setting in settings]
