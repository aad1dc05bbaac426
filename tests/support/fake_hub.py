"""A Hugging Face cache with tiny models and SAEs in the real layout and the real file formats.

Repositories, folders and file names are those of the Hub; numbers are random and the models have
few layers. What a format fixes is kept: Gemma Scope's SAEs are as wide as its model, because
SAE-Lens takes d_in from the name of the repository.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from sae_lens.loading.pretrained_saes_directory import get_norm_scaling_factor
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

from saif_helpers._internal.progress import no_loading_bar
from saif_helpers.hub.published_saes import PretrainedSAE, pretrained_saes, width_of
from saif_helpers.hub.zoo import ZOO

GEMMA_CHAT = (
    "{{ bos_token }}{% for message in messages %}"
    "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
LLAMA_CHAT = (
    "{{ bos_token }}{{ '<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: "
    "December 2023\nToday Date: 26 Jul 2024\n\n<|eot_id|>' }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' "
    "+ message['content'] | trim + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA_SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
LLAMA_SPECIAL = [
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|finetune_right_pad_id|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
]
N_TOKENS = 600  # of the stand-in vocabularies
ALIVE = 512  # latents that can fire; the others are there only in number
D_MODEL = {"gemma-2-2b": 2304, "gemma-2-9b": 3584}  # as Gemma Scope's format fixes it
SMALL_D_MODEL = 32
SLIDING_WINDOW = 32  # shorter than most prompts


def tokenizer(name: str) -> PreTrainedTokenizerFast:
    """Return a stand-in with the special tokens and the chat template of a model's family."""
    special = LLAMA_SPECIAL if name.startswith("llama") else GEMMA_SPECIAL
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    data = Path(__file__).parents[2] / "saif_helpers" / "data"
    trainer = trainers.BpeTrainer(
        vocab_size=N_TOKENS,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train([str(data / "sentences.jsonl")], trainer)
    if name.startswith("llama"):
        chat = LLAMA_CHAT if name.endswith("instruct") else None
        names = {"bos_token": special[0], "eos_token": special[5 if chat else 1]}
    else:
        chat = GEMMA_CHAT if name.endswith("it") else None
        names = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}
        names["unk_token"] = "<unk>"
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        additional_special_tokens=[t for t in special if t not in names.values()],
        chat_template=chat,
        clean_up_tokenization_spaces=False,
        **names,
    )


