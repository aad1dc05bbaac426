"""Make the shipped models: ``python -m organism`` trains what is not trained yet.

Stopped at any moment and started again, it goes on from the last checkpoint.
"""

import argparse
import os

os.environ.setdefault("WANDB_MODE", "disabled")

from pathlib import Path

import torch

from organism.make import make_family, make_sentences
from organism.recipe import RECIPES
from saif_helpers._internal.paths import DATA


def main() -> None:
    """Read the command line and make what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m organism", description=__doc__)
    parser.add_argument("sizes", nargs="*", help=f"of {', '.join(RECIPES)}; all by default")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--build", type=Path, default=Path("organism/build"))
    parser.add_argument("--ship", type=Path, default=DATA / "organism")
    arguments = parser.parse_args()
    unknown = set(arguments.sizes) - set(RECIPES)
    if unknown:
        parser.error(f"no size {', '.join(sorted(unknown))}; give some of {', '.join(RECIPES)}")
    make_sentences()
    recipes = {size: RECIPES[size] for size in arguments.sizes or RECIPES}
    make_family(recipes, arguments.build, arguments.ship, arguments.device)


if __name__ == "__main__":
    main()
