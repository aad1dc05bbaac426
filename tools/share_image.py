"""Draw the picture that other sites show with a link to the book, and name it in every page.

``make picture`` draws it from the record. As a Sphinx extension, this module writes the picture's
address into each page; addresses of pictures must be absolute, so it does nothing until
``make repository`` has set ``baseurl`` in ``_config.yml``.
"""

from html import escape
from pathlib import Path
from statistics import mean

import matplotlib.pyplot as plt

from saif_helpers.book.in_short import SAIF, deciding_shares, groups
from saif_helpers.book.results import Row
from saif_helpers.display import figures
from saif_helpers.display.style import INK, METHODS
from saif_helpers.study.steering_claim import FIRST_WORD, MEANS, PROMPTING, RANDOM

PICTURE = Path(__file__).resolve().parents[1] / "book" / "_assets" / "share.png"
SIZE = (1200, 630)
"""Width and height in pixels, as sites recommend them."""
SHOWN = (PROMPTING, MEANS, SAIF, FIRST_WORD, RANDOM)
DPI = 100


def draw(rows: list[Row], path: Path = PICTURE) -> dict[str, float]:
    """Draw each method's mean share of outputs that pass, on the first group of models.

    Args:
        rows: The record, see `results.read_all`.
        path: The PNG file to write.

    Returns:
        The shares that it shows, by method.
    """
    name, steering = next(iter(groups(rows).items()))
    shares = {method: mean(deciding_shares(steering, method)) for method in SHOWN}
    shares = dict(sorted(shares.items(), key=lambda one: one[1]))
    figures.style()
    figure = plt.figure(figsize=(SIZE[0] / DPI, SIZE[1] / DPI), dpi=DPI, layout="none")
    figure.text(0.05, 0.87, "The SAIF book", fontsize=44, weight="bold", color=INK)
    question = "Do an instruction's SAE latents make a model follow it?"
    figure.text(0.05, 0.78, question, fontsize=25, color=INK)
    ax = figure.add_axes((0.32, 0.08, 0.58, 0.56))
    ax.barh(list(shares), list(shares.values()), color=[METHODS[m] for m in shares], height=0.7)
    for at, share in enumerate(shares.values()):
        ax.text(share + 0.01, at, f"{share:.0%}", va="center_baseline", fontsize=24, color=INK)
    ax.tick_params(labelsize=22, length=0)
    ax.set_title(f"Outputs that pass, {name}", loc="left", fontsize=20, color=INK)
    ax.set(xlim=(0, 1), xticks=[])
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    figure.savefig(path, dpi=DPI, bbox_inches=None, metadata={"Description": described(rows)})
    plt.close(figure)
    return shares


def described(rows: list[Row]) -> str:
    """Describe what the picture shows.

    Args:
        rows: The record.

    Returns:
        A sentence with the numbers in it.
    """
    name, steering = next(iter(groups(rows).items()))
    shares = (f"{m} {mean(deciding_shares(steering, m)):.0%}" for m in SHOWN)
    return f"Outputs that pass on {name}: {', '.join(shares)}."


def add_picture(app, pagename: str, templatename: str, context: dict, doctree) -> None:
    """Add the picture's address to the head of a page, if the book has an address.

    Args:
        app: The Sphinx application.
        pagename: The page.
        templatename: Its template.
        context: The template's variables; ``metatags`` is extended.
        doctree: The page's document tree.
    """
    base = app.config.html_baseurl.rstrip("/")
    if base:
        address = escape(f"{base}/_static/{PICTURE.name}", quote=True)
        tags = f'<meta property="og:image" content="{address}">'
        tags += '<meta name="twitter:card" content="summary_large_image">'
        context["metatags"] = context.get("metatags", "") + tags


def setup(app) -> dict[str, bool]:
    """Connect the extension to Sphinx.

    Args:
        app: The Sphinx application.

    Returns:
        The extension's metadata: it is safe for parallel reading and writing.
    """
    app.connect("html-page-context", add_picture)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
