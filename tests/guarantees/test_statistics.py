"""Statistics that do not fool: errors are as rare as stated, and no choice sees the test.

Rates are held to the nominal ones, or to those of `simulate.HIGHER`, which pages and docstrings
state. `python tools/simulate.py` measures the same with more draws.
"""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from refusals import refused
from simulate import HIGHER, bar_rates, interval_rates, verdict_rates
from simulate_claims import judge_latents, states, swapped

from saif_helpers.activations import capture_pairs
from saif_helpers.contents import Content, load_contents
from saif_helpers.hub.loading import load
from saif_helpers.instructions import load_instructions
from saif_helpers.intervals import wilson
from saif_helpers.latents import encode
from saif_helpers.prompts import make_pairs
from saif_helpers.study.claims import verdict
from saif_helpers.study.search import search
from saif_helpers.study.settings import settings_grid
from saif_helpers.study.study import study_instruction
from saif_helpers.study.sweep import best_setting, check_no_test_leakage, sweep

DRAWS = 100  # of each simulated rate; `tools/simulate.py` takes more
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def rates():
    """Every rate that `tools/simulate.py` measures, from fewer draws."""
    found = [*interval_rates(DRAWS), *bar_rates(DRAWS), *verdict_rates(DRAWS)]
    assert len({rate.name for rate in found}) == len(found)
    return {rate.name: rate for rate in found}


@pytest.mark.slow
def test_errors_are_as_rare_as_stated(rates):
    higher = [
        f"{r.name}: {r.observed:.4f}, stated {r.stated:.4f}" for r in rates.values() if not r.holds
    ]
    assert not higher


@pytest.mark.slow
def test_what_is_stated_as_higher_is_so(rates):
    """A rate that a repair has lowered must leave the list, and the pages that name it."""
    assert set(HIGHER) <= set(rates)
    for name, stated in HIGHER.items():
        assert stated > rates[name].nominal
        assert rates[name].observed >= stated - rates[name].error, name


def test_the_scorecard_asks_for_rates_that_are_measured_and_types_none():
    page = (ROOT / "book/scorecard.md").read_text(encoding="utf-8")
    (paragraphs,) = re.findall(r"\(error-rates\)=\n(.*?)(?:\n## |\Z)", page, re.DOTALL)
    assert "tests/guarantees/test_statistics.py" in paragraphs
    asked = re.findall(r"guarantees.md::higher than nominal: (.*?):s`", paragraphs)
    assert len(asked) == 2
    assert set(asked) <= {name.replace(": ", ", ") for name in HIGHER}
    typed = {float(number) for number in re.findall(r"([\d.]+)%", paragraphs)}
    assert typed == {95, 2.5, 10, 41, 1.25}  # nominal ones


def test_latents_of_an_instruction_are_told_from_swapped_labels():
    """The check that swapped labels must fail is one that true labels pass."""
    assert verdict(judge_latents(*states(0, responding=20))) == "supported"
    assert verdict(judge_latents(*swapped(*states(0, responding=20), 0))) != "supported"


@pytest.fixture(scope="module")
def captured():
    """Living latents of the smallest organism's last layer: identification and test pairs."""
    model = load("organism", "S", layers=[-1])
    (layer,) = model.saes.layers
    instruction = load_instructions(model.corpus)["french"]
    halves = []
    for split in ("identification", "test"):
        pairs = make_pairs(instruction, load_contents(split)[:60], model.tokenizer)
        halves += [
            encode(model.saes[layer], half[layer]) for half in capture_pairs(model, pairs, [layer])
        ]
    living = (torch.cat(halves) > 0).any(0)
    found, without, tested, tested_without = (half[:, living] for half in halves)
    return (found, without), (tested, tested_without)


def test_swapped_labels_of_a_model_support_nothing(captured):
    """At most 2.5 % of the rankings from swapped labels pass all checks of chapter 2."""
    checks = [judge_latents(*swapped(*captured, seed)) for seed in range(40)]
    assert judge_latents(*captured)[1].holds
    assert sum(verdict(found) == "supported" for found in checks) <= 40 * (0.025 + 3.5 * 0.0247)
    assert sum(found[1].holds is True for found in checks) <= 40 * (0.05 + 3.5 * 0.0345)


VALIDATION = [Content(f"Sentence {number}.", split="validation") for number in range(4)]
TEST = [Content(f"Kept back {number}.", split="test") for number in range(4)]
SHIPPED = load_contents("test")[7]
LEAKS = {
    "a test content": TEST[2],
    "a test content of FLORES": Content("Mars is red.", split="devtest"),
    "another label": replace(TEST[1], split="validation"),
    "no label": Content(" kept  BACK 3. "),
    "a shipped sentence": replace(SHIPPED, split="identification"),
}


@pytest.fixture(params=LEAKS)
def leak(request):
    """A content that must not be chosen on."""
    return LEAKS[request.param]


@pytest.mark.parametrize("choose", [sweep, search])
def test_a_planted_leak_stops_a_choice_of_settings(leak, choose):
    model = tiny.wrapped("gemma2")
    instruction = load_instructions("natural")["uppercase"]
    options = {"rounds": (1, 2, 3)} if choose is search else {}
    grid = settings_grid([0], [1], [0.0], ["decaying"])
    with refused("contents") as caught:
        choose(model, instruction, [*VALIDATION, leak], {}, grid, test=TEST, **options)
    assert repr(leak.text) in str(caught.value)
    with refused("sources"):  # so it was the leak
        choose(model, instruction, VALIDATION, {}, grid, test=TEST, **options)


@pytest.mark.parametrize("split", ["identification", "validation"])
def test_a_planted_leak_stops_a_study(leak, split):
    contents = {"identification": VALIDATION, "validation": VALIDATION, "test": TEST}
    contents[split] = [*VALIDATION, leak]
    with refused("contents") as caught:
        study_instruction(tiny.wrapped("gemma2"), load_instructions()["french"], **contents)
    assert repr(leak.text) in str(caught.value)


def test_a_content_that_is_in_both_lists_is_a_leak():
    both = Content("In both", split="dev")
    with refused("contents"):
        check_no_test_leakage([both], [both])
    check_no_test_leakage([both], TEST)


@pytest.mark.parametrize("corpus", ["grammar", "natural"])
def test_the_shipped_splits_share_no_sentence(corpus):
    check_no_test_leakage(
        load_contents("identification", corpus) + load_contents("validation", corpus)
    )


def test_the_best_of_many_flatters_on_validation_and_not_on_the_test():
    """Why there are three splits: of 60 equally good settings, one looks best."""
    generator, true, n_validation, n_test = np.random.default_rng(0), 0.3, 60, 100
    settings = settings_grid(
        range(4), [15], [0.0, 1.0, 2.0], ["decaying"], [1.0, 2.0, 4.0, 6.0, 8.0]
    )
    table = pd.DataFrame([vars(setting) for setting in settings])
    table = table.assign(loose=1.0, norm=1.0, contents=n_validation)
    flattered, honest, covered = [], [], 0
    for _ in range(200):
        shares = generator.binomial(n_validation, true, len(table)) / n_validation
        chosen = best_setting(
            table.assign(strict=shares, loose=1.0, norm=1.0, contents=n_validation)
        )
        flattered.append(shares[settings.index(chosen)])
        interval = wilson(int(generator.binomial(n_test, true)), n_test)
        honest.append(interval.value)
        covered += interval.low <= true <= interval.high
    assert np.mean(flattered) > true + 0.1
    assert np.mean(honest) == pytest.approx(true, abs=0.012)  # 3.5 standard errors
    assert covered >= 200 * (0.95 - 3.5 * 0.0154)
