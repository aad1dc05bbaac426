"""What several tests of the study share: a tiny model, an instruction's pairs, their rankings."""

import pytest
import tiny
from letter import CONTENTS, LETTER

from saif_helpers.prompts import make_pairs
from saif_helpers.ranking import rank_layers


@pytest.fixture(scope="module")
def model():
    return tiny.wrapped("gemma2")


@pytest.fixture(scope="module")
def pairs(model):
    return make_pairs(LETTER, CONTENTS, model.tokenizer)


@pytest.fixture(scope="module")
def rankings(model, pairs):
    return rank_layers(model, pairs, [0, 2])
