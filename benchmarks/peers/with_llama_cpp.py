"""llama.cpp, through llama-cpp-python: 4-bit weights, control vectors, one prompt at a time."""

import ctypes
import importlib.util
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import gguf
import numpy as np
import torch

from benchmarks.peers import Unavailable
from benchmarks.peers.work import Asked
from saif_helpers.export.llama_cpp import control_vector
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.vectors import SteeringVector

if TYPE_CHECKING:
    from llama_cpp import Llama


def loaded(file: Path, n_tokens: int, n_threads: int) -> "Llama":
    """Load a GGUF file.

    Args:
        file: The model.
        n_tokens: Room for prompt and output.
        n_threads: Number of threads.

    Returns:
        The model in llama.cpp, which keeps the logits of all tokens.

    Raises:
        Unavailable: If llama-cpp-python is not installed.
    """
    if importlib.util.find_spec("llama_cpp") is None:
        raise Unavailable("not installed; see benchmarks/peers_llama_cpp.txt")
    from llama_cpp import Llama

    how = {"n_threads": n_threads, "n_threads_batch": n_threads, "verbose": False}
    return Llama(str(file), n_ctx=n_tokens, n_batch=n_tokens, logits_all=True, **how)


def steer(llm: "Llama", file: Path | None) -> None:
    """Load a control vector as llama.cpp's own loader does, or remove it.

    Args:
        llm: The model.
        file: The control vector; None to remove the last one.
    """
    import llama_cpp

    width, n_layers = llm.n_embd(), llama_cpp.llama_model_n_layer(llm.model)
    data = np.zeros((n_layers - 1, width), np.float32)  # its array begins with layer 1
    for tensor in gguf.GGUFReader(file).tensors if file else ():
        data[int(tensor.name.removeprefix("direction.")) - 1] += tensor.data
    numbers = data.ravel().ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    if llama_cpp.llama_set_adapter_cvec(llm.ctx, numbers, data.size, width, 1, n_layers):
        raise RuntimeError(f"llama.cpp refused the control vector {file}")


class LlamaCpp:
    """Generates greedily from one prompt after the other."""

    name = "llama.cpp"

    def __init__(self, model: ModelWithSAEs, file: Path, n_tokens: int) -> None:
        """Load the file; raise `Unavailable` if the library is not installed."""
        self.model = model
        self.llm = loaded(file, n_tokens, torch.get_num_threads())

    def generate(self, asked: Asked, vector: SteeringVector | None) -> list[str]:
        """Generate with a vector added at every position, or without one."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "vector.gguf"
            if vector is not None:
                control_vector(vector.at("every_position"), file, self.model)
            steer(self.llm, None if vector is None else file)
        tokenizer, texts = self.model.tokenizer, []
        for prompt in asked.prompts:
            ids, written = tokenizer(prompt, add_special_tokens=False)["input_ids"], []
            for token in self.llm.generate(ids, top_k=1, temp=0.0, repeat_penalty=1.0):
                if token in asked.stop_ids:
                    break
                written.append(token)
                if len(written) == asked.new_tokens:
                    break
            texts.append(tokenizer.decode(written, skip_special_tokens=True))
        return texts
