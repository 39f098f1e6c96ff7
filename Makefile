# What people and CI type. Everything lives in .venv; nothing else of the machine is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PYTEST_ARGS ?=

.PHONY: demo test lint format bench constraints clean

demo: $(VENV)/.installed ## Run a sample API behind the gateway, with keys and requests to try
	@exec $(BIN)/scopegate demo

test: $(VENV)/.developed ## Run the whole test suite
	$(BIN)/python -m pytest -m "not benchmark" $(PYTEST_ARGS)

lint: $(VENV)/.developed ## Check style, types and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/.developed ## Format the code
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

bench: $(VENV)/.developed ## Measure speed, beside peers where nginx and wrk are installed
	@$(PIP) install --constraint constraints.txt --group bench
	$(BIN)/python -m pytest -m benchmark -s tests/benchmarks

constraints: $(VENV)/.developed ## Pin the newest versions that fit pyproject.toml into constraints.txt
	$(PIP) install uv
	$(BIN)/uv pip compile --quiet --universal --upgrade --python-version 3.11 --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links --group dev --group bench --all-extras pyproject.toml -o constraints.txt

clean: ## Remove the environment and everything that tools left
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .scopegate-demo dist

$(VENV)/.venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=...")'
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --constraint constraints.txt --upgrade pip
	@touch $@

$(VENV)/.installed: $(VENV)/.venv pyproject.toml constraints.txt
	@echo "Installing Scopegate into $(VENV), once ..." >&2
	@$(PIP) install --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.developed: $(VENV)/.installed
	@echo "Installing what the tests need into $(VENV), once ..." >&2
	@$(PIP) install --constraint constraints.txt --editable . --group dev
	@touch $@
