"""Export to control vectors of llama.cpp, which repeng also reads."""

from pathlib import Path

from saif_helpers._internal.errors import ArgumentError
from saif_helpers.export.gguf_vectors import check_every_position, write_direction
from saif_helpers.export.model_identity import Model
from saif_helpers.placements import Placed


def control_vector(vector: Placed, path: str | Path, model: Model) -> None:
    """Write a steering vector as a control vector of llama.cpp.

    >>> control_vector(vector.at("every_position"), "french.gguf", organism)

    Then ``llama-cli -m model.gguf --control-vector french.gguf``, with a GGUF file of the same
    model. Differences from `steering.generate`: llama.cpp adds the vector at every position,
    including the beginning of the sequence, and cannot steer layer 0. Its weights are usually
    quantised, so its residual stream only approximates the original model's.

    Args:
        vector: A steering vector with the placement ``"every_position"``. The strength is
            included, so ``--control-vector-scaled`` is not needed.
        path: The file to write, ``*.gguf``.
        model: The model that the vector steers.

    Raises:
        ValueError: If the vector is added at other positions or after layer 0, does not fit the
            model, or it is not a vector (clamped latents).
        OSError: If the file cannot be written.
    """
    check_every_position(vector, "llama.cpp")
    if vector.layer == 0:
        raise ArgumentError(
            "the vector is added after layer 0, which llama.cpp cannot steer; give a vector of "
            "a later layer",
            "vector",
        )
    write_direction(vector, path, model)
