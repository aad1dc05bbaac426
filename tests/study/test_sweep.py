import pandas as pd
import pytest
from letter import CONTENTS, LETTER
from refusals import refused

from saif_helpers.contents import Content
from saif_helpers.graders.broken import is_broken
from saif_helpers.prompts import render
from saif_helpers.ranking import rank_layers
from saif_helpers.steering import generate
from saif_helpers.study.settings import SteeringSetting, settings_grid
from saif_helpers.study.sweep import best_setting, shortlist, sweep
from saif_helpers.vector_rules import saif_vector


def test_a_sweep_gives_what_its_settings_give_one_by_one(model, pairs):
    rankings = rank_layers(model, pairs, [0, 2])
    placements = ["decaying", "last_prompt_token"]
    grid = settings_grid([0, 2], [3], [0.0, 8.0], placements, [1.0, 5.0], [0.2, 0.9])
    table = sweep(model, LETTER, CONTENTS, rankings, grid, max_new_tokens=6)
    columns = ["layer", "k", "beta", "placement", "strength", "decay"]
    assert [SteeringSetting(*row) for row in table[columns].values] == grid
    prompts = [render(content.text, model.tokenizer) for content in CONTENTS]
    for setting, (_, row) in zip(grid, table.iterrows(), strict=True):
        at = setting.layer
        vector = saif_vector(rankings[at], model.saes[at], setting.k, setting.beta)
        vector = vector.scaled(setting.strength).at(setting.placement, setting.decay)
        outputs = generate(model, prompts, vector, max_new_tokens=6)
        sound = [text for text in outputs if not is_broken(text)]
        assert row["strict"] == sum(text.startswith("e") for text in sound) / len(outputs)
        assert row["loose"] == sum("e" in text for text in sound) / len(outputs)
        assert row["broken"] == (len(outputs) - len(sound)) / len(outputs)
        assert row["norm"] == pytest.approx(vector.norm)


def test_a_layer_that_was_not_ranked_is_named(model, pairs):
    rankings = rank_layers(model, pairs, [0, 2])
    with refused("sources"):
        sweep(model, LETTER, CONTENTS, rankings, settings_grid([0, 1], [1], [0.0], ["decaying"]))


def test_a_sweep_refuses_the_test_split(model, pairs):
    rankings = rank_layers(model, pairs, [0])
    planted = [*CONTENTS, Content("A leak", split="test")]
    with refused("contents"):
        sweep(model, LETTER, planted, rankings, settings_grid([0], [1], [0.0], ["decaying"]))


def test_a_shortlist_can_hold_the_best_of_each_layer():
    rows = [(0, 0.1), (0, 0.3), (0, 0.2), (1, 0.9), (1, 0.8), (2, 0.0)]
    table = pd.DataFrame(rows, columns=["layer", "strict"])
    table = table.assign(
        k=15, beta=table.index * 1.0, placement="decaying", strength=1.0, decay=0.5
    )
    table = table.assign(loose=0.5, norm=1.0, contents=8)
    assert [setting.beta for setting in shortlist(table, 2, per=["layer"])] == [3, 4, 1, 2, 5]
    assert [setting.beta for setting in shortlist(table, 2)] == [3, 4]


def test_the_best_setting_is_strict_first_then_loose_then_small():
    rows = [
        (0, 15, 0.0, "decaying", 1.0, 9.0, 0.5, 0.5),
        (1, 15, 1.0, "decaying", 1.0, 9.0, 0.5, 0.9),
        (2, 15, 2.0, "decaying", 3.0, 3.0, 0.5, 0.9),
        (3, 15, 4.0, "decaying", 1.0, 1.0, 0.4, 1.0),
    ]
    columns = ["layer", "k", "beta", "placement", "strength", "norm", "strict", "loose"]
    table = pd.DataFrame(rows, columns=columns)
    table["decay"], table["contents"] = 0.3, 8
    assert best_setting(table) == SteeringSetting(2, 15, 2.0, "decaying", 3.0, 0.3)
    assert [setting.layer for setting in shortlist(table, 3)] == [2, 1, 0]
    assert len(shortlist(table, 99)) == len(table)
    table.loc[3, "contents"] = 20
    assert best_setting(table).layer == 3
    assert best_setting(table[table["layer"] == 3]) == SteeringSetting(
        3, 15, 4.0, "decaying", decay=0.3
    )
    with pytest.raises(ValueError, match="empty table"):
        best_setting(table[:0])


@pytest.fixture
def table():
    """Four settings of a layer, which differ in their shares and norms; beta counts them."""
    shares = {"strict": [0.5, 0.5, 0.2, 0.2], "loose": [0.5, 0.6, 0.9, 0.9], "norm": [1, 2, 4, 3]}
    same = {"layer": 0, "k": 15, "placement": "decaying", "strength": 1.0, "decay": 0.5}
    return pd.DataFrame(shares).assign(beta=[0.0, 1.0, 2.0, 3.0], contents=8, **same)


@pytest.mark.parametrize(("by", "order"), [("strict", [1, 0, 3, 2]), ("loose", [3, 2, 1, 0])])
def test_either_share_can_decide_and_the_other_breaks_ties(table, by, order):
    table.loc[0, "loose"] = 0.6 if by == "loose" else 0.5
    table.loc[0, "strict"] = 0.4 if by == "loose" else 0.5
    assert [setting.beta for setting in shortlist(table, 4, by=by)] == order
    assert best_setting(table, by).beta == order[0]
    assert best_setting(table).beta == 1


def test_a_setting_is_not_chosen_by_how_many_outputs_are_broken(table):
    with refused("by"):
        shortlist(table.assign(broken=0.0), 1, by="broken")
