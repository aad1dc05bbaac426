"""A remote model gives what it gives here, and little travels.

`Service` does what NDIF does with a request: it reads it with none but the packages that NDIF has,
runs it on a model of its own, in another thread, and returns what was saved.
"""

import copy
import dataclasses
import io
import sys
from concurrent.futures import ThreadPoolExecutor

import accelerate
import pytest
import tiny
import torch
import zstandard
from nnsight import TransformersModel
from nnsight.intervention import serialization
from nnsight.intervention.backends.local import LocalSimulationBackend
from nnsight.intervention.backends.remote import RemoteBackend
from nnsight.modeling import huggingface
from nnsight.schema.request import RequestModel
from nnsight.tracing import tracer as tracing
from nnsight.tracing.globals import SOURCES
from refusals import refused

from saif_helpers.activations import capture, capture_tokens
from saif_helpers.analysis.output_effect import gradient_influence
from saif_helpers.analysis.reconstruction import reconstruction_quality, reconstruction_table
from saif_helpers.analysis.side_effects import output_loss
from saif_helpers.analysis.vocabulary import logit_lens
from saif_helpers.hub.download import default_attention, load_tokenizer
from saif_helpers.hub.loading import load
from saif_helpers.hub.remote import meta_model
from saif_helpers.latents import decode, encode
from saif_helpers.model.assemble import wrap
from saif_helpers.placements import PLACEMENTS
from saif_helpers.steering import generate, log_probabilities
from saif_helpers.vectors import ClampedLatents, SteeringVector

KINDS = ["gemma2", "llama"]
NEW = 9
INSTALLED = {"torch", "transformers", "nnsight", "cloudpickle"} | sys.stdlib_module_names


class Service:
    """What is behind ``remote=True``.

    Attributes:
        named: Everything that the requests refer to by name.
        functions: Names of the functions whose source they hold.
        sizes: Bytes of each request.
        returned: What each request saved.
    """

    def __init__(self, module):
        self.lm = TransformersModel(module, tokenizer=tiny.tokenizer(), task="text-generation")
        self.named, self.functions, self.sizes, self.returned = set(), set(), [], []

    def request(self, backend, request, tracer):
        self.lm._remoteable_set_env(request.env)
        blob = backend._serialize(tracer)
        self.sizes.append(len(blob))
        with ThreadPoolExecutor(1) as thread:  # neither the client's no_grad nor its trace is there
            return backend.finalize(thread.submit(self.run, blob).result())

    def rebuild(self, source, name, *rest):
        self.functions.add(name)
        return serialization._load_function(source, name, *rest)

    def run(self, blob):
        service = self

        class Unpickler(serialization.CustomCloudUnpickler):
            def find_class(self, module, name):
                if module.split(".")[0] not in INSTALLED:
                    raise ModuleNotFoundError(f"NDIF has no {module}.{name}")
                service.named.add(f"{module}.{name}")
                found = super().find_class(module, name)
                return service.rebuild if name == "_load_function" else found

        sources = dict(SOURCES)
        SOURCES.clear()
        tracing.inc()
        try:
            objects = self.lm._remoteable_persistent_objects()
            tracer = RequestModel.deserialize(blob, objects, True, Unpickler)
            tracer.execute(tracer.info.code)
            found = tracer.info.frame.f_locals.items()
            saved = {name: value for name, value in found if id(value) in tracing._saves()}
        finally:
            tracing.dec()
            SOURCES.update(sources)
        self.returned.append(saved)
        buffer = io.BytesIO()
        torch.save(saved, buffer)
        return zstandard.ZstdCompressor().compress(buffer.getvalue())


