# Two commands matter: `make dev` and `make test`. `make help` lists the others.
# Needs git, make and Python 3.11; everything else is fetched from PyPI and Maven Central.

UV_VERSION := 0.13.9
TOOLS := .lakehouse/tools
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.synced
# Options for `retail-lakehouse dev` and for pytest: make dev ARGS="--events-per-second 1000",
# make test ARGS="--numprocesses 0 retail_lakehouse_tests/streaming"
ARGS ?=

# Asked by running it: a pyenv shim of the right name may lead nowhere.
PYTHON ?= $(shell for name in python3.11 python3 python; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null \
	&& "$$name" -c 'import sys; print(sys.executable)' && break; done)
UV := $(if $(shell uv --version 2>/dev/null),uv,$(TOOLS)/uv/bin/uv)

.DEFAULT_GOAL := help
.PHONY: help dev test check format sync lock clean

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

dev: $(STAMP) ## Start the whole platform on this machine; Ctrl-C stops it
	@$(BIN)/retail-lakehouse dev $(ARGS)

test: $(STAMP) ## Run every test, those with the real Kafka and Spark included
	@$(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(STAMP) ## Lint, check formatting and types, hold the import rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## Put the code into the project's format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

sync: $(STAMP) ## Install what uv.lock names into .venv

lock: | $(filter $(TOOLS)/%,$(UV)) ## Resolve the dependencies anew into uv.lock
	$(UV) lock --python "$(PYTHON)" $(ARGS)
	@$(MAKE) --no-print-directory sync

clean: ## Remove build leftovers and tool caches (state: retail-lakehouse reset)
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find retail_lakehouse retail_lakehouse_tests glue_scripts -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

$(STAMP): pyproject.toml uv.lock setup.py | $(filter $(TOOLS)/%,$(UV))
	@test -n "$(PYTHON)" || { \
		echo "No Python 3.11 was found. Install one (for example the package python3.11), or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(UV) sync --frozen --python "$(PYTHON)"
	@touch $@

$(TOOLS)/uv/bin/uv:
	@test -n "$(PYTHON)" || { \
		echo "No Python 3.11 was found. Install one (for example the package python3.11), or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@rm -rf $(TOOLS)/uv
	@"$(PYTHON)" -m venv $(TOOLS)/uv || { \
		echo "python -m venv failed; on Debian and Ubuntu install the package python3.11-venv." >&2; rm -rf $(TOOLS)/uv; exit 1; }
	$(TOOLS)/uv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION) \
		|| { rm -rf $(TOOLS)/uv; exit 1; }
