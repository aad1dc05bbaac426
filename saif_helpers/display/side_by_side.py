"""A sentence answered without steering and with it, tokens coloured by what steering changed."""

import html
from collections.abc import Sequence
from dataclasses import dataclass

from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.model.tokens import whole_characters
from saif_helpers.prompts import render
from saif_helpers.ranking import LatentRanking
from saif_helpers.steering import generate, log_probabilities
from saif_helpers.study.settings import Source, SteeringSetting

MORE, LESS = "230,159,0", "0,114,178"  # orange and blue, told apart by the colour-blind too
FULL, DARKEST = 5.0, 0.5  # nats of the deepest shade; text is legible on it, black or white
SEEN = 0.1  # nats; a smaller change has its number in the tooltip alone


@dataclass(frozen=True)
class SideBySide:
    """A model's answers to one sentence, without steering and with it.

    A token's change is what the vector does to this one token: the logarithm of its probability
    with the vector minus that without, after the same prompt and the same tokens before it. At +2
    nats the vector made the token e^2, about seven, times as likely; at 0 it is as likely without.

    Attributes:
        sentence: What the model was given.
        steering: How it was steered, in words.
        unsteered: The answer without steering.
        tokens: The steered answer, in pieces of one token each. Tokens that are only part of a
            character stand together.
        changes: The change of each piece, in nats: the sum over its tokens.
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

    def _repr_html_(self) -> str:
        """Write both answers as HTML, tokens coloured by their change; every text is escaped."""
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
    """Colour a text: the deeper the larger the change, up to `FULL`."""
    colour, depth = MORE if change > 0 else LESS, DARKEST * min(abs(change) / FULL, 1.0)
    return f'<span{title} style="background:rgba({colour},{depth:.2f})">{escaped}</span>'


def _coloured(token: str, change: float) -> str:
    """Write a token with its change as colour, tooltip and, where it is not small, number."""
    word = token.lstrip(" ")
    shown = html.escape(word).replace("\n", "↵\n")
    shown = _shade(shown, change, f' title="{change:+.2f} nats"')
    if abs(change) >= SEEN:
        shown = f'<ruby>{shown}<rt style="font-size:.7em;padding:0 .2em">{change:+.1f}</rt></ruby>'
    return " " * (len(token) - len(word)) + shown


def side_by_side(
    model: ModelWithSAEs,
    sentence: str,
    setting: SteeringSetting,
    source: Source,
    *,
    max_new_tokens: int = 40,
) -> SideBySide:
    """Answer a sentence without steering and with it, and measure what steering did to each token.

    >>> side_by_side(organism, "The cat sleeps.", setting, rankings[setting.layer])

    Args:
        model: The model and its SAEs.
        sentence: What the user says; no instruction needs to stand in it.
        setting: How to steer.
        source: What the vector is made from: a ranking of the setting's layer, or a vector by
            another rule, see `SteeringSetting.vector`.
        max_new_tokens: Most tokens of an answer.

    Returns:
        Both answers; a notebook shows them as HTML.

    Raises:
        ValueError: If the sentence is empty, holds a special token, or leaves no room for the
            answer in the model's context.
    """
    if not sentence.strip():
        raise ValueError("the sentence is empty; write one for the model to answer")
    prompt = render(sentence, model.tokenizer)
    vector = setting.vector(model, source)
    where = {"placement": setting.placement, "decay": setting.decay}
    (unsteered,) = generate(model, [prompt], max_new_tokens=max_new_tokens)
    (steered,) = generate(model, [prompt], vector, max_new_tokens=max_new_tokens, **where)
    changes = log_probabilities(model, prompt, steered, vector, **where)
    changes = changes - log_probabilities(model, prompt, steered)
    tokens, changes = _pieces(model, steered, changes.tolist())
    by_paper = isinstance(source, LatentRanking)
    made = "" if by_paper else f"{source.description}, layer {setting.layer}, {setting.where}"
    return SideBySide(sentence, made or str(setting), unsteered, tokens, changes)


def _pieces(
    model: ModelWithSAEs, text: str, changes: Sequence[float]
) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Cut a text where its tokens end, tokens of one character together, and sum their changes."""
    ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    tokens = whole_characters(ids, model.tokenizer)
    sums = tuple(sum(changes[at] for at in places) for _, places in tokens)
    return tuple(piece for piece, _ in tokens), sums
