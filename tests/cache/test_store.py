import errno
import json
import os
import random
import signal
import warnings
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pandas as pd
import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

from saif_helpers.activations import capture
from saif_helpers.cache import entry as entries
from saif_helpers.cache import store
from saif_helpers.cache.store import Store, default_folder
from saif_helpers.hub.loading import load
from saif_helpers.model.assemble import wrap
from saif_helpers.model.tokens import token_ids
from saif_helpers.steering import generate
from saif_helpers.vectors import ClampedLatents, SteeringVector
from tools.disturb import DAMAGES, damaged, exit_code, no_space, starter, watch_writing

VECTOR = SteeringVector(1, torch.ones(tiny.D_MODEL), "ones")
PROMPTS = [*tiny.PROMPTS, *(f"<bos>{word * n}" for n in range(2, 8) for word in ("ab", "c d"))]
PROMPTS += PROMPTS[:3]  # some twice
SIZE, N_BATCHES = 2, 9


def model_with(folder, kind="gemma2"):
    return replace(tiny.wrapped(kind), store=Store(folder))


def passes(model, run):
    """Return what `run` returns, and how often the model's first layer ran."""
    shapes = []
    handle = model.lm._module.model.layers[0].register_forward_pre_hook(
        lambda _, inputs: shapes.append(inputs[0].shape)
    )
    try:
        return run(), len(shapes)
    finally:
        handle.remove()


@pytest.fixture
def kept(tmp_path):
    """A store with one entry of two rows."""
    kept = Store(tmp_path)
    kept.put("capture", {"layers": [1]}, [[1, 2], [3]], {"1": torch.tensor([[0.5, 2], [3, 4]])})
    return kept


def entry_of(kept):
    (path,) = kept.folder.glob("*/*")
    return path


def test_rows_are_found_one_by_one_and_by_all_that_determines_them(kept):
    for reader in (kept, Store(kept.folder)):
        ((positions, tensors),) = reader.find("capture", {"layers": [1]}, [[9], [3], [1, 2]])
        assert dict(zip(positions, tensors["1"].tolist(), strict=True)) == {1: [3, 4], 2: [0.5, 2]}
        assert not list(reader.find("capture", {"layers": [2]}, [[3]]))
        assert not list(reader.find("generate", {"layers": [1]}, [[3]]))


def test_an_entry_is_a_safetensors_file_named_by_what_determines_it(kept):
    path = entry_of(kept)
    key = entries.read_key(path)
    assert key == {"kind": "capture", "shared": {"layers": [1]}, "rows": [[1, 2], [3]]}
    assert path.name == f"{entries.digest(key)}.safetensors"
    assert load_file(path)["1"].tolist() == [[0.5, 2], [3, 4]]
    assert (len(kept), kept.size()) == (1, path.stat().st_size)
    assert repr(kept) == f"Store({str(kept.folder)!r}: 1 entries, 0.0 MB)"
    assert kept


def test_numbers_of_numpy_and_pytorch_determine_what_plain_ones_do():
    best = pd.Series([0.1, 0.2], index=[0, 2]).idxmax()  # NumPy's, as all that pandas finds
    found = entries.digest({"layers": [best], "strength": torch.linspace(0, 2, 3)[1]})
    assert found == entries.digest({"layers": [2], "strength": 1.0})
    with pytest.raises(TypeError, match="Path given; give what JSON can hold"):
        entries.digest(Path("x"))


def test_every_flipped_byte_and_every_truncation_is_noticed(kept):
    data = entry_of(kept).read_bytes()
    key, tensors = entries.unpack(data)
    damaged = [data[:length] for length in range(len(data))]
    damaged += [data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in range(len(data))]
    harmless = 0
    for each in damaged:
        try:
            found, same = entries.unpack(each)
        except ValueError:
            continue
        harmless += 1  # a blank of the header's padding
        assert found == key
        assert torch.equal(same["1"], tensors["1"])
    assert harmless < 8


