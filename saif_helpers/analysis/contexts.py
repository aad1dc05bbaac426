"""Max-activating examples: where in a corpus a latent is most active.

As on Neuronpedia's dashboards. The paper's semantic proximity (claim C2, standing: stated) is
judged by such contexts.
"""

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import nlargest

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from saif_helpers._internal.errors import ArgumentError
from saif_helpers.activations import capture_batches
from saif_helpers.latents import encode_parts
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.model.saes import n_latents
from saif_helpers.model.tokens import whole_characters, without_bos


@dataclass(frozen=True)
class Context:
    """A text, token by token, with one latent's activation on each token.

    Attributes:
        text: Index of the text in the corpus.
        tokens: The tokens as text, without the beginning-of-sequence token.
        activations: The latent's activation on each.
    """

    text: int
    tokens: tuple[str, ...]
    activations: tuple[float, ...]

    @property
    def peak(self) -> float:
        """The largest activation."""
        return max(self.activations)

    def around_peak(self, window: int = 12) -> "Context":
        """Return the tokens around the most active one.

        Args:
            window: Number of tokens on each side.
        """
        at = self.activations.index(self.peak)
        part = slice(max(0, at - window), at + window + 1)
        return Context(self.text, self.tokens[part], self.activations[part])

    def to_html(self, scale: float | None = None) -> str:
        """Return the tokens as escaped HTML, shaded by activation.

        Args:
            scale: The activation with the darkest shade; by default the context's peak.
        """
        scale = scale or self.peak or 1.0
        parts = []
        for token, activation in zip(self.tokens, self.activations, strict=True):
            shade = f"background:rgba(230,159,0,{min(activation / scale, 1.0):.2f})"
            word = html.escape(token).replace("\n", "↵")
            parts.append(f'<span title="{activation:.2f}" style="{shade}">{word}</span>')
        return "".join(parts)


def top_contexts(
    model: ModelWithSAEs,
    texts: Sequence[str],
    layer: int,
    latents: Sequence[int],
    n: int = 5,
    *,
    width: int | None = None,
    batch_size: int | None = None,
) -> dict[int, list[Context]]:
    """Find the texts on which latents are most active, in one pass over a corpus.

    Args:
        model: The model and its SAEs.
        texts: Rendered texts (see `render`), such as prompts with their answers.
        layer: The layer.
        latents: The latents.
        n: Number of texts for each latent; each text counts once, at its most active token.
        width: Number of latents of the SAE; by default the layer's default SAE.
        batch_size: Texts in one forward pass, by default as in `capture`.

    Returns:
        Latent to its contexts, the most active first; fewer than `n` if it is active on fewer.

    Raises:
        KeyError: If there is no such SAE.
        ValueError: If the SAE has no such latent, or the model is remote.
    """
    sae = model.saes[layer] if width is None else model.saes[layer, width]
    wrong = [latent for latent in latents if not 0 <= latent < n_latents(sae)]
    if wrong:
        raise ArgumentError(
            f"latent {wrong[0]} given; the SAE has latents 0-{n_latents(sae) - 1}", "latents"
        )
    columns = torch.tensor(list(latents), dtype=torch.long)
    best: dict[int, list[tuple]] = {latent: [] for latent in latents}
    for rows, (tokens, streams) in capture_batches(model, texts, [layer], batch_size):
        parts = encode_parts(sae, streams[layer])
        active = torch.cat([latents[:, columns].cpu() for _, latents in parts])
        keep = without_bos(tokens, model.tokenizer)
        for text, ids, values in _by_text(rows, tokens["input_ids"], keep, active):
            for latent, column in zip(latents, values.T, strict=True):
                if column.any():
                    best[latent].append((column.max().item(), -text, ids, column.tolist()))
        best = {
            latent: nlargest(n, entries, key=lambda entry: entry[:2])
            for latent, entries in best.items()
        }
    return {
        latent: [_context(-text, ids, values, model.tokenizer) for _, text, ids, values in entries]
        for latent, entries in best.items()
    }


def _context(
    text: int, ids: Sequence[int], values: Sequence[float], tokenizer: PreTrainedTokenizerBase
) -> Context:
    """Merge the tokens of one character, keeping the largest of their activations."""
    tokens = whole_characters(ids, tokenizer)
    largest = tuple(max(values[at] for at in places) for _, places in tokens)
    return Context(text, tuple(token for token, _ in tokens), largest)


def _by_text(
    rows: Sequence[int],
    ids: Int[Tensor, "rows tokens"],
    keep: Tensor,
    active: Float[Tensor, "kept latents"],
) -> Iterator[tuple[int, list[int], Float[Tensor, "own latents"]]]:
    """Split a batch's kept tokens and their activations by text."""
    counts = keep.sum(1).tolist()
    for row, own, values in zip(rows, range(len(rows)), active.split(counts), strict=True):
        yield row, ids[own][keep[own]].tolist(), values
