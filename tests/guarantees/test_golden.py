"""As long as `cached_batches.RESULTS_VERSION` stays, kept results are found: they must not change.

After the version was raised, ``python -m tests.guarantees.test_golden`` writes the golden file.
"""

import json
from pathlib import Path

import pytest
import torch

from saif_helpers.activations import capture
from saif_helpers.contents import load_contents
from saif_helpers.hub.loading import load
from saif_helpers.instructions import load_instructions
from saif_helpers.model import cached_batches
from saif_helpers.placements import PLACEMENTS
from saif_helpers.prompts import make_pairs
from saif_helpers.steering import generate
from saif_helpers.vectors import ClampedLatents, SteeringVector

GOLDEN = Path(__file__).with_name("golden.json")


def results() -> dict:
    """What captures and generations of the smallest shipped model give."""
    model = load("organism", "S")
    french, contents = load_instructions()["french"], load_contents("test")[:6]
    pairs = make_pairs(french, contents, model.tokenizer)
    prompts = [pair.positive for pair in pairs]
    streams = capture(model, prompts, [0, 3])
    direction = streams[0].mean(0)
    vector = SteeringVector(0, direction / direction.norm() * 4, "golden")
    sae = model.saes[1]
    clamp = ClampedLatents(1, sae, torch.tensor([3, 5]), torch.tensor([2.0, 1.0]), "golden")
    # Several strengths, since near some of them a small change of what is added changes a word.
    texts = {
        f"{place}, {strength:g}": generate(model, prompts, vector.scaled(strength).at(place))
        for place in PLACEMENTS
        for strength in (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
    }
    texts |= {"plain": generate(model, prompts), "clamped": generate(model, prompts, clamp)}
    return {
        "version": cached_batches.RESULTS_VERSION,
        "streams": {str(layer): stream[:, ::16].tolist() for layer, stream in streams.items()},
        "texts": texts,
    }


def test_results_are_those_of_their_version():
    golden, found = json.loads(GOLDEN.read_text(encoding="utf-8")), results()
    assert found["version"] == golden["version"], "write the golden file again, see above"
    advice = "results changed: raise RESULTS_VERSION and write the golden file again"
    assert found["texts"] == golden["texts"], advice
    for layer, rows in golden["streams"].items():
        assert found["streams"][layer] == [pytest.approx(row, rel=1e-3, abs=1e-4) for row in rows]


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(results(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
