"""GGUF files are converted once, whole or not at all, and loaded like any other model."""

import errno
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny
import tiny_gguf
import torch
from refusals import refused, unreadable

from saif_helpers.hub.gguf_files import (
    ModelCache,
    converted,
    is_whole,
    models_folder,
    sha256_of,
)
from saif_helpers.hub.loading import load
from saif_helpers.prompts import render


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return tiny_gguf.write(tmp_path_factory.mktemp("gguf") / "Tiny.F32.gguf")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SAIF_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def test_a_converted_model_computes_what_the_original_does(file):
    model = load(file, saes={})
    ids = torch.tensor([[1, 70, 71, 72, 80, 90]])
    with torch.no_grad():
        found = model.lm._module(ids).logits
        right = tiny_gguf.model()(ids).logits
    assert torch.allclose(found, right, atol=1e-5)
    assert model.name == "Tiny.F32"
    assert model.stop_ids == [2]
    assert render("Hi", model.tokenizer) == (
        "<|im_start|>system\nBe helpful.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_a_gguf_file_takes_saes_of_the_readers_own(file, tmp_path):
    tiny.sae(1).save_model(tmp_path / "sae")
    model = load(file, saes={1: tmp_path / "sae"})
    assert model.saes.layers == [1]
    with refused("saes"):
        load(file)


def test_it_is_converted_once(file, cache):
    folder = converted(file)
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert converted(file) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    assert sorted(path.name for path in cache.iterdir()) == [folder.name]
    assert folder.name == f"Tiny.F32-{sha256_of(file)[:16]}"


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "conversion.json"])
def test_a_flipped_byte_is_noticed_and_the_model_made_anew(file, name):
    folder = converted(file)
    right = (folder / name).read_bytes()
    middle = len(right) // 2
    damaged = right[:middle] + bytes([right[middle] ^ 1]) + right[middle + 1 :]
    (folder / name).write_bytes(damaged)
    assert not is_whole(folder)
    assert converted(file) == folder
    assert (folder / name).read_bytes() == right
    assert is_whole(folder)


def test_a_folder_of_another_version_of_the_conversion_is_made_anew(file):
    folder = converted(file)
    note = json.loads((folder / "conversion.json").read_text())
    (folder / "conversion.json").write_text(json.dumps(note | {"conversion": "older"}))
    assert not is_whole(folder)
    assert is_whole(converted(file))


def test_two_processes_at_once_leave_one_good_copy(file, cache):
    with ThreadPoolExecutor(2) as pool:
        code = f"from saif_helpers.hub.gguf_files import *; print(converted(Path({str(file)!r})))"
        command = [sys.executable, "-c", code]
        runs = [*pool.map(lambda _: subprocess.run(command, capture_output=True, text=True), "ab")]
    folders = {run.stdout.strip() for run in runs}
    assert len(folders) == 1, [run.stderr for run in runs]
    assert is_whole(Path(folders.pop()))
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize("at", ["save_pretrained", "_write_note", "_put"])
def test_a_kill_in_the_middle_leaves_no_half_model(file, cache, at):
    """os._exit ends the process as a kill does: nothing is cleaned up."""
    code = (
        "import os, saif_helpers.hub.gguf_files as g, transformers as t; from pathlib import Path\n"
        "end = lambda *_, **__: os._exit(9)\n"
        f"if {at!r} == 'save_pretrained': t.PreTrainedTokenizerBase.save_pretrained = end\n"
        f"else: g.{at} = end\n"
        f"g.converted(Path({str(file)!r}))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 9
    left = list(cache.iterdir())
    assert left
    assert not any(map(is_whole, (path for path in left if path.suffix != ".part")))
    assert is_whole(converted(file))
    assert ModelCache().size() > sum(f.stat().st_size for f in converted(file).iterdir())
    ModelCache().clear()
    assert not list(cache.iterdir())


def test_what_is_no_whole_gguf_file_is_refused(file, tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a file"):
        converted(tmp_path / "none.gguf")
    other = tmp_path / "other.gguf"
    other.write_bytes(b"PK" + bytes(100))
    with unreadable("other.gguf"):
        converted(other)
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(file.read_bytes()[:3000])
    with unreadable("cut.gguf"):
        converted(cut)
    with unreadable("Tiny.F32.gguf"):
        converted(file, sha256="0" * 64)
    assert not models_folder().exists() or not list(models_folder().iterdir())


def test_an_architecture_that_transformers_does_not_read_is_named(tmp_path):
    odd = tiny_gguf.write(tmp_path / "odd.gguf", architecture="neverheardof")
    with unreadable("odd.gguf"):
        converted(odd)
    assert not list(models_folder().iterdir())


def test_too_little_disk_is_said_before_anything_is_written(file, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10_000_000))
    with pytest.raises(OSError, match=r"10 MB free.*needs 17 MB.*SAIF_MODELS"):
        converted(file)


def test_a_full_disk_leaves_nothing(file, cache, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("saif_helpers.hub.gguf_files._write_note", full)
    with pytest.raises(OSError, match="space"):
        converted(file)
    assert not list(cache.iterdir())


def test_the_cache_says_where_and_how_large_and_leaves_other_files_alone(file, cache):
    folder = converted(file)
    (cache / "notes.txt").write_text("mine")
    size = sum(path.stat().st_size for path in folder.iterdir())
    assert ModelCache().size() == size
    assert repr(ModelCache()) == (
        f"ModelCache({str(cache)!r}: 1 files or models, {size / 1e6:.1f} MB)"
    )
    ModelCache().clear()
    assert [path.name for path in cache.iterdir()] == ["notes.txt"]


def test_the_folder_is_the_users_choice(monkeypatch, tmp_path):
    monkeypatch.delenv("SAIF_MODELS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert models_folder() == tmp_path / "saif-helpers" / "models"
