"""Create the shipped models: ``python -m organism`` trains the missing ones.

After an interruption, it resumes from the last checkpoint.
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
    """Run the command-line program."""
    parser = argparse.ArgumentParser(prog="python -m organism", description=__doc__)
    parser.add_argument("sizes", nargs="*", help=f"any of {', '.join(RECIPES)}; by default all")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--build", type=Path, default=Path("organism/build"))
    parser.add_argument("--ship", type=Path, default=DATA / "organism")
    arguments = parser.parse_args()
    unknown = set(arguments.sizes) - set(RECIPES)
    if unknown:
        parser.error(f"no size {', '.join(sorted(unknown))}; give any of {', '.join(RECIPES)}")
    make_sentences()
    recipes = {size: RECIPES[size] for size in arguments.sizes or RECIPES}
    make_family(recipes, arguments.build, arguments.ship, arguments.device)


if __name__ == "__main__":
    main()
