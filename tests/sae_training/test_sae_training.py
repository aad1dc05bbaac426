"""SAEs for any model: text that it writes, streams on disk, training that goes on."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import tiny
import torch
from refusals import refused, unreadable
from sae_lens import SAE
from safetensors.torch import load_file

from saif_helpers.activations import capture
from saif_helpers.contents import load_contents
from saif_helpers.hub.loading import load
from saif_helpers.instructions import load_instructions
from saif_helpers.model.assemble import wrap
from saif_helpers.prompts import render
from saif_helpers.sae_training import streams, texts, training
from saif_helpers.sae_training.__main__ import spread
from saif_helpers.sae_training.card import alike_but_for_text, quality_rows, text_curve
from saif_helpers.sae_training.recipe import Recipe, SAERecipe, TextRecipe
from saif_helpers.sae_training.run import Job, Training, load_without_saes, run
from saif_helpers.sae_training.texts import (
    Text,
    given_parts,
    read_texts,
    sample,
    save_texts,
    write_part,
)

TEXT = TextRecipe(
    parts=2, requests=6, request_tokens=8, answered=0.5, answer_tokens=6, asked_tokens=4
)
SAES = SAERecipe(width=48, k=4, tokens=640, batch_size=32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A local folder with a tiny model, as a reader has one."""
    path = tmp_path_factory.mktemp("model") / "tiny"
    tiny.causal_lm("llama").save_pretrained(path)
    tiny.tokenizer().save_pretrained(path)
    return path


@pytest.fixture
def model():
    return wrap(tiny.causal_lm("llama"), tiny.tokenizer(), {}, name="tiny")


@pytest.fixture
def talkative(model, monkeypatch):
    """A model whose every other request has an end, since random weights say no words."""

    def sample(
        _: object, prompts: list[str], n_tokens: int, temperature: float = 1
    ) -> list[tuple[str, bool]]:
        drawn = torch.randint(1000, (len(prompts),)).tolist()
        return [(f"Tell me about {n}.", place % 2 == 0) for place, n in enumerate(drawn)]

    monkeypatch.setattr(texts, "sample", sample)
    return model


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "sae_weights.safetensors")


def tiny_training(model: Path, folder: Path) -> Training:
    load_model = partial(load_without_saes, str(model), "cpu")
    return Training(load_model, Recipe(text=TEXT, saes=SAES), folder, model_name="tiny")


def residual(n: int = 400) -> torch.Tensor:
    directions = torch.nn.functional.normalize(torch.randn(40, 16), dim=1)
    return (torch.rand(n, 40) < 0.1).float() @ directions * 3


def test_text_depends_on_seed_and_part_alone(talkative):
    first = write_part(talkative, TEXT, "part_000")
    torch.rand(7)
    assert write_part(talkative, TEXT, "part_000") == first
    assert write_part(talkative, TEXT, "part_001") != first
    assert write_part(talkative, TEXT, "part_000", seed=1) != first


def test_text_is_prompts_with_wordings_and_answers(talkative):
    found = write_part(talkative, replace(TEXT, requests=80), "part_000")
    count = Counter(text.kind for text in found)
    assert count == {"unfinished": 40, "answered": 20, "asked": 68, "asked, answered": 12}
    opening = render("x", talkative.tokenizer).partition("x")[0]
    assert all(text.text.startswith(opening) for text in found)
    wordings = [
        wording.partition("{")[0]
        for instruction in load_instructions("natural").values()
        for of_language in instruction.select("seen").values()
        for wording in of_language
    ]
    asked = [text.text for text in found if text.kind.startswith("asked")]
    assert all(any(wording in text for wording in wordings) for text in asked)
    held_out = [c.text for split in ("validation", "test") for c in load_contents(split, "natural")]
    assert not any(sentence in text.text for sentence in held_out for text in found)


def test_what_a_model_samples_ends_with_its_turn(model):
    with torch.no_grad():
        model.lm._module.lm_head.weight[model.stop_ids[-1]] *= 1.5
    prompts = [render("Hello there.", model.tokenizer)] * 20
    torch.manual_seed(0)
    found = sample(model, prompts, 30, batch_size=7)
    assert len(found) == 20
    assert {ended for _, ended in found} == {True, False}
    assert len({text for text, _ in found}) > 10
    assert not any("<end_of_turn>" in text for text, ended in found)


def test_a_base_model_continues_a_text(model):
    model.tokenizer.chat_template = None
    torch.manual_seed(5)
    found = write_part(model, TEXT, "part_000")
    assert {text.kind for text in found} == {"continued"}
    assert all(text.text.startswith("<bos>") for text in found)
    assert write_part(model, TEXT, "part_000") == found


