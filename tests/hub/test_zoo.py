import re
from itertools import pairwise

import pytest
from refusals import refused
from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

from saif_helpers.hub import smollm2
from saif_helpers.hub.published_saes import WIDTHS, choose_layers, pretrained_saes, width_of
from saif_helpers.hub.zoo import ZOO, zoo_table

N_LAYERS = {
    "gemma-2-2b": 26,
    "gemma-2-2b-it": 26,
    "gemma-2-9b": 42,
    "gemma-2-9b-it": 42,
    "llama-3.1-8b": 32,
    "llama-3.1-8b-instruct": 32,
    "gemma-3-270m-it": 18,
    "gemma-3-1b-it": 26,
    "gemma-3-4b-it": 34,
    "gemma-3-12b-it": 48,
}
FINAL = [  # as the paper's SAEs are known, see the page on the paper
    ("gemma-2-2b", "16k", "gemma-scope-2b-pt-res/layer_25/width_16k/average_l0_116"),
    ("gemma-2-2b-it", "65k", "gemma-scope-2b-pt-res/layer_25/width_65k/average_l0_93"),
    ("gemma-2-9b", "16k", "gemma-scope-9b-pt-res/layer_41/width_16k/"),
    ("gemma-2-9b-it", "131k", "gemma-scope-9b-pt-res/layer_41/width_131k/"),
    ("llama-3.1-8b", "32k", "Llama3_1-8B-Base-LXR-8x/Llama3_1-8B-Base-L31R-8x"),
    ("gemma-3-270m-it", "16k", "gemma-scope-2-270m-it/resid_post_all/layer_17_width_16k_l0_small"),
    ("gemma-3-12b-it", "262k", "resid_post_all/layer_47_width_262k_l0_small"),
]


def test_every_model_has_an_sae_of_its_usual_width_on_every_layer():
    assert set(ZOO) == set(N_LAYERS)
    for name, model in ZOO.items():
        listed = pretrained_saes(model.releases)
        layers = [layer for layer, d_sae in listed if d_sae == WIDTHS[model.width]]
        assert layers == list(range(N_LAYERS[name])), name


@pytest.mark.parametrize(("name", "width", "path"), FINAL)
def test_the_final_layers_sae(name, width, path):
    sae = pretrained_saes(ZOO[name].releases)[N_LAYERS[name] - 1, width_of(width)]
    assert path in str(sae)
    listed = get_pretrained_saes_directory()[sae.release]
    assert listed.saes_map[sae.sae_id] == sae.path
    assert listed.repo_id == sae.repo_id


@pytest.mark.parametrize("release", ["2b-pt-res", "9b-pt-res", "9b-it-res"])
def test_of_several_the_one_is_taken_that_sae_lens_calls_canonical(release):
    ours = pretrained_saes([f"gemma-scope-{release}"])
    canonical = get_pretrained_saes_directory()[f"gemma-scope-{release}-canonical"].saes_map
    found = [(re.fullmatch(r"layer_(\d+)/width_(\w+)/.*", i), p) for i, p in canonical.items()]
    layers = [(int(key[1]), width_of(key[2]), path) for key, path in found if key]
    assert len(layers) >= 6
    for layer, d_sae, path in layers:
        assert ours[layer, d_sae].path == path


@pytest.mark.parametrize(
    ("layers", "n", "chosen"),
    [
        ("final", 26, [25]),
        ("all", 3, [0, 1, 2]),
        ("spread", 8, list(range(8))),
        ("spread", 26, [2, 5, 9, 12, 15, 19, 22, 25]),
        ([-1, 0, 5, 0], 26, [0, 5, 25]),
    ],
)
def test_layers_are_written_out(layers, n, chosen):
    assert choose_layers(layers, n, "a model") == chosen


@pytest.mark.parametrize("n", range(9, 90))
def test_a_spread_is_eight_layers_at_even_distances_that_end_with_the_last(n):
    chosen = choose_layers("spread", n, "a model")
    steps = {b - a for a, b in pairwise(chosen)}
    assert len(chosen) == 8
    assert chosen[-1] == n - 1
    assert max(steps) - min(steps) <= 1


@pytest.mark.parametrize(
    "layers",
    [[26], 26, []],
)
def test_wrong_layers_are_refused(layers):
    with refused("layers"):
        choose_layers(layers, 26, "gemma-2-2b")


def test_unknown_widths_and_releases_are_refused():
    assert width_of(1024) == 1024
    with refused("width"):
        width_of("17k")
    with refused("release"):
        pretrained_saes(["gemma-scope-3"])
    with refused("release"):
        pretrained_saes(["gpt2-small-res-jb"])


def test_the_table_names_the_files_and_what_to_beware_of():
    table = zoo_table()
    assert list(table.index) == [smollm2.NAME, *ZOO]
    assert table.loc[smollm2.NAME, "widths there"] == "1152, 2304, 3456"
    assert table.loc["gemma-2-2b", "widths there"] == "16k, 65k"
    assert "trained on the base model" in table.loc["llama-3.1-8b-instruct", "caution"]
    assert table.loc["gemma-3-270m-it", "caution"] == ""
