"""A complete study of one instruction in one call: baseline, latents, steering, controls, verdicts.

It does what the chapters do step by step, for any instruction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import pandas as pd
from matplotlib.axes import Axes

from saif_helpers._internal.checked import checked
from saif_helpers.activations import capture_pairs
from saif_helpers.analysis.reconstruction import reconstruction_table
from saif_helpers.contents import Content
from saif_helpers.display.cards import LatentCard
from saif_helpers.display.figures import interval_bars
from saif_helpers.generation.interventions import Intervention
from saif_helpers.grading import GradeOutputs, Grades, grade
from saif_helpers.instructions import InstructionType
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.placements import PLACEMENTS
from saif_helpers.prompts import make_pairs
from saif_helpers.ranking import LatentRanking, rank_captured
from saif_helpers.study.claims import Criterion, Verdict, verdict
from saif_helpers.study.controls import control_grades
from saif_helpers.study.first_word import first_word_grades
from saif_helpers.study.preparation import (
    check_rules,
    check_settings,
    check_study,
    study_contents,
)
from saif_helpers.study.protocol import choose_and_test
from saif_helpers.study.settings import SteeringSetting, settings_grid
from saif_helpers.study.steering_claim import (
    CONTROLS,
    FIRST_WORD,
    NOTHING,
    PROMPTING,
    Bars,
    Line,
    deciding_grade,
    steering_criteria,
)
from saif_helpers.study.steps import baseline_grades, prompted_grades, steerable, study_cards
from saif_helpers.study.vector_sources import RULES, Rule, rule_sources


@dataclass(frozen=True, eq=False)
class Study:
    """The results of a study.

    >>> table = study.table()  # a row for each method, its shares with their intervals
    >>> study.verdicts["signed latents"] in ("supported", "not supported", "undecided")
    True

    Attributes:
        instruction: The instruction.
        model_name: Name of the model.
        grades: Method to the grades of its outputs for the test contents: ``"no instruction"``,
            ``"prompting"``, the rules, ``"random latents"``, ``"random SAE"`` and ``"first word
            forced"``.
        decided_by: The grade by which settings were chosen and methods are compared, see
            `steering_claim.deciding_grade`.
        settings: Rule to the setting that the search chose on the validation contents.
        vectors: Rule to the steering vector of that setting.
        rankings: Layer to the ranking of its SAE's latents.
        checks: Rule to the criteria of its three lines, see `steering_claim`.
        cards: Cards of the best latents of the layer steered by ``"paper"`` (or the first rule).
        reconstruction: Quality of the SAEs on the prompts, see `reconstruction_table`.
    """

    instruction: InstructionType
    model_name: str
    grades: Mapping[str, Grades]
    decided_by: Literal["strict", "loose"]
    settings: Mapping[str, SteeringSetting]
    vectors: Mapping[str, Intervention]
    rankings: Mapping[int, LatentRanking]
    checks: Mapping[str, Mapping[Line, Sequence[Criterion]]]
    cards: Sequence[LatentCard]
    reconstruction: pd.DataFrame

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """Rule to the verdict on "steering follows": about chance and the paper's bars."""
        return {
            rule: verdict([*lines["beats the controls"], *lines["reaches the bars"]])
            for rule, lines in self.checks.items()
        }

    @property
    def against_opponents(self) -> dict[str, Verdict]:
        """Rule to the verdict on "it beats the difference in means and a forced first word"."""
        last = "beats the simple opponents"
        return {rule: verdict(lines[last]) for rule, lines in self.checks.items()}

    def table(self) -> pd.DataFrame:
        """Return a row for each method: strict, loose and broken share, setting, verdicts."""
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
                    "beats simple opponents": self.against_opponents.get(method, ""),
                }
                for method, graded in self.grades.items()
            ]
        ).set_index("method")

    @checked
    def examples(self, n: int = 5) -> pd.DataFrame:
        """Return the first n test contents with the outputs of each method except the controls."""
        columns = {name: g.outputs[:n] for name, g in self.grades.items() if name not in CONTROLS}
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
    rounds: Sequence[int] = (8, 16, 32, 60),
    n_random: int = 2,
    n_cards: int = 3,
    strict_bar: float = 0.30,
    loose_bar: float = 0.85,
    max_new_tokens: int = 40,
    grader: GradeOutputs = grade,
    seed: int = 0,
) -> Study:
    """Study one instruction: find its latents, steer with them, compare with controls.

    A rule's verdict is *supported* if, over the whole 95 % intervals, it passes more often than
    random latents and a random SAE, which get their own search, its strict share is above
    `strict_bar`, and its loose share at least `loose_bar` times prompting's. Whether it beats the
    difference in means and a forced first word has a verdict of its own. A layer whose SAE has too
    few active latents for the controls is omitted with a warning.

    >>> splits = {"identification": contents, "validation": validation, "test": test}
    >>> quick = {"rounds": (2, 4, 12), "strengths": [2.0], "rules": ["signed latents"]}
    >>> study = saif.study_instruction(organism, french, **splits, **quick)

    Args:
        model: The model and its SAEs.
        instruction: The instruction, shipped or your own, see `InstructionType`.
        identification: Contents for finding latents; by default 200 shipped sentences.
        validation: Contents for choosing settings; by default as many as the rounds need.
        test: Contents for the reported grades; by default 100 shipped sentences.
        rules: The rules.
        k: Number of latents.
        strengths: Factors on the vector in the search, which extends them if the best is the
            largest or smallest.
        decays: Factors from one generated token to the next in the search, for ``"decaying"``.
        rounds: Number of contents in each round of the search.
        n_random: Number of draws of random latents.
        n_cards: Number of latent cards; none for a remote model.
        strict_bar: Minimum strict share.
        loose_bar: Minimum loose share, relative to prompting's.
        max_new_tokens: Maximum number of tokens of an output.
        grader: Function that grades outputs: `grade`, by the instruction's rules, or
            ``judge.grade`` of a `Judge`.
        seed: Seed of the order of wordings and of the controls.

    Returns:
        The study.

    Raises:
        ValueError: Before anything runs, if a test content occurs in another split, see
            `sweep.check_no_test_leakage`; if a check of the grader raises, does not return a bool,
            or strict passes where loose does not; if a rule is unknown, or k, a strength, a decay,
            the rounds or the cards are out of range; or if a content is empty, lacks a slot,
            contains a special token, is too long, or is repeated in the test split.
            After the baseline, if the model does not follow the instruction even when prompted, or
            no layer has enough active latents.
    """
    bars, basis = Bars(strict_bar, loose_bar), check_rules(rules, n_random)
    check_settings(model, k, strengths, decays, n_cards)
    contents = study_contents(model, rounds, identification, validation, test)
    validation, test = contents["validation"], contents["test"]
    asked = make_pairs(instruction, test, model.tokenizer, seed=seed)
    before = make_pairs(instruction, validation, model.tokenizer, seed=seed)
    pairs = make_pairs(instruction, contents["identification"], model.tokenizer, seed=seed)
    check_study(model, instruction, contents, [*asked, *before, *pairs], max_new_tokens, grader)
    grades = baseline_grades(model, instruction, asked, max_new_tokens, grader)
    shown = [pair.positive for pair in pairs[:20]]
    streams = capture_pairs(model, pairs, model.saes.layers)
    rankings = rank_captured(model, *streams)
    steered = steerable(model, rankings, k, n_random, seed)
    sources = rule_sources(rules, model, steered, *streams, k)
    grid = settings_grid(steered, [k], [0.0], PLACEMENTS, strengths, decays)
    options = {"max_new_tokens": max_new_tokens, "grader": grader}
    prompted = prompted_grades(model, instruction, before, **options)
    kind = deciding_grade(prompted, bars)
    splits = {"validation": validation, "test": test, "by": kind} | options
    searched = splits | {"rounds": rounds}
    found = {
        rule: choose_and_test(model, instruction, sources[rule], grid, **searched) for rule in rules
    }
    grades |= {rule: one.grades for rule, one in found.items()}
    drawn = {"n": n_random, "k": k, "seed": seed} | searched
    grades |= control_grades(model, instruction, steered, streams, grid, **drawn)
    grades[FIRST_WORD] = first_word_grades(model, instruction, prompted.outputs, **splits)
    layer = found[basis].vector.layer
    return Study(
        instruction=instruction,
        model_name=model.name,
        grades=grades,
        decided_by=kind,
        settings={rule: one.setting for rule, one in found.items()},
        vectors={rule: one.vector for rule, one in found.items()},
        rankings=rankings,
        checks={rule: steering_criteria(grades, rule, kind, bars) for rule in rules},
        cards=study_cards(model, asked, grades[PROMPTING], rankings[layer], n_cards),
        reconstruction=reconstruction_table(model, shown, model.saes.layers),
    )
