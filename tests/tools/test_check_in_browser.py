"""The look at the built book finds each defect that it is there to find, and nothing else."""

from concurrent.futures import ThreadPoolExecutor

import check_in_browser
import pytest
from playwright.sync_api import Error, sync_playwright

BROWSER = check_in_browser.find_browser()
needs_browser = pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome")

GOOD = """<!doctype html>
<html lang="en"><head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Steering</title>
<link rel="icon" href="data:,">
<style>
body { background: #fff; color: #222; } a { color: inherit; }
[data-theme=dark] body { background: #111; color: #eee; }
figure img { background: #fff; width: 9rem; }
.wide { overflow-x: auto; } .wide pre { width: 100rem; }
</style>
<script>
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => { document.documentElement.dataset.theme = dark.matches ? "dark" : "light"; };
dark.addEventListener("change", follow);
follow();
</script>
</head><body><main>
<h1 id="top">Steering</h1>
<p>A formula, <span class="math"><mjx-container>x</mjx-container></span>, for $5 and $6.
  <a href="other.html#there">Further on</a>, <a href="#top">back</a>,
  <a href="https://example.org/">elsewhere</a>, <code>\\(x\\)</code>.</p>
<figure><img src="line.svg" alt="A line that rises."><figcaption>Accuracy.</figcaption></figure>
<div class="cell_output"><label for="s">strength</label>
  <input type="range" id="s" max="2" value="2" oninput="this.nextElementSibling.value = this.value">
  <output>2</output></div>
<div class="wide"><pre>long</pre></div>
<details><summary>More</summary><p>What was folded.</p></details>
</main></body></html>
"""
OTHER = """<!doctype html><html lang="en"><head><title>Other</title></head>
<body><p id="there">There.</p></body></html>"""
LINE = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><path d="M0 9L9 0"/></svg>'

# Defect to (what is changed in the good page, to what, what must be said of it).
DEFECTS = {
    "image from elsewhere": (
        "</main>",
        '<img src="https://example.org/a.png" alt="A."></main>',
        "requests https://example.org/a.png from another server",
    ),
    "script asks elsewhere": (
        "follow();",
        "follow(); fetch('https://example.org/data').catch(() => 0);",
        "requests https://example.org/data from another server",
    ),
    "another port of this machine": (
        "</main>",
        '<img src="http://127.0.0.1:9/a.png" alt="A."></main>',
        "requests http://127.0.0.1:9/a.png from another server",
    ),
    "socket": (
        "follow();",
        "follow(); new WebSocket('ws://127.0.0.1:9/');",
        "opens ws://127.0.0.1:9/",
    ),
    "connection prepared": (
        "<title>",
        '<link rel="preconnect" href="https://example.org"><title>',
        "prepares a connection to https://example.org/",
    ),
    "name looked up": (
        "<title>",
        '<link rel="dns-prefetch" href="//example.org"><title>',
        "prepares a connection to",
    ),
    "style missing": (
        "<title>",
        '<link rel="stylesheet" href="gone.css"><title>',
        "gone.css is missing (404)",
    ),
    "console error": ("follow();", "follow(); console.error('bad mode');", "console: bad mode"),
    "script error": ("follow();", "follow(); missing();", "script error: missing is not defined"),
    "formula not typeset": (
        "<mjx-container>x</mjx-container>",
        "\\(x\\)",
        "formula not typeset: \\(x\\)",
    ),
    "formula with an error": (
        "<mjx-container>x<",
        "<mjx-container><mjx-merror data-mjx-error='Undefined \\bata'>x</mjx-merror><",
        "formula with an error: Undefined \\bata",
    ),
    "formula as written": ("What was", "What \\(was\\)", "formula left as it was written"),
    "displayed formula as written": ("What was", "What $$x$$ was", "left as it was written"),
    "dollars as written": ("What was", "What $\\beta$ was", "left as it was written"),
    "picture missing": ("line.svg", "gone.svg", "picture gone.svg is not shown"),
    "picture broken": ("line.svg", "other.html", "picture other.html is not shown"),
    "picture without alt": ('alt="A line that rises."', "", "image-alt"),
    "drawing without a name": (
        "</main>",
        '<svg role="img" width="9" height="9"></svg></main>',
        "svg-img-alt",
    ),
    "figure dark on dark": (
        "</style>",
        "[data-theme=dark] figure img { background: none; }</style>",
        "dark: figure line.svg is drawn on 17,17,17",
    ),
    "figure dimmed": (
        "</style>",
        "[data-theme=dark] figure img { filter: brightness(.8); }</style>",
        "dark: figure line.svg is filtered",
    ),
    "slider without a name": ('<label for="s">strength</label>', "strength", "label:"),
    "slider that does nothing": (
        'oninput="this.nextElementSibling.value = this.value"',
        "",
        "slider s changes nothing",
    ),
    "link without text": ("Further on</a>", "</a>", "link-name"),
    "page without a title": ("<title>Steering</title>", "", "document-title"),
    "page without a language": (' lang="en"', "", "html-has-lang"),
    "id twice": ("<p>A formula", '<p id="top">A formula', "duplicate-id"),
    "text cut off": (
        ".wide { overflow-x: auto; }",
        ".wide { overflow-x: hidden; }",
        'light: text is cut off in div.wide "long"',
    ),
    "scrolls sideways": (
        "overflow-x: auto;",
        "",
        'px of 400 because of pre "long"',
    ),
    "scrolls sideways in the dark": (
        "</style>",
        "[data-theme=dark] h1 { width: 500px; }</style>",
        "dark: scrolls sideways",
    ),
    "no dark theme": ("dark.matches ?", "false ?", "dark: does not follow the reader's theme"),
    "grey on white": ("color: #222;", "color: #999;", "light: color-contrast"),
    "dark on dark": ("color: #eee;", "color: #555;", "dark: color-contrast"),
    "folded text dark on dark": (
        "</style>",
        "[data-theme=dark] details p { color: #555; }</style>",
        "dark: color-contrast",
    ),
    "dark text on one dark ground": (
        "</style>",
        "[data-theme=dark] .wide { background: #888; }</style>",
        "dark: color-contrast",
    ),
    "link to no page": (
        "other.html#there",
        "gone.html",
        "page.html: links to gone.html, but there is no gone.html",
    ),
    "link to no anchor": (
        "other.html#there",
        "other.html#here",
        "page.html: links to other.html#here, but other.html has no #here",
    ),
    "link to no anchor of its own": (
        'href="#top"',
        'href="#bottom"',
        "page.html: links to page.html#bottom, but page.html has no #bottom",
    ),
    "search without results": (
        "</main>",
        '<ul id="search-results"></ul></main>',
        "the search finds nothing",
    ),
}


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=BROWSER) as it:
        yield it


