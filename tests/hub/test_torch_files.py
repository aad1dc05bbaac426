"""SAEs that were published as torch files: converted once, in a process of its own, or refused."""

import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import fake_hub
import huggingface_hub
import pytest
import tiny
import torch
from refusals import refused, unreadable
from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

from saif_helpers.hub import torch_files
from saif_helpers.hub.download import load_sae
from saif_helpers.hub.gguf_files import ModelCache, sha256_of
from saif_helpers.hub.loading import load
from saif_helpers.hub.torch_files import TORCH_FILES, convert, converted_folder, is_converted

RELEASE, SAE_ID = "llama-3.1-8b-instruct-andyrdt", "resid_post_layer_3_trainer_1"
FOLDER = "resid_post_layer_3/trainer_1"
LISTED = get_pretrained_saes_directory()
LAYER = 3
N_LAYERS = LAYER + 1


class Planted:
    """What leaves a file behind when it is unpickled."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty cache of the Hub's files and of conversions; nothing that is planted runs."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SAIF_MODELS", str(tmp_path / "models"))
    yield tmp_path
    assert not (tmp_path / "trace").exists()


def tensors():
    """Return weights as the library dictionary_learning saves those of a BatchTopK SAE."""
    draw = torch.Generator().manual_seed(1)
    random = {
        "encoder.weight": (tiny.D_SAE, tiny.D_MODEL),
        "encoder.bias": (tiny.D_SAE,),
        "decoder.weight": (tiny.D_MODEL, tiny.D_SAE),
        "b_dec": (tiny.D_MODEL,),
    }
    made = {name: torch.randn(shape, generator=draw) for name, shape in random.items()}
    return made | {"threshold": torch.tensor(0.5), "k": torch.tensor(4)}


def publish(here, content, release=RELEASE, folder=FOLDER, save=torch.save):
    """Put a release's two files into the cache, in the layout of dictionary_learning."""
    place = fake_hub.add(here / "cache", LISTED[release].repo_id, folder)
    trainer = {
        "dict_class": "BatchTopKSAE",
        "layer": LAYER,
        "activation_dim": tiny.D_MODEL,
        "dict_size": tiny.D_SAE,
        "k": 4,
        "lm_name": "meta-llama/Llama-3.1-8B-Instruct",
    }
    config = {"trainer": trainer, "buffer": {"ctx_len": 128}}
    (place / "config.json").write_text(json.dumps(config))
    save(content, place / "ae.pt")
    return place / "ae.pt"


def test_a_converted_sae_has_the_weights_of_the_file_and_is_loaded_from_its_folder(
    here, monkeypatch
):
    weights = tensors()
    file = publish(here, weights)
    folder = convert(RELEASE, SAE_ID)
    assert folder == converted_folder(RELEASE, SAE_ID)
    assert folder.is_relative_to(here / "models")
    assert {path.name for path in folder.iterdir()} == {
        "cfg.json",
        "conversion.json",
        "sae_weights.safetensors",
    }
    note = json.loads((folder / "conversion.json").read_text())
    assert note["source"] == f"{LISTED[RELEASE].repo_id}/{FOLDER}/ae.pt"
    assert note["sha256"] == sha256_of(file)
    assert note["files"]["cfg.json"] == sha256_of(folder / "cfg.json")

    torch.manual_seed(0)
    model = tiny.LlamaForCausalLM(tiny.LlamaConfig(
        vocab_size=262, hidden_size=tiny.D_MODEL, intermediate_size=64, num_hidden_layers=N_LAYERS,
        num_attention_heads=4, bos_token_id=2, eos_token_id=1, pad_token_id=0,
    ))  # fmt: skip
    model.save_pretrained(here / "model")
    tiny.tokenizer().save_pretrained(here / "model")
    options = {"store": None, "device": "cpu", "dtype": torch.float32}
    for where in (folder, (RELEASE, SAE_ID)):
        loaded = load(str(here / "model"), saes={LAYER: where}, **options)
        sae = loaded.saes[LAYER]
        assert torch.equal(sae.W_dec, weights["decoder.weight"].T)
        assert torch.equal(sae.W_enc, weights["encoder.weight"].T)
        assert torch.equal(sae.b_enc, weights["encoder.bias"])
        assert torch.equal(sae.threshold, weights["threshold"].expand(tiny.D_SAE))
    # By hand: a latent is active where its pre-activation is above the threshold.
    residual = torch.randn(3, tiny.D_MODEL)
    before = (residual - sae.b_dec) @ weights["encoder.weight"].T + weights["encoder.bias"]
    expected = torch.where(before > 0.5, before, 0).relu()
    torch.testing.assert_close(sae.encode(residual), expected, atol=1e-5, rtol=1e-5)

    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("converted again"))
    assert convert(RELEASE, SAE_ID) == folder
    ModelCache().clear()
    assert not is_converted(RELEASE, SAE_ID)


def test_the_refusal_names_the_command(here):
    publish(here, tensors())
    with unreadable(f"{LISTED[RELEASE].repo_id}/{SAE_ID}") as raised:
        load_sae(RELEASE, SAE_ID, "cpu")
    command = f"python -m saif_helpers.hub.torch_files {RELEASE} {SAE_ID}"
    assert str(raised.value).endswith(f"convert it once: {command}")


