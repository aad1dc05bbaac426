"""A whole study of one instruction in one call: baseline, latents, steering, controls, verdicts.

What the chapters do step by step, for a reader who brings an instruction of their own.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import pandas as pd
from matplotlib.axes import Axes

from saif_helpers._internal.arguments import share
from saif_helpers._internal.types import PLACEMENTS
from saif_helpers.activations import capture_pairs
from saif_helpers.analysis.separation import auroc
from saif_helpers.comparison import check_distinct, paired_difference
from saif_helpers.contents import Content, load_contents
from saif_helpers.display.cards import LatentCard, latent_cards
from saif_helpers.display.figures import interval_bars
from saif_helpers.grading import Grades, check_grader, grade, pool_grades
from saif_helpers.instructions import InstructionType
from saif_helpers.interventions import check_placement
from saif_helpers.latents import encode
from saif_helpers.model.batching import checked_ids
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.prompts import PromptPair, make_pairs, render
from saif_helpers.random_controls import random_latents_vector
from saif_helpers.ranking import LatentRanking, rank_captured
from saif_helpers.reconstruction import reconstruction_table
from saif_helpers.steering import generate
from saif_helpers.study.claims import Criterion, Verdict, verdict
from saif_helpers.study.search import best_setting, check_no_test_leakage, check_search, search
from saif_helpers.study.settings import (
    SteeringSetting,
    grade_settings,
    settings_grid,
    steer_and_grade,
)
from saif_helpers.study.vector_sources import RULES, Rule, rule_sources
from saif_helpers.vectors import SteeringVector, check_finite

KEEP = (1, 6)
"""How many settings stay for the search's later rounds, see `search`."""
NOTHING, PROMPTING, RANDOM = "no instruction", "prompting", "random latents"


@dataclass(frozen=True, eq=False)
class Study:
    """What a study found.

    Attributes:
        instruction: The instruction.
        model_name: Name of the model.
        grades: Method to the grades of its outputs for the test contents: ``"no instruction"``,
            ``"prompting"``, the rules, and ``"random latents"``, the control of ``"paper"`` (or of
            the first rule, without it).
        settings: Rule to the setting that the search chose for it on the validation contents.
        rankings: Layer to the ranking of its SAE's latents.
        checks: Rule to the checks that its verdict rests on.
        cards: Cards of the best latents of the layer that ``"paper"`` (or the first rule) steers.
        reconstruction: How good the SAEs are on the prompts, see `reconstruction_table`.
    """

    instruction: InstructionType
    model_name: str
    grades: Mapping[str, Grades]
    settings: Mapping[str, SteeringSetting]
    rankings: Mapping[int, LatentRanking]
    checks: Mapping[str, Sequence[Criterion]]
    cards: Sequence[LatentCard]
    reconstruction: pd.DataFrame

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """Rule to the verdict on "steering by this rule follows the instruction"."""
        return {rule: verdict(checks) for rule, checks in self.checks.items()}

    def table(self) -> pd.DataFrame:
        """Return a row for each method: strict, loose and broken share, setting, verdict."""
        return pd.DataFrame(
            [
                {
                    "method": method,
                    "strict": str(graded.proportion("strict")),
                    "loose": str(graded.proportion("loose")),
                    "broken": str(graded.proportion("broken")),
                    "layer": self.settings[method].layer if method in self.settings else "",
                    "setting": self.settings[method].where if method in self.settings else "",
                    "verdict": self.verdicts.get(method, ""),
                }
                for method, graded in self.grades.items()
            ]
        ).set_index("method")

    def examples(self, n: int = 5) -> pd.DataFrame:
        """Return the first n test contents with the outputs of each method but the control."""
        columns = {name: g.outputs[:n] for name, g in self.grades.items() if name != RANDOM}
        contents = [item.content for item in self.grades[NOTHING].items[:n]]
        return pd.DataFrame(columns, index=pd.Index(contents, name="content"))

    def figure(self) -> Axes:
        """Draw strict, loose and, if any, broken shares of all methods, with 95 % intervals."""
        any_broken = any(any(graded.broken) for graded in self.grades.values())
        kinds = ("strict", "loose", "broken") if any_broken else ("strict", "loose")
        bars = [
            {"method": method, "grade": kind} | asdict(graded.proportion(kind))
            for method, graded in self.grades.items()
            for kind in kinds
        ]
        return interval_bars(pd.DataFrame(bars), "method", "grade", horizontal=True)


