"""Latent cards: a summary of one latent, like a Neuronpedia dashboard.

The paper's semantic proximity (claim C2, standing: stated) is about what latents mean; a card
collects the evidence.
"""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from saif_helpers._internal.arguments import check_some, whole_number
from saif_helpers._internal.checked import checked
from saif_helpers._internal.errors import ArgumentError
from saif_helpers._internal.pairs import check_pair_latents
from saif_helpers.analysis.contexts import Context, top_contexts
from saif_helpers.analysis.vocabulary import logit_lens, promoted_tokens
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.model.saes import n_latents, neuronpedia_id

BAR_HEIGHT = 36
N_BARS = 12
WITH, WITHOUT = "#0072B2", "#E69F00"


@dataclass(frozen=True)
class LatentCard:
    """One latent: facts, the tokens of its decoder direction, a histogram, its top contexts.

    Attributes:
        layer: The layer of its SAE.
        latent: Its index.
        facts: Name to value, shown in this order, such as ``{"sensitivity": "0.93"}``.
        promoted: Tokens that its decoder direction promotes, the strongest first.
        suppressed: Tokens that it suppresses, the strongest first.
        with_instruction: Histogram of the positive samples' activations, from 0 to `top`.
        without_instruction: The same for negative samples.
        top: Upper end of the last bin, in units of activation.
        contexts: Its max-activating examples.
        link: URL of the latent's page on Neuronpedia, if any.
    """

    layer: int
    latent: int
    facts: Mapping[str, str]
    promoted: Sequence[str]
    suppressed: Sequence[str]
    with_instruction: Sequence[int]
    without_instruction: Sequence[int]
    top: float
    contexts: Sequence[Context]
    link: str | None = None

    def _repr_html_(self) -> str:
        """Return the card as HTML, with all text escaped."""
        title = f"Layer {self.layer}, latent {self.latent}"
        if self.link:
            title = f'<a href="{html.escape(self.link)}">{title}</a>'
        facts = "".join(
            f"<span><b>{html.escape(name)}</b> {html.escape(value)}</span> "
            for name, value in self.facts.items()
        )
        scale = max((context.peak for context in self.contexts), default=1.0)
        contexts = "".join(
            f"<li>{context.around_peak().to_html(scale)}</li>" for context in self.contexts
        )
        return (
            f'<div class="latent-card" data-layer="{self.layer}" data-latent="{self.latent}" '
            f'data-top="{self.top:.3g}" style="border:1px solid #8884;border-radius:6px;'
            'padding:.6em .9em;margin:.6em 0;overflow-wrap:anywhere">'
            f"<div><b>{title}</b></div><div>{facts}</div>"
            f"<div><b>promotes</b> {_tokens(self.promoted)}</div>"
            f"<div><b>suppresses</b> {_tokens(self.suppressed)}</div>"
            f"{self._histogram()}<ol>{contexts or '<li>active in no text</li>'}</ol></div>"
        )

    def _histogram(self) -> str:
        """Return both histograms as bars with an accessible label."""
        tallest = max(*self.with_instruction, *self.without_instruction, 1)
        drawn = []
        for name, counts, colour in (
            ("with", self.with_instruction, WITH),
            ("without", self.without_instruction, WITHOUT),
        ):
            bars = "".join(
                f'<span style="display:inline-block;width:9px;margin-right:1px;background:{colour};'
                f'height:{max(1, round(BAR_HEIGHT * count / tallest))}px"></span>'
                for count in counts
            )
            label = f"Activations {name} the instruction, from 0 to {self.top:.1f}: " + ", ".join(
                map(str, counts)
            )
            drawn.append(
                f'<span role="img" aria-label="{label}" '
                f'style="display:inline-block;margin-right:1em">{bars} '
                f"{name}, 0 to {self.top:.1f}</span>"
            )
        return f"<div>{''.join(drawn)}</div>"


def _tokens(tokens: Sequence[str]) -> str:
    """Return tokens as escaped code elements, with visible spaces and line breaks."""
    return " ".join(
        f"<code>{html.escape(token.replace(' ', '·')).replace(chr(10), '↵')}</code>"
        for token in tokens
    )


@checked
def latent_cards(
    model: ModelWithSAEs,
    layer: int,
    facts: Mapping[int, Mapping[str, str]],
    positive: Float[Tensor, "pairs d_sae"],
    negative: Float[Tensor, "pairs d_sae"],
    texts: Sequence[str],
    *,
    width: int | None = None,
    n_tokens: int = 8,
    n_contexts: int = 3,
) -> list[LatentCard]:
    """Create a card for each latent, in one pass over a corpus.

    >>> streams = saif.capture_pairs(organism, pairs, layers=[0])
    >>> positive, negative = (saif.encode(sae, half) for half in streams)
    >>> first, second = ranking.top(2).tolist()
    >>> facts = {first: {"rank": "1"}, second: {"rank": "2"}}
    >>> cards = saif.latent_cards(organism, 0, facts, positive, negative, prompts)

    Args:
        model: The model and its SAEs.
        layer: The layer.
        facts: Latent to the facts that its card shows; the keys select the latents.
        positive: Latents at the read-out position with the instruction.
        negative: The same without it.
        texts: Corpus for the contexts, rendered.
        width: Number of latents of the SAE; by default the layer's default SAE.
        n_tokens: Number of promoted and of suppressed tokens.
        n_contexts: Number of contexts.

    Returns:
        The cards, in the order of `facts`; a notebook shows them as HTML.

    Raises:
        KeyError: If there is no such SAE.
        ValueError: If the SAE has no such latent, or the model is remote.
    """
    sae = model.saes[layer] if width is None else model.saes[layer, width]
    check_some(facts=facts)
    latents = list(facts)
    check_pair_latents(positive, negative, "latent_cards")
    if positive.shape[1] != n_latents(sae):
        raise ArgumentError(
            f"activations of {positive.shape[1]} latents given; the SAE has {n_latents(sae)}",
            "positive",
        )
    n_tokens = whole_number("n_tokens", n_tokens, most=len(model.tokenizer))
    n_contexts = whole_number("n_contexts", n_contexts, least=0)
    contexts = top_contexts(model, texts, layer, latents, n_contexts, width=width)
    logits = logit_lens(model, sae.W_dec.detach()[latents])
    promoted = promoted_tokens(logits, model.tokenizer, n_tokens)
    suppressed = promoted_tokens(logits, model.tokenizer, n_tokens, suppressed=True)
    page = neuronpedia_id(sae)
    cards = []
    for row, latent in enumerate(latents):
        halves = [half[:, latent].float().cpu() for half in (positive, negative)]
        top = max(half.max().item() for half in halves) or 1.0
        counts = [half.histc(N_BARS, 0, top).int().tolist() for half in halves]
        cards.append(
            LatentCard(
                layer,
                latent,
                facts[latent],
                promoted[row],
                suppressed[row],
                *counts,
                top,
                contexts[latent],
                f"https://www.neuronpedia.org/{page}/{latent}" if page else None,
            )
        )
    return cards
