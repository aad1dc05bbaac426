"""SAEs that are not SAE-Lens', SAEs of the stream before a layer, and SAEs of a centred stream."""

import warnings

import pytest
import tiny
import torch
from refusals import refused

import saif_helpers as saif
from saif_helpers.analysis.reconstruction import error_statistics, reconstruction_quality
from saif_helpers.analysis.usual_activations import usual_activations
from saif_helpers.contents import load_contents
from saif_helpers.hub.download import local_sae
from saif_helpers.instructions import load_instructions
from saif_helpers.latents import decode, encode
from saif_helpers.model.assemble import wrap
from saif_helpers.model.saes import layer_of, n_bytes, sae_digest, sae_layer
from saif_helpers.random_controls import random_latents_vector
from saif_helpers.ranking import rank_layers
from saif_helpers.steering import generate
from saif_helpers.vector_rules import clamped_latents, saif_vector, signed_latents_vector
from saif_helpers.vectors import SteeringVector

LAYER = 1


class Own:
    """An SAE of one's own, by the weights of one of SAE-Lens: three things and nothing else."""

    def __init__(self, sae):
        self.W_dec = sae.W_dec.detach()
        self._sae = sae

    def encode(self, residual):
        return self._sae.encode(residual)

    def decode(self, latents):
        return self._sae.decode(latents)


THEIRS = tiny.sae(LAYER)
OWN = Own(THEIRS)


def model_with(sae, kind="gemma2", **options):
    return wrap(tiny.causal_lm(kind), tiny.tokenizer(), {LAYER: sae}, name="tiny", **options)


@pytest.fixture(scope="module")
def both():
    """Return the model with SAE-Lens' SAE and with one's own."""
    return model_with(THEIRS), model_with(OWN)


@pytest.fixture(scope="module")
def rankings(both):
    french, contents = load_instructions()["french"], load_contents("identification")[:12]
    pairs = saif.make_pairs(french, contents, both[0])
    return [rank_layers(model, pairs, [LAYER])[LAYER] for model in both]


def test_the_model_holds_it_by_its_width(both):
    _, model = both
    assert model.saes[LAYER] is OWN
    assert model.saes.widths(LAYER) == [tiny.D_SAE]
    assert n_bytes(OWN) == OWN.W_dec.nbytes
    assert layer_of(OWN) is None
    with refused("saes"):
        wrap(tiny.causal_lm("llama"), tiny.tokenizer(), {(1, 5): OWN}, name="tiny")
    narrow = Own(tiny.sae(LAYER, d_in=16))
    with refused("saes"):
        model_with(narrow)


def test_it_encodes_and_decodes_as_ever():
    residual = torch.randn(5, tiny.D_MODEL)
    latents = encode(OWN, residual)
    assert torch.equal(latents, encode(THEIRS, residual))
    assert torch.equal(encode(OWN, {LAYER: residual}), latents)
    assert torch.equal(decode(OWN, latents), decode(THEIRS, latents))
    with refused("residual"):
        encode(OWN, torch.randn(5, 7))
    with refused("latents"):
        decode(OWN, torch.zeros(5, 7))


def test_rankings_and_vectors_are_the_same(rankings):
    theirs, own = rankings
    assert torch.equal(theirs.order, own.order)
    for rule in (saif_vector, signed_latents_vector):
        expected, found = rule(theirs, THEIRS, 2), rule(own, OWN, 2, layer=LAYER)
        assert torch.equal(found.vector, expected.vector)
        assert found.layer == expected.layer == LAYER
    # Neither the ranking nor the object may name the layer.
    vector = SteeringVector.from_latents(OWN, {3: 2.0}, layer=LAYER)
    assert torch.equal(vector.vector, 2 * OWN.W_dec[3])
    with refused("layer"):
        SteeringVector.from_latents(OWN, {3: 2.0})
    chance = random_latents_vector(own, OWN, 2, seed=1, layer=LAYER)
    assert torch.equal(chance.vector, random_latents_vector(theirs, THEIRS, 2, seed=1).vector)


def test_reconstruction_and_usual_activations_are_the_same(both):
    theirs, own = (reconstruction_quality(model, tiny.PROMPTS, LAYER) for model in both)
    assert theirs == own
    usual = [usual_activations(model, LAYER, [3, 5], texts=tiny.PROMPTS) for model in both]
    assert usual[0].equals(usual[1])


