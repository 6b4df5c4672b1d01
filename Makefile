# `make run` tries Notifier, `make test` tests it, `make check` does all that must pass. Each sets itself up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test check audit faults bench schema clean

run: $(VENV)/installed
	$(BIN)/notifier demo

test: $(VENV)/ready
	$(BIN)/python -m pytest -n 4 --dist loadgroup

check: $(VENV)/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 4 --dist loadgroup --cov --cov-report=term:skip-covered

audit: $(VENV)/ready
	$(BIN)/python -m tests.audit

faults: $(VENV)/ready
	NOTIFIER_FAULTS=full $(BIN)/python -m pytest -n 2 --dist loadgroup --timeout 900 tests/faults

bench: $(VENV)/ready
	$(BIN)/python -m tests.bench

schema: $(VENV)/ready
	$(BIN)/python -m notifier.schema_file
	$(BIN)/python -m notifier.reference

INSTALL := PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable

$(VENV)/installed: pyproject.toml constraints.txt
	@echo "Installing Notifier into $(VENV), once; this takes some seconds."
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) .
	touch $@

$(VENV)/ready: $(VENV)/installed
	@echo "Installing what the tests need, once; this takes a minute."
	$(INSTALL) '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis
