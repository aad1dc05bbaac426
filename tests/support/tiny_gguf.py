"""A tiny GGUF file: a random Llama of three layers with a byte-level tokenizer and a template."""

from pathlib import Path

import gguf
import numpy as np
import tiny
import torch

CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe helpful.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "embed_tokens": "token_embd",
    "norm": "output_norm",
    "lm_head": "output",
}


def model() -> torch.nn.Module:
    """Return the model that `write` writes, its weights such that float16 holds them."""
    made = tiny.causal_lm("llama")
    with torch.no_grad():
        for weights in made.parameters():
            weights.copy_(weights.half().float())
    return made


def write(file: Path, architecture: str = "llama") -> Path:
    """Write the model and its tokenizer as a GGUF file."""
    made = model()
    config = made.config
    writer = gguf.GGUFWriter(file, architecture)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    _add_tokenizer(writer)
    for name, weights in made.state_dict().items():
        array = weights.numpy()
        for part, heads in (("q_proj", 4), ("k_proj", 2)):
            if part in name:  # llama.cpp orders the two halves of a head otherwise
                half = array.shape[0] // heads // 2
                split = array.reshape(heads, 2, half, *array.shape[1:])
                array = split.swapaxes(1, 2).reshape(array.shape)
        writer.add_tensor(_name(name), np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _name(name: str) -> str:
    """Return what llama.cpp calls a tensor of transformers."""
    parts = name.removeprefix("model.").removesuffix(".weight")
    if parts.startswith("layers."):
        _, number, rest = parts.split(".", 2)
        return f"blk.{number}.{NAMES[rest]}.weight"
    return f"{NAMES[parts]}.weight"


def _add_tokenizer(writer: gguf.GGUFWriter) -> None:
    special = ["<unk>", "<|im_start|>", "<|im_end|>", "<a>", "<b>"]
    alphabet = sorted(tiny.pre_tokenizers.ByteLevel.alphabet())
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([*special, *alphabet, "ab"])
    writer.add_token_types([gguf.TokenType.CONTROL] * 5 + [gguf.TokenType.NORMAL] * 257)
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template(CHATML)
