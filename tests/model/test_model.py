import hashlib
import json
from dataclasses import replace

import pytest
import tiny
import torch
from refusals import refused, unreadable

from saif_helpers.activations import capture
from saif_helpers.cache.store import Store
from saif_helpers.hub.loading import load
from saif_helpers.model.assemble import wrap
from saif_helpers.model.collection import SAECollection
from saif_helpers.model.saes import sae_layer


def write_manifest(root):
    sums = {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }
    (root / "manifest.json").write_text(json.dumps(sums))


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """A folder laid out like the shipped organism: size M, an SAE a layer, two more on the last."""
    root = tmp_path_factory.mktemp("organism")
    tiny.causal_lm("gemma2").half().save_pretrained(root / "M")
    tiny.tokenizer().save_pretrained(root / "M")
    for layer, width in [(0, 64), (1, 64), (2, 64), (2, 32), (2, 128)]:
        folder = root / "M" / "saes" / f"layer_{layer}_width_{width}"
        tiny.sae(layer, d_sae=width).save_model(folder)
    write_manifest(root)
    return root


@pytest.fixture
def changeable(shipped, tmp_path):
    """A copy that a test may change."""
    for path in shipped.rglob("*"):
        if path.is_file():
            target = tmp_path / path.relative_to(shipped)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return tmp_path


def test_the_organism_is_loaded_in_float32_with_everything_that_belongs_to_it(shipped, capfd):
    organism = load(root=shipped)
    assert organism.name == "organism-M"
    assert (organism.n_layers, organism.d_model) == (3, tiny.D_MODEL)
    assert organism.lm.dtype == torch.float32
    assert organism.lm._module.config._attn_implementation == "eager"  # Gemma 2's soft cap
    assert organism.stop_ids == [1, 5]
    assert organism.tokenizer.chat_template == tiny.CHAT_TEMPLATE
    assert list(organism.saes) == [(0, 64), (1, 64), (2, 32), (2, 64), (2, 128)]
    assert organism.saes[2].cfg.d_sae == 64
    assert organism.saes[2, 128].cfg.d_sae == 128
    torch.testing.assert_close(organism.saes[1].W_dec, tiny.sae(1).W_dec)
    assert capfd.readouterr().err == ""


def test_what_the_organism_is_asked_for_it_gets_or_refuses(tmp_path):
    model = load(size="S", layers=[0], dtype=torch.bfloat16, device="auto", store=tmp_path)
    assert model.lm.dtype == torch.bfloat16
    assert model.saes[0].W_dec.dtype == torch.float32
    assert model.store.folder == tmp_path
    assert load(size="S", layers=[0], store=str(tmp_path)).store.folder == tmp_path
    assert load(size="S", layers=[0], store=None).store is None
    for named in ({"saes": {0: tmp_path}}, {"release": "a-release"}):
        with refused(next(iter(named))):
            load(size="S", **named)


def test_the_weights_are_those_that_were_saved(shipped):
    loaded = dict(load(root=shipped).lm._module.named_parameters())
    saved = dict(tiny.causal_lm("gemma2").named_parameters())
    assert list(loaded) == list(saved)
    for name, weight in saved.items():
        assert torch.equal(loaded[name], weight.half().float()), name


def test_a_changed_file_is_refused(changeable):
    path = changeable / "M" / "saes" / "layer_1_width_64" / "sae_weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with unreadable("M/saes/layer_1_width_64/sae_weights.safetensors"):
        load(root=changeable)


def test_a_missing_and_an_unlisted_file_are_refused(changeable):
    (changeable / "M" / "extra.txt").write_text("x")
    with unreadable("M") as caught:
        load(root=changeable)
    assert "M/extra.txt" in str(caught.value)
    (changeable / "M" / "extra.txt").unlink()
    (changeable / "M" / "tokenizer.json").unlink()
    with unreadable("M") as caught:
        load(root=changeable)
    assert "M/tokenizer.json" in str(caught.value)


def test_unknown_models_are_refused(shipped):
    with refused("size"):
        load("organism", "XL", root=shipped)
    with refused("name"):
        load("gemma", root=shipped)


def test_an_sae_in_the_wrong_folder_is_refused(changeable):
    saes = changeable / "M" / "saes"
    (saes / "layer_1_width_64").rename(saes / "layer_1_width_65")
    write_manifest(changeable)
    with refused("saes"):
        load(root=changeable)
    (saes / "layer_1_width_65").rename(saes / "something")
    write_manifest(changeable)
    with unreadable("M/saes/something"):
        load(root=changeable)


@pytest.mark.parametrize(
    ("saes", "argument"),
    [
        ({3: tiny.sae(3)}, "saes"),
        ({1: tiny.sae(1, d_in=16)}, "saes"),
        ({1: tiny.sae(2)}, "saes"),
        ({(1, 32): tiny.sae(1)}, "saes"),
        ({1: tiny.sae(1, hook_name="blocks.1.hook_mlp_out")}, "sae"),
    ],
)
def test_an_sae_that_does_not_fit_is_refused(saes, argument):
    with refused(argument):
        wrap(tiny.causal_lm("llama"), tiny.tokenizer(), saes, name="tiny")


