import pytest
import tiny
import torch

from saif_helpers import latents
from saif_helpers.analysis import reconstruction
from saif_helpers.analysis.contexts import top_contexts
from saif_helpers.analysis.reconstruction import reconstruction_quality, reconstruction_table
from saif_helpers.latents import encode
from saif_helpers.model.assemble import wrap
from saif_helpers.model.tokens import tokenize, without_bos


@pytest.fixture(params=["gemma2", "llama"])
def model(request):
    return tiny.wrapped(request.param)


def identity_sae():
    """Return an SAE that reconstructs exactly: a latent for each direction and its opposite."""
    sae, eye = tiny.sae(1), torch.eye(tiny.D_MODEL)
    with torch.no_grad():
        sae.W_enc.copy_(torch.cat([eye, -eye], 1))
        sae.W_dec.copy_(torch.cat([eye, -eye], 0))
        for parameter in (sae.b_enc, sae.b_dec, sae.threshold):
            parameter.zero_()
    return sae


def test_no_more_latents_are_worked_out_at_once_than_memory_allows(monkeypatch):
    """Of a batch's tokens; they are far more than its prompts, and each has as many latents."""
    model = tiny.wrapped("gemma2")
    expected = reconstruction_quality(model, tiny.PROMPTS, 1)
    contexts = top_contexts(model, tiny.PROMPTS, 1, [0, 3])

    def encode_little(sae, residual):
        if residual.ndim == 2 and len(residual) > 16:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encode(sae, residual)

    monkeypatch.setattr(latents, "ENCODED_AT_ONCE", 16 * tiny.D_SAE)
    for module in (latents, reconstruction):
        monkeypatch.setattr(module, "encode", encode_little)
    found = reconstruction_quality(model, tiny.PROMPTS, 1)
    assert vars(found) == pytest.approx(vars(expected))
    assert top_contexts(model, tiny.PROMPTS, 1, [0, 3]) == contexts


def test_a_perfect_sae_loses_nothing(model):
    perfect = wrap(
        tiny.causal_lm(model.name.removeprefix("tiny-")),
        tiny.tokenizer(),
        {1: identity_sae()},
        name="perfect",
    )
    quality = reconstruction_quality(perfect, tiny.PROMPTS, 1, batch_size=2)
    assert quality.explained_variance == pytest.approx(1)
    assert quality.loss_recovered == pytest.approx(1)
    assert quality.l0 == pytest.approx(tiny.D_MODEL)
    assert quality.dead == 0


def test_quality_equals_plain_pytorch_one_text_at_a_time(model):
    quality = reconstruction_quality(model, tiny.PROMPTS, 1, batch_size=3)
    module, sae = model.lm._module, model.saes[1]
    streams, losses = [], {"loss": [], "loss_reconstructed": [], "loss_zeroed": []}
    changes = {
        "loss": lambda x: x,
        "loss_reconstructed": lambda x: sae(x),
        "loss_zeroed": torch.zeros_like,
    }
    for prompt in tiny.PROMPTS:
        tokens = tokenize([prompt], model.tokenizer)
        keep = without_bos(tokens, model.tokenizer)
        for name, change in changes.items():

            def hook(_, __, output, name=name, change=change):
                if name == "loss":
                    streams.append(output[0, 1:].clone())
                return torch.cat([output[:, :1], change(output[:, 1:])], 1)

            handle = module.model.layers[1].register_forward_hook(hook)
            with torch.no_grad():
                logits = module(**tokens).logits
            handle.remove()
            losses[name].append(
                torch.nn.functional.cross_entropy(
                    logits[0, 1:-1], tokens["input_ids"][0, 2:], reduction="none"
                )
            )
        assert keep[0, 1:].all()
    residual = torch.cat(streams).double()
    with torch.no_grad():
        latents = sae.encode(residual.float())
        error = residual - sae.decode(latents)
    variance = (residual - residual.mean(0)).square().sum()
    assert quality.n_tokens == len(residual)
    assert quality.explained_variance == pytest.approx(1 - (error.square().sum() / variance).item())
    assert quality.l0 == pytest.approx((latents > 0).sum(1).double().mean().item())
    assert quality.dead == pytest.approx((latents == 0).all(0).double().mean().item())
    for name, values in losses.items():
        assert getattr(quality, name) == pytest.approx(torch.cat(values).mean().item(), rel=1e-4)


def test_an_sae_that_does_not_exist_is_refused(model):
    with pytest.raises(KeyError, match="no SAE of width 7 for layer 1"):
        reconstruction_quality(model, tiny.PROMPTS, 1, 7)


def test_the_table_says_in_words_what_is_wrong_with_an_sae(model):
    layers = [0, 1]
    silent = tiny.sae(0)
    with torch.no_grad():
        silent.threshold.fill_(1e6)
    saes = {0: silent, 1: identity_sae()}
    mixed = wrap(model.lm._module, tiny.tokenizer(), saes, name="mixed")
    with pytest.warns(UserWarning, match=r"of mixed for the layers \[0\] are poor"):
        table = reconstruction_table(mixed, tiny.PROMPTS, layers)
    assert list(table.index) == layers
    assert table.loc[1, "judgement"] == "good"
    assert table.loc[1, "explained variance"] == pytest.approx(1)
    assert table.loc[0, "L0"] == 0
    said = table.loc[0, "judgement"]
    assert said.startswith("poor: explains less than 60% of the variance")
    assert said.endswith("is silent on most tokens")
    assert reconstruction_quality(mixed, tiny.PROMPTS, 0).l0 == 0


def test_of_a_single_token_there_is_nothing_to_explain():
    """Neither a division by zero nor a share made of rounding."""
    table = reconstruction_table(tiny.wrapped("gemma2"), ["<bos>a"], [1])
    assert table.loc[1, "explained variance":"loss recovered"].drop("L0").isna().all()
    assert table.loc[1, "judgement"] == "not known: give prompts that differ"
