"""The look at the built book finds each defect that it is there to find, and nothing else."""

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
.wide { overflow-x: auto; } .wide pre { width: 60rem; }
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
<div class="wide" tabindex="0"><pre>long</pre></div>
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
        "asks another machine for https://example.org/a.png",
    ),
    "script asks elsewhere": (
        "follow();",
        "follow(); fetch('https://example.org/data').catch(() => 0);",
        "asks another machine for https://example.org/data",
    ),
    "another port of this machine": (
        "</main>",
        '<img src="http://127.0.0.1:9/a.png" alt="A."></main>',
        "asks another machine for http://127.0.0.1:9/a.png",
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
        "gone.css is not there (404)",
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
    "box that no key can scroll": (
        '<div class="wide" tabindex="0">',
        '<div class="wide">',
        "scrollable-region-focusable",
    ),
    "scrolls sideways": (
        "overflow-x: auto;",
        "",
        'light: scrolls sideways: 968 px of 400 because of pre "long"',
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
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER)
        yield browser
        browser.close()


@pytest.fixture
def book(tmp_path):
    """A book of two pages, which a browser can open."""
    for name, text in {"page.html": GOOD, "other.html": OTHER, "line.svg": LINE}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def problems_of_the_page(browser, book):
    with check_in_browser.served(book) as home:
        visit = check_in_browser.Visit(browser, home)
        found = visit.opened("page.html") + visit.looked_at() + visit.used()
        targets, names = visit.links()
        visit.page.close()
    links = {"page.html": {t.removeprefix(home) for t in targets if t.startswith(home)}}
    anchors = {"page.html": names, "other.html": {"there"}}
    return found + check_in_browser.dead_links(links, anchors, book)


@needs_browser
def test_good_page_has_no_problem(browser, book):
    assert problems_of_the_page(browser, book) == []


@needs_browser
@pytest.mark.parametrize(("old", "new", "message"), DEFECTS.values(), ids=DEFECTS)
def test_defect_is_found(browser, book, old, new, message):
    assert old in GOOD
    (book / "page.html").write_text(GOOD.replace(old, new), encoding="utf-8")
    found = problems_of_the_page(browser, book)
    assert any(message in problem for problem in found), found


@needs_browser
def test_all_pages_are_looked_at_served_and_as_files(browser, book):
    (book / "_static").mkdir()
    (book / "_static" / "part.html").write_text("no page", encoding="utf-8")
    assert check_in_browser.pages_of(book) == ["other.html", "page.html"]
    asks = "<script>if (location.protocol === 'file:') console.error('no server')</script>"
    (book / "page.html").write_text(GOOD.replace("</main>", f"{asks}</main>"), encoding="utf-8")
    found = check_in_browser.book_problems(browser, book)
    assert "page.html: as a file: console: no server" in found
    assert any(problem.startswith("other.html: dark: does not follow") for problem in found)


def built(monkeypatch, tmp_path):
    monkeypatch.setattr(check_in_browser, "ROOT", tmp_path)
    (tmp_path / "_build" / "html").mkdir(parents=True)
    return tmp_path / "_build" / "html"


@needs_browser
def test_a_bad_book_fails_and_a_good_one_does_not(monkeypatch, tmp_path, capsys):
    html = built(monkeypatch, tmp_path)
    (html / "line.svg").write_text(LINE, encoding="utf-8")
    page = html / "page.html"
    page.write_text(GOOD.replace("other.html#there", "#top"), encoding="utf-8")
    assert check_in_browser.main() == 0
    assert capsys.readouterr().out == "1 pages, looked at in a browser with no network\n"
    page.write_text(GOOD, encoding="utf-8")
    assert check_in_browser.main() == 1
    assert "there is no other.html" in capsys.readouterr().err


def test_without_a_browser_it_says_so(monkeypatch, tmp_path, capsys):
    built(monkeypatch, tmp_path)
    monkeypatch.setattr(check_in_browser, "BROWSERS", ("no-such-browser",))
    assert check_in_browser.main() == 0
    assert "no Chromium or Chrome was found" in capsys.readouterr().out


def test_a_browser_that_does_not_start_is_named(monkeypatch, tmp_path, capsys):
    built(monkeypatch, tmp_path)
    broken = tmp_path / "chromium"
    broken.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    broken.chmod(0o755)
    monkeypatch.setattr(check_in_browser, "BROWSERS", (str(broken),))
    assert check_in_browser.main() == 0
    assert f"not looked at in a browser: {broken} fails" in capsys.readouterr().out


@needs_browser
def test_a_failure_of_the_check_itself_is_no_pass(monkeypatch, tmp_path):
    (built(monkeypatch, tmp_path) / "page.html").write_text(GOOD, encoding="utf-8")
    monkeypatch.setattr(check_in_browser.Visit, "opened", lambda self, path: self.page.evaluate("x"))
    with pytest.raises(Error, match="x is not defined"):
        check_in_browser.main()
