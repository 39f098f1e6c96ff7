# What people and CI type. Everything lives in .venv; nothing else of the machine is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PYTEST_ARGS ?=
TEST_PROCESSES ?= 2
FUZZ_SECONDS ?= 60

.PHONY: demo test lint format fuzz audit bench constraints clean

demo: $(VENV)/.installed ## Run a sample API behind the gateway, with keys and requests to try
	@exec $(BIN)/scopegate demo

test: $(VENV)/.developed ## Run the whole test suite
	$(BIN)/python -m pytest -m "not benchmark" --numprocesses $(TEST_PROCESSES) --dist loadfile $(PYTEST_ARGS)

lint: $(VENV)/.developed ## Check style, types and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/.developed ## Format the code
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

fuzz: $(VENV)/.developed ## Feed the parsers and the rules made-up input for FUZZ_SECONDS
	@$(PIP) install --constraint constraints.txt --group fuzz || echo "No atheris for this Python: hypothesis does it." >&2
	$(BIN)/python tests/fuzz/run.py --seconds $(FUZZ_SECONDS)

audit: $(VENV)/.developed ## Look the pinned packages up in PyPI's list of known vulnerabilities, if it can be reached
	@$(PIP) install --constraint constraints.txt --group audit
	@told=$$($(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip --progress-spinner off 2>&1) \
	  && status=0 || status=$$?; \
	case "$$status $$told" in \
	  *"Found "*" known vulnerabilit"*) echo "$$told"; exit 1 ;; \
	  *"could not be audited"*) echo "audit: SKIPPED for" \
	    "$$(echo "$$told" | grep -c 'could not be audited') packages, which could not be looked up" ;; \
	  0*) echo "audit: no known vulnerability in constraints.txt" ;; \
	  *) echo "audit: SKIPPED, nothing could be looked up: $$(echo "$$told" | tail -n 1)" ;; \
	esac

bench: $(VENV)/.developed ## Measure speed, beside peers where nginx and wrk are installed
	@$(PIP) install --constraint constraints.txt --group bench
	$(BIN)/python -m pytest -m benchmark -s tests/benchmarks

constraints: $(VENV)/.developed ## Pin the newest versions that fit pyproject.toml into constraints.txt
	$(PIP) install uv
	$(BIN)/uv pip compile --quiet --universal --upgrade --python-version 3.11 --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links --group dev --group proxies --group bench --group fuzz \
	  --group audit --all-extras pyproject.toml -o constraints.txt

clean: ## Remove the environment and everything that tools left
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .scopegate-demo build dist

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