def test_texts_are_read_as_they_were_written(tmp_path):
    written = [Text("a\nb ü 猫", "asked"), Text('"quoted"', "given")]
    save_texts(written, tmp_path / "part.jsonl")
    assert read_texts(tmp_path / "part.jsonl") == written
    assert [path.name for path in tmp_path.iterdir()] == ["part.jsonl"]


def test_a_file_of_the_readers_is_split_into_parts(model, tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("one\n\ntwo\nthree\n")
    parts = [[text.text for text in part] for part in given_parts(file, model, 2)]
    assert parts == [["<bos>one", "<bos>three"], ["<bos>two"]]
    with unreadable("mine.txt"):
        list(given_parts(file, model, 4))


def test_streams_leave_out_the_shared_opening_and_the_beginning(model, tmp_path):
    prompts = [f"<bos>The same {word}" for word in ("cat", "bird", "fish")] * 10
    streams.capture_part(model, prompts, [0, 2], tmp_path, "part_000")
    kept = streams.load_streams(tmp_path, 2, ["part_000"])
    # The tokenizer knows bytes: 9 are shared. Two of 30 texts keep them, without <bos>.
    endings = sum(len(text.removeprefix("<bos>The same ")) for text in prompts)
    assert len(kept) == endings + 2 * len("The same ")
    assert kept.dtype == torch.bfloat16
    assert (tmp_path / "layer_0" / "part_000.safetensors").exists()


def test_the_read_out_token_of_a_prompt_counts_more(model, tmp_path):
    written = ["<bos>One cat.", "<bos>A longer text.", "<bos>Two dogs"]
    streams.capture_part(model, written, [2], tmp_path, "part_000", [True, False, True])
    once, three = (streams.load_streams(tmp_path, 2, ["part_000"], n) for n in (1, 3))
    assert len(three) == len(once) + 4
    rows, times = torch.unique(three, dim=0, return_counts=True)
    kept = capture(model, written, [2])[2].bfloat16()
    for row, count in zip(rows, times.tolist(), strict=True):
        assert (count == 3) == any(torch.allclose(row, kept[i], atol=0.05) for i in (0, 2))


def test_a_low_temperature_draws_what_is_likely(model):
    prompts = [render("Hello there.", model.tokenizer)] * 30
    torch.manual_seed(0)
    cold, warm = (
        {text for text, _ in sample(model, prompts, 1, temperature=t)} for t in (0.01, 1.0)
    )
    assert len(cold) == 1 < len(warm)


def test_outliers_are_not_trained_on(tmp_path):
    rows = torch.randn(100, 8)
    rows[[3, 50]] *= 1000
    assert streams.is_outlier(rows).nonzero()[:, 0].tolist() == [3, 50]


def test_training_lowers_the_error_and_saves_an_sae_in_16_bits(tmp_path):
    x, seen = residual(), []
    recipe = replace(SAES, tokens=6400)
    kwargs = {"model_name": "tiny", "each_step": lambda n, loss: seen.append((n, loss))}
    folder = training.train_sae(x, 3, tmp_path / "layer_3_width_48", recipe, **kwargs)
    assert seen[-1][0] == 6400
    assert seen[-1][1] < seen[0][1] / 1.5
    assert {tensor.dtype for tensor in weights(folder).values()} == {torch.float16}
    sae = SAE.load_from_disk(folder, dtype="float32")
    error = (sae(x) - x).square().sum() / (x - x.mean(0)).square().sum()
    assert error < 0.4
    assert sae.cfg.metadata.hook_name == "model.layers.3"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["layer_3_width_48"]


def test_a_killed_training_ends_with_the_same_weights(tmp_path):
    x = residual()

    def killed(n: int, loss: float) -> None:
        if n > 500:
            raise KeyboardInterrupt

    whole = training.train_sae(x, 0, tmp_path / "whole", SAES)
    with pytest.raises(KeyboardInterrupt):
        training.train_sae(x, 0, tmp_path / "killed", SAES, each_step=killed)
    assert list(tmp_path.glob(".killed.checkpoints/*"))
    steps = []
    again = training.train_sae(
        x, 0, tmp_path / "killed", SAES, each_step=lambda n, loss: steps.append(n)
    )
    assert steps[0] > 32, "it began from the beginning"
    first, second = weights(whole), weights(again)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_another_seed_is_another_sae_and_the_same_seed_the_same(tmp_path):
    x = residual()
    a, b, c = (
        weights(training.train_sae(x, 0, tmp_path / name, SAES, seed=seed))
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["W_enc"], c["W_enc"])


def test_a_frozen_decoder_keeps_its_random_directions(tmp_path):
    x = residual()
    frozen = replace(SAES, frozen_decoder=True)
    few, many = (
        weights(training.train_sae(x, 0, tmp_path / str(n), replace(frozen, tokens=n)))
        for n in (32, 640)
    )
    for name, equal in (("W_dec", True), ("W_enc", False)):
        directions = [torch.nn.functional.normalize(w[name].float(), dim=-1) for w in (few, many)]
        assert torch.allclose(*directions, atol=1e-3) == equal, name


def test_too_little_text_is_refused(tmp_path):
    with refused("residual"):
        training.train_sae(residual(20), 0, tmp_path / "sae", SAES)


def test_the_whole_run_goes_on_and_its_saes_can_be_loaded(folder, tmp_path):
    out = tmp_path / "out"
    whole = tiny_training(folder, out)
    jobs = [Job(0, 48), Job(2, 48), Job(2, 24), Job(2, 48, seed=1), Job(2, 48, frozen_decoder=True)]
    run(whole, jobs[:1], workers=1)
    kept = (out / "saes/layer_0_width_48/sae_weights.safetensors").read_bytes()
    shutil.rmtree(out / "saes")
    run(whole, jobs, workers=1)
    assert (out / "saes/layer_0_width_48/sae_weights.safetensors").read_bytes() == kept
    parts = sorted(path.name for path in (out / "texts").iterdir())
    assert parts == ["held_out_000.jsonl", "part_000.jsonl", "part_001.jsonl"]
    model = load(str(folder), saes=out / "saes", layers="all", store=None)
    assert list(model.saes) == [(0, 48), (2, 24), (2, 48)]
    assert load(str(folder), "48", saes=out / "saes", layers=[0], store=None).saes.layers == [0]
    for other in ("seed-1", "frozen"):
        assert (out / other / "layer_2_width_48").is_dir()
    with refused("layers"):
        load(str(folder), saes=out / "saes", layers=[1], store=None)
    with unreadable("tiny"):
        load(str(folder), saes=folder, store=None)


def test_more_text_is_added_and_other_text_refused(folder, tmp_path):
    started = tiny_training(folder, tmp_path)
    run(started, [Job(0, 48)], workers=1)
    before = (tmp_path / "texts/part_000.jsonl").read_bytes()
    more = replace(started, recipe=replace(started.recipe, text=replace(TEXT, parts=3)))
    run(more, [Job(1, 48)], workers=1)
    assert (tmp_path / "texts/part_000.jsonl").read_bytes() == before
    assert (tmp_path / "streams/layer_1/part_002.safetensors").exists()
    for change in ({"seed": 1}, {"text": replace(TEXT, requests=7)}):
        other = replace(started, recipe=replace(started.recipe, **change))
        with unreadable(tmp_path):
            run(other, [Job(0, 48)], workers=1)


@pytest.mark.slow
def test_the_number_of_processes_changes_nothing(folder, tmp_path):
    command = [sys.executable, "-m", "saif_helpers.sae_training", str(folder)]
    text = tmp_path / "text.txt"
    text.write_text("".join(f"This is line {number} of my own text.\n" for number in range(60)))
    options = ["--text", str(text), "--layers", "0", "2", "--width", "48", "--k", "4"]
    options += ["--tokens", "2048", "--batch-size", "64", "--parts", "2", "--device", "cpu"]
    for workers in ("1", "2"):
        out = ["--out", str(tmp_path / workers), "--workers", workers]
        made = subprocess.run([*command, *options, *out], capture_output=True, text=True)
        assert made.returncode == 0, made.stderr
    for layer in (0, 2):
        one, two = (
            (tmp_path / w / f"saes/layer_{layer}_width_48/sae_weights.safetensors").read_bytes()
            for w in "12"
        )
        assert one == two
    about = json.loads((tmp_path / "1" / "text.json").read_text())
    assert about["model"] == folder.name


@pytest.mark.parametrize(
    ("n_layers", "layers"), [(30, [0, 4, 8, 12, 17, 21, 25, 29]), (3, [0, 1, 2]), (1, [0])]
)
def test_eight_layers_first_and_last_among_them(n_layers, layers):
    assert spread(n_layers) == layers


def test_an_sae_of_less_text_lies_apart_and_makes_a_curve(folder, tmp_path):
    training_of = tiny_training(folder, tmp_path)
    run(training_of, [Job(2, 48), Job(2, 48, parts=1), Job(0, 48)], workers=1)
    less, more = (weights(tmp_path / g / "layer_2_width_48") for g in ("parts-1", "saes"))
    assert not torch.equal(less["W_enc"], more["W_enc"])
    curve = text_curve(alike_but_for_text(quality_rows(tmp_path)))
    assert len(curve) == 2
    assert curve.index.is_monotonic_increasing
    assert set(curve.columns) >= {"explained variance", "loss recovered"}
    assert text_curve([]).empty
