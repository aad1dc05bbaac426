import doctest
import json
from dataclasses import replace

import pytest
from refusals import refused

import saif_helpers
from saif_helpers import instructions
from saif_helpers.graders.exact import GRADERS
from saif_helpers.instructions import InstructionType, load_instructions

WORDINGS = {
    "en": ["Say it in French.", "French, please.", "Translate into French."],
    "fr": ["Dis-le en français.", "En français.", "Traduis en français."],
    "de": ["Sag es auf Französisch.", "Auf Französisch.", "Übersetze ins Französische."],
}


def made(**changes):
    arguments = {"name": "french", "wordings": WORDINGS, "grader": GRADERS["french"], **changes}
    return InstructionType(**arguments)


def test_the_readers_example_in_the_docstring_runs():
    results = doctest.testmod(instructions, extraglobs={"saif": saif_helpers})
    assert results.attempted >= 3
    assert results.failed == 0


def test_seen_and_unseen_wordings_are_apart_and_together_all():
    french = made(held_out_language="de", held_out_wordings=[2])
    seen, unseen = french.select("seen"), french.select("unseen")
    assert seen == {"en": WORDINGS["en"][:2], "fr": WORDINGS["fr"][:2]}
    assert unseen == {"en": WORDINGS["en"][2:], "fr": WORDINGS["fr"][2:], "de": WORDINGS["de"]}
    assert french.select("all") == WORDINGS
    assert french.select("seen", ["fr"]) == {"fr": WORDINGS["fr"][:2]}
    with refused("languages"):
        french.select("seen", ["de"])
    with refused("wordings"):
        made().select("unseen")
    with refused("wordings"):
        InstructionType.select.__wrapped__(french, "most")


@pytest.mark.parametrize(
    ("changes", "argument"),
    [
        ({"wordings": {}}, "wordings"),
        ({"wordings": {"en": ["One."]}}, "wordings"),
        ({"wordings": {"en": ["One.", " "]}}, "wordings"),
        ({"wordings": {"en": ["One.", "Two."], "fr": []}}, "wordings"),
        ({"wordings": {"en": ["One.", "Two."], "fr": ["One."]}}, "wordings"),
        ({"slots": ["keyword"]}, "slots"),
        ({"wordings": {"en": ["Use {it}.", "Take {it}."]}}, "slots"),
        ({"held_out_language": "zh"}, "held_out_language"),
        ({"held_out_wordings": [3]}, "held_out_wordings"),
    ],
)
def test_what_would_fail_later_is_refused_at_once(changes, argument):
    with refused(argument):
        made(**changes)


def test_wordings_that_there_are_not_are_refused_with_what_to_do():
    shout = load_instructions()["french"]
    with refused("languages"):
        shout.select("all", [])
    with refused("languages"):
        shout.select("seen", ["xx"])
    everything_seen = replace(shout, held_out_language=None, held_out_wordings=())
    with refused("wordings"):
        everything_seen.select("unseen")


def test_slots_are_filled():
    keyword = made(wordings={"en": ["Use {word}.", "Take {word}."]}, slots=["word"])
    assert keyword.fill("Use {word}.", {"word": "garden", "other": "x"}) == "Use garden."
    with refused("slots"):
        keyword.fill("Use {word}.", {"other": "x"})


def test_shipped_instructions_have_the_graders_of_their_names():
    shipped = load_instructions()
    assert set(shipped) == set(GRADERS)
    for name, instruction in shipped.items():
        assert instruction.grader is GRADERS[name]
        assert instruction.select("seen")
        assert instruction.select("unseen")


def test_an_instruction_without_a_grader_is_refused(tmp_path):
    path = tmp_path / "instructions.json"
    path.write_text(json.dumps({"sing": {"wordings": {"en": ["Sing.", "Sing it."]}}}))
    with refused("path"):
        load_instructions(path=path)
