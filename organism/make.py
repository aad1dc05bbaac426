"""Creation of the shipped files: training, measurements, the manifest and the model card."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, Gemma2ForCausalLM, PreTrainedTokenizerFast

from organism.corpus import tokenizer_texts, write_sentences
from organism.model_card import model_card
from organism.quality import measure
from organism.recipe import Recipe
from organism.tokenizer import train_tokenizer
from organism.train_model import train_model
from organism.train_saes import train_saes
from saif_helpers._internal.paths import DATA
from saif_helpers.hub.loading import load
from saif_helpers.model.assemble import wrap

TOKENIZER_EXAMPLES = 60_000


def make_sentences(file: Path = DATA / "sentences.jsonl") -> None:
    """Write the shipped sentences, which are determined by the grammar and a seed."""
    write_sentences(file)


def make_family(
    recipes: Mapping[str, Recipe],
    build: Path,
    ship: Path,
    device: str = "cpu",
    n_contents: int | None = None,
) -> None:
    """Train the models and their SAEs, and copy them into the package.

    Args:
        recipes: Recipes by size.
        build: Folder of checkpoints and finished parts, which are reused.
        ship: Output folder of the finished sizes, the manifest and the model card.
        device: Device to train on.
        n_contents: Number of test sentences to measure on; by default all.

    Raises:
        ValueError: If a size in `build` was made with another recipe.
    """
    for size, recipe in recipes.items():
        folder = build / size
        _claim(folder, recipe)
        make_size(recipe, folder, device)
        target = ship / size
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(folder / "shipped", target)
        write_manifest(ship)
        quality = measure(load(size=size, root=ship), n_contents)
        text = json.dumps(quality | {"recipe": asdict(recipe)}, indent=1)
        (target / "quality.json").write_text(text + "\n", encoding="utf-8")
    (ship / "MODEL_CARD.md").write_text(model_card(ship), encoding="utf-8")
    write_manifest(ship)


def _claim(folder: Path, recipe: Recipe) -> None:
    """Record the recipe of a build folder, or check that it equals the recorded one."""
    noted, text = folder / "recipe.json", json.dumps(asdict(recipe), indent=1)
    if noted.exists() and noted.read_text(encoding="utf-8") != text:
        raise ValueError(f"{folder} has another recipe; remove it, or give another --build")
    folder.mkdir(parents=True, exist_ok=True)
    noted.write_text(text, encoding="utf-8")


def make_size(recipe: Recipe, folder: Path, device: str) -> None:
    """Train one model and its SAEs into ``folder/shipped``, reusing finished parts.

    The SAEs are trained on the shipped model, whose weights are rounded to float16.

    Args:
        recipe: The recipe.
        folder: Build folder of this size.
        device: Device to train on.
    """
    shipped = folder / "shipped"
    tokenizer = train_tokenizer(tokenizer_texts("tokenizer", TOKENIZER_EXAMPLES), recipe.vocabulary)
    if not (shipped / "model.safetensors").exists():
        model = train_model(recipe.model, tokenizer, folder / "checkpoints", device)
        save_model(model, tokenizer, shipped)
    model = AutoModelForCausalLM.from_pretrained(
        shipped, dtype=torch.float32, local_files_only=True, use_safetensors=True
    )
    organism = wrap(model.to(device), tokenizer, {}, name="organism")
    train_saes(organism, recipe, shipped / "saes")


def save_model(model: Gemma2ForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Save a model in float16 and its tokenizer, in the format of transformers."""
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    model.half().save_pretrained(part, safe_serialization=True)
    tokenizer.save_pretrained(part)
    part.rename(folder)


def write_manifest(ship: Path) -> None:
    """Write the SHA-256 checksums of all shipped files to ``manifest.json``."""
    sums = {
        path.relative_to(ship).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(ship.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }
    text = json.dumps(sums, indent=1) + "\n"
    (ship / "manifest.json").write_text(text, encoding="utf-8")
