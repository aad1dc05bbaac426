"""Latents are sorted into kinds as the rule says, on counts made by hand."""

import torch
from refusals import refused

from saif_helpers.analysis.specificity import KINDS, classify_latents, response_table
from saif_helpers.intervals import wilson

N = 40


def pairs(*counts: int) -> torch.Tensor:
    """Return N pairs that switch latent j on in counts[j] of them."""
    return torch.stack([torch.arange(N) < count for count in counts], dim=1)


# Latents: 0 for French only, 1 for any instruction, 2 for neither, 3 too near one half, 4 for JSON.
ON = {
    "french": pairs(N, N, 0, 22, 0),
    "spanish": pairs(0, N, 0, 0, 0),
    "json": pairs(4, 38, 0, 0, N),
}


def test_the_table_counts_pairs():
    table = response_table(ON, torch.tensor([3, 0]))
    assert table["latent"].tolist() == [3, 3, 3, 0, 0, 0]
    assert table["instruction"].tolist() == ["french", "spanish", "json"] * 2
    assert table["value"].tolist() == [22 / N, 0, 0, 1, 0, 4 / N]
    assert set(table["n"]) == {N}
    expected = wilson(22, N, 1 - 0.05 / 2)  # each of two, for both to hold together
    assert tuple(table.loc[0, ["low", "high"]]) == (expected.low, expected.high)
    alone = response_table(ON, torch.tensor([3]), confidence=0.9).loc[0]
    assert (alone["low"], alone["high"]) == (wilson(22, N, 0.9).low, wilson(22, N, 0.9).high)


def test_every_kind_is_told():
    table = response_table(ON, torch.tensor([4, 3, 2, 1, 0]))
    kinds = classify_latents(table, "french")
    assert kinds.to_dict() == {
        4: "not relevant",
        3: "undecided",
        2: "not relevant",
        1: "shared",
        0: "distinct",
    }
    assert kinds.index.tolist() == [4, 3, 2, 1, 0]
    assert set(kinds) == set(KINDS)


def test_the_threshold_decides():
    table = response_table(ON, torch.tensor([0]))
    assert classify_latents(table, "french", threshold=0.05)[0] == "undecided"
    assert classify_latents(table, "json", threshold=0.5)[0] == "not relevant"


def test_another_instruction_is_needed():
    with refused("instruction"):
        classify_latents(response_table(ON, torch.tensor([0])), "german")
    alone = response_table({"french": ON["french"]}, torch.tensor([0]))
    with refused("instruction"):
        classify_latents(alone, "french")
