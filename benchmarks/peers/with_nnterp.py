"""nnterp in a separate process, because it is incompatible with this package's nnsight."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from benchmarks.peers import Unavailable
from benchmarks.peers.work import Asked, Found, Work
from saif_helpers._internal.progress import no_loading_bar
from saif_helpers.vectors import SteeringVector

FOLDER = Path(sys.prefix) / "nnterp"
ROOT = Path(__file__).parents[2]


class Nnterp:
    """Sends requests to `nnterp_process` as lines of JSON, and waits for the answers."""

    name = "nnterp"

    def __init__(self, work: Work, folder: Path = FOLDER) -> None:
        """Start the process with a copy of the model; raise `Unavailable` if it fails."""
        if not folder.is_dir():
            raise Unavailable(
                "not installed: it needs an nnsight before 0.8, in a separate folder; see "
                "benchmarks/peers/__init__.py"
            )
        self.ended = ""
        self.steering: SteeringVector | None = None
        self.temporary = tempfile.TemporaryDirectory()
        self.folder = Path(self.temporary.name)
        with no_loading_bar():
            work.lm.save_pretrained(self.folder / "model")
        work.tokenizer.save_pretrained(self.folder / "model")
        for layer, sae in work.saes.items():
            sae.save_model(self.folder / f"sae_{layer}")
        prompts = work.positive + work.negative
        about = {"prompts": prompts, "layers": list(work.saes), "batch_size": work.batch_size}
        about |= {"threads": torch.get_num_threads()}
        about |= {"attention": work.lm.config._attn_implementation}
        (self.folder / "about.json").write_text(json.dumps(about), encoding="utf-8")
        path = os.pathsep.join([str(folder), str(ROOT)])
        with (self.folder / "errors.txt").open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.peers.nnterp_process", str(self.folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=os.environ | {"PYTHONPATH": path},
                text=True,
            )
        ready = self._answer()
        self.note = "in a process of its own: " + ", ".join(map(" ".join, ready.items()))

    def identify(self, layers: Sequence[int]) -> Found:
        """Find latents in the process; the results are returned in a file."""
        self._ask(do="identify", layers=list(layers))
        return Found()

    def found(self) -> Found:
        """Read the results of the last identification."""
        self._ask(do="save")
        tensors = load_file(self.folder / "found.safetensors")
        found = Found()
        for name, tensor in tensors.items():
            what, layer = name.split()
            getattr(found, what)[int(layer)] = tensor
        return found

    def generate(self, asked: Asked, steering: SteeringVector) -> list[str]:
        """Generate with a vector added at the last position of every forward pass."""
        if steering is not self.steering:
            self.steering = steering
            save_file({"vector": steering.vector}, self.folder / "vector.safetensors")
        return self._ask(do="generate", layer=steering.layer, **vars(asked))["texts"]

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait(timeout=60)
        self.process.stdout.close()
        self.temporary.cleanup()

    def _ask(self, **what: object) -> dict:
        if self.ended:
            raise Unavailable(self.ended)
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            last = (self.folder / "errors.txt").read_text(encoding="utf-8").strip().splitlines()
            self.ended = f"its process ended: {last[-1] if last else 'no message'}"
            self.close()
            raise Unavailable(self.ended)
        return json.loads(line)
