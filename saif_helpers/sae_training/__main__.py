"""Train SAEs for any causal language model: ``make saes MODEL=smollm2-135m-instruct``.

If interrupted and started again with the same options, it resumes. Load the SAEs with
``saif.load(MODEL, saes=Path("saes/MODEL/saes"))``.
"""

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from saif_helpers.hub.devices import default_device
from saif_helpers.sae_training.recipe import Recipe
from saif_helpers.sae_training.run import Job, Training, load_without_saes, run

SPREAD = 8


def main() -> None:
    """Read the command line and train."""
    arguments = _parser().parse_args()
    load = partial(load_without_saes, arguments.model, arguments.device)
    model = load()
    recipe = Recipe(seed=arguments.seed)
    text = replace(recipe.text, parts=arguments.parts or recipe.text.parts)
    saes = replace(
        recipe.saes, tokens=arguments.tokens, k=arguments.k, batch_size=arguments.batch_size
    )
    width = arguments.width or 4 * model.d_model
    name = Path(model.name).name  # the last part of a repository or folder
    folder = arguments.out or Path("saes") / name
    training = Training(
        load=load,
        recipe=replace(recipe, text=text, saes=saes),
        folder=folder,
        model_name=name,
        text=arguments.text,
        device=arguments.device,
    )
    layers = arguments.layers or spread(model.n_layers)
    last = model.n_layers - 1
    jobs = [Job(layer, width) for layer in layers]
    jobs += [Job(last, wide) for wide in arguments.final_widths]
    jobs += [Job(layer, width, seed=1) for layer in arguments.second_seed]
    jobs += [Job(layer, width, frozen_decoder=True) for layer in arguments.frozen]
    fewer = [n for n in (1, 2, 4, 8, 16, 32) if n < text.parts]
    jobs += [Job(layer, width, parts=n) for layer in arguments.curve for n in fewer]
    del model
    run(training, jobs, arguments.workers)
    print(f"SAEs: {folder}/saes")


def spread(n_layers: int) -> list[int]:
    """Return up to eight evenly spaced layers, including the first and the last."""
    steps = min(SPREAD, n_layers)
    return sorted({round(step * (n_layers - 1) / max(1, steps - 1)) for step in range(steps)})


def _parser() -> argparse.ArgumentParser:
    name = "python -m saif_helpers.sae_training"
    parser = argparse.ArgumentParser(prog=name, description=__doc__)
    add, defaults = parser.add_argument, Recipe()
    add("model", help="a name that saif.load knows, a repository, a folder or a GGUF file")
    add("--layers", type=int, nargs="+", help="by default eight, first and last among them")
    add("--width", type=int, help="number of latents; by default four times d_model")
    add("--final-widths", type=int, nargs="*", default=[], help="more widths for the last layer")
    add("--second-seed", type=int, nargs="*", default=[], help="layers trained with seed 1 too")
    add("--frozen", type=int, nargs="*", default=[], help="layers with a random decoder too")
    add("--curve", type=int, nargs="*", default=[], help="layers trained on less text too")
    add("--k", type=int, default=defaults.saes.k, help="active latents a token")
    add("--tokens", type=int, default=defaults.saes.tokens, help="tokens seen in training")
    add("--batch-size", type=int, default=defaults.saes.batch_size, help="tokens in a step")
    add("--parts", type=int, help=f"parts of text to write, {defaults.text.parts} by default")
    add("--text", type=Path, help="a text file, one text a line, in place of the model's own")
    add("--seed", type=int, default=0)
    add("--device", default=default_device())
    add("--workers", type=int, help="processes; by default one a core, on a GPU one")
    add("--out", type=Path, help="folder; by default saes/MODEL")
    return parser


if __name__ == "__main__":
    torch.use_deterministic_algorithms(True)
    main()
