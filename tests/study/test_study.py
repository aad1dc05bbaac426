import copy
from dataclasses import replace

import pytest
import tiny
import torch
from refusals import refused

from saif_helpers.contents import Content, load_contents
from saif_helpers.graders.checks import equals_reference
from saif_helpers.graders.grader import Grader
from saif_helpers.graders.ifeval import follows_ifeval
from saif_helpers.graders.text import parses_as_json
from saif_helpers.grading import Grades, check_grader, pool_grades
from saif_helpers.hub.loading import load
from saif_helpers.instructions import InstructionType
from saif_helpers.model.assemble import wrap
from saif_helpers.placements import PLACEMENTS
from saif_helpers.prompts import render
from saif_helpers.steering import generate
from saif_helpers.study.claims import verdict
from saif_helpers.study.controls import control_grades
from saif_helpers.study.search import search
from saif_helpers.study.settings import settings_grid
from saif_helpers.study.steering_claim import (
    FIRST_WORD,
    NOTHING,
    PROMPTING,
    RANDOM,
    RANDOM_SAE,
    Bars,
    steering_criteria,
)
from saif_helpers.study.study import study_instruction
from saif_helpers.study.vector_sources import RULES

WORDINGS = {
    "en": ["Put the sentence into JSON.", "As JSON, please."],
    "de": ["Schreib den Satz als JSON.", "Als JSON, bitte."],
}
FACTS = InstructionType(
    name="facts",
    wordings=WORDINGS,
    grader=Grader(
        strict=lambda output, item: parses_as_json(output) and '"subject"' in output,
        loose=lambda output, item: output.startswith("{"),
    ),
)
CONTENT = Content("A cat sleeps.", split="validation")
SOME = [Content(f"A {animal} sleeps.") for animal in ("cat", "dog", "cow", "hen")]


@pytest.fixture(scope="module")
def found():
    """A definition that no chapter uses, on the smallest model, in one call."""
    return study_instruction(
        load("organism", "S"),
        FACTS,
        identification=load_contents("identification")[:80],
        test=load_contents("test")[-80:],
        rounds=(4, 8, 16),
        n_cards=2,
    )


def test_one_call_studies_a_new_instruction(found):
    assert list(found.grades) == [NOTHING, PROMPTING, *RULES, RANDOM, RANDOM_SAE, FIRST_WORD]
    assert found.grades[PROMPTING].proportion("strict").value >= 0.9
    assert found.grades[NOTHING].proportion("loose").value == 0
    assert found.grades["difference in means"].proportion("strict").value >= 0.5
    assert found.grades[RANDOM].proportion("strict").value <= 0.05
    assert found.verdicts["difference in means"] == "supported"
    assert set(found.verdicts) == set(found.against_opponents) == set(RULES)
    assert found.decided_by == "strict"  # prompting reaches the bar
    assert len(found.grades[RANDOM].outputs) == 2 * 80
    assert found.settings.keys() == set(RULES)


def test_the_verdicts_are_those_of_the_three_lines(found):
    """The last line has a verdict of its own, and chance and the bars have the other."""
    for rule in RULES:
        lines = steering_criteria(found.grades, rule, "strict", Bars())
        assert found.checks[rule] == lines
        chance, bars, opponents = lines.values()
        assert found.verdicts[rule] == verdict([*chance, *bars])
        assert found.against_opponents[rule] == verdict(opponents)
    means = found.checks["difference in means"]["beats the simple opponents"]
    assert [each.what for each in means] == ["strict, difference in means minus first word forced"]
    line = replace(found, checks={"paper": {**found.checks["paper"]}})
    line.checks["paper"]["beats the simple opponents"] = [
        replace(each, threshold=2.0) for each in found.checks["paper"]["beats the simple opponents"]
    ]
    assert line.verdicts["paper"] == found.verdicts["paper"]
    assert line.against_opponents["paper"] == "not supported"


def test_every_output_of_the_first_word_begins_with_one_token(found):
    assert len({output[:1] for output in found.grades[FIRST_WORD].outputs}) == 1


def test_a_study_shows_itself(found):
    table = found.table()
    assert table.loc["paper", "verdict"] == found.verdicts["paper"]
    assert table.loc["paper", "beats simple opponents"] == found.against_opponents["paper"]
    assert table.loc[NOTHING, "verdict"] == table.loc[RANDOM, "beats simple opponents"] == ""
    for method, graded in found.grades.items():
        assert table.loc[method, "broken"] == str(graded.proportion("broken"))
    assert str(found.settings["paper"].layer) == str(table.loc["paper", "layer"])
    examples = found.examples(3)
    assert [*examples] == [NOTHING, PROMPTING, *RULES, FIRST_WORD]  # no control
    assert list(examples.index) == [c.text for c in load_contents("test")[-80:][:3]]
    assert tuple(examples[PROMPTING]) == found.grades[PROMPTING].outputs[:3]
    assert len(found.figure().get_yticklabels()) == len(found.grades)
    assert set(found.reconstruction["judgement"]) == {"good"}
    assert [card.latent for card in found.cards] == found.rankings[
        found.settings["paper"].layer
    ].top(2).tolist()


