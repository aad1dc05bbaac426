"""GGUF files of one direction, in the layout that repeng, llama.cpp and EasySteer share.

The architecture is ``controlvector``. The float32 tensor ``direction.N`` is added to the residual
stream after decoder layer N, counted from 0. llama.cpp's loader stores ``direction.N`` at index N -
1 of an array that starts at layer 1, and its graph reads layer N from there: the two shifts cancel.
"""

import tempfile
from pathlib import Path

import torch

from saif_helpers._internal.errors import ArgumentError
from saif_helpers.cache.entry import write
from saif_helpers.export.model_identity import Model, model_config, model_name
from saif_helpers.placements import Placed, vector_in

ARCHITECTURE = "controlvector"


def write_direction(placed: Placed, path: str | Path, model: Model) -> None:
    """Write a vector as a GGUF file.

    Args:
        placed: The vector; its placement is not written.
        path: The file.
        model: The model that the vector steers.

    Raises:
        ValueError: If the vector does not fit the model, or the change depends on the position, as
            for clamped latents.
        OSError: If the file cannot be written.
    """
    from gguf import GGUFWriter

    check_fixed(placed)
    config, name = model_config(model), model_name(model)
    if not 0 <= placed.layer < config.num_hidden_layers:
        raise ArgumentError(
            f"the vector is added after layer {placed.layer}; {name} has layers 0-"
            f"{config.num_hidden_layers - 1}; give the model that the vector was made for",
            "model",
        )
    vector = vector_in(placed, config.hidden_size, torch.float32, name).detach()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vector.gguf"
        writer = GGUFWriter(file, ARCHITECTURE)
        writer.add_string(f"{ARCHITECTURE}.model_hint", config.model_type)
        writer.add_uint32(f"{ARCHITECTURE}.layer_count", 1)
        writer.add_description(str(placed))
        writer.add_tensor(f"direction.{placed.layer}", vector.numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        data = file.read_bytes()
    write(Path(path), data)


def check_fixed(placed: Placed) -> None:
    """Raise unless an intervention adds a fixed vector.

    Args:
        placed: The intervention.

    Raises:
        ValueError: If the change depends on the residual stream.
    """
    if not placed.fixed:
        raise ArgumentError(
            f"{placed.description}: the change depends on the residual stream, but other tools "
            "add a fixed vector; give a SteeringVector",
            "vector",
        )


def check_every_position(placed: Placed, tool: str) -> None:
    """Raise if the placement is not ``"every_position"``.

    Args:
        placed: The intervention.
        tool: The tool, which adds at every position.

    Raises:
        ValueError: If the placement is another one.
    """
    if placed.placement != "every_position":
        raise ArgumentError(
            f"the vector is added at: {placed.where}; {tool} adds at every position; export "
            "vector.at('every_position'), if that is what you want",
            "vector",
        )
