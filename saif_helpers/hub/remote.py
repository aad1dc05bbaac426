"""Models that run on another machine: NDIF, the service behind nnsight's ``remote=True``.

What travels there is the source of the trace with the tensors that it names, and back what it
saves. So a trace of this package names nothing of the package itself: the service has torch,
transformers and nnsight, and none of this. And it is one block: a block inside (``tracer.invoke``)
is looked up by its line in a file that the service has not, or has of another version.
"""

from contextlib import suppress

from nnsight import TransformersModel
from transformers import GenerationConfig, PreTrainedTokenizerBase

from saif_helpers.hub.download import default_attention, load_config
from saif_helpers.hub.errors import readable_hub_errors


def meta_model(
    repo_id: str, tokenizer: PreTrainedTokenizerBase, task: str = "text-generation"
) -> TransformersModel:
    """Build a model without weights, to be run with ``remote=True``.

    NDIF finds its copy by repository, revision and task, so all three have to be those that it
    serves (``nnsight.status()`` lists them); the revision is its default one. The attention is the
    one that `download.load_causal_lm` chooses, and NDIF is asked for it too.

    Args:
        repo_id: A repository of the Hugging Face Hub, or a folder laid out like one. Its
            configuration is read, its weights never.
        tokenizer: Its tokenizer.
        task: The pipeline that NDIF serves it as.

    Returns:
        The model, on the device "meta".

    Raises:
        OSError: As `download.load_causal_lm`.
    """
    with readable_hub_errors(repo_id):
        attention = default_attention(load_config(repo_id))
        # nnsight 0.8.1 does not find the tokenizer by itself next to transformers 5.23.
        lm = TransformersModel(
            repo_id, task=task, tokenizer=tokenizer, attn_implementation=attention
        )
        with suppress(OSError):  # a repository may have none; then its configuration has to do
            lm._module.generation_config = GenerationConfig.from_pretrained(repo_id)
    return lm
