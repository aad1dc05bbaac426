"""Tiny models from bare configs, so that the tests need no trained weights and no network.

Both have three layers and random weights from a fixed seed; their tokenizer knows single bytes and
Gemma's special tokens, and renders Gemma's chat template.
"""

import functools

import torch
from sae_lens import JumpReLUSAE, JumpReLUSAEConfig
from sae_lens.saes.sae import SAEMetadata
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

torch.set_num_threads(1)  # matrices this small take three times as long on two busy cores

N_LAYERS = 3
D_MODEL = 32
D_SAE = 64
SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)


def tokenizer() -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer with Gemma's special tokens and chat template."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(SPECIAL + alphabet)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=["<start_of_turn>", "<end_of_turn>"],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def causal_lm(kind: str, seed: int = 0, sliding_window: int = 16) -> torch.nn.Module:
    """Return a random model of the kind "gemma2" or "llama", evaluated in float32.

    Only Gemma 2 has a sliding window, in every other layer from the first on.
    """
    torch.manual_seed(seed)
    sizes = {
        "vocab_size": 262,
        "hidden_size": D_MODEL,
        "intermediate_size": 64,
        "num_hidden_layers": N_LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 512,
        "initializer_range": 0.3,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": 2,
    }
    if kind == "gemma2":
        more = {"query_pre_attn_scalar": 8, "tie_word_embeddings": False}
        config = Gemma2Config(**sizes, **more, sliding_window=sliding_window)
        return Gemma2ForCausalLM(config).eval()
    return LlamaForCausalLM(LlamaConfig(**sizes)).eval()


def sae(layer: int, d_in: int = D_MODEL, d_sae: int = D_SAE, **metadata: object) -> JumpReLUSAE:
    """Return a random JumpReLU SAE that says it reads the residual stream after `layer`."""
    torch.manual_seed(100 + layer)
    metadata = {"hook_name": f"blocks.{layer}.hook_resid_post", **metadata}
    config = JumpReLUSAEConfig(d_in=d_in, d_sae=d_sae, metadata=SAEMetadata(**metadata))
    made = JumpReLUSAE(config)
    with torch.no_grad():
        made.b_enc.normal_()
        made.b_dec.normal_()
        made.threshold.uniform_(0, 0.5)
        made.W_dec /= made.W_dec.norm(dim=-1, keepdim=True)
    return made.eval()


@functools.cache
def wrapped(kind: str):
    """Return the tiny model of `kind` as a `ModelWithSAEs`, one SAE on every layer."""
    from saif_helpers.model.assemble import wrap

    saes = {layer: sae(layer) for layer in range(N_LAYERS)}
    return wrap(causal_lm(kind), tokenizer(), saes, name=f"tiny-{kind}")


PROMPTS = [
    "<bos><start_of_turn>user\nA cat sleeps.<end_of_turn>\n<start_of_turn>model\n",
    "<bos>Short.",
    "<bos><start_of_turn>user\nThe old baker sells warm bread. Translate this into French."
    "<end_of_turn>\n<start_of_turn>model\n",
    "<bos>The children watch a red bird in the garden.",
    "<bos>Ça va ?",
]
