"""Copy trained SAEs into the package: ``python tools/ship_saes.py FOLDER NAME``.

FOLDER is the output folder of ``make saes``. The script copies the SAEs (except the control with a
frozen decoder), the measurements of all of them and the model card, and writes the checksums.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # organism is not an installed package

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
    """Copy the SAEs of a training run, their measurements and their model card.

    Args:
        folder: The output folder of the training run.
        name: Name of the model in `saif.load`.
        target: Folder of the shipped SAEs.

    Returns:
        The folder of the model's SAEs.

    Raises:
        ValueError: If an SAE was not measured, or the SAEs are too large in total.
    """
    rows, shipped = quality_rows(folder), target / name
    trained = [path for group in GROUPS for path in sorted((folder / group).glob("layer_*"))]
    measured = {row["sae"] for row in rows}
    missing = [p for p in trained if p.relative_to(folder).as_posix() not in measured]
    if missing:
        raise ValueError(f"{missing[0]} was not measured; let make saes finish")
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
