import tiny
import torch
from refusals import refused

from saif_helpers.latents import decode, encode


def test_encode_and_decode_are_the_papers_formula():
    sae, residual = tiny.sae(0), torch.randn(3, tiny.D_MODEL)
    before = (residual - sae.b_dec) @ sae.W_enc + sae.b_enc
    active = before.relu() * (before > sae.threshold)
    torch.testing.assert_close(encode(sae, residual), active.detach())
    torch.testing.assert_close(decode(sae, active), (active @ sae.W_dec + sae.b_dec).detach())
    assert not encode(sae, residual).requires_grad
    assert encode(sae, residual[None]).shape == (1, 3, tiny.D_SAE)


def test_wrong_widths_are_refused():
    with refused("residual"):
        encode(tiny.sae(0), torch.zeros(2, 7))
    with refused("latents"):
        decode(tiny.sae(0), torch.zeros(2, 7))


def test_an_sae_whose_input_scale_is_not_folded_does_not_encode():
    scaled = tiny.sae(1)
    scaled.cfg.normalize_activations = "expected_average_only_in"
    with refused("sae"):
        encode(scaled, torch.ones(2, tiny.D_MODEL))
