"""Models that run on another machine: NDIF, the service behind nnsight's ``remote=True``.

NDIF receives the source of the ``with`` block and the tensors it references, and returns what the
block saves. NDIF does not have `saif_helpers` installed, so trace blocks must not reference it.
They must not contain nested blocks (``tracer.invoke``) either, which NDIF would look up by line
number in a source file that it does not have.
"""

from contextlib import suppress

from nnsight import TransformersModel
from transformers import GenerationConfig, PreTrainedTokenizerBase

from saif_helpers.hub.download import default_attention, load_config
from saif_helpers.hub.errors import readable_hub_errors


def meta_model(
    repo_id: str, tokenizer: PreTrainedTokenizerBase, task: str = "text-generation"
) -> TransformersModel:
    """Create a model without weights, for use with ``remote=True``.

    NDIF identifies models by repository, revision and task, so all three must match a served model
    (``nnsight.status()`` lists them); the revision is the default one. The attention implementation
    is that of `download.load_causal_lm`, also on NDIF.

    Args:
        repo_id: A repository of the Hugging Face Hub, or a folder with the same layout. Only its
            configuration is read, not its weights.
        tokenizer: Its tokenizer.
        task: The pipeline task under which NDIF serves it.

    Returns:
        The model, on the device "meta".

    Raises:
        OSError: As `download.load_causal_lm`.
    """
    with readable_hub_errors(repo_id):
        attention = default_attention(load_config(repo_id))
        # nnsight 0.8.1 does not find the tokenizer on its own with transformers 5.23.
        lm = TransformersModel(
            repo_id, task=task, tokenizer=tokenizer, attn_implementation=attention
        )
        with suppress(OSError):  # optional; the configuration is the fallback
            lm._module.generation_config = GenerationConfig.from_pretrained(repo_id)
    return lm
