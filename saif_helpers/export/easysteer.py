"""Export to EasySteer (vLLM with steering): a GGUF file and a clause for where it applies.

EasySteer also reads bare tensors, but from ``torch.save``, a pickle, which is not written here.
vLLM itself has no format for steering vectors.
"""

from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from saif_helpers._internal.errors import ArgumentError
from saif_helpers.export.gguf_vectors import write_direction
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.placements import Placed


def easysteer_spec(vector: Placed, path: str | Path, model: ModelWithSAEs) -> dict[str, Any]:
    """Write a steering vector for EasySteer, and return the specification that applies it.

    The specification is a ``SteeringSpec`` of EasySteer as JSON, for
    ``steering=SteeringSpec(**spec)``, for the field ``"steering"`` of a request, or in a file for
    ``vllm serve --steering-config`` (with ``--enable-steer-vector --steer-algorithms direct``).
    Positions are those of `steering.generate`, which also exclude the beginning of the sequence.

    >>> spec = easysteer_spec(vector.at("every_position"), "french.gguf", organism)
    >>> spec["vectors"][0]["apply"]["generation"]
    'all'

    Args:
        vector: A steering vector. EasySteer has no decay and does not check the prompt's length,
            so ``"decaying"`` (with a decay between 0 and 1) and masks are not supported.
        path: The file to write, ``*.gguf``; the specification contains this path unchanged.
        model: The model that the vector steers.

    Returns:
        The specification.

    Raises:
        ValueError: If EasySteer does not support the placement or the path, the vector does not fit
            the model, or it is not a vector (clamped latents).
        OSError: If the file cannot be written.
    """
    if not str(path).endswith(".gguf") or "|" in str(path):
        raise ArgumentError(
            f"path {str(path)!r} given; EasySteer takes a name *.gguf without a |", "path"
        )
    apply = _where(vector, model.tokenizer)
    write_direction(vector, path, model)
    one = {"source": str(path), "algorithm": "direct", "scale": 1.0, "normalize": False}
    return {"vectors": [one | {"layers": [vector.layer], "apply": apply}]}


def _where(vector: Placed, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Return a placement as EasySteer's clause."""
    placement, decay = vector.placement, vector.decay
    if placement == "decaying" and decay in (0, 1):
        return {"prompt_positions": [-1]} | ({"generation": "all"} if decay else {})
    if placement == "last_prompt_token":
        return {"prompt_positions": [-1]}
    if placement == "generated_tokens":
        return {"generation": "all"}
    if placement == "every_position":
        return {"prompt": "all", "generation": "all"} | _without_first(tokenizer)
    if isinstance(placement, slice):
        start, stop = placement.start or 0, placement.stop
        if stop is not None and (start < 0) == (stop < 0) and stop <= start:
            raise ArgumentError(
                f"the vector is added at: {vector.where}, which is nowhere", "vector"
            )
        return {"prompt_window": [start, stop]} | _without_first(tokenizer)
    raise ArgumentError(
        f"the vector is added at: {vector.where}; EasySteer knows neither a vector that fades nor "
        "a mask for prompts of one length; export it at another placement, such as "
        "vector.at('generated_tokens')",
        "vector",
    )


def _without_first(tokenizer: PreTrainedTokenizerBase) -> dict[str, list[int]]:
    """Return the clause that excludes the beginning-of-sequence token."""
    if tokenizer.bos_token_id is None:
        return {}
    if tokenizer.chat_template:
        message = {"role": "user", "content": "text"}
        chat = tokenizer.apply_chat_template([message], tokenize=False, add_generation_prompt=True)
        if not chat.startswith(tokenizer.bos_token):  # then a chat starts with another token
            return {"exclude_prompt_tokens": [tokenizer.bos_token_id]}
    return {"exclude_prompt_positions": [0]}
