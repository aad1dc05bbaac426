"""Estimates of the peak GPU memory of the method's two most expensive steps.

The model is built without weights from its configuration and run on the meta device
(`memory_dry_run`); parameters are counted exactly.
"""

import copy
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal, get_args

import pandas as pd
import torch
from memory_dry_run import generating, ranking, reading
from sae_lens import JumpReLUSAE, JumpReLUSAEConfig
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig

from saif_helpers._internal.paths import DATA, GIB
from saif_helpers.hub.published_saes import last_layer_saes
from saif_helpers.hub.zoo import ZOO

Workload = Literal["identification", "steering"]

T4_BYTES = round(14.56 * GIB)
"""A T4's total capacity as PyTorch reports it: 14.74 GiB in most public out-of-memory messages, and
14.56 GiB in the most recent one found (github.com/Zheng-Chong/CatVTON/issues/133), used here."""
CUDA_CONTEXT_BYTES = GIB // 2
"""Memory of CUDA and its libraries, in addition to PyTorch's tensors (ours, rounded up: in the
message above, 0.13 GiB are not PyTorch's)."""
FRAGMENTATION = 0.1
"""Allowance for memory fragmentation, as a share of the temporary tensors (ours)."""

PROMPTS: dict[Workload, int] = {"identification": 400, "steering": 100}
"""Number of prompts per workload; identification reads each with and without the instruction."""
BATCH_SIZES: dict[Workload, int] = {"identification": 64, "steering": 128}
"""The batch sizes of `capture` and `generate` if they do not depend on the GPU's free memory
(`batching.default_batch_size`)."""


@dataclass(frozen=True)
class MemoryEstimate:
    """The peak memory of a workload in bytes.

    Attributes:
        weights: The model's parameters.
        saes: The SAEs' parameters, in float32 regardless of the model's dtype.
        cache: The key-value cache at its maximum.
        activations: The maximum of all other tensors.
        overhead: `CUDA_CONTEXT_BYTES` plus the share `FRAGMENTATION` of cache and activations.
    """

    weights: int
    saes: int
    cache: int
    activations: int
    overhead: int

    @property
    def total(self) -> int:
        """The sum of all parts."""
        return sum(asdict(self).values())

    def fits(self, capacity: int = T4_BYTES) -> bool:
        """Return whether the total is at most `capacity` bytes, by default a T4's."""
        return self.total <= capacity


def architectures() -> list[str]:
    """Return the names of the models whose architecture the package knows."""
    return list(_known())


def architecture(name: str) -> PretrainedConfig:
    """Return a model's configuration without loading weights or accessing the network.

    The values are those of the published ``config.json``. For gemma-3-4b and -12b they are those of
    the text model; the vision tower adds about 0.4 billion parameters.

    Args:
        name: Name of the model without the organisation, see `architectures`. An instruct model
            (``-it``, ``-Instruct``) has the architecture of its base model.

    Returns:
        The configuration, for `estimate`.

    Raises:
        ValueError: If the model is unknown.
    """
    known = _known()
    if name not in known:
        raise ValueError(
            f"architecture {name!r} given; known are {', '.join(known)}; for another model, pass "
            "transformers.AutoConfig.from_pretrained(...) to estimate"
        )
    return AutoConfig.for_model(**known[name])


def sae_widths(name: str) -> list[int]:
    """Return the widths of the SAEs of a model's last layer (`zoo`), in ascending order.

    Raises:
        ValueError: If the model is unknown.
    """
    architecture(name)
    of_it = [model for model in ZOO.values() if model.architecture == name]
    releases = dict.fromkeys(release for model in of_it for release in model.releases)
    return list(last_layer_saes([*releases]))