def test_its_latents_can_be_clamped(both, rankings):
    outputs = []
    for model, sae, ranking in zip(both, (THEIRS, OWN), rankings, strict=True):
        clamped = clamped_latents(ranking, sae, 2, layer=LAYER).scaled(50.0)
        outputs.append(generate(model, tiny.PROMPTS, clamped, max_new_tokens=4))
    assert outputs[0] == outputs[1] != generate(both[0], tiny.PROMPTS, max_new_tokens=4)


def test_what_is_not_known_to_be_equal_is_equal_to_nothing(rankings, tmp_path):
    """Of an object's own code nothing is known, so no result of it is found in a store."""
    assert sae_digest(THEIRS) == sae_digest(tiny.sae(LAYER)) != sae_digest(tiny.sae(2))
    assert sae_digest(OWN) != sae_digest(OWN)
    for sae, ranking, n_files in ((THEIRS, rankings[0], 1), (OWN, rankings[1], 2)):
        folder = tmp_path / type(sae).__name__
        model = model_with(sae, store=saif.Store(folder))
        clamped = clamped_latents(ranking, sae, 2, layer=LAYER)
        for _ in range(2):
            generate(model, tiny.PROMPTS[:1], clamped, max_new_tokens=2)
        assert len(list(folder.rglob("*.safetensors"))) == n_files


class Tuples(Own):
    def encode(self, residual):
        return self._sae.encode(residual), None


class Narrow(Own):
    def encode(self, residual):
        return self._sae.encode(residual)[..., :7]


class Signed(Own):
    def encode(self, residual):
        return self._sae.encode(residual) - 1


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Tuples, r"encode returned tuple; .* of shape \(5, 64\)"),
        (Narrow, r"encode returned \(5, 7\)"),
        (Signed, "Signed returned negative activations"),
    ],
)
def test_an_object_that_encodes_otherwise_is_refused(kind, message):
    with pytest.raises(ValueError, match=message):
        encode(kind(THEIRS), torch.randn(5, tiny.D_MODEL))


class Flat(Own):
    def __init__(self, sae):
        super().__init__(sae)
        self.W_dec = self.W_dec[0]


class NoDirections:
    encode = decode = Own.encode


@pytest.mark.parametrize("make", [Flat, lambda _: NoDirections()])
def test_what_is_no_sae_is_refused(make):
    with refused("sae"):
        model_with(make(THEIRS))


# SAEs of the stream before a layer


def test_the_stream_before_a_layer_is_that_after_the_one_before_it():
    named = {"metadata": {"hook_name": "blocks.2.hook_resid_pre"}}
    assert sae_layer(named) == 1
    before = tiny.sae(LAYER, hook_name="blocks.2.hook_resid_pre")
    model = model_with(before)
    assert layer_of(model.saes[1]) == 1
    residual = {1: torch.randn(3, tiny.D_MODEL), 2: torch.randn(3, tiny.D_MODEL)}
    assert torch.equal(encode(before, residual), encode(before, residual[1]))
    with refused("saes"):
        wrap(tiny.causal_lm("llama"), tiny.tokenizer(), {2: before}, name="tiny")


def test_the_stream_before_all_layers_is_refused():
    first = tiny.sae(LAYER, hook_name="blocks.0.hook_resid_pre")
    with refused("sae"):
        model_with(first)


# SAEs of a centred stream


def centred(**options):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\s*This SAE has non-empty model_from_pretrained_kwargs")
        return tiny.sae(LAYER, model_from_pretrained_kwargs=options)


def test_an_sae_of_centred_weights_reads_the_stream_without_its_mean():
    """What TransformerLens calls center_writing_weights, as for SAE-Lens' SAEs of GPT-2."""
    sae, residual = centred(center_writing_weights=True), torch.randn(50, tiny.D_MODEL) + 3
    without = residual - residual.mean(1, keepdim=True)
    assert torch.equal(encode(sae, residual), THEIRS.encode(without).detach())
    assert not torch.equal(encode(sae, residual), encode(THEIRS, residual))
    for same in (centred(center_writing_weights=False), centred(fold_ln=False)):
        assert torch.equal(encode(same, residual), encode(THEIRS, residual))
    assert error_statistics(sae, [residual]) == error_statistics(THEIRS, [without])


def test_it_does_so_from_a_folder_too_without_a_word_of_other_libraries(tmp_path):
    centred(center_writing_weights=True).save_model(tmp_path / "sae")
    sae, residual = local_sae(tmp_path / "sae", "cpu"), torch.randn(5, tiny.D_MODEL) + 3
    without = residual - residual.mean(1, keepdim=True)
    assert torch.equal(encode(sae, residual), THEIRS.encode(without).detach())
