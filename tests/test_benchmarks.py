"""The benchmarks run; what they measure is asserted nowhere, since it is the machine's."""

import json

import pandas as pd
import pytest
import torch

from benchmarks import gpu_scale
from benchmarks.generation import compare, seconds_by_turns
from benchmarks.random_models import SPECIAL, number_tokenizer, random_model, random_prompts
from saif_helpers.memory import architectures
from saif_helpers.tokens import tokenize
from tests import tiny

SIZES = gpu_scale.Sizes(pairs=3, batch_size=2, prompt_tokens=9, new_tokens=7, repeats=1)
SMALL = [f"--{name.replace('_', '-')}={value}" for name, value in vars(SIZES).items()]
WORK = {
    "forward pass, plain": "tokens/s",
    "identification": "pairs/s",
    "generate, transformers": "tokens/s",
    "generate, not steered": "tokens/s",
    "generate, steered at last_prompt_token": "tokens/s",
    "generate, steered at every_position": "tokens/s",
}


@pytest.fixture(scope="module")
def tiny_results(tmp_path_factory):
    path = tmp_path_factory.mktemp("results") / "tiny.json"
    gpu_scale.main(["gemma-2-2b", "llama-3.1-8b", "--tiny", *SMALL, "--out", str(path)])
    return path


def test_a_tiny_run_writes_every_rate_and_its_surroundings(tiny_results):
    results = json.loads(tiny_results.read_text(encoding="utf-8"))
    assert results["versions"]["torch"] == torch.__version__
    assert pd.Timestamp(results["date"])
    assert [run["model"] for run in results["runs"]] == ["gemma-2-2b", "llama-3.1-8b"]
    for run in results["runs"]:
        assert vars(SIZES).items() <= run.items()
        assert run["dtype"] == "bfloat16"
        assert {record["work"]: record["unit"] for record in run["work"]} == WORK
        for record in run["work"]:
            assert 0 < record["least"] <= record["median"] <= record["most"]


def test_without_a_result_the_table_says_so(tmp_path, tiny_results):
    for path in (tmp_path / "none.json", tiny_results):
        table, sentence = gpu_scale.gpu_scale_table(path)
        assert list(table) == gpu_scale.COLUMNS
        assert table.empty
        assert sentence.startswith("Not measured")


def test_the_table_holds_what_a_gpu_gave(tmp_path, tiny_results):
    """The tiny run's records, as if they were of a GPU's first model; the second found no room."""
    results = json.loads(tiny_results.read_text(encoding="utf-8"))
    first, second = results["runs"]
    first |= {"tiny": False, "estimated_gib_identification": 1.0, "estimated_gib_steering": 2.0}
    second |= {"tiny": False, "work": [], "error": "out of memory"}
    results["hardware"]["gpu"] = "some GPU"
    path = tmp_path / "gpu.json"
    path.write_text(json.dumps(results), encoding="utf-8")
    table, sentence = gpu_scale.gpu_scale_table(path)
    assert table["work"].tolist() == [*WORK, "out of memory"]
    assert table["median"].tolist()[:-1] == [record["median"] for record in first["work"]]
    assert table["estimated, GiB"].fillna(0).tolist() == [0, 1, 0, 2, 2, 2, 0]
    assert "some GPU" in sentence
    assert results["date"] in sentence


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_without_a_gpu_the_true_size_is_refused(capsys):
    with pytest.raises(SystemExit):
        gpu_scale.main(["gemma-2-2b"])
    assert "no CUDA device is there; --tiny" in capsys.readouterr().err


def test_a_model_that_finds_no_room_does_not_end_the_run(monkeypatch):
    def no_room(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(gpu_scale, "measure", no_room)
    record = gpu_scale.run("gemma-2-2b", SIZES, "float32", "cpu", tiny=True)
    assert record["error"] == "out of memory"
    assert record["work"] == []


def test_an_output_that_ends_early_is_not_timed(monkeypatch):
    monkeypatch.setattr(gpu_scale.saif, "generate", lambda *_, **__: ["7 8"])
    with pytest.raises(RuntimeError, match="2 tokens written; 1 outputs of 7 expected"):
        gpu_scale.steer(None, ["<bos> 9"], None, SIZES)


def test_prompts_have_exactly_the_tokens_asked_for():
    prompts = random_prompts(4, 9, 512)
    encoded = tokenize(prompts, number_tokenizer(512))
    assert encoded["input_ids"].shape == (4, 9)
    assert encoded["attention_mask"].all()
    assert (encoded["input_ids"][:, 1:] >= len(SPECIAL)).all()
    assert len(set(prompts)) == 4


@pytest.mark.parametrize("kind", ["gemma2", "llama"])
def test_a_random_model_never_prefers_a_special_token(kind):
    config = tiny.causal_lm(kind).config
    model = random_model(kind, config, 64, torch.float32, "cpu")
    ids = torch.arange(len(SPECIAL), config.vocab_size)[:, None]
    with torch.no_grad():
        logits = model.lm._module(ids).logits
    assert (logits.argmax(-1) >= len(SPECIAL)).all()
    assert list(model.saes) == [(2, 64)]


def test_models_are_named_as_the_package_names_them():
    assert set(gpu_scale.MODELS) <= set(architectures())


def test_ways_take_turns_and_the_first_round_is_not_counted():
    done = []
    ways = {name: lambda name=name: done.append(name) for name in "ab"}
    assert {name: len(times) for name, times in seconds_by_turns(ways, 2).items()} == {
        "a": 2,
        "b": 2,
    }
    assert "".join(done) == "ababab"
    assert compare(ways, 1).loc["a", "ratio"] == 1