def test_a_model_built_otherwise_is_refused():
    with refused("model"):
        wrap(torch.nn.Linear(2, 2), tiny.tokenizer(), {}, name="tiny")


@pytest.mark.parametrize(
    ("hook", "layer"),
    [
        ("blocks.12.hook_resid_post", 12),
        ("model.layers.3", 3),
        ("layers.3.output", 3),
        (None, None),
    ],
)
def test_the_layer_is_read_from_the_hook_name(hook, layer):
    assert sae_layer({"metadata": {"hook_name": hook}}) == layer


def test_saes_are_loaded_once_and_only_when_asked_for():
    loaded = []

    def loader(layer, width):
        return lambda: loaded.append((layer, width)) or tiny.sae(layer, d_sae=width)

    keys = [(0, 64), (1, 64), (1, 128), (2, 32), (2, 16)]
    saes = SAECollection({key: loader(*key) for key in keys})
    assert (0, 64) in saes
    assert 2 in saes  # though it has no usual width
    assert (0, 9) not in saes
    assert 7 not in saes
    assert loaded == []
    assert saes[1] is saes[1, 64]
    assert loaded == [(1, 64)]
    assert saes.layers == [0, 1, 2]
    assert saes.widths(2) == [16, 32]
    assert len(saes) == 5
    with pytest.raises(KeyError, match=r"no SAE for layer 7; .* \[0, 1, 2\]"):
        saes[7]
    with pytest.raises(KeyError, match="no SAE of width 9 for layer 0"):
        saes[0, 9]


def test_equally_common_widths_need_a_choice():
    saes = SAECollection({(0, 32): lambda: tiny.sae(0), (0, 64): lambda: tiny.sae(0)})
    with pytest.raises(KeyError, match=r"layer 0 has the widths \[32, 64\]"):
        saes[0]


def test_layers_are_checked():
    model = tiny.wrapped("llama")
    with refused("layer"):
        model.layer(-1)


def test_the_sae_not_used_for_longest_is_dropped_beyond_the_limit_and_loaded_again():
    loaded = []

    def loader(layer):
        return lambda: loaded.append(layer) or tiny.sae(layer)

    one = sum(p.nbytes for p in tiny.sae(0).parameters())
    saes = SAECollection({(layer, tiny.D_SAE): loader(layer) for layer in range(3)}, 2 * one)
    first = saes[0]
    saes[1], saes[0]  # 0 was used last
    saes[2]
    assert saes[0] is first
    assert loaded == [0, 1, 2]
    saes[1]
    assert loaded == [0, 1, 2, 1]
    alone = SAECollection({(0, tiny.D_SAE): loader(0)}, most_bytes=1)
    assert alone[0] is alone[0]


def test_how_an_answer_ends_and_which_styles_there_are():
    chat, base = tiny.wrapped("gemma2"), tiny.tokenizer()
    assert (chat.turn_end, chat.styles) == ("<end_of_turn>", ("chat", "plain"))
    base.chat_template = None
    plain = wrap(tiny.causal_lm("llama"), base, {}, name="base")
    assert (plain.turn_end, plain.styles) == ("<eos>", ("plain",))


def test_models_whose_weights_are_elsewhere_have_no_fingerprint(tmp_path):
    model = wrap(tiny.causal_lm("llama").to("meta"), tiny.tokenizer(), {}, name="far")
    with refused("store"):
        capture(replace(model, store=Store(tmp_path)), tiny.PROMPTS, [0])


def test_the_fingerprint_notices_weights_changed_in_place():
    model = wrap(tiny.causal_lm("llama"), tiny.tokenizer(), {}, name="changed")
    before = model.fingerprint
    assert model.fingerprint == before
    weight = model.lm._module.model.layers[1].mlp.down_proj.weight
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.zero_()
    assert model.fingerprint != before
    with torch.no_grad():
        weight.copy_(kept)
    assert model.fingerprint == before  # the sum is of what the weights are


def test_the_fingerprint_notices_replaced_weights():
    model = wrap(tiny.causal_lm("llama"), tiny.tokenizer(), {}, name="replaced")
    before = model.fingerprint
    projection = model.lm._module.model.layers[1].mlp.down_proj
    projection.weight = torch.nn.Parameter(torch.zeros_like(projection.weight))
    assert model.fingerprint != before


def test_an_sae_whose_input_scale_is_not_folded_is_refused_when_it_is_given():
    scaled = tiny.sae(1)
    scaled.cfg.normalize_activations = "expected_average_only_in"
    with refused("sae"):
        wrap(tiny.causal_lm("llama"), tiny.tokenizer(), {1: scaled}, name="scaled")
