import json
from collections import Counter
from types import SimpleNamespace

import pytest
import tiny
from refusals import refused, unreadable

from saif_helpers.contents import Content, load_contents
from saif_helpers.graders.exact import GRADERS
from saif_helpers.graders.grader import Item
from saif_helpers.instructions import InstructionType
from saif_helpers.model.tokens import token_ids
from saif_helpers.prompts import make_pairs, render

TOKENIZER = tiny.tokenizer()
FRENCH = InstructionType(
    name="french",
    wordings={
        "en": ["Say it in French.", "French, please.", "Translate it."],
        "fr": ["Dis-le en français.", "En français.", "Traduis."],
    },
    grader=GRADERS["french"],
    held_out_wordings=[2],
)
CONTENTS = [Content(f"Cat number {index} sleeps.") for index in range(8)]


def test_render_writes_gemmas_turn_markers_as_text():
    assert (
        render("A cat.", TOKENIZER)
        == "<bos><start_of_turn>user\nA cat.<end_of_turn>\n<start_of_turn>model\n"
    )
    assert render("A cat.", TOKENIZER, "plain") == "<bos>A cat."
    ids = TOKENIZER(render("A", TOKENIZER), add_special_tokens=False).input_ids
    assert ids.count(TOKENIZER.bos_token_id) == 1
    assert ids[0] == TOKENIZER.bos_token_id


@pytest.mark.parametrize(
    ("position", "style", "positive"),
    [
        ("after", "plain", "<bos>Cat number 0 sleeps. {}"),
        ("before", "plain", "<bos>{} Cat number 0 sleeps."),
        (
            "after",
            "chat",
            "<bos><start_of_turn>user\nCat number 0 sleeps. {}<end_of_turn>\n"
            "<start_of_turn>model\n",
        ),
    ],
)
def test_content_and_wording_are_joined_by_one_space(position, style, positive):
    pair = make_pairs(FRENCH, CONTENTS, TOKENIZER, position=position, style=style)[0]
    assert pair.positive == positive.format(pair.wording)
    assert pair.negative == render(CONTENTS[0].text, TOKENIZER, style)
    assert pair.wording in FRENCH.wordings[pair.language]
    assert pair.content is CONTENTS[0]
    assert pair.position == position


def test_pairs_are_balanced_over_languages_and_wordings():
    pairs = make_pairs(FRENCH, CONTENTS, TOKENIZER)
    assert [pair.content for pair in pairs] == CONTENTS
    assert set(Counter(pair.language for pair in pairs).values()) == {4}
    assert Counter(pair.wording for pair in pairs) == dict.fromkeys(
        ["Say it in French.", "French, please.", "Dis-le en français.", "En français."], 2
    )
    three = make_pairs(FRENCH, CONTENTS[:3], TOKENIZER)
    assert sorted(Counter(pair.language for pair in three).values()) == [1, 2]


@pytest.mark.parametrize(
    "line", ["{", '{"content": "A dog sleeps."}', '{"content": 3, "split": "test"}', "[]"]
)
def test_a_line_of_ones_own_file_that_is_not_as_it_should_be_is_named(tmp_path, line):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"content": "A cat sleeps.", "split": "test"}\n' + line)
    with unreadable("mine.jsonl, line 2"):
        load_contents("test", path=path)


def test_references_and_slots_are_text():
    """Asked of the check alone, since the tests' own type checks would come first."""
    given = {"text": "A cat.", "references": {}, "slots": {"n": "3"}}
    Content.__post_init__(SimpleNamespace(**given))
    with refused("slots"):
        Content.__post_init__(SimpleNamespace(**given | {"slots": {"n": 3}}))
    with refused("references"):
        Content.__post_init__(SimpleNamespace(**given | {"references": {"french": None}}))


def test_the_seed_decides():
    first = make_pairs(FRENCH, CONTENTS, TOKENIZER, wordings="all", seed=1)
    assert make_pairs(FRENCH, CONTENTS, TOKENIZER, wordings="all", seed=1) == first
    others = [make_pairs(FRENCH, CONTENTS, TOKENIZER, wordings="all", seed=s) for s in range(2, 6)]
    assert any(other != first for other in others)


def test_unseen_wordings_and_chosen_languages():
    pairs = make_pairs(FRENCH, CONTENTS, TOKENIZER, wordings="unseen", languages=["fr"])
    assert {pair.wording for pair in pairs} == {"Traduis."}


@pytest.mark.parametrize("marker", ["<end_of_turn>", "<start_of_turn>", "<bos>", "<eos>"])
def test_a_content_with_a_marker_is_refused(marker):
    with refused("text") as caught:
        make_pairs(FRENCH, [Content(f"A {marker} cat.")], TOKENIZER)
    assert repr(marker) in str(caught.value)


def test_slots_come_from_the_content():
    keyword = InstructionType(
        name="keyword",
        wordings={"en": ["Use {keyword}.", "Take {keyword}."]},
        grader=GRADERS["keyword"],
        slots=["keyword"],
    )
    (pair,) = make_pairs(keyword, [Content("A cat.", slots={"keyword": "garden"})], TOKENIZER)
    assert pair.wording in ("Use garden.", "Take garden.")
    with refused("slots"):
        make_pairs(keyword, [Content("A cat.")], TOKENIZER)


def test_no_contents_are_refused():
    with refused("contents"):
        make_pairs(FRENCH, [], TOKENIZER)


def test_contents_are_loaded_by_split(tmp_path):
    path = tmp_path / "sentences.jsonl"
    lines = [
        {
            "split": "test",
            "content": "A cat.",
            "keyword": "garden",
            "references": {"french": "Un chat."},
        },
        {"split": "validation", "content": "A dog.", "keyword": "sun", "references": {}},
    ]
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n", encoding="utf-8")
    (content,) = load_contents("test", path=path)
    assert content == Content("A cat.", {"french": "Un chat."}, {"keyword": "garden"}, "test")
    assert content.item(FRENCH) == Item("A cat.", "Un chat.", {"keyword": "garden"})
    assert load_contents("validation", path=path)[0].item(FRENCH).reference is None
    with refused("split"):
        load_contents("train", path=path)


@pytest.mark.parametrize("system", [None, "Answer in French."])
def test_a_chat_whose_template_writes_no_bos_is_accepted_as_it_stands(system):
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = tiny.CHAT_TEMPLATE.replace("{{ bos_token }}", "")
    prompt = render("Hello.", tokenizer, system=system)
    assert not prompt.startswith("<bos>")
    (ids,) = token_ids([prompt], tokenizer)
    assert tokenizer.decode(ids) == prompt
    with refused("prompts"):
        token_ids(["Hello."], tokenizer)


def test_a_chat_whose_template_writes_a_bos_needs_it():
    tokenizer = tiny.tokenizer()
    prompt = render("Hello.", tokenizer).removeprefix("<bos>")
    with refused("prompts"):
        token_ids([prompt], tokenizer)
