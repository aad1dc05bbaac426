"""Put trained SAEs where the package reads them: ``python tools/ship_saes.py FOLDER NAME``.

The folder is the one that ``make saes`` wrote. What ships is the SAEs (but for the control with a
frozen decoder), what was measured of all of them, the model card, and the sums of every file.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # organism is no installed package

from organism.make import write_manifest
from saif_helpers.hub.pretrained import SHIPPED
from saif_helpers.sae_training.card import (
    alike_but_for_text,
    model_card,
    quality_rows,
    text_summary,
)

GROUPS = ("saes", "seed-1")
LARGEST = 64e6  # bytes of all SAEs together


def ship(folder: Path, name: str, target: Path = SHIPPED) -> Path:
    """Copy the SAEs of a training, and write what is known of them.

    Args:
        folder: The folder of the training.
        name: Name of the model, as `saif.load` knows it.
        target: Where shipped SAEs lie.

    Returns:
        The folder of the model's SAEs.

    Raises:
        ValueError: If an SAE was not measured, or all together are too large.
    """
    rows, shipped = quality_rows(folder), target / name
    trained = [path for group in GROUPS for path in sorted((folder / group).glob("layer_*"))]
    measured = {row["sae"] for row in rows}
    missing = [p for p in trained if p.relative_to(folder).as_posix() not in measured]
    if missing:
        raise ValueError(f"{missing[0]} was not measured; run make saes to its end")
    size = sum(file.stat().st_size for path in trained for file in path.iterdir())
    if size > LARGEST:
        raise ValueError(f"{size / 1e6:.1f} MB of SAEs; ship at most {LARGEST / 1e6:.0f} MB")
    shutil.rmtree(shipped, ignore_errors=True)
    for path in trained:
        shutil.copytree(path, shipped / path.relative_to(folder))
    texts = text_summary(folder)
    curve = alike_but_for_text(rows)
    rows = [row for row in rows if not row["sae"].startswith("parts-")]
    about = {"texts": texts, "saes": rows, "curve": curve}
    (shipped / "quality.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    card = model_card(name, rows, texts)
    (shipped / "MODEL_CARD.md").write_text(card, encoding="utf-8")
    write_manifest(target)
    return shipped


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("name")
    given = parser.parse_args()
    print(ship(given.folder, given.name))
