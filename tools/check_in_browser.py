"""Check every page of the built book in a headless Chromium without network access.

Requests to other servers are blocked and reported. Each page is checked in a wide and a narrow
window, in the light and the dark theme, over HTTP and as a file. Its answer must be on the first
screen and nothing may be cut off; mathematics, pictures and sliders must be present and work; the
text must be legible (measured by axe-core); and links to pages of the book must resolve.

Run by ``make book``. If there is no Chromium or Chrome, it prints a message and skips the checks.
"""

import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urldefrag

from axe_playwright_python.base import AXE_SCRIPT
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Error,
    Locator,
    Page,
    Response,
    Route,
    sync_playwright,
)

ROOT = Path(__file__).resolve().parents[1]
LOOK = Path(__file__).with_suffix(".js")
BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
WIDE, NARROW, HEIGHT = 1280, 400, 900
LOOKS = 20  # attempts, 50 ms apart, before a page counts as ignoring the theme
PATIENCE = 120_000  # milliseconds; long enough for a busy machine
# The rules of WCAG 2 at levels A and AA, and unique ids; except the rule for the roles that
# docutils sets on a list of references, which the book cannot change.
RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"],
    "rules": {
        "duplicate-id": {"enabled": True},
        "aria-deprecated-role": {"enabled": False},
        "aria-required-children": {"enabled": False},
    },
}
CONTRAST = {"runOnly": ["color-contrast"]}
KINDS = "; axe.configure({rules: [{id: 'color-contrast', selector: '[data-kind-of-text]'}]})"
REDIRECT = re.compile(r"""http-equiv="?refresh"?[^>]*url=([^"'> ]+)""", re.IGNORECASE)
SHOWN = 3  # elements named for one problem


def find_browser() -> str | None:
    """Return the path of an installed Chromium or Chrome, or None."""
    return next((path for path in map(shutil.which, BROWSERS) if path), None)


