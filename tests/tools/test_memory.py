import gc
import re
from collections.abc import Callable
from dataclasses import asdict

import pytest
import tiny
import torch
from memory_estimate import (
    BATCH_SIZES,
    CUDA_CONTEXT_BYTES,
    FRAGMENTATION,
    GIB,
    T4_BYTES,
    MemoryEstimate,
    architecture,
    architectures,
    estimate,
    memory_table,
)
from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory
from transformers import (
    AutoModelForCausalLM,
    DynamicCache,
    Gemma2Config,
    Gemma3TextConfig,
    LlamaConfig,
)

from saif_helpers.activations import capture
from saif_helpers.hub.loading import load
from saif_helpers.model.assemble import wrap
from saif_helpers.ranking import rank_captured
from saif_helpers.steering import generate
from saif_helpers.vectors import SteeringVector

# Billions of parameters as published; of gemma-3-4b and -12b those of the text model.
PARAMETERS = {
    "gemma-2-2b": 2.614,
    "gemma-2-9b": 9.242,
    "llama-3.1-8b": 8.030,
    "gemma-3-270m": 0.268,
    "gemma-3-1b": 1.000,
    "gemma-3-4b": 3.880,
    "gemma-3-12b": 11.766,
}
# Which releases of SAEs cover every layer of which architecture.
RELEASES = {
    "gemma-scope-2b-pt-res": "gemma-2-2b",
    "gemma-scope-9b-pt-res": "gemma-2-9b",
    "llama_scope_lxr_8x": "llama-3.1-8b",
    "gemma-scope-2-270m-it-res-all": "gemma-3-270m",
    "gemma-scope-2-1b-it-res-all": "gemma-3-1b",
    "gemma-scope-2-4b-it-res-all": "gemma-3-4b",
    "gemma-scope-2-12b-it-res-all": "gemma-3-12b",
}
SIZES = {
    "vocab_size": 8192,
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 2,
}
SMALL = {
    "gemma2": Gemma2Config(**SIZES, sliding_window=16),
    "gemma3": Gemma3TextConfig(**SIZES, sliding_window=16),
    "llama": LlamaConfig(**SIZES),
}


def test_every_architecture_has_the_published_number_of_parameters():
    assert set(architectures()) == set(PARAMETERS)
    for name, billions in PARAMETERS.items():
        made = estimate(architecture(name), 1, "identification", prompts=1, prompt_tokens=2)
        assert made.weights / 2 == pytest.approx(billions * 1e9, rel=0.01), name


@pytest.mark.parametrize("release", RELEASES)
def test_an_architecture_has_as_many_layers_as_there_are_saes(release):
    ids = " ".join(get_pretrained_saes_directory()[release].saes_map)
    layers = {int(number) for number in re.findall(r"(?:layer_|\bl)(\d+)(?:/|r_|_width)", ids)}
    config = architecture(RELEASES[release])
    assert layers == set(range(config.num_hidden_layers))


def test_an_unknown_architecture_says_which_there_are():
    with pytest.raises(ValueError, match=r"'gemma-2-3b' given; known are gemma-2-2b, .*Config"):
        architecture("gemma-2-3b")


@pytest.mark.parametrize("workload", ["identification", "steering"])
def test_gemma_2_2b_with_65k_latents_fits_a_t4(workload):
    made = estimate(architecture("gemma-2-2b"), 65536, workload)
    assert made.saes == pytest.approx(2 * 2304 * 65536 * 4, rel=0.001)
    assert made.total < T4_BYTES - 4 * GIB
    assert made.fits()


def test_what_fits_ends_at_the_capacity():
    made = MemoryEstimate(weights=16, saes=8, cache=4, activations=2, overhead=1)
    assert made.total == 31
    assert made.fits(31)
    assert not made.fits(30)


def test_float32_doubles_all_but_the_sae():
    half, full = (
        estimate(SMALL["gemma2"], 512, "steering", dtype=dtype)
        for dtype in (torch.bfloat16, torch.float32)
    )
    assert full.weights == 2 * half.weights
    assert full.cache == 2 * half.cache
    assert full.saes == half.saes


@pytest.mark.parametrize("kind", ["gemma2", "llama"])
def test_weights_and_saes_are_those_of_the_real_ones(kind):
    model, sae = tiny.causal_lm(kind), tiny.sae(0)
    made = estimate(model.config, tiny.D_SAE, "steering", dtype=torch.float32, n_saes=3)
    assert made.weights == sum(parameter.nbytes for parameter in model.parameters())
    assert made.saes == 3 * sum(parameter.nbytes for parameter in sae.parameters())


@pytest.mark.parametrize(("tokens", "new"), [(8, 5), (12, 12), (40, 4)])
@pytest.mark.parametrize("kind", SMALL)
def test_the_cache_is_as_large_as_the_real_one(kind, tokens, new):
    config = SMALL[kind]
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    cache, held = DynamicCache(config=config), []
    with torch.no_grad():
        for read in [tokens, *[1] * (new - 1)]:
            ids = torch.full((3, read), 7)
            model(input_ids=ids, past_key_values=cache, use_cache=True)
            states = [state for layer in cache.layers for state in (layer.keys, layer.values)]
            held.append(sum(state.untyped_storage().nbytes() for state in states))
    options = {"prompts": 3, "prompt_tokens": tokens, "new_tokens": new}
    made = estimate(config, 8, "steering", dtype=torch.float32, **options)
    assert made.cache == max(held)


