"""The model in the page: its tokenizer, its network and its controls do what Python does.

`tools/check_live.py` compares 200 answers in the built book; here a few, without a book.
"""

import hashlib
import json
from pathlib import Path

import live_model
import pytest
import torch
from check_in_browser import find_browser
from steer_in_page import DATA as MADE

import saif_helpers as saif

ROOT = Path(__file__).parents[2]
LIVE = ROOT / "book" / "_assets" / "live"
BROWSER = find_browser()
needs_browser = pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome")
TEXTS = (
    "The old baker sells red flowers.",
    "  Three girls  think of\n\nthose women ",
    "l'été n'est-il pas là ? Ça, où: «œuvre» 12345",
    "don't you'll WE'VE it's",
    "Grüße aus Köln, 日本語 und 👍🏽!",
    "<start_of_turn>user\nA cat<end_of_turn>\n<bos>",
    "a" * 50,
    "tab\there  ",
)


@pytest.fixture(scope="module")
def organism():
    return saif.load("organism", "M", layers=[0])


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page with the engine and the model in it."""
    from playwright.sync_api import sync_playwright

    folder = tmp_path_factory.mktemp("live")
    data = json.dumps(live_model.model_data())
    (folder / "model.js").write_text(f"SAIF.data.model = {data};", encoding="utf-8")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        opened = browser.new_page()
        opened.add_script_tag(path=LIVE / "organism.js")
        opened.add_script_tag(path=folder / "model.js")
        opened.evaluate("window.model = new SAIF.Model(SAIF.data.model)")
        yield opened
        browser.close()


@needs_browser
def test_the_tokenizer_cuts_any_text_as_pythons_does(page, organism):
    contents = [content.text for content in saif.load_contents("test", "grammar")[:100]]
    references = [
        text
        for content in saif.load_contents("validation", "grammar")[:40]
        for text in content.references.values()
    ]
    texts = [*TEXTS, *contents, *references]
    own = organism.tokenizer(texts, add_special_tokens=False)["input_ids"]
    assert page.evaluate("texts => texts.map(text => model.tokenizer.encode(text))", texts) == own
    back = page.evaluate("all => all.map(ids => model.tokenizer.decode(ids))", own)
    assert back == [organism.tokenizer.decode(ids) for ids in own]


@needs_browser
def test_a_prompt_is_the_one_that_is_rendered(page, organism):
    for text in ("The cat sleeps.", "  The cat sleeps. "):
        rendered = saif.render(text, organism.tokenizer)
        own = organism.tokenizer(rendered, add_special_tokens=False)["input_ids"]
        assert page.evaluate("text => model.prompt(text)", text) == own


@needs_browser
@pytest.mark.parametrize(
    "placement", ["last_prompt_token", "every_position", "generated_tokens", "decaying"]
)
@pytest.mark.parametrize("layer", [0, 5])
def test_log_probabilities_are_those_of_the_package(page, organism, placement, layer):
    vector = torch.randn(organism.d_model, generator=torch.Generator().manual_seed(0)) * 3
    steering = saif.SteeringVector(layer, vector, "any").at(placement, 0.5)
    text, answer = "The old baker sells red flowers.", "Le vieux boulanger vend des fleurs."
    prompt = saif.render(text, organism.tokenizer)
    own = saif.log_probabilities(organism, prompt, answer, steering)
    ids = organism.tokenizer(answer, add_special_tokens=False)["input_ids"]
    there = page.evaluate(
        """([text, ids, layer, vector, placement]) => Array.from(model.run(model.prompt(text),
        {layer, vector: Float32Array.from(vector), placement, decay: 0.5}, ids.length,
        ids).likely)""",
        [text, ids, layer, vector.tolist(), placement],
    )
    assert there == pytest.approx(own.tolist(), abs=2e-4)


def test_files_are_made_from_what_is_shipped():
    manifest = MADE / "manifest.json"
    if not manifest.is_file():
        pytest.skip("the book was not built here")
    made = json.loads(manifest.read_text(encoding="utf-8"))
    assert made["bytes"] <= 15e6
    if made["sources"] != live_model.sources_digest():
        pytest.skip("the sources have changed since the book was built here")
    for name, digest in made["sha256"].items():
        assert hashlib.sha256((MADE / f"{name}.js").read_bytes()).hexdigest() == digest


def test_every_instruction_starts_where_validation_chose():
    settings = json.loads(live_model.SETTINGS.read_text(encoding="utf-8"))
    assert set(settings) == set(saif.load_instructions("grammar"))
    for rules in settings.values():
        assert set(rules) == set(live_model.RULES[:3])
        for setting in rules.values():
            assert setting["placement"] in ("every_position", "decaying")


def test_the_engine_is_short_enough_to_be_read():
    lines = (LIVE / "organism.js").read_text(encoding="utf-8").splitlines()
    assert len(lines) < 300