def estimate(
    config: PretrainedConfig,
    d_sae: int,
    workload: Workload,
    *,
    dtype: torch.dtype = torch.bfloat16,
    prompts: int | None = None,
    batch_size: int | None = None,
    prompt_tokens: int = 128,
    new_tokens: int = 40,
    n_saes: int = 1,
) -> MemoryEstimate:
    """Estimate a workload's peak memory from the model's architecture alone.

    Identification runs prompt pairs through all layers, then encodes and ranks all of them at once.
    Steering generates from a batch of prompts with a key-value cache; the SAE stays in memory. The
    estimate is conservative: attention is counted as plain PyTorch computes it (a fused kernel uses
    less), and the maxima of cache and activations are added although they need not coincide.

    >>> estimate(architecture("gemma-2-2b"), 65536, "steering").fits()
    True

    Args:
        config: The model's configuration, see `architecture`.
        d_sae: Number of latents of the SAE.
        workload: ``"identification"`` or ``"steering"``.
        dtype: Dtype of the model's weights, activations and cache.
        prompts: Number of prompts (for identification: pairs); by default the workload's `PROMPTS`.
        batch_size: Prompts per forward pass; by default the workload's `BATCH_SIZES`.
        prompt_tokens: Number of tokens of the longest prompt, including the chat template.
        new_tokens: Maximum number of generated tokens.
        n_saes: Number of SAEs in memory: one for each layer used, since loaded SAEs are kept.

    Returns:
        The estimate.

    Raises:
        ValueError: If the workload is unknown or a number is not positive.
    """
    if workload not in get_args(Workload):
        raise ValueError(f"workload {workload!r} given; give one of {get_args(Workload)}")
    prompts = PROMPTS[workload] if prompts is None else prompts
    batch_size = BATCH_SIZES[workload] if batch_size is None else batch_size
    sizes = {"d_sae": d_sae, "prompts": prompts, "batch_size": batch_size, "n_saes": n_saes}
    sizes |= {"prompt_tokens": prompt_tokens, "new_tokens": new_tokens}
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name}={size} given; give at least 1")
    with torch.device("meta"), torch.no_grad():
        model = AutoModelForCausalLM.from_config(copy.deepcopy(config), dtype=dtype).eval()
        sae = JumpReLUSAE(JumpReLUSAEConfig(model.config.hidden_size, d_sae, device="meta"))
        if workload == "identification":
            rows = min(batch_size, 2 * prompts)
            activations = max(reading(model, rows, prompt_tokens), ranking(sae, prompts))
            cache = 0
        else:
            rows = min(batch_size, prompts)
            cache, activations = generating(model, rows, prompt_tokens, new_tokens)
    overhead = CUDA_CONTEXT_BYTES + round(FRAGMENTATION * (cache + activations))
    return MemoryEstimate(_nbytes(model), n_saes * _nbytes(sae), cache, activations, overhead)


def memory_table(
    models: Sequence[str] | None = None,
    widths: Sequence[int] | None = None,
    *,
    dtype: torch.dtype = torch.bfloat16,
    prompt_tokens: int = 128,
    new_tokens: int = 40,
) -> pd.DataFrame:
    """Return a table of the estimates of both workloads by model and SAE width, in GiB.

    Args:
        models: Names, see `architectures`; by default all of them.
        widths: SAE widths; by default those of the SAEs of each model's last layer.
        dtype: Dtype of the model's weights.
        prompt_tokens: Number of tokens of the longest prompt.
        new_tokens: Maximum number of generated tokens.

    Returns:
        A row for each model, width and workload: the parts, their total, and whether the total fits
        on a T4.

    Raises:
        ValueError: If a model is unknown or a number is not positive.
    """
    lengths = {"prompt_tokens": prompt_tokens, "new_tokens": new_tokens}
    rows = []
    for name in architectures() if models is None else models:
        config = architecture(name)
        for width in sae_widths(name) if widths is None else widths:
            for workload in get_args(Workload):
                made = estimate(config, width, workload, dtype=dtype, **lengths)
                parts = {**asdict(made), "total": made.total}
                rows.append(
                    {"model": name, "SAE width": width, "workload": workload}
                    | {f"{part}, GiB": round(size / GIB, 2) for part, size in parts.items()}
                    | {"fits a 15 GB T4": made.fits()}
                )
    return pd.DataFrame(rows)


def _known() -> dict[str, dict]:
    return json.loads((DATA / "architectures.json").read_text(encoding="utf-8"))


def _nbytes(module: torch.nn.Module) -> int:
    """Return the size of a module's parameters in bytes, counting shared ones once."""
    return sum(parameter.nbytes for parameter in module.parameters())
