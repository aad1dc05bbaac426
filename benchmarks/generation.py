"""What capture and steered generation cost beside plain PyTorch hooks and plain `generate`.

``python -m benchmarks.generation`` prints a table: for each piece of work the median time of some
runs, taken by turns so that a busy machine slows all alike, and the ratio to the plain way.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ["SAIF_BOOK_BUILD"] = "1"  # no progress bars

import pandas as pd
import torch

import saif_helpers as saif
from saif_helpers.models import ModelWithSAEs
from saif_helpers.steering import PLACEMENTS
from saif_helpers.tokens import batches
from saif_helpers.vectors import SteeringVector

NEW_TOKENS = 24


def hooked_capture(model: ModelWithSAEs, prompts: list[str], batch_size: int) -> None:
    """Capture the last token after every layer with forward hooks, in batches."""
    kept = []
    handles = [
        layer.register_forward_hook(lambda _, __, output: kept.append(output[:, -1].clone()))
        for layer in model.lm._module.model.layers
    ]
    try:
        with torch.no_grad():
            for _, tokens in batches(prompts, model.tokenizer, batch_size):
                model.lm._module(**tokens, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()


def plain_generate(
    model: ModelWithSAEs, prompts: list[str], batch_size: int, new_tokens: int = NEW_TOKENS
) -> None:
    """Generate with transformers alone, and decode."""
    for _, tokens in batches(prompts, model.tokenizer, batch_size):
        with torch.no_grad():
            ids = model.lm._module.generate(
                input_ids=tokens["input_ids"].to(model.device),
                attention_mask=tokens["attention_mask"].to(model.device),
                max_new_tokens=new_tokens,
                do_sample=False,
                eos_token_id=model.stop_ids,
                pad_token_id=model.tokenizer.pad_token_id,
            )
        model.tokenizer.batch_decode(ids[:, tokens["input_ids"].shape[1] :])


def seconds_by_turns(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Time several ways by turns, so that a busy machine slows all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if torch.cuda.is_available():  # which may still be at work when the call returns
                torch.cuda.synchronize()
            if repeat:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
    return seconds


def compare(ways: dict[str, Callable[[], object]], repeats: int) -> pd.DataFrame:
    """Time several ways by turns; the first is what the others are compared with."""
    seconds = seconds_by_turns(ways, repeats)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    first = next(iter(medians.values()))
    return pd.DataFrame(
        {
            "median, s": medians,
            "slowest, s": {name: max(times) for name, times in seconds.items()},
            "ratio": {name: median / first for name, median in medians.items()},
        }
    ).round(3)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="M")
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    model, batch = saif.load("organism", arguments.size), arguments.batch_size
    contents = (saif.load_contents("identification") * 2)[: arguments.prompts]
    prompts = [saif.render(content.text, model.tokenizer) for content in contents]
    layers = range(model.n_layers)
    print(f"{len(prompts)} prompts, batches of {batch}, {torch.get_num_threads()} threads")
    ways: dict[str, Callable[[], object]] = {
        "capture, all layers: hooks": lambda: hooked_capture(model, prompts, batch),
        "capture, all layers: saif_helpers": lambda: saif.capture(model, prompts, layers, batch),
        "capture, first layer: saif_helpers": lambda: saif.capture(model, prompts, [0], batch),
    }
    print(compare(ways, arguments.repeats).to_string())
    vector = SteeringVector(model.n_layers // 2, torch.zeros(model.d_model), "zeros")
    options = {"max_new_tokens": NEW_TOKENS, "batch_size": batch}
    ways = {"generate: transformers": lambda: plain_generate(model, prompts, batch)}
    ways["generate: saif_helpers"] = lambda: saif.generate(model, prompts, **options)
    for placement in PLACEMENTS:
        ways[f"steered: {placement}"] = lambda placement=placement: saif.generate(
            model, prompts, vector, placement=placement, **options
        )
    print(compare(ways, arguments.repeats).to_string())


if __name__ == "__main__":
    main()