def study_instruction(
    model: ModelWithSAEs,
    instruction: InstructionType,
    *,
    identification: Sequence[Content] | None = None,
    validation: Sequence[Content] | None = None,
    test: Sequence[Content] | None = None,
    rules: Sequence[Rule] = RULES,
    k: int = 15,
    strengths: Sequence[float] = (1.0, 2.0, 4.0),
    decays: Sequence[float] = (0.5, 0.8),
    rounds: tuple[int, int, int] = (8, 20, 60),
    n_random: int = 2,
    n_cards: int = 3,
    strict_bar: float = 0.30,
    loose_bar: float = 0.80,
    random_bar: float = 0.05,
    max_new_tokens: int = 40,
    seed: int = 0,
) -> Study:
    """Study one instruction: find its latents, steer with them, set it against the controls.

    A rule's verdict is *supported* if the whole 95 % intervals say that its strict share lies above
    `strict_bar`, that it is loosely no further behind prompting than `loose_bar` allows (as a share
    of prompting's own), and that random latents of the norm of ``"paper"`` (or of the first rule,
    without it) stay below `random_bar`. A layer whose SAE has too few living latents for these is
    left out, with a warning.

    >>> found = study_instruction(model, polite)
    >>> found.table()

    Args:
        model: The model and its SAEs.
        instruction: The instruction. It may be one that you made, see `InstructionType`.
        identification: Contents that latents are found on; by default 200 shipped sentences.
        validation: Contents that settings are chosen on; by default as many as the rounds need.
        test: Contents that are reported on; by default 100 shipped sentences. Fewer than 73 cannot
            support a verdict: even if none of them passes, random latents may be above their bar.
        rules: Which rules to steer by.
        k: How many latents.
        strengths: Factors on the vector that the search tries.
        decays: Factors from token to token that the search tries, where the vector fades.
        rounds: Contents of the three rounds of the search.
        n_random: Random controls.
        n_cards: Latents to make cards for; none are made for a remote model.
        strict_bar: Least strict share of the verdict.
        loose_bar: Least loose share, as a share of prompting's.
        random_bar: Largest strict share of random latents.
        max_new_tokens: Most tokens of an output.
        seed: Seed of the wordings' order and of the controls.

    Returns:
        The study.

    Raises:
        ValueError: Before anything runs, if a test content is among the others, see
            `search.check_no_test_leakage`; if the grader fails on an output, does not answer with True or
            False, or passes strictly what does not pass loosely; if a rule is unknown, k, a
            strength, a decay, the rounds or the cards are out of range; or if a content is empty,
            gives no slot, holds a marker, is too long, or is reported on twice.
            After the baseline, if the model does not follow the instruction even when it is asked,
            or no layer has enough living latents.
    """
    unknown = [rule for rule in rules if rule not in RULES]
    if unknown or not rules:
        raise ValueError(f"rules {list(rules)} asked for; give one or more of {', '.join(RULES)}")
    bars = (
        share("strict_bar", strict_bar),
        share("loose_bar", loose_bar),
        share("random_bar", random_bar),
    )
    if n_random < 1:
        raise ValueError(f"n_random={n_random} asked for; the verdict needs at least 1")
    basis: Rule = "paper" if "paper" in rules else rules[0]  # the control and the cards are its own
    identification = (
        load_contents("identification", model.corpus)[:200]
        if identification is None
        else identification
    )
    validation = (
        load_contents("validation", model.corpus)[: max(rounds)]
        if validation is None
        else validation
    )
    test = load_contents("test", model.corpus)[-100:] if test is None else test
    check_distinct(content.text for content in test)
    for others in (identification, validation):
        check_no_test_leakage(others, test)
    for content in [*validation, *test]:
        check_grader(instruction, content)
    longest = {"max_new_tokens": max_new_tokens}
    asked = make_pairs(instruction, test, model.tokenizer, seed=seed)
    pairs = make_pairs(instruction, identification, model.tokenizer, seed=seed)
    _check_room(model, [*asked, *pairs], validation, max_new_tokens)
    check_search(validation, rounds, KEEP, test)
    _check_settings(model, k, strengths, decays, n_cards)
    grades = _baseline(model, instruction, asked, max_new_tokens)
    layers = model.saes.layers
    reconstruction = reconstruction_table(model, [pair.positive for pair in pairs[:20]], layers)
    streams = capture_pairs(model, pairs, layers)
    rankings = rank_captured(model, *streams)
    drawn = _controls(model, rankings, k, n_random, seed)
    steered = {layer: rankings[layer] for layer in drawn}
    sources = rule_sources(rules, model, steered, *streams, k)
    grid = settings_grid(steered, [k], [0.0], PLACEMENTS, strengths, decays)
    settings = {}
    for rule in rules:
        tried = search(
            model,
            instruction,
            validation,
            sources[rule],
            grid,
            rounds=rounds,
            keep=KEEP,
            test=test,
            **longest,
        )
        settings[rule] = best_setting(tried)
        (grades[rule],) = grade_settings(
            model, instruction, test, sources[rule], [settings[rule]], **longest
        )
    at = settings[basis]
    norm = at.vector(model, sources[basis][at.layer]).norm
    controls = [control.scaled(norm / control.norm) for control in drawn[at.layer]]
    where = {"placement": at.placement, "decay": at.decay} | longest
    grades[RANDOM] = pool_grades(steer_and_grade(model, instruction, test, controls, **where))
    checks = {rule: _checks(grades, rule, *bars) for rule in rules}
    cards = _cards(model, instruction, asked, grades, rankings[at.layer], at.layer, n_cards)
    found = (grades, settings, rankings, checks, cards, reconstruction)
    return Study(instruction, model.name, *found)


