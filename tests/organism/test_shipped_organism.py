"""The shipped organism: its files, what was measured of it, and the invariants on real weights."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from organism.recipe import RECIPES
from saif_helpers._internal.paths import DATA
from saif_helpers.analysis.reconstruction import reconstruction_quality
from saif_helpers.contents import load_contents
from saif_helpers.grading import grade
from saif_helpers.hub.loading import load
from saif_helpers.instructions import load_instructions
from saif_helpers.placements import PLACEMENTS
from saif_helpers.prompts import make_pairs, render
from saif_helpers.ranking import rank_layers
from saif_helpers.steering import generate
from saif_helpers.study.baselines import first_tokens, force_first_token
from saif_helpers.vector_rules import saif_vector

SHIPPED = DATA / "organism"
SIZES = sorted(path.parent.name for path in SHIPPED.glob("*/config.json"))
LIMIT = 48 * 2**20
CONTENTS = load_contents("test")[:24]


@pytest.fixture(scope="module")
def organism():
    return load("organism", "M")


@pytest.fixture(scope="module")
def steered_inputs(organism):
    instruction = load_instructions()["french"]
    pairs = make_pairs(instruction, load_contents("identification")[:60], organism.tokenizer)
    ranking = rank_layers(organism, pairs, [2])[2]
    vector = saif_vector(ranking, organism.saes[2], 15, 2.0)
    return [render(content.text, organism.tokenizer) for content in CONTENTS], vector


def measured(size: str) -> dict:
    return json.loads((SHIPPED / size / "quality.json").read_text(encoding="utf-8"))


def test_all_sizes_together_stay_within_the_limit():
    assert set(SIZES) == set(RECIPES)
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file()) <= LIMIT


def test_weights_are_safetensors_and_nothing_shipped_can_hold_a_pickle():
    suffixes = {path.suffix for path in DATA.rglob("*") if path.is_file()}
    assert suffixes <= {".safetensors", ".json", ".jsonl", ".jinja", ".md", ".mplstyle"}
    for file in SHIPPED.rglob("*.safetensors"):
        with safe_open(file, "pt") as opened:
            assert all(opened.get_slice(key).get_dtype() == "F16" for key in opened.keys())  # noqa: SIM118


def test_m_is_between_two_and_eight_million_parameters(organism):
    assert 2e6 <= sum(p.numel() for p in organism.lm._module.parameters()) <= 8e6
    assert type(organism.lm._module).__name__ == "Gemma2ForCausalLM"


def test_m_has_an_sae_on_every_layer_and_three_widths_on_the_last(organism):
    assert organism.saes.layers == list(range(organism.n_layers))
    assert len(organism.saes.widths(organism.n_layers - 1)) == 3


@pytest.mark.parametrize("row", measured("M")["exact_match"], ids=lambda row: "-".join(
    str(row[key]) for key in ("instruction", "position", "style", "wordings")
))  # fmt: skip
def test_m_follows_every_instruction_in_seen_wordings(row):
    if row["wordings"] == "seen":
        assert row["exact_match"] >= 0.95
    assert row["n"] == len(load_contents("test"))


@pytest.mark.parametrize("size", SIZES)
def test_every_size_loads_is_made_by_its_recipe_and_measured_in_full(size):
    model, record = load("organism", size), measured(size)
    assert record["recipe"] == json.loads(json.dumps(asdict(RECIPES[size])))
    assert model.n_layers == RECIPES[size].model.n_layers
    assert model.saes.layers == list(range(model.n_layers))
    assert [[row["layer"], row["width"]] for row in record["saes"]] == [list(k) for k in model.saes]
    columns = ("instruction", "position", "style", "wordings")
    conditions = {tuple(row[column] for column in columns) for row in record["exact_match"]}
    assert len(conditions) == len(record["exact_match"]) == 8 * len(load_instructions())
    assert {row["n"] for row in record["exact_match"]} == {len(load_contents("test"))}


SAE_ROWS = [(size, row) for size in SIZES for row in measured(size)["saes"]]


@pytest.mark.parametrize(
    "row", [row for _, row in SAE_ROWS], ids=[f"{s}-{r['layer']}-{r['width']}" for s, r in SAE_ROWS]
)
def test_the_saes_reconstruct_and_few_latents_are_dead(row):
    assert row["explained_variance"] >= 0.95
    assert row["loss_recovered"] >= 0.95
    assert row["dead"] <= 0.05


def test_what_was_measured_can_be_measured_again(organism):
    for name, instruction in load_instructions().items():
        pairs = make_pairs(instruction, CONTENTS, organism.tokenizer)
        outputs = generate(organism, [pair.positive for pair in pairs], max_new_tokens=60)
        items = [content.item(instruction) for content in CONTENTS]
        assert grade(outputs, items, instruction).proportion("strict").value >= 0.8, name


def test_an_sae_can_be_measured_again(organism):
    pairs = make_pairs(load_instructions()["german"], CONTENTS, organism.tokenizer)
    texts = [pair.positive + pair.content.references["german"] for pair in pairs]
    quality = reconstruction_quality(organism, texts, organism.n_layers - 1)
    assert quality.explained_variance > 0.9
    assert quality.loss_recovered > 0.9


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_strength_zero_and_steering_in_batches_on_real_weights(organism, steered_inputs, placement):
    prompts, vector = steered_inputs[0], steered_inputs[1].at(placement)
    plain = generate(organism, prompts)
    assert generate(organism, prompts, vector.scaled(0.0)) == plain
    together = generate(organism, prompts[:6], vector)
    alone = [generate(organism, [p], vector)[0] for p in prompts[:6]]
    assert together == alone


def test_the_same_run_gives_the_same_result(organism, steered_inputs):
    prompts, vector = steered_inputs
    assert generate(organism, prompts, vector) == generate(organism, prompts, vector)
    pairs = make_pairs(load_instructions()["json"], CONTENTS, organism.tokenizer, seed=3)
    first, second = (rank_layers(organism, pairs, [1])[1] for _ in range(2))
    assert torch.equal(first.order, second.order)
    assert torch.equal(first.sensitivity, second.sensitivity)


def test_forcing_the_models_own_first_token_changes_nothing(organism):
    pairs = make_pairs(load_instructions()["french"], CONTENTS, organism.tokenizer)
    prompts = [pair.positive for pair in pairs]
    plain = generate(organism, prompts)
    assert force_first_token(organism, prompts, first_tokens(organism, plain)) == plain


def test_a_first_token_that_is_a_part_of_a_character_can_be_forced(organism):
    french = load_instructions()["french"]
    contents = [c for c in load_contents("test") if c.references["french"].startswith("À")]
    assert contents
    pairs = make_pairs(french, contents, organism.tokenizer, languages=["en"])
    prompts = [pair.positive for pair in pairs]
    plain = generate(organism, prompts)
    assert any(text.startswith("À") for text in plain)
    assert force_first_token(organism, prompts, first_tokens(organism, plain)) == plain


def test_the_model_card_tells_what_was_measured():
    card = Path(SHIPPED / "MODEL_CARD.md").read_text(encoding="utf-8")
    for size in SIZES:
        assert f"## Size {size}" in card
    for _, row in SAE_ROWS:
        assert str(row["explained_variance"]) in card
