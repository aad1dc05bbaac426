"""Settings: one way to steer each, from its vector to the grades of the outputs.

Which layer, beta and placement the paper uses is known in part only (k = 15 and the last layer are
reported), so each is a parameter.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product

from saif_helpers._internal.arguments import check_finite, check_some, several, whole_number
from saif_helpers._internal.checked import checked
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
    """One way to steer: a layer, what makes the vector there, and where it is added.

    >>> setting = saif.SteeringSetting(0, 15, 0.0, "decaying", strength=4.0, decay=0.5)
    >>> print(setting)
    layer 0, k = 15, beta = 0, decaying by 0.5, strength 4

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

    def __post_init__(self) -> None:
        """Refuse what there cannot be, before anything is steered."""
        whole_number("layer", self.layer, least=0)
        whole_number("k", self.k)
        check_finite("beta", self.beta)
        check_finite("strength", self.strength)
        check_placement(self.placement, self.decay)

    def __str__(self) -> str:
        """Name the setting, as in "layer 0, k = 15, beta = 2, decaying by 0.5, strength 4"."""
        return f"layer {self.layer}, k = {self.k}, beta = {self.beta:g}, {self.where}"

    @property
    def where(self) -> str:
        """Placement and strength in words, as in "decaying by 0.5, strength 4"."""
        placed = describe_placement(self.placement, self.decay)
        return f"{placed}, strength {self.strength:g}"

    @checked
    def vector(self, model: ModelWithSAEs, source: VectorSource) -> Intervention:
        """Build the setting's steering vector, with its placement.

        Args:
            model: The model, for the layer's SAE.
            source: The layer's ranking, for the paper's rule; or a vector or clamped latents made
                by another rule, for which k and beta mean nothing.

        Returns:
            The paper's vector, or what was given, times the strength, at the setting's positions.

        Raises:
            ValueError: If a vector was given that was made for another layer.
        """
        if isinstance(source, LatentRanking):
            sae = model.saes[self.layer]
            source = saif_vector(source, sae, self.k, self.beta, layer=self.layer)
        elif source.layer != self.layer:
            raise ValueError(
                f"layer {self.layer} is to be steered with a vector that was made for layer "
                f"{source.layer}; give each layer its own"
            )
        return source.scaled(self.strength).at(self.placement, self.decay)


SETTING_COLUMNS = [field.name for field in fields(SteeringSetting)]  # as tables hold a setting


@checked(but=("placements",))
def settings_grid(
    layers: int | Iterable[int],
    ks: int | Iterable[int],
    betas: float | Iterable[float],
    placements: Placement | Iterable[Placement],
    strengths: float | Iterable[float] = (1.0,),
    decays: float | Iterable[float] = (0.8,),
) -> list[SteeringSetting]:
    """List every combination of layer, k, beta, placement and strength.

    A placement that does not fade comes once, and not once for each decay.

    >>> len(saif.settings_grid([0, 1], 15, 0.0, "decaying", [1.0, 2.0], [0.5, 0.8]))
    8

    Args:
        layers: Layers; one may be given without a list, here and below.
        ks: Numbers of latents.
        betas: Standard deviations added to the means.
        placements: Placements.
        strengths: Factors on the vector.
        decays: Factors from one generated token to the next.

    Returns:
        The settings.

    Raises:
        ValueError: If there is no such placement.
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
    """Steer prompts without the instruction by several vectors, in shared generation passes.

    >>> steered, control = saif.steer_and_grade(
    ...     organism, french, test, [vector, saif.random_direction_vector(vector, seed=0)]
    ... )

    Args:
        model: The model.
        instruction: What the steered outputs are graded for; no prompt holds it.
        contents: The contents.
        vectors: The vectors, each used on every content, each at its own placement.
        style: Style of the prompts.
        max_new_tokens: Most tokens of an output.
        batch_size: Prompts generated from at once, a prompt for each vector and content. By default
            256, on a GPU as many as fit, see `batching.default_batch_size`.
        grader: Grades the outputs: `grade`, by rules, or ``judge.grade`` of a `Judge`.

    Returns:
        The grades of each vector's outputs.

    Raises:
        GraderError: As `grade`; it has all outputs, vector by vector.
    """
    prompts = [render(content.text, model.tokenizer, style) for content in contents]
    items = [content.item(instruction) for content in contents]
    if batch_size is None and model.device.type != "cuda":
        batch_size = 256  # equal prompts of a batch are read once, so more than usual pays
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
    """Steer prompts without the instruction under each of several settings.

    >>> graded = saif.grade_settings(organism, french, validation, rankings, grid)

    Args:
        model: The model and its SAEs.
        instruction: What the outputs are graded for; no prompt holds it.
        contents: The contents.
        sources: Layer to what the setting's vector is made from, see `SteeringSetting.vector`.
        settings: The settings. Those that share placement and decay share generation passes, since
            equal prompts are read once only where no token before the last one is steered.
        style: Style of the prompts.
        max_new_tokens: Most tokens of an output.
        batch_size: As in `steer_and_grade`.
        grader: As in `steer_and_grade`.

    Returns:
        The grades under each setting, in the given order.

    Raises:
        ValueError: If a setting's layer has no source.
    """
    check_some(settings=settings, contents=contents)
    missing = sorted({setting.layer for setting in settings} - set(sources))
    if missing:
        raise ValueError(
            f"settings at layer {missing[0]} given; there are sources for layers "
            f"{', '.join(map(str, sorted(sources))) or 'none'}: rank that layer too"
        )
    options = {"style": style, "max_new_tokens": max_new_tokens, "batch_size": batch_size}
    found: dict[SteeringSetting, Grades] = {}
    for placement, decay in dict.fromkeys((s.placement, s.decay) for s in settings):
        chosen = [s for s in settings if (s.placement, s.decay) == (placement, decay)]
        vectors = [setting.vector(model, sources[setting.layer]) for setting in chosen]
        graded = steer_and_grade(model, instruction, contents, vectors, grader=grader, **options)
        found |= zip(chosen, graded, strict=True)
    return [found[setting] for setting in settings]
