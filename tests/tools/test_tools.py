"""The tools that guard the book find what they are there to find."""

import copy
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace

import check_notebooks
import check_pages
import pytest
import readme_picture
import saif_build

ROOT = Path(__file__).parents[2]

COLAB = "https://colab.research.google.com/github/saif-book/saif-book/blob/main/book/good.ipynb"
FIGURE = {
    "mystnb": {
        "figure": {"caption": "Accuracy by layer.", "name": "fig-layers"},
        "image": {"alt": "A line that rises."},
    }
}


def markdown(name: str, text: str) -> dict:
    return {"cell_type": "markdown", "id": name, "metadata": {}, "source": text}


def code(name: str, text: str, **metadata: object) -> dict:
    return {
        "cell_type": "code",
        "id": name,
        "metadata": metadata,
        "source": text,
        "outputs": [],
        "execution_count": None,
    }


GOOD = [
    markdown("title", f"# Steering\n\n[Colab]({COLAB})"),
    code("setup", "from saif_helpers import figures\n\nfigures.style()", tags=["setup"]),
    code("config", "LAYER = 3  # 0.5 in code is fine", tags=["config"]),
    markdown(
        "prose",
        "Gemma-2-2B and Llama-3.1-8B, Python 3.11, Section 3.2, arXiv:2502.11356, $\\beta = 0.5$,\n"
        "`k=0.3`, {glue:text}`strict:.2f`, 15 latents [here](https://example.org/1.5).",
    ),
    code("figure", "fig, ax = plt.subplots()", **FIGURE),
    code("folded", "\n".join("x = 1" for _ in range(40)), tags=["hide-input"]),
    markdown("exercises", "What we saw.\n\n## Exercises\n\n1. What is x now?"),
    code("solve", "x", tags=["hide-cell", "solution"]),
]


def problems(cells: list[dict]) -> list[str]:
    return [str(p) for p in check_notebooks.check_notebook({"cells": cells}, "book/good.ipynb")]


def changed(position: int, **change: object) -> list[dict]:
    cells = copy.deepcopy(GOOD)
    cells[position] |= change
    return cells


def test_good_notebook_has_no_problem():
    assert problems(GOOD) == []


def with_figure_less(group: str, key: str) -> list[dict]:
    cells = copy.deepcopy(GOOD)
    del cells[4]["metadata"]["mystnb"][group][key]
    return cells


BAD = {
    "output": (changed(1, outputs=[{}]), "cell 2: has outputs"),
    "execution count": (changed(1, execution_count=1), "cell 2: has outputs"),
    "no title": (changed(0, source="Steering"), "cell 1, line 1: the first cell must be the title"),
    "code first": (GOOD[1:], "cell 1, line 1: the first cell must be the title"),
    "no set-up": (GOOD[:1] + GOOD[2:], "notebook: needs one set-up cell"),
    "no configuration": (GOOD[:2] + GOOD[3:], "notebook: needs one configuration cell"),
    "two configurations": (
        [*GOOD, code("second", "LAYER = 4", tags=["config"])],
        "found 2, in cells [3, 9]",
    ),
    "configuration in prose": (
        changed(2, cell_type="markdown"),
        "cell 3: is tagged 'config' but is not a code cell",
    ),
    "id missing": (changed(3, id=None), "cell 4: has no id"),
    "id twice": (changed(3, id="title"), "cell 4: shares its id 'title'"),
    "id renumbered": (changed(3, id="3"), "cell 4: id '3' is a running number"),
    "no caption": (with_figure_less("figure", "caption"), "cell 5, line 1: draws without"),
    "no name": (with_figure_less("figure", "name"), "mystnb.figure.name"),
    "no alt text": (with_figure_less("image", "alt"), "mystnb.image.alt"),
    "figure of the package": (
        changed(3, **code("x", "import saif_helpers\nplot_layers(grades)")),
        "cell 4, line 2: draws without mystnb.figure.caption",
    ),
    "long code": (changed(5, metadata={}), "cell 6, line 21: has 40 lines"),
    "decimal": (changed(3, source="Well,\nit reaches 0.52."), "cell 4, line 2: '0.52'"),
    "bare decimal": (changed(3, source="it reaches .52 here"), "cell 4, line 1: '.52'"),
    "percentage": (changed(3, source="in 30 % of cases"), "cell 4, line 1: '30 %'"),
    "percentage in words": (changed(3, source="in 30 percent"), "'30 percent'"),
    "number after a fence": (changed(3, source="```\n1.5\n```\nand 2.5"), "line 4: '2.5'"),
    "no solved exercise": (GOOD[:7], "notebook: has no solved exercise"),
    "solution in the open": (
        changed(7, metadata={"tags": ["solution"]}),
        "cell 8: shows a solution",
    ),
    "solution in prose": (changed(7, cell_type="markdown"), "cell 8: is tagged 'solution' but"),
    "empty solution": (changed(7, source="\n"), "cell 8: is tagged 'solution' but has no code"),
    "solution before the exercises": (
        [*GOOD[:6], GOOD[7], GOOD[6]],
        "cell 7: is a solution before the heading",
    ),
    "other chapter's Colab link": (
        changed(0, source=f"# Steering\n\n{COLAB.replace('good', 'other')}"),
        "cell 1, line 3: the Colab link opens book/other.ipynb",
    ),
}


