"""Export to the Python library steering-vectors."""

from typing import Any

from saif_helpers.export.gguf_vectors import check_every_position, check_fixed
from saif_helpers.placements import Placed


def to_steering_vectors(vector: Placed) -> Any:
    """Convert a steering vector to one of the library steering-vectors (0.12).

    >>> theirs = to_steering_vectors(vector.at("every_position"))  # doctest: +SKIP
    >>> with theirs.apply(hf_model):  # doctest: +SKIP
    ...     hf_model.generate(**inputs)

    Differences from `steering.generate`: the library adds the vector at every position, including
    padding and the beginning of the sequence. Its ``min_token_index=1`` excludes the first
    position, but in generation also every token after the prompt, since each is the first of its
    pass.

    Args:
        vector: A steering vector with the placement ``"every_position"``. The strength is
            included, so the multiplier stays 1.

    Returns:
        A ``steering_vectors.SteeringVector``; layers are counted from 0 there too.

    Raises:
        ImportError: If the library is not installed.
        ValueError: If the placement is another one, or it is not a vector (clamped latents).
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