def causal_lm(name: str, n_layers: int) -> torch.nn.Module:
    """Return a random model of the right class; Gemma 3 from 4B on has a vision tower too."""
    torch.manual_seed(len(name))
    base = name.removesuffix("-it")
    sizes = {
        "vocab_size": N_TOKENS,
        "hidden_size": D_MODEL.get(base, SMALL_D_MODEL),
        "intermediate_size": 64,
        "num_hidden_layers": n_layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 1024,
        "initializer_range": 0.1,
        "sliding_window": SLIDING_WINDOW,
        "bos_token_id": 2,
        "eos_token_id": 1,
        "pad_token_id": 0,
    }
    if name.startswith("llama"):
        del sizes["sliding_window"]
        sizes |= {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None}
        return AutoModelForCausalLM.from_config(LlamaConfig(**sizes))
    if name.startswith("gemma-2"):
        return AutoModelForCausalLM.from_config(Gemma2Config(**sizes, query_pre_attn_scalar=8))
    text = Gemma3TextConfig(**sizes, query_pre_attn_scalar=8)
    if name in ("gemma-3-270m-it", "gemma-3-1b-it"):
        return AutoModelForCausalLM.from_config(text)
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    vision |= {"num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    return Gemma3ForConditionalGeneration(config)


def sae_weights(sae: PretrainedSAE, d_in: int) -> dict[str, torch.Tensor]:
    """Return random weights of a JumpReLU SAE, of which a few hundred latents can fire."""
    draw = torch.Generator().manual_seed(sae.layer)
    w_enc, w_dec = torch.zeros(d_in, sae.d_sae), torch.zeros(sae.d_sae, d_in)
    w_enc[:, :ALIVE] = torch.randn(d_in, ALIVE, generator=draw) / d_in**0.5
    directions = torch.randn(ALIVE, d_in, generator=draw)
    w_dec[:ALIVE] = directions / directions.norm(dim=-1, keepdim=True)
    return {
        "w_enc": w_enc,
        "w_dec": w_dec,
        "b_enc": torch.zeros(sae.d_sae),
        "b_dec": torch.randn(d_in, generator=draw),
        "threshold": torch.full((sae.d_sae,), 0.1),
    }


def norm_factor(sae: PretrainedSAE) -> float:
    """Return the factor that brings Llama Scope's inputs to the norm it was trained on."""
    return get_norm_scaling_factor(sae.release, sae.sae_id)


def write_sae(cache: Path, sae: PretrainedSAE, d_in: int) -> None:
    """Write an SAE's files as its release has them."""
    weights = sae_weights(sae, d_in)
    folder = add(cache, sae.repo_id, sae.path)
    if sae.release.startswith("gemma-scope-2-"):
        save_file(weights, folder / "params.safetensors")
        config = {
            "width": sae.d_sae,
            "architecture": "jump_relu",
            "model_name": sae.repo_id.replace("google/gemma-scope-2", "gemma-v3"),
            "hf_hook_point_in": f"model.layers.{sae.layer}.output",
        }
        (folder / "config.json").write_text(json.dumps(config))
    elif sae.release.startswith("gemma-scope"):
        arrays = {name.replace("w_", "W_"): weight.numpy() for name, weight in weights.items()}
        np.savez_compressed(folder / "params.npz", **arrays)
    else:
        factor = norm_factor(sae)
        config = {
            "d_model": d_in,
            "d_sae": sae.d_sae,
            "hook_point_in": f"blocks.{sae.layer}.hook_resid_post",
            "hook_point_out": f"blocks.{sae.layer}.hook_resid_post",
            "act_fn": "jumprelu",
            "jump_relu_threshold": 0.1,
            "norm_activation": "dataset-wise",
            "dataset_average_activation_norm": {"in": d_in**0.5 / factor, "out": 1.0},
        }
        (folder / "hyperparams.json").write_text(json.dumps(config))
        (folder / "checkpoints").mkdir(exist_ok=True)
        tensors = {
            "encoder.weight": weights["w_enc"].T.contiguous(),
            "decoder.weight": weights["w_dec"].T.contiguous(),
            "encoder.bias": weights["b_enc"],
            "decoder.bias": weights["b_dec"],
        }
        tensors = {name: tensor.bfloat16() for name, tensor in tensors.items()}
        save_file(tensors, folder / "checkpoints" / "final.safetensors")


def add(cache: Path, repo_id: str, path: str = "") -> Path:
    """Return a new folder of a repository's one snapshot, which is the head of its main branch."""
    repository = cache / f"models--{repo_id.replace('/', '--')}"
    commit = hashlib.sha1(repo_id.encode()).hexdigest()
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / "main").write_text(commit)
    folder = repository / "snapshots" / commit / path
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def build(cache: Path, names: Mapping[str, int], width: str | None = None) -> None:
    """Fill a cache with models of the zoo, each with its SAEs on every layer.

    Args:
        cache: The cache's folder, as ``HF_HUB_CACHE`` names it.
        names: Name in the zoo to number of layers.
        width: Label of the width; by default the zoo's.
    """
    for name, n_layers in names.items():
        entry = ZOO[name]
        folder = add(cache, entry.repo_id)
        model = causal_lm(name, n_layers)
        if name.startswith(("gemma-2", "gemma-3")) and name.endswith("it"):
            model.generation_config.eos_token_id = [1, 5]
        with no_loading_bar():
            model.bfloat16().save_pretrained(folder)
        tokenizer(name).save_pretrained(folder)
        listed = pretrained_saes(entry.releases)
        d_in = model.config.get_text_config().hidden_size
        for layer in range(n_layers):
            sae = listed[layer, width_of(width or entry.width)]
            write_sae(cache, sae, d_in)