@pytest.fixture
def hosted(tmp_path, monkeypatch):
    """Return a function: kind -> the model here, the same without weights here, its service."""

    def make(kind, stop_id=None):
        module, folder = tiny.causal_lm(kind), tmp_path / kind
        if stop_id is not None:
            module.generation_config.eos_token_id = [1, stop_id]
        service = Service(module)
        module.config.save_pretrained(folder)
        module.generation_config.save_pretrained(folder)
        tiny.tokenizer().save_pretrained(folder)
        assert not list(folder.glob("*.safetensors"))
        alike = copy.deepcopy(module)
        alike.set_attn_implementation(default_attention(module.config))
        here = wrap(alike, tiny.tokenizer(), {1: tiny.sae(1)}, name="here")
        monkeypatch.setitem(huggingface._ID_CACHE, str(folder), "organisation/tiny")
        monkeypatch.setattr(RemoteBackend, "request", lambda *given: service.request(*given))
        tokenizer = load_tokenizer(str(folder))
        lm = meta_model(str(folder), tokenizer)
        there = wrap(lm, tokenizer, {}, name=f"remote-{kind}", remote=True)
        return here, there, service

    return make


@pytest.fixture(params=KINDS)
def rehearsal(request, monkeypatch):
    """Return the model here, the same with remote="local", and the round trips that it made."""
    here, trips = tiny.wrapped(request.param), []
    call = LocalSimulationBackend.__call__
    monkeypatch.setattr(
        LocalSimulationBackend,
        "__call__",
        lambda backend, tracer: (trips.append(backend), call(backend, tracer))[1],
    )
    return here, dataclasses.replace(here, remote="local"), trips


def vector(layer, seed=0):
    direction = torch.randn(tiny.D_MODEL, generator=torch.Generator().manual_seed(seed))
    return SteeringVector(layer, 8 * direction, "random")


VECTORS = [vector(0, 1), None, vector(2, 2), vector(1, 3), vector(2, 4)]


def placed(steering, placement):
    if isinstance(steering, SteeringVector):
        return steering.at(placement, 0.5)
    return [one and one.at(placement, 0.5) for one in steering]