def test_the_commands_words(here, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["torch_files", RELEASE, SAE_ID])
    with pytest.raises(SystemExit) as ended:
        torch_files.main()
    assert ended.value.code == 1
    assert "is not on this machine" in capsys.readouterr().err
    monkeypatch.setattr(torch_files, "convert", lambda *given: Path("/".join(given)))
    torch_files.main()
    assert capsys.readouterr().out.strip() == f"{SAE_ID}: {RELEASE}/{SAE_ID}"


def planted(here):
    return Planted(here / "trace")


def write_pickle(content, path):
    path.write_bytes(pickle.dumps(content))


@pytest.mark.parametrize(
    ("content", "save", "message"),
    [
        (lambda here: {"encoder.weight": planted(here)}, torch.save, "more than tensors, which"),
        (lambda here: {**tensors(), "more": planted(here)}, torch.save, "more than tensors, which"),
        (planted, torch.save, "more than tensors, which"),
        (planted, write_pickle, "more than tensors, which"),
        (lambda _: {**tensors(), "more": [tensors()]}, torch.save, r"tensors \('more'\)"),
        (lambda _: tensors()["b_dec"], torch.save, "a Tensor, not tensors by name"),
        (lambda _: b"nothing", lambda c, path: path.write_bytes(c), "rejected|not a complete file"),
    ],
)
def test_a_file_with_anything_but_tensors_is_refused(here, content, save, message):
    file = publish(here, content(here), save=save)
    assert re.search(message, torch_files._what_is_wrong(str(file)))


def test_a_file_that_was_cut_off_is_refused(here):
    file = publish(here, tensors())
    assert torch_files._what_is_wrong(str(file)) is None
    whole = file.read_bytes()
    for length in (0, 50, len(whole) - 200):
        file.write_bytes(whole[:length])
        assert "is not a complete file of torch.save" in torch_files._what_is_wrong(str(file))


def test_planted_code_does_not_run_where_torchs_protection_is_switched_off(here, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    file = publish(here, {**tensors(), "more": planted(here)})
    with unreadable("trainer_1/ae.pt") as raised:
        convert(RELEASE, SAE_ID)
    assert str(file) in str(raised.value)
    assert not list((here / "models").iterdir())
    torch.load(file, weights_only=False)  # it does run where it is let
    (here / "trace").unlink()


@pytest.mark.parametrize(
    ("stderr", "message"),
    [("Traceback\nKeyError: 'b'\n", r"\(exit 7\): KeyError: 'b'"), ("", r"\(exit 7\): no message")],
)
def test_a_process_that_fails_leaves_nothing_and_is_told(here, monkeypatch, stderr, message):
    publish(here, tensors())
    failed = subprocess.CompletedProcess([], 7, "", stderr)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(OSError, match=message):
        convert(RELEASE, SAE_ID)
    assert not list((here / "models").iterdir())


def test_the_process_gets_no_keys_and_asks_no_other_machine(here, monkeypatch):
    publish(here, tensors())
    for name in ("HF_TOKEN", "OPENAI_API_KEY", "MY_PASSWORD"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    seen = {}

    def run(command, env, **_):
        seen.update(env)
        return subprocess.CompletedProcess(command, torch_files.REFUSED, "", "was looked at")

    monkeypatch.setattr(subprocess, "run", run)
    with unreadable("ae.pt"):
        convert(RELEASE, SAE_ID)
    assert "secret" not in seen.values()
    assert seen["HF_HUB_OFFLINE"] == seen["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] == "1"
    assert "PATH" in seen


def test_what_is_not_there_or_needs_no_conversion_is_refused(here):
    with refused("release"):
        convert("nowhere", "x")
    with refused("sae_id"):
        convert(RELEASE, "x")
    gemma = "gemma-scope-2b-pt-res"
    with refused("release"):
        convert(gemma, next(iter(LISTED[gemma].saes_map)))
    with pytest.raises(OSError, match="is not on this machine"):
        convert(RELEASE, SAE_ID)
    assert not (here / "models").exists()


def test_saes_of_something_else_are_refused_before_their_weights_are_fetched(here):
    (release,) = [
        name for name, one in LISTED.items() if one.conversion_func == "connor_rob_hook_z"
    ]
    sae_id, file = next(iter(LISTED[release].saes_map.items()))
    folder = fake_hub.add(here / "cache", LISTED[release].repo_id)
    config = {"act_size": 768, "dict_size": 24576, "act_name": "blocks.0.attn.hook_z"}
    (folder / f"{file.split('.pt')[0]}_cfg.json").write_text(json.dumps(config))
    with refused("sae") as caught:
        convert(release, sae_id)
    assert config["act_name"] in str(caught.value)


def test_every_listed_release_of_torch_files_has_a_file_name():
    """The name that is fetched here is the one that SAE-Lens' loader asks for."""
    chosen = [name for name, one in LISTED.items() if one.conversion_func in TORCH_FILES]
    assert len(chosen) > 20
    for release in chosen:
        for sae_id, path in LISTED[release].saes_map.items():
            _, name = torch_files._source(release, sae_id)
            assert name.startswith(path)
            assert name.endswith((".pt", ".pth"))
