# make demo: install into .venv and run the main job on pictures drawn here
# make test: install into .venv and run every check and test

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?= build/demo

.PHONY: demo test check format docs clean

$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' \
	  || { echo "make: Python 3.10 to 3.13 is needed, $(PYTHON) is $$($(PYTHON) --version 2>&1): try make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "make: can't create $(VENV): on Debian and Ubuntu, install the package python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,int8]'
	@touch $@

demo: $(VENV)/.installed
	$(BIN)/python examples/draw_shapes.py $(DEMO)/shapes
	$(BIN)/retrain train $(DEMO)/shapes --cache-dir $(DEMO)/cache --model-dir $(DEMO)/model
	$(BIN)/retrain predict $(DEMO)/model $(DEMO)/shapes/star/star_000.png $(DEMO)/shapes/ring/ring_000.png

test: check
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

check: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy retrain

format: $(VENV)/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.installed
	$(BIN)/python docs/generate.py

clean:
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .hypothesis