@pytest.mark.parametrize(("cells", "message"), BAD.values(), ids=BAD)
def test_bad_notebook_is_found(cells, message):
    found = problems(cells)
    assert any(message in problem for problem in found), found


@pytest.mark.parametrize(
    "source",
    ["<!-- numbers: the paper's, as reported -->\n.70 loose", "about 30 % <!-- numbers: x -->"],
)
def test_numbers_are_allowed_where_the_cell_says_what_they_are(source):
    assert problems(changed(3, source=source)) == []


def test_numbers_are_not_allowed_without_a_reason():
    assert problems(changed(3, source="<!-- numbers: -->\n.70 loose"))


def test_source_may_be_a_list_of_lines():
    assert "line 2: '0.5'" in problems(changed(3, source=["fine\n", "but 0.5"]))[0]


def test_main_reports_file_cell_and_line(tmp_path, capsys):
    bad = tmp_path / "bad.ipynb"
    bad.write_text(json.dumps({"cells": changed(3, source="fine\nThe 0.5")}), encoding="utf-8")
    assert check_notebooks.main([str(bad)]) == 1
    assert "bad.ipynb: cell 4, line 2: '0.5'" in capsys.readouterr().out


@pytest.fixture
def project(tmp_path) -> Path:
    """A tiny project with a package, weights and a lock."""
    (tmp_path / "saif_helpers" / "data" / "organism").mkdir(parents=True)
    (tmp_path / "saif_helpers" / "steering.py").write_text("x = 1")
    (tmp_path / "saif_helpers" / "data" / "organism" / "m.safetensors").write_bytes(b"\0\1")
    (tmp_path / "requirements.lock").write_text("torch==1")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("saif_helpers/steering.py", "x = 2"),
        ("saif_helpers/new.py", ""),
        ("saif_helpers/data/organism/m.safetensors", "other"),
        ("requirements.lock", "torch==2"),
        ("book/results/gemma-2-2b-it-65k.json", "{}"),
    ],
)
def test_cache_moves_with_package_weights_lock_and_results(project, name, content):
    before = saif_build.prepare_cache(project, project / "_build")
    (before / "cached").touch()
    (project / name).parent.mkdir(parents=True, exist_ok=True)
    (project / name).write_text(content)
    after = saif_build.prepare_cache(project, project / "_build")
    assert after != before
    assert after.is_dir()
    assert not before.exists(), "the old cache is pruned"


def test_cache_stays_when_nothing_that_matters_changed(project):
    before = saif_build.prepare_cache(project, project / "_build")
    (before / "cached").touch()
    (project / "saif_helpers" / "__pycache__").mkdir()
    (project / "saif_helpers" / "__pycache__" / "steering.pyc").touch()
    (project / "README.md").touch()
    assert saif_build.prepare_cache(project, project / "_build") == before
    assert (before / "cached").exists()


def test_cache_notices_a_renamed_file(project):
    before = saif_build.input_hash(project)
    (project / "saif_helpers" / "steering.py").rename(project / "saif_helpers" / "vectors.py")
    assert saif_build.input_hash(project) != before


def test_cache_of_another_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="top folder of the project"):
        saif_build.input_hash(tmp_path)


def test_extension_sets_cache_path_and_tells_chapters(project, monkeypatch):
    monkeypatch.delenv("SAIF_BOOK_BUILD", raising=False)
    handlers = {}
    app = SimpleNamespace(
        connect=handlers.__setitem__, confdir=project, outdir=project / "_build" / "html"
    )
    saif_build.setup(app)
    config = SimpleNamespace(nb_execution_cache_path="")
    handlers["config-inited"](app, config)
    path = Path(config.nb_execution_cache_path)
    assert path.is_dir()
    assert path.is_relative_to(project / "_build")
    assert saif_build.os.environ["SAIF_BOOK_BUILD"] == "1"


@pytest.fixture
def page(tmp_path):
    """Returns a function that writes a page and gives its problems."""
    (tmp_path / "there.js").touch()

    def check(body: str) -> list[str]:
        (tmp_path / "page.html").write_text(f"<html>\n{body}</html>", encoding="utf-8")
        return check_pages.page_problems(tmp_path, "page")

    return check


