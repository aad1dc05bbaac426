"""The benchmarks run; what they measure is asserted nowhere, since it is the machine's."""

import importlib
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import tiny
import torch
from memory_estimate import architectures
from transformers import AutoTokenizer

import saif_helpers as saif
from benchmarks import __main__ as program
from benchmarks import (
    generation,
    gpu_scale,
    growth,
    growth_memory,
    identification,
    left_out,
    process_memory,
    sweep,
)
from benchmarks.peers import Unavailable, plain, reason
from benchmarks.peers import run as peers_run
from benchmarks.peers.with_nnterp import Nnterp
from benchmarks.peers.work import Asked, Found, agreement, decoded
from benchmarks.random_models import SPECIAL, number_tokenizer, random_model, random_prompts
from benchmarks.timing import Options, rate_rows, ratios, row, seconds_by_turns
from saif_helpers.graders.checks import equals_reference
from saif_helpers.graders.grader import Grader, Item
from saif_helpers.model.tokens import tokenize

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
    results["gpu"] = "some GPU"
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
    assert "no CUDA device; use --tiny" in capsys.readouterr().err


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


def test_rates_are_compared_turn_by_turn():
    assert ratios([1, 4, 6], [2, 4, 3]) == {"median": 1, "least": 0.5, "most": 2}
    seconds = {("w", "limit"): [1.0, 2.0], ("w", "other"): [2.0, 2.0]}
    notes = {("w", "limit"): "", ("w", "other"): "agrees", ("w", "absent"): "not installed"}
    limit, other, absent = rate_rows("a", "n/s", 4, seconds, notes, lambda work: (work, "limit"))
    assert limit == row("a", "w", "limit", "n/s", [4, 2])
    assert other["values"] == [2, 2]
    assert other["ratio"] == {"median": 0.75, "least": 0.5, "most": 1}
    assert absent == row("a", "w", "absent", "n/s", note="not installed")
    assert absent["ratio"] is None


