"""Typical activations of latents, to judge whether a strength such as 8 is large.

Activations have no absolute unit, so compare a strength with the activations of the latent on
ordinary text.
"""

from collections.abc import Sequence

import pandas as pd
import torch

from saif_helpers._internal.arguments import check_ids
from saif_helpers._internal.checked import checked
from saif_helpers._internal.errors import ArgumentError
from saif_helpers.activations import capture_tokens
from saif_helpers.contents import load_contents
from saif_helpers.latents import encode_parts
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.model.saes import n_latents
from saif_helpers.prompts import render

N_SENTENCES = 60


@checked
def usual_activations(
    model: ModelWithSAEs,
    layer: int,
    latents: Sequence[int],
    texts: Sequence[str] | None = None,
    *,
    width: int | None = None,
) -> pd.DataFrame:
    """Measure how active latents are on ordinary text.

    >>> saif.usual_activations(organism, 2, [17, 40])

    Args:
        model: The model and its SAEs.
        layer: The layer.
        latents: Latent ids.
        texts: Rendered texts; by default prompts with the book's validation sentences for the
            model's corpus.
        width: Number of latents of the SAE; by default the layer's default SAE.

    Returns:
        A row for each latent: the mean and the maximum of its activations where it is active, and
        the share of tokens where it is.

    Raises:
        KeyError: If there is no such SAE.
        ValueError: If the SAE has no such latent, or the model is remote.
    """
    sae = model.saes[layer] if width is None else model.saes[layer, width]
    check_ids("latent", latents, n_latents(sae))
    if texts is None:
        contents = load_contents("validation", model.corpus)[:N_SENTENCES]
        texts = [render(content.text, model.tokenizer) for content in contents]
    columns = torch.tensor(list(latents), dtype=torch.long)
    active = torch.cat(
        [
            encoded[:, columns.to(encoded.device)].cpu()
            for streams in capture_tokens(model, texts, [layer])
            for _, encoded in encode_parts(sae, streams[layer])
        ]
    )
    if not len(active):
        raise ArgumentError("the texts have no tokens after the first; give longer texts", "texts")
    times = (active > 0).sum(0)
    found = {
        "mean where active": (active.sum(0) / times.clamp(min=1)).tolist(),
        "largest": active.amax(0).tolist(),
        "share of tokens": (times / len(active)).tolist(),
    }
    return pd.DataFrame(found, index=pd.Index(list(latents), name="latent"))
