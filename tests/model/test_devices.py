"""Everything that touches a model works where it lies on several devices, and gives the same."""

from collections.abc import Callable

import accelerate
import pytest
import tiny
import torch
from other_devices import other_devices
from torch.utils._pytree import tree_leaves

import saif_helpers as saif
from saif_helpers.analysis.contexts import top_contexts
from saif_helpers.analysis.output_effect import gradient_influence, output_scores
from saif_helpers.analysis.side_effects import output_loss
from saif_helpers.analysis.vocabulary import logit_lens
from saif_helpers.model.assemble import wrap
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.placements import PLACEMENTS

PROMPTS = tiny.PROMPTS
ANSWERS = ["a cat", "b", "c", "d", "the end"]


def ranking(model: ModelWithSAEs):
    states = saif.capture(model, PROMPTS, [1])[1]
    without = saif.capture(model, [p.replace("a", "o") for p in PROMPTS], [1])[1]
    return saif.rank_captured(model, {1: states}, {1: without})[1]


def steered(model: ModelWithSAEs, make: Callable, placement: str):
    vector = make(model).scaled(3.0).at(placement)
    interventions = [vector, None, vector, vector, vector]
    return saif.generate(model, PROMPTS, interventions, max_new_tokens=9)


def saif_vector(model: ModelWithSAEs):
    return saif.saif_vector(ranking(model), model.saes[1], 3)


def clamped(model: ModelWithSAEs):
    return saif.clamped_latents(ranking(model), model.saes[1], 3)


def random_vector(model: ModelWithSAEs):
    found = ranking(model)
    return saif.random_latents_vector(found, model.saes[1], 3, seed=0)


RUNS = {
    "capture": lambda model: saif.capture(model, PROMPTS, [0, 2]),
    "capture_tokens": lambda model: list(saif.capture_tokens(model, PROMPTS, [0, 2])),
    "ranking": lambda model: ranking(model).sensitivity,
    "reconstruction": lambda model: saif.reconstruction_table(model, PROMPTS, [0, 2]).to_dict(),
    **{
        f"steered {name} {placement}": lambda model, make=make, placement=placement: steered(
            model, make, placement
        )
        for name, make in {"vector": saif_vector, "clamp": clamped, "random": random_vector}.items()
        for placement in PLACEMENTS
    },
    "equal prompts": lambda model: saif.generate(
        model, PROMPTS[:2] * 2, [saif_vector(model), None, None, saif_vector(model)]
    ),
    "probabilities": lambda model: saif.log_probabilities(
        model, PROMPTS[0], "a cat", saif_vector(model)
    ),
    "losses": lambda model: output_loss(model, PROMPTS, ANSWERS),
    "gradients": lambda model: gradient_influence(model, model.saes[1], PROMPTS, ANSWERS, 1),
    "output scores": lambda model: output_scores(
        model, model.saes[1], ranking(model), ranking(model).top(3), PROMPTS, 1
    ),
    "logit lens": lambda model: logit_lens(model, model.saes[1].W_dec.detach()[:5]),
    "contexts": lambda model: top_contexts(model, PROMPTS, 1, [0, 3]),
}


def made(*devices: str) -> ModelWithSAEs:
    """Return the tiny model; its SAEs on the first device, its last two layers on the second."""
    network = tiny.causal_lm("gemma2")
    network.set_attn_implementation("eager")  # fused kernels differ from device to device
    saes = {layer: tiny.sae(layer) for layer in range(tiny.N_LAYERS)}
    if devices:
        first, second = devices
        saes = {layer: sae.to(first) for layer, sae in saes.items()}
        later = ("model.layers.1", "model.layers.2", "model.norm", "lm_head")
        places = {"model.embed_tokens": first, "model.rotary_emb": first, "model.layers.0": first}
        network = accelerate.dispatch_model(network, places | dict.fromkeys(later, second))
    return wrap(network, tiny.tokenizer(), saes, name="tiny-gemma2")


def same(found: object, expected: object) -> None:
    if any(isinstance(x, torch.Tensor) for x in tree_leaves(expected)):
        exactly = {"atol": 0, "rtol": 0, "equal_nan": True}
        torch.testing.assert_close(found, expected, check_device=False, **exactly)
    else:
        assert found == expected


@pytest.mark.filterwarnings("ignore:the SAEs of")
@pytest.mark.parametrize("run", RUNS)
def test_a_model_on_two_devices(run):
    """As ``device="auto"`` spreads it: the SAEs and the first layer on one, the rest on another."""
    expected = RUNS[run](made())
    with other_devices() as devices:
        model = made(*devices)
        weights = model.lm._module.model
        assert str(model.device) == str(weights.layers[0].mlp.down_proj.weight.device) == devices[0]
        assert str(weights.layers[1].mlp.down_proj.weight.device) == devices[1]
        same(RUNS[run](model), expected)


def test_the_other_devices_refuse_what_a_gpu_refuses():
    with other_devices() as (first, second):
        there = torch.ones(2, device=first)
        for elsewhere in (torch.ones(2), torch.ones(2, device=second)):
            with pytest.raises(RuntimeError, match=r"tensors on \S+, \S+$"):
                there + elsewhere
        assert torch.equal((there + torch.tensor(1.0)).cpu(), torch.full((2,), 2.0))
        with pytest.raises(RuntimeError):
            there.numpy()
