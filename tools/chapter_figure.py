"""Sphinx extension of the book: show a chapter's figure on another page, with another caption.

MyST-NB's glue supports neither SVG nor alt text across pages. The directive therefore copies the
picture and its alt text from the chapter that draws the figure:

    ```{chapter-figure} 04_steering fig-steering-test
    What to see in it, and {doc}`where it comes from <04_steering>`.
    ```
"""

import posixpath

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

LOGGER = logging.getLogger(__name__)


class ChapterFigure(nodes.General, nodes.Element):
    """Placeholder for a chapter's figure until all chapters are read; its child is the caption."""


class ChapterFigureDirective(SphinxDirective):
    """Directive ``chapter-figure``: chapter (relative to the page), figure name and caption."""

    required_arguments = 2
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Parse the caption and return a placeholder."""
        self.env.note_reread()  # the chapter may change although the page does not
        folder = posixpath.dirname(self.env.docname)
        chapter = posixpath.normpath(posixpath.join(folder, self.arguments[0]))
        parsed = nodes.Element()
        self.state.nested_parse(self.content, self.content_offset, parsed)
        if len(parsed) != 1 or not isinstance(parsed[0], nodes.paragraph):
            raise self.error("chapter-figure needs a caption of exactly one paragraph")
        node = ChapterFigure(chapter=chapter, figure=self.arguments[1])
        node += nodes.caption("", "", *parsed[0].children)
        self.set_source_info(node)
        return [node]


class ShowChapterFigures(SphinxPostTransform):
    """Replace each placeholder with a copy of the chapter's figure and the new caption."""

    default_priority = 3  # before MyST-NB selects the format of a picture (4)

    def run(self, **kwargs: object) -> None:
        """Replace the placeholders of a page."""
        for node in list(self.document.findall(ChapterFigure)):
            figure = self._figure(node["chapter"], node["figure"])
            if figure is None:
                LOGGER.warning(
                    "there is no figure %r in %r", node["figure"], node["chapter"], location=node
                )
                node.parent.remove(node)
                continue
            shown = figure.deepcopy()
            for part in list(shown.findall(lambda n: isinstance(n, nodes.caption | nodes.legend))):
                part.parent.remove(part)
            shown += node.children
            node.replace_self(shown)

    def _figure(self, chapter: str, name: str) -> nodes.figure | None:
        if chapter not in self.env.found_docs:
            return None
        figures = self.env.get_doctree(chapter).findall(nodes.figure)
        return next((figure for figure in figures if name in figure["names"]), None)


def setup(app) -> dict[str, bool]:
    """Connect the extension to Sphinx.

    Args:
        app: The Sphinx application.

    Returns:
        The extension's metadata: it is safe for parallel reading and writing.
    """
    app.add_node(ChapterFigure)
    app.add_directive("chapter-figure", ChapterFigureDirective)
    app.add_post_transform(ShowChapterFigures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
