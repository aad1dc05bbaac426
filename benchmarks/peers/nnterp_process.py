"""The process that runs nnterp: ``python -m benchmarks.peers.nnterp_process FOLDER``.

It does not import `saif_helpers`, which needs a newer nnsight. It reads the model, the SAEs and the
prompts from the folder. Each request is a line of JSON, and so is each answer.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import torch
from nnterp import StandardizedTransformer
from nnterp.nnsight_utils import collect_token_activations_batched
from sae_lens import SAE
from safetensors.torch import load_file, save_file

from benchmarks.peers.work import Asked, Found, decoded, rank


class Process:
    """The state of the process: the model, the SAEs and the prompts."""

    def __init__(self, folder: Path) -> None:
        """Read everything."""
        self.folder = folder
        self.about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        torch.set_num_threads(self.about["threads"])
        self.model = StandardizedTransformer(
            str(folder / "model"),
            device_map="cpu",
            dtype=torch.float32,
            attn_implementation=self.about["attention"],
        )
        paths = {layer: folder / f"sae_{layer}" for layer in self.about["layers"]}
        self.saes = {layer: SAE.load_from_disk(path).eval() for layer, path in paths.items()}
        self.found = Found()

    @torch.no_grad()
    def identify(self, layers: list[int]) -> dict:
        """Collect the last token's activations, encode and rank."""
        rows = collect_token_activations_batched(
            self.model, self.about["prompts"], self.about["batch_size"], layers=layers
        )
        self.found = rank(self.saes, dict(zip(layers, rows, strict=True)))
        return {}

    def save(self) -> dict:
        """Write the results of the last identification."""
        tensors = {f"residual {at}": rows.clone() for at, rows in self.found.residual.items()}
        tensors |= {f"order {at}": order for at, order in self.found.order.items()}
        save_file(tensors, self.folder / "found.safetensors")
        return {}

    @torch.no_grad()
    def generate(self, layer: int, **asked: object) -> dict:
        """Generate with a vector added at the last position of every forward pass."""
        given = Asked(**asked)
        vector = load_file(self.folder / "vector.safetensors")["vector"]
        model, texts = self.model, []
        options = {"max_new_tokens": given.new_tokens, "do_sample": False}
        options |= {"eos_token_id": given.stop_ids}
        for start in range(0, len(given.prompts), given.batch_size):
            prompts = given.prompts[start : start + given.batch_size]
            width = max(map(len, model.tokenizer(prompts, add_special_tokens=False)["input_ids"]))
            with model.generate(**options) as tracer:
                with tracer.invoke(prompts):  # noqa: SIM117 (nnsight reads these blocks itself)
                    with tracer.all():
                        model.steer(layers=layer, steering_vector=vector, token_positions=-1)
                with tracer.invoke():  # code after `all` is not reached if answers end early
                    ids = model.generator.output.save()
            texts += decoded(model.tokenizer, ids[:, width:], given)
        return {"texts": texts}


def main() -> None:
    """Answer requests until the input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # keep other output apart
    process = Process(Path(sys.argv[1]))
    ready = {name: version(name) for name in ("nnterp", "nnsight")}
    print(json.dumps(ready), file=answers, flush=True)
    for line in sys.stdin:
        what = json.loads(line)
        print(json.dumps(getattr(process, what.pop("do"))(**what)), file=answers, flush=True)


if __name__ == "__main__":
    main()
