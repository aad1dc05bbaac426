"""Check that the model in the page generates the same tokens as `saif_helpers.generate`.

Run by ``make book`` in a headless Chromium, on the files of the built book: 200 sentences, with no
vector and with every placement at three layers, and the log-probabilities of the answers. It then
operates the playground's controls by keyboard, with the page opened as a file. If there is no
Chromium or Chrome, it prints a message and skips the checks.
"""

import base64
import json
import sys
from itertools import cycle, product
from pathlib import Path

import numpy as np
import torch
from check_in_browser import launched
from playwright.sync_api import Page

import saif_helpers as saif
from saif_helpers.placements import PLACEMENTS
from saif_helpers.steering import generate_ids

ROOT = Path(__file__).resolve().parents[1]
LIVE = ROOT / "_build" / "html" / "_static" / "live"
LAYERS, DECAY, STRENGTH, MOST = (0, 2, 5), 0.5, 2.0, 40
N_SENTENCES, CLOSE = 200, 2e-4  # CLOSE: tolerance of log-probabilities, in nats
WRITE = """([jobs, strength, most]) => {
  window.model ??= new SAIF.Model(SAIF.data.model);
  const vectors = SAIF.singles(SAIF.data.vectors.vectors);
  return jobs.map(({ text, row, layer, placement, decay }) => {
    const size = model.config.d_model;
    const vector = row === null ? null : vectors.subarray(row * size, (row + 1) * size);
    const scaled = vector?.map((one) => one * strength);
    const steering = vector && { layer, placement, decay, vector: scaled };
    const { ids, likely } = model.run(model.prompt(text), steering, most);
    return [ids, Array.from(likely)];
  });
}"""


def page_data() -> dict:
    """Return the vectors and their metadata from the script that the page loads."""
    script = (LIVE / "data" / "vectors.js").read_text(encoding="utf-8")
    return json.loads(script[script.index("=") + 1 :].rstrip().rstrip(";"))


def jobs() -> list[dict]:
    """Return the generations to compare: sentence, row of the vector, layer and placement."""
    data = page_data()
    shape = len(data["instructions"]), len(data["rules"]), len(data["layers"])
    rows = np.arange(np.prod(shape)).reshape(shape)
    hows = [None, *product(LAYERS, PLACEMENTS)]
    found = []
    contents = saif.load_contents("test", "grammar")[:N_SENTENCES]
    for number, (content, how) in enumerate(zip(contents, cycle(hows), strict=False)):
        job = {"text": content.text, "row": None, "layer": 0, "placement": "", "decay": DECAY}
        if how is not None:
            layer, placement = how
            instruction, rule = number % shape[0], number % 3
            row = rows[instruction, rule, data["layers"].index(layer)]
            job |= {"row": int(row), "layer": layer, "placement": placement}
        found.append(job)
    return found


def expected(found: list[dict]) -> list[tuple[list[int], list[float] | None]]:
    """Return the package's token ids and, where they can be computed, log-probabilities."""
    data = page_data()
    model = saif.load("organism", "M", layers=[0])
    raw = np.frombuffer(base64.b64decode(data["vectors"]), "<f4").reshape(-1, model.d_model)
    prompts = [saif.render(job["text"], model.tokenizer) for job in found]
    added = [
        job["row"] is not None
        and saif.SteeringVector(
            job["layer"], torch.from_numpy(raw[job["row"]] * STRENGTH), "page"
        ).at(job["placement"], job["decay"])
        for job in found
    ]
    steering = [one or None for one in added]
    written = generate_ids(model, prompts, steering, max_new_tokens=MOST)
    answers = []
    for prompt, padded, vector in zip(prompts, written, steering, strict=True):
        ends = [at for at, token in enumerate(padded) if token in model.stop_ids]
        ids = padded[: min(ends, default=len(padded))]
        text = model.tokenizer.decode(ids)
        likely = None  # a broken text may be tokenized differently from the generated tokens
        if ids and model.tokenizer(text, add_special_tokens=False)["input_ids"] == ids:
            likely = saif.log_probabilities(model, prompt, text, vector).tolist()
        answers.append((ids, likely))
    return answers


def problems(found: list[dict], written: list, wanted: list) -> list[str]:
    """Return the differences between the page's and the package's generations."""
    said = []
    for job, (ids, likely), (own_ids, own_likely) in zip(found, written, wanted, strict=True):
        where = f"layer {job['layer']}, {job['placement'] or 'no vector'}: {job['text']}"
        if ids != own_ids:
            said.append(f"{where}: the page writes {ids}, the package {own_ids}")
        elif own_likely is not None:
            apart = max(abs(a - b) for a, b in zip(likely, own_likely, strict=True))
            if apart > CLOSE:
                said.append(f"{where}: log-probabilities differ by {apart:.2g} nats")
    return said


def control_problems(page: Page) -> list[str]:
    """Operate the controls of the playground and return what does not work.

    Args:
        page: A page of the browser.

    Returns:
        One line for each problem.
    """
    said = []
    page.goto((LIVE / ".." / ".." / "book" / "13_playground.html").resolve().as_uri())
    if not page.locator(".live-example").is_visible():
        said.append("no example is shown before the model is loaded")
    page.locator(".live button").press("Enter")
    page.wait_for_selector(".live-steered")
    unsteered, first = page.locator(".live-results p").all_inner_texts()[:2]
    if unsteered == first:
        said.append("the vector of the first instruction changes nothing")
    unnamed = "all => all.filter(one => !one.labels.length).length"
    if page.locator(".live :is(select, input)").evaluate_all(unnamed):
        said.append("a control has no label")
    page.locator("#live-strength").fill("0")
    page.locator("#live-strength").press("Tab")
    page.wait_for_function("() => !document.querySelector('.live-steered rt')")
    if page.locator(".live-steered").inner_text() != unsteered:
        said.append("the answer at strength 0 is not the unsteered one")
    page.locator("#live-words").fill("The zebra sleeps.")
    page.locator("#live-words").press("Tab")
    page.wait_for_function("() => /never seen: zebra/.test(document.body.innerText)")
    page.goto(page.url + "?layer=0&latent=709&strength=27#live")
    page.wait_for_selector(".live-steered rt")
    if page.locator("#live-latent").input_value() != "709":
        said.append("the page does not open with the latent in its address")
    return said


def main() -> int:
    """Run the comparison and print the differences.

    Returns:
        0 if there are no differences or no browser, else 1.
    """
    found = jobs()
    with launched("The model in the page was not checked") as browser:
        if browser is None:
            return 0
        page = browser.new_page()
        for name in ("organism.js", "data/model.js", "data/vectors.js"):
            page.add_script_tag(path=LIVE / name)
        written = page.evaluate(WRITE, [found, STRENGTH, MOST])
        said = control_problems(browser.new_page())
    said += problems(found, written, expected(found))
    for one in said:
        print(one, file=sys.stderr)
    if not said:
        print(f"{len(found)} answers: the page and Python generate the same tokens")
    return int(bool(said))


if __name__ == "__main__":
    sys.exit(main())
