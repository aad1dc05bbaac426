"""Steps of a study: baseline grades and cards."""

from collections.abc import Mapping, Sequence

from saif_helpers._internal.errors import ArgumentError
from saif_helpers._internal.warn import warn
from saif_helpers.activations import capture_pairs
from saif_helpers.analysis.separation import auroc
from saif_helpers.comparison import paired_difference
from saif_helpers.display.cards import LatentCard, latent_cards
from saif_helpers.grading import GradeOutputs, Grades, grade
from saif_helpers.instructions import InstructionType
from saif_helpers.latents import encode
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.prompts import PromptPair, render
from saif_helpers.random_controls import random_latents_vector
from saif_helpers.ranking import LatentRanking
from saif_helpers.steering import generate
from saif_helpers.study.steering_claim import NOTHING, PROMPTING


def steerable(
    model: ModelWithSAEs, rankings: Mapping[int, LatentRanking], k: int, n_random: int, seed: int
) -> dict[int, LatentRanking]:
    """Return the rankings of layers with enough living latents for the random controls.

    The controls are drawn once before the search, which may choose any layer.

    Args:
        model: The model and its SAEs.
        rankings: Layer to ranking.
        k: Number of latents.
        n_random: Number of random controls.
        seed: Seed of the first control.

    Returns:
        Layer to ranking; a layer without enough latents is omitted with a warning.

    Raises:
        ValueError: If no layer has enough.
    """
    found, problems = {}, {}
    for layer, ranking in rankings.items():
        try:
            for each in range(seed, seed + n_random):
                random_latents_vector(ranking, model.saes[layer], k, seed=each, layer=layer)
            found[layer] = ranking
        except ValueError as error:
            problems[layer] = error
    if not found:
        raise next(iter(problems.values()))
    for layer, error in problems.items():
        warn(f"layer {layer} is omitted from the study: {error}")
    return found


def baseline_grades(
    model: ModelWithSAEs,
    instruction: InstructionType,
    asked: Sequence[PromptPair],
    max_new_tokens: int,
    grader: GradeOutputs = grade,
) -> dict[str, Grades]:
    """Grade the unsteered model's outputs with and without the instruction in the prompt.

    Args:
        model: The model.
        instruction: The instruction.
        asked: Prompt pairs of the test contents.
        max_new_tokens: Maximum number of tokens of an output.
        grader: Function that grades outputs.

    Returns:
        The grades of `NOTHING` and `PROMPTING`.

    Raises:
        ValueError: If the model does not follow the instruction even when prompted.
    """
    items = [pair.content.item(instruction) for pair in asked]
    prompts = [pair.positive for pair in asked] + [pair.negative for pair in asked]
    outputs = generate(model, prompts, max_new_tokens=max_new_tokens)
    prompted, unasked = outputs[: len(asked)], outputs[len(asked) :]
    grades = {
        NOTHING: grader(unasked, items, instruction),
        PROMPTING: grader(prompted, items, instruction),
    }
    gain = paired_difference(grades[PROMPTING], grades[NOTHING], "loose")
    if gain.low <= 0:
        raise ArgumentError(
            f"{model.name} does not follow the instruction {instruction.name!r} when prompted: "
            f"{grades[PROMPTING].proportion('loose')} of its outputs pass loosely, and "
            f"{grades[NOTHING].proportion('loose')} without instruction, for example "
            f"{prompted[0]!r}. Reword it, fix the grader, or use a model that follows it",
            "instruction",
        )
    if not any(grades[PROMPTING].strict):
        warn(
            f"not even a prompted output passes the strict check of {instruction.name!r}, for "
            f"example {prompted[0]!r}, so no rule will; does the check compare with a reference "
            "that the contents do not have?",
        )
    return grades


def prompted_grades(
    model: ModelWithSAEs,
    instruction: InstructionType,
    asked: Sequence[PromptPair],
    max_new_tokens: int,
    grader: GradeOutputs = grade,
) -> Grades:
    """Grade the unsteered model's outputs for prompts with the instruction.

    Args:
        model: The model.
        instruction: The instruction.
        asked: Prompt pairs.
        max_new_tokens: Maximum number of tokens of an output.
        grader: Function that grades outputs.

    Returns:
        The grades.
    """
    outputs = generate(model, [pair.positive for pair in asked], max_new_tokens=max_new_tokens)
    return grader(outputs, [pair.content.item(instruction) for pair in asked], instruction)


def study_cards(
    model: ModelWithSAEs,
    asked: Sequence[PromptPair],
    prompted: Grades,
    ranking: LatentRanking,
    n: int,
) -> list[LatentCard]:
    """Create cards of the best latents, with contexts from the test prompts and their answers.

    Args:
        model: The model and its SAEs.
        asked: Prompt pairs of the test contents.
        prompted: Grades of the outputs for the prompts with the instruction.
        ranking: Ranked latents of the steered layer.
        n: Number of cards.

    Returns:
        The cards; empty for a remote model.
    """
    if n < 1 or model.remote:
        return []
    layer = ranking.layer
    halves = capture_pairs(model, asked, [layer])
    positive, negative = (encode(model.saes[layer], half) for half in halves)
    top = ranking.top(n)
    areas = auroc(positive[:, top], negative[:, top]).tolist()
    facts = {
        latent: {"sensitivity": f"{ranking.sensitivity[latent]:.2f}", "told from none": f"{a:.2f}"}
        for latent, a in zip(top.tolist(), areas, strict=True)
    }
    corpus = [pair.positive + output for pair, output in zip(asked, prompted.outputs, strict=True)]
    corpus += [render(pair.content.text, model.tokenizer) for pair in asked]
    return latent_cards(model, layer, facts, positive, negative, corpus)