def test_sliding_layers_hold_less():
    """By hand: 2 heads of 64, keys and values, 4 bytes; two of four layers keep 16 positions."""
    options = {"prompts": 1, "prompt_tokens": 8, "new_tokens": 33, "dtype": torch.float32}
    position = 2 * 64 * 2 * 4
    gemma, llama = (estimate(SMALL[kind], 8, "steering", **options) for kind in ("gemma2", "llama"))
    assert gemma.cache == (2 * 40 + 2 * 16) * position
    assert llama.cache == 4 * 40 * position


def peak_bytes(call: Callable[[], object]) -> int:
    """Return the most bytes that PyTorch's CPU allocator had given out at once during a call."""
    gc.collect()
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        call()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", SMALL)
def test_the_estimate_is_near_what_the_allocator_gives_out(kind, dtype):
    """Above it where the attention is fused (on the CPU in bfloat16, not in Gemma 2)."""
    model = AutoModelForCausalLM.from_config(SMALL[kind], dtype=dtype).eval()
    wrapped = wrap(model, tiny.tokenizer(), {3: tiny.sae(3, 256, 2048)}, name=kind)
    prompts = ["<bos>" + chr(97 + row) * 63 for row in range(16)]

    def identify() -> None:
        residual = capture(wrapped, prompts, [3], 16)[3]
        rank_captured(wrapped, {3: residual[:8]}, {3: residual[8:]})

    vector = SteeringVector(3, torch.zeros(256), "zeros", placement="every_position")
    options = {"max_new_tokens": 12, "batch_size": 16}
    lengths = {"prompt_tokens": 64, "new_tokens": 12, "dtype": dtype}
    real = {
        "identification": peak_bytes(identify),
        "steering": peak_bytes(lambda: generate(wrapped, prompts, vector, **options)),
    }
    for workload, prompts_or_pairs in {"identification": 8, "steering": 16}.items():
        made = estimate(SMALL[kind], 2048, workload, prompts=prompts_or_pairs, **lengths)
        ratio = (made.cache + made.activations) / real[workload]
        assert 0.93 < ratio < 1.3, workload


def test_many_latents_of_many_pairs_outweigh_the_forward_pass():
    few, many = (estimate(SMALL["llama"], 65536, "identification", prompts=n) for n in (400, 800))
    assert many.activations == pytest.approx(2 * few.activations, rel=0.01)
    assert few.activations > 2 * 400 * 65536 * 4


def test_the_overhead_is_the_stated_margin():
    made = estimate(SMALL["gemma2"], 512, "steering")
    moving = made.cache + made.activations
    assert made.overhead == CUDA_CONTEXT_BYTES + round(FRAGMENTATION * moving)


def test_batch_sizes_are_those_of_the_helpers():
    model, rows = tiny.wrapped("gemma2"), []
    layer = model.lm._module.model.layers[0]
    handle = layer.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    prompts = [f"<bos>{number:03}." for number in range(130)]
    capture(model, prompts, [0])
    generate(model, prompts, max_new_tokens=1)
    handle.remove()
    assert rows == [64, 64, 2, 128, 2]
    assert list(BATCH_SIZES.values()) == [64, 128]


def test_the_config_given_is_left_alone():
    config = load("organism", "S").lm.config
    before = config.to_dict()
    estimate(config, 1024, "steering")
    assert config.to_dict() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"d_sae": 0}, "d_sae=0 given; give at least 1"),
        ({"new_tokens": 0}, "new_tokens=0"),
        ({"batch_size": -1}, "batch_size=-1"),
    ],
)
def test_what_cannot_be_estimated_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        estimate(SMALL["llama"], **{"d_sae": 8, "workload": "steering"} | arguments)


def test_the_table_has_a_row_for_each_model_width_and_workload():
    table = memory_table(["gemma-3-270m", "llama-3.1-8b"])
    keys = ["model", "SAE width", "workload"]
    assert table[keys].values.tolist() == [
        ["gemma-3-270m", 16384, "identification"],
        ["gemma-3-270m", 16384, "steering"],
        ["gemma-3-270m", 262144, "identification"],
        ["gemma-3-270m", 262144, "steering"],
        ["llama-3.1-8b", 32768, "identification"],
        ["llama-3.1-8b", 32768, "steering"],
        ["llama-3.1-8b", 131072, "identification"],
        ["llama-3.1-8b", 131072, "steering"],
    ]
    assert table["fits a 15 GB T4"].tolist() == [True] * 4 + [False] * 4
    parts = [f"{part}, GiB" for part in asdict(MemoryEstimate(0, 0, 0, 0, 0))]
    assert (table[parts].sum(axis=1) - table["total, GiB"]).abs().max() < 0.03
    assert memory_table(["gemma-3-270m"], [4096])["SAE width"].tolist() == [4096, 4096]
