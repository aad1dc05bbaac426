"""The first ranking, with only transformers, a forward hook and the SAE's formula."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

folder, layer = Path(given["folder"]), given["layer"]
options = {"dtype": torch.float32, "attn_implementation": "eager"}  # as the package loads it
lm = AutoModelForCausalLM.from_pretrained(folder, **options)
tokenizer = AutoTokenizer.from_pretrained(folder)
mark("load")
(path,) = (folder / "saes").glob(f"layer_{layer}_width_*")
sae = {name: w.float() for name, w in load_file(path / "sae_weights.safetensors").items()}
latents = []


def encode(_module, _inputs, output):
    """Store the latents of the last token."""
    before = (output[:, -1] - sae["b_dec"]) @ sae["W_enc"] + sae["b_enc"]
    latents.append(torch.relu(before) * (before > sae["threshold"]))


lm.model.layers[layer].register_forward_hook(encode)
for prompts in (given["positive"], given["negative"]):
    tokens = tokenizer(
        prompts, add_special_tokens=False, padding=True, padding_side="left", return_tensors="pt"
    )
    with torch.no_grad():
        lm.model(**tokens, use_cache=False)
positive, negative = latents
sensitivity = ((positive > 0) & (negative == 0)).float().mean(0)
by_mean = positive.mean(0).sort(descending=True, stable=True).indices
order = by_mean[sensitivity[by_mean].sort(descending=True, stable=True).indices]
mark("first ranking")
answer = order[: given["shown"]].tolist()