def _check_room(
    model: ModelWithSAEs,
    pairs: Sequence[PromptPair],
    validation: Sequence[Content],
    max_new_tokens: int,
) -> None:
    """Refuse contents that a later step of the study would stop at."""
    prompts = [prompt for pair in pairs for prompt in (pair.positive, pair.negative)]
    prompts += [render(content.text, model.tokenizer) for content in validation]
    checked_ids(model, prompts, max_new_tokens)


def _check_settings(
    model: ModelWithSAEs,
    k: int,
    strengths: Sequence[float],
    decays: Sequence[float],
    n_cards: int,
) -> None:
    """Refuse settings that a later step of the study would stop at."""
    layers = model.saes.layers
    if not layers:
        raise ValueError(f"{model.name} has no SAE; load it with SAEs of at least one layer")
    fewest = min(model.saes.default_width(layer) for layer in layers)
    if not 1 <= k <= fewest:
        raise ValueError(f"k = {k} asked for; give 1 to {fewest}, the number of latents")
    if n_cards > fewest:
        raise ValueError(f"n_cards={n_cards} asked for; there are no more than {fewest} latents")
    if not strengths or not decays:
        raise ValueError("no strengths or no decays given; give at least one of each")
    for strength in strengths:
        check_finite("strength", strength)
    for decay in decays:
        check_placement("decaying", decay)


