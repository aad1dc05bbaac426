"""Loading from the Hub, on a cache with tiny models and SAEs in the real formats, offline."""

import contextlib
import pickle
from unittest.mock import Mock

import fake_hub
import huggingface_hub
import pytest
import tiny
import torch
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError
from refusals import refused

from saif_helpers.activations import capture
from saif_helpers.hub import devices
from saif_helpers.hub import download as hub
from saif_helpers.hub.loading import load
from saif_helpers.hub.published_saes import pretrained_saes
from saif_helpers.hub.zoo import ZOO
from saif_helpers.latents import decode, encode
from saif_helpers.model.saes import check_decoder_units
from saif_helpers.model.tokens import tokenize
from saif_helpers.prompts import render
from saif_helpers.steering import generate

MODELS = {
    "gemma-2-2b": 1,
    "gemma-2-2b-it": 1,
    "gemma-2-9b-it": 1,
    "llama-3.1-8b": 2,
    "llama-3.1-8b-instruct": 2,
    "gemma-3-270m-it": 3,
    "gemma-3-4b-it": 2,
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    fake_hub.build(folder, MODELS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
        yield folder


def loaded(name, **options):
    caution = ZOO[name].caution
    with pytest.warns(UserWarning, match=name) if caution else contextlib.nullcontext():
        return load(name, device="cpu", **options)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_the_zoo_is_loaded_as_it_was_published(cache, name):
    model = loaded(name)
    assert model.name == name
    assert model.corpus == "natural"
    assert model.n_layers == MODELS[name]
    published = fake_hub.causal_lm(name, MODELS[name]).bfloat16().state_dict()
    text = {key.replace("model.language_model.", "model."): w for key, w in published.items()}
    for key, weights in model.lm._module.state_dict().items():
        assert torch.equal(weights, text[key].float()), key
    assert not any("vision" in key for key in model.lm._module.state_dict())
    assert not any(weights.requires_grad for weights in model.lm._module.parameters())
    attention = model.lm._module.config._attn_implementation
    assert attention == ("eager" if name.startswith("gemma-2") else "sdpa")
    last = model.n_layers - 1
    (key,) = model.saes
    assert key[0] == last
    assert model.sae_paths[key] == str(pretrained_saes(ZOO[name].releases)[key])


@pytest.mark.parametrize("name", MODELS)
def test_prompts_are_rendered_as_the_model_knows_them_and_it_writes(cache, name):
    model = loaded(name)
    instructed = name.endswith(("it", "instruct"))
    assert model.styles == (("chat", "plain") if instructed else ("plain",))
    assert model.tokenizer.pad_token_id is not None
    prompt = render("Hello there.", model.tokenizer)
    assert prompt.startswith(model.tokenizer.bos_token)
    assert prompt.count(model.tokenizer.bos_token) == 1
    assert (model.turn_end in prompt) == instructed
    assert model.tokenizer.convert_tokens_to_ids(model.turn_end) in model.stop_ids
    short, long = prompt, render("Hello there, my old friend.", model.tokenizer)
    together = generate(model, [short, long], max_new_tokens=4)
    assert together == [generate(model, [p], max_new_tokens=4)[0] for p in (short, long)]
    if not instructed:
        with refused("style"):
            render("Hello.", model.tokenizer, "chat")


@pytest.mark.parametrize("name", ["gemma-2-2b-it", "llama-3.1-8b", "gemma-3-270m-it"])
def test_an_sae_computes_in_residual_stream_units_what_its_files_say(cache, name):
    model = loaded(name, layers="all")
    layer = model.n_layers - 1
    (width,) = model.saes.widths(layer)
    sae = model.saes[layer]
    check_decoder_units(sae)
    assert sae.W_dec.dtype == torch.float32
    published = pretrained_saes(ZOO[name].releases)[layer, width]
    w = fake_hub.sae_weights(published, model.d_model)
    scale = 1.0
    if name.startswith("llama"):  # stored in bfloat16, for inputs of a mean norm of 1
        w = {key: weights.bfloat16().float() for key, weights in w.items()}
        scale = fake_hub.norm_factor(published)
        w["threshold"] = torch.full((width,), 0.1).mul(scale).bfloat16().float()
    z = capture(model, [render("Hello there.", model.tokenizer)], [layer])[layer]
    before = scale * z @ w["w_enc"] + w["b_enc"]
    expected = torch.where(before > w["threshold"], before.relu(), 0.0)
    latents = encode(sae, z)
    assert 0 < (latents > 0).sum() <= fake_hub.ALIVE
    torch.testing.assert_close(latents, expected, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(
        decode(sae, latents), (latents @ w["w_dec"] + w["b_dec"]) / scale, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("name", ["gemma-2-2b-it", "llama-3.1-8b", "gemma-3-270m-it"])
def test_prompts_longer_than_the_sliding_window_are_continued_as_by_plain_generate(cache, name):
    """Equal prompts are read once and rows leave the cache: in every family's kind of cache."""
    model = loaded(name, store=None)
    texts = [
        "The soup was so salty that the guests exchanged glances. " * 3,
        "A lake. " * 20,
        "Yes.",
    ]
    prompts = [render(texts[index], model.tokenizer) for index in (0, 1, 0, 2, 1)]
    tokens = tokenize(prompts, model.tokenizer)
    assert tokens["attention_mask"].sum(1).max() > 2 * fake_hub.SLIDING_WINDOW
    plain = model.lm._module.generate(
        input_ids=tokens["input_ids"],
        attention_mask=tokens["attention_mask"],
        max_new_tokens=12,
        do_sample=False,
        eos_token_id=model.stop_ids,
        pad_token_id=model.tokenizer.pad_token_id,
    )[:, tokens["input_ids"].shape[1] :]
    expected = model.tokenizer.batch_decode(plain, skip_special_tokens=True)
    assert generate(model, prompts, max_new_tokens=12) == expected


def test_a_model_that_reads_pictures_too_is_not_asked_of_ndif(cache):
    with refused("remote"):
        load("gemma-3-4b-it", remote=True)


def test_another_width_layer_and_release(cache):
    with refused("layers"):
        loaded("gemma-3-270m-it", layers=[7])
    with refused("size"):
        load("gemma-3-270m-it", "65k", device="cpu")
    with refused("size"):
        load("gemma-2-9b-it", release="gemma-scope-9b-it-res", device="cpu")


def test_any_other_model_with_saes_named_one_by_one(cache, tmp_path):
    model = loaded("gemma-3-270m-it")
    model.lm._module.save_pretrained(tmp_path / "mine")
    model.tokenizer.save_pretrained(tmp_path / "mine")
    tiny.sae(1, d_in=model.d_model).save_model(tmp_path / "sae")
    mine = load(str(tmp_path / "mine"), saes={1: tmp_path / "sae"}, device="cpu")
    assert list(mine.saes) == [(1, tiny.D_SAE)]
    assert mine.sae_paths == {(1, tiny.D_SAE): str(tmp_path / "sae")}
    assert not mine.saes._loaded  # though it was read to be checked
    assert mine.saes[1].cfg.d_sae == tiny.D_SAE
    release, sae_id = "gemma-scope-2-270m-it-res-all", "layer_0_width_16k_l0_small"
    listed = load(str(tmp_path / "mine"), saes={0: (release, sae_id)}, device="cpu")
    torch.testing.assert_close(
        listed.saes[0].W_dec, loaded("gemma-3-270m-it", layers=[0]).saes[0].W_dec
    )
    other = ("gemma-scope-2b-pt-res", "layer_0/width_16k/average_l0_105")
    with refused("saes"):
        load(str(tmp_path / "mine"), saes={0: other}, device="cpu")
    with refused("saes"):
        load(str(tmp_path / "mine"), saes={0: tmp_path / "sae"}, device="cpu")
    with pytest.raises(FileNotFoundError, match=r"no cfg\.json and no sae_weights"):
        load(str(tmp_path / "mine"), saes={0: tmp_path}, device="cpu")


@pytest.mark.parametrize(("name", "argument"), [("gemma-2", "name"), ("Qwen/Qwen3-8B", "saes")])
def test_an_unknown_model_says_what_there_is(name, argument):
    with refused(argument):
        load(name)


def test_a_pickle_in_the_place_of_weights_is_not_opened(cache, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "opened"), "w"))

    model = loaded("gemma-3-270m-it")
    model.lm._module.config.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(OSError, match=r"safetensors|no file named"):
        load(str(tmp_path), release="gemma-scope-2-270m-it-res-all", device="cpu")
    assert not (tmp_path / "opened").exists()


def test_what_is_not_here_and_cannot_be_fetched(cache):
    with pytest.raises(OSError, match=r"google/gemma-3-1b-it is not on this machine.*load\('org"):
        load("gemma-3-1b-it", device="cpu")
    model = loaded("gemma-3-270m-it")
    with pytest.raises(OSError, match="is not on this machine"):
        hub.load_sae("gemma-scope-2-270m-it-res-all", "layer_9_width_16k_l0_small", "cpu")
    assert len(model.saes) == 1


def test_a_gated_model_tells_the_four_steps_and_no_token(monkeypatch):
    def refused(*_, **__):
        cause = GatedRepoError("403, token hf_secret", response=Mock(headers={}))
        raise OSError("gated, hf_secret") from cause

    monkeypatch.setattr(hub.AutoConfig, "from_pretrained", refused)
    with pytest.raises(OSError, match=r"accepted its licence. 1\. .*gemma-3-1b-it.*HF_TOKEN") as e:
        load("gemma-3-1b-it", device="cpu")
    assert "hf_secret" not in "".join(map(str, (e.value, e.value.__cause__)))
    assert e.value.__suppress_context__


def test_the_licence_of_gated_saes_is_on_their_repositorys_page(monkeypatch):
    refused = Mock(side_effect=GatedRepoError("403", response=Mock(headers={})))
    monkeypatch.setattr(hub.SAE, "from_pretrained", refused)
    said = r"Accept it on https://huggingface.co/google/gemma-scope-2-270m-it while"
    with pytest.raises(OSError, match=said):
        hub.load_sae("gemma-scope-2-270m-it-res-all", "layer_9_width_16k_l0_small", "cpu")


def test_auto_is_the_cpu_where_there_is_no_gpu(cache, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    model = load("gemma-3-270m-it", device="auto")
    assert {w.device.type for w in model.saes[2].parameters()} == {"cpu"}


@pytest.mark.parametrize(("layers", "meant"), [(0, 0), (-1, 2), (1, 1), (None, 2)])
def test_a_single_layer_needs_no_list_and_0_is_not_the_last(cache, layers, meant):
    assert load("gemma-3-270m-it", layers=layers, device="cpu").saes.layers == [meant]


def test_other_errors_are_not_renamed():
    with pytest.raises(OSError, match="disk full"), hub.readable_hub_errors("x/y"):
        raise OSError("disk full")
    with pytest.raises(OSError, match="x/y is not on this machine"), hub.readable_hub_errors("x/y"):
        raise LocalEntryNotFoundError("nothing here")


@pytest.mark.parametrize(
    ("device", "capability", "fits", "dtype"),
    [
        ("cpu", (8, 0), True, torch.float32),
        ("cuda", None, True, torch.float32),
        ("cuda", (8, 0), True, torch.bfloat16),
        ("auto", (9, 0), False, torch.bfloat16),
        ("cuda", (7, 5), True, torch.float16),  # a T4
        ("cuda", (7, 5), False, torch.bfloat16),  # Gemma 3 on a T4
    ],
)
def test_the_number_format_is_one_that_the_device_computes_in(
    monkeypatch, device, capability, fits, dtype
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: capability is not None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert devices.default_dtype(device, fits) == dtype
    assert devices.default_device() == ("cpu" if capability is None else "cuda")


@pytest.mark.parametrize(
    ("capabilities", "dtype"),
    [
        ({"avx512_bf16": True, "avx2": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
        ({"avx512_bf16": False, "avx512_f": True, "avx2": True}, torch.float32),
        ({}, torch.float32),
    ],
)
def test_a_cpu_that_computes_in_bfloat16_does(monkeypatch, capabilities, dtype):
    monkeypatch.undo()  # of what conftest sets for all tests
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert devices.default_dtype("cpu") == dtype


def test_a_format_too_narrow_for_the_model_is_found_out_when_it_is_loaded(cache, tmp_path):
    model = loaded("gemma-3-270m-it").lm._module
    with torch.no_grad():
        model.model.embed_tokens.weight *= 1e5
    model.save_pretrained(tmp_path)
    fake_hub.tokenizer("gemma-3-270m-it").save_pretrained(tmp_path)
    release = "gemma-scope-2-270m-it-res-all"
    with refused("dtype"):
        load(str(tmp_path), release=release, dtype=torch.float16, device="cpu")
    assert load(str(tmp_path), release=release, device="cpu").n_layers == 3
