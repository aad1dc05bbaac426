"""The whole training of a model's SAEs, in resumable steps.

On a CPU, several single-threaded processes share the work: they are faster than one process with
several threads, and results do not depend on their number.
"""

import json
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path

import torch
from tqdm import tqdm

from saif_helpers._internal.errors import FileContentError
from saif_helpers.hub.download import local_sae
from saif_helpers.hub.gguf_files import sha256_of
from saif_helpers.hub.loading import load
from saif_helpers.model.assemble import wrap
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.sae_training.measure import sae_quality
from saif_helpers.sae_training.recipe import Recipe
from saif_helpers.sae_training.streams import capture_part, load_streams
from saif_helpers.sae_training.texts import given_parts, read_texts, save_texts, write_part
from saif_helpers.sae_training.training import train_sae

N_TEXTS = 24
"""Number of held-out texts for evaluation, spread over their kinds."""


@dataclass(frozen=True)
class Job:
    """One SAE to train.

    Attributes:
        layer: The layer.
        width: Number of latents.
        seed: Seed of the weights and the order of tokens.
        frozen_decoder: Whether the decoder directions stay random.
        parts: Number of parts of the text to train on, from the first on; None for all.
    """

    layer: int
    width: int
    seed: int = 0
    frozen_decoder: bool = False
    parts: int | None = None

    @property
    def folder(self) -> str:
        """Its folder below the training's; other seeds and the control have their own."""
        group = "frozen" if self.frozen_decoder else f"seed-{self.seed}" if self.seed else "saes"
        group = group if self.parts is None else f"parts-{self.parts}"
        return f"{group}/layer_{self.layer}_width_{self.width}"


@dataclass(frozen=True)
class Training:
    """A training run: the model, the recipe and the folder.

    Attributes:
        load: Picklable function that loads the model without SAEs.
        recipe: Text and training.
        folder: Folder for ``texts``, ``streams`` (which may be deleted afterwards) and the SAEs.
        model_name: Name of the model, for the SAEs' metadata.
        text: A text file to use in place of text written by the model.
        device: Device of model and training.
    """

    load: Callable[[], ModelWithSAEs]
    recipe: Recipe
    folder: Path
    model_name: str
    text: Path | None = None
    device: str = "cpu"

    @property
    def parts(self) -> list[str]:
        """Names of the parts of the text, those for evaluation last."""
        return [*self.recipe.text.training_parts, *self.recipe.text.held_out_parts]

    def text_file(self, part: str) -> Path:
        """Return the file of a part of the text."""
        return self.folder / "texts" / f"{part}.jsonl"


def load_without_saes(name: str, device: str) -> ModelWithSAEs:
    """Load a model that has no SAEs yet, in float32 on a CPU.

    Args:
        name: A name that `load` knows, a repository, a folder or a GGUF file.
        device: The device.

    Returns:
        The model, without SAEs and without a store.
    """
    return load(name, saes={}, device=device, store=None)


def run(training: Training, jobs: Sequence[Job], workers: int | None = None) -> None:
    """Write the text, capture it and train the SAEs, skipping finished steps.

    Args:
        training: The training.
        jobs: The SAEs.
        workers: Number of processes; by default one per CPU core, one on a GPU.

    Raises:
        ValueError: If the folder contains text of another recipe or model.
    """
    claim(training)
    workers = workers or (1 if training.device != "cpu" else os.cpu_count() or 1)
    layers = sorted({job.layer for job in jobs})
    parts = [partial(write_and_capture, training, layers, part) for part in training.parts]
    in_processes(parts, "text", workers)
    in_processes([partial(train, training, job) for job in jobs], "SAEs", workers)
    in_processes([partial(measure, training, job) for job in jobs], "quality", workers)


