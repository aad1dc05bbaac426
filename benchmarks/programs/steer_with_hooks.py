"""The first steered output, with only transformers and a forward hook."""

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

options = {"dtype": torch.float32, "attn_implementation": "eager"}  # as the package loads it
lm = AutoModelForCausalLM.from_pretrained(given["folder"], **options)
tokenizer = AutoTokenizer.from_pretrained(given["folder"])
mark("load")
vector = torch.tensor(given["vector"])


def steer(_module, _inputs, output):
    """Add the vector at the last token of the prompt, in the pass that reads the prompt."""
    if output.shape[1] > 1:
        output[:, -1] += vector


lm.model.layers[given["layer"]].register_forward_hook(steer)
tokens = tokenizer(given["negative"][:1], add_special_tokens=False, return_tensors="pt")
tokens.pop("token_type_ids", None)
with torch.no_grad():
    ids = lm.generate(
        **tokens,
        max_new_tokens=given["new_tokens"],
        do_sample=False,
        eos_token_id=given["stop_ids"],
        pad_token_id=tokenizer.pad_token_id,
    )
answer = tokenizer.batch_decode(ids[:, tokens["input_ids"].shape[1] :], skip_special_tokens=True)
mark("first steered output")