@pytest.mark.parametrize(
    "body",
    [
        '<script src="there.js?v=1"></script><a href="https://example.org">out</a>',
        '<link rel="canonical" href="https://example.org"/>',
        '<img src="data:image/png;base64,AA" alt="A line that rises."/>',
        "<style>p { color: red; background: url(there.js) }</style>",
    ],
)
def test_good_page_has_no_problem(page, body):
    assert page(body) == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('<script src="https://cdn.example.org/a.js"></script>', "from another server"),
        ('<script src="//cdn.example.org/a.js"></script>', "from another server"),
        ('<link rel="stylesheet" href="https://example.org/a.css"/>', "from another server"),
        ('<link rel="preconnect" href="https://example.org"/>', "from another server"),
        ('<img src="https://example.org/badge.svg" alt="badge"/>', "from another server"),
        ('<iframe src="https://example.org"></iframe>', "from another server"),
        ('<script src="missing.js"></script>', "which does not exist"),
        (
            '<img src="there.js" alt="_images/there.js"/>',
            "line 2: picture there.js has no",
        ),
        ('<img src="there.js"/>', "has no alt text"),
        ("<style>@import url(https://example.org/a.css)</style>", "style loads"),
    ],
)
def test_bad_page_is_found(page, body, message):
    assert message in " ".join(page(body))


def test_missing_page_is_found(tmp_path):
    assert "no HTML page was written" in check_pages.page_problems(tmp_path, "book/steering")[0]


def test_style_sheet_that_loads_from_elsewhere_is_found(tmp_path):
    (tmp_path / "_static").mkdir()
    sheet = tmp_path / "_static" / "a.css"
    sheet.write_text("@font-face { src: url(fonts/a.woff) }")
    assert check_pages.css_problems(tmp_path) == []
    sheet.write_text("@font-face { src: url(https://example.org/a.woff) }")
    assert "a.css" in check_pages.css_problems(tmp_path)[0]


def test_toc_files_in_reading_order():
    toc = {
        "root": "book/index",
        "parts": [
            {"caption": "One", "chapters": [{"file": "book/a", "sections": [{"file": "book/b"}]}]},
            {"chapters": [{"file": "book/c"}, {"url": "https://example.org"}]},
        ],
    }
    assert check_pages.toc_files(toc) == ["book/index", "book/a", "book/b", "book/c"]


def test_the_readmes_picture_is_found_by_the_figures_name():
    page = '<figure class="a" id="fig-b"><div><img alt="x" src="../_images/b.svg"/></div></figure>'
    assert readme_picture.picture_of(page, "fig-b") == "../_images/b.svg"
    with pytest.raises(ValueError, match="no figure 'fig-c'"):
        readme_picture.picture_of(page, "fig-c")


def test_the_readmes_sentences_are_put_between_their_marks():
    begin, end = readme_picture.BEGIN, readme_picture.END
    readme = f"before\n{begin}\nold\n{end}\nafter\n"
    told = ["one word after another " * 8, "short"]
    found = readme_picture.with_sentences(readme, told)
    assert readme_picture.with_sentences(found, told) == found
    assert found.startswith(f"before\n{begin}\n\none word")
    assert found.endswith(f"\n\nshort\n\n{end}\nafter\n")
    assert "old" not in found
    assert max(map(len, found.splitlines())) <= 100
    with pytest.raises(ValueError, match="lacks the marks"):
        readme_picture.with_sentences("nothing", told)


@pytest.fixture
def book_of_two_pages(tmp_path):
    """Returns a function that builds a chapter with a figure, and a page; it gives the page."""
    from sphinx.application import Sphinx

    (tmp_path / "conf.py").write_text("extensions = ['chapter_figure']")
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "rising.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    (tmp_path / "part" / "chapter.rst").write_text(
        "Chapter\n=======\n\n.. figure:: rising.svg\n   :alt: A line that rises.\n"
        "   :name: fig-rising\n\n   Caption of old.\n\n   A legend.\n"
    )

    def build(directive: str) -> tuple[str, str]:
        page = f"Page\n====\n\n.. toctree::\n\n   chapter\n\n{directive}\n"
        (tmp_path / "part" / "index.rst").write_text(page)
        warnings = io.StringIO()
        out = tmp_path / "html"
        Sphinx(
            tmp_path,
            tmp_path,
            out,
            out / ".doctrees",
            "html",
            {"root_doc": "part/index"},
            status=None,
            warning=warnings,
        ).build()
        return (out / "part" / "index.html").read_text(encoding="utf-8"), warnings.getvalue()

    return build


def test_a_chapters_figure_is_shown_on_another_page(book_of_two_pages):
    page, warnings = book_of_two_pages(
        ".. chapter-figure:: chapter fig-rising\n\n   My *own* caption: :doc:`chapter`."
    )
    assert not warnings
    (figure,) = re.findall(r"<figure.*?</figure>", page, re.DOTALL)
    assert re.search(r'<img alt="A line that rises." src="\.\./_images/rising\.svg"', figure)
    assert "My <em>own</em> caption" in figure
    assert 'href="chapter.html"' in figure
    assert "Caption of old" not in figure
    assert "A legend" not in figure


@pytest.mark.parametrize("where", ["chapter fig-falling", "nowhere fig-rising"])
def test_a_figure_that_is_not_there_is_a_warning(book_of_two_pages, where):
    page, warnings = book_of_two_pages(f".. chapter-figure:: {where}\n\n   A caption.")
    assert "there is no figure" in warnings
    assert "<figure" not in page


def test_a_chapters_figure_needs_a_caption(book_of_two_pages):
    _, warnings = book_of_two_pages(".. chapter-figure:: chapter fig-rising")
    assert "needs a caption" in warnings