class _Quiet(SimpleHTTPRequestHandler):
    """Serves files without logging."""

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on the local host.

    Args:
        folder: The folder.

    Yields:
        URL of the folder, with a trailing slash.
    """
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=folder)) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


class Visit:
    """A visit to a book, with requests to other servers blocked.

    Attributes:
        page: The browser page that opens the pages of the book.
    """

    def __init__(self, browser: Browser, home: str) -> None:
        """Open an empty page.

        Args:
            browser: A running browser.
            home: URL of the book's folder, with a trailing slash.
        """
        self.page: Page = browser.new_page(service_workers="block")
        self.page.set_default_timeout(PATIENCE)
        self._home = home
        self._heard: list[str] = []
        self._axe = Axe(AXE_SCRIPT + KINDS)
        self.page.add_init_script(path=LOOK)
        elsewhere = re.compile(f"^(?!{re.escape(home)}|data:|blob:)")
        self.page.route(elsewhere, self._refuse)
        self.page.on("pageerror", lambda error: self._heard.append(f"script error: {error}"))
        self.page.on("websocket", lambda socket: self._heard.append(f"opens {socket.url}"))
        self.page.on("console", self._console)
        self.page.on("response", self._response)

    def _refuse(self, route: Route) -> None:
        self._heard.append(f"requests {route.request.url} from another server")
        route.abort()

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._heard.append(f"console: {message.text}")

    def _response(self, response: Response) -> None:
        if response.status >= 400:
            self._heard.append(f"{response.url} is missing ({response.status})")

    def opened(self, path: str) -> list[str]:
        """Open a page and return the problems found on loading.

        Args:
            path: Path of the page in the book, optionally with a query.

        Returns:
            One line for each problem.
        """
        self._set("light", WIDE)
        self.page.goto(self._home + path)
        cut = self._told("reading")
        self.page.evaluate("look.settle()")
        return cut + self._told("outside", "mathematics") + self._heard_so_far()

    def looked_at(self) -> list[str]:
        """Return the problems of the open page in both themes and window widths.

        Returns:
            One line for each problem.
        """
        problems = []
        for theme, rules in {"light": RULES, "dark": CONTRAST}.items():
            found = []
            self._set(theme, NARROW)
            if not self._follows(theme):
                found.append("does not follow the reader's theme")
            found += self._told("overflow", "cutOff")
            self._set(theme, WIDE)
            found += self._told("overflow", "cutOff", "pictures")
            self.page.evaluate("look.markKinds()")
            found += self._axe_problems(rules)
            problems += [f"{theme}: {problem}" for problem in found]
        return problems + self._heard_so_far()

    def used(self) -> list[str]:
        """Return the controls of the open page that have no effect.

        Returns:
            One line for each problem.
        """
        sliders = self.page.locator("input[type=range]:visible").all()
        dead = [slider for slider in sliders if not _moves(slider)]
        problems = [f"slider {slider.get_attribute('id')} changes nothing" for slider in dead]
        return problems + self._told("searchWorks") + self._heard_so_far()

    def links(self) -> tuple[set[str], set[str]]:
        """Return the link targets of the open page, and the names of its anchors."""
        links, anchors = self.page.evaluate("[look.links(), look.anchors()]")
        return set(links), set(anchors)

    def _set(self, theme: str, width: int) -> None:
        self.page.emulate_media(color_scheme=theme)
        self.page.set_viewport_size({"width": width, "height": HEIGHT})

    def _follows(self, theme: str) -> bool:
        """Return whether the page adopts a theme; it is notified of a change with a delay."""
        for _ in range(LOOKS):
            if self.page.evaluate("look.theme()") == theme:
                return True
            time.sleep(0.05)
        return False

    def _told(self, *checks: str) -> list[str]:
        return [line for check in checks for line in self.page.evaluate(f"look.{check}()")]

    def _heard_so_far(self) -> list[str]:
        heard, self._heard = self._heard, []
        return list(dict.fromkeys(heard))

    def _axe_problems(self, rules: dict) -> list[str]:
        options = rules | {"preload": False, "resultTypes": ["violations"]}
        violations = self._axe.run(self.page, options=options).response["violations"]
        return [
            f"{violation['id']}: {_reason(node)}"
            for violation in violations
            for node in violation["nodes"][:SHOWN]
        ]


def _reason(node: dict) -> str:
    messages = [check["message"] for check in node["any"] + node["all"] + node["none"]]
    return f"{'; '.join(messages)} at {' '.join(node['html'].split())[:120]}"


def _moves(slider: Locator) -> bool:
    """Return whether an arrow key on a slider changes the text around it."""
    around = "s => (s.closest('.cell_output') ?? document.body).innerText"
    at_end = slider.evaluate("s => s.value === s.max")
    before = slider.evaluate(around)
    slider.press("ArrowLeft" if at_end else "ArrowRight")
    return slider.evaluate(around) != before


def dead_links(links: dict[str, set[str]], anchors: dict[str, set[str]], html: Path) -> list[str]:
    """Return the book's internal links that do not resolve.

    Args:
        links: Link targets by the path of the page; a target is a path, optionally with an anchor.
        anchors: Names of anchors by the path of the page.
        html: Folder of the built book.

    Returns:
        One line for each problem.
    """
    problems = []
    for page, targets in links.items():
        for target in sorted(targets):
            path, anchor = urldefrag(target)
            path = path.split("?")[0]
            if not (html / unquote(path)).is_file():
                problems.append(f"{page}: links to {target}, but there is no {path or 'such page'}")
            elif anchor and path in anchors and unquote(anchor) not in anchors[path]:
                problems.append(f"{page}: links to {target}, but {path} has no #{anchor}")
    return problems


def pages_of(html: Path) -> list[str]:
    """Return the pages of a built book, without the theme's templates.

    Args:
        html: Folder of the built book.

    Returns:
        Paths relative to `html`, in alphabetical order.
    """
    found = [path.relative_to(html) for path in html.rglob("*.html")]
    return sorted(path.as_posix() for path in found if path.parts[0] != "_static")


def book_problems(browser: Browser, html: Path) -> list[str]:
    """Check all pages of a built book.

    Args:
        browser: A running browser.
        html: Folder of the built book.

    Returns:
        One line for each problem.
    """
    problems, links, anchors = [], {}, {}
    with served(html) as home:
        visit = Visit(browser, home)
        for path in pages_of(html):
            if redirect := REDIRECT.search((html / path).read_text(encoding="utf-8")):
                links[path] = {redirect[1]}
                continue
            query = "?q=latent" if path == "search.html" else ""
            found = visit.opened(path + query) + visit.looked_at() + visit.used()
            problems += [f"{path}: {problem}" for problem in found]
            targets, anchors[path] = visit.links()
            links[path] = {t.removeprefix(home) for t in targets if t.startswith(home)}
        visit.page.close()
    visit = Visit(browser, f"{html.as_uri()}/")
    for path in anchors:
        problems += [f"{path}: as a file: {problem}" for problem in visit.opened(path)]
    visit.page.close()
    return problems + dead_links(links, anchors, html)


@contextmanager
def launched(without: str) -> Iterator[Browser | None]:
    """Launch an installed browser.

    Args:
        without: Message printed with the reason if there is no browser or it fails to start.

    Yields:
        The browser, or None.
    """
    executable = find_browser()
    if executable is None:
        print(f"{without}: no Chromium or Chrome was found")
        yield None
        return
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=executable)
        except Error as error:
            print(f"{without}: {executable} fails: {error.message.splitlines()[0]}")
            yield None
            return
        with browser:
            yield browser


def main() -> int:
    """Check the book in ``_build/html`` and print the problems.

    Returns:
        0 if there are no problems or no browser, else 1.
    """
    html = ROOT / "_build" / "html"
    with launched("The pages were not checked in a browser") as browser:
        if browser is None:
            return 0
        problems = book_problems(browser, html)
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print(f"{len(pages_of(html))} pages checked in a browser without network access")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
