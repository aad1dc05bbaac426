"""The residual stream of a model's text, captured once and stored for all SAEs.

There is one file for each layer and part of the text, in bfloat16, whose range suffices for any
model. It excludes the beginning of the sequence and, in all texts but one in twenty, the opening
shared by all texts of a part (a chat template's system prompt), whose residual stream is always the
same.
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
"""One of this many texts keeps the shared opening."""

OUTLIER = 10
"""Multiple of the median norm above which a token is an outlier, and excluded from training.

In some models a few tokens (the first one, and occasionally a delimiter) have a residual stream
with a norm a hundred times as large as all others, along one direction. They would dominate a
squared error.
"""


def capture_part(
    model: ModelWithSAEs,
    texts: Sequence[str],
    layers: Sequence[int],
    folder: Path,
    part: str,
    prompts: Sequence[bool] = (),
) -> None:
    """Capture the residual stream at the tokens of one part, and store it.

    Args:
        model: The model.
        texts: The part's texts, rendered.
        layers: The layers; existing files are skipped.
        folder: Folder for ``layer_N/PART.safetensors`` of each layer.
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
    """Return the file of the residual stream of a layer and a part."""
    return folder / f"layer_{layer}" / f"{part}.safetensors"


def _shared_opening(sequences: Sequence[Sequence[int]]) -> int:
    """Return the length of the common prefix of all sequences."""
    if len(sequences) < 2:
        return 0
    low, high = min(sequences), max(sequences)
    same = [a == b for a, b in zip(low, high, strict=False)]
    return same.index(False) if False in same else len(same)


def load_streams(
    folder: Path, layer: int, parts: Sequence[str], read_out: int = 1
) -> Float[Tensor, "tokens d_model"]:
    """Load a layer's residual stream of all parts, in bfloat16, without outliers.

    Args:
        folder: As in `capture_part`.
        layer: The layer.
        parts: Names of the parts.
        read_out: Number of copies of the read-out token of a prompt.

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
    """Return which tokens have a norm above `OUTLIER` times the median.

    Args:
        residual: Residual stream of one layer, a row for each token.

    Returns:
        True for an outlier.
    """
    norms = torch.cat([part.float().norm(dim=1) for part in residual.split(2**16)])
    return norms > OUTLIER * norms.median()