def _controls(
    model: ModelWithSAEs, rankings: Mapping[int, LatentRanking], k: int, n_random: int, seed: int
) -> dict[int, list[SteeringVector]]:
    """Draw each layer's random latents before the search, which could choose any of the layers.

    A layer that has too few living latents is left out, with a warning.
    """
    drawn, problems = {}, {}
    for layer, ranking in rankings.items():
        sae, seeds = model.saes[layer], range(seed, seed + n_random)
        try:
            drawn[layer] = [
                random_latents_vector(ranking, sae, k, seed=each, layer=layer) for each in seeds
            ]
        except ValueError as error:
            problems[layer] = error
    if not drawn:
        raise next(iter(problems.values()))
    for layer, error in problems.items():
        warnings.warn(f"layer {layer} is left out of the study: {error}", stacklevel=3)
    return drawn


def _baseline(
    model: ModelWithSAEs,
    instruction: InstructionType,
    asked: Sequence[PromptPair],
    max_new_tokens: int,
) -> dict[str, Grades]:
    items = [pair.content.item(instruction) for pair in asked]
    prompts = [pair.positive for pair in asked] + [pair.negative for pair in asked]
    outputs = generate(model, prompts, max_new_tokens=max_new_tokens)
    prompted, unasked = outputs[: len(asked)], outputs[len(asked) :]
    grades = {
        NOTHING: grade(unasked, items, instruction),
        PROMPTING: grade(prompted, items, instruction),
    }
    gain = paired_difference(grades[PROMPTING], grades[NOTHING], "loose")
    if gain.low <= 0:
        raise ValueError(
            f"{model.name} does not follow the instruction {instruction.name!r} when it is asked: "
            f"{grades[PROMPTING].proportion('loose')} of its outputs pass loosely, and "
            f"{grades[NOTHING].proportion('loose')} with no instruction, for example "
            f"{prompted[0]!r}. Reword it, mend the grader, or take a model that follows it"
        )
    if not any(grades[PROMPTING].strict):
        warnings.warn(
            f"not even a prompted output passes the strict check of {instruction.name!r}, for "
            f"example {prompted[0]!r}, so no rule will; does the check compare with a reference "
            "that the contents do not have?",
            stacklevel=3,
        )
    return grades


def _checks(
    grades: Mapping[str, Grades], rule: str, strict_bar: float, loose_bar: float, random_bar: float
) -> list[Criterion]:
    prompting = grades[PROMPTING]
    margin = (1 - loose_bar) * prompting.proportion("loose").value
    lag = paired_difference(grades[rule], prompting, "loose")
    return [
        Criterion(f"strict, {rule}", grades[rule].proportion("strict"), "above", strict_bar),
        Criterion(f"loose, {rule} minus prompting", lag, "above", -margin),
        Criterion(
            "strict, random latents", grades[RANDOM].proportion("strict"), "below", random_bar
        ),
    ]


def _cards(
    model: ModelWithSAEs,
    instruction: InstructionType,
    asked: Sequence[PromptPair],
    grades: Mapping[str, Grades],
    ranking: LatentRanking,
    layer: int,
    n: int,
) -> list[LatentCard]:
    """Make cards of the best latents; contexts come from the test prompts and their answers."""
    if n < 1 or model.remote:
        return []
    halves = capture_pairs(model, asked, [layer])
    positive, negative = (encode(model.saes[layer], half) for half in halves)
    top = ranking.top(n)
    areas = auroc(positive[:, top], negative[:, top]).tolist()
    facts = {
        latent: {"sensitivity": f"{ranking.sensitivity[latent]:.2f}", "told from none": f"{a:.2f}"}
        for latent, a in zip(top.tolist(), areas, strict=True)
    }
    corpus = [
        pair.positive + output
        for pair, output in zip(asked, grades[PROMPTING].outputs, strict=True)
    ]
    corpus += [render(pair.content.text, model.tokenizer) for pair in asked]
    return latent_cards(model, layer, facts, positive, negative, corpus)