def test_the_vectors_of_a_study_are_those_that_were_graded(found):
    model = load("organism", "S")
    assert found.vectors.keys() == found.settings.keys()
    for rule, vector in found.vectors.items():
        setting, graded = found.settings[rule], found.grades[rule]
        assert (vector.layer, vector.placement, vector.decay, vector.strength) == (
            (setting.layer, setting.placement, setting.decay, setting.strength)
        )
        prompts = [render(item.content, model.tokenizer) for item in graded.items[:10]]
        assert tuple(generate(model, prompts, vector)) == graded.outputs[:10]
    paper = found.settings["paper"].vector(model, found.rankings[found.settings["paper"].layer])
    assert torch.equal(found.vectors["paper"].vector, paper.vector)
    assert len({vector.norm for vector in found.vectors.values()}) == len(RULES)


def test_a_grader_that_is_not_the_rules_grades_all_of_a_study():
    returned = []

    def fails(output, item):
        raise AssertionError("the instruction's own rules were asked")

    def judged(outputs, items, instruction):
        assert instruction is unruled
        passes = tuple(output.startswith("{") for output in outputs)
        grades = Grades(instruction.name, tuple(items), tuple(outputs), passes, passes)
        returned.append(grades)
        return grades

    unruled = replace(FACTS, grader=Grader(fails, fails))
    model = load("organism", "S", layers=[1])
    small = {"test": load_contents("test")[-10:], "rounds": (1, 3, 6), "n_cards": 0, "n_random": 2}
    small |= {"identification": load_contents("identification")[:10], "strengths": (2.0,)}
    rules = ["difference in means", "paper"]
    made = study_instruction(model, unruled, rules=rules, grader=judged, **small)
    assert [made.grades[NOTHING], made.grades[PROMPTING]] == returned[:2]
    for method in (*rules, RANDOM_SAE, FIRST_WORD):
        assert any(made.grades[method] is grades for grades in returned)
    whole = [grades for grades in returned if len(grades.items) == 10]
    assert len(whole) == 2 + len(rules) + 2 + 2  # the baseline, rules, draws, SAE and first word
    assert made.grades[RANDOM] == pool_grades(whole[-4:-2])
    assert made.grades[PROMPTING].strict == (True,) * 10
    contents = {len(grades.items) for grades in returned}
    assert contents == {1, 2, 3, 6, 10}  # each round grades what is new, an extension all of it


def test_constraints_of_ifeval_grade_a_study():
    is_json = follows_ifeval("detectable_format:json_format")
    has_fields = follows_ifeval("keywords:existence", keywords=['"subject"', '"verb"'])
    fields = InstructionType(
        name="fields",
        wordings=WORDINGS,
        grader=Grader(
            lambda output, item: is_json(output, item) and has_fields(output, item), is_json
        ),
    )
    found = study_instruction(
        load("organism", "S"),
        fields,
        identification=load_contents("identification")[:40],
        test=load_contents("test")[-20:],
        rules=["difference in means"],
        strengths=(1.0, 2.0),
        rounds=(2, 4, 8),
        n_random=1,
        n_cards=0,
    )
    shares = {name: grades.proportion("strict").value for name, grades in found.grades.items()}
    assert shares[PROMPTING] >= 0.9
    assert shares["difference in means"] >= 0.5
    assert shares[NOTHING] == shares[RANDOM] == 0
    assert found.grades[PROMPTING].proportion("loose").value == 1


def test_an_instruction_that_the_model_does_not_follow_is_refused():
    deaf = InstructionType(
        name="rhyme",
        wordings={"en": ["Make it rhyme.", "Rhyme!"]},
        grader=Grader(lambda output, item: False, lambda output, item: False),
    )
    with refused("instruction"):
        study_instruction(tiny.wrapped("gemma2"), deaf, test=SOME, max_new_tokens=2)


def without_names(model, silent=()):
    """The model with SAEs that do not say which layer they are of; some have no living latent."""
    saes = {}
    for layer in model.saes.layers:
        sae = saes[layer] = copy.deepcopy(model.saes[layer])
        sae.cfg.metadata.hook_name = None
        if layer in silent:
            with torch.no_grad():
                sae.threshold.fill_(torch.inf)
    return wrap(model.lm._module, model.tokenizer, saes, name="nameless", corpus="grammar")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the SAEs of nameless for the layers")
