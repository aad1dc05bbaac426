import random
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from letter import CONTENTS, LETTER, MANY, grades_of, looked_up, vectors
from refusals import refused

from saif_helpers.study import search as module
from saif_helpers.study.search import MOST_DOUBLINGS, search
from saif_helpers.study.settings import SETTING_COLUMNS, SteeringSetting, settings_grid
from saif_helpers.study.sweep import best_setting, shortlist, sweep


@pytest.fixture
def searched(model, monkeypatch):
    """Search settings whose passes are made up; return the table and what was graded."""

    def run(settings, passes, contents=MANY, **options):
        calls = []
        monkeypatch.setattr(module, "grade_settings", looked_up(passes, calls))
        sources = vectors({setting.layer for setting in settings})
        return search(model, LETTER, contents, sources, settings, **options), calls

    return run


def test_a_search_measures_the_best_on_more_contents(model, rankings):
    grid = settings_grid([0, 2], [3], [0.0, 4.0], ["decaying", "every_position"], [1.0, 6.0], [0.5])
    options = {"rounds": (1, 2, 3), "least": 1, "max_new_tokens": 4, "inside": False}
    table = search(model, LETTER, CONTENTS, rankings, grid, **options)
    assert sorted(shortlist(table, 99), key=str) == sorted(grid, key=str)
    assert table["contents"].value_counts().to_dict() == {1: 8, 2: 2, 3: 6}
    for n, rows in table.groupby("contents"):
        tried = shortlist(rows, 99)
        again = sweep(model, LETTER, CONTENTS[:n], rankings, tried, max_new_tokens=4)
        kept = rows.sort_values(SETTING_COLUMNS, ignore_index=True)
        assert kept.equals(again.sort_values(SETTING_COLUMNS, ignore_index=True))
    assert best_setting(table) == best_setting(table[table["contents"] == 3])


def test_a_search_in_a_single_round_is_a_sweep(model, rankings):
    grid = settings_grid([0, 2], [3], [0.0, 4.0], ["decaying"], [6.0], [0.5])
    run = {"max_new_tokens": 4}
    found = search(model, LETTER, CONTENTS, rankings, grid, rounds=(3,), **run)
    assert found.equals(sweep(model, LETTER, CONTENTS, rankings, grid, **run))


def all_pass(outputs, items, instruction):
    return grades_of([True] * len(outputs), contents=CONTENTS)


def test_where_nothing_passes_no_strength_is_extended(model, rankings):
    """As with most draws of random latents: the smallest norm would win, again and again."""
    grid = settings_grid([0, 2], [3], 4.0, ["decaying"], [1.0, 6.0], [0.5])
    fails = {"grader": lambda outputs, *_: grades_of([False] * len(outputs), contents=CONTENTS)}
    how = {"rounds": (1, 3), "max_new_tokens": 4}
    found = search(model, LETTER, CONTENTS, rankings, grid, **how, **fails)
    assert set(found["strength"]) == {1.0, 6.0}


def test_a_longer_search_extends_the_strengths_with_real_outputs(model, rankings):
    grid = settings_grid([0, 2], [3], 4.0, ["decaying", "every_position"], [1.0, 6.0], [0.5])
    run = {"max_new_tokens": 4, "grader": all_pass}
    found = search(model, LETTER, CONTENTS, rankings, grid, rounds=(1, 3), least=2, **run)
    new = found[~found["strength"].isin([1.0, 6.0])]
    assert len(new)
    again = sweep(model, LETTER, CONTENTS, rankings, shortlist(new, 99), **run)
    assert new.sort_values("norm", ignore_index=True).equals(
        again.sort_values("norm", ignore_index=True)
    )


def made_up(settings, seed):
    """Return strict and loose passes of each setting on each content, some equally good."""
    generator = random.Random(seed)
    chances = {s: generator.choice([0, 0.2, 0.5, 0.8]) for s in settings}
    loose = {(s, c.text): generator.random() < chances[s] + 0.1 for s in settings for c in MANY}
    strict = {key: passes and generator.random() < 0.7 for key, passes in loose.items()}
    return lambda setting, content: (strict[setting, content.text], loose[setting, content.text])


