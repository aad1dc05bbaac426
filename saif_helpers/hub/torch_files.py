"""SAEs that were published as torch files: converted once to safetensors, which `load` reads.

A file of ``torch.save`` is a pickle, which could run any code, so `download.load_sae` never opens
one. Whoever wants such an SAE converts it, by a decision of their own::

    python -m saif_helpers.hub.torch_files goodfire-llama-3.1-8b-instruct layer_19

The file is read in a process of its own, which asks no other machine and is given no keys, with
torch's loader for weights alone, and refused if it holds anything but tensors. SAE-Lens then turns
them into its own format.
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

from saif_helpers.hub.gguf_files import models_folder, sha256_of

COMMAND = "python -m saif_helpers.hub.torch_files"
TORCH_FILES = {
    "connor_rob_hook_z",
    "deepseek_r1",
    "dictionary_learning_1",
    "goodfire",
    "qwen_scope",
}
"""SAE-Lens' loaders that read files of `torch.save`, by the names in its list of releases."""
NOTE = "conversion.json"
"""What a converted folder holds last, so that one without it is not whole."""
REFUSED = 3
"""Exit status of the process that refuses a file."""
_CHILD = "import sys; from saif_helpers.hub.torch_files import _convert_here as c; c(*sys.argv[1:])"
_SECRET = re.compile("TOKEN|KEY|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)


def converted_folder(release: str, sae_id: str) -> Path:
    """Return where the converted SAE is, or would be.

    Args:
        release: A release of SAE-Lens' list.
        sae_id: The SAE's id there.

    Returns:
        A folder of `gguf_files.models_folder`.
    """
    return models_folder() / re.sub(r"[^\w.-]", "_", f"sae-{release}--{sae_id}")


def is_converted(release: str, sae_id: str) -> bool:
    """Return whether an SAE was converted already, see `convert`."""
    return (converted_folder(release, sae_id) / NOTE).is_file()


def conversion_command(release: str, sae_id: str) -> str:
    """Return the command that converts an SAE."""
    return f"{COMMAND} {shlex.quote(release)} {shlex.quote(sae_id)}"


def convert(release: str, sae_id: str) -> Path:
    """Convert a published SAE from a torch file to safetensors, unless that was done already.

    >>> folder = convert("goodfire-llama-3.1-8b-instruct", "layer_19")  # doctest: +SKIP
    >>> load("meta-llama/Llama-3.1-8B-Instruct", saes={19: folder})  # doctest: +SKIP

    Args:
        release: A release of SAE-Lens' list, whose files are those of ``torch.save``.
        sae_id: The SAE's id there.

    Returns:
        The folder of the SAE, with ``cfg.json`` and ``sae_weights.safetensors`` in float32.

    Raises:
        OSError: If the file cannot be fetched or the result not written.
        ValueError: If there is no such SAE or its files are safetensors, it does not read the
            residual stream after a layer, or the file holds anything but tensors.
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
        with contextlib.suppress(OSError):  # another process was first
            unfinished.rename(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    if not is_converted(release, sae_id):
        raise OSError(f"{target} is in the way; delete it, and convert the SAE again")
    return target


def _source(release: str, sae_id: str) -> tuple[str, str]:
    """Return repository and name of the torch file."""
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    listed = get_pretrained_saes_directory().get(release)
    if listed is None or sae_id not in listed.saes_map:
        there = "no such release" if listed is None else f"the ids {', '.join(listed.saes_map)}"
        raise ValueError(f"{release} {sae_id} asked for; SAE-Lens lists {there}")
    if listed.conversion_func not in TORCH_FILES:
        raise ValueError(
            f"the files of {release} need no conversion; load it with "
            f"saes={{layer: ({release!r}, {sae_id!r})}}"
        )
    inside = "/ae.pt" if listed.conversion_func == "dictionary_learning_1" else ""
    return listed.repo_id, listed.saes_map[sae_id] + inside


def _fetched(release: str, sae_id: str, repo_id: str, file_name: str) -> Path:
    """Fetch what SAE-Lens reads of an SAE, its configuration first."""
    import huggingface_hub
    from sae_lens.loading.pretrained_sae_loaders import load_sae_config_from_huggingface

    from saif_helpers.model.saes import sae_layer

    config = load_sae_config_from_huggingface(release, sae_id)
    sae_layer({"metadata": config.get("metadata") or config})
    return Path(huggingface_hub.hf_hub_download(repo_id, file_name))


def _run_child(release: str, sae_id: str, file: Path, folder: Path) -> None:
    """Let another process read the file and write the folder."""
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
    said = (ran.stderr.strip().splitlines() or ["no word"])[-1]
    if ran.returncode == REFUSED:
        raise ValueError(f"{file} {said}")
    if ran.returncode:
        raise OSError(f"{release} {sae_id} could not be converted (exit {ran.returncode}): {said}")


def _convert_here(release: str, sae_id: str, file: str, folder: str) -> None:
    """Read a torch file and write an SAE's folder; runs in a process of its own."""
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
    """Return why a torch file is refused, or None."""
    from pickle import UnpicklingError

    import torch

    try:
        with warnings.catch_warnings(action="ignore"):  # of pickles that torch did not write
            content = torch.load(file, map_location="cpu", weights_only=True)
    except UnpicklingError:
        return "holds more than tensors, which could run code; it was refused"
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, AttributeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return f"is no whole file of torch.save ({reason}); delete it and fetch it again"
    if not isinstance(content, dict):
        return f"holds a {type(content).__name__}, not tensors by name; it was refused"
    others = [name for name, value in content.items() if not isinstance(value, torch.Tensor)]
    return f"holds more than tensors ({others[0]!r}); it was refused" if others else None


def main() -> None:
    """Convert an SAE, and say where it is."""
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
