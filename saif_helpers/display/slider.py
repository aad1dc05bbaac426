"""Sliders over precomputed tables, which work on the rendered page without a kernel.

Plain HTML with one range input and a few lines of inline script; no library is loaded.
"""

import hashlib
import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import pandas as pd

from saif_helpers._internal.checked import checked
from saif_helpers._internal.errors import ArgumentError

SHOW = (
    "const box = this.closest('.frames');"
    "box.querySelectorAll('[data-label]').forEach((frame, i) => {"
    "frame.hidden = i != this.value;"
    "if (!frame.hidden) { box.querySelector('output').value = frame.dataset.label;"
    "this.setAttribute('aria-valuetext', frame.dataset.label); }"
    "});"
)


@runtime_checkable
class HasHTML(Protocol):
    """An object that a notebook shows as HTML, for example a table; it escapes its own text."""

    def _repr_html_(self) -> str: ...


@checked
@dataclass(frozen=True, eq=False)
class Frames:
    """Tables, or other objects with HTML, under a slider that shows one at a time.

    >>> text = "The cat sleeps."
    >>> vectors = {"1": vector.scaled(1.0), "2": vector.scaled(2.0)}
    >>> steered = {name: saif.steer(organism, text, vectors[name]) for name in vectors}
    >>> slider = saif.Frames("strength", steered, start="1")  # shown in a notebook

    Attributes:
        name: What the slider changes, with its unit.
        tables: Label of each slider position to what it shows: a table, or an object with
            ``_repr_html_``, such as `side_by_side.SideBySide`.
        start: Label of the initial position.
    """

    name: str
    tables: Mapping[str, HasHTML]
    start: str

    def __post_init__(self) -> None:
        """Raise if there is no such label."""
        if self.start not in self.tables:
            raise ArgumentError(
                f"start {self.start!r} given; the tables are {', '.join(self.tables) or 'none'}",
                "start",
            )

    def _repr_html_(self) -> str:
        """Return the slider and all tables as HTML, with all text escaped."""
        labels = list(self.tables)
        frames = "".join(
            f'<div data-label="{html.escape(label)}"{"" if label == self.start else " hidden"}>'
            f"{_html(table)}</div>"
            for label, table in self.tables.items()
        )
        key = "frames-" + hashlib.sha256((self.name + frames).encode()).hexdigest()[:12]
        name, start = html.escape(self.name), html.escape(self.start)
        return (
            f'<div class="frames"><p><label for="{key}">{name}: </label>'
            f'<input type="range" id="{key}" min="0" max="{len(labels) - 1}" step="1" '
            f'value="{labels.index(self.start)}" autocomplete="off" aria-valuetext="{start}" '
            f'oninput="{html.escape(SHOW)}"> <output for="{key}">{start}</output></p>'
            f"{frames}</div>"
        )


def _html(shown: HasHTML) -> str:
    return shown.to_html(escape=True) if isinstance(shown, pd.DataFrame) else shown._repr_html_()
