"""Sphinx extension of the book: directives and roles for the first screen of a page.

    :::{answer} name-of-a-figure
    **Verdict.** What the chapter found. The figure is moved here from its place in the chapter.
    :::

    ```{stations} ranking vector
    ```

`answer` frames a chapter's answer, with one of the chapter's figures to its right, and colours bold
verdicts. `stations` draws the steps of SAIF from prompts to steering: small, with the named steps
highlighted, or large and with explanations if no step is named. The role ``{measured-time}``
inserts the run time of the chapter in this build; ``{run-it}`` links to the chapter's notebook and
to the instructions for Colab.
"""

from html import escape
from pathlib import Path

from docutils import nodes
from docutils.transforms import Transform
from myst_nb.core.execute import ExecutionResult
from myst_nb.sphinx_ import SphinxEnvType
from sphinx.addnodes import pending_xref
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

LOGGER = logging.getLogger(__name__)
DRAWINGS = Path(__file__).resolve().parents[1] / "book" / "_assets" / "stations"
STATIONS = {
    "prompts": ("Prompt pairs", "The same sentence with and without “Translate into French”."),
    "stream": ("Residual stream", "What the model holds at the last token of each prompt."),
    "latents": ("SAE latents", "Some switch on or rise with the instruction, others fall."),
    "ranking": ("Ranking", "Keep the k latents that switch on most reliably."),
    "vector": ("Steering vector", "Sum their directions, each times its usual activation."),
    "steering": ("Steering", "Add it while the model answers a plain sentence: French comes out."),
}
WHOLE = (
    "How SAIF works, in six steps. Two prompts, one with an instruction, lead to two states of the "
    "residual stream; a sparse autoencoder splits both into latents; the latents that switch on "
    "most reliably are kept and summed to one vector; added while the model answers a plain "
    "sentence, the vector makes it follow the instruction."
)
VERDICTS = ("supported", "not supported", "undecided")


class Answer(nodes.General, nodes.Element):
    """The answer of a page: text, and one figure once `MoveFigure` has run."""


class AnswerDirective(SphinxDirective):
    """Directive ``answer``: its optional argument names a figure of the page."""

    optional_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Parse the text and store the name of the figure."""
        box = Answer(figure=self.arguments[0] if self.arguments else "")
        self.state.nested_parse(self.content, self.content_offset, box)
        self.set_source_info(box)
        return [box]


class MoveFigure(Transform):
    """Move the figure of an answer from its place in the chapter into the answer."""

    default_priority = 300  # before references are resolved, so that figure numbers are in order

    def apply(self) -> None:
        """Move the figures of a page."""
        for box in self.document.findall(Answer):
            name = box["figure"]
            if not name:
                continue
            figures = [f for f in self.document.findall(nodes.figure) if name in f["names"]]
            if not figures:
                LOGGER.warning("no figure %r for the answer", name, location=box)
                continue
            (figure,) = figures
            figure.parent.remove(figure)
            box += figure


class ColourVerdicts(SphinxPostTransform):
    """Set the CSS class of each bold verdict in an answer."""

    default_priority = 900  # after MyST-NB has inserted the chapters' results

    def run(self, **kwargs: object) -> None:
        """Set the classes on a page."""
        for box in self.document.findall(Answer):
            for strong in box.findall(nodes.strong):
                if strong.astext() in VERDICTS:
                    strong["classes"] += ["verdict", strong.astext().replace(" ", "-")]
                    if strong.parent.index(strong) == 0:  # at the start of the sentence
                        (word,) = strong.findall(nodes.Text)
                        word.parent.replace(word, nodes.Text(word.capitalize()))


def visit_answer(self, node: Answer) -> None:
    """Open the box; a figure is placed in a separate column."""
    kind = "answer with-figure" if any(isinstance(c, nodes.figure) for c in node) else "answer"
    self.body.append(f'<div class="{kind}" role="note" aria-label="The answer">')


def depart_answer(self, node: Answer) -> None:
    """Close the box."""
    self.body.append("</div>\n")


class StationsDirective(SphinxDirective):
    """Directive ``stations``: its argument lists the page's stations; without it, all of them."""

    optional_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Embed the drawings in the page, so that they inherit its colours."""
        lit = self.arguments[0].split() if self.arguments else []
        unknown = set(lit) - STATIONS.keys()
        if unknown:
            raise self.error(f"stations {sorted(unknown)} named; there are {list(STATIONS)}")
        items = []
        for name, (title, text) in STATIONS.items():
            drawing = (DRAWINGS / f"{name}.svg").read_text(encoding="utf-8")
            here = ' class="lit" aria-current="step"' if name in lit else ""
            explained = "" if lit else f"<span>{text}</span>"
            items.append(f"<li{here}>{drawing}<b>{title}</b>{explained}</li>")
        label = f"The steps of SAIF; this chapter: {', '.join(lit)}" if lit else WHOLE
        kind = "stations small" if lit else "stations"
        html = f'<ol class="{kind}" aria-label="{label}">{"".join(items)}</ol>'
        return [nodes.raw("", html, format="html")]


class MeasuredTime(nodes.Inline, nodes.Element):
    """Placeholder for the run time of a chapter."""


class MeasuredTimeRole(SphinxRole):
    """Role ``measured-time``: the run time of this page."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Return a placeholder."""
        return [MeasuredTime(page=self.env.docname)], []


