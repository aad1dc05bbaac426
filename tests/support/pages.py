"""Pages: what a test reads of the HTML that an object shows itself as."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """Collects the tags and attributes of a page, and the text outside and inside <rt>."""

    def __init__(self, source: str) -> None:
        """Read a page."""
        super().__init__()
        self.tags, self.attributes, self.text, self.numbers, self.inside = [], [], "", [], ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag and its attributes."""
        self.tags.append(tag)
        self.attributes += attrs
        self.inside = tag

    def handle_endtag(self, tag: str) -> None:
        """Note that no tag is open."""
        self.inside = ""

    def handle_data(self, data: str) -> None:
        """Note a text."""
        if self.inside == "rt":
            self.numbers.append(data)
        else:
            self.text += data
