#!/usr/bin/env bash
# Write requirements.lock from pyproject.toml: one set of versions for book, tests and development,
# for Python 3.11 and 3.12 on Linux, macOS and Windows. Run by `make lock`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${1:?"usage: tools/make_lock.sh PYTHON (a Python 3.11 or 3.12)"}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$python" -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet --disable-pip-version-check "uv>=0.9"
"$scratch/venv/bin/uv" pip compile pyproject.toml --all-extras --quiet \
  --universal --python-version 3.11 --fork-strategy fewest \
  --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
  --output-file "$scratch/lock"

{
  echo "# Made by 'make lock' from pyproject.toml; do not edit."
  echo "# CUDA libraries are left out: pip takes the ones that the installed build of torch asks for."
  # What only CUDA builds, PyPy or browsers need goes; so does a local build tag such as "+cpu".
  grep -v -E "^(nvidia|cuda|triton)|== '(pypy|emscripten)'" "$scratch/lock" |
    sed -E "s/^([^ ;]+)\+[a-z0-9.]+/\1/"
} > requirements.lock
echo "requirements.lock: $(grep -c == requirements.lock) versions"
