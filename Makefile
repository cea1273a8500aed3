# `make demo` and `make test` each create the environment when it is missing.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO := runs/demo-$(shell date +%Y%m%d-%H%M%S)

.PHONY: demo test lint bench clean

# The stamp is made last, so that an interrupted installation is done again.
$(VENV)/.complete: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[test,lint]"
	touch $@

demo: $(VENV)/.complete
	$(BIN)/evolve run --budget 3m --seed 7 --out $(DEMO)

test: $(VENV)/.complete
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

lint: $(VENV)/.complete
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.complete
	$(BIN)/python -m tests.benchmarks

clean:
	rm -rf $(VENV)
