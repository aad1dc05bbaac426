"""The residual stream of a model's text, captured once and kept on disk for all SAEs.

A file for each layer and part of the text, in bfloat16, which holds 3 digits and the range of any
model. Left out are the beginning of the sequence and, in all texts but one in twenty, the opening
that all texts of a part share (a chat template's system prompt), whose residual stream is the same
every time.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from saif_helpers.activations import capture_batches
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.model.tokens import token_ids, without_bos

KEEP_OPENING = 20
"""Of so many texts, one keeps the opening that all of them share."""

OUTLIER = 10
"""A token whose norm is over this many times the median is an outlier: it is not trained on.

A few tokens of some models (the first one, and now and then a delimiter) have a residual stream a
hundred times as long as all others, along one direction. A squared error would be ruled by them.
"""


def capture_part(
    model: ModelWithSAEs,
    texts: Sequence[str],
    layers: Sequence[int],
    folder: Path,
    part: str,
    prompts: Sequence[bool] = (),
) -> None:
    """Capture the residual stream at the tokens of one part, and keep it.

    Args:
        model: The model.
        texts: The part's texts, rendered.
        layers: The layers; those that the folder has already are left out.
        folder: Gets ``layer_N/PART.safetensors`` for each layer.
        part: Name of the part.
        prompts: Which texts are prompts, whose last token is their read-out token; by default
            none.
    """
    missing = [layer for layer in layers if not part_file(folder, layer, part).exists()]
    if not missing:
        return
    ids = token_ids(texts, model.tokenizer)
    shared = _shared_opening(ids)
    is_prompt = torch.tensor([*prompts] or [False] * len(texts))
    read_out: list[Tensor] = []
    found: dict[int, list[Tensor]] = {layer: [] for layer in missing}
    for rows, (tokens, streams) in capture_batches(model, texts, missing, batch_size=32):
        keeps = torch.tensor([row % KEEP_OPENING == 0 for row in rows])
        wanted = (tokens["position_ids"] >= shared) | keeps[:, None]
        counted = without_bos(tokens, model.tokenizer)
        kept = wanted[counted]
        lasts = torch.zeros_like(counted)
        lasts[:, -1] = is_prompt[list(rows)]
        read_out.append(lasts[counted][kept])
        for layer in missing:
            found[layer].append(streams[layer].cpu()[kept].bfloat16())
    for layer, streams in found.items():
        file = part_file(folder, layer, part)
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_name(f".{file.name}.part")
        save_file({"residual": torch.cat(streams), "read_out": torch.cat(read_out)}, unfinished)
        unfinished.replace(file)


def part_file(folder: Path, layer: int, part: str) -> Path:
    """Return where the residual stream of a layer and a part is kept."""
    return folder / f"layer_{layer}" / f"{part}.safetensors"


def _shared_opening(sequences: Sequence[Sequence[int]]) -> int:
    """Return how many token ids all sequences begin with in common."""
    if len(sequences) < 2:
        return 0
    low, high = min(sequences), max(sequences)
    same = [a == b for a, b in zip(low, high, strict=False)]
    return same.index(False) if False in same else len(same)


def load_streams(
    folder: Path, layer: int, parts: Sequence[str], read_out: int = 1
) -> Float[Tensor, "tokens d_model"]:
    """Read a layer's residual stream of all parts, in bfloat16, outliers left out.

    Args:
        folder: As in `capture_part`.
        layer: The layer.
        parts: Names of the parts.
        read_out: Times that the read-out token of a prompt counts.

    Returns:
        A row for each token, and `read_out` rows for each read-out token.
    """
    loaded = [load_file(part_file(folder, layer, part)) for part in parts]
    residual, lasts = (
        torch.cat([part[name] for part in loaded]) for name in ("residual", "read_out")
    )
    times = torch.where(lasts, read_out, 1) * ~is_outlier(residual)
    return residual.repeat_interleave(times, dim=0)


def is_outlier(residual: Float[Tensor, "tokens d_model"]) -> Bool[Tensor, "tokens"]:
    """Return which tokens have a norm over `OUTLIER` times the median.

    Args:
        residual: Residual stream of one layer, a row for each token.

    Returns:
        True for an outlier.
    """
    norms = torch.cat([part.float().norm(dim=1) for part in residual.split(2**16)])
    return norms > OUTLIER * norms.median()
