"""What the first screen of a page is made of, and how much of a page there is to read."""

import io
import json
import re

import check_reading
import pytest
from answer_first import STATIONS


@pytest.fixture
def built(tmp_path):
    """Returns a function that builds one page; it gives the page and the warnings."""
    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace

    (tmp_path / "conf.py").write_text("extensions = ['answer_first']\n")
    (tmp_path / "line.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')

    def build(text: str) -> tuple[str, str]:
        (tmp_path / "index.rst").write_text(f"Page\n====\n\n{text}\n")
        warnings, out = io.StringIO(), tmp_path / "html"
        settings = (tmp_path, tmp_path, out, out / ".doctrees", "html")
        with docutils_namespace():  # or what the last test has registered is still there
            Sphinx(*settings, status=None, warning=warnings).build()
        return (out / "index.html").read_text(encoding="utf-8"), warnings.getvalue()

    return build


FIGURE = "\n\n.. figure:: line.svg\n   :alt: It rises.\n   :name: fig-rising\n\n   A caption.\n"


def test_the_figure_of_an_answer_is_moved_into_it(built):
    page, warnings = built(f".. answer:: fig-rising\n\n   **supported** here.\n\nLater.{FIGURE}")
    assert not warnings
    assert page.count("<figure") == 1
    assert page.index('class="answer with-figure"') < page.index("<figure") < page.index("Later.")
    assert '<strong class="verdict supported">Supported</strong>' in page


@pytest.mark.parametrize(
    ("text", "kind"),
    [("**not supported**", "verdict not-supported"), ("**undecided**", "verdict undecided")],
)
def test_each_verdict_has_its_colour(built, text, kind):
    page, warnings = built(f".. answer::\n\n   {text} and **bold**.")
    assert not warnings
    assert f'<strong class="{kind}">' in page
    assert "<strong>bold</strong>" in page
    assert "with-figure" not in page


def test_an_answer_whose_figure_is_not_there_is_a_warning(built):
    _, warnings = built(".. answer:: fig-falling\n\n   Text.")
    assert "no figure 'fig-falling'" in warnings


def test_stations_are_lit_by_name(built):
    page, warnings = built(".. stations:: ranking vector")
    assert not warnings
    assert page.count('aria-current="step"') == 2
    assert len(re.findall(r"<svg", page)) == len(STATIONS)
    assert "<span>" not in re.search(r"<ol.*?</ol>", page, re.DOTALL)[0]


def test_without_a_name_all_stations_are_explained(built):
    page, _ = built(".. stations::")
    assert all(text in page for _, text in STATIONS.values())
    assert "aria-current" not in re.search(r"<ol.*?</ol>", page, re.DOTALL)[0]


def test_a_station_that_there_is_not_is_an_error(built):
    _, warnings = built(".. stations:: ranking decoder")
    assert "['decoder'] named" in warnings


def test_a_page_that_was_not_executed_says_that_its_time_was_not_measured(built):
    page, _ = built(":measured-time:`here`")
    assert "not measured" in page


def test_a_page_is_described_by_its_question(built):
    page, _ = built("*Does A & B work?*\n\nMore *words*.")
    assert '<meta name="description" content="Does A &amp; B work?">' in page
    assert 'name="description"' not in built("No question, *only* words.")[0]


def cell(kind: str, source: str, *tags: str) -> dict:
    return {"cell_type": kind, "source": source, "metadata": {"tags": list(tags)}}


GOOD = [
    cell("markdown", "# Title\n\n:::{answer}\nYes.\n:::\n\n" + "word " * 60),
    cell("code", "import this", "setup", "hide-input"),
    cell("code", "MODEL = 1", "config", "hide-input"),
    cell("code", "a = 1\nb = 2\nc = 3"),
    cell("code", "x = 0\n" * 40, "hide-input"),
]


def test_a_good_chapter_has_no_problem():
    assert list(check_reading.problems({"cells": GOOD})) == []


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        ([cell("markdown", "# Title\n" + "word " * 60), *GOOD[1:]], "no {answer}"),
        ([GOOD[0], cell("code", "import this", "setup"), *GOOD[2:]], "setup cell is not folded"),
        ([*GOOD, cell("markdown", "word " * 3100)], "minutes to read"),
        ([*GOOD, *[cell("code", "a = 1\nb = 2\nc = 3")] * 2], "words of prose for 9 lines"),
        ([*GOOD[:3], cell("code", "a = 1\n" * 7), cell("markdown", "w " * 99)], "median shown"),
        ([*GOOD, cell("code", "a = 1\n" * 16), cell("markdown", "w " * 200)], "has 16 lines"),
        ([*GOOD, cell("code", f"a = {'1' * 90}"), cell("markdown", "w " * 50)], "94 characters"),
    ],
)
def test_what_does_not_read_like_a_book_is_named(cells, found):
    assert any(found in problem for problem in check_reading.problems({"cells": cells}))


def test_code_formulas_marks_and_comments_are_no_words():
    text = "# A title\n\n```python\n```\n<!-- no word -->\n$$x = y + z$$\n\n[one](#two) | word |\n"
    assert check_reading.reading({"cells": [cell("markdown", text)]}).words == 4


def test_a_chapter_is_read_from_its_file(tmp_path, capsys):
    path = tmp_path / "good.ipynb"
    path.write_text(json.dumps({"cells": GOOD}))
    assert check_reading.main([str(path)]) == 0
    path.write_text(json.dumps({"cells": GOOD[1:]}))
    assert check_reading.main([str(path)]) == 1
    assert "no {answer}" in capsys.readouterr().err
