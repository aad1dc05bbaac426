"""An SAE in which nothing is trained, as a control of a steering result (standing: ours).

SAEs with random decoder directions match trained ones in several evaluations (arXiv:2602.14111).
"""

import torch
from jaxtyping import Float
from sae_lens import JumpReLUSAE, JumpReLUSAEConfig
from sae_lens.saes.sae import SAEMetadata
from torch import Tensor

from saif_helpers._internal.arguments import seed_number
from saif_helpers._internal.checked import checked
from saif_helpers.latents import encode
from saif_helpers.model.saes import SAE, layer_of


@checked
def random_sae(like: SAE, residual: Float[Tensor, "rows d_model"], *, seed: int) -> SAE:
    """Build an SAE with random decoder directions, in which nothing is trained.

    Its directions are uniformly distributed, of the mean length of the other SAE's; a latent is
    active if the centred residual stream points along its direction by more than a threshold, which
    makes as many latents active as in the other SAE.

    >>> rows = saif.capture(organism, prompts, layers=[0])[0]
    >>> control = random_sae(organism.saes[0], rows, seed=0)
    >>> control.W_dec.shape == organism.saes[0].W_dec.shape
    True

    Args:
        like: The SAE under control.
        residual: Residual stream after its layer, for the mean and the threshold.
        seed: Seed of the directions.

    Returns:
        The SAE, for the same layer.
    """
    generator = torch.Generator().manual_seed(seed_number(seed))
    lengths = like.W_dec.detach().float().norm(dim=1)
    directions = torch.randn(like.W_dec.shape, generator=generator)
    directions = directions / directions.norm(dim=1, keepdim=True)
    active = (encode(like, residual) > 0).double().mean().item()
    rows = residual.float().cpu()
    middle = rows.mean(0)
    along = (rows - middle) @ directions.T
    last = min(round(active * along.numel()), along.numel() - 1)
    threshold = along.flatten().sort(descending=True).values[last]
    layer = layer_of(like)
    named = {} if layer is None else {"hook_name": f"blocks.{layer}.hook_resid_post"}
    width, d_model = directions.shape
    sae = JumpReLUSAE(JumpReLUSAEConfig(d_model, width, metadata=SAEMetadata(**named)))
    with torch.no_grad():
        sae.W_dec.copy_(directions * lengths.mean().cpu())
        sae.W_enc.copy_(directions.T)
        sae.b_dec.copy_(middle)
        sae.b_enc.zero_()
        sae.threshold.fill_(max(threshold.item(), 0.0))
    return sae.to(like.W_dec.device).requires_grad_(False)
