"""A whole study of one instruction in one call: baseline, latents, steering, controls, verdicts.

What the chapters do step by step, for a reader who brings an instruction of their own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import pandas as pd
from matplotlib.axes import Axes

from saif_helpers._internal.checked import checked
from saif_helpers.activations import capture_pairs
from saif_helpers.analysis.reconstruction import reconstruction_table
from saif_helpers.contents import Content
from saif_helpers.display.cards import LatentCard
from saif_helpers.display.figures import interval_bars
from saif_helpers.generation.interventions import Intervention
from saif_helpers.grading import GradeOutputs, Grades, grade, pool_grades
from saif_helpers.instructions import InstructionType
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.placements import PLACEMENTS
from saif_helpers.prompts import make_pairs
from saif_helpers.ranking import LatentRanking, rank_captured
from saif_helpers.study.claims import Criterion, Verdict, verdict
from saif_helpers.study.preparation import (
    Bars,
    check_rules,
    check_settings,
    check_study,
    study_contents,
)
from saif_helpers.study.protocol import choose_and_test, norm_matched_controls
from saif_helpers.study.search import check_search
from saif_helpers.study.settings import (
    SteeringSetting,
    settings_grid,
    steer_and_grade,
)
from saif_helpers.study.steps import (
    NOTHING,
    PROMPTING,
    RANDOM,
    baseline_grades,
    criteria,
    steerable,
    study_cards,
)
from saif_helpers.study.vector_sources import RULES, Rule, rule_sources

KEEP = (1, 6)
"""How many settings stay for the search's later rounds, see `search`."""


@dataclass(frozen=True, eq=False)
class Study:
    """What a study found.

    >>> table = study.table()  # a row for each method, its shares with their intervals
    >>> study.verdicts["signed latents"] in ("supported", "not supported", "undecided")
    True

    Attributes:
        instruction: The instruction.
        model_name: Name of the model.
        grades: Method to the grades of its outputs for the test contents: ``"no instruction"``,
            ``"prompting"``, the rules, and ``"random latents"``, the control of ``"paper"`` (or of
            the first rule, without it).
        settings: Rule to the setting that the search chose for it on the validation contents.
        vectors: Rule to the steering vector of that setting, to keep and to use.
        rankings: Layer to the ranking of its SAE's latents.
        checks: Rule to the checks that its verdict rests on.
        cards: Cards of the best latents of the layer that ``"paper"`` (or the first rule) steers.
        reconstruction: How good the SAEs are on the prompts, see `reconstruction_table`.
    """

    instruction: InstructionType
    model_name: str
    grades: Mapping[str, Grades]
    settings: Mapping[str, SteeringSetting]
    vectors: Mapping[str, Intervention]
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

    @checked
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


@checked
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
    grader: GradeOutputs = grade,
    seed: int = 0,
) -> Study:
    """Study one instruction: find its latents, steer with them, set it against the controls.

    A rule's verdict is *supported* if the whole 95 % intervals say that its strict share lies above
    `strict_bar`, that it is loosely no further behind prompting than `loose_bar` allows (as a share
    of prompting's own), and that random latents of the norm of ``"paper"`` (or of the first rule,
    without it) stay below `random_bar`. A layer whose SAE has too few living latents for these is
    left out, with a warning.

    >>> splits = {"identification": contents, "validation": validation, "test": test}
    >>> quick = {"rounds": (2, 4, 12), "strengths": [2.0], "rules": ["signed latents"]}
    >>> study = saif.study_instruction(organism, french, **splits, **quick)

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
        grader: Grades the outputs: `grade`, by the instruction's rules, or ``judge.grade`` of a
            `Judge`.
        seed: Seed of the wordings' order and of the controls.

    Returns:
        The study.

    Raises:
        ValueError: Before anything runs, if a test content is among the others, see
            `search.check_no_test_leakage`; if the grader fails on an output, does not answer with
            True or False, or passes strictly what does not pass loosely; if a rule is unknown, k, a
            strength, a decay, the rounds or the cards are out of range; or if a content is empty,
            gives no slot, holds a marker, is too long, or is reported on twice.
            After the baseline, if the model does not follow the instruction even when it is asked,
            or no layer has enough living latents.
    """
    bars = Bars(strict_bar, loose_bar, random_bar)
    basis = check_rules(rules, n_random)
    check_settings(model, k, strengths, decays, n_cards)
    contents = study_contents(model, rounds, identification, validation, test)
    validation, test = contents["validation"], contents["test"]
    asked = make_pairs(instruction, test, model.tokenizer, seed=seed)
    pairs = make_pairs(instruction, contents["identification"], model.tokenizer, seed=seed)
    check_study(model, instruction, contents, [*asked, *pairs], max_new_tokens, grader)
    check_search(validation, rounds, KEEP, test)
    grades = baseline_grades(model, instruction, asked, max_new_tokens, grader)
    layers = model.saes.layers
    reconstruction = reconstruction_table(model, [pair.positive for pair in pairs[:20]], layers)
    streams = capture_pairs(model, pairs, layers)
    rankings = rank_captured(model, *streams)
    steered = steerable(model, rankings, k, n_random, seed)
    sources = rule_sources(rules, model, steered, *streams, k)
    grid = settings_grid(steered, [k], [0.0], PLACEMENTS, strengths, decays)
    options = {"max_new_tokens": max_new_tokens, "grader": grader}
    splits = {"validation": validation, "test": test, "rounds": rounds, "keep": KEEP}
    found = {
        rule: choose_and_test(model, instruction, sources[rule], grid, **splits, **options)
        for rule in rules
    }
    grades |= {rule: one.grades for rule, one in found.items()}
    vector = found[basis].vector
    drawn = {"n": n_random, "seed": seed}
    controls = norm_matched_controls(model, rankings[vector.layer], vector, k, **drawn)
    steered_at_random = steer_and_grade(model, instruction, test, controls, **options)
    grades[RANDOM] = pool_grades(steered_at_random)
    return Study(
        instruction=instruction,
        model_name=model.name,
        grades=grades,
        settings={rule: one.setting for rule, one in found.items()},
        vectors={rule: one.vector for rule, one in found.items()},
        rankings=rankings,
        checks={rule: criteria(grades, rule, bars) for rule in rules},
        cards=study_cards(model, asked, grades[PROMPTING], rankings[vector.layer], n_cards),
        reconstruction=reconstruction,
    )