@pytest.fixture(scope="module")
def visit(browser, tmp_path_factory):
    """A visit to a folder, and the folder."""
    html = tmp_path_factory.mktemp("book")
    with check_in_browser.served(html) as home:
        yield check_in_browser.Visit(browser, home), home, html


def write_book(html, page=GOOD):
    to_page = '<meta http-equiv="Refresh" content="0; url=page.html" />'
    files = {"page.html": page, "other.html": OTHER, "line.svg": LINE, "index.html": to_page}
    for name, text in files.items():
        (html / name).write_text(text, encoding="utf-8")


def problems(visit, page):
    reader, home, html = visit
    write_book(html, page)
    found = reader.opened("page.html") + reader.looked_at() + reader.used()
    targets, names = reader.links()
    links = {"page.html": {t.removeprefix(home) for t in targets if t.startswith(home)}}
    anchors = {"page.html": names, "other.html": {"there"}}
    return found + check_in_browser.dead_links(links, anchors, html)


@needs_browser
def test_good_page_has_no_problem(visit):
    assert problems(visit, GOOD) == []


@needs_browser
@pytest.mark.parametrize(("old", "new", "message"), DEFECTS.values(), ids=DEFECTS)
def test_defect_is_found(visit, old, new, message):
    assert old in GOOD
    found = problems(visit, GOOD.replace(old, new))
    assert any(message in problem for problem in found), found


@needs_browser
def test_all_pages_are_looked_at_served_and_as_files(browser, tmp_path):
    asks = "<script>if (location.protocol === 'file:') console.error('no server')</script>"
    write_book(tmp_path, GOOD.replace("</main>", f"{asks}</main>"))
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "part.html").write_text("no page", encoding="utf-8")
    assert check_in_browser.pages_of(tmp_path) == ["index.html", "other.html", "page.html"]
    found = check_in_browser.book_problems(browser, tmp_path)
    assert "page.html: as a file: console: no server" in found
    assert any(problem.startswith("other.html: dark: does not follow") for problem in found)


@pytest.fixture
def html(monkeypatch, tmp_path):
    """Where the tool looks for the built book."""
    monkeypatch.setattr(check_in_browser, "ROOT", tmp_path)
    (tmp_path / "_build" / "html").mkdir(parents=True)
    return tmp_path / "_build" / "html"


def main():
    # A thread of its own, since Playwright runs once in a thread, and there for the other tests.
    with ThreadPoolExecutor(1) as alone:
        return alone.submit(check_in_browser.main).result()


@needs_browser
def test_a_good_book_passes(html, capsys):
    write_book(html, GOOD)
    (html / "other.html").write_text(GOOD.replace('"top"', '"there"').replace("#top", "#there"))
    assert main() == 0
    assert capsys.readouterr().out == "3 pages checked in a browser without network access\n"


@needs_browser
def test_a_page_that_leads_nowhere_is_found(browser, tmp_path):
    write_book(tmp_path)
    (tmp_path / "page.html").unlink()
    found = check_in_browser.book_problems(browser, tmp_path)
    assert "index.html: links to page.html, but there is no page.html" in found


@needs_browser
def test_a_bad_book_fails(html, capsys):
    write_book(html, GOOD.replace("other.html#there", "gone.html"))
    assert main() == 1
    assert "there is no gone.html" in capsys.readouterr().err


def test_without_a_browser_it_says_so(html, monkeypatch, capsys):
    monkeypatch.setattr(check_in_browser, "BROWSERS", ("no-such-browser",))
    assert main() == 0
    assert "no Chromium or Chrome was found" in capsys.readouterr().out


def test_a_browser_that_does_not_start_is_named(html, monkeypatch, tmp_path, capsys):
    broken = tmp_path / "chromium"
    broken.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    broken.chmod(0o755)
    monkeypatch.setattr(check_in_browser, "BROWSERS", (str(broken),))
    assert main() == 0
    assert f"not checked in a browser: {broken} fails" in capsys.readouterr().out


@needs_browser
def test_a_failure_of_the_check_itself_is_no_pass(html, monkeypatch):
    write_book(html)
    monkeypatch.setattr(check_in_browser.Visit, "opened", lambda self, _: self.page.evaluate("x"))
    with pytest.raises(Error, match="x is not defined"):
        main()
