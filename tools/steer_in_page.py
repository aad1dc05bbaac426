"""Sphinx extension of the book: steer the small model in the page.

    ```{steer-in-page}
    ```

The directive shows answers that `live_model` has computed, and a button that loads the model
(``book/_assets/live``). Without JavaScript, a page shows only the answers.
"""

import json
from html import escape
from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

DATA = Path(__file__).resolve().parents[1] / "book" / "_assets" / "live" / "data"
GRADES = {"strict": "right", "loose": "wrong", "no": "not French"}


class SteerInPage(SphinxDirective):
    """Directive ``steer-in-page``, without arguments."""

    def run(self) -> list[nodes.Node]:
        """Return the examples, the button and the container of the answers."""
        if not (DATA / "examples.json").is_file():
            raise self.error("the model for the page is missing: run make live")
        examples = json.loads((DATA / "examples.json").read_text(encoding="utf-8"))
        size = json.loads((DATA / "manifest.json").read_text(encoding="utf-8"))["bytes"]
        rows = "".join(
            f"<tr><td>{escape(one['sentence'])}</td><td lang=fr>{escape(one['steered'])}</td>"
            f"<td>{GRADES[one['grade']]}</td></tr>"
            for one in examples
        )
        static = "../" * self.env.docname.count("/") + "_static/live/page.js"
        html = (
            '<div class="live" id="live"><div class="live-example">'
            "<p>The small model, with SAIF's vector for French added and nothing asked:</p>"
            '<table><thead class="visually-hidden"><tr><th>it reads</th><th>it writes</th>'
            "<th>that is</th></tr></thead>"
            f"<tbody>{rows}</tbody></table></div>"
            f'<p><button type="button" hidden>Steer it yourself (loads {size / 1e6:.0f} MB)'
            "</button></p>"
            '<div class="live-results" aria-live="polite"></div>'
            f'<script src="{static}"></script></div>'
        )
        return [nodes.raw("", html, format="html")]


def setup(app) -> dict[str, bool]:
    """Connect the extension to Sphinx.

    Args:
        app: The Sphinx application.

    Returns:
        What Sphinx wants to know about parallel reading and writing.
    """
    app.add_directive("steer-in-page", SteerInPage)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
