"""Models, tokenizers and SAEs from the Hugging Face Hub or from folders with the same layout.

The shipped organism does not use this. Files that were downloaded before are read from Hugging
Face's cache without a network.
"""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
from sae_lens import SAE
from sae_lens.loading.pretrained_sae_loaders import get_conversion_loader_name
from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma3ForCausalLM,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)

from saif_helpers._internal.errors import FileContentError
from saif_helpers.hub.errors import readable_hub_errors
from saif_helpers.hub.safe_files import forbid_code_execution
from saif_helpers.hub.torch_files import (
    TORCH_FILES,
    conversion_command,
    converted_folder,
    is_converted,
)


def load_config(repo_id: str) -> PretrainedConfig:
    """Load a model's configuration.

    Args:
        repo_id: Hugging Face repository, or a folder with the same layout.

    Returns:
        The configuration.

    Raises:
        OSError: As `load_causal_lm`.
        ValueError: If the repository requires custom code.
    """
    with readable_hub_errors(repo_id):
        return AutoConfig.from_pretrained(repo_id, trust_remote_code=False)


def load_causal_lm(repo_id: str, dtype: torch.dtype, device: str) -> torch.nn.Module:
    """Load a causal language model's text part, with safetensors only and no code from the Hub.

    Args:
        repo_id: Hugging Face repository, or a folder with the same layout.
        dtype: The dtype of the weights.
        device: A device, or ``"auto"`` to distribute the layers over all GPUs of this machine.

    Returns:
        The model with frozen weights and the fastest correct attention implementation: Gemma 2
        soft-caps attention logits, which only the eager one supports.

    Raises:
        OSError: If the repository is gated or unknown, or not cached while there is no network; the
            message says what to do.
        ValueError: If it requires custom code, or its weights are not safetensors files.
    """
    config = load_config(repo_id)
    with readable_hub_errors(repo_id):
        options = {
            "dtype": dtype,
            "device_map": device,
            "use_safetensors": True,
            "trust_remote_code": False,
            "attn_implementation": default_attention(config),
        }
        if config.model_type != "gemma3":
            model = AutoModelForCausalLM.from_pretrained(repo_id, **options)
        else:
            # From 4B on the model is multimodal: load only the text part.
            model = Gemma3ForCausalLM.from_pretrained(
                repo_id,
                config=config.get_text_config(),
                key_mapping={r"^language_model\.(model\.)?(?!lm_head)": "model."},
                **options,
            )
    # With frozen weights, a backward pass keeps activations only after the layer in question.
    return model.requires_grad_(False)


def default_attention(config: PretrainedConfig) -> str:
    """Return ``"eager"`` for models that soft-cap attention logits, otherwise ``"sdpa"``.

    Args:
        config: The model's configuration.

    Returns:
        Name of the implementation in transformers.
    """
    capped = getattr(config.get_text_config(), "attn_logit_softcapping", None)
    return "eager" if capped else "sdpa"


def load_tokenizer(repo_id: str) -> PreTrainedTokenizerBase:
    """Load a tokenizer, and set a padding token if it has none, like Llama's.

    Args:
        repo_id: Hugging Face repository, or a folder with the same layout.

    Returns:
        The tokenizer.

    Raises:
        OSError: As `load_causal_lm`.
    """
    with readable_hub_errors(repo_id):
        tokenizer = AutoTokenizer.from_pretrained(repo_id, trust_remote_code=False)
    if tokenizer.pad_token is None:
        reserved = "<|finetune_right_pad_id|>"  # Llama 3.1's, missing in its configuration
        known = reserved in tokenizer.get_vocab()
        tokenizer.pad_token = reserved if known else tokenizer.eos_token
    return tokenizer