@pytest.mark.parametrize("batch_size", [2, 64])
def test_capture_goes_there_and_back_unchanged(rehearsal, batch_size):
    here, there, trips = rehearsal
    expected = capture(here, tiny.PROMPTS, [2, 0, 1], batch_size)
    assert not trips
    found = capture(there, tiny.PROMPTS, [2, 0, 1], batch_size)
    assert list(found) == [2, 0, 1]
    assert all(torch.equal(found[layer], expected[layer]) for layer in expected)
    assert len(trips) == -(-len(tiny.PROMPTS) // batch_size)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("steering", [vector(1), VECTORS, None], ids=["one", "own", "none"])
def test_generation_goes_there_and_back_unchanged(rehearsal, placement, steering):
    here, there, trips = rehearsal
    options = {"max_new_tokens": NEW, "batch_size": 3}
    one = None if steering is None else vector(1).at(placement, 0.5)
    steering = one if steering is None else placed(steering, placement)
    expected = generate(here, tiny.PROMPTS, steering, **options)
    assert not trips
    assert generate(there, tiny.PROMPTS, steering, **options) == expected
    assert len(trips) == 2
    expected = log_probabilities(here, tiny.PROMPTS[2], "Le chat.", one)
    found = log_probabilities(there, tiny.PROMPTS[2], "Le chat.", one)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_capture_returns_the_read_out_rows_and_nothing_else(hosted, kind):
    here, there, service = hosted(kind)
    expected = capture(here, tiny.PROMPTS, [0, 2], batch_size=2)
    found = capture(there, tiny.PROMPTS, [0, 2], batch_size=2)
    assert all(torch.equal(found[layer], expected[layer]) for layer in expected)
    assert [list(saved) for saved in service.returned] == [["streams"]] * 3
    for saved, rows in zip(service.returned, [2, 2, 1], strict=True):
        shapes = {layer: tuple(stream.shape) for layer, stream in saved["streams"].items()}
        assert shapes == {0: (rows, 1, tiny.D_MODEL), 2: (rows, 1, tiny.D_MODEL)}
        assert not any(stream.requires_grad for stream in saved["streams"].values())
    assert_little_was_sent(there, service)


SEVERAL = [
    [vector(0, 1).at("decaying", 0.5), vector(2, 2), vector(2, 3).at("generated_tokens")],
    None,
    [vector(1, 4).at(slice(2, 5))],
    vector(1, 5).at(slice(-3, None)),
    [vector(2, 6).at("every_position"), vector(0, 7).at((True, False, True) * 3)],
]


def test_several_vectors_slices_and_masks_go_there_and_back_unchanged(rehearsal):
    here, there, trips = rehearsal
    options = {"max_new_tokens": NEW, "batch_size": 3}
    expected = generate(here, tiny.PROMPTS, SEVERAL, **options)
    assert generate(there, tiny.PROMPTS, SEVERAL, **options) == expected
    assert len(trips) == 2
    for prompt, several in zip(tiny.PROMPTS, SEVERAL, strict=True):
        expected = log_probabilities(here, prompt, "Le chat.", [several])
        assert torch.equal(log_probabilities(there, prompt, "Le chat.", [several]), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_several_vectors_slices_and_masks_are_one_request(hosted, kind):
    here, there, service = hosted(kind)
    expected = generate(here, tiny.PROMPTS, SEVERAL, max_new_tokens=NEW)
    assert generate(there, tiny.PROMPTS, SEVERAL, max_new_tokens=NEW) == expected
    (saved,) = service.returned
    assert list(saved) == ["new"]
    assert_little_was_sent(there, service)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_generation_is_one_request_and_returns_tokens_and_nothing_else(hosted, kind, placement):
    here, there, service = hosted(kind)
    vectors = placed(VECTORS, placement)
    expected = generate(here, tiny.PROMPTS, vectors, max_new_tokens=NEW)
    assert generate(there, tiny.PROMPTS, vectors, max_new_tokens=NEW) == expected
    (saved,) = service.returned
    assert list(saved) == ["new"]
    assert len(saved["new"]) <= NEW
    for tokens in saved["new"]:
        assert tokens.dtype == torch.long
        assert tokens.shape == (len(tiny.PROMPTS),)
    prompt = tiny.PROMPTS[2]
    expected = log_probabilities(here, prompt, "Le chat.", vector(1).at(placement))
    found = log_probabilities(there, prompt, "Le chat.", vector(1).at(placement))
    assert torch.equal(found, expected)
    assert {name: tuple(value.shape) for name, value in service.returned[1].items()} == {
        "likely": (1, len("Le chat."), 1)
    }
    assert_little_was_sent(there, service)


def assert_little_was_sent(there, service):
    """No weight, no SAE and no function but one of nnsight's own went; no weight came."""
    assert not there.lm.dispatched
    assert {weights.device.type for weights in there.lm._module.parameters()} == {"meta"}
    assert not [name for name in service.named if "arameter" in name]
    assert service.functions <= {"generate"}
    weights = sum(w.nbytes for w in service.lm._module.parameters())
    assert max(service.sizes) < weights / 4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_tokens", [1, 3])
def test_a_row_that_stops_disturbs_no_other(hosted, kind, n_tokens):
    """The model stops at what it writes as its `n_tokens`-th token to the first prompt."""
    model = tiny.wrapped(kind)
    ids = model.tokenizer(tiny.PROMPTS[0], return_tensors="pt").input_ids
    said = model.lm._module.generate(ids, do_sample=False, max_new_tokens=n_tokens)[0, -1].item()
    here, there, service = hosted(kind, stop_id=said)
    assert there.stop_ids == here.stop_ids
    assert said in there.stop_ids
    weak = [one and one.scaled(1e-4).at("every_position") for one in VECTORS]
    expected = generate(here, tiny.PROMPTS, weak, max_new_tokens=2 * NEW)
    assert generate(there, tiny.PROMPTS, weak, max_new_tokens=2 * NEW) == expected
    assert len({len(text) for text in expected}) > 1
    alone = {"max_new_tokens": NEW}
    assert generate(there, tiny.PROMPTS[:1], **alone) == generate(here, tiny.PROMPTS[:1], **alone)
    assert len(service.returned[-1]["new"]) == n_tokens


def test_a_model_without_weights_says_what_it_is(hosted):
    here, there, _ = hosted("gemma2")
    assert there.device == torch.device("cpu")
    assert there.lm.dtype == here.lm.dtype
    assert (there.n_layers, there.d_model) == (here.n_layers, here.d_model)
    assert there.tokenizer.padding_side == "left"
    with refused("layer"):
        there.layer(3)


def test_load_reads_no_weights_but_the_saes(hosted, tmp_path):
    """What was captured there is encoded here."""
    here, _, service = hosted("gemma2")
    here.saes[1].save_model(tmp_path / "sae")
    model = load(str(tmp_path / "gemma2"), saes={1: tmp_path / "sae"}, remote=True)
    assert model.lm.attn_implementation == "eager"  # Gemma 2 caps its attention logits
    latents = encode(model.saes[1], capture(model, tiny.PROMPTS, [1])[1])
    expected = encode(here.saes[1], capture(here, tiny.PROMPTS, [1])[1])
    assert torch.equal(latents, expected)
    assert len(service.returned) == 1
    assert not model.lm.dispatched


def test_reconstruction_is_measured_where_only_the_read_out_token_travels(rehearsal):
    here, there, trips = rehearsal
    with pytest.warns(UserWarning, match=r"layers \[0, 2\] are poor"):
        table = reconstruction_table(there, tiny.PROMPTS, [0, 2])
    assert len(trips) == 1
    for layer, stream in capture(here, tiny.PROMPTS, [0, 2]).items():
        latents = encode(here.saes[layer], stream)
        error = (stream - decode(here.saes[layer], latents)).double().square().sum()
        variance = (stream - stream.double().mean(0)).square().sum()
        assert table.loc[layer, "explained variance"] == pytest.approx(
            (1 - error / variance).item()
        )
        assert table.loc[layer, "L0"] == (latents > 0).sum(1).double().mean().item()
        assert table.loc[layer, "judgement"].endswith("of the variance, at the read-out token")
    assert table["loss recovered"].isna().all()


def test_what_needs_the_model_here_says_so():
    model = dataclasses.replace(tiny.wrapped("llama"), remote="local")
    sae, texts = model.saes[1], tiny.PROMPTS
    clamp = ClampedLatents(1, sae, torch.tensor([3]), torch.tensor([2.0]), "clamped")
    calls = [
        lambda: next(capture_tokens(model, texts, [1])),
        lambda: reconstruction_quality(model, texts, 1),
        lambda: generate(model, texts, clamp),
        lambda: log_probabilities(model, texts[0], "a", clamp),
        lambda: output_loss(model, texts, texts),
        lambda: gradient_influence(model, sae, texts, texts, 1),
        lambda: logit_lens(model, sae.W_dec.detach()),
    ]
    for call in calls:
        with refused("remote"):
            call()


def test_the_organism_can_be_rehearsed_with():
    model = load(size="S", remote="local")
    assert model.remote == "local"
    assert load(size="S").remote is False
    with refused("remote"):
        load(size="S", remote=True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_in_several_places_gives_the_same(kind, tmp_path):
    """One layer's weights are on disk and arrive for each pass, as under device_map="auto"."""
    here = tiny.wrapped(kind)
    module = tiny.causal_lm(kind)
    places = {name: "cpu" for name, _ in module.named_children()} | {
        f"model.{name}": "cpu" for name, _ in module.model.named_children() if name != "layers"
    }
    places |= {"model.layers.0": "cpu", "model.layers.1": "disk", "model.layers.2": "cpu"}
    del places["model"]
    module = accelerate.dispatch_model(module, places, main_device="cpu", offload_dir=tmp_path)
    assert {weights.device.type for weights in module.parameters()} == {"cpu", "meta"}
    spread = wrap(module, tiny.tokenizer(), {n: here.saes[n] for n in range(3)}, name="spread")
    expected, found = (capture(model, tiny.PROMPTS, [0, 1, 2]) for model in (here, spread))
    assert all(torch.equal(found[layer], expected[layer]) for layer in expected)
    clamp = ClampedLatents(1, here.saes[1], torch.tensor([3]), torch.tensor([2.0]), "clamped")
    for steering in (placed(VECTORS, "decaying"), clamp.at("decaying")):
        expected, found = (
            generate(model, tiny.PROMPTS, steering, max_new_tokens=NEW) for model in (here, spread)
        )
        assert found == expected
    expected, found = (reconstruction_quality(m, tiny.PROMPTS, 1) for m in (here, spread))
    assert found == expected
