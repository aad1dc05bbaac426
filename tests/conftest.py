"""What holds for every test: offline, deterministic, array shapes checked."""

# ruff: noqa: E402 (what is set here must be set before the imports that read it)

import os
import random
from collections.abc import Iterator

# Before anything reads them: no test may ask another machine for something.
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "WANDB_MODE": "disabled",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "SAIF_BOOK_BUILD": "1",
    "MPLBACKEND": "agg",
}
if "PYTEST_XDIST_WORKER" in os.environ:
    # The processes share the cores; more threads than cores would wait for each other.
    os.environ["OMP_NUM_THREADS"] = "1"

import beartype  # noqa: F401 (nnsight gives every object a method, and then it cannot be imported)
from jaxtyping import install_import_hook

# From here on, importing saif_helpers makes beartype check every annotated array argument.
install_import_hook("saif_helpers", "beartype.beartype")

import hypothesis
import numpy as np
import pytest
import torch

torch.use_deterministic_algorithms(True)

# The same few examples in every run; HYPOTHESIS_PROFILE=soak draws many, other ones each time.
always = {"deadline": None, "database": None, "print_blob": True}
hypothesis.settings.register_profile("ordinary", max_examples=25, derandomize=True, **always)
hypothesis.settings.register_profile("soak", max_examples=150, **always)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ordinary"))


@pytest.fixture(autouse=True, scope="session")
def results_of_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what tests compute on models from the Hub away from the user's own results."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAIF_STORE", str(tmp_path_factory.mktemp("store")))
        yield


@pytest.fixture(autouse=True)
def float32_on_every_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let models be loaded in float32 on a CPU that computes in bfloat16 too."""
    monkeypatch.setattr("saif_helpers.hub.devices.cpu_computes_in_bfloat16", lambda: False)


@pytest.fixture(autouse=True)
def seeds() -> None:
    """Start each test from the same random state, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (for libraries that use the global state)
    torch.manual_seed(0)
