"""Requirements of a chapter on each model: download size and GPU memory.

``tools/memory_estimate.py`` computes the memory for every model and width, which takes too long for
a chapter; ``make needs`` writes the result to a file, and a test compares the file with the
computation.
"""

import json

import pandas as pd

from saif_helpers._internal.errors import ArgumentError
from saif_helpers._internal.paths import DATA, GIB
from saif_helpers.hub.published_saes import width_of
from saif_helpers.hub.zoo import ZOO

FILE = DATA / "memory.json"


def shipped_memory_table() -> pd.DataFrame:
    """Return the peak GPU memory by model, SAE width and workload."""
    return pd.DataFrame(json.loads(FILE.read_text(encoding="utf-8")))


def needs_table(width: str | None = None) -> pd.DataFrame:
    """Tabulate the requirements of a chapter on each model of the zoo.

    Args:
        width: Label of the SAEs' width, such as ``"65k"``; by default each model's default width.

    Returns:
        A row for each model with SAEs of that width: download size (model and the last layer's
        SAE, and the SAE of each further layer), peak GPU memory with one SAE and 16-bit weights,
        and whether that fits a T4. Run time has not been measured on these models.

    Raises:
        ValueError: If the width is unknown, or no model has such SAEs.
    """
    table = shipped_memory_table()
    rows = []
    for name, model in ZOO.items():
        d_sae = width_of(width or model.width)
        found = table[(table["model"] == model.architecture) & (table["SAE width"] == d_sae)]
        if found.empty:
            continue
        weights, sae = (found.iloc[0][f"{part}, GiB"] for part in ("weights", "saes"))
        to_fetch = weights * model.stored_bytes / 2 + sae  # the table assumes 16-bit weights
        rows.append(
            {
                "model": name,
                "download, GB": round(to_fetch * GIB / 1e9, 1),
                "each further layer, GB": round(sae * GIB / 1e9, 2),
                "GPU memory, GiB": round(found["total, GiB"].max(), 1),
                "fits a 15 GB T4": "yes" if found["fits a 15 GB T4"].all() else "no",
                "minutes": "not measured",
            }
        )
    if not rows:
        known = ", ".join(map(str, sorted(set(table["SAE width"]))))
        raise ArgumentError(f"width {width!r} given; memory is known for {known}", "width")
    return pd.DataFrame(rows).set_index("model")
