import tiny
from refusals import refused

from saif_helpers.contents import Content
from saif_helpers.graders.grader import Grader
from saif_helpers.instructions import InstructionType
from saif_helpers.prompts import make_pairs
from saif_helpers.steering import generate
from saif_helpers.study.baselines import force_beginnings, reference_answers

SHOUT = InstructionType(
    name="shout",
    wordings={"en": ["Say it loudly.", "Shout it."], "de": ["Sag es laut.", "Ruf es."]},
    grader=Grader(strict=lambda output, item: True, loose=lambda output, item: True),
)
MODEL = tiny.wrapped("gemma2")


def test_references_are_taken_and_only_what_is_missing_is_written_by_the_model():
    known = Content("A cat.", references={"shout": "A CAT!"})
    unknown, other = Content("A dog."), Content("A bird.", references={"whisper": "a bird"})
    contents = [unknown, known, other]
    answers = reference_answers(MODEL, SHOUT, contents, max_new_tokens=5, seed=1)
    pairs = make_pairs(SHOUT, contents, MODEL.tokenizer, languages=["en"], seed=1)
    written = generate(MODEL, [pairs[0].positive, pairs[2].positive], max_new_tokens=5)
    assert answers == [written[0], "A CAT!", written[1]]


def test_with_all_references_nothing_is_generated(monkeypatch):
    monkeypatch.setattr("saif_helpers.study.baselines.generate", None)
    known = [Content(text, references={"shout": text.upper()}) for text in ("A.", "B.")]
    assert reference_answers(MODEL, SHOUT, known) == ["A.", "B."]


def test_beginnings_are_forced_and_the_unsteered_model_goes_on():
    model = tiny.wrapped("llama")
    prompts, outputs = tiny.PROMPTS[:3], ["Le chat dort", "La", "Les rats mangent"]
    plain = generate(model, prompts, max_new_tokens=6)
    assert force_beginnings(model, prompts, outputs, 0, max_new_tokens=6) == plain
    begun = force_beginnings(model, prompts, outputs, 2, max_new_tokens=6)
    assert begun[1] == "La"  # two tokens long, so there is nothing to continue
    for text, prompt, output in zip(begun[::2], prompts[::2], outputs[::2], strict=True):
        (rest,) = generate(model, [prompt + output[:2]], max_new_tokens=4)
        assert text == output[:2] + rest
    whole = force_beginnings(model, prompts, outputs, 20, max_new_tokens=30)
    assert whole == outputs
    with refused("n"):
        force_beginnings(model, prompts, outputs, 6, max_new_tokens=6)
    with refused("outputs"):
        force_beginnings(model, prompts, outputs[:1], 1)
