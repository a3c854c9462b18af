# `make soak` and `make test` need only Python >= 3.11 (with venv) and make.
PYTHON ?= python3
PROFILE ?= smoke
# Test processes: one more than two cores, since tests wait much of the time; a test file stays whole in one of them.
TEST_WORKERS ?= 3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help soak test slow prove prove-reduced lint types check ui lock bench clean

help:  ## Show what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(VENV)/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed, found " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

soak: $(VENV)/installed  ## Run a soak on the embedded stack: PROFILE=smoke|pull_request|nightly|pre_release
	@$(BIN)/soak run --profile $(PROFILE) || { code=$$?; \
	    echo "The run ended as said above; the line of make below only repeats its exit code $$code:" \
	        "1 FAIL, 2 INCONCLUSIVE, 3 could not run."; exit $$code; }

test: $(VENV)/installed  ## Run the whole test suite
	@$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile

slow: $(VENV)/installed  ## Calibrate the statistics by simulation (several minutes)
	@$(BIN)/python -m pytest -m slow --timeout 3600

prove: $(VENV)/installed  ## Prove that the gate can fail: every fault is planted and must be caught (an hour)
	@$(BIN)/soak prove

prove-reduced: $(VENV)/installed  ## The same for CI: every criterion once, within 15 minutes
	@$(BIN)/soak prove --reduced

lint: $(VENV)/installed  ## Lint and check the format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/installed  ## Check the types, strictly
	@$(BIN)/mypy

check: lint types  ## Lint, types, Dagster definitions, tests
	@$(BIN)/dg check defs
	@$(MAKE) --no-print-directory test

ui: $(VENV)/installed  ## Start the embedded stack and the Dagster UI on 127.0.0.1:3000
	@$(BIN)/soak ui

bench: $(VENV)/installed  ## Send 600 requests/s to the embedded platform and print what was reached
	@$(BIN)/soak run --profile smoke --users 600 --run-time 2m || true
	@$(BIN)/soak figures "$$(ls -d reports/soak/*Z | tail -n 1)"

lock: $(VENV)/installed  ## Pin the dependencies again, with hashes
	@$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes \
	    --no-header --no-annotate --no-emit-index-url --quiet --output-file requirements.lock

clean:  ## Remove the virtual environment and caches; results and state stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
