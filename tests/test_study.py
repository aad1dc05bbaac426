import pytest

from saif_helpers.graders import Grader, equals_reference, parses_as_json
from saif_helpers.grades import check_grader
from saif_helpers.ifeval import follows_ifeval
from saif_helpers.instructions import InstructionType
from saif_helpers.loading import load
from saif_helpers.prompts import Content, load_contents
from saif_helpers.study import NOTHING, PROMPTING, RANDOM, RULES, study_instruction
from tests import tiny

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
    assert list(found.grades) == [NOTHING, PROMPTING, *RULES, RANDOM]
    assert found.grades[PROMPTING].proportion("strict").value >= 0.9
    assert found.grades[NOTHING].proportion("loose").value == 0
    assert found.grades["difference in means"].proportion("strict").value >= 0.5
    assert found.grades[RANDOM].proportion("strict").value <= 0.05
    assert found.verdicts["difference in means"] == "supported"
    assert set(found.verdicts) == set(RULES)
    assert found.settings.keys() == set(RULES)


def test_a_study_shows_itself(found):
    table = found.table()
    assert table.loc["paper", "verdict"] == found.verdicts["paper"]
    assert table.loc[NOTHING, "verdict"] == ""
    assert str(found.settings["paper"].layer) == str(table.loc["paper", "layer"])
    examples = found.examples(3)
    assert list(examples.index) == [c.text for c in load_contents("test")[-80:][:3]]
    assert tuple(examples[PROMPTING]) == found.grades[PROMPTING].outputs[:3]
    assert len(found.figure().get_yticklabels()) == len(found.grades)
    assert set(found.reconstruction["in words"]) == {"good"}
    assert [card.latent for card in found.cards] == found.rankings[
        found.settings["paper"].layer
    ].top(2).tolist()


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
    with pytest.raises(
        ValueError, match="does not follow the instruction 'rhyme' when it is asked"
    ):
        study_instruction(tiny.wrapped("gemma2"), deaf, test=[CONTENT] * 4, max_new_tokens=2)


def test_no_rule_is_refused_before_anything_runs():
    with pytest.raises(ValueError, match="one or more of paper, signed latents"):
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
        (lambda o, i: None, lambda o, i: True, "answered None .* must answer True or False"),
        (lambda o, i: True, lambda o, i: False, "must pass loosely too"),
    ],
)
def test_a_bad_grader_is_told_what_is_wrong(strict, loose, message):
    mine = InstructionType(name="mine", wordings=WORDINGS, grader=Grader(strict, loose))
    with pytest.raises(ValueError, match=message):
        check_grader(mine, CONTENT)
