# make demo: install into .venv, and train on 1,797 scans of handwritten digits
# make check: install into .venv; format, lint, types, and the fast tests, in two minutes
# make test: the same with every test; PYTEST_OPTIONS are passed on

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?= build/demo

# uv installs in seconds what takes pip minutes. It knows pip's index by this variable alone; where it can't be had, pip does it.
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif
install = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
fast_install = $(BIN)/uv pip install --system-certs --quiet --python $(BIN)/python --constraint constraints.txt

# Compiled once, not in every process that tests start.
unexport PYTHONDONTWRITEBYTECODE

# One process more than cores, since tests wait, too. A file's tests stay in one process, which makes their fixtures once.
# One that crashes ends the run: xdist would wait for its tests for ever.
TEST_PROCESSES ?= $(shell n=$$(nproc); echo $$((n < 4 ? n + 1 : 4)))
pytest = $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder --max-worker-restart 0 $(PYTEST_OPTIONS)
# Types are checked beside the tests: mypy uses one core.
beside_types = $(MAKE) --no-print-directory --jobs=2 types

.PHONY: demo test check every_test fast_tests lint types format docs clean

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' \
	  || { echo "make: Python 3.10 to 3.13 is needed, $(PYTHON) is $$($(PYTHON) --version 2>&1): try make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "make: can't create $(VENV): on Debian and Ubuntu, install the package python3-venv" >&2; rm -rf $(VENV); exit 1; }

# What the demo needs; the tests need more.
$(VENV)/.demo: setup.cfg pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV) ..."
	@{ $(install) uv && $(fast_install) --editable '.[demo]'; } || $(install) --editable '.[demo]'
	@touch $@

$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV) ..."
	@{ $(install) uv && $(fast_install) --compile-bytecode --editable '.[dev,int8,demo]'; } || $(install) --editable '.[dev,int8,demo]'
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo
	@$(BIN)/python examples/digits.py $(DEMO)/digits
	$(BIN)/retrain train $(DEMO)/digits --backbone efficientnet_lite0 --input-size 96 --cache-dir $(DEMO)/cache --model-dir $(DEMO)/model
	$(BIN)/retrain predict $(DEMO)/model $(DEMO)/digits/3/0003.png $(DEMO)/digits/5/0005.png $(DEMO)/digits/8/0008.png --top 3
	@echo
	@echo "Your turn: make a folder with one sub-folder of pictures per class, and run"
	@echo "    $(BIN)/retrain train FOLDER"

test: lint
	@$(beside_types) every_test

check: lint
	@$(beside_types) fast_tests

every_test:
	$(pytest)

fast_tests:
	$(pytest) -m "not slow and not network and not object_store"

lint: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.installed
	$(BIN)/mypy retrain

format: $(VENV)/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.installed
	$(BIN)/python docs/generate.py

clean:
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .hypothesis
