"""SAEs published as torch files, converted once to safetensors for `load`.

A file of ``torch.save`` is a pickle, which could run any code, so `download.load_sae` never opens
one. Such an SAE must be converted explicitly::

    python -m saif_helpers.hub.torch_files goodfire-llama-3.1-8b-instruct layer_19

The file is read in a separate process, offline and without credentials, with
``weights_only=True``, and rejected if it contains anything but tensors. SAE-Lens then converts them
to its own format.
"""

import argparse
import contextlib
import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

from saif_helpers._internal.errors import ArgumentError, FileContentError
from saif_helpers.hub.gguf_files import models_folder, sha256_of

COMMAND = "python -m saif_helpers.hub.torch_files"
TORCH_FILES = {
    "connor_rob_hook_z",
    "deepseek_r1",
    "dictionary_learning_1",
    "goodfire",
    "qwen_scope",
}
"""Names of SAE-Lens' loaders that read files of `torch.save`."""
NOTE = "conversion.json"
"""Record that is written last, so that a folder without it is incomplete."""
REFUSED = 3
"""Exit status of the subprocess if it rejects a file."""
_CHILD = "import sys; from saif_helpers.hub.torch_files import _convert_here as c; c(*sys.argv[1:])"
_SECRET = re.compile("TOKEN|KEY|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)


def converted_folder(release: str, sae_id: str) -> Path:
    """Return the folder of a converted SAE, which may not exist yet.

    Args:
        release: A release of SAE-Lens' list.
        sae_id: The SAE's id there.

    Returns:
        A folder of `gguf_files.models_folder`.
    """
    return models_folder() / re.sub(r"[^\w.-]", "_", f"sae-{release}--{sae_id}")


def is_converted(release: str, sae_id: str) -> bool:
    """Return whether an SAE has been converted, see `convert`."""
    return (converted_folder(release, sae_id) / NOTE).is_file()


def conversion_command(release: str, sae_id: str) -> str:
    """Return the command that converts an SAE."""
    return f"{COMMAND} {shlex.quote(release)} {shlex.quote(sae_id)}"


def convert(release: str, sae_id: str) -> Path:
    """Convert a published SAE from a torch file to safetensors, unless already done.

    >>> folder = convert("goodfire-llama-3.1-8b-instruct", "layer_19")  # doctest: +SKIP
    >>> load("meta-llama/Llama-3.1-8B-Instruct", saes={19: folder})  # doctest: +SKIP

    Args:
        release: A release of SAE-Lens' list with files of ``torch.save``.
        sae_id: The SAE's id there.

    Returns:
        The folder of the SAE, with ``cfg.json`` and ``sae_weights.safetensors`` in float32.

    Raises:
        OSError: If the file cannot be downloaded or the result not written.
        ValueError: If there is no such SAE, its files are safetensors, it does not read the
            residual stream after a layer, or the file contains anything but tensors.
    """
    from saif_helpers.hub.errors import readable_hub_errors

    target = converted_folder(release, sae_id)
    if is_converted(release, sae_id):
        return target
    repo_id, file_name = _source(release, sae_id)
    with readable_hub_errors(f"{repo_id}/{file_name}"):
        file = _fetched(release, sae_id, repo_id, file_name)
    unfinished = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    unfinished.mkdir(parents=True)
    try:
        _run_child(release, sae_id, file, unfinished)
        files = {path.name: sha256_of(path) for path in sorted(unfinished.iterdir())}
        note = {"source": f"{repo_id}/{file_name}", "sha256": sha256_of(file), "files": files}
        (unfinished / NOTE).write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
        with contextlib.suppress(OSError):  # another process finished first
            unfinished.rename(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    if not is_converted(release, sae_id):
        raise OSError(f"{target} is in the way; delete it, and convert the SAE again")
    return target


def _source(release: str, sae_id: str) -> tuple[str, str]:
    """Return the repository and the name of the torch file."""
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    listed = get_pretrained_saes_directory().get(release)
    if listed is None or sae_id not in listed.saes_map:
        there = "no such release" if listed is None else f"the ids {', '.join(listed.saes_map)}"
        raise ArgumentError(
            f"{release} {sae_id} given; SAE-Lens lists {there}", "sae_id" if listed else "release"
        )
    if listed.conversion_func not in TORCH_FILES:
        raise ArgumentError(
            f"the files of {release} need no conversion; load it with "
            f"saes={{layer: ({release!r}, {sae_id!r})}}",
            "release",
        )
    inside = "/ae.pt" if listed.conversion_func == "dictionary_learning_1" else ""
    return listed.repo_id, listed.saes_map[sae_id] + inside


def _fetched(release: str, sae_id: str, repo_id: str, file_name: str) -> Path:
    """Download the files of an SAE, its configuration first."""
    import huggingface_hub
    from sae_lens.loading.pretrained_sae_loaders import load_sae_config_from_huggingface

    from saif_helpers.model.saes import sae_layer

    config = load_sae_config_from_huggingface(release, sae_id)
    sae_layer({"metadata": config.get("metadata") or config})
    return Path(huggingface_hub.hf_hub_download(repo_id, file_name))


def _run_child(release: str, sae_id: str, file: Path, folder: Path) -> None:
    """Read the file and write the folder in a subprocess."""
    import huggingface_hub

    kept = {name: value for name, value in os.environ.items() if not _SECRET.search(name)}
    kept.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None)
    package = Path(__file__).parents[2]
    paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    kept |= {
        "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_CACHE": huggingface_hub.constants.HF_HUB_CACHE,
        "PYTHONPATH": os.pathsep.join(paths),
    }
    command = [sys.executable, "-P", "-c", _CHILD, release, sae_id, str(file), str(folder)]
    ran = subprocess.run(command, env=kept, capture_output=True, text=True, check=False)
    said = (ran.stderr.strip().splitlines() or ["no message"])[-1]
    if ran.returncode == REFUSED:
        raise FileContentError(f"{file} {said}", file)
    if ran.returncode:
        raise OSError(f"{release} {sae_id} could not be converted (exit {ran.returncode}): {said}")


def _convert_here(release: str, sae_id: str, file: str, folder: str) -> None:
    """Read a torch file and write an SAE's folder; runs in the subprocess."""
    problem = _what_is_wrong(file)
    if problem:
        print(problem, file=sys.stderr)
        sys.exit(REFUSED)
    from sae_lens import SAE

    sae = SAE.from_pretrained(release, sae_id, device="cpu", dtype="float32")
    for weights in sae.parameters():
        weights.data = weights.data.contiguous()
    sae.save_model(folder)


def _what_is_wrong(file: str) -> str | None:
    """Return why a torch file is rejected, or None."""
    from pickle import UnpicklingError

    import torch

    try:
        with warnings.catch_warnings(action="ignore"):  # of pickles that torch did not write
            content = torch.load(file, map_location="cpu", weights_only=True)
    except UnpicklingError:
        return "contains more than tensors, which could run code; it was rejected"
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, AttributeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return f"is not a complete file of torch.save ({reason}); delete it and download it again"
    if not isinstance(content, dict):
        return f"contains a {type(content).__name__}, not tensors by name; it was rejected"
    others = [name for name, value in content.items() if not isinstance(value, torch.Tensor)]
    return f"contains more than tensors ({others[0]!r}); it was rejected" if others else None


def main() -> None:
    """Convert an SAE, and print its folder."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__.splitlines()[0])
    parser.add_argument("release", help="a release of SAE-Lens' list")
    parser.add_argument("sae_id", help="the SAE's id in the release")
    given = parser.parse_args()
    try:
        print(f"{given.sae_id}: {convert(given.release, given.sae_id)}")
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