@pytest.mark.parametrize("by", ["strict", "loose"])
@pytest.mark.parametrize("rounds", [(8, 16, 32, 60), (4, 12, 40)], ids=["four", "three"])
@pytest.mark.parametrize("least", [1, 4])
def test_each_round_keeps_the_best_of_each_layer_by_the_last_one(searched, by, rounds, least):
    settings = [
        *settings_grid(0, 1, [*np.arange(24.0)], "decaying"),
        *settings_grid(1, 1, [*np.arange(3.0)], "decaying"),
        *settings_grid(2, 1, [*np.arange(11.0)], "decaying"),
    ]
    passes = made_up(settings, seed=1)
    options = {"rounds": rounds, "least": least, "by": by, "inside": False}
    table, calls = searched(settings, passes, **options)
    assert [len(contents) for contents, _ in calls] == np.diff([0, *rounds]).tolist()
    assert [one for contents, _ in calls for one in contents] == MANY[: rounds[-1]]
    graded = [chosen for _, chosen in calls]
    assert graded[0] == settings
    first = 0 if by == "strict" else 1
    for n, more, before, after in zip(rounds, rounds[1:], graded, graded[1:], strict=False):
        for layer in (0, 1, 2):
            of_layer = [s for s in before if s.layer == layer]
            answers = {s: [passes(s, content) for content in MANY[:n]] for s in of_layer}
            sums = {s: np.sum(each, axis=0) for s, each in answers.items()}
            order = sorted(of_layer, key=lambda s: (-sums[s][first], -sums[s][1 - first]))
            keep = max(least, -(-len(of_layer) * n // more))
            assert [s for s in after if s.layer == layer] == order[:keep]
    lasted = Counter(setting for chosen in graded for setting in chosen)
    for setting, row in zip(shortlist(table, 99, by=by), sorted_rows(table, by), strict=True):
        n = rounds[lasted[setting] - 1]
        shares = np.mean([passes(setting, content) for content in MANY[:n]], axis=0)
        assert row["contents"] == n
        assert (row["strict"], row["loose"]) == pytest.approx(tuple(shares))
    for layer, all_of_it in table.groupby("layer"):
        assert (all_of_it["contents"] == rounds[-1]).sum() >= min(least, len(all_of_it)), layer


def sorted_rows(table, by):
    rows = {SteeringSetting(*row[SETTING_COLUMNS]): row for _, row in table.iterrows()}
    return [rows[setting] for setting in shortlist(table, 99, by=by)]


def peak(best):
    """Return passes that are the more, the nearer a strength's size is to the best, in octaves."""

    def passes(setting, content):
        if setting.strength * best <= 0:
            return False
        octaves = abs(np.log2(setting.strength / best))
        return MANY.index(content) < 50 - 4 * octaves

    return passes


@pytest.mark.parametrize(
    ("strengths", "best", "chosen", "new"),
    [
        ((1.0, 2.0, 4.0), 16.0, 16.0, [8.0, 16.0, 32.0]),
        ((1.0, 2.0, 4.0), 0.25, 0.25, [0.5, 0.25, 0.125]),
        ((1.0, 2.0, 4.0), 2.0, 2.0, []),
        ((2.0, 3.0), 3.0, 3.0, [6.0]),
        ((-4.0, -2.0, -1.0), -16.0, -16.0, [-8.0, -16.0, -32.0]),
        ((-4.0, -2.0, -1.0), -0.5, -0.5, [-0.5, -0.25]),
        ((-1.0, 1.0), 2.0, 2.0, [2.0, 4.0]),
        ((5.0,), 40.0, 5.0, []),
    ],
    ids=lambda value: str(value),
)
def test_the_choice_has_a_larger_and_a_smaller_strength_next_to_it(
    searched, strengths, best, chosen, new
):
    grid = settings_grid([0, 1], 1, 0.0, "decaying", strengths)
    passes = {0: peak(best), 1: lambda *_: False}
    table, calls = searched(grid, lambda s, c: passes[s.layer](s, c))
    assert best_setting(table) == SteeringSetting(0, 1, 0.0, "decaying", chosen)
    extended = [settings for _, settings in calls[4:]]
    assert extended == [[SteeringSetting(0, 1, 0.0, "decaying", one)] for one in new]
    assert all(contents == MANY for contents, _ in calls[4:])
    tried = table.loc[table["layer"] == 0, "strength"]
    if len(strengths) > 1:
        assert tried.abs().min() < abs(chosen) < tried.abs().max()
    table, calls = searched(grid, lambda s, c: passes[s.layer](s, c), inside=False)
    assert len(table) == len(grid)
    assert len(calls) == 4


def test_strengths_at_another_placement_or_decay_are_no_neighbours(searched):
    grid = [
        *settings_grid(0, 1, 0.0, "decaying", [1.0, 16.0], [0.5]),
        *settings_grid(0, 1, 0.0, "decaying", [2.0, 4.0], [0.8]),
        *settings_grid(0, 1, 0.0, "every_position", [1.0, 16.0]),
    ]
    table, calls = searched(
        grid, lambda s, c: s.decay == 0.8 and s.placement == "decaying" and peak(4.0)(s, c)
    )
    assert [settings for _, settings in calls[4:]] == [
        [SteeringSetting(0, 1, 0.0, "decaying", 8.0, 0.8)]
    ]
    assert best_setting(table).strength == 4


def test_the_extension_ends_where_strength_never_hurts(searched):
    grid = settings_grid(0, 1, 0.0, "decaying", [1.0, 2.0])
    table, calls = searched(grid, peak(2.0**12))
    assert len(calls) == 4 + MOST_DOUBLINGS
    assert best_setting(table).strength == table["strength"].max() == 2.0 ** (1 + MOST_DOUBLINGS)


def test_a_strength_of_nothing_is_not_extended(searched):
    table, _ = searched(
        settings_grid(0, 1, 0.0, "decaying", [0.0, 1.0, 2.0]), lambda s, c: not s.strength
    )
    assert best_setting(table).strength == 0
    assert len(table) == 3


def test_an_extension_may_find_a_better_setting_elsewhere(searched):
    """The best of one placement is overtaken when its own neighbours are tried: it stays put."""
    grid = settings_grid([0, 1], 1, 0.0, "decaying", [1.0, 2.0])

    def passes(setting, content):
        n = {(0, 2.0): 40, (0, 4.0): 10, (1, 1.0): 39, (1, 2.0): 30}
        return MANY.index(content) < n.get((setting.layer, setting.strength), 0)

    table, calls = searched(grid, passes)
    assert best_setting(table) == SteeringSetting(0, 1, 0.0, "decaying", 2.0)
    assert [settings[0].strength for _, settings in calls[4:]] == [4.0]


@pytest.mark.parametrize(("by", "strength"), [("strict", 2.0), ("loose", 4.0)])
def test_the_share_that_decides_is_halved_and_extended_by(searched, by, strength):
    """One setting passes more often strictly, the other loosely; each is best by its share."""

    def passes(setting, content):
        strict, loose = {1.0: (5, 10), 2.0: (30, 31), 4.0: (10, 50)}.get(setting.strength, (0, 0))
        return MANY.index(content) < strict, MANY.index(content) < loose

    grid = settings_grid(0, 1, 0.0, "decaying", [1.0, 2.0, 4.0])
    table, calls = searched(grid, passes, by=by)
    assert best_setting(table, by).strength == strength
    assert [settings[0].strength for _, settings in calls[4:]] == ([] if strength == 2 else [8.0])


N_SETTINGS, ORDERS = 40, 200


def quick_table(model, sources, graded):
    """A table like `settings_table`'s of passes that are arrays, and of vectors of one norm."""
    rows = [vars(s) | {"contents": len(a), "strict": a.mean()} for s, a in graded.items()]
    return pd.DataFrame(rows).assign(loose=0.0, broken=0.0, norm=1.0)


@pytest.mark.parametrize("n_layers", [1, 4])
def test_halving_rarely_misses_the_best(model, monkeypatch, n_layers):
    """Of 40 settings, whose true shares are 0 to 0.3 and one's is 0.45, it finds the full grid's.

    Measured over 200 orders of the 60 contents, on which it passes 31 times and the next one 24:
    found in 98 % (settings of one layer) and 99.5 % (of four). Over 55 other draws of the passes it
    is 95 and 96 % on average; the miss is then mostly a setting that passes nearly as often.
    """
    generator = np.random.default_rng(0)
    shares = generator.permutation([*np.linspace(0, 0.3, N_SETTINGS - 1), 0.45])
    passes = generator.random((N_SETTINGS, len(MANY))) < shares[:, None]
    assert sorted(passes.sum(1))[:-3:-1] == [31, 24]
    betas = [*np.arange(float(N_SETTINGS // n_layers))]
    grid = settings_grid([*range(n_layers)], 1, betas, "decaying")
    answers = dict(zip(grid, passes, strict=True))

    def graded(model, instruction, contents, sources, settings, **_):
        at = [int(content.text.split()[1][:-1]) for content in contents]
        return [answers[setting][at] for setting in settings]

    monkeypatch.setattr(module, "grade_settings", graded)
    monkeypatch.setattr(module, "pool_grades", np.concatenate)
    monkeypatch.setattr(module, "settings_table", quick_table)
    hits = 0
    for seed in range(ORDERS):
        contents = random.Random(seed).sample(MANY, len(MANY))
        table = search(model, LETTER, contents, {}, grid, rounds=(8, 16, 32, 60))
        hits += best_setting(table) == grid[passes.sum(1).argmax()]
    assert hits >= 0.95 * ORDERS


def test_a_search_wants_enough_contents(model, rankings):
    grid = settings_grid([0], [1], [0.0], ["decaying"])
    with refused("contents"):
        search(model, LETTER, CONTENTS, rankings, grid)


@pytest.mark.parametrize(
    "options",
    [
        {"rounds": (1, 1, 3)},
        {"rounds": (1, 3, 2)},
        {"rounds": (0, 1, 2)},
        {"rounds": ()},
        {"rounds": (0,)},
        {"least": 0},
    ],
)
def test_a_search_wants_rounds_that_grow_and_something_to_keep(model, options):
    options = {"rounds": (1, 2, 3)} | options
    with refused("rounds"):
        search(model, LETTER, CONTENTS, {}, [], **options)


def test_a_search_wants_a_share_that_says_what_is_good(model):
    with refused("by"):
        search(model, LETTER, CONTENTS, {}, [], rounds=(1, 2, 3), by="broken")
