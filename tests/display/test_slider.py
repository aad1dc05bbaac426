import shutil
import subprocess
from html.parser import HTMLParser

import pandas as pd
import pytest
from refusals import refused

from saif_helpers.display.slider import Frames

TABLES = {
    "0": pd.DataFrame({"output": ["The cat <b>sleeps</b>."]}),
    "1 & more": pd.DataFrame({"output": ["Le chat dort."]}),
    "2": pd.DataFrame({"output": ["Chat chat chat"]}),
}
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


class Tags(HTMLParser):
    """Collects the attributes of every tag."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def all(self, tag):
        return [attrs for name, attrs in self.found if name == tag]


def test_one_frame_is_shown_and_the_slider_stands_at_it():
    tags = Tags(Frames("strength", TABLES, "1 & more")._repr_html_())
    frames = [attrs for attrs in tags.all("div") if "data-label" in attrs]
    assert [attrs["data-label"] for attrs in frames] == list(TABLES)
    assert ["hidden" in attrs for attrs in frames] == [True, False, True]
    (slider,), (label,), (output,) = (tags.all(tag) for tag in ("input", "label", "output"))
    assert (slider["min"], slider["max"], slider["value"]) == ("0", "2", "1")
    assert label["for"] == output["for"] == slider["id"]
    assert slider["aria-valuetext"] == "1 & more"
    assert not tags.all("script")


def test_no_text_is_left_unescaped():
    page = Frames("<i>strength</i>", TABLES, "0")._repr_html_()
    assert "<b>" not in page
    assert "<i>" not in page
    assert "&lt;b&gt;sleeps" in page


def test_the_same_frames_give_the_same_page_and_others_another_id():
    one, same = (Frames("strength", TABLES, "0")._repr_html_() for _ in range(2))
    other = Frames("decay", TABLES, "0")._repr_html_()
    assert one == same
    ids = [Tags(page).all("input")[0]["id"] for page in (one, other)]
    assert ids[0] != ids[1]


def test_a_start_that_is_no_frame_is_refused():
    with refused("start"):
        Frames("strength", TABLES, "9")


class Shown:
    """Not a table, but with HTML of its own."""

    def _repr_html_(self):
        return "<ruby>chat<rt>+2.0</rt></ruby>"


def test_what_is_no_table_shows_its_own_html():
    page = Frames("strength", {"0": TABLES["0"], "1": Shown()}, "0")._repr_html_()
    assert '<div data-label="1" hidden><ruby>chat<rt>+2.0</rt></ruby></div>' in page


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_moving_the_slider_shows_the_frame(tmp_path):
    move = (
        "<script>const s = document.querySelector('input'); s.value = 2;"
        "s.dispatchEvent(new Event('input'));</script>"
    )
    page = tmp_path / "page.html"
    page.write_text("<!doctype html>" + Frames("strength", TABLES, "0")._repr_html_() + move)
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command.append(f"--user-data-dir={tmp_path / 'profile'}")
    run = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=120)
    tags = Tags(run.stdout)
    frames = [attrs for attrs in tags.all("div") if "data-label" in attrs]
    assert ["hidden" in attrs for attrs in frames] == [True, True, False]
    assert tags.all("input")[0]["aria-valuetext"] == "2"
