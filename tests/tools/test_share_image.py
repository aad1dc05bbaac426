"""The picture of a link to the book shows what the record says, and a page names it."""

from types import SimpleNamespace

import pytest
import share_image
from PIL import Image

from saif_helpers.book.results import read_all


@pytest.fixture
def record():
    return read_all(share_image.PICTURE.parents[1] / "results")


def test_the_shipped_picture_is_that_of_the_record(record):
    with Image.open(share_image.PICTURE) as picture:
        assert picture.size == share_image.SIZE
        assert picture.info["Description"] == share_image.described(record), "run make picture"


def test_the_real_model_is_shown(record, tmp_path):
    shares = share_image.draw(record, tmp_path / "share.png")
    assert set(shares) == set(share_image.SHOWN)
    said = share_image.described(record)
    assert said.startswith("Outputs that pass on SmolLM2")
    assert all(f"{method} {share:.0%}" in said for method, share in shares.items())


@pytest.mark.parametrize("base", ["https://a.github.io/b", "https://a.github.io/b/"])
def test_a_page_names_the_picture_by_an_absolute_address(base):
    context = {"metatags": "<meta>"}
    app = SimpleNamespace(config=SimpleNamespace(html_baseurl=base))
    share_image.add_picture(app, "index", "page.html", context, None)
    assert context["metatags"].startswith("<meta><meta property=")
    assert 'content="https://a.github.io/b/_static/share.png"' in context["metatags"]


def test_a_book_without_an_address_names_none():
    context = {}
    app = SimpleNamespace(config=SimpleNamespace(html_baseurl=""))
    share_image.add_picture(app, "index", "page.html", context, None)
    assert context == {}
