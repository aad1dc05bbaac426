"""Answers to one sentence with and without steering, tokens coloured by what steering changed."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from saif_helpers._internal.arguments import check_some
from saif_helpers._internal.checked import checked
from saif_helpers._internal.errors import ArgumentError
from saif_helpers._internal.types import Style
from saif_helpers._internal.warn import warn
from saif_helpers.analysis.usual_activations import usual_activations
from saif_helpers.generation.decoding import Sampling
from saif_helpers.generation.interventions import Intervention
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.model.tokens import whole_characters
from saif_helpers.placements import Positions
from saif_helpers.prompts import render
from saif_helpers.steering import generate, log_probabilities
from saif_helpers.vectors import SteeringVector

MORE, LESS = "230,159,0", "0,114,178"  # orange and blue, safe for colour-blind readers
FULL, DARKEST = 5.0, 0.5  # nats of the deepest shade; black or white text stays legible
UNUSUAL = 3.0  # multiple of the largest activation above which a strength causes a warning
SEEN = 0.1  # nats; smaller changes show their number only in the tooltip


@dataclass(frozen=True)
class SideBySide:
    """A model's answers to one sentence, with and without steering.

    A token's change is its log-probability with the vector minus that without, given the same
    prompt and the same preceding tokens. At +2 nats the vector made the token e^2, about seven,
    times as likely; at 0 it has no effect.

    Attributes:
        sentence: What the model was given.
        steering: Description of the steering.
        unsteered: The answer without steering.
        tokens: The steered answer, split into tokens. Tokens that are only part of a character are
            merged.
        changes: The change of each token, in nats, summed over merged tokens.
    """

    sentence: str
    steering: str
    unsteered: str
    tokens: tuple[str, ...]
    changes: tuple[float, ...]

    @property
    def steered(self) -> str:
        """The answer with steering."""
        return "".join(self.tokens)

    def __str__(self) -> str:
        """Return both answers as text, one below the other."""
        return f"unsteered: {self.unsteered}\nsteered:   {self.steered}\n           {self.steering}"

    def _repr_html_(self) -> str:
        """Return both answers as HTML with tokens coloured by their change and all text escaped."""
        coloured = "".join(map(_coloured, self.tokens, self.changes))
        answers = {
            "unsteered": ("Unsteered", html.escape(self.unsteered)),
            "steered": (f"Steered: {html.escape(self.steering)}", coloured),
        }
        columns = "".join(
            f'<div style="flex:1 1 16em"><b>{title}</b>'
            f'<p class="{name}" style="margin:.6em 0;line-height:2;white-space:pre-wrap;'
            f'overflow-wrap:anywhere">'
            f"{text or '<i>(nothing)</i>'}</p></div>"
            for name, (title, text) in answers.items()
        )
        return (
            f'<div class="side-by-side"><p><b>Sentence:</b> {html.escape(self.sentence)}</p>'
            f'<div style="display:flex;flex-wrap:wrap;gap:0 2em">{columns}</div>'
            f'<p style="font-size:smaller">Above a token: change of its log-probability by the '
            f"vector, in nats, where it is {SEEN} or more. {_shade('more likely', FULL)} "
            f"{_shade('less likely', -FULL)}</p></div>"
        )


def _shade(escaped: str, change: float, title: str = "") -> str:
    """Shade a text in proportion to the change, up to `FULL`."""
    colour, depth = MORE if change > 0 else LESS, DARKEST * min(abs(change) / FULL, 1.0)
    return f'<span{title} style="background:rgba({colour},{depth:.2f})">{escaped}</span>'


def _coloured(token: str, change: float) -> str:
    """Return a token with its change as a colour, a tooltip and, unless small, a number."""
    word = token.lstrip(" ")
    shown = html.escape(word).replace("\n", "↵\n")
    shown = _shade(shown, change, f' title="{change:+.2f} nats"')
    if abs(change) >= SEEN:
        shown = f'<ruby>{shown}<rt style="font-size:.7em;padding:0 .2em">{change:+.1f}</rt></ruby>'
    return " " * (len(token) - len(word)) + shown


@checked
def steer(
    model: ModelWithSAEs,
    text: str,
    steering: Intervention | Sequence[Intervention] | Mapping[int, Mapping[int, float]],
    *,
    placement: Positions | None = None,
    style: Style | None = None,
    system: str | None = None,
    history: Sequence[tuple[str, str]] = (),
    max_new_tokens: int = 40,
    sampling: Sampling | None = None,
    stop: str | Sequence[str] = (),
) -> SideBySide:
    """Answer any text with and without steering, side by side.

    >>> print(saif.steer(organism, "The old baker sells red flowers.", vector))
    unsteered: The baker always needs the old hammer.
    steered:   Le vieux boulanger vend des fleurs rouges.
               signed latents, k = 15 (layer 0, decaying by 0.5, strength 2)
    >>> strengths = {0: {654: 4.0}}  # layer, latent, strength
    >>> by_ids = saif.steer(organism, "The cat sleeps.", strengths)

    Args:
        model: The model and its SAEs.
        text: The user's message; it need not contain an instruction.
        steering: A vector, clamped latents, or several of these; or layer to latent to strength,
            in units of the latent's activation.
        placement: Where to add, see `generate`. By default each vector's own placement, and
            ``"every_position"`` for latents given by id.
        style: ``"chat"`` or ``"plain"``, see `render`.
        system: A system prompt, if the chat template supports one.
        history: Earlier turns: pairs of a user message and its answer.
        max_new_tokens: Maximum number of tokens in an answer.
        sampling: Sampling parameters; None for greedy decoding.
        stop: Stop strings.

    Returns:
        Both answers and the change of each token; a notebook shows them as HTML.

    Raises:
        KeyError: If a layer has no SAE.
        ValueError: If the text is empty, contains a special token, or leaves no room for the answer
            in the model's context; or as `generate`.
    """
    if not text.strip():
        raise ArgumentError("the text is empty; write one for the model to answer", "text")
    if not isinstance(steering, Intervention):
        check_some(steering=steering)
    given = _interventions(model, steering)
    if placement is not None:
        given = [one.at(placement) for one in given]
    prompt = render(text, model.tokenizer, style, system=system, history=history)
    options = {"max_new_tokens": max_new_tokens, "sampling": sampling, "stop": stop}
    (steered,) = generate(model, [prompt], [given], **options)  # first, since it may raise
    (unsteered,) = generate(model, [prompt], **options)
    changes = log_probabilities(model, prompt, steered, [given])
    changes = changes - log_probabilities(model, prompt, steered)
    tokens, changes = _pieces(model, steered, changes.tolist())
    return SideBySide(text, "; ".join(map(str, given)), unsteered, tokens, changes)


def _interventions(
    model: ModelWithSAEs,
    steering: Intervention | Sequence[Intervention] | Mapping[int, Mapping[int, float]],
) -> list[Intervention]:
    """Return the interventions; latents given by id become one vector per layer."""
    if isinstance(steering, Mapping):
        for layer, latents in steering.items():
            _warn_of_unusual(model, layer, latents)
        return [
            SteeringVector.from_latents(model.saes[layer], latents, layer=layer)
            for layer, latents in steering.items()
        ]
    return [steering] if isinstance(steering, Intervention) else list(steering)


def _warn_of_unusual(model: ModelWithSAEs, layer: int, latents: Mapping[int, float]) -> None:
    """Warn if a strength is far beyond a latent's activations on ordinary text."""
    if model.remote:
        return
    usual = usual_activations(model, layer, list(latents))
    for latent, strength in latents.items():
        largest = usual.loc[latent, "largest"]
        if abs(strength) > UNUSUAL * largest:
            said = (
                f"its activations on the book's sentences reach {largest:.3g}, "
                f"{usual.loc[latent, 'mean where active']:.3g} on average"
                if largest > 0
                else "it is active on none of the book's sentences"
            )
            warn(
                f"strength {strength:g} for latent {latent} of layer {layer} is far beyond "
                f"typical values: {said}",
            )


def _pieces(
    model: ModelWithSAEs, text: str, changes: Sequence[float]
) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Split a text into tokens, merging those of one character and summing their changes."""
    ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    tokens = whole_characters(ids, model.tokenizer)
    sums = tuple(sum(changes[at] for at in places) for _, places in tokens)
    return tuple(piece for piece, _ in tokens), sums
