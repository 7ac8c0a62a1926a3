# Everything a developer or an evaluator does with this project; `make help` lists it.
VENV ?= .venv
PY   ?= python3
BIN  := $(VENV)/bin

.PHONY: help env demo test check docs reference bench rollouts sizes calibration clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(VENV)/.ok: requirements.lock pyproject.toml
	@$(PY) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "gbveval needs Python 3.11 or later; this is " + sys.version.split()[0] + ". Say which one to use: make PY=python3.12 demo")'
	@echo "making the environment in $(VENV) (about a minute)"
	@$(PY) -m venv $(VENV)
	@$(BIN)/python -m pip -q install uv==$$(sed -n 's/^uv==\([0-9.]*\).*/\1/p' requirements.lock) 2>/dev/null || true
	@if [ -x $(BIN)/uv ]; then \
	  $(BIN)/uv pip sync -q --python $(BIN)/python --require-hashes requirements.lock; \
	else \
	  $(BIN)/python -m pip -q install --require-hashes -r requirements.lock; \
	fi
	@$(BIN)/python -m pip -q install --no-deps --no-build-isolation -e .
	@touch $@

env: $(VENV)/.ok ## make the environment

demo: $(VENV)/.ok ## run the main job on data that need no network, and print the paths of what it made
	@$(BIN)/python -m gbveval demo --out out/demo

test: $(VENV)/.ok ## lint, types, layers and every test, on this Python and on the newest one found
	@VENV=$(VENV) bash tests/run.sh

check: $(VENV)/.ok ## lint, types and layers only
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

docs: $(VENV)/.ok ## build the documentation, offline, warnings as errors
	@$(BIN)/python -m sphinx -q -W -b html docs docs/_build/html && echo "docs/_build/html/index.html"

reference: $(VENV)/.ok ## compare with reference results: make reference DIR=folder
	@$(BIN)/python -m tests.reference $(DIR)

bench: $(VENV)/.ok ## run the benchmarks, answers compared first
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

rollouts: $(VENV)/.ok ## measure which estimator of rollouts fails where, and write the page (about ten minutes)
	@$(BIN)/python -m tests.rollouts

sizes: $(VENV)/.ok ## measure size, coverage and bias with few clusters, and write the page (about fifteen minutes)
	@$(BIN)/python -m tests.sizes

calibration: $(VENV)/.ok ## measure calibration of the sampled hierarchy, and write the page (about ten minutes)
	@$(BIN)/python -m tests.calibration

clean: ## remove the environment and what was made
	rm -rf $(VENV) .venv-newest out docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis
