"""Peak GPU memory of the method's two heavy steps, from the model's architecture alone.

The model is built without weights and run dry (`dry_run`); parameters are counted, not guessed.
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
"""What PyTorch reports as a T4's total capacity: 14.74 GiB in most public out-of-memory messages,
14.56 GiB in the most recent one found (github.com/Zheng-Chong/CatVTON/issues/133), taken here."""
CUDA_CONTEXT_BYTES = GIB // 2
"""What CUDA and its libraries hold beside PyTorch's tensors (ours, rounded up: the message above
leaves 0.13 GiB unexplained by PyTorch)."""
FRAGMENTATION = 0.1
"""Share of the tensors that come and go, added for gaps between them (ours)."""

PROMPTS: dict[Workload, int] = {"identification": 400, "steering": 100}
"""Prompts of a workload. Those of identification are read with and without the instruction."""
BATCH_SIZES: dict[Workload, int] = {"identification": 64, "steering": 128}
"""The batch sizes of `capture` and `generate` where they do not follow a GPU's
free memory (`batching.default_batch_size`)."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes at a workload's peak.

    Attributes:
        weights: The model's parameters.
        saes: The SAEs' parameters, in float32 whatever the model's type.
        cache: The key-value cache at its largest.
        activations: The most that all other tensors take at once.
        overhead: `CUDA_CONTEXT_BYTES`, and `FRAGMENTATION` of cache and activations.
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
        """Say whether the total is at most `capacity` bytes, a T4's by default."""
        return self.total <= capacity


def architectures() -> list[str]:
    """List the models whose architecture the package knows."""
    return list(_known())


def architecture(name: str) -> PretrainedConfig:
    """Return a model's configuration, without its weights or any network.

    The numbers are those of the published ``config.json``. Of gemma-3-4b and -12b it is the text
    model; a checkpoint loaded with its vision tower holds about 0.4 billion parameters more.

    Args:
        name: Its name without the maker, see `architectures`. An instruct model (``-it``,
            ``-Instruct``) has the architecture of its base model.

    Returns:
        The configuration, which `estimate` takes.

    Raises:
        ValueError: If the model is not known.
    """
    known = _known()
    if name not in known:
        raise ValueError(
            f"architecture {name!r} asked for; known are {', '.join(known)}; of another model give "
            "its configuration, transformers.AutoConfig.from_pretrained(...), to memory.estimate"
        )
    return AutoConfig.for_model(**known[name])


def sae_widths(name: str) -> list[int]:
    """List how many latents the SAEs of a model's last layer have (`zoo`), smallest first.

    Raises:
        ValueError: If the model is not known.
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

    Identification reads prompt pairs up to the last layer, then encodes and ranks all of them at
    once. Steering reads a batch of prompts and generates with a key-value cache; the SAE stays in
    memory. The estimate is on the high side: the attention is counted as plain PyTorch computes it
    (a fused kernel needs less), and the largest cache and the largest activations are added up
    though they need not coincide.

    >>> estimate(architecture("gemma-2-2b"), 65536, "steering").fits()
    True

    Args:
        config: The model's configuration, see `architecture`.
        d_sae: Number of latents of the SAE.
        workload: ``"identification"`` or ``"steering"``.
        dtype: Type of the model's weights, activations and cache.
        prompts: Prompts (of identification: pairs); by default the workload's `PROMPTS`.
        batch_size: Prompts in one forward pass; by default the workload's `BATCH_SIZES`.
        prompt_tokens: Tokens of the longest prompt, chat template included.
        new_tokens: Most tokens generated.
        n_saes: SAEs in memory; one for each layer asked for, since a loaded SAE stays.

    Returns:
        The estimate.

    Raises:
        ValueError: If the workload is unknown or a number is not positive.
    """
    if workload not in get_args(Workload):
        raise ValueError(f"workload {workload!r} asked for; give one of {get_args(Workload)}")
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
    """Tabulate the estimates of both workloads by model and SAE width, in GiB.

    Args:
        models: Names, see `architectures`; by default all of them.
        widths: Numbers of latents; by default those of the SAEs of each model's last layer.
        dtype: Type of the model's weights.
        prompt_tokens: Tokens of the longest prompt.
        new_tokens: Most tokens generated.

    Returns:
        A row for each model, width and workload: the parts, their total, and whether that fits a
        T4.

    Raises:
        ValueError: If a model is not known or a number is not positive.
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
    """Return the size of a module's parameters, shared ones counted once."""
    return sum(parameter.nbytes for parameter in module.parameters())
