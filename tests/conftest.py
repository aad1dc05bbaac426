"""Set-up of the test run: offline, one thread, types and array shapes checked at run time."""

import os
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"

import torch  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

with warnings.catch_warnings():
    # Warnings are errors in tests; sae_lens 6.54 imports a TransformerLens module that is deprecated.
    warnings.simplefilter("ignore")
    import sae_lens  # noqa: E402, F401

torch.set_num_threads(1)
install_import_hook("saif_helpers", "beartype.beartype")