def test_saes_need_not_name_their_layer_and_a_silent_one_is_left_out():
    """Nothing is lost for it after the search."""
    model = without_names(load("organism", "S"), silent=[0])
    small = {"test": load_contents("test")[-20:], "rounds": (1, 2, 3), "n_random": 1}
    small |= {"identification": load_contents("identification")[:20], "strengths": (2.0,)}
    rules = ["difference in means", "paper"]
    with pytest.warns(UserWarning, match="layer 0 is omitted from the study: no latent is active"):
        found = study_instruction(model, FACTS, rules=rules, n_cards=1, **small)
    layers = {setting.layer for setting in found.settings.values()}
    assert layers <= set(model.saes.layers[1:])
    best = found.rankings[found.settings["paper"].layer].top(1)  # cards and control are the paper's
    assert [card.latent for card in found.cards] == best.tolist()


@pytest.mark.slow
def test_all_that_is_chosen_is_chosen_alike(monkeypatch):
    """Rules and controls try the same settings on the same contents, by the same share."""
    calls = []

    def searching(model, instruction, contents, sources, settings, **how):
        calls.append((contents, settings, how))
        return search(model, instruction, contents, sources, settings, **how)

    monkeypatch.setattr("saif_helpers.study.protocol.search", searching)
    model = load("organism", "S", layers=[1])
    small = {"test": load_contents("test")[-20:], "rounds": (1, 2, 3), "n_cards": 0}
    small |= {"identification": load_contents("identification")[:20], "strengths": (2.0,)}
    never = replace(FACTS, grader=Grader(lambda *_: False, FACTS.grader.loose))
    rules = ["difference in means", "paper"]
    with pytest.warns(UserWarning, match="not even a prompted output"):
        found = study_instruction(model, never, rules=rules, n_random=3, **small)
    assert len(calls) == len(rules) + 3 + 1
    grid = settings_grid([1], 15, 0.0, PLACEMENTS, [2.0], [0.5, 0.8])
    for contents, settings, how in calls:
        assert contents == load_contents("validation")[:3]
        assert settings == grid
        assert (how["by"], how["rounds"], how["test"]) == ("loose", (1, 2, 3), small["test"])
    assert found.decided_by == "loose"  # prompting passes no strict bar
    whats = [each.what for each in found.checks["paper"]["beats the controls"]]
    assert whats == ["loose, paper minus random latents", "loose, paper minus random SAE"]


def test_the_draws_of_the_control_follow_the_seed(monkeypatch):
    asked = []

    def controls(*given, **how):
        asked.append(how)
        return control_grades(*given, **how)

    monkeypatch.setattr("saif_helpers.study.study.control_grades", controls)
    small = {"test": load_contents("test")[-10:], "rounds": (1, 2), "n_cards": 0, "k": 5}
    small |= {"identification": load_contents("identification")[:20], "strengths": (2.0,)}
    model = load("organism", "S", layers=[1])
    study_instruction(model, FACTS, rules=["paper"], n_random=1, seed=7, **small)
    assert [(how["n"], how["k"], how["seed"]) for how in asked] == [(1, 5, 7)]


@pytest.mark.slow
def test_a_strict_check_that_prompting_never_passes_is_told():
    never = replace(FACTS, grader=Grader(lambda *_: False, FACTS.grader.loose))
    small = {"test": load_contents("test")[-20:], "rounds": (1, 2, 3), "n_cards": 0}
    small |= {"identification": load_contents("identification")[:10], "strengths": (2.0,)}
    with pytest.warns(UserWarning, match="not even a prompted output passes the strict check"):
        found = study_instruction(load("organism", "S"), never, rules=["paper"], **small)
    assert found.verdicts == {"paper": "not supported"}


def test_no_rule_is_refused_before_anything_runs():
    with refused("rules"):
        study_instruction(tiny.wrapped("gemma2"), FACTS, rules=[])


@pytest.mark.parametrize(
    ("strict", "loose", "message"),
    [
        (
            equals_reference,
            lambda o, i: True,
            "strict check of instruction 'mine' failed.*has none",
        ),
        (lambda o, i: False, lambda o, i: o.index("x") > 0, "loose check .* failed on the output"),
        (lambda o, i: None, lambda o, i: True, "returned None .* must return True or False"),
        (lambda o, i: True, lambda o, i: False, "strict must imply loose"),
    ],
)
def test_a_bad_grader_is_told_what_is_wrong(strict, loose, message):
    mine = InstructionType(name="mine", wordings=WORDINGS, grader=Grader(strict, loose))
    with pytest.raises(ValueError, match=message):
        check_grader(mine, CONTENT)
