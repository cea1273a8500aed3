# `make demo` installs what a search needs; `make test` adds what the tests need, torch and Keras
# among it. Both use the environment VENV and create it when it is missing.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO := runs/demo-$(shell date +%Y%m%d-%H%M%S)

.PHONY: demo test slow lint bench soak clean

# A stamp is made last, so that an interrupted installation is done again.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --editable .
	touch $@

$(VENV)/.complete: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --editable ".[test,lint]"
	touch $@

demo: $(VENV)/.installed
	$(BIN)/evolve run --budget 5m --out $(DEMO)

test: $(VENV)/.complete
	$(BIN)/python -m pytest -m "not slow" --numprocesses 2 --dist worksteal

# The tests that `make test` leaves out, since something quicker there tries nearly the same.
slow: $(VENV)/.complete
	$(BIN)/python -m pytest -m slow --numprocesses 2 --dist worksteal

lint: $(VENV)/.complete
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.complete
	$(BIN)/python -m tests.benchmarks

# Tries for up to two hours on two cores to break what README promises, and ends in a table.
soak: $(VENV)/.complete
	EVOLVE_LONG=1 $(BIN)/python -m pytest -m promise --numprocesses 2 --dist worksteal

clean:
	rm -rf $(VENV)