def test_an_entry_of_another_schema_or_kind_of_file_is_left_out(kept):
    path = entry_of(kept)
    older = json.dumps({"schema": "saif-store-0", "key": entries.read_key(path), "sha256": ""})
    no_entry = "damaged, or not an entry"
    for text, said in [
        (older, "it has schema 'saif-store-0'"),
        ("{}", no_entry),
        ("[" * 9999, no_entry),
    ]:
        save_file(load_file(path), path, {"entry": text})
        with pytest.warns(UserWarning, match=f"{path.name} is ignored.*{said}"):
            assert not list(Store(kept.folder).find("capture", {"layers": [1]}, [[3]]))


@pytest.mark.parametrize(
    ("key", "tensors", "said"),
    [
        ({"rows": [[3]]}, {}, "another computation"),
        (
            {"kind": "capture", "shared": {"layers": [1]}, "rows": [[1], [3]]},
            {"1": [[0.5]]},
            "index",
        ),
    ],
)
def test_a_sound_file_that_is_not_this_entry_is_left_out(kept, key, tensors, said):
    path = entry_of(kept)
    path.write_bytes(
        entries.pack(key, {name: torch.tensor(rows) for name, rows in tensors.items()})
    )
    with pytest.warns(UserWarning, match=f"{path.name} is ignored.*{said}"):
        assert not list(Store(kept.folder).find("capture", {"layers": [1]}, [[3]]))


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_work_is_named_and_done_again(tmp_path, kind):
    canary = tmp_path / "canary"
    model = model_with(tmp_path)
    expected = capture(model, PROMPTS, [1], SIZE)[1]
    path = sorted(tmp_path.glob("*/*"))[4]
    whole = path.read_bytes()
    path.write_bytes(damaged(whole, kind, random.Random(0), canary))
    again = model_with(tmp_path)
    with pytest.warns(UserWarning, match=f"{path.name} is ignored, and its batch is recomputed"):
        found, n_passes = passes(again, lambda: capture(again, PROMPTS, [1], SIZE)[1])
    assert torch.equal(found, expected)
    assert n_passes == 1
    assert path.read_bytes() == whole
    assert not canary.exists()  # nobody unpickles what lies there


def test_a_damaged_file_does_not_hide_a_sound_one_with_the_same_rows(kept):
    """Whichever comes first: rows are in several files where the batch size changed."""
    wanted, first = ("capture", {"layers": [1]}), entry_of(kept)
    whole = first.read_bytes()
    kept.put(*wanted, [[3], [4]], {"1": torch.tensor([[3.0, 4], [5, 6]])})
    (second,) = set(kept.folder.glob("*/*")) - {first}
    for broken in (first, second):
        sound = broken.read_bytes()
        broken.write_bytes(damaged(sound, "tensors", random.Random(0), kept.folder / "canary"))
        for reader in (kept, Store(kept.folder)):
            with warnings.catch_warnings(record=True):
                warnings.simplefilter("always")
                found = list(reader.find(*wanted, [[3]]))
            assert [tensors["1"].tolist() for _, tensors in found] == [[[3, 4]]]
        broken.write_bytes(sound)
    assert first.read_bytes() == whole


def test_what_replaces_a_damaged_file_is_found_at_once(kept):
    """Its header could not be read, so its rows were not known."""
    wanted, path = ("capture", {"layers": [1]}), entry_of(kept)
    path.write_bytes(b"damaged")
    again = Store(kept.folder)
    with pytest.warns(UserWarning, match=f"{path.name} is ignored"):
        assert not list(again.find(*wanted, [[3]]))
    again.put(*wanted, [[1, 2], [3]], {"1": torch.tensor([[0.5, 2], [3, 4]])})
    ((positions, tensors),) = again.find(*wanted, [[3]])
    assert (positions, tensors["1"].tolist()) == ([0], [[3, 4]])


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_others_may_read_what_is_kept_as_any_file(kept, tmp_path):
    plain = tmp_path / "plain"
    plain.touch()
    assert entry_of(kept).stat().st_mode == plain.stat().st_mode


