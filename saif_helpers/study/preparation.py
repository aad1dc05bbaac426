"""Preparation of a study: its contents, and validation of its arguments."""

from collections.abc import Mapping, Sequence

from saif_helpers._internal.arguments import check_finite, whole_number
from saif_helpers._internal.errors import ArgumentError
from saif_helpers.comparison import check_distinct
from saif_helpers.contents import Content, load_contents
from saif_helpers.grading import GradeOutputs, check_grader, grade
from saif_helpers.instructions import InstructionType
from saif_helpers.model.batching import checked_ids
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.placements import check_placement
from saif_helpers.prompts import PromptPair
from saif_helpers.study.search import check_rounds, check_search
from saif_helpers.study.sweep import check_no_test_leakage
from saif_helpers.study.vector_sources import RULES, Rule


def check_rules(rules: Sequence[Rule], n_random: int) -> Rule:
    """Raise if a rule is unknown, or there are no controls.

    Args:
        rules: The rules.
        n_random: Number of random controls.

    Returns:
        The rule whose vector determines the controls and the cards.

    Raises:
        ValueError: If a rule is unknown, or there are no rules or no controls.
    """
    unknown = [rule for rule in rules if rule not in RULES]
    if unknown or not rules:
        raise ArgumentError(
            f"rules {list(rules)} given; give one or more of {', '.join(RULES)}", "rules"
        )
    if n_random < 1:
        raise ArgumentError(f"n_random={n_random} given; the verdict needs at least 1", "n_random")
    return "paper" if "paper" in rules else rules[0]


def study_contents(
    model: ModelWithSAEs,
    rounds: Sequence[int],
    identification: Sequence[Content] | None,
    validation: Sequence[Content] | None,
    test: Sequence[Content] | None,
) -> dict[str, Sequence[Content]]:
    """Return the contents of each split: the given ones, or shipped sentences.

    Args:
        model: The model, for its corpus.
        rounds: Number of contents in the rounds of the search.
        identification: As for `study_instruction`.
        validation: As for `study_instruction`.
        test: As for `study_instruction`.

    Returns:
        Split to contents.

    Raises:
        ValueError: If the rounds do not grow, there are too few validation contents, a test content
            is repeated, or one occurs in another split.
    """
    check_rounds(rounds, 1)
    given = {"identification": identification, "validation": validation, "test": test}
    parts = {"identification": slice(200), "validation": slice(max(rounds))}
    parts["test"] = slice(-100, None)
    contents = {
        name: load_contents(name, model.corpus)[parts[name]] if some is None else some
        for name, some in given.items()
    }
    check_distinct(content.text for content in contents["test"])
    check_no_test_leakage(contents["identification"], contents["test"])
    check_search(contents["validation"], rounds, 1, contents["test"])
    return contents


def check_study(
    model: ModelWithSAEs,
    instruction: InstructionType,
    contents: Mapping[str, Sequence[Content]],
    pairs: Sequence[PromptPair],
    max_new_tokens: int,
    grader: GradeOutputs,
) -> None:
    """Raise for contents that would fail in a later step of the study.

    Args:
        model: The model.
        instruction: The instruction, whose grader is tried on each content if it is used.
        contents: Split to contents.
        pairs: The prompt pairs of all splits.
        max_new_tokens: Maximum number of tokens of an output.
        grader: Function that grades outputs.

    Raises:
        ValueError: If a prompt leaves no room for its output, or a check of the grader fails.
    """
    if grader is grade:
        for content in [*contents["validation"], *contents["test"]]:
            check_grader(instruction, content)
    prompts = [prompt for pair in pairs for prompt in (pair.positive, pair.negative)]
    checked_ids(model, prompts, max_new_tokens)


def check_settings(
    model: ModelWithSAEs,
    k: int,
    strengths: Sequence[float],
    decays: Sequence[float],
    n_cards: int,
) -> None:
    """Raise for settings that would fail in a later step of the study.

    Args:
        model: The model and its SAEs.
        k: Number of latents.
        strengths: Factors on the vector.
        decays: Factors from one generated token to the next.
        n_cards: Number of latent cards.

    Raises:
        ValueError: If there are too few latents, or a strength or a decay is out of range.
    """
    layers = model.saes.layers
    if not layers:
        raise ArgumentError(
            f"{model.name} has no SAE; load it with SAEs of at least one layer", "model"
        )
    fewest = min(model.saes.default_width(layer) for layer in layers)
    if not 1 <= k <= fewest:
        raise ArgumentError(f"k = {k} given; give 1 to {fewest}, the number of latents", "k")
    whole_number("n_cards", n_cards, least=0)
    if n_cards > fewest:
        raise ArgumentError(f"n_cards={n_cards} given; there are only {fewest} latents", "n_cards")
    if not strengths or not decays:
        raise ArgumentError(
            "no strengths or no decays given; give at least one of each",
            "decays" if strengths else "strengths",
        )
    for strength in strengths:
        check_finite("strength", strength)
    for decay in decays:
        check_placement("decaying", decay)
