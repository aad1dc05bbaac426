# The SAIF book. `make help` lists what can be asked for; `make book` and `make test` are the two
# commands that matter, and each sets everything up first.

# The first Python 3.11 or 3.12 that really runs (a name on PATH may be an empty shim).
ifndef PYTHON
PYTHON := $(shell for p in python3.11 python3.12 python3 python; do \
  $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null \
  && echo $$p && break; done)
endif

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --require-virtualenv
OFFLINE := HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 HF_DATASETS_OFFLINE=1 WANDB_MODE=disabled \
  HF_HUB_DISABLE_TELEMETRY=1 DO_NOT_TRACK=1

.PHONY: live saes baseline orders needs help book test test-all check strip organism verdicts picture bench results soak setup python \
  newest oldest wheel colab audit lock environment repository clean distclean
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):.*## /\1\t/' \
	  | awk -F'\t' '{ printf "  make %-12s %s\n", $$1, $$2 }'

book: setup ## set everything up and build the book into _build/html
	rm -rf _build/html # or pages that there are no longer would stay
	$(OFFLINE) $(BIN)/python tools/live_model.py
	$(OFFLINE) $(BIN)/python tools/execute_chapters.py
	$(OFFLINE) $(BIN)/jupyter-book build . --all -W -n --keep-going
	$(BIN)/python tools/check_pages.py
	$(BIN)/python tools/check_verdicts.py
	$(OFFLINE) $(BIN)/python tools/check_live.py
	$(BIN)/python tools/check_in_browser.py
	@echo "The book: $(CURDIR)/_build/html/index.html"

live: setup ## write what steers the small model in the page; ARGS=--settings chooses anew where to start
	$(OFFLINE) $(BIN)/python tools/live_model.py $(ARGS)

PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

test: setup ## set everything up and run the tests, offline
	$(OFFLINE) $(PYTEST) -m "not slow" --durations 15 $(ARGS)

test-all: setup ## the slow tests too: every chapter on every kind of model, runs that are killed
	$(OFFLINE) $(PYTEST) --durations 15 $(ARGS)

check: setup ## lint and format check of code and chapters; layers of the package
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tools/check_notebooks.py
	$(BIN)/python tools/check_reading.py
	$(BIN)/lint-imports --no-cache

strip: setup ## clear outputs and editor metadata from the chapters, as they are committed
	find book -name '*.ipynb' -exec $(BIN)/nbstripout --keep-id --extra-keys \
	  "metadata.colab metadata.widgets metadata.accelerator metadata.language_info.version \
	  cell.metadata.colab cell.metadata.outputId" {} +

organism: setup ## train the shipped models and SAEs again, from one seed: hours; ARGS=M makes one size
	$(OFFLINE) $(BIN)/python -m organism $(ARGS)

verdicts: setup ## judge the claims on every shipped model: an hour; ARGS="--sizes L" for some
	$(OFFLINE) $(BIN)/python tools/judge_models.py $(ARGS)

results: setup ## run the chapters on a real model: MODEL=gemma-2-2b-it ARGS="--width 65k"
	$(BIN)/python tools/judge_models.py --model $(MODEL) $(ARGS)

needs: setup ## compute again what each model needs of GPU memory
	$(BIN)/python tools/make_needs.py

picture: ## write the pictures and sentences of README and links, from the built book and the record
	$(BIN)/python tools/readme_picture.py

bench: setup ## measure speed beside other libraries, for the book; ARGS="--parts a b" for some
	@$(MAKE) --no-print-directory $(VENV)-bench/.installed || \
	  echo "Not all other libraries could be installed: their rows will say so."
	@$(MAKE) --no-print-directory $(VENV)-bench/.llama_cpp || \
	  echo "llama.cpp could not be compiled: its row will say so."
	$(OFFLINE) $(VENV)-bench/bin/python -m benchmarks $(ARGS)

baseline: setup ## let the real model answer every instruction again: ten minutes
	$(OFFLINE) $(BIN)/python tools/make_baseline.py $(ARGS)

orders: setup ## measure how often the search misses the best setting: ten minutes
	$(OFFLINE) $(BIN)/python tools/search_orders.py $(ARGS)

