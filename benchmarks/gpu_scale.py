"""Speed and peak memory at the size of real models, on a GPU, with random weights.

``python -m benchmarks.gpu_scale gemma-2-2b llama-3.1-8b`` builds each model and an SAE with their
real shapes and writes ``benchmarks/results/gpu_scale.json``. Speed and memory do not depend on the
values of the weights, so nothing is downloaded. ``--tiny`` uses a small model to try the program
without a GPU; its figures are meaningless and only printed.
"""

import argparse
import gc
import json
import os
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from transformers import AutoConfig

import saif_helpers as saif
from benchmarks.generation import plain_generate
from benchmarks.machine import about
from benchmarks.random_models import TINY, TINY_LATENTS, random_model, random_prompts
from benchmarks.timing import seconds_by_turns
from saif_helpers._internal.paths import GIB
from saif_helpers.model.model import ModelWithSAEs
from saif_helpers.model.tokens import batches
from saif_helpers.vectors import SteeringVector

sys.path.append(str(Path(__file__).resolve().parents[1] / "tools"))  # where memory is estimated

from memory_estimate import architecture, estimate, sae_widths

RESULTS = Path(__file__).parent / "results" / "gpu_scale.json"
MODELS = ["gemma-2-2b", "gemma-2-9b", "llama-3.1-8b"]
COLUMNS = ["model", "SAE width", "type", "batch", "work", "unit", "median", "least", "most"]
COLUMNS += ["peak, GiB", "estimated, GiB"]


@dataclass(frozen=True)
class Sizes:
    """Sizes of the timed work."""

    pairs: int
    batch_size: int
    prompt_tokens: int
    new_tokens: int
    repeats: int


def identify(model: ModelWithSAEs, prompts: list[str], batch_size: int) -> None:
    """Capture the prompts of pairs after the last layer, encode and rank."""
    layer = model.n_layers - 1
    halves = saif.capture(model, prompts, [layer], batch_size)[layer].tensor_split(2)
    saif.rank_captured(model, *({layer: half} for half in halves))


def forward(model: ModelWithSAEs, prompts: list[str], batch_size: int) -> None:
    """Run the plain forward pass through all layers, without logits."""
    with torch.no_grad():
        for _, tokens in batches(prompts, model.tokenizer, batch_size):
            inputs = {name: tensor.to(model.device) for name, tensor in tokens.items()}
            model.hf.model(**inputs, use_cache=False)


def steer(
    model: ModelWithSAEs, prompts: list[str], vector: SteeringVector | None, sizes: Sizes
) -> None:
    """Generate with the package, and check that no output ended early."""
    options = {"max_new_tokens": sizes.new_tokens, "batch_size": sizes.batch_size}
    outputs = saif.generate(model, prompts, vector, **options)
    written = sum(len(output.split()) for output in outputs)
    if written != len(prompts) * sizes.new_tokens:
        raise RuntimeError(
            f"{written} tokens written; {len(prompts)} outputs of {sizes.new_tokens} expected"
        )


def peak_gib(way: Callable[[], object]) -> float | None:
    """Run once and return PyTorch's peak allocated GPU memory, or None without a GPU."""
    gc.collect()
    if not torch.cuda.is_available():
        return None
    torch.cuda.reset_peak_memory_stats()
    way()
    return round(torch.cuda.max_memory_allocated() / GIB, 3)


def measure(model: ModelWithSAEs, sizes: Sizes) -> list[dict]:
    """Time identification and generation, with and without the package; return a record each."""
    vocab_size, batch = model.lm.config.vocab_size, sizes.batch_size
    prompts = random_prompts(2 * sizes.pairs, sizes.prompt_tokens, vocab_size)
    asked = prompts[: sizes.pairs]
    direction = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    vector = SteeringVector(model.n_layers - 1, direction, "random")
    read, written = len(prompts) * sizes.prompt_tokens, len(asked) * sizes.new_tokens
    work: dict[str, tuple[Callable[[], object], int, str]] = {
        "forward pass, plain": (lambda: forward(model, prompts, batch), read, "tokens/s"),
        "identification": (lambda: identify(model, prompts, batch), sizes.pairs, "pairs/s"),
        "generate, transformers": (
            lambda: plain_generate(model, asked, batch, sizes.new_tokens),
            written,
            "tokens/s",
        ),
        "generate, not steered": (lambda: steer(model, asked, None, sizes), written, "tokens/s"),
    }
    for placement in ("last_prompt_token", "every_position"):
        work[f"generate, steered at {placement}"] = (
            lambda placement=placement: steer(model, asked, vector.at(placement), sizes),
            written,
            "tokens/s",
        )
    seconds = seconds_by_turns({name: way for name, (way, _, _) in work.items()}, sizes.repeats)
    records = []
    for name, (way, amount, unit) in work.items():
        rates = sorted(amount / time for time in seconds[name])
        records.append({"work": name, "unit": unit, "median": statistics.median(rates)})
        records[-1] |= {"least": rates[0], "most": rates[-1], "peak_gib": peak_gib(way)}
    return records


