"""Check that every page in the table of contents was built, is complete, and works offline.

jupyter-book can report success without having written a page, and themes often load scripts and
fonts from other servers. Run by ``make book``.
"""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
LOADING = {"img": "src", "script": "src", "iframe": "src", "source": "src", "link": "href"}
LOADED_LINKS = {"stylesheet", "preload", "modulepreload", "icon", "preconnect", "dns-prefetch"}
ELSEWHERE = re.compile(r"^(https?:)?//", re.IGNORECASE)
CSS_ELSEWHERE = re.compile(r"""(?:url\(|@import)\s*["']?(?:https?:)?//[^)"';]+""", re.IGNORECASE)


class _Page(HTMLParser):
    """Collects the resources that a page loads, and its pictures without alt text."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[tuple[int, str]] = []
        self.without_alt: list[tuple[int, str]] = []
        self.in_style = False
        self.style_elsewhere: list[tuple[int, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        line = self.getpos()[0]
        self.in_style = tag == "style"
        target = values.get(LOADING.get(tag, "")) or ""
        kinds = set((values.get("rel") or "").lower().split())
        if target and (tag != "link" or kinds & LOADED_LINKS):
            self.loads.append((line, target))
        # Sphinx uses the path of a picture as default alt text; that does not count.
        alt = (values.get("alt") or "").strip()
        if tag == "img" and (not alt or alt.startswith(("_images/", "../_images/", "data:"))):
            self.without_alt.append((line, target[:80]))

    def handle_endtag(self, tag: str) -> None:
        self.in_style = self.in_style and tag != "style"

    def handle_data(self, data: str) -> None:
        if self.in_style:
            line = self.getpos()[0]
            self.style_elsewhere += [(line, hit) for hit in CSS_ELSEWHERE.findall(data)]


def toc_files(toc: dict) -> list[str]:
    """Return the files in a table of contents, in reading order.

    Args:
        toc: The parsed ``_toc.yml``.

    Returns:
        Paths without extension, relative to the top folder, such as ``"book/index"``.
    """
    files = [toc[key] for key in ("root", "file") if key in toc]
    for key in ("parts", "chapters", "sections", "entries", "subtrees"):
        for entry in toc.get(key, []):
            files += toc_files(entry)
    return files


def page_problems(html: Path, page: str) -> list[str]:
    """Check one page.

    Args:
        html: Folder of the built book.
        page: Path of the page without extension, relative to `html`.

    Returns:
        One line for each problem.
    """
    path = html / f"{page}.html"
    if not path.exists():
        return [f"{page}: no HTML page was written; check that jupyter-book 1 was used"]
    parsed = _Page()
    parsed.feed(path.read_text(encoding="utf-8"))
    problems = [
        f"{page}.html line {line}: picture {target} has no alt text: set mystnb.image.alt"
        for line, target in parsed.without_alt
    ]
    for line, target in parsed.loads:
        if ELSEWHERE.match(target):
            problems.append(f"{page}.html line {line}: loads {target} from another server")
        elif not target.startswith(("data:", "#")):
            local = path.parent / target.split("?")[0].split("#")[0]
            if not local.exists():
                problems.append(f"{page}.html line {line}: loads {target}, which does not exist")
    problems += [
        f"{page}.html line {line}: style loads {hit}" for line, hit in parsed.style_elsewhere
    ]
    return problems


def css_problems(html: Path) -> list[str]:
    """Check that no style sheet loads resources from another server.

    Args:
        html: Folder of the built book.

    Returns:
        One line for each problem.
    """
    return [
        f"{sheet.relative_to(html)}: loads {hit}"
        for sheet in sorted((html / "_static").rglob("*.css"))
        for hit in CSS_ELSEWHERE.findall(sheet.read_text(encoding="utf-8"))
    ]


def main() -> int:
    """Check the book in ``_build/html`` and print the problems.

    Returns:
        0 if there are no problems, else 1.
    """
    html = ROOT / "_build" / "html"
    pages = toc_files(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8")))
    problems = css_problems(html)
    for page in pages:
        problems += page_problems(html, page)
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print(f"{len(pages)} pages, complete and self-contained")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