def test_a_folder_under_an_entrys_name_is_named_and_never_cleared(kept):
    path, wanted = entry_of(kept), ("capture", {"layers": [1]}, [[1, 2], [3]])
    ((_, tensors),) = kept.find(*wanted)
    path.unlink()
    (path / "mine").mkdir(parents=True)
    again = Store(kept.folder)
    with pytest.warns(UserWarning, match=f"{path.name} is ignored"):
        assert not list(again.find(*wanted))
    with pytest.warns(UserWarning, match=f"cannot be stored.*{path.name}"):
        again.put(*wanted, tensors)
    again.clear()
    assert [*kept.folder.rglob("*")] == [path.parent, path, path / "mine"]
    assert again.size() == 0


def test_work_goes_on_with_one_warning_where_nothing_can_be_kept(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    expected = capture(tiny.wrapped("gemma2"), PROMPTS, [1], SIZE)[1]
    for folder in (tmp_path / "file" / "store", tmp_path / "full"):
        model = model_with(folder)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = capture(model, PROMPTS, [1], SIZE)[1]
        assert [f"cannot be stored in {folder}" in str(each.message) for each in caught] == [True]
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
        assert not [path for path in folder.rglob("*") if path.is_file()]
        monkeypatch.setattr(os, "fsync", no_space)


def test_clear_deletes_what_stores_wrote_and_nothing_else(kept):
    path = entry_of(kept)
    leftover = path.with_name(f".{path.stem}.abc.tmp")
    others = [path.with_name("notes.txt"), kept.folder / path.name, kept.folder / "my-data" / "x"]
    others[2].parent.mkdir()
    before = kept.size()
    for each in (leftover, *others):
        each.write_text("12345")
    assert kept.size() == before + 5  # what clear frees
    kept.clear()
    assert {each for each in kept.folder.rglob("*") if each.is_file()} == set(others)
    assert len(kept) == kept.size() == 0
    assert not list(kept.find("capture", {"layers": [1]}, [[3]]))


def test_the_default_folder_is_the_one_named_or_on_drive_or_in_the_cache(tmp_path, monkeypatch):
    for name in ("SAIF_STORE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".cache/saif-helpers/store"
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert default_folder() == Path("/elsewhere/saif-helpers/store")
    monkeypatch.setattr(store, "DRIVE", tmp_path)
    assert default_folder() == tmp_path / "saif-results"
    dead = OSError(errno.ENOTCONN, "Transport endpoint is not connected")
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", Mock(side_effect=dead))
        assert default_folder() == Path("/elsewhere/saif-helpers/store")
    monkeypatch.setenv("SAIF_STORE", "/chosen")
    assert default_folder() == Path("/chosen")


def test_the_organism_keeps_results_only_where_one_says(tmp_path, monkeypatch):
    monkeypatch.delenv("SAIF_STORE", raising=False)
    assert load("organism", "S").store is None
    monkeypatch.setenv("SAIF_STORE", str(tmp_path))
    assert load("organism", "S").store.folder == tmp_path
    assert load("organism", "S", store=None).store is None


def clamp(kind="gemma2", value=9.0, seed=1):
    sae = tiny.sae(seed, hook_name="blocks.1.hook_resid_post")
    return ClampedLatents(1, sae, torch.tensor([3, 5]), torch.tensor([value, 2.0]), kind)


FADING = VECTOR.at("decaying")
BASE = {"steering": FADING, "max_new_tokens": 4}
CLAMP = {**BASE, "steering": clamp()}
LAST = {**BASE, "steering": VECTOR}
PART = {**BASE, "steering": VECTOR.at(slice(1, 3))}
TWO = {**BASE, "steering": [[FADING, FADING.scaled(2.0)]] * len(tiny.PROMPTS)}
NONE = {**BASE, "steering": None}


@pytest.mark.parametrize(
    ("first", "second", "computed"),
    [
        (BASE, BASE, False),
        (BASE, {**BASE, "batch_size": 2}, False),
        (BASE, {**BASE, "steering": replace(FADING, description="another name")}, False),
        (BASE, {**BASE, "steering": [[FADING]] * len(tiny.PROMPTS)}, False),
        (BASE, {**BASE, "steering": None}, True),
        (BASE, {**BASE, "steering": FADING.scaled(2.0)}, True),
        (BASE, {**BASE, "steering": replace(FADING, layer=2)}, True),
        (BASE, {**BASE, "steering": FADING.at("every_position")}, True),
        (BASE, {**BASE, "steering": FADING.at("decaying", 0.5)}, True),
        (BASE, {**BASE, "max_new_tokens": 5}, True),
        (LAST, {**LAST, "steering": VECTOR.at("last_prompt_token", 0.5)}, False),
        (PART, {**PART, "steering": VECTOR.at(slice(1, 3), 0.5)}, False),
        (PART, {**PART, "steering": VECTOR.at(slice(1, 4))}, True),
        (TWO, TWO, False),
        (TWO, BASE, True),
        (NONE, {**NONE, "steering": [None] * len(tiny.PROMPTS)}, False),
        (CLAMP, {**BASE, "steering": clamp()}, False),
        (CLAMP, {**BASE, "steering": clamp(value=8.0)}, True),
        (CLAMP, {**BASE, "steering": clamp(seed=2)}, True),
    ],
)
def test_a_generation_is_found_if_and_only_if_all_that_determines_it_is_equal(
    tmp_path, first, second, computed
):
    model = model_with(tmp_path)
    generate(model, tiny.PROMPTS, **first)
    found, n_passes = passes(model, lambda: generate(model, tiny.PROMPTS, **second))
    assert bool(n_passes) == computed
    assert found == generate(tiny.wrapped("gemma2"), tiny.PROMPTS, **second)


def test_a_capture_is_found_for_the_same_weights_layers_and_tokens_only(tmp_path, monkeypatch):
    model = model_with(tmp_path)
    expected = capture(model, PROMPTS, [2, 0], SIZE)
    weights = tiny.causal_lm("gemma2")
    same = wrap(weights, tiny.tokenizer(), {}, name="same weights", store=Store(tmp_path))
    with torch.no_grad():
        changed = tiny.causal_lm("gemma2")
        changed.model.norm.weight[3] += 1e-3
    other = wrap(changed, tiny.tokenizer(), {}, name="tiny-gemma2", store=Store(tmp_path))
    for each, prompts, layers, n_batches in [
        (same, PROMPTS, [0, 2], 0),
        (same, [*PROMPTS[::-1], "<bos>new", "<bos>newer"], [0, 2], 1),
        (same, PROMPTS, [0], N_BATCHES),
        (other, PROMPTS, [0, 2], N_BATCHES),
    ]:
        _, n_passes = passes(each, lambda e=each, p=prompts, i=layers: capture(e, p, i, SIZE))
        assert n_passes == n_batches
    found = capture(same, PROMPTS[::-1], [0, 2], 64)
    assert all(torch.equal(found[layer].flip(0), expected[layer]) for layer in (0, 2))
    with monkeypatch.context() as patch:
        patch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
        assert passes(same, lambda: capture(same, PROMPTS, [0, 2], SIZE))[1] == N_BATCHES
    monkeypatch.setattr("saif_helpers.model.cached_batches.RESULTS_VERSION", 0)
    assert passes(same, lambda: capture(same, PROMPTS, [0, 2], SIZE))[1] == N_BATCHES


def test_prompts_are_tokenised_once_whether_they_are_found_or_computed(tmp_path, monkeypatch):
    model, asked = model_with(tmp_path), []

    def counted(prompts, tokenizer):
        asked.append(len(prompts))
        return token_ids(prompts, tokenizer)

    monkeypatch.setattr("saif_helpers.model.batching.token_ids", counted)
    for _ in range(2):
        capture(model, PROMPTS, [1], SIZE)
    assert asked == [len(PROMPTS)] * 2


def work(folder: Path, result: Path, die_after: int | None = None) -> None:
    """Capture and generate with a store; write the result, or be killed at some point before.

    What may be the last thing that happens: a forward pass, a temporary file, an entry in place.
    Each entry put in place is written down.
    """
    events = 0

    def happens(*_, unwritten=None):
        nonlocal events
        events += 1
        if events == die_after:
            if unwritten is not None:  # what is not synced may be lost
                os.ftruncate(unwritten, 40)
            os.kill(os.getpid(), signal.SIGKILL)

    def kept(name):
        with (folder.parent / "finished.txt").open("a") as file:
            file.write(f"{name}\n")
        happens()

    watch_writing(lambda handle: happens(unwritten=handle), kept)
    model = model_with(folder)
    model.lm._module.model.layers[0].register_forward_hook(happens)
    residual = capture(model, PROMPTS, [0, 2], SIZE)
    texts = generate(model, PROMPTS, FADING, max_new_tokens=4, batch_size=SIZE)
    whole = {str(layer): stream for layer, stream in residual.items()}
    result.write_bytes(entries.pack({"texts": texts, "entries": len(model.store)}, whole))


@pytest.fixture(scope="module")
def start():
    """Start `work` in a process of its own; they share the imports, which take seconds."""
    run = starter(["tests.tiny", "saif_helpers.steering"])
    return lambda *arguments: run(work, *arguments)


def test_a_run_that_is_killed_again_and_again_ends_as_one_that_is_not(tmp_path, start):
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    for folder in (undisturbed, killed):
        folder.mkdir()
    assert exit_code(start(undisturbed / "store", undisturbed / "result")) == 0
    draw = random.Random(0)
    for _ in range(12):
        process = start(killed / "store", killed / "result", draw.randint(1, 12))
        assert exit_code(process) == -signal.SIGKILL
        for path in (killed / "store").glob("*/*.safetensors"):
            entries.unpack(path.read_bytes())
    assert 0 < len(Store(killed / "store")) < 2 * N_BATCHES
    assert exit_code(start(killed / "store", killed / "result")) == 0
    assert (killed / "result").read_bytes() == (undisturbed / "result").read_bytes()
    finished = (killed / "finished.txt").read_text().split()
    assert sorted(finished) == sorted((undisturbed / "finished.txt").read_text().split())
    assert len(set(finished)) == len(finished) == 2 * N_BATCHES  # none was done twice


def test_two_processes_may_use_one_store_at_once(tmp_path, start):
    results = [tmp_path / "first", tmp_path / "second"]
    processes = [start(tmp_path / "store", result) for result in results]
    assert [exit_code(process) for process in processes] == [0, 0]
    (first, a), (second, b) = (entries.unpack(result.read_bytes()) for result in results)
    assert first["texts"] == second["texts"]
    assert all(torch.equal(a[layer], b[layer]) for layer in a)
    assert len(Store(tmp_path / "store")) == 2 * N_BATCHES
    assert not list((tmp_path / "store").rglob("*.tmp"))


def test_an_interrupted_generation_has_kept_its_finished_batches(tmp_path):
    model, begun = model_with(tmp_path), []

    def interrupt(_, __, output):
        begun.append(output.shape[1] > 1)
        if sum(begun) == 4:
            raise KeyboardInterrupt

    handle = model.lm._module.model.layers[1].register_forward_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        generate(model, PROMPTS, max_new_tokens=3, batch_size=SIZE)
    handle.remove()
    assert len(model.store) == 3
    expected = generate(tiny.wrapped("gemma2"), PROMPTS, max_new_tokens=3)
    assert generate(model, PROMPTS, max_new_tokens=3, batch_size=SIZE) == expected