soak: setup ## kill, fill and damage runs hundreds of times, and write book/soak.json: ten minutes
	$(OFFLINE) $(BIN)/python tools/soak.py $(ARGS)

setup: $(VENV)/.installed ## only the virtual environment (.venv) and the real model (93 MB)
	@$(BIN)/python -m saif_helpers.hub.smollm2

saes: setup ## train SAEs for a model: MODEL=smollm2-135m-instruct ARGS="--width 2304"
	$(BIN)/python -m saif_helpers.sae_training $(MODEL) $(ARGS)

# Two stamps: another lock means a new environment, another pyproject.toml only a new install of the
# package itself. torch comes first so that a failure of the largest download shows at once; pip
# takes what that build of torch needs beyond the lock (CUDA libraries, where it has any).
$(VENV)/.locked: requirements.lock | python
	@echo "Setting up $(VENV) with $(PYTHON); this takes some minutes"
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) install -qq --constraint requirements.lock torch
	$(PIP) install -qq --no-deps --requirement requirements.lock
	$(PIP) check
	@touch $@

$(VENV)/.installed: $(VENV)/.locked pyproject.toml
	$(PIP) install -qq --no-deps --no-build-isolation --editable .
	@touch $@

# The other libraries lie beside the locked environment, which is seen from there and not changed.
SITE = $(1)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'
$(VENV)-bench/.installed: $(VENV)/.installed benchmarks/peers.txt benchmarks/peers_nnterp.txt
	$(BIN)/python -m venv --clear --without-pip $(VENV)-bench
	echo "import site; site.addsitedir('$$($(call SITE,$(VENV)))')" \
	  > "$$($(call SITE,$(VENV)-bench))/locked.pth"
	$(PIP) --python $(VENV)-bench install -qq --no-deps -r benchmarks/peers.txt
	$(PIP) --python $(VENV)-bench install -qq --no-deps --target $(VENV)-bench/nnterp \
	  -r benchmarks/peers_nnterp.txt
	@touch $@

# Portable instructions: a virtual machine may show some that it cannot run.
$(VENV)-bench/.llama_cpp: $(VENV)-bench/.installed benchmarks/peers_llama_cpp.txt
	CMAKE_ARGS="-DGGML_NATIVE=OFF" $(PIP) --python $(VENV)-bench install -qq --no-deps \
	  -r benchmarks/peers_llama_cpp.txt
	@touch $@

python:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or 3.12 found. Install one, or name it:" \
	  "make book PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' || \
	  { echo "PYTHON=$(PYTHON) does not run or is not Python 3.11 or 3.12." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "$(PYTHON) lacks venv:" \
	  "install it first (Debian, Ubuntu: apt install python3-venv)." >&2; exit 1; }

newest: python ## run the tests with the newest libraries that pyproject.toml allows, in .venv-newest
	TORCH="$(TORCH)" tools/test_versions.sh newest $(PYTHON) $(ARGS)

oldest: python ## run the tests with the oldest libraries that pyproject.toml allows, in .venv-oldest
	TORCH="$(TORCH)" tools/test_versions.sh oldest $(PYTHON) $(ARGS)

wheel: setup ## build the package as one file, to upload to Colab: dist/
	$(PIP) wheel -q --no-deps --wheel-dir dist .
	@ls dist/saif_helpers-*.whl

colab: ## install among Colab's packages as a chapter does, and run chapters, in .venv-colab
	$(PYTHON) tools/check_colab_install.py $(ARGS)

audit: python ## look requirements.lock up among the known vulnerabilities (network), in .venv-audit
	$(PYTHON) tools/audit.py $(ARGS)

environment: setup ## write environment.yml again, from pyproject.toml
	$(BIN)/python tools/make_environment.py

lock: ## resolve requirements.lock again, from pyproject.toml (needs the package index)
	tools/make_lock.sh $(PYTHON)

repository: ## write the repository's address everywhere: URL=https://github.com/owner/name
	$(PYTHON) tools/set_repository.py '$(URL)'

clean: ## remove the built book and its execution cache
	rm -rf _build

distclean: clean ## remove the virtual environment too
	rm -rf $(VENV) $(VENV)-newest $(VENV)-oldest $(VENV)-colab $(VENV)-audit $(VENV)-bench *.egg-info .pytest_cache .ruff_cache .hypothesis
