"""Reconstruction quality of SAEs.

Latents of an SAE that reconstructs poorly say little about the model, so each chapter checks this
first.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import nnsight
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saif_helpers._internal.arguments import check_some
from saif_helpers._internal.checked import checked
from saif_helpers._internal.errors import ArgumentError
from saif_helpers._internal.warn import warn
from saif_helpers.activations import capture, capture_tokens
from saif_helpers.latents import decode, encode, encode_parts
from saif_helpers.model.batching import run_batches
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.model.saes import SAE, input_width, n_latents, sae_input
from saif_helpers.model.tokens import without_bos


@dataclass(frozen=True)
class ReconstructionQuality:
    """Reconstruction quality of an SAE over all tokens except padding and BOS.

    Attributes:
        layer: The layer after which the residual stream is reconstructed.
        width: Number of latents.
        n_tokens: Number of tokens measured.
        explained_variance: 1 - (sum of squared errors) / (sum of squared distances from the mean).
        l0: Mean number of active latents for a token.
        dead: Share of latents active on none of the tokens.
        loss: Mean next-token cross-entropy of the model, in nats.
        loss_reconstructed: The same with the reconstruction in place of the residual stream.
        loss_zeroed: The same with zeros in its place (zero ablation).
        loss_recovered: (loss_zeroed - loss_reconstructed) / (loss_zeroed - loss).
    """

    layer: int
    width: int
    n_tokens: int
    explained_variance: float
    l0: float
    dead: float
    loss: float
    loss_reconstructed: float
    loss_zeroed: float

    @property
    def loss_recovered(self) -> float:
        """Share of the loss increase under zero ablation that the reconstruction avoids."""
        return (self.loss_zeroed - self.loss_reconstructed) / (self.loss_zeroed - self.loss)


@checked
def reconstruction_quality(
    model: ModelWithSAEs,
    texts: Sequence[str],
    layer: int,
    width: int | None = None,
    batch_size: int | None = None,
) -> ReconstructionQuality:
    """Measure an SAE's reconstruction quality on held-out texts.

    >>> quality = saif.reconstruction_quality(organism, prompts, layer=0)

    Args:
        model: The model and its SAEs.
        texts: Rendered texts with the beginning-of-sequence token, ideally prompts with answers.
        layer: The layer.
        width: Number of latents; by default the layer's default SAE.
        batch_size: Texts in one forward pass. By default 64, on a GPU as many as fit, see
            `batching.default_batch_size`.

    Returns:
        The measurements.

    Raises:
        KeyError: If there is no such SAE.
        ValueError: If the model is remote, see `capture_tokens`.
    """
    model.require_local("measuring an SAE's reconstruction")
    width = model.saes.default_width(layer) if width is None else width
    sae = model.saes[layer, width]
    given = f"layer {layer}, an SAE of {width} latents"
    batches = capture_tokens(model, texts, [layer], batch_size)
    statistics = error_statistics(sae, (streams[layer] for streams in batches))
    replacements = {
        "loss": lambda residual: residual,
        "loss_reconstructed": lambda residual: decode(sae, encode(sae, residual)).to(residual),
        "loss_zeroed": torch.zeros_like,
    }

    def step(_: list[int], tokens: dict[str, Tensor]) -> tuple[int, dict[str, float]]:
        keep = without_bos(tokens, model.tokenizer)
        return keep[:, :-1].sum().item(), {
            name: _loss(model, tokens, keep, layer, replacement)
            for name, replacement in replacements.items()
        }

    totals, n_losses = dict.fromkeys(replacements, 0.0), 0
    for _, (n, sums) in run_batches(
        model, texts, step, batch_size, description="losses", given=given, all_logits=True
    ):
        n_losses += n
        totals = {name: total + sums[name] for name, total in totals.items()}
    losses = {name: total / n_losses if n_losses else math.nan for name, total in totals.items()}
    return ReconstructionQuality(layer, width, **statistics, **losses)


EXPLAINED_BAR, RECOVERED_BAR = 0.6, 0.8
"""An SAE below either is called poor on the given prompts (standing: ours; a rule of thumb)."""
NOT_MEASURED = dict.fromkeys(("loss", "loss_reconstructed", "loss_zeroed"), math.nan)


@checked
def reconstruction_table(
    model: ModelWithSAEs,
    prompts: Sequence[str],
    layers: Sequence[int],
    batch_size: int | None = None,
) -> pd.DataFrame:
    """Tabulate the reconstruction quality of the SAEs on given prompts, with a verdict.

    Results from a poor SAE say little about the model. Check this first, especially when an SAE is
    used on a model other than its own. Poor SAEs cause a warning.

    For a remote model only the read-out token of each prompt is measured, since other tokens are
    not downloaded, and the loss is not measured.

    >>> asked = [pair.positive for pair in pairs]
    >>> table = saif.reconstruction_table(organism, asked, layers=[0, 2])

    Args:
        model: The model and its SAEs.
        prompts: Rendered prompts, such as those used for ranking.
        layers: The layers.
        batch_size: Prompts in one forward pass, by default as in `reconstruction_quality`.

    Returns:
        A row for each layer: the SAE's files, explained variance, L0, loss recovered (see
        `ReconstructionQuality`), and a verdict.
    """
    check_some(layers=layers, prompts=prompts)
    rows = []
    streams = capture(model, prompts, layers, batch_size) if model.remote else {}
    for layer in dict.fromkeys(layers):
        width = model.saes.default_width(layer)
        if model.remote:
            statistics = error_statistics(model.saes[layer, width], [streams[layer]])
            quality = ReconstructionQuality(layer, width, **statistics, **NOT_MEASURED)
        else:
            quality = reconstruction_quality(model, prompts, layer, width, batch_size)
        rows.append(
            {
                "layer": layer,
                "SAE": model.sae_paths.get((layer, width), "in memory"),
                "explained variance": quality.explained_variance,
                "L0": quality.l0,
                "loss recovered": quality.loss_recovered,
                "judgement": _in_words(quality),
            }
        )
    poor = [row["layer"] for row in rows if row["judgement"].startswith("poor")]
    if poor:
        warn(
            f"the SAEs of {model.name} for the layers {poor} are poor on these prompts; check "
            "the table before you trust results from them",
        )
    return pd.DataFrame(rows).set_index("layer")


def _in_words(quality: ReconstructionQuality) -> str:
    """Return a verdict on an SAE's reconstruction, with the reasons if it is poor."""
    if math.isnan(quality.explained_variance):
        return "not known: give prompts that differ"
    wrong = []
    if quality.explained_variance < EXPLAINED_BAR:
        wrong.append(f"explains less than {EXPLAINED_BAR:.0%} of the variance")
    if quality.loss_recovered < RECOVERED_BAR:
        wrong.append(f"recovers less than {RECOVERED_BAR:.0%} of the loss")
    if quality.l0 < 1:
        wrong.append("is silent on most tokens")
    words = f"poor: {' and '.join(wrong)}" if wrong else "good"
    return f"{words}, at the read-out token" if math.isnan(quality.loss) else words


