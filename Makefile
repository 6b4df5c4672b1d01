# `make run` tries Notifier, `make test` tests it, `make check` does all that must pass. Each sets itself up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Python keeps what it compiled: each test process, and each service that a test starts, would compile all of it anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test check lowest versions audit faults bench schema screenshots docs release lock clean

run: $(VENV)/installed
	$(BIN)/notifier demo

test: $(VENV)/ready
	$(BIN)/python -m pytest -n 6 --dist loadgroup

check: $(VENV)/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
	$(BIN)/python -m pytest -n 6 --dist loadgroup --cov --cov-report=term:skip-covered

audit: $(VENV)/ready
	$(BIN)/python -m tests.support.audit

# The whole suite with the lowest versions that pyproject.toml allows of what Notifier runs with.
lowest:
	$(PYTHON) -m venv .venv-lowest
	$(PYTHON) -m tests.support.lowest > .venv-lowest/requirements.txt
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check --requirement .venv-lowest/requirements.txt --editable '.[dev]'
	.venv-lowest/bin/python -m pytest -n 6 --dist loadgroup

# The suite but for the faults and the browser, with every other version of Python that is installed and has wheels.
versions: constraints.txt
	@for version in 3.12 3.13 3.14; do \
	  command -v python$$version >/dev/null || { echo "python$$version is not installed"; continue; }; \
	  python$$version -m venv .venv-$$version && \
	  .venv-$$version/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement constraints.txt && \
	  .venv-$$version/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . && \
	  .venv-$$version/bin/python -m pytest -n 6 --dist loadgroup --ignore tests/faults --ignore tests/http/test_browser.py || exit 1; \
	done

faults: $(VENV)/ready
	NOTIFIER_FAULTS=full $(BIN)/python -m pytest -n 2 --dist loadgroup --timeout 900 tests/faults

bench: $(VENV)/ready
	$(BIN)/python -m tests.bench

schema: $(VENV)/ready
	$(BIN)/python -m notifier.config.schema
	$(BIN)/python -m notifier.config.reference
	$(BIN)/python -m tests.support.references
	$(BIN)/python -m tests.support.prometheus_operator

# The documentation as a site, in site/.
docs: $(VENV)/ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

# Wheel, source distribution and SBOM of the committed tree, in dist/: built twice, compared, and tried outside the checkout.
release: $(VENV)/ready
	$(BIN)/python -m tests.support.release

# The pictures in docs/, of Chromium.
screenshots: $(VENV)/ready
	NOTIFIER_SCREENSHOTS=1 $(BIN)/python -m pytest tests/http/test_browser.py -k pictures

PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
COMPILE := uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-annotate --no-header
BUILDING := hatchling editables

$(VENV)/installed: pyproject.toml requirements.txt requirements-build.txt
	@echo "Installing Notifier into $(VENV), once; this takes some seconds."
	$(PYTHON) -m venv $(VENV)
	$(PIP) --require-hashes --requirement requirements.txt --requirement requirements-build.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/ready: $(VENV)/installed constraints.txt
	@echo "Installing what the tests need, once; this takes a minute."
	$(PIP) --require-hashes --requirement constraints.txt
	touch $@

# The versions that are tested, with the hashes of their files: the newest that pyproject.toml allows. It takes uv.
lock:
	printf '%s\n' $(BUILDING) | $(COMPILE) --extra dev --output-file constraints.txt pyproject.toml -
	$(COMPILE) --extra postgres --extra fallback --constraint constraints.txt --output-file requirements.txt pyproject.toml
	printf '%s\n' $(BUILDING) | $(COMPILE) --constraint constraints.txt --output-file requirements-build.txt -

clean:
	rm -rf $(VENV) .venv-lowest .venv-3.* build dist site .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis
