#!/usr/bin/env bash
# Run the tests with other versions than the locked ones: the newest or the oldest that
# pyproject.toml allows, in an environment of their own. Run by `make newest` and `make oldest`.
# torch stays the locked one unless TORCH says otherwise (TORCH=torch is the newest): without
# PyTorch's CPU index another one is gigabytes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
which=${1:?"usage: tools/test_versions.sh newest|oldest PYTHON [pytest's arguments]"}
base=${2:?"usage: tools/test_versions.sh newest|oldest PYTHON [pytest's arguments]"}
shift 2

export PIP_DISABLE_PIP_VERSION_CHECK=1
torch=${TORCH:-$(grep "^torch==" requirements.lock)}
extras=$(grep -o "\[.*\]" environment.yml) # all that there are; a test sees to it
python=".venv-$which/bin/python"
"$base" -m venv --clear ".venv-$which"
"$python" -m pip install -qq "$torch"

if [ "$which" = oldest ]; then
  # pip always takes the newest, so uv names the oldest. torch is left as it is.
  "$python" -m pip install -qq "uv>=0.9"
  "$python" -m uv pip compile pyproject.toml --all-extras --resolution lowest-direct --quiet \
    --python "$python" --no-header --no-annotate --output-file ".venv-$which/oldest.txt"
  grep -v -E "^(torch==|nvidia|cuda|triton)" ".venv-$which/oldest.txt" > ".venv-$which/rest.txt"
  "$python" -m pip install -qq --no-deps --requirement ".venv-$which/rest.txt"
  "$python" -m pip install -qq --no-deps --editable .
else
  "$python" -m pip install -qq --editable ".$extras"
fi
"$python" -m pip check
"$python" -m saif_helpers.smollm2 # the real model, unless it is there
"$python" tools/differences_from_lock.py

export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 HF_DATASETS_OFFLINE=1 WANDB_MODE=disabled
# An old library beside newer ones warns of what has gone out of use since; that is no error there.
if [ "$which" = oldest ]; then set -- -W default "$@"; fi
"$python" -m pytest "$@"
