"""The playground as a reader meets it: a Jupyter server, a browser, a slider moved by keyboard.

It drives the ipywidgets of the environment, which is 8. With ``pip install "ipywidgets<8"`` in a
copy of the environment the same test drives 7; that was done by hand, with 7.8 in JupyterLab 4.
"""

import importlib.util
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
MISSING = [name for name in ("jupyterlab", "playwright") if importlib.util.find_spec(name) is None]
PATIENCE = 240  # seconds for one step; on a busy machine a kernel needs its time for torch alone
HANDLE = ".noUi-handle, .ui-slider-handle"  # ipywidgets 8, ipywidgets 7
WITHOUT_NUMBERS = (
    "p => { p = p.cloneNode(true); p.querySelectorAll('rt').forEach(rt => rt.remove());"
    "return p.textContent; }"
)
CODE = """\
import saif_helpers as saif

start = saif.SteeringSetting(layer=0, k=15, beta=0.0, placement="every_position", strength=0.0)
saif.Playground(saif.load(size="S"), settings={"french": start}, n_pairs=12, max_new_tokens=12)
"""


def generation(package: str, first_of_8: int) -> bool:
    """Whether a package is of ipywidgets 8's generation, or of an earlier one."""
    return int(version(package).split(".")[0]) >= first_of_8


pytestmark = [
    pytest.mark.skipif(
        not MISSING and generation("ipywidgets", 8) != generation("jupyterlab_widgets", 3),
        reason="JupyterLab's part of ipywidgets is of another generation than ipywidgets",
    ),
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium or Chrome"),
    pytest.mark.skipif(bool(MISSING), reason=f"needs {' and '.join(MISSING)}: see extra 'test'"),
]


@pytest.fixture
def address(tmp_path):
    """Run a Jupyter server on a notebook with one cell, and give the notebook's address."""
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CODE)], metadata=kernel)
    (tmp_path / "work").mkdir()
    nbformat.write(notebook, tmp_path / "work" / "live.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ServerApp.ip=127.0.0.1"]
    command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    command += [f"--ServerApp.root_dir={tmp_path / 'work'}", "--ServerApp.allow_root=True"]
    command += [
        "--LabApp.extension_manager=readonly",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    # The files of a reader's own Jupyter are neither read nor written.
    own = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    own = {name: str(tmp_path / name.lower()) for name in own}
    env = os.environ | own | {"JUPYTER_TOKEN": token, "PYTHONPATH": str(ROOT)}
    del env["SAIF_BOOK_BUILD"]  # a reader's notebook is not the book's build
    with open(tmp_path / "server.log", "w") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_for(server, f"http://127.0.0.1:{port}/api?token={token}", tmp_path / "server.log")
        yield f"http://127.0.0.1:{port}/doc/tree/live.ipynb?token={token}"
    finally:
        server.terminate()  # ends its kernels too
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def wait_for(server, address, log):
    """Wait until the server answers."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return urllib.request.urlopen(address, timeout=10).close()
        except (urllib.error.URLError, OSError) as error:
            if server.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"no Jupyter server: {log.read_text()}") from error
        time.sleep(0.5)


@pytest.fixture
def page(address):
    """Open the notebook in a browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        options = {"executable_path": CHROMIUM, "args": ["--no-sandbox", "--headless=new"]}
        options["timeout"] = 1000 * PATIENCE
        browser = driver.chromium.launch(**options)
        opened = browser.new_page(viewport={"width": 1200, "height": 1000})
        opened.set_default_timeout(1000 * PATIENCE)
        asked = set()
        opened.on("request", lambda request: asked.add(urlsplit(request.url).hostname))
        opened.goto(address)
        yield opened
        assert asked <= {"127.0.0.1", None}, "another machine was asked for something"
        browser.close()


def answers(page):
    """Read both answers off the page."""
    return [
        page.locator(f"p.{name}").evaluate(WITHOUT_NUMBERS) for name in ("unsteered", "steered")
    ]


def wait_until(page, holds, what):
    """Wait until something holds of the page."""
    until = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < until, f"{what}; the page says {page.inner_text('body')[-2000:]}"
        page.wait_for_timeout(200)


def run_the_cell(page):
    """Run the cell and wait for the playground; again if the notebook took no notice of the keys.

    What is run before the kernel is there is not run, and on a busy machine keys get lost.
    """
    page.get_by_text("| Idle").wait_for()
    until = time.monotonic() + PATIENCE
    while not page.locator("p.steered").count():
        assert time.monotonic() < until, f"no playground: {page.inner_text('body')[-2000:]}"
        if "[ ]" in page.locator(".jp-CodeCell .jp-InputPrompt").first.inner_text():
            page.locator(".jp-CodeCell .cm-content").first.click()
            page.keyboard.press("Shift+Enter")
        page.wait_for_timeout(3000)


def test_the_slider_moved_by_keyboard_changes_the_steered_text(page):
    run_the_cell(page)
    unsteered, steered = answers(page)
    assert steered == unsteered != ""
    assert page.locator("p.steered rt").count() == 0
    assert page.get_by_text("Error displaying widget").count() == 0

    strength = page.locator(".widget-slider").filter(has_text="Strength").locator(HANDLE)
    strength.focus()
    for _ in range(16):
        page.keyboard.press("ArrowRight")
    wait_until(page, lambda: "strength 8" in page.inner_text("body"), "strength 8 was not shown")
    assert answers(page)[0] == unsteered
    assert answers(page)[1] != unsteered
    assert page.locator("p.steered rt").count() > 0

    page.keyboard.press("Home")
    wait_until(page, lambda: answers(page)[1] == unsteered, "at strength 0 the text did not return")

    sentence = page.locator(".widget-text input")
    sentence.fill("The bird sings.")
    sentence.press("Enter")
    wait_until(page, lambda: answers(page)[0] != unsteered, "the sentence was not answered")
    sentence.fill("")
    sentence.press("Enter")
    page.get_by_text("the text is empty").wait_for()
    assert page.locator(".jp-OutputArea-output[data-mime-type*=stderr]").count() == 0
