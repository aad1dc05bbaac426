"""Playground: interactive controls for steering any sentence, which need a running kernel.

It is compatible with ipywidgets 7 and 8.
"""

import html
from collections.abc import Mapping
from dataclasses import fields, replace

import ipywidgets as widgets
from IPython.display import clear_output

from saif_helpers._internal.arguments import check_some, seed_number, whole_number
from saif_helpers._internal.checked import checked
from saif_helpers._internal.errors import ArgumentError
from saif_helpers.activations import capture_pairs
from saif_helpers.contents import load_contents
from saif_helpers.display.side_by_side import SideBySide, steer
from saif_helpers.instructions import InstructionType, load_instructions
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.placements import PLACEMENTS
from saif_helpers.prompts import make_pairs
from saif_helpers.ranking import rank_captured
from saif_helpers.study.settings import SteeringSetting, VectorSource
from saif_helpers.study.vector_sources import RULES, rule_source

START = SteeringSetting(layer=0, k=15, beta=0.0, placement="decaying", strength=4.0, decay=0.5)
MOST_LATENTS = 60  # on the slider


class Playground(widgets.VBox):
    """Interactive controls for steering any sentence, in a live kernel.

    The latents of an instruction are found when it is first selected, for all layers in one pass,
    and cached; after that, moving a control takes two short generations.

    >>> setting = saif.SteeringSetting(0, 15, 0.0, "decaying", strength=4.0, decay=0.5)
    >>> settings = {"french": setting}
    >>> controls = saif.Playground(organism, {"french": french}, settings=settings)

    Attributes:
        instruction: Dropdown: the instruction to steer towards. Selecting one sets the controls
            below to its setting.
        rule: Dropdown: the rule that builds the vector, see `vector_sources.rule_source`.
        layer: Slider: the layer after which the vector is added.
        k: Slider: number of latents.
        beta: Slider: number of standard deviations added to each latent's mean.
        strength: Slider: factor on the whole vector.
        placement: Dropdown: the positions at which the vector is added, see `generate`.
        decay: Slider: factor from one generated token to the next, for ``"decaying"``.
        sentence: Text: the user's message.
        shown: The displayed answers; None if the controls are not valid.
    """

    @checked
    def __init__(
        self,
        model: ModelWithSAEs,
        instructions: Mapping[str, InstructionType] | None = None,
        *,
        settings: Mapping[str, SteeringSetting] | None = None,
        sentence: str = "The old baker sells red flowers.",
        n_pairs: int = 100,
        max_new_tokens: int = 40,
        seed: int = 0,
    ) -> None:
        """Create the controls and show the first instruction's steering.

        Args:
            model: The model and its SAEs.
            instructions: Name to instruction; the first is selected. By default those shipped.
            settings: Instruction name to its initial setting; by default `START`.
            sentence: Initial value of the text field.
            n_pairs: Number of prompt pairs of shipped sentences for finding latents.
            max_new_tokens: Maximum number of tokens of an answer.
            seed: Seed of the order of wordings.

        Raises:
            ValueError: If a setting's layer has no SAE.
        """
        n_pairs = whole_number("n_pairs", n_pairs)
        max_new_tokens = whole_number("max_new_tokens", max_new_tokens)
        seed = seed_number(seed)
        if instructions is not None:
            check_some(instructions=instructions)
        self._lm, self._settings = model, settings or {}
        self._instructions = (
            load_instructions(model.corpus) if instructions is None else instructions
        )
        self._n_pairs, self._max_new_tokens, self._seed = n_pairs, max_new_tokens, seed
        self._captured, self._held = {}, False
        for name, setting in self._settings.items():
            if setting.layer not in self._lm.saes:
                raise ArgumentError(
                    f"layer {setting.layer} is set for {name!r}; there are SAEs for the "
                    f"layers {self._lm.saes.layers}",
                    "settings",
                )
        self.shown: SideBySide | None = None
        self._make_controls(sentence)
        self._status, self._answers = widgets.HTML(), widgets.HTML()
        self._bars = widgets.Output()  # for progress bars and unexpected errors
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
        """Create the controls, which update only when they are released."""
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
        self._dials = {field.name: getattr(self, field.name) for field in fields(SteeringSetting)}

    @property
    def setting(self) -> SteeringSetting:
        """The setting that the controls show."""
        return SteeringSetting(**{name: dial.value for name, dial in self._dials.items()})

    def _choose(self, _: object = None) -> None:
        """Set the controls to the initial setting of the selected instruction."""
        start = replace(START, layer=self.layer.options[0])
        start = self._settings.get(self.instruction.value, start)
        self._held = True
        for name, dial in self._dials.items():
            value = getattr(start, name)
            if hasattr(dial, "max"):  # otherwise the value would be clipped silently
                dial.min, dial.max = min(dial.min, value), max(dial.max, value)
            dial.value = value
        self._held = False
        self._update()

    def _update(self, _: object = None) -> None:
        """Show the answers for the controls, or the reason why they cannot be shown."""
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
                vector = self.setting.vector(self._lm, self._source())
                tokens = {"max_new_tokens": self._max_new_tokens}
                self.shown = steer(self._lm, self.sentence.value, vector, **tokens)
            except ValueError as error:
                problem = f"Cannot be shown: {error}."
            clear_output()  # clears bars; an unexpected error stays visible
        self._say(problem)
        self._answers.value = self.shown._repr_html_() if self.shown else ""

    def _say(self, text: str) -> None:
        self._status.value = f'<div role="status">{html.escape(text)}</div>'

    def _source(self) -> VectorSource:
        """Return the source of the vector, capturing once per instruction."""
        name, layer = self.instruction.value, self.layer.value
        if name not in self._captured:
            contents = load_contents("identification", self._lm.corpus)[: self._n_pairs]
            instruction, tokenizer = self._instructions[name], self._lm.tokenizer
            pairs = make_pairs(instruction, contents, tokenizer, seed=self._seed)
            halves = capture_pairs(self._lm, pairs, self.layer.options)
            self._captured[name] = (rank_captured(self._lm, *halves), *halves)
        evidence = (streams[layer] for streams in self._captured[name])
        return rule_source(self.rule.value, self._lm, layer, *evidence, self.k.value)
