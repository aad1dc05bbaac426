"""Playground: a sentence of one's own, answered without steering and with it, side by side.

`Playground` needs a running kernel; `side_by_side`, which it shows, does not. Only what ipywidgets
7 and 8 have in common is used here.
"""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import ipywidgets as widgets
from IPython.display import clear_output

from saif_helpers.activations import capture_pairs
from saif_helpers.instructions import InstructionType, load_instructions
from saif_helpers.models import ModelWithSAEs
from saif_helpers.prompts import load_contents, make_pairs, render
from saif_helpers.ranking import LatentRanking, rank_captured
from saif_helpers.rules import RULES, rule_source
from saif_helpers.settings import Setting, Source
from saif_helpers.steering import PLACEMENTS, generate, log_probabilities
from saif_helpers.tokens import whole_characters

START = Setting(layer=0, k=15, beta=0.0, placement="decaying", strength=4.0, decay=0.5)
MORE, LESS = "230,159,0", "0,114,178"  # orange and blue, told apart by the colour-blind too
FULL, DARKEST = 5.0, 0.5  # nats of the deepest shade; text is legible on it, black or white
MOST_LATENTS = 60  # on the slider
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
    setting: Setting,
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
            another rule, see `Setting.vector`.
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


class Playground(widgets.VBox):
    """Controls for a live kernel: steer a sentence of one's own, and see what each of them does.

    The latents of an instruction are found when it is first chosen, for all layers in one pass, and
    kept; after that, moving a control costs two short generations.

    >>> Playground(organism, settings={"french": setting})

    Attributes:
        instruction: Dropdown: what to steer towards. Choosing one sets the controls below to the
            setting that was given for it.
        rule: Dropdown: how the vector is made, see `rules.rule_source`.
        layer: Slider: the layer after which the vector is added.
        k: Slider: how many latents.
        beta: Slider: standard deviations added to each latent's mean.
        strength: Slider: factor on the whole vector.
        placement: Dropdown: which positions get the vector, see `steering.generate`.
        decay: Slider: factor from one generated token to the next, where the vector fades.
        sentence: Text: what the model is given.
        shown: The answers on view; None where the controls ask for what cannot be shown.
    """

    def __init__(
        self,
        model: ModelWithSAEs,
        instructions: Mapping[str, InstructionType] | None = None,
        *,
        settings: Mapping[str, Setting] | None = None,
        sentence: str = "The old baker sells red flowers.",
        n_pairs: int = 100,
        max_new_tokens: int = 40,
        seed: int = 0,
    ) -> None:
        """Make the controls and show the first instruction's steering.

        Args:
            model: The model and its SAEs.
            instructions: Name to instruction, the first one chosen; by default those shipped.
            settings: Instruction name to where the controls stand when it is chosen; an
                instruction without one starts at `START`.
            sentence: What stands in the text field at first.
            n_pairs: Prompt pairs, of shipped sentences, that latents are found on.
            max_new_tokens: Most tokens of an answer.
            seed: Seed of the wordings' order.

        Raises:
            ValueError: If a layer is to be steered that has no SAE.
        """
        self._lm, self._settings = model, settings or {}
        self._instructions = (
            load_instructions(model.corpus) if instructions is None else instructions
        )
        self._n_pairs, self._max_new_tokens, self._seed = n_pairs, max_new_tokens, seed
        self._captured, self._held = {}, False
        for name, setting in self._settings.items():
            if setting.layer not in self._lm.saes:
                raise ValueError(
                    f"layer {setting.layer} is to be steered for {name!r}; there are SAEs for the "
                    f"layers {self._lm.saes.layers}"
                )
        self.shown: SideBySide | None = None
        self._make_controls(sentence)
        self._status, self._answers = widgets.HTML(), widgets.HTML()
        self._bars = widgets.Output()  # where progress bars and unforeseen errors go
        columns = [
            widgets.VBox([self.instruction, self.rule, self.placement, self.decay]),
            widgets.VBox([self.layer, self.k, self.beta, self.strength]),
        ]
        controls = widgets.HBox(columns, layout={"flex_flow": "row wrap"})
        super().__init__([controls, self.sentence, self._status, self._answers, self._bars])
        self._choose()
        self.instruction.observe(self._choose, "value")
        for control in (self.rule, self.sentence, *self._dials.values()):
            control.observe(self._update, "value")

    def _make_controls(self, sentence: str) -> None:
        """Make the controls, each with its name and none updating while it is still moved."""
        layers, widths = zip(*self._lm.saes, strict=True)
        how = {"continuous_update": False, "style": {"description_width": "6.5em"}}
        drop = {"style": how["style"]}
        names = [(each.title, name) for name, each in self._instructions.items()]
        places = [(each.replace("_", " "), each) for each in PLACEMENTS]
        most = min(MOST_LATENTS, *widths)
        self.instruction = widgets.Dropdown(options=names, description="Instruction", **drop)
        self.rule = widgets.Dropdown(options=RULES, description="Rule", **drop)
        self.placement = widgets.Dropdown(options=places, description="Placement", **drop)
        self.decay = widgets.FloatSlider(max=1.0, step=0.1, description="Decay", **how)
        options = {"options": sorted(set(layers)), "description": "Layer"}
        self.layer = widgets.SelectionSlider(**options, **how)
        self.k = widgets.IntSlider(min=1, max=most, description="Latents, k", **how)
        self.beta = widgets.FloatSlider(max=4.0, step=0.5, description="Beta", **how)
        self.strength = widgets.FloatSlider(max=20.0, step=0.5, description="Strength", **how)
        wide = widgets.Layout(width="auto")
        self.sentence = widgets.Text(sentence, description="Sentence", layout=wide, **how)
        self._dials = {field.name: getattr(self, field.name) for field in fields(Setting)}

    @property
    def setting(self) -> Setting:
        """Where the controls stand."""
        return Setting(**{name: dial.value for name, dial in self._dials.items()})

    def _choose(self, _: object = None) -> None:
        """Set the controls to where the chosen instruction starts."""
        start = replace(START, layer=self.layer.options[0])
        start = self._settings.get(self.instruction.value, start)
        self._held = True
        for name, dial in self._dials.items():
            value = getattr(start, name)
            if hasattr(dial, "max"):  # or it would be moved into the range without a word
                dial.min, dial.max = min(dial.min, value), max(dial.max, value)
            dial.value = value
        self._held = False
        self._update()

    def _update(self, _: object = None) -> None:
        """Show what the controls ask for, or say in words why it cannot be shown."""
        if self._held:
            return
        self.decay.disabled = self.placement.value != "decaying"
        self.beta.disabled = self.rule.value != "paper"
        self.k.disabled = self.rule.value == "difference in means"
        new = self.instruction.value not in self._captured
        self._say("Looking for the instruction's latents, once ..." if new else "Generating ...")
        self.shown, problem = None, ""
        with self._bars:
            try:
                self.shown = side_by_side(
                    self._lm,
                    self.sentence.value,
                    self.setting,
                    self._source(),
                    max_new_tokens=self._max_new_tokens,
                )
            except ValueError as error:
                problem = f"Cannot be shown: {error}."
            clear_output()  # of bars; an unforeseen error ends the block before and stays
        self._say(problem)
        self._answers.value = self.shown._repr_html_() if self.shown else ""

    def _say(self, text: str) -> None:
        self._status.value = f'<div role="status">{html.escape(text)}</div>'

    def _source(self) -> Source:
        """Return what the vector is made from, capturing for an instruction once."""
        name, layer = self.instruction.value, self.layer.value
        if name not in self._captured:
            contents = load_contents("identification", self._lm.corpus)[: self._n_pairs]
            instruction, tokenizer = self._instructions[name], self._lm.tokenizer
            pairs = make_pairs(instruction, contents, tokenizer, seed=self._seed)
            halves = capture_pairs(self._lm, pairs, self.layer.options)
            self._captured[name] = (rank_captured(self._lm, *halves), *halves)
        evidence = (streams[layer] for streams in self._captured[name])
        return rule_source(self.rule.value, self._lm, layer, *evidence, self.k.value)
