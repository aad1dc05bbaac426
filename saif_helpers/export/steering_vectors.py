"""The Python library steering-vectors, whose vectors are applied with its own hooks."""

from typing import Any

from saif_helpers.export.gguf_vectors import check_every_position, check_fixed
from saif_helpers.placements import Placed


def to_steering_vectors(vector: Placed) -> Any:
    """Turn a steering vector into one of the library steering-vectors (0.12).

    >>> theirs = to_steering_vectors(vector.at("every_position"))  # doctest: +SKIP
    >>> with theirs.apply(hf_model):  # doctest: +SKIP
    ...     hf_model.generate(**inputs)

    Differences from `steering.generate`: the library adds the vector at every position, padding and
    the beginning of the sequence included. Its ``min_token_index=1`` leaves the first position out,
    but in generation also every token after the prompt, since each is the first of its pass.

    Args:
        vector: A steering vector with the placement ``"every_position"``. Its strength is in its
            numbers: the multiplier stays 1.

    Returns:
        A ``steering_vectors.SteeringVector``; layers are counted from 0 there too.

    Raises:
        ImportError: If the library is not installed.
        ValueError: If the vector is added at other positions, or is none (clamped latents).
    """
    check_fixed(vector)
    check_every_position(vector, "the library steering-vectors")
    try:
        import steering_vectors
    except ImportError as error:
        raise ImportError(
            "the library steering-vectors is not installed; run: pip install steering-vectors"
        ) from error
    return steering_vectors.SteeringVector({vector.layer: vector.vector.detach()}, "decoder_block")