class RunItRole(SphinxRole):
    """Role ``run-it``: links to download this page's notebook and to run it on Colab."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Return both links."""
        up = "../" * self.env.docname.count("/")
        address = f"{up}_sources/{self.env.docname}.ipynb"
        notebook = f'<a href="{address}" download>download this chapter</a>'
        how = pending_xref(
            "",
            nodes.inline("", "run it on Colab"),
            refdomain="std",
            reftype="ref",
            reftarget="on-colab",
            refexplicit=True,
            refdoc=self.env.docname,
            refwarn=True,
        )
        return [nodes.raw("", notebook, format="html"), nodes.Text(" and "), how], []


class WriteTimes(SphinxPostTransform):
    """Replace each placeholder with the run time that MyST-NB recorded."""

    default_priority = 10

    def run(self, **kwargs: object) -> None:
        """Replace the placeholders of a page."""
        env: SphinxEnvType = self.env
        for node in list(self.document.findall(MeasuredTime)):
            known = getattr(env, "nb_metadata", {}).get(node["page"], {})
            found: ExecutionResult | None = known.get("exec_data")
            seconds = (found or {}).get("runtime")
            text = "not measured" if seconds is None else f"{seconds:.0f} s"
            node.replace_self(nodes.Text(text))


def describe_page(app, page: str, template: str, context: dict, doctree: nodes.document) -> None:
    """Set the description of a page for link previews: the question below its title, if any."""
    if doctree is None or 'name="description"' in context.get("metatags", ""):
        return
    first = next(iter(doctree.findall(nodes.paragraph)), None)
    if first is not None and len(first) == 1 and isinstance(first[0], nodes.emphasis):
        question = escape(" ".join(first.astext().split()))
        context["metatags"] = (
            context.get("metatags", "") + f'<meta name="description" content="{question}">'
        )


def setup(app) -> dict[str, bool]:
    """Connect the extension to Sphinx.

    Args:
        app: The Sphinx application.

    Returns:
        The extension's metadata: it is safe for parallel reading and writing.
    """
    app.add_node(Answer, html=(visit_answer, depart_answer))
    app.add_node(MeasuredTime)
    app.add_directive("answer", AnswerDirective)
    app.add_directive("stations", StationsDirective)
    app.add_role("measured-time", MeasuredTimeRole())
    app.add_role("run-it", RunItRole())
    app.add_transform(MoveFigure)
    app.add_post_transform(ColourVerdicts)
    app.add_post_transform(WriteTimes)
    app.connect("html-page-context", describe_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
