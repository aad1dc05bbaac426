from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pytest
from memory_estimate import memory_table
from refusals import refused

from saif_helpers.hub.requirements import needs_table, shipped_memory_table
from saif_helpers.hub.zoo import ZOO

ROOT = Path(__file__).parents[2]


def test_the_shipped_table_is_what_the_computation_gives():
    """The table is of the locked transformers; an older one takes a tenth more in between."""
    here = f"transformers=={version('transformers')}"
    locked = here in (ROOT / "requirements.lock").read_text(encoding="utf-8").split()
    shipped = shipped_memory_table()
    for name in ("gemma-2-2b", "gemma-3-270m"):
        part = shipped[shipped["model"] == name].reset_index(drop=True)
        pd.testing.assert_frame_equal(part, memory_table([name]), rtol=1e-5 if locked else 0.15)


def test_every_model_of_the_zoo_has_its_needs():
    table = needs_table()
    assert list(table.index) == list(ZOO)
    assert (table["download, GB"] > 0).all()
    base, tuned = table.loc["gemma-2-2b"], table.loc["gemma-2-2b-it"]
    assert base["GPU memory, GiB"] == tuned["GPU memory, GiB"]
    assert base["download, GB"] > 1.8 * tuned["download, GB"]  # stored in 32 bits, not in 16


@pytest.mark.parametrize(
    ("width", "said"),
    [
        ("64k", "give a number of latents or one of 4k"),
        ("4k", "computed .* of 16384, 32768"),
    ],
)
def test_a_width_that_is_not_there_is_refused(width, said):
    with refused("width"):
        needs_table(width)


def test_the_paper_s_smaller_model_with_its_wider_sae_fits_a_t4():
    wide = needs_table("65k")
    assert list(wide.index) == ["gemma-2-2b", "gemma-2-2b-it"]
    assert set(wide["fits a 15 GB T4"]) == {"yes"}