def run(name: str, sizes: Sizes, dtype: str, device: str, tiny: bool) -> dict:
    """Measure one model; the record states if the GPU's memory is too small."""
    config, d_sae = architecture(name), sae_widths(name)[-1]
    if tiny:
        config, d_sae = AutoConfig.for_model(config.model_type, **TINY), TINY_LATENTS
    kind = getattr(torch, dtype)
    record = {"model": name, "tiny": tiny, "d_sae": d_sae, "dtype": dtype, **vars(sizes)}
    for workload in ("identification", "steering"):
        made = estimate(
            config,
            d_sae,
            workload,
            dtype=kind,
            prompts=sizes.pairs,
            batch_size=sizes.batch_size,
            prompt_tokens=sizes.prompt_tokens,
            new_tokens=sizes.new_tokens,
        )
        # Without the overhead, which PyTorch does not report.
        record[f"estimated_gib_{workload}"] = round((made.total - made.overhead) / GIB, 3)
    try:
        return record | {"work": measure(random_model(name, config, d_sae, kind, device), sizes)}
    except torch.OutOfMemoryError:
        return record | {"work": [], "error": "out of memory"}


def gpu_scale_table(path: Path = RESULTS) -> tuple[pd.DataFrame, str]:
    """Return a table of the results and a sentence on their origin.

    Args:
        path: The output file of this program.

    Returns:
        A row for each model and task, and the sentence. If nothing was measured on a GPU at full
        size, the table is empty and the sentence says "not measured".
    """
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"runs": []}
    runs = [run for run in found["runs"] if not run["tiny"]]
    if not runs:
        return pd.DataFrame(columns=COLUMNS), (
            "Not measured: no run on a GPU has been recorded. On a machine with one, "
            "python -m benchmarks.gpu_scale records it."
        )
    rows = []
    for one in runs:
        head = [one["model"], one["d_sae"], one["dtype"], one["batch_size"]]
        for record in one["work"] or [{"work": one["error"]}]:
            part = "identification" if record.get("unit") == "pairs/s" else "steering"
            compared = record["work"] == "identification" or "steered" in record["work"]
            rows.append(head + [record.get(key) for key in ("work", "unit")])
            rows[-1] += [record.get(key) for key in ("median", "least", "most", "peak_gib")]
            rows[-1].append(one[f"estimated_gib_{part}"] if compared else None)
    gpu, torch_version = found["gpu"], found["versions"]["torch"]
    sentence = f"Measured on {found['date']} on one {gpu}, PyTorch {torch_version}, random weights."
    return pd.DataFrame(rows, columns=COLUMNS), sentence


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and, on a GPU, write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=MODELS, help="see architectures")
    parser.add_argument("--pairs", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--prompt-tokens", type=int, default=64)
    parser.add_argument("--new-tokens", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float16", "float32"])
    parser.add_argument("--tiny", action="store_true", help="a small model on the CPU")
    parser.add_argument("--out", type=Path, help=f"file to write; by default {RESULTS.name}")
    given = parser.parse_args(arguments)
    os.environ["SAIF_BOOK_BUILD"] = "1"  # no progress bars
    if not given.tiny and not torch.cuda.is_available():
        parser.error("there is no CUDA device; use --tiny to try the program on the CPU")
    sizes = Sizes(**{field: getattr(given, field) for field in Sizes.__annotations__})
    device = "cpu" if given.tiny else "cuda"
    results = about() | {"runs": []}
    for name in given.models:
        results["runs"].append(run(name, sizes, given.dtype, device, given.tiny))
        gc.collect()
        torch.cuda.empty_cache()
    text = json.dumps(results, indent=1)
    print(text)
    path = given.out or (None if given.tiny else RESULTS)
    if path:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