def load_sae(release: str, sae_id: str, device: str) -> SAE:
    """Load a published SAE in float32 through SAE-Lens.

    Args:
        release: A release that SAE-Lens lists, or a Hugging Face repository in SAE-Lens' format.
        sae_id: The SAE's id in the release.
        device: Where to put it.

    Returns:
        The SAE.

    Raises:
        OSError: As `load_causal_lm`.
        ValueError: If there is no such release or id, or its files could run code.
    """
    listed = get_pretrained_saes_directory().get(release)
    repo_id = listed.repo_id if listed else release
    loader = get_conversion_loader_name(release)
    if loader in TORCH_FILES:  # before anything is downloaded
        if is_converted(release, sae_id):
            return local_sae(converted_folder(release, sae_id), device)
        raise FileContentError(
            f"{repo_id}/{sae_id} keeps weights in a pickle (as torch.save does), which could run "
            f"any code. It was not opened; convert it once: {conversion_command(release, sae_id)}",
            f"{repo_id}/{sae_id}",
        )
    with readable_hub_errors(f"{repo_id}/{sae_id}"), _without_hooked_models():
        converter = _gemma_scope_2 if loader == "gemma_3" else None
        return SAE.from_pretrained(
            release, sae_id, device=device, dtype="float32", converter=converter
        )


@contextmanager
def _without_hooked_models() -> Iterator[None]:
    """Suppress SAE-Lens' advice to use TransformerLens: `saes.sae_input` applies its options."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\s*This SAE has non-empty model_from_pretrained_kwargs")
        yield


def local_sae(folder: Path, device: str) -> SAE:
    """Load an SAE from a folder in SAE-Lens' format, in float32.

    Args:
        folder: A folder with ``cfg.json`` and ``sae_weights.safetensors``.
        device: Where to put it.

    Returns:
        The SAE.

    Raises:
        FileNotFoundError: If it is not such a folder.
        ValueError: If the weights are not a safetensors file.
    """
    missing = [n for n in ("cfg.json", "sae_weights.safetensors") if not (folder / n).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder} has no {' and no '.join(missing)}; give a folder written by sae.save_model"
        )
    with forbid_code_execution(str(folder)), _without_hooked_models():
        return SAE.load_from_disk(folder, device=device, dtype="float32")


def commit_of(repo_id: str) -> str | None:
    """Return the commit of a repository's cached files, which identifies the weights.

    Args:
        repo_id: Hugging Face repository, or the folder of a converted GGUF file.

    Returns:
        The commit hash, or the beginning of the GGUF file's sha256 sum; None for another folder, or
        if nothing is cached.
    """
    if (Path(repo_id) / "conversion.json").is_file():
        return f"sha256 {repo_id.rpartition('-')[2]}"
    if repo_id.count("/") != 1 or Path(repo_id).exists():
        return None
    path = huggingface_hub.try_to_load_from_cache(repo_id, "config.json")
    return Path(path).parent.name if isinstance(path, str) else None


def _gemma_scope_2(
    repo_id: str,
    folder_name: str,
    device: str = "cpu",
    force_download: bool = False,
    cfg_overrides: dict[str, Any] | None = None,
) -> tuple[dict[str, Any], dict[str, torch.Tensor], None]:
    """Load an SAE of Gemma Scope 2 from cached files; a converter for SAE-Lens.

    SAE-Lens' own converter requests the shapes from the Hub each time, and so needs a network.
    """
    hook = re.search(r"resid_post.*layer_(\d+)", folder_name)
    if hook is None:
        raise FileContentError(
            f"{repo_id}/{folder_name} does not read the residual stream after a layer; give one "
            "of the SAEs whose name has resid_post",
            f"{repo_id}/{folder_name}",
        )

    file = f"{folder_name}/params.safetensors"
    path = huggingface_hub.hf_hub_download(repo_id, file, force_download=force_download)
    weights = load_file(path, device=device)
    names = {"w_enc": "W_enc", "w_dec": "W_dec", "b_enc": "b_enc", "b_dec": "b_dec"}
    names["threshold"] = "threshold"
    state = {ours: weights[theirs] for theirs, ours in names.items()}
    d_in, d_sae = state["W_enc"].shape
    config = {
        "architecture": "jumprelu",
        "d_in": d_in,
        "d_sae": d_sae,
        "model_name": repo_id.replace("gemma-scope-2", "gemma-3"),
        "hook_name": f"blocks.{hook[1]}.hook_resid_post",
        "prepend_bos": True,
        "apply_b_dec_to_input": False,
        "normalize_activations": "none",
    }
    return config | (cfg_overrides or {}), state, None
