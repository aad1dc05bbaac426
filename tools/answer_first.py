"""Sphinx extension of the book: what the first screen of a page is made of.

    :::{answer} name-of-a-figure
    **Verdict.** What the chapter found. The figure is taken from its place in the chapter.
    :::

    ```{stations} ranking vector
    ```

`answer` frames a chapter's answer, with one of the chapter's own figures on its right; in it, a
bold verdict gets its colour. `stations` draws SAIF from prompts to steering: small, with the named
stations lit, or large and explained where none is named. The role ``{measured-time}`` writes how
long the chapter ran in this build, ``{run-it}`` links the chapter's notebook and how to run it.
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
    """The answer of a page: text and, in the end, one figure."""


class AnswerDirective(SphinxDirective):
    """``answer``: the name of a figure of this page, if there is one; then the text."""

    optional_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Parse the text and remember which figure belongs to it."""
        box = Answer(figure=self.arguments[0] if self.arguments else "")
        self.state.nested_parse(self.content, self.content_offset, box)
        self.set_source_info(box)
        return [box]


class MoveFigure(Transform):
    """Take the figure of an answer from where it was drawn."""

    default_priority = 300  # before references are resolved, so that figures are numbered in order

    def apply(self) -> None:
        """Move the figures of one page."""
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
    """Give each bold verdict in an answer the class of its colour."""

    default_priority = 900  # after MyST-NB has put in what chapters computed

    def run(self, **kwargs: object) -> None:
        """Mark the verdicts of one page."""
        for box in self.document.findall(Answer):
            for strong in box.findall(nodes.strong):
                if strong.astext() in VERDICTS:
                    strong["classes"] += ["verdict", strong.astext().replace(" ", "-")]
                    if strong.parent.index(strong) == 0:  # it begins the sentence
                        (word,) = strong.findall(nodes.Text)
                        word.parent.replace(word, nodes.Text(word.capitalize()))


def visit_answer(self, node: Answer) -> None:
    """Open the box; a figure goes into a column of its own."""
    kind = "answer with-figure" if any(isinstance(c, nodes.figure) for c in node) else "answer"
    self.body.append(f'<div class="{kind}" role="note" aria-label="The answer">')


def depart_answer(self, node: Answer) -> None:
    """Close the box."""
    self.body.append("</div>\n")


class StationsDirective(SphinxDirective):
    """``stations``: the stations that this page is about; all of them, explained, if none."""

    optional_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Write the drawings into the page, so that they take on its colours."""
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
    """The time that a chapter took, known once it has run."""


class MeasuredTimeRole(SphinxRole):
    """``measured-time``: of this page."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Leave a placeholder."""
        return [MeasuredTime(page=self.env.docname)], []


class RunItRole(SphinxRole):
    """``run-it``: the notebook of this page, to download; and how to run it elsewhere."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Write both links."""
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
    """Replace each placeholder by the time that MyST-NB kept."""

    default_priority = 10

    def run(self, **kwargs: object) -> None:
        """Write the times of one page."""
        env: SphinxEnvType = self.env
        for node in list(self.document.findall(MeasuredTime)):
            known = getattr(env, "nb_metadata", {}).get(node["page"], {})
            found: ExecutionResult | None = known.get("exec_data")
            seconds = (found or {}).get("runtime")
            text = "not measured" if seconds is None else f"{seconds:.0f} s"
            node.replace_self(nodes.Text(text))


def describe_page(app, page: str, template: str, context: dict, doctree: nodes.document) -> None:
    """Describe a page to those who link it: by the question under its title, if it has one."""
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
        What Sphinx wants to know about parallel reading and writing.
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
