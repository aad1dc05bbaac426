"""The library steering-vectors, which hooks a transformers model."""

import importlib.util
from collections.abc import Sequence

import torch

from benchmarks.peers import Unavailable
from benchmarks.peers.plain import generate
from benchmarks.peers.work import Asked, Found, Work, rank
from saif_helpers.vectors import SteeringVector


class SteeringVectors:
    """Extracts activations in batches of pairs, and adds a vector with hooks."""

    name = "steering-vectors"
    note = "its metadata asks for transformers before 5, and it works with 5"

    def __init__(self, work: Work) -> None:
        """Store the task; raise `Unavailable` if the library is not installed."""
        if importlib.util.find_spec("steering_vectors") is None:
            raise Unavailable("not installed; see benchmarks/peers/__init__.py")
        self.work = work

    def identify(self, layers: Sequence[int]) -> Found:
        """Find latents; the library runs complete passes, including the logits."""
        from steering_vectors.train_steering_vector import extract_activations

        work = self.work
        pairs = list(zip(work.positive, work.negative, strict=True))
        options = {"layers": list(layers), "read_token_index": -1, "batch_size": work.batch_size}
        positive, negative = extract_activations(work.lm, work.tokenizer, pairs, **options)
        rows = {layer: torch.cat([*positive[layer], *negative[layer]]) for layer in layers}
        return rank(work.saes, rows)

    @torch.no_grad()
    def generate(self, asked: Asked, steering: SteeringVector) -> list[str]:
        """Generate with a vector added at the last position of every forward pass."""
        import steering_vectors

        given = steering_vectors.SteeringVector({steering.layer: steering.vector})
        where = {"min_token_index": None, "token_indices": [-1]}
        with given.apply(self.work.lm, **where):
            return generate(self.work.lm, self.work.tokenizer, asked)
