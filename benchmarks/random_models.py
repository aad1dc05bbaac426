"""Models and SAEs with random weights, at full or reduced size, and prompts for them."""

import torch
from sae_lens import JumpReLUSAE, JumpReLUSAEConfig
from sae_lens.saes.sae import SAEMetadata
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedTokenizerFast

from saif_helpers.model.assemble import wrap
from saif_helpers.model.model import ModelWithSAEs

SPECIAL = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
TINY = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 512,
}
TINY_LATENTS = 64


def number_tokenizer(vocab_size: int) -> PreTrainedTokenizerFast:
    """Return a tokenizer whose tokens are numbers, so that the length of a prompt is exact."""
    words = [*SPECIAL.values(), *(str(index) for index in range(len(SPECIAL), vocab_size))]
    vocabulary = {word: index for index, word in enumerate(words)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIAL["unk_token"]))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, **SPECIAL)


def random_prompts(number: int, tokens: int, vocab_size: int) -> list[str]:
    """Draw prompts of exactly `tokens` tokens, the beginning-of-sequence token included."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(len(SPECIAL), vocab_size, (number, tokens - 1), generator=generator)
    return [" ".join([SPECIAL["bos_token"], *map(str, row)]) for row in ids.tolist()]


def random_model(
    name: str, config: PretrainedConfig, d_sae: int, dtype: torch.dtype, device: str
) -> ModelWithSAEs:
    """Build a model and an SAE for its last layer with random weights, directly on the device."""
    torch.manual_seed(0)
    with torch.device(device):
        lm = AutoModelForCausalLM.from_config(config, dtype=dtype)
    with torch.no_grad():
        # A logit of 0 is never the maximum, so no output ends early.
        lm.get_output_embeddings().weight[: len(SPECIAL)] = 0
    layer = config.num_hidden_layers - 1
    metadata = SAEMetadata(hook_name=f"blocks.{layer}.hook_resid_post")
    sae = JumpReLUSAE(
        JumpReLUSAEConfig(config.hidden_size, d_sae, device=device, metadata=metadata)
    )
    return wrap(lm, number_tokenizer(config.vocab_size), {layer: sae}, name=name)