def claim(training: Training) -> None:
    """Record the recipe of the text in the folder, or compare it with the record.

    Raises:
        ValueError: If they differ.
    """
    noted = training.folder / "text.json"
    text_recipe = asdict(training.recipe.text)
    for added in ("parts", "held_out"):
        del text_recipe[added]
    about = {"model": training.model_name, "seed": training.recipe.seed, "text": text_recipe}
    if training.text is not None:
        about["text"] = sha256_of(training.text)
    text = json.dumps(about, indent=1) + "\n"
    if noted.exists() and noted.read_text(encoding="utf-8") != text:
        raise FileContentError(
            f"{training.folder} contains text of another recipe or model (see {noted}); give "
            "another folder, or delete this one",
            training.folder,
        )
    training.folder.mkdir(parents=True, exist_ok=True)
    noted.write_text(text, encoding="utf-8")


def write_and_capture(training: Training, layers: Sequence[int], part: str) -> None:
    """Write one part of the text and, unless it is held out, capture it."""
    write(training, part)
    if part in training.recipe.text.training_parts:
        capture(training, layers, part)


def write(training: Training, part: str) -> None:
    """Write one part of the text, unless it exists."""
    file = training.text_file(part)
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    model = _model(training)
    if training.text is None:
        texts = write_part(model, training.recipe.text, part, training.recipe.seed)
    else:
        whole = list(given_parts(training.text, model, len(training.parts)))
        texts = whole[training.parts.index(part)]
    save_texts(texts, file)


def capture(training: Training, layers: Sequence[int], part: str) -> None:
    """Capture one part of the text, unless already done."""
    texts = read_texts(training.text_file(part))
    prompts = [text.kind == "asked" for text in texts]
    written = [text.text for text in texts]
    capture_part(_model(training), written, layers, training.folder / "streams", part, prompts)


def train(training: Training, job: Job) -> None:
    """Train one SAE, unless it exists."""
    folder = training.folder / job.folder
    if folder.exists():
        return
    recipe = replace(training.recipe.saes, width=job.width, frozen_decoder=job.frozen_decoder)
    streams = training.folder / "streams"
    text = training.recipe.text
    residual = load_streams(streams, job.layer, text.training_parts[: job.parts], text.read_out)
    name, device = training.model_name, training.device
    train_sae(residual, job.layer, folder, recipe, model_name=name, seed=job.seed, device=device)


def measure(training: Training, job: Job) -> None:
    """Evaluate one SAE on the held-out text, unless already done; see `measure.sae_quality`."""
    file = training.folder / "quality" / f"{job.folder.replace('/', '_')}.json"
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    texts = [
        text.text
        for part in training.recipe.text.held_out_parts
        for text in read_texts(training.text_file(part))
    ]
    chosen = texts[:: max(1, len(texts) // N_TEXTS)][:N_TEXTS]
    streams = training.folder / "streams"
    parts = training.recipe.text.training_parts
    seen = load_streams(streams, job.layer, parts[: job.parts])
    sae = local_sae(training.folder / job.folder, training.device)
    bare = _model(training)
    model = wrap(bare.lm, bare.tokenizer, {(job.layer, job.width): sae}, name=bare.name)
    found = sae_quality(model, chosen, job.layer, job.width, seen)
    about = {"sae": job.folder, "saes": asdict(training.recipe.saes), **asdict(found)}
    unfinished = file.with_name(f".{file.name}.part")
    unfinished.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    unfinished.replace(file)


@cache
def _model(training: Training) -> ModelWithSAEs:
    """Load the model once per process."""
    return training.load()


def in_processes(tasks: Sequence[Callable[[], object]], name: str, workers: int) -> None:
    """Run tasks in several processes, with a progress bar.

    Args:
        tasks: The tasks, which must be picklable.
        name: Name of the tasks, for the progress bar.
        workers: Number of processes; 1 for only this process.
    """
    if workers == 1:
        for task in tqdm(tasks, desc=name):
            task()
        return
    context = multiprocessing.get_context("spawn")
    threads = {"initializer": torch.set_num_threads, "initargs": (1,)}
    with ProcessPoolExecutor(workers, mp_context=context, **threads) as pool:
        futures = [pool.submit(task) for task in tasks]
        for future in tqdm(as_completed(futures), total=len(futures), desc=name):
            future.result()