def error_statistics(
    sae: SAE, streams: Iterable[Float[Tensor, "_ d_model"]]
) -> dict[str, int | float]:
    """Accumulate an SAE's reconstruction error in double precision.

    Args:
        sae: The SAE.
        streams: Residual stream in chunks, a row for each token.

    Returns:
        ``n_tokens``, ``explained_variance``, ``l0`` and ``dead``, see `ReconstructionQuality`.
    """
    n = 0
    total, squares, errors, active = torch.zeros(input_width(sae), dtype=torch.float64), 0.0, 0.0, 0
    fired = torch.zeros(n_latents(sae), dtype=torch.bool)
    for stream in streams:
        for part, latents in encode_parts(sae, stream):
            residual = sae_input(sae, part).cpu().double()
            reconstructed = decode(sae, latents).cpu().double()
            n += len(residual)
            total += residual.sum(0)
            squares += residual.square().sum().item()
            errors += (residual - reconstructed).square().sum().item()
            active += (latents > 0).sum().item()
            fired |= (latents > 0).any(0).cpu()
    if not n:
        raise ArgumentError("no tokens to measure an SAE on; give longer texts", "streams")
    variance = squares - total.square().sum().item() / n
    return {
        "n_tokens": n,
        # A single token, or identical tokens, have no variance to explain.
        "explained_variance": 1 - errors / variance if variance > 1e-9 * squares else math.nan,
        "l0": active / n,
        "dead": 1 - fired.double().mean().item(),
    }


def _loss(
    model: ModelWithSAEs,
    tokens: Mapping[str, Int[Tensor, "rows tokens"]],
    keep: Bool[Tensor, "rows tokens"],
    layer: int,
    replacement: Callable[[Tensor], Tensor],
) -> float:
    """Sum the next-token losses at the kept tokens after replacing their residual stream."""
    with torch.no_grad(), model.lm.trace(**tokens, use_cache=False) as tracer:
        residual = model.layer(layer).output
        here = keep[:, :, None].to(residual.device)
        replaced = torch.where(here, replacement(residual), residual)
        model.layer(layer).output = replaced
        logits = nnsight.save(tracer.result.logits)
    at = keep[:, :-1].to(logits.device)
    targets = tokens["input_ids"].to(logits.device)[:, 1:][at]
    return torch.nn.functional.cross_entropy(
        logits[:, :-1][at].float(), targets, reduction="sum"
    ).item()