INSTALLED = {peers_run.Bridge.name}  # with this package's own requirements


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A tiny model and pairs; the tokenizer from a folder, since the bridge reads it again.

    No prompt is longer than the sliding window, as with the organism, see `left_out`.
    """
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny.tokenizer().save_pretrained(folder)
    saes = {layer: tiny.sae(layer) for layer in range(tiny.N_LAYERS)}
    tokenizer = AutoTokenizer.from_pretrained(folder)
    lm = tiny.causal_lm("gemma2", sliding_window=512)
    model = saif.wrap(lm, tokenizer, saes, name="tiny")
    return model, identification.prompt_pairs(model, 3)


def check_rows(rows, part, repeats):
    """Check that each way has values and agrees; a peer may have a reason instead."""
    ways = set()
    for one in rows:
        assert set(one) == {"part", "work", "way", "unit", "values", "ratio", "note"}
        assert one["part"] == part
        ways.add(one["way"])
        if one["way"] in {kind.name for kind in peers_run.PEERS} - INSTALLED and not one["values"]:
            assert one["note"].startswith("not installed")
            continue
        assert len(one["values"]) == repeats
        assert min(one["values"]) > 0
        if one["way"] != "saif_helpers" or part == "b":
            assert one["note"].startswith("agrees")
        assert "differs" not in one["note"]
    assert ways >= {kind.name for kind in peers_run.PEERS}


def test_identification_by_every_way_finds_the_same(work):
    layers = {"one": [1], "last": [2], "all": [0, 1, 2]}
    rows = identification.compare_identification(*work, layers, 2, batch_size=2)
    check_rows(rows, "a", 2)
    assert {one["work"] for one in rows} == set(layers)
    assert all(
        (one["ratio"] is None) == (one["way"] == identification.LIMIT) or not one["values"]
        for one in rows
    )


def test_generation_by_every_way_writes_the_same(work):
    rows = generation.compare_generation(*work, 1, 2, new_tokens=4)
    check_rows(rows, "b", 1)
    shared = [one["note"] for one in rows if one["work"] == generation.SHARED and one["values"]]
    assert len(shared) >= 3
    for note in shared:
        assert "changes 0 of" not in note  # or nothing was compared


def test_other_latents_or_activations_are_seen():
    one = Found({1: torch.ones(2, 3)}, {1: torch.arange(20)})
    assert agreement(one, one).startswith("agrees")
    swapped = Found(one.residual, {1: torch.arange(20).flip(0)})
    assert agreement(swapped, one).startswith("differs")
    assert "not equal after layer 1" in agreement(swapped, one)
    moved = Found({1: torch.full((2, 3), 1.5)}, one.order)
    assert "differ by at most 0.5" in agreement(moved, one)


def test_the_plain_ranking_is_the_packages(work):
    model, pairs = work
    found = plain.identify(identification.unwrapped(model, pairs), [0, 2])
    for layer, ranking in saif.rank_layers(model, pairs, [0, 2]).items():
        assert found.order[layer].equal(ranking.order)


def test_pairs_share_what_they_begin_with(work):
    """Counted by hand on two pairs, of which one lacks a token of its own at the end."""
    model, pairs = work
    bos = model.tokenizer.bos_token
    whole = identification.unwrapped(model, pairs[:2])
    first, second = ((f"{bos}the cat", f"{bos}the dog"), (f"{bos}the cat sat", f"{bos}the cat"))
    two = replace(whole, positive=[first[0], second[0]], negative=[first[1], second[1]])
    sides, starts = left_out.shared_beginnings(two)
    lengths = [[len(ids) for ids in side] for side in sides]
    assert all(
        start < min(both) for start, both in zip(starts, zip(*lengths, strict=True), strict=True)
    )
    for start, positive, negative in zip(starts, *sides, strict=True):
        assert positive[:start] == negative[:start]
        assert start == len(negative) - 1 or positive[start] != negative[start]
    expected = 1 - sum(starts) / sum(map(sum, lengths))
    assert left_out.tokens_left(two) == pytest.approx(expected)
    assert agreement(left_out.identify_sharing(two, [1, 2]), plain.identify(two, [1, 2]))[:6] == (
        "agrees"
    )


def test_padding_between_what_is_read_at_once_shifts_a_sliding_window(work):
    """Why sharing beginnings would not do for every model."""
    whole = identification.unwrapped(*work)
    narrow = replace(whole, lm=tiny.causal_lm("gemma2", sliding_window=16))
    plainly, sharing = (way(narrow, [1]) for way in (plain.identify, left_out.identify_sharing))
    assert agreement(sharing, plainly).startswith("differs")
    one_by_one = left_out.identify_sharing(replace(narrow, batch_size=1), [1])  # no padding
    assert agreement(one_by_one, plainly).startswith("agrees")


def test_grades_are_certain_where_the_output_leaves_its_reference():
    """Three outputs: right, wrong from the second word on, and not ended."""
    tokenizer = number_tokenizer(40)
    grader = Grader(equals_reference, lambda output, item: "9" in output)
    items = [Item("x", reference="7 8 9")] * 3
    rows = left_out.certain_rows(["7 8 9", "7 9 9 10", "7 8"], items, grader, tokenizer)
    assert [one["values"] for one in rows] == [[4], [(4 + 2 + 3) / 3], [(3 + 2 + 0) / 3]]


def test_other_texts_are_seen():
    assert generation.check(lambda: ["a", "b"], ["a", "b"]) == "agrees: all 2 texts equal"
    assert generation.check(lambda: ["a", "c"], ["a", "b"]) == "differs: 1 of 2 texts"


def test_what_is_written_behind_the_end_is_not_decoded():
    tokenizer = number_tokenizer(20)
    asked = Asked([], 1, 3, [tokenizer.eos_token_id])
    ids = torch.tensor([[7, tokenizer.eos_token_id, 9], [7, 8, 9]])
    assert decoded(tokenizer, ids, asked) == ["7", "7 8 9"]


def test_a_peer_that_fails_is_left_out_and_says_why():
    def fail(*_):
        raise KeyError("no such hook")

    name = peers_run.Bridge.name
    ways = {("w", "plain"): str, ("w", name): fail}
    left, notes = peers_run.those_that_run(
        ways, {("w", "plain"): lambda: "agrees", ("w", name): fail}, {"x": "not installed"}, ["w"]
    )
    assert left == {("w", "plain"): str}
    assert notes["w", name] == "fails: KeyError: 'no such hook'"
    assert notes["w", "x"] == "not installed"
    with pytest.raises(KeyError):  # what is compared with may not fail
        peers_run.those_that_run(ways, {("w", "plain"): fail}, {}, [])


def test_a_peer_that_does_not_know_the_model_says_so(monkeypatch):
    class Choosy:
        name = "choosy"

        def __init__(self, work):
            raise ValueError(f"cannot read {work}")

    monkeypatch.setattr(peers_run, "PEERS", [Choosy])
    with peers_run.peers_of("this model") as (there, missing):
        assert there == []
        assert missing == {"choosy": "fails: ValueError: cannot read this model"}


def test_nnterp_says_why_it_cannot(tmp_path, work):
    all_of_it = identification.unwrapped(*work)
    with pytest.raises(Unavailable, match="not installed"):
        Nnterp(all_of_it, tmp_path / "none")
    (tmp_path / "nnterp.py").write_text("raise ImportError('too new')\n", encoding="utf-8")
    with pytest.raises(Unavailable, match="its process ended: ImportError: too new"):
        Nnterp(all_of_it, tmp_path)
    assert reason(Unavailable("why")) == "why"


@pytest.mark.parametrize(("power", "straight"), [(1, True), (3, False)])
def test_slopes_are_fitted_turn_by_turn(monkeypatch, power, straight):
    seconds = {str(at): [at**power, 2 * at**power] for at in (1, 2, 4, 8)}
    monkeypatch.setattr(growth, "seconds_by_turns", lambda *_: seconds)
    *sizes, slope = growth.grow("identify", "pair", "way", dict.fromkeys((1, 2, 4, 8)), 2)
    assert [one["at"] for one in sizes] == [1, 2, 4, 8]
    assert sizes[0]["work"] == "identify, 1 pair"
    assert sizes[1]["values"] == [2**power, 2 * 2**power]
    assert (slope["r_squared"] > 0.99) == straight
    if straight:
        assert slope["values"] == pytest.approx([1, 2])


def test_widths_are_timed_with_and_without_the_capture(work):
    rows = growth.by_width(*work, [8, 16], 1)
    assert [(one["way"], one.get("at")) for one in rows] == [
        (way, at) for way in (growth.OURS, growth.READ_OUT) for at in (8, 16, None)
    ]
    assert all(one["values"] for one in rows)


LINUX = pytest.mark.skipif(not process_memory.CLEAR.exists(), reason="needs Linux")


@LINUX
def test_the_packages_capture_holds_nothing_but_the_read_out_rows():
    model = saif.load("organism", "S")
    rows = [number * 2 * model.n_layers * model.d_model * 4 / 2**20 for number in (2, 5)]
    assert [held for _, held in growth_memory.main("read-out rows", "S", "2", "5")] == rows
    everything = growth_memory.main("all tokens", "S", "2", "5")
    assert everything[1][1] > 5 * rows[1]


@LINUX
def test_what_is_held_is_seen(monkeypatch):
    ways = {"few": lambda *_: [torch.ones(1)], "many": lambda *_: [torch.ones(2**24)]}
    monkeypatch.setattr(growth_memory, "WAYS", ways)
    assert growth_memory.main("few", "S", "1")[0][0] < 16
    [(rise, held)] = growth_memory.main("many", "S", "1")
    assert held == 64
    assert rise > 48


@LINUX
def test_memory_is_measured_in_processes_of_their_own(monkeypatch):
    given = []

    def fake(command, **_):
        given.append(command[-3:])
        return SimpleNamespace(returncode=len(given) == 3, stdout="[[1.5, 1], [3, 2]]", stderr="no")

    monkeypatch.setattr(growth.subprocess, "run", fake)
    rows = growth.by_memory("S", [4, 8])
    assert given == [["S", "4", "8"]] * 2
    assert [one.get("at") for one in rows] == [4, 8, None] * 2
    assert [one["values"][0] for one in rows] == pytest.approx([1.5, 3, 1.5 / 4] * 2)
    with pytest.raises(RuntimeError, match="failed: no"):
        growth.by_memory("S", [4, 8])
    monkeypatch.setattr(process_memory, "CLEAR", Path("/nowhere"))
    [absent] = growth.by_memory("S", [4, 8])
    assert "only Linux" in absent["note"]


@pytest.fixture
def parts(monkeypatch):
    """Two parts that take no time."""
    for letter in "ab":
        found = [row(letter, "w", "way", "s", [1.0]), row(letter, "w", "x", "s", note="absent")]
        module = SimpleNamespace(measure=lambda options, found=found: [*found] * options.repeats)
        monkeypatch.setitem(sys.modules, f"benchmarks.fake_{letter}", module)
    monkeypatch.setattr(program, "PARTS", {"a": "fake_a", "b": "fake_b"})


def test_a_part_that_is_not_run_keeps_its_rows(tmp_path, parts, capsys):
    path = tmp_path / "out.json"
    for arguments in (["--repeats", "1"], ["--parts", "a", "--repeats", "2", "--quick"]):
        program.main([*arguments, "--out", str(path)])
        assert "x (w): absent" in capsys.readouterr().out.replace("w; w", "w")
    found = json.loads(path.read_text(encoding="utf-8"))
    assert [one["part"] for one in found["rows"]] == ["a"] * 4 + ["b"] * 2
    told = found["about"]["parts"]
    assert {letter: one["quick"] for letter, one in told.items()} == {"a": True, "b": False}
    assert found["about"]["cores"] >= 1
    assert found["about"]["memory_gib"] > 0
    assert found["about"]["versions"]["torch"] == torch.__version__


def test_a_quick_run_leaves_the_books_figures_alone(tmp_path, monkeypatch, parts):
    monkeypatch.setattr(program, "RESULTS", tmp_path / "benchmarks.json")
    program.main(["--quick"])
    assert not program.RESULTS.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--parts", "z"], "invalid choice"), (["--repeats", "0"], "least 1")],
)
def test_arguments_are_checked(arguments, message, capsys):
    with pytest.raises(SystemExit):
        program.main(arguments)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", program.PARTS.values())
def test_every_part_can_be_measured(name):
    assert callable(importlib.import_module(f"benchmarks.{name}").measure)


@pytest.mark.slow
def test_the_loops_of_the_sweep_write_what_the_package_writes():
    *rows, whole, first, strict, both = sweep.measure(Options(quick=True, repeats=1))
    assert first["way"].startswith("saif_helpers")
    assert max(strict["values"] + both["values"]) < first["values"][0]
    assert [row["way"] for row in rows] == [
        sweep.BATCHED,
        sweep.SINGLE,
        "saif_helpers",
        sweep.SEARCH,
    ]
    assert all(each["part"] == "c" and each["values"] for each in [*rows, whole])
    for each in rows[:2]:
        same, outputs = re.findall(r"(\d+) of (\d+) outputs", each["note"])[0]
        assert same == outputs != "0"
    assert [each["ratio"] is None for each in rows] == [True, False, False, False]
    assert whole["unit"] == "s"
