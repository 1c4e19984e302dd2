# `make` alone lists what there is. Everything but `setup` and `lock` works offline once `make setup` has run.

PYTHON ?= python3
JOBS   ?= 2
ARGS   ?=

VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.setup-done
WEB   := plugins/assay_ui/web

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# What Python compiles is kept: without that, each of Airflow's processes compiles its two thousand modules anew.
unexport PYTHONDONTWRITEBYTECODE

# Nothing is asked, and certificates are the system's, so that a company's own authority works.
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
export UV_SYSTEM_CERTS := 1

.PHONY: help
help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  Variables: PYTHON=python3.12 (which interpreter), JOBS=4 (test processes), ARGS='...' (passed on)"

# ---------------------------------------------------------------------------------------------------------------- use

.PHONY: setup
setup: $(STAMP) ## build .venv from the hashed lock (again only when a lock changes)

$(STAMP): requirements.txt requirements-privacy.txt requirements-dev.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { \
	  echo "Assay needs Python 3.11 or newer, and '$(PYTHON)' is not on PATH. Try: make setup PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Assay needs Python 3.11 or newer, and '$(PYTHON)' is $$($(PYTHON) -V 2>&1). Try: make setup PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "'$(PYTHON)' cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "setup: building $(VENV) (about 1.2 GB, a minute or two)"
	@$(PYTHON) -m venv $(VENV)
	@awk '/^uv==/ {p = 1} p {print} p && !/\\$$/ {exit}' requirements-dev.txt > $(VENV)/uv.txt
	@$(BIN)/python -m pip install --quiet --require-hashes -r $(VENV)/uv.txt
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --require-hashes -r requirements.txt -r requirements-dev.txt
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --no-deps --require-hashes -r requirements-privacy.txt
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
	@echo "setup: done. Next: make demo"

# The demonstration keeps its state in the checkout, so that `make clean` can take it away.
demo up down: export ASSAY_HOME ?= $(CURDIR)/.assay

.PHONY: demo
demo: $(STAMP) ## the whole line on real data, with attacks
	@$(BIN)/assay demo $(ARGS)

.PHONY: up
up: $(STAMP) ## start Airflow on this machine with Assay's DAGs and pages (no Docker)
	@$(BIN)/python -m assay.demo up $(ARGS)

.PHONY: down
down: $(STAMP) ## stop what `make up` started
	@$(BIN)/python -m assay.demo down $(ARGS)

.PHONY: secrets
secrets: ## make the secret files that docker-compose.yaml mounts (kept if they exist)
	@$(PYTHON) scripts/make_secrets.py $(ARGS)

# ------------------------------------------------------------------------------------------------------------- checks

.PHONY: check
check: lint types contracts compose test ## everything that CI checks

# One OpenMP thread per test process: threads that wait for each other on busy cores cost more than they bring.
.PHONY: test
test: $(STAMP) ## run the tests (ARGS='-k store' for some of them)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) -rs $(ARGS)

.PHONY: lint
lint: $(STAMP) ## ruff: faults and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

.PHONY: types
types: $(STAMP) ## mypy, strict, over include/assay
	@$(BIN)/mypy

.PHONY: contracts
contracts: $(STAMP) ## import-linter: which room may import which
	@PYTHONPATH=include $(BIN)/lint-imports --no-cache

.PHONY: compose
compose: $(STAMP) ## docker-compose.yaml against the Compose specification
	@$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yaml

.PHONY: web-check
web-check: ## the review pages' sources: types, lint, tests, and that what is committed is what they build to (needs Node)
	@cd $(WEB) && npm ci --silent && npm run check

.PHONY: format
format: $(STAMP) ## format the code and fix what ruff can fix
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

.PHONY: bench-curves
bench-curves: $(STAMP) ## false alarms and misses of the curve checks (ARGS=--quick for a small one)
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/curves.py $(ARGS)

.PHONY: bench-intake
bench-intake: $(STAMP) ## time verifying and landing beside other tools (ARGS=--quick for a small one)
	@$(BIN)/python benchmarks/intake.py $(ARGS)

.PHONY: bench-flux
bench-flux: $(STAMP) ## time training through Flux beside a loop written by hand (needs Julia)
	@$(BIN)/python benchmarks/flux_overhead.py $(ARGS)

.PHONY: bench-detection
bench-detection: $(STAMP) ## how well screening finds poison, beside other tools (ARGS=--quick for a small one)
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.detection $(ARGS)

.PHONY: bench-peers
bench-peers: $(STAMP) ## fetch the other tools that bench-detection runs, into a folder of their own
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --target .assay/peers --no-deps --require-hashes \
	  -r benchmarks/requirements-peers.txt

.PHONY: bench-dirty
bench-dirty: $(STAMP) ## screen public tables that are dirty by themselves; writes docs/dirty-data.md and its pictures
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.dirty_data --page docs/dirty-data.md $(ARGS)

.PHONY: bench-ledger
bench-ledger: $(STAMP) ## time appends, proofs, full checks and row hashes (ARGS=--quick for a small one)
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/ledger.py $(ARGS)

.PHONY: bench-scale
bench-scale: $(STAMP) ## time screening 100 k to 5 M rows beside PyOD and cleanlab (ARGS=--quick for a small one)
	@$(BIN)/python benchmarks/screen_scale.py $(ARGS)

.PHONY: bench-ui
bench-ui: $(STAMP) ## time the review pages over 100 k cases and 1 M rows, and twenty reviewers at once
	@PYTHONPATH=include:. $(BIN)/python -m benchmarks.ui $(ARGS)

.PHONY: bench-line
bench-line: $(STAMP) ## time the whole line
	@$(BIN)/python benchmarks/line.py $(ARGS)

# ------------------------------------------------------------------------------------------------------------ upkeep

.PHONY: schema
schema: $(STAMP) ## write the JSON Schema of contracts
	@$(BIN)/assay contract schema > include/contracts/contract.schema.json.partial
	@mv include/contracts/contract.schema.json.partial include/contracts/contract.schema.json

COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
          --no-header --no-annotate --no-emit-index-url --no-emit-find-links

.PHONY: web
web: ## build the review pages into plugins/assay_ui/static (needs Node 20.19 or newer)
	@cd $(WEB) && npm ci --silent && npm run build

.PHONY: pictures
pictures: $(STAMP) ## take the pictures of the review pages that the README shows (needs Chromium)
	@ASSAY_TEST_PICTURES=$(CURDIR)/docs/images $(BIN)/python -m pytest -q tests/browser/test_pages.py

.PHONY: lock
lock: $(STAMP) ## pin and hash requirements*.in again (ARGS=--upgrade for newer versions)
	@$(COMPILE) $(ARGS) requirements.in -o requirements.txt
	@$(COMPILE) $(ARGS) --override <(echo 'attrs>=24.2') -c requirements.txt requirements-privacy.in -o requirements-privacy.txt
	@$(COMPILE) $(ARGS) requirements-dev.in -o requirements-dev.txt
	@$(BIN)/python benchmarks/lock_peers.py

.PHONY: clean
clean: ## take away everything that is not in the repository: .venv, .assay, caches
	@if [ -d .assay/demo ] && [ -x $(BIN)/python ]; then ASSAY_HOME=$(CURDIR)/.assay $(BIN)/python -m assay.demo down; fi
	@rm -rf $(VENV) .assay build dist htmlcov junit.xml coverage.xml .coverage .coverage.* \
	  $(WEB)/node_modules .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
	@find . -name '*.egg-info' -type d -not -path './.git/*' -prune -exec rm -rf {} +
